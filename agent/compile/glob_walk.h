/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The walk of bpf/classify.h, told again for userspace: which policies apply to the cgroup at a
 * path, by the same tables, without bounds on what is active at once.  `status --cgroups`, the dry
 * run and `sockets` use it; the differential test holds both to each other.
 */
#ifndef SOCKPOL_GLOB_WALK_H
#define SOCKPOL_GLOB_WALK_H

#include "base/util.h"
#include "compile/glob_nodes.h"

struct glob_list {
	uint16_t number[SP_LIST_MAX]; /* of policies, weakest first */
	uint32_t n;
	bool left_out; /* there were more than SP_LIST_MAX */
};

/*
 * Remembers the way to the last path, and goes on from what the next one has in common with it: so
 * that a whole hierarchy, parents first, costs each name once, however deep users nest theirs.  The
 * tables must outlive it.
 */
struct glob_walker;
int glob_walker_new(const struct glob_tables *t, struct glob_walker **ret);
void glob_walker_free(struct glob_walker *w);
DEFINE_CLEANUP(struct glob_walker *, glob_walker_free)

/* path: as glob_match() wants it.  Returns 0 or -ENOMEM. */
int glob_walker_walk(struct glob_walker *w, const char *path, struct glob_list *ret);

/* One path. */
int glob_walk(const struct glob_tables *t, const char *path, struct glob_list *ret);

#endif
