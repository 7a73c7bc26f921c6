/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Finds which of a policy's rules hold for this connection. */
#ifndef SOCKPOL_BPF_RULES_H
#define SOCKPOL_BPF_RULES_H

#include "facts.h"
#include "maps.h"

/* Returns 1 if a < b, else 0: the borrow of their difference.  A jump would be mispredicted half
 * the time. */
static __always_inline __u64 is_less(__u64 a, __u64 b)
{
	return ((~a & b) | (~(a ^ b) & (a - b))) >> 63;
}

/* Returns the index of the range, of n, in which the key lies.  last: the last key of each but the
 * last range. */
static __always_inline __u32 range_of(const __u64 *last, __u32 n, __u64 key)
{
	__u64 index = 0;

	for (__u32 i = 0; i < n - 1; i++)
		index += is_less(last[i], key);
	return index;
}

/* Looks the key up in the tree that the answer is.  A global function: the verifier walks it once,
 * not again from each place that calls it. */
__noinline __u32 look_up_key(__u32 answer, __u64 key, __u32 generation)
{
	__u32 index = answer & SP_ANSWER_INDEX, levels = answer >> SP_ANSWER_LEVELS_SHIFT;
	const struct sp_range_node *node;
	void *map;

	if (!levels)
		return answer;
	map = MAP_IN(range_nodes, generation & 1);
	if (!map)
		return 0;
	for (__u32 i = 1; i < SP_RANGE_LEVELS_MAX && i < levels; i++) {
		node = bpf_map_lookup_elem(map, &index);
		if (!node)
			return 0;
		index = node->inner.first_child + range_of(node->inner.last, SP_NODE_CHILDREN, key);
	}
	node = bpf_map_lookup_elem(map, &index);
	return node ? node->leaf.answer[range_of(node->leaf.last, SP_LEAF_RANGES, key)] : 0;
}

static __always_inline __u64 half_of(const __u32 *a)
{
	return (__u64)bpf_ntohl(a[0]) << 32 | bpf_ntohl(a[1]);
}

static __always_inline __u32 class_of_address(const struct sp_test *test,
					      const struct address *address, __u32 generation)
{
	if (!address->known)
		return 0;
	if (address->v4)
		return look_up_key(test->tree4, bpf_ntohl(address->a[0]), generation);
	return look_up_key(look_up_key(test->tree6, half_of(address->a), generation),
			   half_of(address->a + 2), generation);
}

/* Returns the rules that pass one test.  A global function, for the same reason. */
__noinline __u64 rules_by_test(const struct sp_test *test, const struct facts *facts,
			       __u32 property, __u32 generation)
{
	const struct address *address;
	__u32 index;
	__u64 *vector;

	if (!test || !facts)
		return 0;
	address = property == SP_PROPERTY_LOCAL || property == SP_PROPERTY_LOCAL_PORT
			  ? &facts->local
			  : &facts->remote;
	if (property == SP_PROPERTY_REMOTE || property == SP_PROPERTY_LOCAL)
		index = class_of_address(test, address, generation);
	else /* an unknown port is 0, and in no rule's list */
		index = look_up_key(test->tree4, address->port, generation);
	if (index >= test->n_vectors)
		index = 0;
	index += test->first_vector;
	vector = MAP_LOOK(vectors, generation & 1, &index);
	return vector ? *vector : 0;
}

/* Returns the bits of those rules that hold, among the ones looked at here. */
static __always_inline __u64 rules_that_hold(const struct sp_policy *p, const struct sp_stage_of *s,
					     const struct facts *facts, __u32 generation)
{
	__u32 family = facts->family;
	__u64 held = s->rules;

	/* The verifier of 6.1 does not know the family, even where it is a constant. */
	if (!held || family >= SP_FAMILY_INDEX_MAX)
		return 0;
	held &= p->families[family];
	for (__u32 i = 0; i < SP_PROPERTY_MAX; i++)
		if (held && s->properties & 1 << i)
			held &= rules_by_test(&p->tests[i], facts, i, generation);
	return held;
}

static __always_inline __u32 count_bits(__u64 x)
{
	x -= (x >> 1) & 0x5555555555555555ULL;
	x = (x & 0x3333333333333333ULL) + ((x >> 2) & 0x3333333333333333ULL);
	x = (x + (x >> 4)) & 0x0f0f0f0f0f0f0f0fULL;
	return (x * 0x0101010101010101ULL) >> 56;
}

/* Returns x with its highest bit alone. */
static __always_inline __u64 highest_bit(__u64 x)
{
	x |= x >> 1;
	x |= x >> 2;
	x |= x >> 4;
	x |= x >> 8;
	x |= x >> 16;
	x |= x >> 32;
	return x ^ x >> 1;
}

#endif
