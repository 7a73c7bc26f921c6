/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Which policies in force govern which live cgroups. */
#ifndef SOCKPOL_GOVERNED_H
#define SOCKPOL_GOVERNED_H

#include "host/living.h"
#include "report/generations.h"

struct governed_policy {
	uint64_t n_cgroups;
	bool is_effective; /* in one of these cgroups it sets something that no stronger policy sets
			      anyway */
	bool sets_something;
};

struct governed {
	struct governed_policy *v; /* owned; by the policy's number */
	uint32_t n;
	uint64_t n_cgroups, n_governed;
};

/* Goes over all cgroups that live below the root.  Returns 0 or a negative errno. */
int governed_read(const struct generations *g, struct governed *ret);
void governed_clear(struct governed *g);

/* Can stronger policies set all that a policy sets, where both apply?  If not, looking at cgroups
 * finds none. */
bool governed_may_be_overridden(const struct generations *g);
/* Is everything that the policy sets overridden, wherever it applies? */
bool governed_is_overridden(const struct governed_policy *p);

/* Calls fn for each cgroup to which the policy applies, until it returns something other than 0. */
int governed_each(const struct generations *g, uint32_t number, living_fn *fn, void *userdata);

#endif
