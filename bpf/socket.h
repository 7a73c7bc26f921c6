/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Finds whose socket this is.  The cgroup is the socket's own (sk_cgrp_data), never that of
 * `current`: in softirq that is an unrelated task, and a socket keeps its cgroup when its process
 * moves.
 */
#ifndef SOCKPOL_BPF_SOCKET_H
#define SOCKPOL_BPF_SOCKET_H

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

#include "kernel_types.h"

/* A cgroup: its id, and its address as a number, for when its names must be read. */
struct owner {
	__u64 id;
	__u64 address;
};

/*
 * Returns the kernel's pointer behind one that the verifier knows as something else, hidden from it
 * by way of the stack: for sockets that no helper turns into a pointer with BTF.  bpf_rdonly_cast
 * would do from 6.2 on.
 */
static __always_inline struct sock *raw_socket(struct bpf_sock *sk)
{
	struct bpf_sock *volatile hidden = sk;
	struct sock *raw = NULL;

	bpf_probe_read_kernel(&raw, sizeof(raw), (const void *)&hidden);
	return raw;
}

/* Finds the owner of a TCP socket; false: it has none. */
static __always_inline bool owner_of_tcp(struct tcp_sock *tp, struct owner *ret)
{
	struct cgroup *cgroup = tp->inet_conn.icsk_inet.sk.sk_cgrp_data.cgroup;

	if (!cgroup)
		return false;
	ret->id = cgroup->kn->id;
	ret->address = (__u64)(void *)cgroup;
	return true;
}

static __always_inline bool owner_of_raw(struct sock *raw, struct owner *ret)
{
	struct cgroup *cgroup = BPF_CORE_READ(raw, sk_cgrp_data.cgroup);

	ret->id = BPF_CORE_READ(cgroup, kn, id);
	ret->address = (__u64)(void *)cgroup;
	return cgroup;
}

/* Finds the owner of a request_sock, which has no cgroup: its listener's counts.  The verifier
 * knows neither, so the kernel's own context tells. */
static __always_inline bool owner_of_request(struct bpf_sock_ops *ctx, struct owner *ret)
{
	struct sock *request = NULL;

	bpf_core_read(&request, sizeof(request), &((struct bpf_sock_ops_kern *)ctx)->sk);
	return owner_of_raw(BPF_CORE_READ(request, __sk_common.skc_listener), ret);
}

#endif
