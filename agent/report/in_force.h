/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Is what the kernel does for a cgroup what the files say? */
#ifndef SOCKPOL_IN_FORCE_H
#define SOCKPOL_IN_FORCE_H

#include "compile/cascade.h"
#include "kernel/pins.h"

/* What one side says of an option at a stage, in any case or by a rule where it holds. */
struct in_force_side {
	char *value;  /* owned; "unset"; NULL: it has no say */
	char *policy; /* owned; NULL where it is unset or has no say */
	char *rule;   /* owned; NULL: base options */
};

struct in_force_difference {
	enum sp_stage stage;
	const struct option *option;
	struct in_force_side kernel, files;
	const char *also; /* what differs beside the two sides: "condition", "order"; or NULL */
};

struct in_force {
	bool known;
	char *why; /* owned: why it is not known */
	struct in_force_difference *v;
	size_t n;
};

/*
 * Compares what the maps have for this cgroup with its effective policy by the files (NULL: none
 * applies).  Returns 0 or a negative errno.
 */
int in_force_compare(const struct pins *p, uint64_t cgroup_id, const struct effective *e,
		     struct in_force *ret);
/*
 * The same of the policy with this index into the maps (0: none governs, and then pins may be
 * NULL).  Whether a reload has come between, and its answer means nothing, the caller knows.
 */
int in_force_compare_index(const struct pins *p, uint32_t index, const struct effective *e,
			   struct in_force *ret);
/* Makes *ret say that it is not known.  Returns 0 or -ENOMEM. */
int in_force_unknown(const char *why, struct in_force *ret);
void in_force_clear(struct in_force *f);

#endif
