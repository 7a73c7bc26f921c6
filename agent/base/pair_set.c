// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <errno.h>

#include "base/pair_set.h"

static uint64_t pair(uint32_t a, uint32_t b)
{
	return (uint64_t)a << 32 | b;
}

/* Where the value is, or would go. */
static size_t slot_of(const struct pair_set *s, uint64_t value)
{
	/* Fibonacci hashing: the high bits of the product depend on all bits of the value. */
	size_t at = (size_t)((value * 0x9e3779b97f4a7c15ull) >> 32) & (s->n_slots - 1);

	while (s->slots[at] && s->slots[at] != value)
		at = (at + 1) & (s->n_slots - 1);
	return at;
}

static int grow(struct pair_set *s)
{
	struct pair_set larger = { .n_slots = s->n_slots ? 2 * s->n_slots : 64, .n = s->n };

	larger.slots = calloc(larger.n_slots, sizeof(*larger.slots));
	if (!larger.slots)
		return -ENOMEM;
	for (size_t i = 0; i < s->n_slots; i++)
		if (s->slots[i])
			larger.slots[slot_of(&larger, s->slots[i])] = s->slots[i];
	free(s->slots);
	*s = larger;
	return 0;
}

int pair_set_add(struct pair_set *s, uint32_t a, uint32_t b)
{
	size_t at;

	if (pair_set_has(s, a, b))
		return 0;
	if (4 * (s->n + 1) > 3 * s->n_slots && grow(s) < 0)
		return -ENOMEM;
	at = slot_of(s, pair(a, b));
	s->slots[at] = pair(a, b);
	s->n++;
	return 1;
}

bool pair_set_has(const struct pair_set *s, uint32_t a, uint32_t b)
{
	return s->n && s->slots[slot_of(s, pair(a, b))] != 0;
}

void pair_set_clear(struct pair_set *s)
{
	free(s->slots);
	*s = (struct pair_set){ 0 };
}
