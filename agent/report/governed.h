/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Which policies in force govern which of the cgroups that live. */
#ifndef SOCKPOL_GOVERNED_H
#define SOCKPOL_GOVERNED_H

#include "host/living.h"
#include "report/generations.h"

struct governed_policy {
	uint64_t n_cgroups;
	bool is_effective; /* in one of these it sets something that no stronger policy sets anyway
			    */
	bool sets_something;
};

struct governed {
	struct governed_policy *v; /* owned; by the policy's number */
	uint32_t n;
	uint64_t n_cgroups, n_governed;
};

/* Goes over all that live below the root.  Returns 0 or a negative errno. */
int governed_read(const struct generations *g, struct governed *ret);
void governed_clear(struct governed *g);

/* Can it be that stronger policies set all that one sets, where both apply?  If not, no look at
 * cgroups can find one. */
bool governed_may_be_overridden(const struct generations *g);
/* Is all that it sets overridden, wherever it applies? */
bool governed_is_overridden(const struct governed_policy *p);

/* Each cgroup to which the policy applies, until fn returns not 0. */
int governed_each(const struct generations *g, uint32_t number, living_fn *fn, void *userdata);

#endif
