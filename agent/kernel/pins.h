/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What is in force, read from the pinned maps: with an agent or without one. */
#ifndef SOCKPOL_PINS_H
#define SOCKPOL_PINS_H

#include <stdint.h>

#include "../include/abi.h"
#include "kernel/kernel.h"
#include "base/util.h"

struct pins; /* file descriptors of the maps under a pin directory */

/*
 * Opens the maps for reading.  Returns 0; -ENOENT: nothing is pinned there; -EACCES or -EPERM: no
 * privilege; -EPROTO: pinned by an agent of another SP_ABI_VERSION; another negative errno.
 */
int pins_open(const char *pin_dir, struct pins **ret);
/* For the counters and their names alone, which other versions may have alike. */
int pins_open_counters(const char *pin_dir, struct pins **ret);
void pins_close(struct pins *p);
DEFINE_CLEANUP(struct pins *, pins_close)

int pins_state(const struct pins *p, struct sp_state *ret);
/* The policy index in force for the cgroup with this id; 0: not governed. Negative errno on
 * failure. */
int pins_cgroup(const struct pins *p, uint64_t cgroup_id, uint32_t *ret_index);
/* Every cgroup that has an entry, once, with its policy index; until fn returns not 0. */
typedef int pins_cgroup_fn(uint64_t cgroup_id, uint32_t index, void *userdata);
int pins_each_cgroup(const struct pins *p, pins_cgroup_fn *fn, void *userdata);
int pins_policy(const struct pins *p, uint32_t index, struct sp_policy *ret);
/* The i-th operation and credit (both indices into the maps). */
int pins_op(const struct pins *p, uint32_t index, struct sp_op *ret);
int pins_credit(const struct pins *p, uint32_t index, struct sp_credit *ret);
/* -ENOENT: no source has this id. */
int pins_source(const struct pins *p, uint32_t id, struct sp_source *ret);
/* Every source that there is, by id; until fn returns not 0.  One look at all of them is much less
 * work than one at each. */
typedef int pins_source_fn(uint32_t id, const struct sp_source *source, void *userdata);
int pins_each_source(const struct pins *p, pins_source_fn *fn, void *userdata);
uint32_t pins_n_sources(const struct pins *p);				/* ids are below this */
uint32_t pins_map_size(const struct pins *p, enum kernel_map map);	/* room, in elements */
int pins_applied(const struct pins *p, uint32_t source, uint64_t *ret); /* summed over CPUs */
/* Every counted failure, once; until fn returns not 0. */
typedef int pins_failure_fn(const struct sp_failure *failure, uint64_t count, void *userdata);
int pins_each_failure(const struct pins *p, pins_failure_fn *fn, void *userdata);

#endif
