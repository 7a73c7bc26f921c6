/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What is known of a cgroup: no policy, one policy's number, or that policy_lists has them.
 *
 * Nothing is locked: see include/abi.h.  The order in which words are written does not matter.
 */
#ifndef SOCKPOL_BPF_CACHE_H
#define SOCKPOL_BPF_CACHE_H

#include <stdbool.h>

#include "maps.h"

/* The policies of a cgroup, weakest first. */
struct policy_list {
	__u16 number[SP_LIST_MAX];
	__u8 n, reserved;
};

/* Returns an index that clang cannot turn into a running pointer, which the verifier would not
 * bound. */
static __always_inline __u32 cache_index(__u32 i)
{
	asm volatile("" : "+r"(i));
	return i % SP_LIST_MAX;
}

static __always_inline __u64 cache_read(const __u64 *word)
{
	return *(const volatile __u64 *)word;
}

static __always_inline void cache_write(__u64 *word, __u64 value)
{
	*(volatile __u64 *)word = value;
}

/* Writes a list into one of a cell's two places: a free one or the cgroup's own, else either. */
static __always_inline void cache_write_list(__u64 id, __u32 generation, const __u32 *numbers,
					     __u32 n)
{
	__u32 at = SP_PLACE(id, state.seed, SP_LIST_BITS), way;
	struct sp_list_cell *cell = MAP_LOOK(policy_lists, generation & 1, &at);
	__u64 first;

	if (!cell)
		return;
	first = cache_read(&cell->of[0].word[0]);
	way = !first || SP_WORD_IS_OF(first, id) ? 0 : bpf_get_prandom_u32() % SP_LIST_WAYS;
	cache_write(&cell->of[way].word[0], SP_WORD(id, n));
	for (__u32 i = 0; i < SP_LIST_MAX; i++) {
		if (i >= n)
			break;
		cache_write(&cell->of[way].word[1 + i], SP_WORD(id, numbers[cache_index(i)]));
	}
}

static __always_inline void cache_write_word(__u64 id, __u32 generation, __u32 what)
{
	__u32 at = SP_PLACE(id, state.seed, SP_CACHE_BITS), way;
	struct sp_cache_set *set = MAP_LOOK(cgroup_cache, generation & 1, &at);

	if (!set)
		return;
	for (way = 0; way < SP_CACHE_WAYS; way++) {
		__u64 there = cache_read(&set->way[way]);

		if (!there || SP_WORD_IS_OF(there, id))
			break;
	}
	if (way >= SP_CACHE_WAYS)
		way = bpf_get_prandom_u32();
	cache_write(&set->way[way % SP_CACHE_WAYS], SP_WORD(id, what));
}

/* Remembers the policies of a cgroup.  numbers: SP_LIST_MAX of them, of which n count.  Returns
 * what cache_recall() says from now on. */
static __always_inline __u32 cache_remember(__u64 id, __u32 generation, const __u32 *numbers,
					    __u32 n)
{
	__u32 what = n == 0 ? 0 : n == 1 ? numbers[0] : SP_WORD_IN_LISTS;

	if (what == SP_WORD_IN_LISTS)
		cache_write_list(id, generation, numbers, n);
	cache_write_word(id, generation, what);
	return what;
}

/* Looks a cgroup up; false: nothing is known of it, and classify() finds out. */
static __always_inline bool cache_recall(__u64 id, __u32 generation, __u32 *ret_what)
{
	__u32 at = SP_PLACE(id, state.seed, SP_CACHE_BITS);
	struct sp_cache_set *set = MAP_LOOK(cgroup_cache, generation & 1, &at);

	if (!set)
		return false;
	for (__u32 way = 0; way < SP_CACHE_WAYS; way++) {
		__u64 word = cache_read(&set->way[way]);

		if (SP_WORD_IS_OF(word, id)) {
			*ret_what = SP_WORD_WHAT(word);
			return true;
		}
	}
	return false;
}

/*
 * Reads a list.  Returns how many policies it has; 0: another cgroup's list took its place.  Not
 * static: the verifier walks it once, and takes the length for any number.
 */
__noinline __u32 cache_recall_list(__u64 id, __u32 generation, struct policy_list *ret)
{
	__u32 at = SP_PLACE(id, state.seed, SP_LIST_BITS), n;
	struct sp_list_cell *cell = MAP_LOOK(policy_lists, generation & 1, &at);
	__u64 *words, first;

	if (!cell || !ret)
		return 0;
	words = cell->of[0].word;
	first = cache_read(words);
	if (!SP_WORD_IS_OF(first, id)) {
		words = cell->of[1].word;
		first = cache_read(words);
		if (!SP_WORD_IS_OF(first, id))
			return 0;
	}
	n = SP_WORD_WHAT(first);
	for (__u32 i = 0; i < SP_LIST_MAX; i++) {
		__u64 word;

		if (i >= n)
			break;
		word = cache_read(&words[1 + i]);
		if (!SP_WORD_IS_OF(word, id))
			return 0;
		ret->number[i] = SP_WORD_WHAT(word);
	}
	ret->n = n;
	return n;
}

#endif
