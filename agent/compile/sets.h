/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What a policy's rules ask of one property (remote, local, their ports), as trees in the kernel,
 * so that a look-up tells which of those rules hold.
 *
 * A set gives an address its class: the longest prefix decides, and each prefix has what the
 * shorter ones around it have too.  A generation has its own in its half of the map `range_nodes`,
 * equal ones once.
 */
#ifndef SOCKPOL_SETS_H
#define SOCKPOL_SETS_H

#include "kernel/kernel.h"
#include "policy/policy.h"

struct sets;

/* What one policy knows of a set: which of its rules (by bit: place in the policy) a class
 * satisfies. */
struct set_view {
	uint32_t tree4, tree6; /* as in sp_test */
	uint64_t *rules;       /* owned; by class; 0 is the class of what is in no prefix */
	size_t n_classes;
	uint64_t asking; /* rules that ask for the property at all */
};

/* half: 0 or 1, of the map. */
int sets_new(const struct kernel *k, unsigned half, struct sets **ret);
void sets_free(struct sets *s);
DEFINE_CLEANUP(struct sets *, sets_free)

/* Do not fail for want of room, count on: see map_half.h. */
void sets_count(struct sets *s, bool count);
/* Elements of the map so far. */
uint32_t sets_needed(const struct sets *s);
/* The same for all that a configuration's rules ask, in no kernel. */
int sets_needed_for(const struct config *c, uint32_t *ret);

/*
 * Makes (or finds) the set of a policy's property.  -ENOSPC: no room in this half; *ret_what then
 * names the map.
 */
int sets_get(struct sets *s, const struct policy *p, enum sp_property property,
	     struct set_view *ret, const char **ret_what);
/* What was made is in the kernel only after this. */
int sets_flush(struct sets *s, const char **ret_what);

/* Does a rule of the policy ask for it? */
bool policy_asks(const struct policy *p, enum sp_property property);

#endif
