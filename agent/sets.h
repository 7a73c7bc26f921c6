/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Sets of prefixes in the kernel's tries: what a policy's rules ask of one property (remote, local,
 * their ports), so that one look-up tells which of those rules hold.
 *
 * A set gives an address its class: the longest prefix decides, and each prefix has what the
 * shorter ones around it have too.  Equal sets are stored once, over generations as well, so a
 * reload that leaves the prefixes alone writes none.
 */
#ifndef SOCKPOL_SETS_H
#define SOCKPOL_SETS_H

#include "kernel.h"
#include "policy.h"

struct sets;
struct set; /* a set in the kernel */

/* What one policy knows of a set: which of its rules (by bit: place in the policy) a class
 * satisfies. */
struct set_view {
	struct set *set; /* one reference */
	uint32_t id;
	uint64_t *rules; /* owned; by class; 0 is the class of what is in no prefix */
	size_t n_classes;
	uint64_t asking; /* rules that ask for the property at all */
};

int sets_new(const struct kernel *k, struct sets **ret);
void sets_free(struct sets *s);
DEFINE_CLEANUP(struct sets *, sets_free)

/* Knows the sets that an earlier agent left in the maps: equal ones are used on, the others stay
 * until sets_forget_found(), when no program may use them any more. */
int sets_read(struct sets *s);
void sets_forget_found(struct sets *s);

/* Makes (or finds) the set of a policy's property, and writes it to the kernel.  -ENOSPC: no room.
 */
int sets_get(struct sets *s, const struct policy *p, enum sp_property property,
	     struct set_view *ret);
/* Drops the reference.  The kernel's copy goes with the last one: no program may use it then. */
void sets_put(struct sets *s, struct set_view *v);

bool when_asks(const struct when *w, enum sp_property property);

#endif
