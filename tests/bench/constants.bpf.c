// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * The floor: what somebody would write by hand who wants these eight constants for one cgroup, and
 * attaches it there.  No map, no look-up, no counter.
 */
#include <linux/bpf.h>
#include <linux/in.h>
#include <linux/tcp.h>
#include <asm/socket.h>
#include <bpf/bpf_helpers.h>

#include "eight.h"

#define ALLOW 1

static __always_inline void set_integer(void *ctx, int level, int name, int value)
{
	bpf_setsockopt(ctx, level, name, &value, sizeof(value));
}

static __always_inline void set_eight(void *ctx)
{
	char congestion[] = EIGHT_CONGESTION;

	set_integer(ctx, SOL_SOCKET, SO_SNDBUF, EIGHT_SNDBUF);
	bpf_setsockopt(ctx, IPPROTO_TCP, TCP_CONGESTION, congestion, sizeof(congestion));
#define SET(level, name, value) set_integer(ctx, level, name, value);
	EIGHT_INTEGERS(SET)
#undef SET
}

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
