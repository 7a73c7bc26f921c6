// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * The floor: what somebody would write by hand who wants these eight constants for one cgroup, and
 * attaches it there.  No map, no look-up, no counter.
 */
#include "eight_constants.h"

#define ALLOW 1

SEC("cgroup/connect4")
int connect4(struct bpf_sock_addr *ctx)
{
	if (ctx->protocol == IPPROTO_TCP)
		set_eight(ctx);
	return ALLOW;
}

SEC("cgroup/connect6")
int connect6(struct bpf_sock_addr *ctx)
{
	if (ctx->protocol == IPPROTO_TCP)
		set_eight(ctx);
	return ALLOW;
}

SEC("sockops")
int sock_ops(struct bpf_sock_ops *ctx)
{
	if (ctx->op == BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB)
		set_eight(ctx);
	return ALLOW;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
