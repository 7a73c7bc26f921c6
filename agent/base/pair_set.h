/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A set of pairs of numbers, 8 bytes each: what a closure has seen already. */
#ifndef SOCKPOL_PAIR_SET_H
#define SOCKPOL_PAIR_SET_H

#include <stdint.h>

#include "base/util.h"

/* All zero: empty.  Open addressing; slots are a power of two, and a free one holds 0. */
struct pair_set {
	uint64_t *slots;
	size_t n_slots, n;
};

/* The pair must not be (0, 0).  Returns 1: added, 0: it was there, -ENOMEM. */
int pair_set_add(struct pair_set *s, uint32_t a, uint32_t b);
bool pair_set_has(const struct pair_set *s, uint32_t a, uint32_t b);
void pair_set_clear(struct pair_set *s);

#endif
