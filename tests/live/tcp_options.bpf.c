// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Every option of every TCP socket of a network namespace, as the kernel has it: for sockets that
 * no application has a descriptor of, such as MPTCP's subflows.  A file made by `bpftool iter pin`;
 * harness/tcp_options.py reads it.
 */
#include <linux/bpf.h>
#include <linux/in.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define SOL_SOCKET     1
#define TCP_CONGESTION 13
#define OPTIONS	       128 /* at each level, numbered from 0 */

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct seq_file;

struct bpf_iter_meta {
	struct seq_file *seq;
};

struct sock_common {
	__be16 skc_dport;
	__u16 skc_num;
};

struct tcp_sock {
	__u32 snd_cwnd, snd_cwnd_clamp;
};

struct bpf_iter__tcp {
	struct bpf_iter_meta *meta;
	struct sock_common *sk_common;
};

#pragma clang attribute pop

struct record {
	__u16 sport, dport;
	__s32 level, optname;
	__u8 value[16];
};

static const struct {
	__s32 level, first;
} places[] = {
	{ SOL_SOCKET, 0 },  { IPPROTO_IP, 0 },		 { IPPROTO_IPV6, 0 },
	{ IPPROTO_TCP, 0 }, { IPPROTO_TCP, TCP_BPF_IW },
};
#define PLACES (sizeof(places) / sizeof(places[0]))

struct look {
	struct seq_file *seq;
	struct tcp_sock *tcp;
	struct record record;
};

/* Gets an option; of the two that set a window, and cannot be asked for, the window. */
static __always_inline long get(struct tcp_sock *tcp, struct record *r)
{
	__u32 value;

	if (r->level != IPPROTO_TCP)
		return bpf_getsockopt(tcp, r->level, r->optname, r->value, sizeof(value));
	if (r->optname == TCP_CONGESTION)
		return bpf_getsockopt(tcp, r->level, r->optname, r->value, sizeof(r->value));
	if (r->optname != TCP_BPF_IW && r->optname != TCP_BPF_SNDCWND_CLAMP)
		return bpf_getsockopt(tcp, r->level, r->optname, r->value, sizeof(value));
	value = r->optname == TCP_BPF_IW ? tcp->snd_cwnd : tcp->snd_cwnd_clamp;
	__builtin_memcpy(r->value, &value, sizeof(value));
	return 0;
}

static long look_at(__u32 i, struct look *l)
{
	__u32 place = i / OPTIONS;

	if (place >= PLACES)
		return 1;
	l->record.level = places[place].level;
	l->record.optname = places[place].first + (__s32)(i % OPTIONS);
	if (get(l->tcp, &l->record) == 0)
		bpf_seq_write(l->seq, &l->record, sizeof(l->record));
	return 0;
}

SEC("iter/tcp")
int tcp_options(struct bpf_iter__tcp *ctx)
{
	struct sock_common *common = ctx->sk_common;
	struct look l = { .seq = ctx->meta->seq };

	if (!common)
		return 0;
	l.tcp = bpf_skc_to_tcp_sock(common);
	if (!l.tcp) /* a request_sock, or TIME_WAIT */
		return 0;
	l.record.sport = common->skc_num;
	l.record.dport = bpf_ntohs(common->skc_dport);
	bpf_loop(PLACES * OPTIONS, look_at, &l, 0);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
