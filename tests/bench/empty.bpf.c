// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Programs that do nothing, at each hook of the agent's: what the kernel itself takes for a hook.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#define ALLOW 1

#define EMPTY(section, name)                                                                       \
	SEC("cgroup/" section) int name(struct bpf_sock_addr *ctx)                                 \
	{                                                                                          \
		return ALLOW;                                                                      \
	}

EMPTY("bind4", bind4)
EMPTY("bind6", bind6)
EMPTY("connect4", connect4)
EMPTY("connect6", connect6)
EMPTY("sendmsg4", sendmsg4)
EMPTY("sendmsg6", sendmsg6)

SEC("cgroup/sock_create")
int sock_create(struct bpf_sock *ctx)
{
	return ALLOW;
}

SEC("sockops")
int sock_ops(struct bpf_sock_ops *ctx)
{
	return ALLOW;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
