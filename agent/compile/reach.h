/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Which policies a machine can still come to below some of its states, however deep. */
#ifndef SOCKPOL_REACH_H
#define SOCKPOL_REACH_H

#include "compile/machine.h"
#include "base/pair_set.h"

/* All zero but the machine: none. */
struct reach {
	const struct machine *machine;
	bool *states;	 /* those that were looked at */
	uint32_t *stack; /* scratch, with room for all */
	struct pair_set matches;
	bool *policies; /* by place in the configuration, as far as room_policies */
	size_t room_policies, n;
};

/* Adds what can match below a cgroup in `state`.  Returns 0 or -ENOMEM. */
int reach_below(struct reach *r, uint32_t state);
/* Adds what matches by this number of the machine's.  Returns 0 or -ENOMEM. */
int reach_matches(struct reach *r, uint32_t matches);
bool reach_has(const struct reach *r, size_t policy);
/* How many policies. */
size_t reach_n(const struct reach *r);
void reach_clear(struct reach *r);

#endif
