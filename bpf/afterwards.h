/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Who has the last word?  At setsockopt(2): what becomes of what an application sets after the
 * socket's moment.
 *
 * Nothing is kept of what a hook gave a socket: its policies and their rules are evaluated again,
 * by the addresses that it has, so that sockets older than their policy are held as well.
 */
#ifndef SOCKPOL_BPF_AFTERWARDS_H
#define SOCKPOL_BPF_AFTERWARDS_H

#include <linux/in.h>

#include "apply.h"
#include "classify.h"
#include "moments.h"

#define REFUSE_CALL 0 /* EPERM */
#define ALLOW_CALL  1

/* What becomes of a call. */
#define DENIED	  0
#define HANDED_ON 1
#define HELD	  2
#define AGAIN	  3 /* nothing yet: the list was no longer in the cache */

/* Stores to the context's optlen: clang 14 would merge several stores into one by a pointer into
 * the context, which the verifier refuses. */
static __always_inline void set_optlen(struct bpf_sockopt *ctx, __s32 length)
{
#ifdef __bpf__
	asm volatile("*(u32 *)(%0 + %1) = %2"
		     :
		     : "r"(ctx), "i"(__builtin_offsetof(struct bpf_sockopt, optlen)), "r"(length)
		     : "memory");
#else /* a unit test */
	ctx->optlen = length;
#endif
}

/*
 * The call goes on.  To say that nothing was changed (optlen 0) would save the kernel a copy of the
 * value, some 20 ns, and undo what a program further down, which ran before, has changed.  A larger
 * value than a page is not all there, and 6.1 refuses it otherwise.
 */
#define PAGE_BYTES 4096
static __always_inline int hand_on(struct bpf_sockopt *ctx)
{
	if (ctx->optlen > PAGE_BYTES)
		set_optlen(ctx, 0);
	return HANDED_ON;
}

/* The call succeeds, and nothing is set. */
static __always_inline void ignore(struct bpf_sockopt *ctx)
{
	set_optlen(ctx, -1);
}

/* SO_MAX_PACING_RATE takes a long as well; what is behind the int of other options counts for
 * nothing. */
static __always_inline bool takes_long(struct bpf_sockopt *ctx)
{
	return ctx->level == SOL_SOCKET && ctx->optname == SO_MAX_PACING_RATE && ctx->optlen == 8;
}

/* Returns the first bytes of what is to be set: at most a number. */
static __always_inline __u32 value_to_set(struct bpf_sockopt *ctx)
{
	__u8 *from = ctx->optval, *end = ctx->optval_end;
	__s32 n = ctx->optlen;
	__u32 value;

	if (from + sizeof(value) > end)
		return 0;
	__builtin_memcpy(&value, from, sizeof(value));
	if (takes_long(ctx) && from + 8 <= end && *(__u32 *)(from + 4))
		return ~0u;
	/* The kernel's buffer has 16 bytes at least, whatever the caller gave. */
	return n >= 4 ? value : value & ((1u << (8 * (n & 3))) - 1);
}

/* Notes what the application has set, or that it has what a policy holds. */
static __always_inline void note_own_set(struct bpf_sockopt *ctx, __u32 option, bool own)
{
	__u64 bit = 1ULL << (option & 63), flags = own ? BPF_SK_STORAGE_GET_F_CREATE : 0;
	struct bpf_sock *sk = ctx->sk;
	struct sp_own_sets *s = sk ? bpf_sk_storage_get(&own_sets, sk, NULL, flags) : NULL;
	__u32 now = 0;

	if (!s)
		return;
	if (!own) {
		s->options &= ~bit;
		return;
	}
	option &= SP_OPTIONS_MAX - 1;
	if (!(s->options & bit))
		s->earlier[option] = value_to_set(ctx);
	else if (bpf_getsockopt(sk, ctx->level, ctx->optname, &now, sizeof(now)) == 0 &&
		 now == s->value[option])
		s->earlier[option] = now;
	s->options |= bit;
	s->given &= ~bit;
	s->value[option] = value_to_set(ctx);
}

/* Has the socket the policy's number already?  To look is cheaper than to set it again: some
 * options arm timers. */
static __always_inline bool has_value(struct bpf_sock *sk, const struct sp_op *op)
{
	__u32 now = 0;

	return op->optlen == sizeof(now) &&
	       bpf_getsockopt(sk, op->level, op->optname, &now, sizeof(now)) == 0 &&
	       now == op->bounds.value;
}

static __always_inline bool is_device(const struct sp_op *op)
{
	return op->level == SOL_SOCKET &&
	       (op->optname == SO_BINDTODEVICE || op->optname == SO_BINDTOIFINDEX);
}

/* The policy's value takes the place of the application's.  An MPTCP socket takes TCP's options
 * only from its process, and hands them to its subflows. */
static __always_inline int hold(struct bpf_sockopt *ctx, struct sp_op *op)
{
	__u8 *to = ctx->optval, *end = ctx->optval_end;
	struct bpf_sock *sk = ctx->sk;

	count_outcome(op->counter, op->option, SP_OUTCOME_HELD);
	if (!sk || is_device(op) || has_value(sk, op)) {
		ignore(ctx);
		return HELD;
	}
	if (bpf_setsockopt(sk, op->level, op->optname, op->value, (int)length_of(op->optlen)) !=
		    -EINVAL ||
	    sk->protocol != IPPROTO_MPTCP || to + SP_VALUE_SIZE > end) {
		ignore(ctx);
		return HELD;
	}
	__builtin_memcpy(to, op->value, SP_VALUE_SIZE);
	set_optlen(ctx, op->optlen);
	return HELD;
}

/* What the application sets is brought into the range. */
static __always_inline int bring_into_range(struct bpf_sockopt *ctx, const struct sp_op *op)
{
	__u8 *to = ctx->optval, *end = ctx->optval_end;
	__u32 value, upper = 0;

	if (ctx->optlen < (__s32)sizeof(value) || to + 2 * sizeof(value) > end)
		return hand_on(ctx);
	__builtin_memcpy(&value, to, sizeof(value));
	if (takes_long(ctx))
		__builtin_memcpy(&upper, to + sizeof(value), sizeof(upper));
	if (!upper && clamped(op, value) == value)
		return hand_on(ctx);
	value = upper ? op->bounds.max : clamped(op, value);
	if (value == ~0u)
		return hand_on(ctx);
	__builtin_memcpy(to, &value, sizeof(value));
	set_optlen(ctx, sizeof(value));
	count_outcome(op->counter, op->option, SP_OUTCOME_CLAMPED);
	return HANDED_ON;
}

static __always_inline void set_asked(struct asked *to, __u32 cell, __u32 n_ops, __u32 how,
				      __u64 but)
{
	set_block(to, cell, n_ops, how, but, CONTEXT_ASKED);
}

/* Finds it the short way: one policy applies, and none of its rules depends on the connection at
 * the stage.  False: that is not so. */
static __always_inline bool ask_plain(struct asked *to, __u32 number, __u32 how)
{
	struct sp_policy *p = MAP_LOOK(policies, HOW_GENERATION(how), &number);
	const struct sp_stage_of *s;
	__u64 except;

	if (!p)
		return false;
	s = stage_of(p, HOW_STAGE(how));
	if (s->rules)
		return false;
	except = ~to->options | except_plain(p, how);
	if (!(s->options & ~except))
		return true;
	to->is_decided = true;
	set_asked(to, s->first_cell, s->n_ops, how, except);
	return true;
}

/* Finds what wins the options asked for, at a stage.  Returns 0 or LIST_LOST. */
__noinline int merge_asked(struct asked *to, __u64 id, __u32 what, __u32 how)
{
	if (!to)
		return 0;
	to->facts.family = SP_STAGE_IS_SOCKET(HOW_STAGE(how)) ? to->moments.family_at_socket
							      : to->moments.family_since;
	if (what != SP_WORD_IN_LISTS && ask_plain(to, what, how))
		return 0;
	return merge(to, &to->facts, id, what, how, ~to->options, CONTEXT_ASKED);
}

/* Finds it at those stages of the socket that are behind it, the latest first. */
static __always_inline int ask(struct asked *to, __u64 id, __u32 what, __u32 moments,
			       __u32 generation)
{
	to->is_found = to->is_decided = false;
#pragma clang loop unroll(disable)
	for (; moments && !to->is_decided; moments >>= MOMENT_BITS)
		if (merge_asked(to, id, what,
				HOW(MOMENT(moments), to->moments.families, false, generation)))
			return LIST_LOST;
	return 0;
}

/* Returns the bits of the option's spellings. */
static __always_inline __u64 spellings(__u32 option)
{
	/* SO_BINDTODEVICE and SO_BINDTOIFINDEX */
	__u32 device = (state.asked[0][SO_BINDTODEVICE] & ~SP_ASKED_RESPECT) - 1;
	__u32 index = (state.asked[0][SO_BINDTOIFINDEX] & ~SP_ASKED_RESPECT) - 1;

	if (option == device || option == index)
		return 1ULL << (device & 63) | 1ULL << (index & 63);
	return 1ULL << (option & 63);
}

/* Looks at the socket itself, in a frame of its own: the stack is full. */
__noinline int look(struct bpf_sockopt *ctx, struct asked *to)
{
	struct bpf_sock *sk = ctx->sk;

	if (sk && to)
		find_moments(sk, &to->moments, &to->facts);
	return 0;
}

#define NO_OP (~0u)

/* Flags of operations by which something becomes of a call. */
#define ACTS (SP_OP_DENY | SP_OP_HOLD | SP_OP_RANGE)

/* Nobody knows whether a socket was accepted: is it the same for it either way?  Either may be
 * NO_OP. */
__noinline int is_same(__u32 number, __u32 other, __u32 generation)
{
	struct sp_op *a = numbered_op(number, generation), *b = numbered_op(other, generation);

	if (a && b && a->counter == b->counter && a->flags == b->flags)
		return 1;
	a = a && a->flags & ACTS ? a : b;
	if (a && a->flags & ACTS)
		count_outcome(a->counter, a->option, SP_OUTCOME_UNTOLD);
	return 0;
}

/* Finds the operation that has a word about what the application sets, or NO_OP.  Returns 0 or
 * LIST_LOST. */
static __always_inline int find_op(struct asked *asked, __u64 id, __u32 what, __u32 generation)
{
	__u32 number;

	if (ask(asked, id, what, asked->moments.passed, generation))
		return LIST_LOST;
	number = asked->is_found ? asked->number : NO_OP;
	if (asked->moments.is_untold) {
		if (ask(asked, id, what, MOMENTS_1(SP_STAGE_TCP_PASSIVE_EST), generation))
			return LIST_LOST;
		if (!is_same(number, asked->is_found ? asked->number : NO_OP, generation))
			number = NO_OP;
	}
	asked->number = number;
	return 0;
}

/* Does what an operation says. */
__noinline int act(struct bpf_sockopt *ctx, __u32 number, __u32 generation)
{
	struct sp_op *op = numbered_op(number, generation);

	if (!op)
		return hand_on(ctx);
	if (op->flags & SP_OP_DENY) {
		count_outcome(op->counter, op->option, SP_OUTCOME_DENIED);
		return DENIED;
	}
	if (op->flags & SP_OP_HOLD)
		return hold(ctx, op);
	if (op->flags & SP_OP_RANGE)
		return bring_into_range(ctx, op);
	return hand_on(ctx);
}

__noinline int judge(struct bpf_sockopt *ctx, __u64 id, __u32 what, __u32 option, __u32 generation)
{
	struct asked asked = { .options = spellings(option) };

	look(ctx, &asked);
	if (find_op(&asked, id, what, generation))
		return AGAIN;
	return asked.number == NO_OP ? hand_on(ctx) : act(ctx, asked.number, generation);
}

/* Has the one policy that applies a word about the option at all? */
static __always_inline bool policy_asks(__u32 number, __u32 option, __u32 generation)
{
	struct sp_policy *p = MAP_LOOK(policies, generation & 1, &number);

	return p && p->asked >> (option & 63) & 1;
}

static __always_inline int on_setsockopt(struct bpf_sockopt *ctx)
{
	__u32 level = SP_ASKED_LEVEL(ctx->level), name = ctx->optname, asked, what, option;
	__u64 generation = state.generation;
	struct bpf_sock *sk;
	struct owner owner;
	int r = AGAIN;

	if (ctx->optlen == -1) /* a program further down says that nothing is set */
		return ALLOW_CALL;
	if (level >= SP_ASKED_LEVELS || name >= SP_ASKED_NAMES)
		return hand_on(ctx);
	asked = state.asked[level & (SP_ASKED_LEVELS - 1)][name & (SP_ASKED_NAMES - 1)];
	sk = ctx->sk;
	if (!asked || !sk || !owner_of_raw(raw_socket(sk), &owner))
		return hand_on(ctx);
	what = policies_of(&owner, generation);
	if (!what)
		return hand_on(ctx);
	option = (asked & ~SP_ASKED_RESPECT) - 1;
	if (what != SP_WORD_IN_LISTS && !policy_asks(what, option, generation))
		return hand_on(ctx);
#pragma clang loop unroll(disable)
	for (int i = 0; i < ATTEMPTS && r == AGAIN; i++) {
		r = judge(ctx, owner.id, what, option, generation);
		if (r == AGAIN)
			what = classify(owner.id, as_number(owner.address), generation);
	}
	if (r == AGAIN) {
		__sync_fetch_and_add(&state.lists_lost, 1);
		return hand_on(ctx);
	}
	if (asked & SP_ASKED_RESPECT && r != DENIED)
		note_own_set(ctx, option, r == HANDED_ON);
	return r == DENIED ? REFUSE_CALL : ALLOW_CALL;
}

#endif
