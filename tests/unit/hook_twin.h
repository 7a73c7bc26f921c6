/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The hooks' own code (bpf/rules.h, bpf/apply.h) as a part of a test, over the maps of fake_maps.h.
 * What the kernel would do of it (look-ups, loops, setting an option) is done here.
 */
#ifndef SOCKPOL_HOOK_TWIN_H
#define SOCKPOL_HOOK_TWIN_H

#include "fake_maps.h"

/* Instead of <bpf/bpf_helpers.h>, whose helpers are the kernel's: as much of it as a map needs. */
#define __BPF_HELPERS__
#define SEC(name)
#define __uint(name, value) int(*name)[value]
#define __type(name, type)  typeof(type) *name
#ifndef __always_inline
#define __always_inline inline
#endif
#define __noinline static

/* What one run of a stage did. */
static struct {
	const struct sp_op *set[SP_STAGE_OPS_MAX]; /* in their order */
	size_t n_set;
	uint64_t applied[256]; /* by source */
	uint64_t failures;
} twin;

static void *twin_lookup(const void *map, const void *key);

static long twin_loop(__u32 n, long (*body)(__u32 i, void *ctx), void *ctx)
{
	__u32 i = 0;

	while (i < n && body(i, ctx) == 0)
		i++;
	return i;
}

static int twin_setsockopt(const void *value)
{
	assert_true(twin.n_set < SP_STAGE_OPS_MAX);
	twin.set[twin.n_set++] =
		(const struct sp_op *)((const char *)value - offsetof(struct sp_op, value));
	return 0;
}

/* Nothing fails here, so that nothing is counted. */
static int twin_failed(const void *key, const void *value)
{
	(void)key;
	(void)value;
	twin.failures++;
	return -1;
}

#define bpf_map_lookup_elem(map, key)		    twin_lookup(map, key)
#define bpf_map_update_elem(map, key, value, flags) twin_failed(key, value)
#define bpf_loop(n, body, ctx, flags)		    twin_loop(n, (long (*)(__u32, void *))(body), ctx)
#define bpf_setsockopt(ctx, level, name, value, n)  ((void)(ctx), twin_setsockopt(value))
#undef run_test /* cmocka has an old name for something */
/* As global variables the maps would shadow others of their names. */
#define state	 map_state
#define tests	 map_tests
#define policies map_policies
#include "../../bpf/apply.h"
#undef bpf_map_lookup_elem
#undef bpf_map_update_elem
#undef bpf_loop
#undef bpf_setsockopt
#undef state
#undef tests
#undef policies

static void *twin_lookup(const void *map, const void *key)
{
	uint32_t index;

	memcpy(&index, key, sizeof(index));
	if (map == &ops)
		return fake_array_at(KERNEL_MAP_OPS, index);
	if (map == &map_tests)
		return fake_array_at(KERNEL_MAP_TESTS, index);
	if (map == &vectors)
		return fake_array_at(KERNEL_MAP_VECTORS, index);
	if (map == &range_nodes)
		return fake_array_at(KERNEL_MAP_RANGE_NODES, index);
	if (map == &credits)
		return fake_array_at(KERNEL_MAP_CREDITS, index);
	if (map == &applied)
		return index < ARRAY_SIZE(twin.applied) ? &twin.applied[index] : NULL;
	twin_failed(key, NULL);
	return NULL;
}

/* A stage of the policy at `index`, as its callers in bpf/sockpol.bpf.c have it. */
static inline void twin_run(uint32_t index, enum sp_stage stage, const struct facts *facts,
			    uint32_t families)
{
	const struct sp_policy *p = fake_array_at(KERNEL_MAP_POLICIES, index);
	const struct sp_stage_ops *ops_due = &p->stage[stage];

	memset(&twin, 0, sizeof(twin));
	run_stage(NULL, ops_due, rules_that_hold(p, ops_due, facts), families, true);
	assert_true(twin.failures == 0);
}

#endif
