/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What is in force, read from the pinned maps: with an agent or without one. */
#ifndef SOCKPOL_PINS_H
#define SOCKPOL_PINS_H

#include <stdint.h>

#include "../include/abi.h"
#include "util.h"

struct pins; /* file descriptors of the maps under a pin directory */

/*
 * Opens the maps for reading.  Returns 0; -ENOENT: nothing is pinned there; -EACCES or -EPERM: no
 * privilege; -EPROTO: pinned by an agent of another SP_ABI_VERSION; another negative errno.
 */
int pins_open(const char *pin_dir, struct pins **ret);
void pins_close(struct pins *p);
DEFINE_CLEANUP(struct pins *, pins_close)

int pins_state(const struct pins *p, struct sp_state *ret);
/* The policy index in force for the cgroup with this id; 0: not governed. Negative errno on
 * failure. */
int pins_cgroup(const struct pins *p, uint64_t cgroup_id, uint32_t *ret_index);
/* Next cgroup id after *id (NULL: the first).  -ENOENT at the end. */
int pins_next_cgroup(const struct pins *p, const uint64_t *id, uint64_t *ret);
int pins_policy(const struct pins *p, uint32_t index, struct sp_policy *ret);
/* The i-th operation and credit (both indices into the maps). */
int pins_op(const struct pins *p, uint32_t index, struct sp_op *ret);
int pins_credit(const struct pins *p, uint32_t index, uint32_t *ret_source);
/* -ENOENT: no source has this id. */
int pins_source(const struct pins *p, uint32_t id, struct sp_source *ret);
uint32_t pins_n_sources(const struct pins *p);				/* ids are below this */
int pins_applied(const struct pins *p, uint32_t source, uint64_t *ret); /* summed over CPUs */
int pins_next_failure(const struct pins *p, const struct sp_failure *key, struct sp_failure *ret,
		      uint64_t *ret_count); /* -ENOENT at the end */

#endif
