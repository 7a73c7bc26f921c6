// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * The hooks.  Each finds the policy of the socket's cgroup, which of its rules hold, and sets what
 * is due at its stage; what that is was decided in userspace.  None ever refuses anything: whatever
 * fails is counted.
 *
 * bind4/6, connect4/6 and sendmsg4/6 run in the process, before the kernel acts on the call.  A
 * connect() of an IPv6 socket to a v4-mapped address runs connect6; a send to one runs sendmsg4.
 */
#include <stdbool.h>

#include <linux/bpf.h>
#include <linux/in.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "apply.h"
#include "classify.h"
#include "facts.h"
#include "governed.h"

#define AF_INET6 10
#define ALLOW	 1
#define HANDLED	 1

/* Of sk_userlocks (include/net/sock.h): the application bound an address or a port. */
#define SOCK_BINDADDR_LOCK 4
#define SOCK_BINDPORT_LOCK 8

/* Bits of sp_socket.counted: a socket is counted once a direction. */
#define COUNTED_CONNECT 0x1
#define COUNTED_LISTEN	0x2
/* And one that it was bound by the application: sk_userlocks does not tell of bind() to any address
 * and port 0. */
#define BOUND 0x4

static __always_inline bool used(enum sp_stage stage)
{
	return state.stages & (1ULL << stage);
}

static __always_inline bool used_by_udp(void)
{
	const __u64 stages =
		1 << SP_STAGE_UDP_BIND | 1 << SP_STAGE_UDP_CONNECT | 1 << SP_STAGE_UDP_SEND;

	return state.stages & stages;
}

static __always_inline bool is_due(const struct sp_policy *p, enum sp_stage stage)
{
	const struct sp_stage_ops *due = &p->stage[stage];

	return due->n_ops || due->n_credits || due->rule_credits;
}

/* Which socket options of which families a connection or a listener takes. */
static __always_inline __u32 families_of(const struct facts *f, bool listens)
{
	if (f->family == SP_FAMILY_INDEX_IPV4)
		return SP_FAMILY_IPV4;
	if (listens && is_any(&f->local))
		return SP_FAMILY_IPV4 | SP_FAMILY_IPV6 | DUAL_STACK;
	return SP_FAMILY_IPV6;
}

/*
 * Counts a UDP or unix socket once a direction, however often it binds, connects or sends (glibc's
 * getaddrinfo connects one socket again and again).  TCP sockets need no such memory: see
 * tcp_connect().
 */
static __always_inline bool first_time(struct bpf_sock *sk, __u32 direction)
{
	struct sp_socket *s = bpf_sk_storage_get(&sockets, sk, NULL, BPF_SK_STORAGE_GET_F_CREATE);

	if (!s)
		return true;
	if (s->counted & direction)
		return false;
	s->counted |= direction;
	return true;
}

/* A stage of a socket that is not TCP. */
static __always_inline void other_stage(struct bpf_sock_addr *ctx, struct bpf_sock *sk,
					struct sock *raw, enum sp_stage stage,
					const struct facts *facts, __u32 families, __u32 direction)
{
	struct sp_policy *p = policy_of_raw(raw);
	struct run run;

	if (!p || !is_due(p, stage))
		return;
	prepare(&run, ctx, &p->stage[stage], rules_that_hold(p, &p->stage[stage], facts), families);
	set_options(&run);
	if (first_time(sk, direction))
		give_credit(&run);
}

/* Whom connect(2) is to; families as rules tell them apart. */
static __always_inline void set_peer(struct facts *f, struct bpf_sock_addr *ctx, bool v6)
{
	if (v6)
		set_v6(&f->remote, ctx->user_ip6[0], ctx->user_ip6[1], ctx->user_ip6[2],
		       ctx->user_ip6[3], bpf_ntohs(ctx->user_port));
	else
		set_v4(&f->remote, ctx->user_ip4, bpf_ntohs(ctx->user_port));
	f->family = f->remote.v4 ? SP_FAMILY_INDEX_IPV4 : SP_FAMILY_INDEX_IPV6;
}

/*
 * The socket's first connect() only is counted: the first one gives write_seq its random start
 * (tcp_v4_connect, net/ipv4/tcp_ipv4.c), and no later state makes it 0 again.
 */
static __always_inline void tcp_connect(struct bpf_sock_addr *ctx, struct tcp_sock *tp, bool v6)
{
	struct sp_policy *p = policy_of_tcp(tp);
	const struct sp_stage_ops *due;
	__u32 families = SP_FAMILY_IPV4;
	__u64 held = 0;

	if (!p || !is_due(p, SP_STAGE_TCP_CONNECT))
		return;
	due = &p->stage[SP_STAGE_TCP_CONNECT];
	if (due->rules) {
		struct facts facts = { 0 };

		set_peer(&facts, ctx, v6);
		held = rules_that_hold(p, due, &facts);
		families = families_of(&facts, false);
	} else if (v6 && !is_v4_mapped(ctx->user_ip6[0], ctx->user_ip6[1], ctx->user_ip6[2])) {
		families = SP_FAMILY_IPV6;
	}
	run_stage(ctx, due, held, families, !tp->write_seq);
}

/* By the application, not by the kernel at its first send. */
static __always_inline bool is_bound(struct bpf_sock *sk, struct sock *raw)
{
	struct sp_socket *s;

	if (BPF_CORE_READ_BITFIELD_PROBED(raw, sk_userlocks) &
	    (SOCK_BINDADDR_LOCK | SOCK_BINDPORT_LOCK))
		return true;
	s = bpf_sk_storage_get(&sockets, sk, NULL, 0);
	return s && s->counted & BOUND;
}

/* A socket's own address, as far as the application bound it. */
static __always_inline void set_bound(struct address *to, struct bpf_sock *sk, struct sock *raw,
				      bool v6)
{
	if (!is_bound(sk, raw))
		return;
	if (v6)
		set_v6(to, sk->src_ip6[0], sk->src_ip6[1], sk->src_ip6[2], sk->src_ip6[3],
		       sk->src_port);
	else
		set_v4(to, sk->src_ip4, sk->src_port);
	if (is_any(to))
		to->known = false;
}

static __always_inline void udp_connect(struct bpf_sock_addr *ctx, struct bpf_sock *sk, bool v6)
{
	struct sock *raw = raw_socket(sk);
	struct facts facts = { 0 };

	set_peer(&facts, ctx, v6);
	set_bound(&facts.local, sk, raw, v6);
	other_stage(ctx, sk, raw, SP_STAGE_UDP_CONNECT, &facts, families_of(&facts, false),
		    COUNTED_CONNECT);
}

static __always_inline int on_connect(struct bpf_sock_addr *ctx, bool v6)
{
	struct bpf_sock *sk = ctx->sk;

	if (!sk)
		return ALLOW;
	if (ctx->protocol == IPPROTO_TCP) {
		struct tcp_sock *tp = bpf_skc_to_tcp_sock(sk);

		if (tp)
			tcp_connect(ctx, tp, v6);
	} else if (ctx->protocol == IPPROTO_UDP && used(SP_STAGE_UDP_CONNECT)) {
		udp_connect(ctx, sk, v6);
	}
	return ALLOW;
}

static __always_inline int on_bind(struct bpf_sock_addr *ctx, struct facts *facts)
{
	struct bpf_sock *sk = ctx->sk;
	__u32 families;

	if (!sk)
		return ALLOW;
	facts->family = facts->local.v4 ? SP_FAMILY_INDEX_IPV4 : SP_FAMILY_INDEX_IPV6;
	families = families_of(facts, true);
	if (ctx->protocol == IPPROTO_TCP) {
		struct tcp_sock *tp = bpf_skc_to_tcp_sock(sk);
		struct sp_policy *p = tp ? policy_of_tcp(tp) : NULL;

		/* Counted when it is known what the socket becomes. */
		if (p && is_due(p, SP_STAGE_TCP_BIND)) {
			const struct sp_stage_ops *due = &p->stage[SP_STAGE_TCP_BIND];
			struct run run;

			prepare(&run, ctx, due, rules_that_hold(p, due, facts), families);
			set_options(&run);
		}
	} else if (ctx->protocol == IPPROTO_UDP && used_by_udp()) {
		other_stage(ctx, sk, raw_socket(sk), SP_STAGE_UDP_BIND, facts, families,
			    COUNTED_LISTEN);
		(void)first_time(sk, BOUND);
	}
	return ALLOW;
}

SEC("cgroup/connect4")
int connect4(struct bpf_sock_addr *ctx)
{
	return on_connect(ctx, false);
}

SEC("cgroup/connect6")
int connect6(struct bpf_sock_addr *ctx)
{
	return on_connect(ctx, true);
}

SEC("cgroup/bind4")
int bind4(struct bpf_sock_addr *ctx)
{
	struct facts facts = { 0 };

	set_v4(&facts.local, ctx->user_ip4, bpf_ntohs(ctx->user_port));
	return on_bind(ctx, &facts);
}

SEC("cgroup/bind6")
int bind6(struct bpf_sock_addr *ctx)
{
	struct facts facts = { 0 };

	set_v6(&facts.local, ctx->user_ip6[0], ctx->user_ip6[1], ctx->user_ip6[2], ctx->user_ip6[3],
	       bpf_ntohs(ctx->user_port));
	return on_bind(ctx, &facts);
}

/*
 * Was this socket looked at in this generation already?  Most sends end here, so what it asks is
 * remembered for sockets that nothing governs too.
 */
static __always_inline bool seen(struct bpf_sock *sk)
{
	struct sp_socket *s = bpf_sk_storage_get(&sockets, sk, NULL, BPF_SK_STORAGE_GET_F_CREATE);
	__u64 now = state.generation + 1;

	if (!s)
		return false;
	if (s->seen == now)
		return true;
	s->seen = now;
	return false;
}

#define TCP_ESTABLISHED 1 /* a connected UDP socket too */

/* A bound socket stays `listen` whatever it sends, a connected one got its options at connect(2).
 */
static __always_inline int on_send(struct bpf_sock_addr *ctx, enum sp_family family)
{
	struct facts facts = { .family = family };
	struct bpf_sock *sk = ctx->sk;
	struct sock *raw;

	if (!sk || seen(sk) || ctx->protocol != IPPROTO_UDP || sk->state == TCP_ESTABLISHED)
		return ALLOW;
	raw = raw_socket(sk);
	if (is_bound(sk, raw))
		return ALLOW;
	other_stage(ctx, sk, raw, SP_STAGE_UDP_SEND, &facts, families_of(&facts, false),
		    COUNTED_CONNECT);
	return ALLOW;
}

SEC("cgroup/sendmsg4")
int sendmsg4(struct bpf_sock_addr *ctx)
{
	return on_send(ctx, SP_FAMILY_INDEX_IPV4);
}

SEC("cgroup/sendmsg6")
int sendmsg6(struct bpf_sock_addr *ctx)
{
	return on_send(ctx, SP_FAMILY_INDEX_IPV6);
}

/* The agent gives these two their attach types, which libbpf 1.1 has no section names for. */
SEC("cgroup/connect4")
int connect_unix(struct bpf_sock_addr *ctx)
{
	struct facts facts = { .family = SP_FAMILY_INDEX_UNIX };
	struct bpf_sock *sk = ctx->sk;

	if (sk)
		other_stage(ctx, sk, raw_socket(sk), SP_STAGE_UNIX_CONNECT, &facts,
			    SP_FAMILY_IPV4 | SP_FAMILY_IPV6, COUNTED_CONNECT);
	return ALLOW;
}

SEC("cgroup/sendmsg4")
int sendmsg_unix(struct bpf_sock_addr *ctx)
{
	struct facts facts = { .family = SP_FAMILY_INDEX_UNIX };
	struct bpf_sock *sk = ctx->sk;

	if (sk && !seen(sk))
		other_stage(ctx, sk, raw_socket(sk), SP_STAGE_UNIX_SEND, &facts,
			    SP_FAMILY_IPV4 | SP_FAMILY_IPV6, COUNTED_CONNECT);
	return ALLOW;
}

/* Local and remote as sock_ops has them: remote_port in the upper half, in network byte order. */
static __always_inline void set_facts(struct facts *f, struct bpf_sock_ops *ctx, bool listens)
{
	bool v6 = ctx->family == AF_INET6;

	if (v6)
		set_v6(&f->local, ctx->local_ip6[0], ctx->local_ip6[1], ctx->local_ip6[2],
		       ctx->local_ip6[3], ctx->local_port);
	else
		set_v4(&f->local, ctx->local_ip4, ctx->local_port);
	f->family = f->local.v4 ? SP_FAMILY_INDEX_IPV4 : SP_FAMILY_INDEX_IPV6;
	if (listens)
		return;
	if (v6)
		set_v6(&f->remote, ctx->remote_ip6[0], ctx->remote_ip6[1], ctx->remote_ip6[2],
		       ctx->remote_ip6[3], bpf_ntohl(ctx->remote_port));
	else
		set_v4(&f->remote, ctx->remote_ip4, bpf_ntohl(ctx->remote_port));
	f->family = f->remote.v4 ? SP_FAMILY_INDEX_IPV4 : SP_FAMILY_INDEX_IPV6;
}

static __always_inline void tcp_stage(struct bpf_sock_ops *ctx, __u32 stage)
{
	bool listens = stage == SP_STAGE_TCP_LISTEN;
	struct bpf_sock *sk = ctx->sk;
	struct tcp_sock *tp = sk ? bpf_skc_to_tcp_sock(sk) : NULL;
	struct sp_policy *p = tp ? policy_of_tcp(tp) : NULL;
	const struct sp_stage_ops *due;
	__u32 families = SP_FAMILY_IPV4;
	__u64 held = 0;

	if (!p || !is_due(p, stage))
		return;
	due = &p->stage[stage];
	if (due->rules || listens) {
		struct facts facts = { 0 };

		set_facts(&facts, ctx, listens);
		held = rules_that_hold(p, due, &facts);
		families = families_of(&facts, listens);
	} else if (ctx->family == AF_INET6 &&
		   !is_v4_mapped(ctx->remote_ip6[0], ctx->remote_ip6[1], ctx->remote_ip6[2])) {
		families = SP_FAMILY_IPV6;
	}
	run_stage(ctx, due, held, families, true);
}

/* The first of the policy's replies to this op; the reply is left alone where there is none. */
static __always_inline void set_reply(struct bpf_sock_ops *ctx, const struct sp_policy *p,
				      enum sp_stage stage, const struct facts *facts)
{
	const struct sp_stage_ops *due = &p->stage[stage];
	__u32 wanted = ctx->op;
	struct run run;

	prepare(&run, ctx, due, rules_that_hold(p, due, facts), 0);
	for (__u32 i = 0; i < SP_REPLIES_MAX && i < run.due->n_ops; i++) {
		struct sp_op *op = pick(&run, i);

		if (!op)
			return;
		if (op->optlen == sizeof(__u32) && op->optname == wanted) {
			__u32 value;

			__builtin_memcpy(&value, op->value, sizeof(value));
			ctx->reply = value;
			return;
		}
	}
}

/* On a request_sock the policy is that of the listener; the verifier knows of neither. */
static __always_inline struct sp_policy *policy_of_request(struct bpf_sock_ops *ctx)
{
	struct sock *request = NULL;

	bpf_probe_read_kernel(&request, sizeof(request),
			      ctx); /* the kernel's context begins with it */
	return policy_of_raw(BPF_CORE_READ(request, __sk_common.skc_listener));
}

/* BASE_RTT is asked of accepted sockets too: those that no process has yet. */
static __always_inline bool is_accepted(struct tcp_sock *tp)
{
	return tp->inet_conn.icsk_inet.sk.sk_socket == NULL;
}

static __always_inline void reply(struct bpf_sock_ops *ctx)
{
	enum sp_stage stage = SP_STAGE_REPLY_PASSIVE;
	struct facts facts = { 0 };
	struct sp_policy *p;
	struct bpf_sock *sk;

	sk = ctx->sk;
	if (sk) {
		struct tcp_sock *tp = bpf_skc_to_tcp_sock(sk);

		if (!tp)
			return;
		if (!is_accepted(tp))
			stage = SP_STAGE_REPLY_ACTIVE;
		p = policy_of_tcp(tp);
	} else {
		p = policy_of_request(ctx);
	}
	if (!p)
		return;
	set_facts(&facts, ctx, false);
	if (stage == SP_STAGE_REPLY_ACTIVE)
		set_reply(ctx, p, SP_STAGE_REPLY_ACTIVE, &facts);
	else
		set_reply(ctx, p, SP_STAGE_REPLY_PASSIVE, &facts);
}

/* Not inlined, so that sock_ops() has next to nothing to save and to restore. */
static __noinline int due_at(struct bpf_sock_ops *ctx, __u32 stage)
{
	if (stage == SP_STAGE_REPLY_ACTIVE)
		reply(ctx);
	else if (stage < SP_STAGE_MAX)
		tcp_stage(ctx, stage);
	return HANDLED;
}

/*
 * The kernel calls some ten times a connection, whether or not there is something to do.  The stage
 * is looked up, so that the verifier walks through what follows once, not for each stage.
 */
SEC("sockops")
int sock_ops(struct bpf_sock_ops *ctx)
{
	__u32 stage = state.sock_ops[ctx->op & (SP_SOCK_OPS_MAX - 1)];

	return stage ? due_at(ctx, stage) : HANDLED;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
