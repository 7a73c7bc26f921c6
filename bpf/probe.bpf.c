// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Asks the running kernel which options bpf_setsockopt takes, by setting them: only on the asker's
 * own sockets, which it names by their cookies.  An iterator over TCP sockets takes every option
 * that a hook takes, and is attached to nothing that outlives its reader.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "probe_abi.h"

struct sock_common {
	struct {
		__s64 counter;
	} skc_cookie;
} __attribute__((preserve_access_index));

struct bpf_iter__tcp {
	struct sock_common *sk_common;
} __attribute__((preserve_access_index));

struct sp_probe probes[SP_PROBES_MAX];

SEC("iter/tcp")
int probe(struct bpf_iter__tcp *ctx)
{
	struct sock_common *sk = ctx->sk_common;
	__u64 cookie;

	if (!sk)
		return 0;
	cookie = sk->skc_cookie.counter;
	if (!cookie)
		return 0;
	for (__u32 i = 0; i < SP_PROBES_MAX; i++) {
		struct sp_probe *p = &probes[i];
		/* Like length_of() in apply.h, for the verifier of 6.1. */
		__u32 optlen = ((p->optlen - 1) & (SP_VALUE_SIZE - 1)) + 1;

		if (p->cookie != cookie)
			continue;
		p->answer = (__s32)bpf_setsockopt(sk, p->level, p->optname, p->value, (int)optlen);
		p->answered = 1;
	}
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
