// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* A congestion control that needs ECN, as dctcp does, for kernels that lack that.  Its name is put
 * into the object by the test: those of one host share their congestion controls. */
#include <linux/bpf.h>
#include <linux/types.h>
#include <bpf/bpf_helpers.h>

#define NEEDS_ECN 0x2 /* TCP_CONG_NEEDS_ECN, include/net/tcp.h */
#define SEGMENTS  10

struct sock;
struct tcp_congestion_ops {
	__u32 (*ssthresh)(struct sock *sk);
	void (*cong_avoid)(struct sock *sk, __u32 ack, __u32 acked);
	__u32 (*undo_cwnd)(struct sock *sk);
	char name[16];
	__u32 flags;
} __attribute__((preserve_access_index));

SEC("struct_ops/constant_ssthresh")
__u32 constant_ssthresh(unsigned long long *ctx)
{
	return SEGMENTS;
}

SEC("struct_ops/constant_window")
void constant_window(unsigned long long *ctx)
{
}

SEC("struct_ops/constant_undo")
__u32 constant_undo(unsigned long long *ctx)
{
	return SEGMENTS;
}

SEC(".struct_ops")
struct tcp_congestion_ops needs_ecn = {
	.ssthresh = (void *)constant_ssthresh,
	.cong_avoid = (void *)constant_window,
	.undo_cwnd = (void *)constant_undo,
	.name = "sockpol_name",
	.flags = NEEDS_ECN,
};

char _license[] SEC("license") = "GPL";
