/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Whose counter has which index: of a generation in force, and of files that are compared with it,
 * so that the same name is the same index. */
#ifndef SOCKPOL_COUNTERS_H
#define SOCKPOL_COUNTERS_H

#include "kernel/pinned.h"

struct counters;

/* p NULL: nothing is in force.  Returns 0 or a negative errno. */
int counters_read(const struct pinned *p, struct counters **ret);
void counters_free(struct counters *c);
DEFINE_CLEANUP(struct counters *, counters_free)

/* NULL: nobody has this index. */
const struct sp_counter *counters_at(const struct counters *c, uint32_t index);

/* An image_counter_fn, userdata: struct counters.  A policy or rule that has none gets one here;
 * 0: memory is out. */
uint32_t counters_index(const struct policy *p, const struct rule *r, void *userdata);

#endif
