// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * A congestion control that no connection keeps: what becomes of a socket at its init() is all that
 * it is for.  Once SO_MAX_PACING_RATE was set, TCP goes on to wait for the time that the last
 * segments took at that rate (tcp_pacing_check, net/ipv4/tcp_output.c), a minute perhaps, and
 * setting it anew changes nothing about that.  Only a congestion control may say that a socket is
 * not paced.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "walk_abi.h"

#define SK_PACING_NONE 0

struct sock {
	__u32 sk_pacing_status;
} __attribute__((preserve_access_index));

struct tcp_sock {
	__u32 snd_cwnd, snd_ssthresh;
} __attribute__((preserve_access_index));

struct tcp_congestion_ops {
	__u32 (*ssthresh)(struct sock *sk);
	void (*cong_avoid)(struct sock *sk, __u32 ack, __u32 acked);
	__u32 (*undo_cwnd)(struct sock *sk);
	void (*init)(struct sock *sk);
	char name[16];
} __attribute__((preserve_access_index));

SEC("struct_ops/unpace_init")
void BPF_PROG(unpace_init, struct sock *sk)
{
	sk->sk_pacing_status = SK_PACING_NONE;
}

SEC("struct_ops/unpace_ssthresh")
__u32 BPF_PROG(unpace_ssthresh, struct sock *sk)
{
	return ((struct tcp_sock *)sk)->snd_ssthresh;
}

SEC("struct_ops/unpace_avoid")
void BPF_PROG(unpace_avoid, struct sock *sk, __u32 ack, __u32 acked)
{
}

SEC("struct_ops/unpace_undo")
__u32 BPF_PROG(unpace_undo, struct sock *sk)
{
	return ((struct tcp_sock *)sk)->snd_cwnd;
}

SEC(".struct_ops")
struct tcp_congestion_ops unpace = {
	.init = (void *)unpace_init,
	.ssthresh = (void *)unpace_ssthresh,
	.cong_avoid = (void *)unpace_avoid,
	.undo_cwnd = (void *)unpace_undo,
	.name = WALK_UNPACE,
};

char LICENSE[] SEC("license") = "Dual BSD/GPL";
