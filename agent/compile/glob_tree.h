/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Globs as one tree: a node in it is a prefix of globs, shared by all that begin alike, and what a
 * path up to here may have matched.  Many nodes can be active at once.
 *
 *   /a/ *.x       root -'/'-> . -a-> . -'/'-> . , star (loops on names) -'.'-> . -x-> . says who
 *   /a/ ** /b     ... -a-> . , any -'/'-> inside (loops on names and '/') -'/'-> . -b-> . says who
 *   unit: b       units -'/'-> name ('_' is skipped) -b-> . says who
 *                 units -'/'-> slices (loops on names) -'.'-> ... -e-> . goes on as units does
 */
#ifndef SOCKPOL_GLOB_TREE_H
#define SOCKPOL_GLOB_TREE_H

#include <stdint.h>

#include "policy/glob.h"

enum node_loop {
	LOOP_NONE,
	LOOP_NAME, /* stays active for every byte but '/' */
	LOOP_PATH, /* like LOOP_NAME, and comes back with '/' */
};

#define BYTES (UINT8_MAX + 1)
struct byte_set {
	uint64_t bits[4]; /* never NUL */
};

/* All bytes of a name: not '/'. */
extern const struct byte_set byte_set_of_names;

struct glob_tree_node {
	uint32_t next;	 /* next in its list; 0: the last */
	uint32_t first;	 /* head of the list of what can be read next */
	uint32_t follow; /* the node whose list applies as well: mostly its own */
	uint32_t star;	 /* becomes active together with this: the loop of a '*'; 0: none */
	uint32_t any;	 /* the loop of a "**", likewise */
	uint32_t says;	 /* index into glob_tree.says; 0: no glob ends here */
	uint32_t first_glob, n_globs; /* that end here or behind; see glob_tree_number() */
	enum node_loop loop;
	struct byte_set reads; /* none: it becomes active together with another */
};

/* The end of a glob in a node. */
struct glob_tree_say {
	uint32_t who;  /* as glob_tree_add() was told */
	uint32_t glob; /* its number, see glob_tree_number() */
	uint32_t next; /* 0: the last */
};

struct glob_tree {
	struct glob_tree_node *v; /* 0 is no node */
	size_t n;
	struct glob_tree_say *says; /* 0 is unused */
	size_t n_says;
	struct {
		char *text; /* owned */
		struct byte_set set;
	} brackets[16];	   /* the last ones, as the same come again and again */
	size_t n_brackets; /* in all */
	uint32_t n_globs;
	size_t n_edges;		/* about as many elements of a glob table are needed */
	uint32_t root, units;	/* where a path begins */
	uint32_t name, escaped; /* before a unit's name, and after its '_': what becomes active
				   together with `name` does so from the next byte on */
	uint32_t last_slice;	/* all from `units` to this one lead to all units */
	bool failed;		/* memory was out: what was added since does not count */
};

/* Returns 0 or -ENOMEM. */
int glob_tree_new(struct glob_tree **ret);
/* Adds a glob.  Returns 0 or -ENOMEM, after which the tree can only be freed. */
int glob_tree_add(struct glob_tree *t, const struct glob *g, uint32_t who);
/* Numbers the globs from 0 on, so that globs that end behind one node are consecutive. */
int glob_tree_number(struct glob_tree *t);
void glob_tree_free(struct glob_tree *t);
DEFINE_CLEANUP(struct glob_tree *, glob_tree_free)

/* Can nodes match exactly what glob_match() matches?  (Not the rarest bracket expressions.) */
bool glob_tree_can(const struct glob *g);
/*
 * Returns an upper bound, rather too high than too low, of how many nodes of the hooks' automaton
 * the glob can have active at once.  While a byte is read, nodes that wait for it count as well as
 * those that come after it.
 */
size_t glob_tree_room(const struct glob *g);

static inline bool byte_set_has(const struct byte_set *s, unsigned byte)
{
	return s->bits[byte / 64] >> byte % 64 & 1;
}

static inline unsigned byte_set_size(const struct byte_set *s)
{
	unsigned n = 0;

	for (size_t i = 0; i < ARRAY_SIZE(s->bits); i++)
		n += (unsigned)__builtin_popcountll(s->bits[i]);
	return n;
}

static inline void byte_set_add(struct byte_set *s, unsigned byte)
{
	s->bits[byte / 64] |= 1ull << byte % 64;
}

#endif
