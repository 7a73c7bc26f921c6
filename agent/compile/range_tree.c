// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <errno.h>

#include "policy/loader.h"
#include "compile/range_tree.h"

/* A range, from behind the one before it (the first: from 0) to `last`. */
struct range {
	uint64_t last;
	uint32_t answer;
};

struct ranges {
	struct range *v;
	size_t n;
};

static void clear_ranges(const struct ranges *r)
{
	free(r->v);
}

/* Appends a range; does nothing where others reach as far already. */
static int extend(struct ranges *to, uint64_t last, uint32_t answer)
{
	struct range *end = to->n ? &to->v[to->n - 1] : NULL;

	if (end && last <= end->last)
		return 0;
	if (end && answer == end->answer) {
		end->last = last;
		return 0;
	}
	if (GROW(to->v, to->n) < 0)
		return -ENOMEM;
	to->v[to->n++] = (struct range){ last, answer };
	return 0;
}

/* Makes ranges of spans.  The spans around a place are a stack. */
static int list_ranges(const struct span *spans, size_t n, uint32_t outside, struct ranges *to)
{
	const struct span *around[RANGE_TREE_SPANS_WITHIN];
	size_t depth = 0;
	int r = 0;

	for (size_t i = 0; i < n && r == 0; i++) {
		const struct span *s = &spans[i];

		for (; r == 0 && depth && around[depth - 1]->last < s->first; depth--)
			r = extend(to, around[depth - 1]->last, around[depth - 1]->answer);
		if (r == 0 && s->first)
			r = extend(to, s->first - 1, depth ? around[depth - 1]->answer : outside);
		around[depth++] = s;
	}
	for (; r == 0 && depth; depth--)
		r = extend(to, around[depth - 1]->last, around[depth - 1]->answer);
	return r < 0 ? r : extend(to, UINT64_MAX, outside);
}

static int append_node(struct range_nodes *to, const struct sp_range_node *node)
{
	if (to->n > SP_ANSWER_INDEX)
		return -E2BIG;
	if (GROW(to->v, to->n) < 0)
		return -ENOMEM;
	to->v[to->n++] = *node;
	return 0;
}

/*
 * Writes the leaves.  lasts: the last key of each leaf.  It is the greatest number for the last
 * leaf and for ranges that a leaf does not use.
 */
static int write_leaves(struct range_nodes *to, const struct ranges *from, uint64_t *lasts)
{
	int r = 0;

	for (size_t i = 0; i < from->n && r == 0; i += SP_LEAF_RANGES) {
		struct sp_range_node node = { .leaf = { .answer = { 0 } } };
		uint64_t *last = &lasts[i / SP_LEAF_RANGES];

		for (size_t k = 0; k < SP_LEAF_RANGES; k++) {
			if (i + k < from->n) {
				*last = from->v[i + k].last;
				node.leaf.answer[k] = from->v[i + k].answer;
			}
			if (k < SP_LEAF_RANGES - 1)
				node.leaf.last[k] = *last;
		}
		r = append_node(to, &node);
	}
	return r;
}

/* Writes the level above n nodes, the first of which is `child`.  lasts: those of the nodes, and
 * then of the new level. */
static int write_level(struct range_nodes *to, uint32_t child, uint64_t *lasts, size_t n)
{
	int r = 0;

	for (size_t i = 0; i < n && r == 0; i += SP_NODE_CHILDREN) {
		struct sp_range_node node = { .inner = { .first_child = child + (uint32_t)i } };
		uint64_t last = 0;

		for (size_t k = 0; k < SP_NODE_CHILDREN; k++) {
			if (i + k < n)
				last = lasts[i + k];
			if (k < SP_NODE_CHILDREN - 1)
				node.inner.last[k] = last;
		}
		lasts[i / SP_NODE_CHILDREN] = last;
		r = append_node(to, &node);
	}
	return r;
}

/* The largest set of prefixes fits the deepest tree: 6 * 8 * 8 ... ranges. */
_Static_assert(2 * LOADER_PREFIXES_MAX + 1 <= SP_LEAF_RANGES << 3 * (SP_RANGE_LEVELS_MAX - 1) &&
		       SP_NODE_CHILDREN == 1 << 3,
	       "levels");

static size_t divided(size_t n, size_t by)
{
	return (n + by - 1) / by;
}

/* Writes a tree from the leaves up; the root comes last. */
static int write_tree(struct range_nodes *to, const struct ranges *from, uint32_t *ret_answer)
{
	size_t n = divided(from->n, SP_LEAF_RANGES);
	_cleanup_free_ uint64_t *lasts = calloc(n, sizeof(*lasts));
	uint32_t first = (uint32_t)to->n, levels = 1;
	int r = lasts ? write_leaves(to, from, lasts) : -ENOMEM;

	for (; n > 1 && r == 0; levels++) {
		uint32_t next = (uint32_t)to->n;

		r = write_level(to, first, lasts, n);
		first = next;
		n = divided(n, SP_NODE_CHILDREN);
	}
	if (r == 0)
		*ret_answer = levels << SP_ANSWER_LEVELS_SHIFT | first;
	return r;
}

int range_tree_write(struct range_nodes *to, const struct span *spans, size_t n, uint32_t outside,
		     uint32_t *ret_answer)
{
	__attribute__((cleanup(clear_ranges))) struct ranges ranges = { 0 };
	int r = list_ranges(spans, n, outside, &ranges);

	if (r == 0 && ranges.n == 1)
		*ret_answer = ranges.v[0].answer;
	else if (r == 0)
		r = write_tree(to, &ranges, ret_answer);
	return r;
}
