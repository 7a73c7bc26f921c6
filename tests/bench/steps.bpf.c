// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * What lies between the hand-written program and the agent's, step by step: the same source, built
 * once for each STEP.  Maps and functions are the agent's own, as far as a step has all of them.
 *
 * STEP is a constant, so what belongs to other steps is not compiled at all.
 */
#include <stdbool.h>

#include "../../bpf/apply.h"
#include "../../bpf/governed.h"
#include "eight_constants.h"

#define ALLOW	1
#define HANDLED 1

enum step {
	/* At connect4, each more than the one before it. */
	STEP_TCP_SOCK, /* the eight constants, and the socket as a tcp_sock */
	STEP_ID,       /* the id of its cgroup */
	STEP_ENTRY,    /* its cgroup's entry in the hash */
	STEP_SLOT,     /* instead, what is known of the cgroup by its id */
	STEP_POLICY,   /* the generation and the policy */
	STEP_OPS,      /* the eight options from the map `ops`, not as constants */
	STEP_CREDIT,   /* who set them is counted */
	/* At sock_ops, other ways to see that nothing is due. */
	STEP_TABLE,	   /* a table by ops in a variable */
	STEP_TABLE_IN_MAP, /* the same table in an element of an array */
	STEP_SWITCH,	   /* by the op, a mask of stages in an element of an array */
};

#ifndef STEP /* as clang-tidy reads it */
#define STEP STEP_TABLE
#endif

/* As the agent had it up to ABI version 3. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct sp_state);
} state_in_map SEC(".maps");

static __always_inline struct sp_state *get_state(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&state_in_map, &zero);
}

static __always_inline __u64 id_of_cgroup(struct tcp_sock *tp)
{
	struct cgroup *cgroup = tp->inet_conn.icsk_inet.sk.sk_cgrp_data.cgroup;

	return cgroup ? cgroup->kn->id : 0;
}

static __always_inline bool has_entry(__u64 id)
{
	struct sp_cgroup *c = bpf_map_lookup_elem(&cgroups, &id);

	return c && c->policy[0];
}

static __always_inline bool has_slot(__u64 id)
{
	__u32 place = SP_CGROUP_SLOT(id);
	struct sp_cgroup_slot *slot = bpf_map_lookup_elem(&cgroup_slots, &place);
	__u64 word = slot ? slot->half[0] : 0;

	return SP_SLOT_IS_OF(word, id) && SP_SLOT_POLICY(word);
}

/* The compiler keeps only what decides something: so each step decides whether anything is set. */
static __always_inline bool is_governed(struct tcp_sock *tp)
{
	if (STEP == STEP_TCP_SOCK)
		return true;
	if (STEP == STEP_ID)
		return id_of_cgroup(tp) != 0;
	if (STEP == STEP_ENTRY)
		return has_entry(id_of_cgroup(tp));
	if (STEP == STEP_SLOT)
		return has_slot(id_of_cgroup(tp));
	return policy_of_tcp(tp) != NULL;
}

/* As tcp_connect() in sockpol.bpf.c, without rules. */
static __always_inline void set_by_policy(struct bpf_sock_addr *ctx, struct tcp_sock *tp)
{
	struct sp_policy *p = policy_of_tcp(tp);
	const struct sp_stage_ops *due;

	if (!p)
		return;
	due = &p->stage[SP_STAGE_TCP_CONNECT];
	if (STEP == STEP_CREDIT && !tp->write_seq)
		credit_plain(due);
	set_plain(ctx, due, SP_FAMILY_IPV4);
}

SEC("cgroup/connect4")
int connect4(struct bpf_sock_addr *ctx)
{
	struct bpf_sock *sk = ctx->sk;
	struct tcp_sock *tp;

	if (!sk || ctx->protocol != IPPROTO_TCP)
		return ALLOW;
	tp = bpf_skc_to_tcp_sock(sk);
	if (!tp)
		return ALLOW;
	if (STEP >= STEP_OPS)
		set_by_policy(ctx, tp);
	else if (is_governed(tp))
		set_eight(ctx);
	return ALLOW;
}

/* Not inlined: what would be done is the same in all, and only the way there is looked at. */
static __noinline int set_due(struct bpf_sock_ops *ctx)
{
	struct bpf_sock *sk = ctx->sk;
	struct tcp_sock *tp = sk ? bpf_skc_to_tcp_sock(sk) : NULL;

	if (tp && policy_of_tcp(tp))
		set_eight(ctx);
	return HANDLED;
}

static __always_inline bool used(enum sp_stage stage)
{
	struct sp_state *s = get_state();

	return s && s->stages & (1ULL << stage);
}

static __always_inline bool is_due_by_op(__u32 op)
{
	switch (op) {
	case BPF_SOCK_OPS_TIMEOUT_INIT:
	case BPF_SOCK_OPS_RWND_INIT:
	case BPF_SOCK_OPS_NEEDS_ECN:
	case BPF_SOCK_OPS_BASE_RTT:
		return used(SP_STAGE_REPLY_ACTIVE) || used(SP_STAGE_REPLY_PASSIVE);
	case BPF_SOCK_OPS_TCP_CONNECT_CB:
		return used(SP_STAGE_TCP_SYN);
	case BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB:
		return used(SP_STAGE_TCP_ACTIVE_EST);
	case BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB:
		return used(SP_STAGE_TCP_PASSIVE_EST);
	case BPF_SOCK_OPS_TCP_LISTEN_CB:
		return used(SP_STAGE_TCP_LISTEN);
	}
	return false;
}

static __always_inline bool is_anything_due(__u32 op)
{
	struct sp_state *s = &state;

	if (STEP == STEP_SWITCH)
		return is_due_by_op(op);
	if (STEP == STEP_TABLE_IN_MAP)
		s = get_state();
	return s && s->sock_ops[op & (SP_SOCK_OPS_MAX - 1)];
}

SEC("sockops")
int sock_ops(struct bpf_sock_ops *ctx)
{
	if (is_anything_due(ctx->op))
		set_due(ctx);
	return HANDLED;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
