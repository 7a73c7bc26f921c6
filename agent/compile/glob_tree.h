/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The globs of a configuration as one tree: a node in it is a prefix of globs, shared by all
 * that begin alike, and what a path up to here may have matched.  Many nodes can be reached at
 * once; machine_graph.h makes single states of them.
 *
 *   /a/ *.x       root -'/'-> . -a-> . -'/'-> . , star (loops on names) -'.'-> . -x-> . says who
 *   /a/ ** /b     ... -a-> . , any -'/'-> inside (loops on names and '/') -'/'-> . -b-> . says who
 *   unit: b       units -'/'-> name ('_' is skipped) -b-> . says who
 *                 units -'/'-> slices (loops on names) -'.'-> ... -e-> . goes on as units does
 */
#ifndef SOCKPOL_GLOB_TREE_H
#define SOCKPOL_GLOB_TREE_H

#include <stdint.h>

#include "policy/policy.h"

#define GLOB_TREE_NODES_MAX 131072u /* as a machine needs a state for nearly each */

enum node_reads {
	READS_NOTHING, /* is reached together with another */
	READS_BYTE,
	READS_ANY_BYTE, /* of a name: all but '/' */
	READS_SET,
};

enum node_loop {
	LOOP_NONE,
	LOOP_NAME, /* stays for every byte but '/' */
	LOOP_PATH, /* the same, and comes back by '/' */
};

struct byte_set {
	uint64_t bits[4]; /* never '/' and NUL */
	unsigned n;
};

struct glob_node {
	uint32_t next;	 /* of the list that it is in; 0: the last */
	uint32_t first;	 /* list of what can be read next */
	uint32_t follow; /* the node whose list holds here, too: mostly its own */
	uint32_t star;	 /* reached together with this: the loop of a '*'; 0: none */
	uint32_t any;	 /* the same for a "**" */
	uint32_t says;	 /* index into glob_tree.says; 0: no glob ends here */
	uint32_t n_ends; /* globs that end here or further on */
	uint32_t top;	 /* of a loop: all that the nodes from this one on to the loop itself could
			    find, the loop finds */
	uint32_t set;	 /* READS_SET: index into glob_tree.sets */
	uint8_t reads, byte, loop;
};

/* Which globs end: policy * 2, and 1 more for its `exclude`. */
struct say {
	uint32_t who;
	uint32_t next; /* 0: the last */
};

struct named_set;

struct glob_tree {
	struct glob_node *v; /* 0 is unused; in preorder */
	size_t n;
	struct say *says; /* 0 is unused */
	size_t n_says;
	struct byte_set *sets;
	size_t n_sets;
	struct named_set *set_names;
	uint32_t root, units;	/* where a path begins */
	uint32_t name, escaped; /* before a unit's name, and after its '_': what is reached together
				   with `name` counts from the next byte on */
};

/*
 * Of the policies for which included[place] is true.  Returns 0, -ENOMEM, or -E2BIG: too many.
 */
int glob_tree_new(const struct config *c, const bool *included, struct glob_tree **ret);
void glob_tree_free(struct glob_tree *t);
DEFINE_CLEANUP(struct glob_tree *, glob_tree_free)

/* Can nodes say the same as glob_match()?  (Not of the rarest bracket expressions.) */
bool glob_tree_can(const struct glob *g);

static inline bool byte_set_has(const struct byte_set *s, unsigned byte)
{
	return s->bits[byte / 64] >> byte % 64 & 1;
}

static inline void byte_set_add(struct byte_set *s, unsigned byte)
{
	s->n += !byte_set_has(s, byte);
	s->bits[byte / 64] |= 1ull << byte % 64;
}

#endif
