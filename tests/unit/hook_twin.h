/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The hooks' own code (bpf/rules.h, bpf/apply.h) as a part of a test, over an image of the maps in
 * memory.  What the kernel would do for it (look-ups, loops, setting an option) is done here.
 */
#ifndef SOCKPOL_HOOK_TWIN_H
#define SOCKPOL_HOOK_TWIN_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "compile/image.h"
#include "policy/stage.h"

#define TWIN_COUNTERS SP_COUNTERS_CHUNK /* one chunk */

/* What the kernel has. */
static struct {
	const struct image *image;
	struct sp_list_cell lists; /* whatever its place: of the one cgroup that there is */
} twin_kernel;

/* What one run of a stage did. */
static struct {
	struct sp_op set[2 * SP_BLOCK_OPS_MAX]; /* in their order */
	size_t n_set;
	sp_applied_t applied[TWIN_COUNTERS];
	bool replied;
	__u32 reply;
	bool failed; /* a look-up beyond a map, or a failure counted: there is none */
} twin;

/* Instead of <bpf/bpf_core_read.h>: the kernel's structures are the test's own. */
#define __BPF_CORE_READ_H__
#define BPF_CORE_READ_1(p, a)		   ((p)->a)
#define BPF_CORE_READ_2(p, a, b)	   ((p)->a->b)
#define BPF_CORE_READ_N(_1, _2, name, ...) name
#define BPF_CORE_READ(p, ...)                                                                      \
	BPF_CORE_READ_N(__VA_ARGS__, BPF_CORE_READ_2, BPF_CORE_READ_1)(p, __VA_ARGS__)
#define BPF_CORE_READ_BITFIELD_PROBED(p, field) ((p)->field)
#define bpf_core_read(to, n, from)		memcpy(to, from, n)
#define bpf_core_enum_value_exists(type, value) 0
#define bpf_core_type_exists(type)		0
#define bpf_core_type_id_kernel(type)		0
#define BPF_CORE_READ_BITFIELD(p, field)	((p)->field)
#define __ksym
#define __weak

/* Instead of <bpf/bpf_helpers.h>, whose helpers are the kernel's: as much of it as a map needs. */
#define __BPF_HELPERS__
#define SEC(name)
#define __uint(name, value)  int(*name)[value]
#define __type(name, type)   typeof(type) *name
#define __array(name, value) typeof(value) *name[]
#ifndef __always_inline
#define __always_inline inline
#endif
#define __noinline static __attribute__((unused))

static void *twin_look_up(void *map, const void *key);

static long twin_loop(__u32 n, long (*body)(__u32 i, void *ctx), void *ctx)
{
	__u32 i = 0;

	while (i < n && body(i, ctx) == 0)
		i++;
	return i;
}

static int twin_setsockopt(void *value, int n)
{
	const struct sp_op *op =
		(const struct sp_op *)((const char *)value - offsetof(struct sp_op, value));

	assert_true(twin.n_set < ARRAY_SIZE(twin.set));
	assert_int_equal(n, op->optlen);
	twin.set[twin.n_set++] = *op;
	return 0;
}

/* The one socket that there is, as the kernel has it, and what is kept of it. */
struct twin_socket;
static void *twin_storage(const void *map, uint64_t flags);
static int twin_getsockopt(int level, int name, void *value, int n);
static long twin_find_socket(void *to);

static inline int twin_failed(void)
{
	twin.failed = true;
	return -1;
}

#define bpf_map_lookup_elem(map, key)		    twin_look_up(map, key)
#define bpf_map_update_elem(map, key, value, flags) ((void)(key), (void)(value), twin_failed())
#define bpf_loop(n, body, ctx, flags)		    twin_loop(n, (long (*)(__u32, void *))(body), ctx)
#define bpf_setsockopt(ctx, level, name, value, n)  ((void)(ctx), twin_setsockopt(value, n))
#define bpf_getsockopt(ctx, level, name, value, n)                                                 \
	((void)(ctx), twin_getsockopt(level, name, value, n))
#define bpf_probe_read_kernel(to, n, from)	  ((void)(from), twin_find_socket(to))
#define bpf_sk_storage_get(map, sk, value, flags) ((void)(sk), twin_storage(map, flags))
#define bpf_skc_to_mptcp_sock(sk)		  ((struct mptcp_sock *)((void)(sk), NULL))
#define bpf_get_prandom_u32()			  0u
#undef run_test /* cmocka has an old name for something */
/* The maps are global variables, and their names others' as well; and clang, which compiles the
 * hooks, does not warn of what is not used. */
#pragma GCC diagnostic ignored "-Wshadow"
#pragma GCC diagnostic ignored "-Wunused-parameter"
#pragma GCC diagnostic ignored "-Wunknown-pragmas"
#include "../../bpf/apply.h"
#undef bpf_map_lookup_elem
#undef bpf_map_update_elem
#undef bpf_loop
#undef bpf_setsockopt
#undef bpf_getsockopt
#undef bpf_probe_read_kernel
#undef bpf_sk_storage_get

static struct {
	struct sock sock;
	struct sp_own_sets own;
	bool has_own;
} twin_socket;

static long twin_find_socket(void *to)
{
	struct sock *raw = &twin_socket.sock;

	memcpy(to, &raw, sizeof(raw));
	return 0;
}

static void *twin_storage(const void *map, uint64_t flags)
{
	if (map != (const void *)&own_sets)
		return NULL;
	twin_socket.has_own |= flags & BPF_SK_STORAGE_GET_F_CREATE;
	return twin_socket.has_own ? &twin_socket.own : NULL;
}

static int twin_getsockopt(int level, int name, void *value, int n)
{
	(void)level;
	(void)name;
	memset(value, 0, (size_t)n);
	return 0;
}

static struct given twin_given; /* what socket(2) brought in the last run of a stage */

/* The arrays of maps, and what stands for a map within. */
static struct twin_map {
	void *outer;
	enum map_id id;
} twin_maps[] = {
	{ &policies, MAP_ID_policies },
	{ &blocks, MAP_ID_blocks },
	{ &ops, MAP_ID_ops },
	{ &vectors, MAP_ID_vectors },
	{ &range_nodes, MAP_ID_range_nodes },
	{ &policy_lists, MAP_ID_policy_lists },
	{ &applied, MAP_ID_applied },
};

static void *twin_element(enum map_id id, uint32_t index)
{
	const struct image *im = twin_kernel.image;

	if (id == MAP_ID_policy_lists)
		return &twin_kernel.lists;
	if (id == MAP_ID_applied)
		return index < TWIN_COUNTERS ? &twin.applied[index] : NULL;
	if (index < im->of[id].n)
		return (char *)im->of[id].values + (size_t)index * map_table[id].value_size;
	twin_failed();
	return NULL;
}

/* Both maps of an array of two are the image: the generation is another test's matter. */
static void *twin_look_up(void *map, const void *key)
{
	uint32_t index;

	memcpy(&index, key, sizeof(index));
	for (size_t i = 0; i < ARRAY_SIZE(twin_maps); i++) {
		if (map == twin_maps[i].outer)
			return &twin_maps[i];
		if (map == &twin_maps[i])
			return twin_element(twin_maps[i].id, index);
	}
	twin_failed();
	return NULL;
}

/* As numbered_op() of bpf/sockpol.bpf.c has it. */
static const struct sp_op *twin_op(uint32_t number)
{
	const struct sp_op_cell *cell = twin_element(MAP_ID_ops, number / SP_OPS_CELL);

	return &cell->op[number % SP_OPS_CELL];
}

#define TWIN_CGROUP 4711 /* its id */

static inline void twin_load(const struct image *im)
{
	twin_kernel.image = im;
	state.of[0] = state.of[1] = im->generation;
}

/* As RUN_STAGE of bpf/sockpol.bpf.c has it. */
static inline void twin_run_policies(void *ctx, const uint32_t *numbers, uint32_t n,
				     enum sp_stage s, const struct facts *facts, uint32_t families,
				     uint64_t except, enum context context)
{
	uint32_t how = HOW(s, families, s != SP_STAGE_TCP_BIND, 0);
	const struct sp_policy *p = n == 1 ? twin_element(MAP_ID_policies, numbers[0]) : NULL;
	const struct sp_stage_of *stage = p ? &p->stage[s] : NULL;

	if (p && !is_due(stage))
		return;
	if (p && !stage->rules) {
		count_plain(p, stage, how);
		set_block(ctx, stage->first_cell, stage->n_ops, how, except | except_plain(p, how),
			  context);
		return;
	}
	twin_kernel.lists.of[0].word[0] = SP_WORD(TWIN_CGROUP, n);
	for (uint32_t i = 0; i < n; i++)
		twin_kernel.lists.of[0].word[1 + i] = SP_WORD(TWIN_CGROUP, numbers[i]);
	assert_int_equal(merge(ctx, facts, TWIN_CGROUP, n == 1 ? numbers[0] : SP_WORD_IN_LISTS, how,
			       except, context),
			 0);
}

/*
 * A stage for a socket to which the n policies apply, weakest first.  reply: at the stages of
 * replies the one that the kernel asks for.
 */
static inline void twin_run(const uint32_t *numbers, uint32_t n, enum sp_stage s,
			    const struct facts *facts, uint32_t families, enum option_id reply)
{
	bool is_reply = s == SP_STAGE_REPLY_ACTIVE || s == SP_STAGE_REPLY_PASSIVE;
	struct bpf_sock_ops sock_op = { .reply = UINT32_MAX };

	memset(&twin, 0, sizeof(twin));
	memset(&twin_given, 0, sizeof(twin_given));
	twin_given.by_call = s == SP_STAGE_LOCAL_SOCKET;
	twin_given.family = (__u16)facts->family;
	if (SP_STAGE_IS_SOCKET(s) || twin_given.by_call)
		twin_run_policies(&twin_given, numbers, n, s, facts, families, 0, CONTEXT_GIVEN);
	else
		twin_run_policies(&sock_op, numbers, n, s, facts, families,
				  is_reply ? ~(1ull << reply) : 0,
				  stage_table[s].sock_ops ? CONTEXT_OPS : CONTEXT_ADDR);
	for (unsigned i = 0; i < twin_given.n_ops; i++)
		twin.set[twin.n_set++] = *twin_op(twin_given.op[i]);
	twin.replied = sock_op.reply != UINT32_MAX;
	twin.reply = sock_op.reply;
	assert_false(twin.failed);
}

#endif
