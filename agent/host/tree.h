/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The cgroups that live below the agent's root, as a tree by id.  A cgroup whose directory is gone
 * stays until the kernel releases it: sockets may outlive it.
 */
#ifndef SOCKPOL_TREE_H
#define SOCKPOL_TREE_H

#include <stdint.h>

#include "compile/cascade.h"

/* What a generation makes of a cgroup: see struct sp_cgroup. */
struct place {
	const struct cgroup_class *class; /* NULL: not known */
	uint32_t policy, class_number, glob;
};

struct node {
	uint64_t id;
	struct node *parent; /* NULL: the tree's root */
	const char *path; /* below the cgroup2 mount; NULL: its directory was gone before we came */
	const char *name; /* the path's last component; "" for the root "/" */
	/* What the tree's owner keeps here: */
	struct place places[2]; /* by half of the maps, as last written: see entry.h */
	bool written;		/* it has an entry there, unless the kernel has released it */
};

struct tree;

/* root_path: the agent's root below the mount ("/" or "/a/b"); its directory is mount + root_path.
 */
int tree_new(const char *mount, const char *root_path, struct tree **ret);
void tree_free(struct tree *t);
DEFINE_CLEANUP(struct tree *, tree_free)

/*
 * Adds every directory that is not yet there.  `added` is told of each, parents first; it may be
 * NULL.  Directories that vanish meanwhile, or cannot be read, are passed over.
 */
typedef int tree_fn(struct node *n, void *userdata);
int tree_scan(struct tree *t, tree_fn *added, void *userdata);
/* Removes what the last scan did not find, children first, where `gone` returns 1. */
void tree_sweep(struct tree *t, tree_fn *gone, void *userdata);

struct node *tree_root(const struct tree *t);
struct node *tree_find(const struct tree *t, uint64_t id);
/* -EEXIST: *ret is the one that is there already. */
int tree_add(struct tree *t, uint64_t id, struct node *parent, const char *name, struct node **ret);
/* A cgroup of which nothing but the id is known: its directory was gone before we came.  Below the
 * root. */
int tree_add_gone(struct tree *t, uint64_t id, struct node **ret);
/* With whatever is left below it. */
void tree_remove(struct tree *t, struct node *n);
/* Parents first; ends at the first negative value and returns it. */
int tree_walk(const struct tree *t, tree_fn *fn, void *userdata);
size_t tree_size(const struct tree *t);

#endif
