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

/* Makes a pointer with BTF of one that the verifier knows as something else; without a call.  From
 * 6.2 on, as is the helper that tells; libbpf 1.1 cannot ask for the function itself. */
extern void *bpf_rdonly_cast(const void *object, __u32 btf_id) __ksym __weak;
enum bpf_func_id___since_6_2 {
	BPF_FUNC_cgrp_storage_get___since_6_2 = 210,
};
#define HAS_CAST                                                                                   \
	bpf_core_enum_value_exists(enum bpf_func_id___since_6_2,                                   \
				   BPF_FUNC_cgrp_storage_get___since_6_2)

/* Reads members of a socket that raw_socket() gave: directly, or by a helper for each. */
#define READ_RAW(raw, a) (HAS_CAST ? (raw)->a : BPF_CORE_READ(raw, a))
#ifdef __clang_analyzer__ /* it takes libbpf's switch over the sizes for incomplete */
#define READ_RAW_BITS(raw, a) ((raw)->a)
#else
#define READ_RAW_BITS(raw, a)                                                                      \
	(HAS_CAST ? BPF_CORE_READ_BITFIELD(raw, a) : BPF_CORE_READ_BITFIELD_PROBED(raw, a))
#endif

/*
 * Returns the kernel's pointer behind one that the verifier knows as something else: for sockets
 * that no helper turns into a pointer with BTF.  Before 6.2 it is hidden from the verifier by way
 * of the stack.
 */
static __always_inline struct sock *raw_socket(struct bpf_sock *sk)
{
	struct bpf_sock *volatile hidden;
	struct sock *raw = NULL;

	if (HAS_CAST)
		return bpf_rdonly_cast(sk, bpf_core_type_id_kernel(struct sock));
	hidden = sk;
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

/* Finds the owner of a socket of which the verifier knows nothing. */
static __always_inline bool owner_of(struct sock *sk, struct owner *ret)
{
	struct cgroup *cgroup = BPF_CORE_READ(sk, sk_cgrp_data.cgroup);

	ret->id = BPF_CORE_READ(cgroup, kn, id);
	ret->address = (__u64)(void *)cgroup;
	return cgroup;
}

static __always_inline bool owner_of_raw(struct sock *raw, struct owner *ret)
{
	struct cgroup *cgroup = READ_RAW(raw, sk_cgrp_data.cgroup);

	ret->id = HAS_CAST ? cgroup->kn->id : BPF_CORE_READ(cgroup, kn, id);
	ret->address = (__u64)(void *)cgroup;
	return cgroup;
}

/* Finds the owner of a request_sock, which has no cgroup: its listener's counts.  The verifier
 * knows neither, so the kernel's own context tells. */
static __always_inline bool owner_of_request(struct bpf_sock_ops *ctx, struct owner *ret)
{
	struct sock *request = NULL;

	bpf_core_read(&request, sizeof(request), &((struct bpf_sock_ops_kern *)ctx)->sk);
	return owner_of(BPF_CORE_READ(request, __sk_common.skc_listener), ret);
}

#endif
