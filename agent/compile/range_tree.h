/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Search trees in the map `range_nodes` (include/abi.h): nested spans of keys become ranges side by
 * side, and these the leaves of a tree.
 */
#ifndef SOCKPOL_RANGE_TREE_H
#define SOCKPOL_RANGE_TREE_H

#include <stdint.h>

#include "../include/abi.h"
#include "base/util.h"

#define RANGE_TREE_SPANS_WITHIN 66 /* prefixes of 0 to 64 bits, and one more */

/* The elements of the map. */
struct range_nodes {
	struct sp_range_node *v; /* owned */
	size_t n;
};

/* Keys from first to last have this answer, except where a later span of the list lies within. */
struct span {
	uint64_t first, last;
	uint32_t answer;
};

/*
 * Writes a tree.  spans: sorted by `first`, wider ones before narrower ones; any two are disjoint
 * or nested, at most RANGE_TREE_SPANS_WITHIN deep.  outside: the answer for all other keys.
 * *ret_answer is where a program begins to walk.  Returns 0, -ENOMEM, or -E2BIG: more nodes than an
 * answer can tell apart.
 */
int range_tree_write(struct range_nodes *to, const struct span *spans, size_t n, uint32_t outside,
		     uint32_t *ret_answer);

#endif
