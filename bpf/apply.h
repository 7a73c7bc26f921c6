/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Set what is due at a stage, and count what came of it. */
#ifndef SOCKPOL_BPF_APPLY_H
#define SOCKPOL_BPF_APPLY_H

#include "rules.h"

#define EINVAL 22

/*
 * How a family's mask comes from the caller: SP_FAMILY_*, and DUAL_STACK for an IPv6 socket that
 * may speak IPv4 too, but need not (IPV6_V6ONLY cannot be seen from here).
 */
#define DUAL_STACK 0x4

/* One run of a stage. */
struct run {
	void *ctx; /* whichever the hook has: bpf_setsockopt takes the socket from it */
	const struct sp_stage_ops *due;
	__u64 held; /* rules that hold */
	/* Who set something: bits of rules, and of blocks that hold whatever the connection. */
	__u64 won_rules, won_always;
	__u64 to_credit; /* rules that hold and have a credit of their own: those still to look at
			  */
	__u32 families;
};

/* run.won_always has this bit from the start: who has it in sp_credit.always is always credited. */
#define ANYBODY (1ULL << 63)

static __always_inline void count_failure(const struct sp_op *op, int error)
{
	struct sp_failure key = {
		.source = op->source,
		.option = op->option,
		.error = (__s16)error,
	};
	__u64 one = 1, *count;

	count = bpf_map_lookup_elem(&failures, &key);
	if (!count && bpf_map_update_elem(&failures, &key, &one, BPF_NOEXIST) == 0)
		return;
	count = bpf_map_lookup_elem(&failures, &key); /* another CPU may have been first */
	if (count) {
		__sync_fetch_and_add(count, 1);
		return;
	}
	__sync_fetch_and_add(&state.failures_lost, 1);
}

/* Is there a value, and for a socket like this? */
static __always_inline bool takes(const struct sp_op *op, __u32 families)
{
	return op->optlen && op->families & families;
}

/* The i-th option due, as it is where no rule names it. */
static __always_inline struct sp_op *listed(const struct sp_stage_ops *due, __u32 i)
{
	__u32 index = due->first_op + i;

	return bpf_map_lookup_elem(&ops, &index);
}

/* The i-th option due: as the last rule that holds and names it has it, else as the base has it. */
static __always_inline struct sp_op *pick(struct run *run, __u32 i)
{
	struct sp_op *op = listed(run->due, i);
	__u64 rules;
	__u32 bit, index;

	if (!op)
		return NULL;
	rules = op->rules & run->held;
	if (!rules) {
		if (takes(op, run->families))
			run->won_always |= 1ULL << (op->block & 63);
		return op;
	}
	bit = highest_bit(rules);
	index = op->first_alternative + count_bits(op->rules & ((1ULL << bit) - 1));
	op = bpf_map_lookup_elem(&ops, &index);
	if (op && takes(op, run->families))
		run->won_rules |= 1ULL << bit;
	return op;
}

/*
 * 1 to SP_VALUE_SIZE, as every op has that is not to be left alone.  The verifier of 6.1 learns
 * nothing from a comparison with 0, so it is shown by arithmetic.
 */
static __always_inline __u32 length_of(__u32 optlen)
{
	_Static_assert((SP_VALUE_SIZE & (SP_VALUE_SIZE - 1)) == 0, "a mask");

	return ((optlen - 1) & (SP_VALUE_SIZE - 1)) + 1;
}

static __always_inline void set_option(void *ctx, struct sp_op *op, __u32 families)
{
	int r;

	if (!takes(op, families))
		return;
	r = (int)bpf_setsockopt(ctx, op->level, op->optname, op->value, (int)length_of(op->optlen));
	/* An IPV6_V6ONLY socket has no IPv4 options to set. */
	if (r == 0 || (r == -EINVAL && (families & DUAL_STACK) && op->families == SP_FAMILY_IPV4))
		return;
	count_failure(op, r);
}

static long set_picked(__u32 i, struct run *run)
{
	struct sp_op *op = pick(run, i);

	if (!op)
		return 1; /* ends the loop */
	set_option(run->ctx, op, run->families);
	return 0;
}

static __always_inline void set_options(struct run *run)
{
	if (run->due->n_ops)
		bpf_loop(run->due->n_ops, set_picked, run, 0);
}

static __always_inline void raise_applied(__u32 source)
{
	__u64 *count = bpf_map_lookup_elem(&applied, &source);

	if (count)
		__sync_fetch_and_add(count, 1); /* a softirq's hook may come between */
}

static __always_inline bool credit_at(const struct run *run, __u32 index)
{
	struct sp_credit *credit = bpf_map_lookup_elem(&credits, &index);

	if (!credit)
		return false;
	if ((credit->rules & run->won_rules) | (credit->held & run->held) |
	    (credit->always & run->won_always))
		raise_applied(credit->source);
	return true;
}

static long credit_listed(__u32 i, struct run *run)
{
	return !credit_at(run, run->due->first_credit + i); /* 1 ends the loop */
}

/* Only rules that hold are looked at: there may be many others. */
static long credit_rule(__u32 i, struct run *run)
{
	__u64 rule = run->to_credit & -run->to_credit;

	(void)i;
	run->to_credit &= ~rule;
	credit_at(run, run->due->first_credit + run->due->n_credits +
			       count_bits(run->due->rule_credits & (rule - 1)));
	return !run->to_credit;
}

static __always_inline void give_credit(struct run *run)
{
	if (run->due->n_credits)
		bpf_loop(run->due->n_credits, credit_listed, run, 0);
	run->to_credit = run->held & run->due->rule_credits;
	if (run->to_credit)
		bpf_loop(SP_RULES_MAX, credit_rule, run, 0);
}

/*
 * The same where no rule holds and the stage is plain: by far the most sockets.  A loop that calls
 * nothing but the kernel takes half the time that bpf_loop does; but the verifier walks through
 * each turn of it, so they are few.
 */
static __always_inline void set_plain(void *ctx, const struct sp_stage_ops *due, __u32 families)
{
	__u32 n = due->n_ops;

	for (__u32 i = 0; i < n && i < SP_PLAIN_OPS_MAX; i++) {
		struct sp_op *op = listed(due, i);

		if (!op)
			return;
		set_option(ctx, op, families);
	}
}

static __always_inline void credit_plain(const struct sp_stage_ops *due)
{
	__u32 n = due->n_credits;

	if (due->only_credit) {
		raise_applied(due->only_credit);
		return;
	}
	for (__u32 i = 0; i < n && i < SP_PLAIN_CREDITS_MAX; i++) {
		__u32 index = due->first_credit + i;
		struct sp_credit *credit = bpf_map_lookup_elem(&credits, &index);

		if (credit)
			raise_applied(credit->source);
	}
}

static __always_inline void prepare(struct run *run, void *ctx, const struct sp_stage_ops *due,
				    __u64 held, __u32 families)
{
	run->ctx = ctx;
	run->due = due;
	run->held = held;
	run->won_rules = 0;
	run->won_always = ANYBODY;
	run->families = families;
}

/*
 * Sets what is due, and, if `counts`, counts the socket.  In the plain case first: an atomic
 * addition waits for all stores before it, and the kernel's setsockopt stores much.
 */
static __always_inline void run_stage(void *ctx, const struct sp_stage_ops *due, __u64 held,
				      __u32 families, bool counts)
{
	struct run run;

	if (!held && due->plain) {
		if (counts)
			credit_plain(due);
		set_plain(ctx, due, families);
		return;
	}
	prepare(&run, ctx, due, held, families);
	set_options(&run);
	if (counts)
		give_credit(&run);
}

#endif
