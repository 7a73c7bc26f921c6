/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The names behind counters' indices, shared by a generation in force and files compared with it,
 * so that the same name has the same index. */
#ifndef SOCKPOL_COUNTERS_H
#define SOCKPOL_COUNTERS_H

#include "kernel/pinned.h"

struct counters;

/* Reads the names in force.  p NULL: nothing is in force.  Returns 0 or a negative errno. */
int counters_read(const struct pinned *p, struct counters **ret);
void counters_free(struct counters *c);
DEFINE_CLEANUP(struct counters *, counters_free)

/* Returns the names for an index; NULL: the index is unused. */
const struct sp_counter *counters_at(const struct counters *c, uint32_t index);

/* An image_counter_fn; userdata: struct counters.  Gives a policy or rule without an index a new
 * one; 0: memory is out. */
uint32_t counters_index(const struct policy *p, const char *rule, void *userdata);

#endif
