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

/* CO-RE leaves off what begins with three underscores: the C library, which unit tests include, has
 * one of its own. */
struct in6_addr___kernel {
	union {
		__u32 u6_addr32[4];
	} in6_u;
};

struct sock_common {
	__u32 skc_daddr, skc_rcv_saddr;
	__u16 skc_dport; /* network byte order */
	__u16 skc_num;	 /* the port of this end, host byte order */
	__u16 skc_family;
	volatile unsigned char skc_state;
	unsigned char skc_ipv6only : 1;
	int skc_bound_dev_if;
	struct in6_addr___kernel skc_v6_daddr, skc_v6_rcv_saddr;
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

struct inode {
	unsigned long i_ino;
};

struct socket_alloc {
	struct socket socket;
	struct inode vfs_inode;
};

struct inet_sock {
	struct sock sk;
};

struct inet_connection_sock {
	struct inet_sock icsk_inet;
	__u8 icsk_ca_setsockopt : 1;
	__u32 icsk_rto_min, icsk_delack_max; /* jiffies */
};

struct mptcp_sock {
	struct inet_connection_sock sk;
	struct sock *first; /* its first subflow */
};

struct tcp_options_received {
	__u16 user_mss;
};

/* The kernel's side of struct bpf_sock_ops. */
struct bpf_sock_ops_kern {
	struct sock *sk;
};

struct tcp_sock {
	struct inet_connection_sock inet_conn;
	__u32 write_seq;
	__u32 segs_out;
	__u32 snd_cwnd_clamp;
	__u32 window_clamp;
	struct tcp_options_received rx_opt;
};

struct unix_address;

struct unix_sock {
	struct sock sk;
	struct unix_address *addr;
	struct sock *peer;
};

struct bpf_iter_meta {
	struct seq_file *seq;
};

#pragma clang attribute pop

/* The contexts of iterators: the verifier knows each member by its place. */
struct bpf_iter__tcp {
	struct bpf_iter_meta *meta;
	struct sock_common *sk_common;
	__u32 uid;
};

struct bpf_iter__unix {
	struct bpf_iter_meta *meta;
	struct unix_sock *unix_sk;
	__u32 uid;
};

#endif
