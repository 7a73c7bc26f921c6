/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What a policy's rules ask of one property (remote, local, their ports), as search trees in the
 * map `range_nodes` (include/abi.h), so that one look-up tells which of those rules hold.
 *
 * The rules' ranges cut the keys into pieces; the class of a piece says which rules hold there.
 * Equal trees of a configuration are shared.
 */
#ifndef SOCKPOL_RANGE_TREE_H
#define SOCKPOL_RANGE_TREE_H

#include "policy/policy.h"

/* The trees of a configuration; empty if it is zero. */
struct range_trees {
	struct sp_range_node *v; /* owned; the elements of the map */
	size_t n;
	void *written; /* tsearch(3) tree */
};

/* One policy's view of trees: which of its rules (by their bit) a class satisfies. */
struct range_view {
	uint32_t tree4, tree6; /* as in sp_test */
	uint64_t *rules;       /* owned; by class; class 0 is in no range */
	size_t n_classes;
	uint64_t asking; /* rules that ask for the property at all */
};

void range_trees_clear(struct range_trees *t);

/*
 * Makes (or finds) the trees of what n rules of a policy, at most SP_RULES_MAX, ask of a property:
 * the rule at place i has bit i.  Returns 0, -ENOMEM, or -E2BIG: more nodes than an answer can tell
 * apart.
 */
int range_trees_get(struct range_trees *t, const struct rule *const *rules, size_t n,
		    enum sp_property property, struct range_view *ret);

#endif
