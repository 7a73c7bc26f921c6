/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The hooks' own code (bpf/apply.h, bpf/own_sets.h, bpf/afterwards.h and what they use) as a part
 * of a test, over an image of the maps in memory and one socket.  What the kernel would do for it
 * (look-ups, loops, setting and reading an option, storage) is done here.
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
	uint32_t what; /* the policies of the one cgroup that there is, as in its cache */
	struct sp_list_cell lists; /* whatever its place: of that cgroup */
	unsigned lists_lost;	   /* so often another cgroup's are found in their place */
} twin_kernel;

/* A call of bpf_setsockopt. */
struct twin_call {
	int level, name, n, result;
	unsigned char value[SP_VALUE_SIZE];
};

/* An element of one of the hashes that are counted in. */
struct twin_count {
	const void *map;
	unsigned char key[8];
	uint64_t n;
};

/* What one run of a hook did. */
static struct {
	struct sp_op set[2 * SP_BLOCK_OPS_MAX]; /* the calls for operations, in their order */
	size_t n_set;
	struct twin_call calls[2 * SP_BLOCK_OPS_MAX]; /* all calls */
	size_t n_calls;
	struct twin_count counts[32];
	size_t n_counts;
	sp_applied_t applied[TWIN_COUNTERS];
	unsigned n_classified;
	bool replied;
	__u32 reply;
	bool refused;
	bool failed; /* a look-up beyond a map: there is none */
} twin;

/* Instead of <bpf/bpf_core_read.h>: the kernel's structures are the test's own. */
#define __BPF_CORE_READ_H__
#define BPF_CORE_READ_1(p, a)		   ((p) ? (p)->a : 0)
#define BPF_CORE_READ_2(p, a, b)	   ((p) && (p)->a ? (p)->a->b : 0)
#define BPF_CORE_READ_N(_1, _2, name, ...) name
#define BPF_CORE_READ(p, ...)                                                                      \
	BPF_CORE_READ_N(__VA_ARGS__, BPF_CORE_READ_2, BPF_CORE_READ_1)(p, __VA_ARGS__)
#define BPF_CORE_READ_BITFIELD_PROBED(p, field) BPF_CORE_READ_1(p, field)
#define bpf_core_read(to, n, from)		memcpy(to, from, n)
#define bpf_core_enum_value_exists(type, value) 1
#define bpf_core_type_exists(type)		1
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
static int twin_count(const void *map, const void *key, const void *value);
static int twin_setsockopt(int level, int name, const void *value, int n);
static int twin_getsockopt(int level, int name, void *value, int n);
static void *twin_storage(const void *map, const void *sk, uint64_t flags);
static void *twin_parent(void);

static long twin_loop(__u32 n, long (*body)(__u32 i, void *ctx), void *ctx)
{
	__u32 i = 0;

	while (i < n && body(i, ctx) == 0)
		i++;
	return i;
}

#define bpf_map_lookup_elem(map, key)		    twin_look_up(map, key)
#define bpf_map_update_elem(map, key, value, flags) twin_count(map, key, value)
#define bpf_loop(n, body, ctx, flags)		    twin_loop(n, (long (*)(__u32, void *))(body), ctx)
#define bpf_setsockopt(ctx, level, name, value, n)                                                 \
	((void)(ctx), twin_setsockopt(level, name, value, n))
#define bpf_getsockopt(ctx, level, name, value, n)                                                 \
	((void)(ctx), twin_getsockopt(level, name, value, n))
#define bpf_probe_read_kernel(to, n, from)	  ((void)(from), memset(to, 0, n)) /* older kernels' */
#define bpf_sk_storage_get(map, sk, value, flags) twin_storage(map, sk, flags)
#define bpf_skc_to_mptcp_sock(sk)		  ((struct mptcp_sock *)((void)(sk), twin_parent()))
#define bpf_get_prandom_u32()			  0u
#undef run_test /* cmocka has an old name for something */
/* The maps are global variables, and their names others' as well; and clang, which compiles the
 * hooks, does not warn of what is not used. */
#pragma GCC diagnostic ignored "-Wshadow"
#pragma GCC diagnostic ignored "-Wunused-parameter"
#pragma GCC diagnostic ignored "-Wunknown-pragmas"
#include "../../bpf/apply.h"

/* Instead of bpf/classify.h, which has a twin of its own (classify_twin.h). */
#define SOCKPOL_BPF_CLASSIFY_H
static __u32 classify(__u64 id, __u64 address, __u32 generation)
{
	twin.n_classified++;
	return twin_kernel.what;
}

static __u64 as_number(__u64 pointer)
{
	return pointer;
}

static __u32 policies_of(const struct owner *owner, __u64 generation)
{
	return twin_kernel.what;
}

#include "../../bpf/afterwards.h"
#undef bpf_map_lookup_elem
#undef bpf_map_update_elem
#undef bpf_loop
#undef bpf_setsockopt
#undef bpf_getsockopt
#undef bpf_probe_read_kernel
#undef bpf_sk_storage_get
#undef bpf_skc_to_mptcp_sock

#define TWIN_CGROUP 4711 /* its id */
/* Ports that the kernel chooses. */
#define TWIN_PORT_LOW  32768
#define TWIN_PORT_HIGH 60999

/* --- the socket ----------------------------------------------------------------------------- */

/* The value of an option, and what becomes of calls that set it or ask for it. */
struct twin_value {
	int level, name;
	unsigned char data[SP_VALUE_SIZE]; /* as getsockopt(2) shows it */
	int get_error;			   /* negative errno, or 0 */
	int helper_error, call_error;	   /* likewise, of bpf_setsockopt and of setsockopt(2) */
};

/* What is kept of a socket. */
struct twin_kept {
	bool has_own, has_socket;
	struct sp_own_sets own;
	struct sp_socket socket;
};

static struct {
	struct bpf_sock sk;    /* as programs see it */
	struct mptcp_sock raw; /* as the kernel has it: any kind lies at its beginning */
	struct twin_kept kept;
	struct mptcp_sock *parent; /* of a subflow; NULL: it is none */
	struct twin_kept of_parent;
	struct twin_value values[64];
	size_t n_values;
} twin_socket;

/* A socket on which nobody has set anything. */
static inline void twin_socket_new(int family, int type, int protocol, int socket_state)
{
	static struct kernfs_node node = { .id = TWIN_CGROUP };
	static struct cgroup owner = { .kn = &node };

	memset(&twin_socket, 0, sizeof(twin_socket));
	twin_socket.sk.family = (__u32)family;
	twin_socket.sk.type = (__u32)type;
	twin_socket.sk.protocol = (__u32)protocol;
	twin_socket.sk.state = (__u32)socket_state;
	twin_socket.raw.sk.icsk_inet.sk.sk_cgrp_data.cgroup = &owner;
}

static inline struct sock *twin_raw(void)
{
	return &twin_socket.raw.sk.icsk_inet.sk;
}

void *bpf_rdonly_cast(const void *object, __u32 btf_id)
{
	(void)object;
	(void)btf_id;
	return twin_raw();
}

static void *twin_parent(void)
{
	return twin_socket.parent;
}

static void *twin_storage(const void *map, const void *sk, uint64_t flags)
{
	bool is_parent = twin_socket.parent && sk == twin_socket.parent;
	struct twin_kept *kept = is_parent ? &twin_socket.of_parent : &twin_socket.kept;
	bool is_own = map == (const void *)&own_sets;
	bool *has = is_own ? &kept->has_own : &kept->has_socket;

	*has |= (flags & BPF_SK_STORAGE_GET_F_CREATE) != 0;
	if (!*has)
		return NULL;
	return is_own ? (void *)&kept->own : (void *)&kept->socket;
}

/* The row of the option table, by either name of an option; NULL: there is none. */
static const struct option *twin_option(int level, int name)
{
	for (size_t i = 0; i < OPTION_MAX; i++)
		if (option_table[i].level == level &&
		    (option_table[i].optname == name || option_table[i].other_optname == name))
			return &option_table[i];
	return NULL;
}

static struct twin_value *twin_value(int level, int name)
{
	const struct option *o = twin_option(level, name);
	size_t i = 0;

	name = o ? o->optname : name;
	while (i < twin_socket.n_values &&
	       (twin_socket.values[i].level != level || twin_socket.values[i].name != name))
		i++;
	assert_true(i < ARRAY_SIZE(twin_socket.values));
	if (i == twin_socket.n_values)
		twin_socket.values[twin_socket.n_values++] =
			(struct twin_value){ .level = level, .name = name };
	return &twin_socket.values[i];
}

static inline uint32_t twin_number(int level, int name)
{
	uint32_t number;

	memcpy(&number, twin_value(level, name)->data, sizeof(number));
	return number;
}

static inline void twin_have(int level, int name, uint32_t number)
{
	memcpy(twin_value(level, name)->data, &number, sizeof(number));
}

/* What the kernel makes of a value: see enum option_result. */
static void twin_keep(struct twin_value *to, const void *value, int n)
{
	const struct option *o = twin_option(to->level, to->name);
	uint32_t number = 0, old;

	if (o && o->type == OPTION_STRING) {
		memset(to->data, 0, sizeof(to->data));
		memcpy(to->data, value,
		       (size_t)n < sizeof(to->data) ? (size_t)n : sizeof(to->data));
		twin_socket.raw.sk.icsk_ca_setsockopt |= o == &option_table[OPTION_TCP_CONGESTION];
		return;
	}
	memcpy(&number, value, n < 4 ? (size_t)n : 4);
	memcpy(&old, to->data, sizeof(old));
	if (o && (o->result == RESULT_DOUBLED_RMEM || o->result == RESULT_DOUBLED_WMEM)) {
		number *= 2;
		twin_raw()->sk_userlocks |=
			o == &option_table[OPTION_SO_SNDBUF] ? SOCK_SNDBUF_LOCK : SOCK_RCVBUF_LOCK;
	} else if (o && o->result == RESULT_ECN_MASKED && twin_socket.sk.protocol == IPPROTO_TCP) {
		number = (number & ~3u) | (old & 3);
	} else if (o && o->type == OPTION_BOOL) {
		number = !!number;
	}
	memcpy(to->data, &number, sizeof(number));
}

/* The operation of the image to which a value belongs, or NULL. */
static const struct sp_op *twin_op_of(const void *value)
{
	const char *first = twin_kernel.image ? twin_kernel.image->of[MAP_ID_ops].values : NULL;
	size_t size = first ? twin_kernel.image->of[MAP_ID_ops].n * sizeof(struct sp_op_cell) : 0;
	uintptr_t at = (uintptr_t)value - (uintptr_t)first;

	if (at >= size)
		return NULL;
	return (const struct sp_op *)((const char *)value - offsetof(struct sp_op, value));
}

static int twin_setsockopt(int level, int name, const void *value, int n)
{
	struct twin_value *to = twin_value(level, name);
	const struct sp_op *op = twin_op_of(value);
	struct twin_call *call = &twin.calls[twin.n_calls++];

	assert_true(twin.n_calls <= ARRAY_SIZE(twin.calls) && twin.n_set < ARRAY_SIZE(twin.set));
	*call = (struct twin_call){ level, name, n, .result = to->helper_error };
	memcpy(call->value, value, (size_t)n);
	if (op) {
		assert_int_equal(n, op->optlen);
		twin.set[twin.n_set++] = *op;
	}
	if (call->result == 0)
		twin_keep(to, value, n);
	return call->result;
}

static int twin_getsockopt(int level, int name, void *value, int n)
{
	const struct twin_value *from = twin_value(level, name);

	if (from->get_error)
		return from->get_error;
	assert_true(n <= (int)sizeof(from->data));
	memcpy(value, from->data, (size_t)n);
	return 0;
}

/* --- the maps ------------------------------------------------------------------------------- */

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
	static struct sp_list_cell others;
	const struct image *im = twin_kernel.image;

	if (id == MAP_ID_policy_lists && twin_kernel.lists_lost) {
		twin_kernel.lists_lost--;
		return &others;
	}
	if (id == MAP_ID_policy_lists)
		return &twin_kernel.lists;
	if (id == MAP_ID_applied)
		return index < TWIN_COUNTERS ? &twin.applied[index] : NULL;
	if (index < im->of[id].n)
		return (char *)im->of[id].values + (size_t)index * map_table[id].value_size;
	/* the number of no operation is asked for as well */
	twin.failed |= id != MAP_ID_ops || index != NO_OP / SP_OPS_CELL;
	return NULL;
}

static struct twin_count *twin_counted(const void *map, const void *key)
{
	for (size_t i = 0; i < twin.n_counts; i++)
		if (twin.counts[i].map == map &&
		    memcmp(twin.counts[i].key, key, sizeof(twin.counts[i].key)) == 0)
			return &twin.counts[i];
	return NULL;
}

static int twin_count(const void *map, const void *key, const void *value)
{
	struct twin_count *to = &twin.counts[twin.n_counts++];

	assert_true(twin.n_counts <= ARRAY_SIZE(twin.counts));
	to->map = map;
	memcpy(to->key, key, sizeof(to->key));
	memcpy(&to->n, value, sizeof(to->n));
	return 0;
}

/* Both maps of an array of two are the image: the generation is another test's matter. */
static void *twin_look_up(void *map, const void *key)
{
	struct twin_count *count;
	uint32_t index;

	if (map == &failures || map == &outcomes) {
		count = twin_counted(map, key);
		return count ? &count->n : NULL;
	}
	memcpy(&index, key, sizeof(index));
	for (size_t i = 0; i < ARRAY_SIZE(twin_maps); i++) {
		if (map == twin_maps[i].outer)
			return &twin_maps[i];
		if (map == &twin_maps[i])
			return twin_element(twin_maps[i].id, index);
	}
	twin.failed = true;
	return NULL;
}

/* How often a map counts this of an option, whosever it is; the keys of both maps are alike. */
static inline uint64_t twin_sum(const void *map, enum option_id option, uint16_t what)
{
	uint64_t n = 0;

	for (size_t i = 0; i < twin.n_counts; i++) {
		struct sp_outcome key;

		memcpy(&key, twin.counts[i].key, sizeof(key));
		if (twin.counts[i].map == map && key.option == option && key.kind == what)
			n += twin.counts[i].n;
	}
	return n;
}

/* How often it was counted that the values of an option could not be set. */
static inline uint64_t twin_failures(enum option_id option, int error)
{
	return twin_sum(&failures, option, (uint16_t)error);
}

static inline uint64_t twin_outcomes(enum option_id option, enum sp_outcome_kind kind)
{
	return twin_sum(&outcomes, option, (uint16_t)kind);
}

/* The same of one policy or rule. */
static inline uint64_t twin_outcomes_of(uint32_t counter, enum option_id option,
					enum sp_outcome_kind kind)
{
	const struct sp_outcome key = { counter, (__u16)option, (__u16)kind };
	const struct twin_count *count = twin_counted(&outcomes, &key);

	return count ? count->n : 0;
}

static inline void twin_forget(void)
{
	memset(&twin, 0, sizeof(twin));
}

/* --- running -------------------------------------------------------------------------------- */

static inline void twin_load(const struct image *im)
{
	twin_kernel.image = im;
	state.generation = 2;
	state.port_low = TWIN_PORT_LOW;
	state.port_high = TWIN_PORT_HIGH;
	state.of[0] = state.of[1] = im->generation;
	state.stages = im->generation.stages;
	image_ask(im->generation.asked, im->generation.respected, state.asked);
}

/* The policies that apply, weakest first. */
static inline void twin_apply(const uint32_t *numbers, uint32_t n)
{
	twin_kernel.what = n == 0 ? 0 : n == 1 ? numbers[0] : SP_WORD_IN_LISTS;
	twin_kernel.lists.of[0].word[0] = SP_WORD(TWIN_CGROUP, n);
	for (uint32_t i = 0; i < n; i++)
		twin_kernel.lists.of[0].word[1 + i] = SP_WORD(TWIN_CGROUP, numbers[i]);
}

/* As RUN_STAGE of bpf/sockpol.bpf.c has it. */
static inline void twin_run_policies(void *ctx, enum sp_stage s, const struct facts *facts,
				     uint32_t families, uint64_t except, enum context context)
{
	uint32_t how = HOW(s, families, s != SP_STAGE_TCP_BIND, state.generation);
	bool is_one = twin_kernel.what != SP_WORD_IN_LISTS;
	const struct sp_policy *p = is_one ? twin_element(MAP_ID_policies, twin_kernel.what) : NULL;
	const struct sp_stage_of *stage = p ? &p->stage[s] : NULL;

	if (p && !is_due(stage))
		return;
	if (p && !stage->rules) {
		count_plain(p, stage, how);
		set_block(ctx, stage->first_cell, stage->n_ops, how, except | except_plain(p, how),
			  context);
		return;
	}
	assert_int_equal(merge(ctx, facts, TWIN_CGROUP, twin_kernel.what, how, except, context), 0);
}

/* A stage for the socket.  reply: at the stages of replies the one that the kernel asks for. */
static inline void twin_run(enum sp_stage s, const struct facts *facts, uint32_t families,
			    enum option_id reply)
{
	struct bpf_sock_addr addr = { .sk = &twin_socket.sk };
	struct bpf_sock_ops op = { .reply = UINT32_MAX, .sk = &twin_socket.sk };

	twin_forget();
	memset(&twin_given, 0, sizeof(twin_given));
	twin_given.by_call = s == SP_STAGE_LOCAL_SOCKET;
	twin_given.family = (__u16)facts->family;
	if (SP_STAGE_IS_SOCKET(s) || twin_given.by_call) {
		twin_run_policies(&twin_given, s, facts, families, 0, CONTEXT_GIVEN);
	} else if (stage_table[s].sock_ops) {
		twin_run_policies(&op, s, facts, families,
				  SP_STAGE_IS_REPLY(s) ? ~(1ull << reply) : 0, CONTEXT_OPS);
		twin.refused = catch_up_ops(&op);
	} else {
		twin_run_policies(&addr, s, facts, families, 0, CONTEXT_ADDR);
		twin.refused = catch_up_addr(&addr);
	}
	for (unsigned i = 0; i < twin_given.n_ops; i++)
		twin.set[twin.n_set++] = *numbered_op(twin_given.op[i], 0);
	twin.replied = op.reply != UINT32_MAX;
	twin.reply = op.reply;
	assert_false(twin.failed);
}

enum twin_verdict {
	TWIN_DENIED,
	TWIN_IGNORED,	/* the call succeeds, and nothing is set */
	TWIN_HANDED_ON, /* as the application had it */
	TWIN_REWRITTEN,
};

struct twin_answer {
	enum twin_verdict verdict;
	int n; /* of a value that was rewritten */
	unsigned char value[SP_VALUE_SIZE];
};

/* What the hook makes of an application's setsockopt(2). */
static inline struct twin_answer twin_ask(int level, int name, const void *value, int n)
{
	struct twin_answer answer = { .verdict = TWIN_DENIED };
	size_t room = n > SP_VALUE_SIZE ? (size_t)n : SP_VALUE_SIZE; /* as the kernel has it */
	unsigned char *buffer = calloc(1, room);
	struct bpf_sockopt ctx = { .level = level, .optname = name, .optlen = n };
	bool is_allowed, is_same;

	assert_non_null(buffer);
	if (n > 0)
		memcpy(buffer, value, (size_t)n);
	ctx.sk = &twin_socket.sk;
	ctx.optval = buffer;
	ctx.optval_end = buffer + room;
	twin_forget();
	is_allowed = on_setsockopt(&ctx);
	is_same = ctx.optlen == 0 ||
		  (ctx.optlen == n && memcmp(buffer, value, n > 0 ? (size_t)n : 0) == 0);
	if (is_allowed) {
		answer.verdict = ctx.optlen == -1 ? TWIN_IGNORED
				 : is_same	  ? TWIN_HANDED_ON
						  : TWIN_REWRITTEN;
		answer.n = ctx.optlen;
		memcpy(answer.value, buffer, sizeof(answer.value));
	}
	free(buffer);
	assert_false(twin.failed);
	return answer;
}

/* The whole call.  Returns 0 or a negative errno. */
static inline int twin_call(int level, int name, const void *value, int n)
{
	struct twin_answer answer = twin_ask(level, name, value, n);
	struct twin_value *to = twin_value(level, name);

	if (answer.verdict == TWIN_DENIED)
		return -EPERM;
	if (answer.verdict == TWIN_IGNORED)
		return 0;
	if (to->call_error)
		return to->call_error;
	if (answer.verdict == TWIN_REWRITTEN)
		twin_keep(to, answer.value, answer.n);
	else
		twin_keep(to, value, n);
	return 0;
}

static inline int twin_call_number(int level, int name, uint32_t number)
{
	return twin_call(level, name, &number, sizeof(number));
}

#endif
