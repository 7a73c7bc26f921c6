// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* A program at setsockopt(2) that only returns, and spares the kernel the copy: what it takes to
 * have any there. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#define ALLOW 1

SEC("cgroup/setsockopt")
int setsockopt(struct bpf_sockopt *ctx)
{
	ctx->optlen = 0;
	return ALLOW;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
