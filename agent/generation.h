/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * One generation: a configuration, and its effective policies written to one half of the maps
 * `policies`, `ops`, `credits`, `tests` and `vectors`.  Effective policies are compiled and written
 * when the first cgroup needs them, so that a new cgroup may bring a new one while the generation
 * is in force.
 */
#ifndef SOCKPOL_GENERATION_H
#define SOCKPOL_GENERATION_H

#include "cascade.h"
#include "kernel.h"
#include "sets.h"
#include "sources.h"

struct generation;

/* Takes the configuration over, also on failure.  half: 0 or 1, of the maps. */
int generation_new(const struct kernel *k, const struct sources *s, struct sets *sets,
		   struct config *c, unsigned half, struct generation **ret);
/* No program may use it any more: its sets of prefixes go. */
void generation_free(struct generation *g);
DEFINE_CLEANUP(struct generation *, generation_free)

/*
 * The index into map `policies` of an effective policy (NULL: 0, not governed), written if need be.
 * -ENOSPC: no room in this half; *ret_what then names the map.  -E2BIG: too many rules.
 */
int generation_index(struct generation *g, const struct effective *e, uint32_t *ret,
		     const char **ret_what);

/* Tells apart what effective policies that were written set on listeners; 0: nothing (also NULL).
 */
uint32_t generation_listen_digest(const struct generation *g, const struct effective *e);

struct cascade *generation_cascade(const struct generation *g);
const struct config *generation_config(const struct generation *g);
/* BIT(enum sp_stage): where some policy written so far has something due. */
uint64_t generation_stages(const struct generation *g);

#endif
