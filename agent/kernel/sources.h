/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Ids for policies and rules, under which the kernel counts (map `sources`).  A name keeps its id,
 * and so its counters, over reloads.
 */
#ifndef SOCKPOL_SOURCES_H
#define SOCKPOL_SOURCES_H

#include <stdint.h>

#include "kernel/kernel.h"
#include "kernel/pins.h"
#include "policy/policy.h"

struct sources;

int sources_new(const struct kernel *k, struct sources **ret);
void sources_free(struct sources *s);
DEFINE_CLEANUP(struct sources *, sources_free)

/* Knows the ids that an earlier agent gave; they are kept until the first configuration is. */
int sources_read(struct sources *s);
/* Gives every policy and rule of the configuration an id.  -ENOSPC: the map is too small. */
int sources_add_config(struct sources *s, const struct config *c);
/* Elements of the map that the configuration needs. */
uint32_t sources_needed(const struct config *c);
/* The id of a policy (rule NULL) or a rule; 0: it has none. */
uint32_t sources_id(const struct sources *s, const struct policy *p, const struct rule *r);
/*
 * Adds the counters that another agent's maps have for the same names.  Its programs must not run
 * any more; what ours count in the very moment may be lost.
 */
void sources_carry_counters(const struct sources *s, const struct pins *from);
/*
 * Takes the ids from all that `c` does not name, with their counters.  No program may use them.
 * c NULL: from all but those of sources_read().
 */
void sources_keep_only(struct sources *s, const struct config *c);
/* SP_SOURCE_*, of a policy that has its id. */
void sources_set_flags(struct sources *s, const struct policy *p, uint32_t flags);

#endif
