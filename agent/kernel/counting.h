/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Indices for policies and rules, under which the kernel counts (maps `applied` and `counters`).  A
 * name keeps its index, and so its counts, over reloads and restarts.
 */
#ifndef SOCKPOL_COUNTING_H
#define SOCKPOL_COUNTING_H

#include <stdint.h>

#include "kernel/kernel.h"
#include "policy/policy.h"

struct counting;

int counting_new(struct counting **ret);
void counting_free(struct counting *c);
DEFINE_CLEANUP(struct counting *, counting_free)

/* Knows the indices that an earlier agent gave. */
int counting_read(struct counting *c, const struct kernel *k);

/* Gives every policy and rule of the configuration an index.  -ENOSPC: there are no more. */
int counting_add_config(struct counting *c, const struct config *config);
/* An image_counter_fn. */
uint32_t counting_index(const struct policy *p, const char *rule, void *counters);

/* Names and room for the counts into the maps, before any program uses the indices.  Errors are
 * logged. */
int counting_write(struct counting *c, const struct kernel *k);

/*
 * Takes the indices from all that `config` does not name, with their counts.  No program may use
 * them any more.  NULL: nothing but what counting_read() knew stays.
 */
void counting_keep_only(struct counting *c, const struct kernel *k, const struct config *config);

/*
 * Adds the failures that an earlier agent counted for the same names, and what policies and rules
 * were applied where it is of this SP_ABI_VERSION.  Its programs must not run any
 * more.  Counts that cannot be read are passed over.
 */
void counting_carry(const struct counting *c, const struct kernel *k, const char *pin_dir);

#endif
