/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The effective policies of one generation in one half of the maps `policies`, `ops`, `credits`,
 * `tests`, `vectors` and `range_nodes`.  One is compiled and written when it is first asked for.
 */
#ifndef SOCKPOL_POLICY_MAPS_H
#define SOCKPOL_POLICY_MAPS_H

#include "compile/cascade.h"
#include "kernel/kernel.h"
#include "kernel/sources.h"

struct policy_maps;

/* All of these must outlive it.  half: 0 or 1. */
int policy_maps_new(const struct kernel *k, const struct sources *s, const struct config *c,
		    unsigned half, struct policy_maps **ret);
/* Leaves what is in the kernel. */
void policy_maps_free(struct policy_maps *m);
DEFINE_CLEANUP(struct policy_maps *, policy_maps_free)

/*
 * The index into map `policies` of an effective policy (NULL: 0, not governed).
 * -ENOSPC: no room in this half; *ret_what then names the map.  -E2BIG: too many rules.
 */
int policy_maps_index(struct policy_maps *m, const struct effective *e, uint32_t *ret,
		      const char **ret_what);
/* Those of all rules' prefixes and ports, so that room for them is wanting now or never. */
int policy_maps_make_sets(struct policy_maps *m, const char **ret_what);
/* What was written is in the kernel only after this. */
int policy_maps_flush(struct policy_maps *m, const char **ret_what);

/* Do not fail for want of room, count on: see map_half.h. */
void policy_maps_count(struct policy_maps *m, bool count);
/* Elements appended so far (with `count`: also those that found no room), of this half. */
void policy_maps_needed(const struct policy_maps *m, struct kernel_sizes *ret);

/* BIT(enum sp_stage): where some policy written so far has something due. */
uint64_t policy_maps_stages(const struct policy_maps *m);
/* The same of this one; NULL, not written: 0. */
uint64_t policy_maps_stages_of(const struct policy_maps *m, const struct effective *e);

#endif
