/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Random cases that can be run again: each has a number, its seed, which a failing one prints.
 * SOCKPOL_TEST_SEED=N in the environment runs that case only, SOCKPOL_TEST_SIZE=long ten times as
 * many.
 */
#ifndef SOCKPOL_SEEDED_H
#define SOCKPOL_SEEDED_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

struct seeded {
	uint64_t seed, state;
};

/* splitmix64: the numbers of neighbouring seeds are independent as well. */
static uint64_t random_bits(struct seeded *s)
{
	uint64_t x = s->state += 0x9e3779b97f4a7c15u;

	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
	x = (x ^ x >> 27) * 0x94d049bb133111ebu;
	return x ^ x >> 31;
}

/* 0 to n - 1. */
static unsigned random_below(struct seeded *s, unsigned n)
{
	return (unsigned)(random_bits(s) % n);
}

#define random_of(s, array) ((array)[random_below((s), ARRAY_SIZE(array))])

#define SEEDED_FAIL(s, fmt, ...)                                                                   \
	fail_msg("SOCKPOL_TEST_SEED=%llu: " fmt, (unsigned long long)(s)->seed, __VA_ARGS__)

/* Runs the cases 1 to n, or the one that the environment asks for. */
static inline void for_seeds(unsigned n, void (*run)(struct seeded *s))
{
	const char *only = getenv("SOCKPOL_TEST_SEED"), *size = getenv("SOCKPOL_TEST_SIZE");
	char *end = NULL;

	if (size && strcmp(size, "long") == 0)
		n *= 10;
	for (uint64_t seed = 1; seed <= n; seed++) {
		struct seeded s = { .seed = only ? strtoull(only, &end, 10) : seed };

		assert_true(!only || (end != only && *end == '\0'));

		s.state = s.seed;
		run(&s);
		if (only)
			return;
	}
}

#endif
