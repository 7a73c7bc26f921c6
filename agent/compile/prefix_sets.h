/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What a policy's rules ask of one property (remote, local, their ports), as trees, so that one
 * look-up tells which of those rules hold.
 *
 * A set gives an address its class: the longest prefix decides, and each prefix includes what the
 * shorter ones around it have.  Equal sets of a configuration are shared.
 */
#ifndef SOCKPOL_PREFIX_SETS_H
#define SOCKPOL_PREFIX_SETS_H

#include "compile/range_tree.h"
#include "policy/policy.h"

struct prefix_sets;

/* One policy's view of a set: which of its rules (by their bit) a class satisfies. */
struct prefix_view {
	uint32_t tree4, tree6; /* as in sp_test */
	uint64_t *rules;       /* owned; by class; class 0 is in no prefix */
	size_t n_classes;
	uint64_t asking; /* rules that ask for the property at all */
};

/* Makes an empty collection.  nodes: where the trees are written; must outlive the sets. */
int prefix_sets_new(struct range_nodes *nodes, struct prefix_sets **ret);
void prefix_sets_free(struct prefix_sets *s);
DEFINE_CLEANUP(struct prefix_sets *, prefix_sets_free)

/*
 * Makes (or finds) the set of what n rules of a policy, at most SP_RULES_MAX, ask of a property:
 * the rule at place i has bit i.  Returns 0, -ENOMEM or -E2BIG (see range_tree.h).
 */
int prefix_sets_get(struct prefix_sets *s, const struct rule *const *rules, size_t n,
		    enum sp_property property, struct prefix_view *ret);

#endif
