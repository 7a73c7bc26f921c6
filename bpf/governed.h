/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Whose socket is this, and which policy is in force for it?
 *
 * The cgroup is the socket's own (sk_cgrp_data), never that of `current`: in softirq that is an
 * unrelated task, and a socket keeps its cgroup when its process moves.
 */
#ifndef SOCKPOL_BPF_GOVERNED_H
#define SOCKPOL_BPF_GOVERNED_H

#include <bpf/bpf_core_read.h>

#include "kernel.h"
#include "maps.h"

/* Reads the index of the policy in force; false: the element became another cgroup's meanwhile. */
static __always_inline bool read_policy(const struct sp_cgroup *c, __u64 id, __u64 generation,
					__u32 *ret)
{
	*ret = c->policy[generation & 1];
	barrier();
	return *(volatile const __u64 *)&c->id == id;
}

/* By the hash: 0 if it has none. */
static __noinline __u32 find_policy(__u64 id)
{
	struct sp_cgroup *c = bpf_map_lookup_elem(&cgroups, &id);
	__u32 index;

	if (!c)
		return 0;
	if (!read_policy(c, id, state.generation, &index)) { /* it has a new one by now */
		c = bpf_map_lookup_elem(&cgroups, &id);
		if (!c || !read_policy(c, id, state.generation, &index))
			return 0;
	}
	return index;
}

static __always_inline struct sp_policy *policy_of_cgroup(__u64 id)
{
	__u32 place = SP_CGROUP_SLOT(id), index;
	struct sp_cgroup_slot *slot = bpf_map_lookup_elem(&cgroup_slots, &place);
	__u64 word = slot ? *(volatile __u64 *)&slot->half[state.generation & 1] : 0;

	index = SP_SLOT_IS_OF(word, id) ? SP_SLOT_POLICY(word) : find_policy(id);
	if (!index)
		return NULL;
	return bpf_map_lookup_elem(&policies, &index);
}

static __always_inline struct sp_policy *policy_of_tcp(struct tcp_sock *tp)
{
	struct cgroup *cgroup = tp->inet_conn.icsk_inet.sk.sk_cgrp_data.cgroup;

	if (!cgroup)
		return NULL;
	return policy_of_cgroup(cgroup->kn->id);
}

/*
 * The kernel's pointer behind one that the verifier knows as something else, hidden from it by way
 * of the stack: for sockets that no helper turns into a pointer with BTF.  bpf_rdonly_cast would do
 * from 6.2 on.
 */
static __always_inline struct sock *raw_socket(struct bpf_sock *sk)
{
	struct bpf_sock *volatile hidden = sk;
	struct sock *raw = NULL;

	bpf_probe_read_kernel(&raw, sizeof(raw), (const void *)&hidden);
	return raw;
}

static __always_inline struct sp_policy *policy_of_raw(struct sock *raw)
{
	return policy_of_cgroup(BPF_CORE_READ(raw, sk_cgrp_data.cgroup, kn, id));
}

#endif
