/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Set what is due at a stage, and count what came of it. */
#ifndef SOCKPOL_BPF_APPLY_H
#define SOCKPOL_BPF_APPLY_H

#include "maps.h"

#define EINVAL 22

/*
 * How a family's mask comes from the caller: SP_FAMILY_*, and DUAL_STACK for an IPv6 socket that
 * may speak IPv4 too, but need not (IPV6_V6ONLY cannot be seen from here).
 */
#define DUAL_STACK 0x4

static __always_inline void count_failure(const struct sp_op *op, int error)
{
	struct sp_failure key = {
		.source = op->source,
		.option = op->option,
		.error = (__s16)error,
	};
	__u64 one = 1, *count;
	struct sp_state *s;

	count = bpf_map_lookup_elem(&failures, &key);
	if (!count && bpf_map_update_elem(&failures, &key, &one, BPF_NOEXIST) == 0)
		return;
	count = bpf_map_lookup_elem(&failures, &key); /* another CPU may have been first */
	if (count) {
		__sync_fetch_and_add(count, 1);
		return;
	}
	s = get_state();
	if (s)
		__sync_fetch_and_add(&s->failures_lost, 1);
}

/* `ctx` is whichever context the hook has: bpf_setsockopt takes the socket from it. */
static __always_inline void set_options(void *ctx, const struct sp_stage_ops *due, __u32 families)
{
	__u32 first = due->first_op, n = due->n_ops;

	for (__u32 i = 0; i < SP_STAGE_OPS_MAX && i < n; i++) {
		__u32 index = first + i;
		struct sp_op *op = bpf_map_lookup_elem(&ops, &index);
		__u32 len;
		int r;

		if (!op)
			return;
		if (!(op->families & families))
			continue;
		len = op->optlen;
		if (len < 1 || len > SP_VALUE_SIZE)
			continue;
		r = (int)bpf_setsockopt(ctx, op->level, op->optname, op->value, (int)len);
		if (!r)
			continue;
		/* An IPV6_V6ONLY socket has no IPv4 options to set. */
		if (r == -EINVAL && (families & DUAL_STACK) && op->families == SP_FAMILY_IPV4)
			continue;
		count_failure(op, r);
	}
}

static __always_inline void give_credit(const struct sp_stage_ops *due)
{
	__u32 first = due->first_credit, n = due->n_credits;

	for (__u32 i = 0; i < SP_STAGE_CREDITS_MAX && i < n; i++) {
		__u32 index = first + i;
		__u32 *source = bpf_map_lookup_elem(&credits, &index);
		__u64 *count;

		if (!source)
			return;
		count = bpf_map_lookup_elem(&applied, source);
		if (count)
			__sync_fetch_and_add(count, 1); /* a softirq's hook may come between */
	}
}

#endif
