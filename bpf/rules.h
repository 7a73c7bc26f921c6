/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Which rules hold for this connection? */
#ifndef SOCKPOL_BPF_RULES_H
#define SOCKPOL_BPF_RULES_H

#include "facts.h"
#include "maps.h"

static __always_inline __u32 class_of_port(__u32 set, __u16 port)
{
	struct sp_set_key4 key = { .prefixlen = SP_SET_BITS + 16, .set = set };
	__u32 *class;

	if (!port)
		return 0;
	key.data[0] = port >> 8;
	key.data[1] = port & 0xff;
	class = bpf_map_lookup_elem(&sets4, &key);
	return class ? *class : 0;
}

static __always_inline __u32 class_of_address(__u32 set, const struct address *address)
{
	__u32 *class;

	if (!address->known)
		return 0;
	if (address->v4) {
		struct sp_set_key4 key = { .prefixlen = SP_SET_BITS + 32, .set = set };

		__builtin_memcpy(key.data, address->a, sizeof(key.data));
		class = bpf_map_lookup_elem(&sets4, &key);
	} else {
		struct sp_set_key6 key = { .prefixlen = SP_SET_BITS + 128, .set = set };

		__builtin_memcpy(key.data, address->a, sizeof(key.data));
		class = bpf_map_lookup_elem(&sets6, &key);
	}
	return class ? *class : 0;
}

/* The rules that pass one test. */
static __always_inline __u64 rules_by_test(const struct sp_test *test, const struct facts *facts)
{
	__u32 set = test->set, index;
	__u64 *vector;

	switch (test->property) {
	case SP_PROPERTY_REMOTE:
		index = class_of_address(set, &facts->remote);
		break;
	case SP_PROPERTY_LOCAL:
		index = class_of_address(set, &facts->local);
		break;
	case SP_PROPERTY_REMOTE_PORT:
		index = class_of_port(set, facts->remote.port);
		break;
	default:
		index = class_of_port(set, facts->local.port);
		break;
	}
	if (index >= test->n_vectors) /* a set of another generation */
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
