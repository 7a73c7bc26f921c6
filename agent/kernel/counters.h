/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Indices for policies and rules, under which the kernel counts (maps `applied` and `counters`).  A
 * name keeps its index, and so its counts, over reloads and restarts.
 */
#ifndef SOCKPOL_COUNTERS_H
#define SOCKPOL_COUNTERS_H

#include <stdint.h>

#include "kernel/kernel.h"
#include "policy/policy.h"

struct counters;

int counters_new(struct counters **ret);
void counters_free(struct counters *c);
DEFINE_CLEANUP(struct counters *, counters_free)

/* Knows the indices that an earlier agent gave. */
int counters_read(struct counters *c, const struct kernel *k);

/* Gives every policy and rule of the configuration an index.  -ENOSPC: there are no more. */
int counters_add_config(struct counters *c, const struct config *config);
/* The index of a policy (rule NULL) or a rule; 0: it has none.  For image_new(). */
uint32_t counters_index(const struct policy *p, const struct rule *r, void *counters);

/* Names and room for the counts into the maps, before any program uses the indices.  Errors are
 * logged. */
int counters_write(struct counters *c, const struct kernel *k);

/*
 * Takes the indices from all that `config` does not name, with their counts.  No program may use
 * them any more.  NULL: nothing but what counters_read() knew stays.
 */
void counters_keep_only(struct counters *c, const struct kernel *k, const struct config *config);

/*
 * Adds the failures that an earlier agent counted for the same names, and what policies and rules
 * were applied where it is of this SP_ABI_VERSION.  dir: of its pins; its programs must not run any
 * more.  What cannot be read is passed over.
 */
void counters_carry(const struct counters *c, const struct kernel *k, const char *dir);

#endif
