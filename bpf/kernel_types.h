/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The kernel's structures, declared by hand, with only the fields that are used.  CO-RE relocates
 * them against the BTF of the kernel that loads the program, so neither order nor size matters
 * here.
 */
#ifndef SOCKPOL_BPF_KERNEL_TYPES_H
#define SOCKPOL_BPF_KERNEL_TYPES_H

#include <linux/types.h>

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct kernfs_node {
	const char *name;
	__u64 id;
};

struct cgroup {
	int level; /* 0 for the root */
	struct kernfs_node *kn;
	struct cgroup *ancestors[]; /* by level, up to the cgroup itself */
};

struct sock_cgroup_data {
	struct cgroup *cgroup;
};

struct sock_common {
	__u16 skc_family;
	int skc_bound_dev_if;
	struct sock *skc_listener; /* a request_sock's listener */
};

struct socket;

struct sock {
	struct sock_common __sk_common;
	struct sock_cgroup_data sk_cgrp_data;
	struct socket *sk_socket;
	__u8 sk_userlocks : 4;
	__u32 sk_max_ack_backlog, sk_mark, sk_priority;
	__u16 sk_type;
	__u16 sk_protocol;
};

struct socket {
	struct sock *sk;
};

struct inet_sock {
	struct sock sk;
};

struct inet_connection_sock {
	struct inet_sock icsk_inet;
	__u8 icsk_ca_setsockopt : 1;
};

struct mptcp_sock {
	struct inet_connection_sock sk;
	struct sock *first; /* its first subflow */
};

/* The kernel's side of struct bpf_sock_ops. */
struct bpf_sock_ops_kern {
	struct sock *sk;
};

struct tcp_sock {
	struct inet_connection_sock inet_conn;
	__u32 write_seq;
	__u32 segs_out;
};

#pragma clang attribute pop

#endif
