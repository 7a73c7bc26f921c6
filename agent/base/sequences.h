/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Sequences of integers, each kept once and known by a number: 1, 2, ... in the order of coming. */
#ifndef SOCKPOL_SEQUENCES_H
#define SOCKPOL_SEQUENCES_H

#include <stdint.h>

#include "base/util.h"

/* All zero: none yet. */
struct sequences {
	uint32_t *words; /* one after the other */
	size_t n_words, room_words;
	uint32_t *ends;	  /* by number - 1: where in words it ends */
	uint32_t n;	  /* the numbers are 1 to this */
	uint32_t *slots;  /* hash table of numbers; 0: free */
	uint32_t n_slots; /* a power of two, or 0 */
};

/* v may be empty, and must not point into the sequences.  Returns 0 or -ENOMEM. */
int sequences_put(struct sequences *s, const uint32_t *v, size_t n, uint32_t *ret);
/* Valid until the next sequences_put(). */
const uint32_t *sequences_get(const struct sequences *s, uint32_t number, size_t *ret_n);
void sequences_clear(struct sequences *s);

#endif
