// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <errno.h>

#include "base/sequences.h"

#define SLOTS_MIN 64u

static uint64_t hash_of(const uint32_t *v, size_t n)
{
	uint64_t h = n;

	for (size_t i = 0; i < n; i++) {
		h = (h ^ v[i]) * 0x9e3779b97f4a7c15u;
		h ^= h >> 32;
	}
	return h;
}

const uint32_t *sequences_get(const struct sequences *s, uint32_t number, size_t *ret_n)
{
	size_t begin = number > 1 ? s->ends[number - 2] : 0;

	*ret_n = s->ends[number - 1] - begin;
	return s->words + begin;
}

/* The slot that holds the sequence, or the free one where it belongs. */
static uint32_t *slot_of(const struct sequences *s, const uint32_t *v, size_t n)
{
	for (uint64_t h = hash_of(v, n);; h++) {
		uint32_t *slot = &s->slots[h & (s->n_slots - 1)];
		const uint32_t *has;
		size_t n_has;

		if (!*slot)
			return slot;
		has = sequences_get(s, *slot, &n_has);
		if (n_has == n && (n == 0 || memcmp(has, v, n * sizeof(*v)) == 0))
			return slot;
	}
}

/* At most half of the slots are taken. */
static int make_room_for_slots(struct sequences *s)
{
	uint32_t *old = s->slots, *slots;
	uint32_t n = s->n_slots ? 2 * s->n_slots : SLOTS_MIN;

	if (s->n + 1 <= s->n_slots / 2)
		return 0;
	slots = calloc(n, sizeof(*slots));
	if (!slots)
		return -ENOMEM;
	s->slots = slots;
	s->n_slots = n;
	for (uint32_t i = 1; i <= s->n; i++) {
		size_t length;
		const uint32_t *v = sequences_get(s, i, &length);

		*slot_of(s, v, length) = i;
	}
	free(old);
	return 0;
}

static int make_room_for_words(struct sequences *s, size_t n)
{
	size_t room = s->room_words ? s->room_words : SLOTS_MIN;
	uint32_t *words;

	while (room - s->n_words < n)
		room *= 2;
	if (room == s->room_words)
		return 0;
	if (room > UINT32_MAX)
		return -ENOMEM;
	words = reallocarray(s->words, room, sizeof(*words));
	if (!words)
		return -ENOMEM;
	s->words = words;
	s->room_words = room;
	return 0;
}

int sequences_put(struct sequences *s, const uint32_t *v, size_t n, uint32_t *ret)
{
	uint32_t *slot;

	if (make_room_for_slots(s) < 0)
		return -ENOMEM;
	slot = slot_of(s, v, n);
	if (!*slot) {
		if (make_room_for_words(s, n) < 0 || GROW(s->ends, s->n) < 0)
			return -ENOMEM;
		if (n)
			memcpy(s->words + s->n_words, v, n * sizeof(*v));
		s->n_words += n;
		s->ends[s->n] = (uint32_t)s->n_words;
		*slot = ++s->n;
	}
	*ret = *slot;
	return 0;
}

void sequences_clear(struct sequences *s)
{
	free(s->words);
	free(s->ends);
	free(s->slots);
	*s = (struct sequences){ 0 };
}
