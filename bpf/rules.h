/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Which rules hold for this connection? */
#ifndef SOCKPOL_BPF_RULES_H
#define SOCKPOL_BPF_RULES_H

#include "facts.h"
#include "maps.h"

/* 1 if a < b, else 0: the borrow of their difference.  A jump would be guessed wrong half the time.
 */
static __always_inline __u64 is_less(__u64 a, __u64 b)
{
	return ((~a & b) | (~(a ^ b) & (a - b))) >> 63;
}

/* Where the key lies among n ranges, of which n - 1 have their last key here. */
static __always_inline __u32 place_among(const __u64 *last, __u32 n, __u64 key)
{
	__u64 place = 0;

	for (__u32 i = 0; i < n - 1; i++)
		place += is_less(last[i], key);
	return place;
}

/*
 * What the answer says of the key.  Not static: such a function the verifier walks once, and not
 * again from each place that calls it.
 */
__noinline __u32 look_up_key(__u32 answer, __u64 key)
{
	__u32 index = answer & SP_ANSWER_INDEX, levels = answer >> SP_ANSWER_LEVELS_SHIFT;
	const union sp_range_node *node;

	if (!levels)
		return answer;
	for (__u32 i = 1; i < SP_RANGE_LEVELS_MAX && i < levels; i++) {
		node = bpf_map_lookup_elem(&range_nodes, &index);
		if (!node)
			return 0;
		index = node->inner.first_child +
			place_among(node->inner.last, SP_NODE_CHILDREN, key);
	}
	node = bpf_map_lookup_elem(&range_nodes, &index);
	return node ? node->leaf.answer[place_among(node->leaf.last, SP_LEAF_RANGES, key)] : 0;
}

static __always_inline __u64 half_of(const __u32 *a)
{
	return (__u64)bpf_ntohl(a[0]) << 32 | bpf_ntohl(a[1]);
}

static __always_inline __u32 class_of_address(const struct sp_test *test,
					      const struct address *address)
{
	if (!address->known)
		return 0;
	if (address->v4)
		return look_up_key(test->tree4, bpf_ntohl(address->a[0]));
	return look_up_key(look_up_key(test->tree6, half_of(address->a)), half_of(address->a + 2));
}

static __always_inline __u32 class_of(const struct sp_test *test, const struct facts *facts)
{
	bool local =
		test->property == SP_PROPERTY_LOCAL || test->property == SP_PROPERTY_LOCAL_PORT;
	const struct address *address = local ? &facts->local : &facts->remote;

	if (test->property == SP_PROPERTY_REMOTE || test->property == SP_PROPERTY_LOCAL)
		return class_of_address(test, address);
	return look_up_key(test->tree4, address->port); /* 0, not known, is in no rule's list */
}

/* The rules that pass one test. */
static __always_inline __u64 rules_by_test(const struct sp_test *test, const struct facts *facts)
{
	__u32 index = class_of(test, facts);
	__u64 *vector;

	if (index >= test->n_vectors) /* never: the two are of one generation */
		index = 0;
	index += test->first_vector;
	vector = bpf_map_lookup_elem(&vectors, &index);
	return vector ? *vector : 0;
}

struct narrowing {
	const struct facts *facts;
	__u64 held;
	__u32 first_test;
};

static long run_test(__u32 i, struct narrowing *n)
{
	__u32 index = n->first_test + i;
	struct sp_test *test = bpf_map_lookup_elem(&tests, &index);

	n->held &= test ? rules_by_test(test, n->facts) : 0;
	return n->held ? 0 : 1; /* 1 ends the loop */
}

/*
 * Bits of the rules that hold; those that do not depend on the connection have none.  The loop is
 * bpf_loop's, so that the verifier walks its body once.
 */
static __always_inline __u64 rules_that_hold(const struct sp_policy *p,
					     const struct sp_stage_ops *due,
					     const struct facts *facts)
{
	struct narrowing n = {
		.facts = facts,
		.held = due->rules,
		.first_test = due->first_test,
	};

	/* The verifier of 6.1 does not know what the family is, even where it is a constant. */
	if (!n.held || facts->family >= SP_FAMILY_INDEX_MAX)
		return 0;
	n.held &= p->families[facts->family];
	if (due->n_tests)
		bpf_loop(due->n_tests, run_test, &n, 0);
	return n.held;
}

/* 0 to 63; x is not 0. */
static __always_inline __u32 highest_bit(__u64 x)
{
	__u32 n = 0;

	if (x >> 32) {
		n = 32;
		x >>= 32;
	}
	if (x >> 16) {
		n += 16;
		x >>= 16;
	}
	if (x >> 8) {
		n += 8;
		x >>= 8;
	}
	if (x >> 4) {
		n += 4;
		x >>= 4;
	}
	if (x >> 2) {
		n += 2;
		x >>= 2;
	}
	return n + (x >> 1);
}

static __always_inline __u32 count_bits(__u64 x)
{
	x -= (x >> 1) & 0x5555555555555555ULL;
	x = (x & 0x3333333333333333ULL) + ((x >> 2) & 0x3333333333333333ULL);
	x = (x + (x >> 4)) & 0x0f0f0f0f0f0f0f0fULL;
	return (x * 0x0101010101010101ULL) >> 56;
}

#endif
