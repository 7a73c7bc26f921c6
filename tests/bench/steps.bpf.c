// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * What lies between the hand-written program and the agent's, step by step: the same source, built
 * once for each STEP.  Maps and functions are the agent's own, as far as a step has all of them.
 *
 * STEP is a constant, so what belongs to other steps is not compiled at all.
 */
#include <stdbool.h>

#include "../../bpf/apply.h"
#include "../../bpf/socket.h"
#include "eight_constants.h"

#define ALLOW	1
#define HANDLED 1

enum step {
	/* At connect4, each more than the one before it. */
	STEP_TCP_SOCK, /* the eight constants, and the socket as a tcp_sock */
	STEP_ID,       /* the id of its cgroup */
	STEP_CACHE,    /* what the cache says of the cgroup */
	STEP_POLICY,   /* the policy */
	STEP_OPS,      /* the eight options from a cell of `ops`, not as constants */
	STEP_COUNT,    /* the socket is counted */
	/* At sock_ops: is anything due? */
	STEP_TABLE,
};

#ifndef STEP /* as clang-tidy reads it */
#define STEP STEP_TABLE
#endif

/* The one policy of the socket's cgroup; 0: it has none, or the cache does not know it. */
static __always_inline __u32 number_of(const struct owner *owner)
{
	__u32 what;

	return cache_recall(owner->id, state.generation, &what) ? what : 0;
}

static __always_inline struct sp_policy *policy_of(const struct owner *owner)
{
	__u32 number = number_of(owner);

	return number ? MAP_LOOK(policies, state.generation & 1, &number) : NULL;
}

/* The compiler keeps only what decides something: so each step decides whether anything is set. */
static __always_inline bool is_governed(const struct owner *owner)
{
	if (STEP == STEP_ID)
		return owner->id != 0;
	if (STEP == STEP_CACHE)
		return number_of(owner) != 0;
	return policy_of(owner) != NULL;
}

/* As the short way in sockpol.bpf.c. */
static __always_inline void set_by_policy(struct bpf_sock_addr *ctx, const struct tcp_sock *tp,
					  const struct owner *owner)
{
	struct sp_policy *p = policy_of(owner);
	const struct sp_stage_of *s;
	__u32 how;

	if (!p)
		return;
	s = &p->stage[SP_STAGE_TCP_CONNECT];
	how = HOW(SP_STAGE_TCP_CONNECT, SP_FAMILY_IPV4, STEP == STEP_COUNT && !tp->write_seq,
		  state.generation);
	count_plain(p, s, how);
	set_block(ctx, s->first_cell, s->n_ops, how, 0, false);
}

SEC("cgroup/connect4")
int connect4(struct bpf_sock_addr *ctx)
{
	struct bpf_sock *sk = ctx->sk;
	struct tcp_sock *tp;
	struct owner owner;

	if (!sk || ctx->protocol != IPPROTO_TCP)
		return ALLOW;
	tp = bpf_skc_to_tcp_sock(sk);
	if (!tp)
		return ALLOW;
	if (STEP == STEP_TCP_SOCK) {
		set_eight(ctx);
		return ALLOW;
	}
	if (!owner_of_tcp(tp, &owner))
		return ALLOW;
	if (STEP >= STEP_OPS)
		set_by_policy(ctx, tp, &owner);
	else if (is_governed(&owner))
		set_eight(ctx);
	return ALLOW;
}

/* Not inlined: what would be done is the same in all, and only the way there is looked at. */
static __noinline int set_due(struct bpf_sock_ops *ctx)
{
	struct bpf_sock *sk = ctx->sk;
	struct tcp_sock *tp = sk ? bpf_skc_to_tcp_sock(sk) : NULL;
	struct owner owner;

	if (tp && owner_of_tcp(tp, &owner) && policy_of(&owner))
		set_eight(ctx);
	return HANDLED;
}

SEC("sockops")
int sock_ops(struct bpf_sock_ops *ctx)
{
	if (state.sock_ops[ctx->op & (SP_SOCK_OPS_MAX - 1)])
		set_due(ctx);
	return HANDLED;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
