// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <search.h>

#include "compile/range_tree.h"
#include "policy/loader.h"

/* An address or a port.  A key that fits into `high` stands for all values of `low`. */
struct key {
	uint64_t high, low;
};

/* The first key of a rule's range, or the key after its last. */
struct edge {
	struct key at;
	unsigned bit; /* of the rule */
	int step;     /* 1 or -1: ranges of the rule around the keys from here on */
};

struct edges {
	struct edge *v;
	size_t n;
};

/* The keys from behind the piece before (the first: from 0) to `last`. */
struct piece {
	struct key last;
	uint64_t answer; /* the rules that hold there; later their class, or a tree */
};

struct pieces {
	struct piece *v;
	size_t n;
};

/* A tree that is written, by what is in it. */
struct range_tree {
	struct pieces pieces;
	uint32_t answer;
};

static void clear_pieces(const struct pieces *p)
{
	free(p->v);
}
#define _cleanup_pieces_ __attribute__((cleanup(clear_pieces)))

static void range_tree_free(void *tree)
{
	struct range_tree *t = tree;

	free(t->pieces.v);
	free(t);
}

void range_trees_clear(struct range_trees *t)
{
	tdestroy(t->written, range_tree_free);
	free(t->v);
	*t = (struct range_trees){ 0 };
}

static int compare_keys(const struct key *x, const struct key *y)
{
	if (x->high != y->high)
		return x->high < y->high ? -1 : 1;
	return (x->low > y->low) - (x->low < y->low);
}

/* Appends a piece; does nothing where others reach as far already. */
static int extend(struct pieces *to, struct key last, uint64_t answer)
{
	struct piece *end = to->n ? &to->v[to->n - 1] : NULL;

	if (end && compare_keys(&last, &end->last) <= 0)
		return 0;
	if (end && answer == end->answer) {
		end->last = last;
		return 0;
	}
	return APPEND(to->v, to->n, (struct piece){ last, answer });
}

/* --- from ranges to pieces -------------------------------------------------------------------- */

static uint64_t number_at(const unsigned char data[8])
{
	uint64_t big_endian;

	memcpy(&big_endian, data, sizeof(big_endian));
	return be64toh(big_endian);
}

static int add_range(struct edges *to, const struct range *r, unsigned bit)
{
	struct key first = { number_at(r->first), 0 }, behind = { number_at(r->last), UINT64_MAX };
	int ret;

	if (r->kind == RANGE_IPV6) {
		first.low = number_at(r->first + 8);
		behind.low = number_at(r->last + 8);
	} else {
		first.high >>= 64 - 8 * range_size(r);
		behind.high >>= 64 - 8 * range_size(r);
	}
	ret = APPEND(to->v, to->n, (struct edge){ first, bit, 1 });
	if (!++behind.low && !++behind.high)
		return ret; /* it ends with the greatest key */
	return ret < 0 ? ret : APPEND(to->v, to->n, (struct edge){ behind, bit, -1 });
}

/* Collects the edges of IPv6 addresses or of all else. */
static int collect(const struct rule *const *rules, size_t n, enum sp_property property, bool v6,
		   struct edges *to)
{
	int r = 0;

	for (size_t bit = 0; bit < n; bit++) {
		const struct ranges *list = when_ranges(&rules[bit]->when, property);

		for (size_t i = 0; list && i < list->n && r == 0; i++)
			if ((list->v[i].kind == RANGE_IPV6) == v6)
				r = add_range(to, &list->v[i], (unsigned)bit);
	}
	return r;
}

static int compare_edges(const void *a, const void *b)
{
	return compare_keys(&((const struct edge *)a)->at, &((const struct edge *)b)->at);
}

/* Makes the pieces between the edges, which cover all keys. */
static int cut(struct edges *edges, struct pieces *to)
{
	unsigned around[SP_RULES_MAX] = { 0 }; /* ranges of each rule */
	uint64_t holding = 0;
	int r = 0;

	if (edges->n)
		qsort(edges->v, edges->n, sizeof(*edges->v), compare_edges);
	for (size_t i = 0; i < edges->n && r == 0; i++) {
		const struct edge *e = &edges->v[i];
		const struct key before = { e->at.high - !e->at.low, e->at.low - 1 };

		if (e->at.high || e->at.low)
			r = extend(to, before, holding);
		around[e->bit] += (unsigned)e->step;
		holding &= ~(1ull << e->bit);
		holding |= (uint64_t) !!around[e->bit] << e->bit;
	}
	return r < 0 ? r : extend(to, (struct key){ UINT64_MAX, UINT64_MAX }, holding);
}

static int compare_numbers(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

/* Numbers the sets of rules that occur in the pieces, of which the empty one is the first. */
static int classify(struct pieces pieces[2], struct range_view *view)
{
	uint64_t *v = calloc(1 + pieces[0].n + pieces[1].n, sizeof(*v));
	size_t n = 1, n_classes = 0;

	if (!v)
		return -ENOMEM;
	for (int k = 0; k < 2; k++)
		for (size_t i = 0; i < pieces[k].n; i++)
			v[n++] = pieces[k].v[i].answer;
	qsort(v, n, sizeof(*v), compare_numbers);
	for (size_t i = 0; i < n; i++)
		if (!n_classes || v[i] != v[n_classes - 1])
			v[n_classes++] = v[i];
	for (int k = 0; k < 2; k++) {
		for (size_t i = 0; i < pieces[k].n; i++) {
			const uint64_t *found = bsearch(&pieces[k].v[i].answer, v, n_classes,
							sizeof(*v), compare_numbers);

			pieces[k].v[i].answer = (uint64_t)(found - v);
		}
	}
	view->rules = v;
	view->n_classes = n_classes;
	return 0;
}

/* --- from pieces to trees --------------------------------------------------------------------- */

static int append_node(struct range_trees *to, const struct sp_range_node *node)
{
	if (to->n > SP_ANSWER_INDEX)
		return -E2BIG;
	return APPEND(to->v, to->n, *node);
}

/*
 * Writes the leaves.  lasts: the last key of each leaf.  It is the greatest number for the last
 * leaf and for pieces that a leaf does not use.
 */
static int write_leaves(struct range_trees *to, const struct pieces *from, uint64_t *lasts)
{
	int r = 0;

	for (size_t i = 0; i < from->n && r == 0; i += SP_LEAF_RANGES) {
		struct sp_range_node node = { .leaf = { .answer = { 0 } } };
		uint64_t *last = &lasts[i / SP_LEAF_RANGES];

		for (size_t k = 0; k < SP_LEAF_RANGES; k++) {
			if (i + k < from->n) {
				*last = from->v[i + k].last.high;
				node.leaf.answer[k] = (uint32_t)from->v[i + k].answer;
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
static int write_level(struct range_trees *to, uint32_t child, uint64_t *lasts, size_t n)
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

/* The most prefixes fit the deepest tree: 6 * 8 * 8 ... pieces. */
static_assert(2 * LOADER_PREFIXES_MAX + 1 <= SP_LEAF_RANGES << 3 * (SP_RANGE_LEVELS_MAX - 1) &&
		      SP_NODE_CHILDREN == 1 << 3,
	      "levels");

static size_t divided(size_t n, size_t by)
{
	return (n + by - 1) / by;
}

/* Writes a tree over the upper halves of the keys, from the leaves up; the root comes last. */
static int write_tree(struct range_trees *to, const struct pieces *from, uint64_t *ret_answer)
{
	size_t n = divided(from->n, SP_LEAF_RANGES);
	_cleanup_free_ uint64_t *lasts = NULL;
	uint32_t first = (uint32_t)to->n, levels = 1;
	int r;

	if (from->n == 1) {
		*ret_answer = from->v[0].answer;
		return 0;
	}
	assert(n); /* pieces cover all keys */
	lasts = calloc(n, sizeof(*lasts));
	r = lasts ? write_leaves(to, from, lasts) : -ENOMEM;
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

/* Writes a tree over the lower halves of the keys that share the upper half of this piece's last
 * one.  *ret_next: the piece in which these keys end. */
static int write_lower(struct range_trees *to, const struct piece *from, uint64_t *ret_answer,
		       const struct piece **ret_next)
{
	_cleanup_pieces_ struct pieces lower = { 0 };
	uint64_t high = from->last.high;
	int r = 0;

	for (; from->last.high == high && from->last.low != UINT64_MAX && r == 0; from++)
		r = extend(&lower, (struct key){ from->last.low, UINT64_MAX }, from->answer);
	if (r == 0)
		r = extend(&lower, (struct key){ UINT64_MAX, UINT64_MAX }, from->answer);
	*ret_next = from;
	return r < 0 ? r : write_tree(to, &lower, ret_answer);
}

/* Writes the tree of all pieces. */
static int write_pieces(struct range_trees *to, const struct pieces *pieces, uint64_t *ret_answer)
{
	_cleanup_pieces_ struct pieces upper = { 0 };
	const struct piece *at = pieces->v;
	int r = 0;

	while (r == 0 && at < pieces->v + pieces->n) {
		struct key last = { at->last.high, UINT64_MAX };
		uint64_t answer = at->answer;

		if (at->last.low != UINT64_MAX) {
			if (last.high)
				r = extend(&upper, (struct key){ last.high - 1, UINT64_MAX },
					   answer);
			if (r == 0)
				r = write_lower(to, at, &answer, &at);
		}
		if (r == 0)
			r = extend(&upper, last, answer);
		at += at->last.high == last.high;
	}
	return r < 0 ? r : write_tree(to, &upper, ret_answer);
}

static int compare_trees(const void *a, const void *b)
{
	const struct pieces *x = &((const struct range_tree *)a)->pieces,
			    *y = &((const struct range_tree *)b)->pieces;

	if (x->n != y->n)
		return x->n < y->n ? -1 : 1;
	return memcmp(x->v, y->v, x->n * sizeof(*x->v));
}

/* Finds or writes the tree of these pieces, which are taken over. */
static int intern(struct range_trees *t, struct pieces *pieces, uint32_t *ret)
{
	struct range_tree *tree = calloc(1, sizeof(*tree)), **slot;
	uint64_t answer = 0;
	int r = 0;

	if (!tree)
		return -ENOMEM;
	tree->pieces = *pieces;
	*pieces = (struct pieces){ 0 };
	slot = tsearch(tree, &t->written, compare_trees);
	if (slot && *slot == tree) {
		r = write_pieces(t, &tree->pieces, &answer);
		tree->answer = (uint32_t)answer;
	}
	if (slot)
		*ret = (*slot)->answer;
	if (!slot || *slot != tree)
		range_tree_free(tree);
	return slot ? r : -ENOMEM;
}

int range_trees_get(struct range_trees *t, const struct rule *const *rules, size_t n,
		    enum sp_property property, struct range_view *ret)
{
	struct range_view view = { 0 };
	struct pieces pieces[2] = { 0 }; /* of IPv4 addresses or ports, and of IPv6 addresses */
	int r = 0;

	for (size_t bit = 0; bit < n; bit++)
		if (when_ranges(&rules[bit]->when, property))
			view.asking |= 1ull << bit;
	for (int v6 = 0; v6 < 2 && r == 0; v6++) {
		struct edges edges = { 0 };

		r = collect(rules, n, property, v6, &edges);
		if (r == 0)
			r = cut(&edges, &pieces[v6]);
		free(edges.v);
	}
	if (r == 0)
		r = classify(pieces, &view);
	if (r == 0)
		r = intern(t, &pieces[0], &view.tree4);
	if (r == 0)
		r = intern(t, &pieces[1], &view.tree6);
	free(pieces[0].v);
	free(pieces[1].v);
	if (r < 0)
		free(view.rules);
	else
		*ret = view;
	return r;
}
