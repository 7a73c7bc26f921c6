// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * The hooks.  Each finds the policies of the socket's cgroup, which of their rules hold, and sets
 * what wins at its stage.  Whatever fails is counted; a call is refused only where its policy says
 * so.
 *
 * sock_create, bind4/6, connect4/6 and sendmsg4/6 run in the process, before the kernel acts on the
 * call.  A connect() of an IPv6 socket to a v4-mapped address runs connect6; a send to one runs
 * sendmsg4.
 *
 * A run reads the generation once and passes it on, so that it never mixes two configurations.
 */
#include <stdbool.h>

#include <linux/bpf.h>
#include <linux/in.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "afterwards.h"
#include "apply.h"
#include "cache.h"
#include "classify.h"
#include "facts.h"
#include "socket.h"

#define INADDR_LOOPBACK 0x7f000001
#define REFUSE		0 /* EPERM, from a hook that runs in a call */
#define ALLOW		1
#define HANDLED		1

static __always_inline bool used(__u64 stages)
{
	return state.stages & stages;
}

#define STAGES_OF_UDP (1 << SP_STAGE_UDP_BIND | 1 << SP_STAGE_UDP_CONNECT | 1 << SP_STAGE_UDP_SEND)

/*
 * Is a UDP or unix socket counted now?  It is once a direction, however often it binds, connects or
 * sends (glibc's getaddrinfo connects one socket again and again).  TCP sockets need no such
 * memory: see tcp_connect().
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

#define MERGE(merge_, ctx, owner, what, how)                                                       \
	do {                                                                                       \
		int tries_;                                                                        \
                                                                                                   \
		_Pragma("clang loop unroll(disable)") for (tries_ = 0; tries_ < ATTEMPTS;          \
							   tries_++)                               \
		{                                                                                  \
			if (merge_(ctx, (owner)->id, what, how) != LIST_LOST)                      \
				break;                                                             \
			what = classify((owner)->id, as_number((owner)->address),                  \
					HOW_GENERATION(how));                                      \
		}                                                                                  \
		if (tries_ == ATTEMPTS)                                                            \
			__sync_fetch_and_add(&state.lists_lost, 1);                                \
	} while (0)

/*
 * Does what is due at a stage of a socket, by the short way or the general one.  apply_: the
 * policies that do, as policies_of() gives them.  merge_: a global function that finds out the
 * facts. families_: for the short way.  counts_: evaluated where something is due.
 */
#define RUN_POLICIES(ctx, owner, generation_, apply_, stage_, families_, counts_, set_, merge_)    \
	do {                                                                                       \
		__u32 what_ = (apply_), how_;                                                      \
		struct sp_policy *p_ = NULL;                                                       \
		const struct sp_stage_of *s_;                                                      \
                                                                                                   \
		if (!what_)                                                                        \
			break;                                                                     \
		if (what_ != SP_WORD_IN_LISTS) {                                                   \
			p_ = MAP_LOOK(policies, generation_ & 1, &what_);                          \
			if (!p_)                                                                   \
				break;                                                             \
			s_ = &p_->stage[stage_];                                                   \
			if (!is_due(s_))                                                           \
				break;                                                             \
			if (s_->rules)                                                             \
				p_ = NULL;                                                         \
		}                                                                                  \
		how_ = HOW(stage_, families_, counts_, generation_);                               \
		if (p_) {                                                                          \
			/* First: an atomic addition waits for all stores before it, and the       \
			 * kernel's setsockopt stores much. */                                     \
			count_plain(p_, s_, how_);                                                 \
			set_(ctx, s_->first_cell, s_->n_ops, how_, except_plain(p_, how_));        \
		} else {                                                                           \
			MERGE(merge_, ctx, owner, what_, how_);                                    \
		}                                                                                  \
	} while (0)

#define RUN_STAGE(ctx, owner, stage_, families_, counts_, set_, merge_)                            \
	do {                                                                                       \
		__u64 now_ = state.generation;                                                     \
                                                                                                   \
		RUN_POLICIES(ctx, owner, now_, policies_of(owner, now_), stage_, families_,        \
			     counts_, set_, merge_);                                               \
	} while (0)

static __always_inline void set_addr(struct bpf_sock_addr *ctx, __u32 first_cell, __u32 n_ops,
				     __u32 how, __u64 but)
{
	if (n_ops <= SP_OPS_CELL)
		set_cell_addr(ctx, first_cell, n_ops, how, but);
	else
		set_block(ctx, first_cell, n_ops, how, but, CONTEXT_ADDR);
}

/* Gives the socket, read anew: kept, it takes room on the stack. */
#define SOCKET_OF(ctx) (((volatile typeof(*(ctx)) *)(ctx))->sk)

/* Gives SP_FAMILY_UNBOUND if no device is bound to the context's socket. */
#define UNBOUND(ctx)                                                                               \
	({                                                                                         \
		struct bpf_sock *of_ = SOCKET_OF(ctx);                                             \
		of_ && of_->bound_dev_if ? 0 : SP_FAMILY_UNBOUND;                                  \
	})

/*
 * The kernel connects a socket to itself, so to say, where the peer is any address: in IPv4 to the
 * address that the socket is bound to, else to loopback (ip_route_output_key_hash_rcu,
 * net/ipv4/route.c); in IPv6 to loopback, that of IPv4 if the socket is bound to a v4-mapped
 * address (tcp_v6_connect, net/ipv6/tcp_ipv6.c).
 */
static __always_inline void replace_any(struct address *peer, struct bpf_sock *sk)
{
	__u32 bound = sk ? sk->src_ip4 : 0;

	if (!is_any(peer))
		return;
	if (peer->v4)
		set_v4(peer, bound ? bound : bpf_htonl(INADDR_LOOPBACK), peer->port);
	else if (bound)
		set_v4(peer, bpf_htonl(INADDR_LOOPBACK), peer->port);
	else
		peer->a[3] = bpf_htonl(1);
}

/* Sets the peer of connect(2); families as rules tell them apart. */
static __always_inline void set_peer(struct facts *f, struct bpf_sock_addr *ctx, bool v6)
{
	if (v6)
		set_v6(&f->remote, ctx->user_ip6[0], ctx->user_ip6[1], ctx->user_ip6[2],
		       ctx->user_ip6[3], bpf_ntohs(ctx->user_port));
	else
		set_v4(&f->remote, ctx->user_ip4, bpf_ntohs(ctx->user_port));
	replace_any(&f->remote, ctx->sk);
	f->family = f->remote.v4 ? SP_FAMILY_INDEX_IPV4 : SP_FAMILY_INDEX_IPV6;
}

/* Sets a socket's own address, as far as the application bound it. */
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

/* Returns how with other families. */
static __always_inline __u32 how_with(__u32 how, __u32 families)
{
	return (how & ~((__u32)FAMILIES << 8)) | families << 8;
}

static __always_inline int merge_connect(struct bpf_sock_addr *ctx, __u64 id, __u32 what, __u32 how,
					 bool v6)
{
	struct facts facts = { 0 };

	set_peer(&facts, ctx, v6);
	if (HOW_STAGE(how) == SP_STAGE_UDP_CONNECT && ctx->sk)
		set_bound(&facts.local, ctx->sk, raw_socket(ctx->sk), v6);
	how = how_with(how, families_of(&facts, false));
	return merge(ctx, &facts, id, what, how, 0, CONTEXT_ADDR);
}

/* Two functions, as connect4 may not even read user_ip6. */
__noinline int merge_connect4(struct bpf_sock_addr *ctx, __u64 id, __u32 what, __u32 how)
{
	return merge_connect(ctx, id, what, how, false);
}

__noinline int merge_connect6(struct bpf_sock_addr *ctx, __u64 id, __u32 what, __u32 how)
{
	return merge_connect(ctx, id, what, how, true);
}

/*
 * Counts only the socket's first connect(), which gives write_seq its random start (tcp_v4_connect,
 * net/ipv4/tcp_ipv4.c); no later state makes it 0 again.
 */
#define ON_CONNECT(ctx, families, merge_)                                                          \
	do {                                                                                       \
		struct bpf_sock *sk_ = (ctx)->sk;                                                  \
		struct tcp_sock *tp_;                                                              \
		struct owner owner_;                                                               \
                                                                                                   \
		if (!sk_)                                                                          \
			break;                                                                     \
		if ((ctx)->protocol == IPPROTO_TCP) {                                              \
			tp_ = bpf_skc_to_tcp_sock(sk_);                                            \
			if (tp_ && owner_of_tcp(tp_, &owner_))                                     \
				RUN_STAGE(ctx, &owner_, SP_STAGE_TCP_CONNECT,                      \
					  (families) | UNBOUND(ctx), !tp_->write_seq, set_addr,    \
					  merge_);                                                 \
		} else if ((ctx)->protocol == IPPROTO_UDP && used(1 << SP_STAGE_UDP_CONNECT)) {    \
			if (owner_of_raw(raw_socket(sk_), &owner_))                                \
				RUN_STAGE(ctx, &owner_, SP_STAGE_UDP_CONNECT,                      \
					  (families) | UNBOUND(ctx),                               \
					  first_time(sk_, COUNTED_CONNECT), set_addr, merge_);     \
		}                                                                                  \
	} while (0)

/* Does what the run above put off; returns whether the call goes on. */
static __always_inline int end_run(struct bpf_sock_addr *ctx)
{
	return used(SP_DUE_CARE) && catch_up_addr(ctx) ? REFUSE : ALLOW;
}

/* Returns the families whose options a connection takes; for `::` see replace_any(). */
static __always_inline __u32 families_of_peer6(struct bpf_sock_addr *ctx)
{
	__u32 a2 = ctx->user_ip6[2];
	struct bpf_sock *sk;

	if (ctx->user_ip6[0] | ctx->user_ip6[1])
		return SP_FAMILY_IPV6;
	if (a2 | ctx->user_ip6[3])
		return a2 == bpf_htonl(0xffff) ? SP_FAMILY_IPV4 : SP_FAMILY_IPV6;
	sk = SOCKET_OF(ctx);
	return sk && sk->src_ip4 ? SP_FAMILY_IPV4 : SP_FAMILY_IPV6;
}

SEC("cgroup/connect4")
int connect4(struct bpf_sock_addr *ctx)
{
	ON_CONNECT(ctx, SP_FAMILY_IPV4, merge_connect4);
	if (used(SP_DUE_AFTERWARDS))
		note_connect(ctx);
	return end_run(ctx);
}

SEC("cgroup/connect6")
int connect6(struct bpf_sock_addr *ctx)
{
	ON_CONNECT(ctx, families_of_peer6(ctx), merge_connect6);
	if (used(SP_DUE_AFTERWARDS))
		note_connect(ctx);
	return end_run(ctx);
}

static __always_inline void set_own(struct facts *f, struct bpf_sock_addr *ctx, bool v6)
{
	if (v6)
		set_v6(&f->local, ctx->user_ip6[0], ctx->user_ip6[1], ctx->user_ip6[2],
		       ctx->user_ip6[3], bpf_ntohs(ctx->user_port));
	else
		set_v4(&f->local, ctx->user_ip4, bpf_ntohs(ctx->user_port));
	f->family = f->local.v4 ? SP_FAMILY_INDEX_IPV4 : SP_FAMILY_INDEX_IPV6;
}

static __always_inline int merge_bind(struct bpf_sock_addr *ctx, __u64 id, __u32 what, __u32 how,
				      bool v6)
{
	struct facts facts = { 0 };

	set_own(&facts, ctx, v6);
	return merge(ctx, &facts, id, what, how, 0, CONTEXT_ADDR);
}

__noinline int merge_bind4(struct bpf_sock_addr *ctx, __u64 id, __u32 what, __u32 how)
{
	return merge_bind(ctx, id, what, how, false);
}

__noinline int merge_bind6(struct bpf_sock_addr *ctx, __u64 id, __u32 what, __u32 how)
{
	return merge_bind(ctx, id, what, how, true);
}

/* A TCP socket is counted when it is known what it becomes.  A UDP socket that has a port, of its
 * first send or an earlier bind(), cannot be bound. */
#define ON_BIND(ctx, v6, merge_)                                                                   \
	do {                                                                                       \
		struct bpf_sock *sk_ = (ctx)->sk;                                                  \
		struct tcp_sock *tp_;                                                              \
		struct owner owner_;                                                               \
                                                                                                   \
		if (!sk_)                                                                          \
			break;                                                                     \
		if ((ctx)->protocol == IPPROTO_TCP) {                                              \
			tp_ = bpf_skc_to_tcp_sock(sk_);                                            \
			if (tp_ && owner_of_tcp(tp_, &owner_))                                     \
				RUN_STAGE(ctx, &owner_, SP_STAGE_TCP_BIND,                         \
					  families_of_own(ctx, v6) | UNBOUND(ctx), false,          \
					  set_addr, merge_);                                       \
		} else if ((ctx)->protocol == IPPROTO_UDP && used(STAGES_OF_UDP) &&                \
			   !sk_->src_port) {                                                       \
			if (owner_of_raw(raw_socket(sk_), &owner_))                                \
				RUN_STAGE(ctx, &owner_, SP_STAGE_UDP_BIND,                         \
					  families_of_own(ctx, v6) | UNBOUND(ctx),                 \
					  first_time(sk_, COUNTED_LISTEN), set_addr, merge_);      \
			if (is_unspecific(ctx, v6))                                                \
				(void)first_time(sk_, BOUND);                                      \
		}                                                                                  \
	} while (0)

/* Is it a bind() to any address and port 0, which leaves no trace in sk_userlocks? */
static __always_inline bool is_unspecific(struct bpf_sock_addr *ctx, bool v6)
{
	struct facts facts = { 0 };

	set_own(&facts, ctx, v6);
	return is_any(&facts.local) && facts.local.port == 0;
}

static __always_inline __u32 families_of_own(struct bpf_sock_addr *ctx, bool v6)
{
	struct facts facts = { 0 };

	set_own(&facts, ctx, v6);
	return families_of(&facts, true);
}

SEC("cgroup/bind4")
int bind4(struct bpf_sock_addr *ctx)
{
	ON_BIND(ctx, false, merge_bind4);
	return end_run(ctx);
}

SEC("cgroup/bind6")
int bind6(struct bpf_sock_addr *ctx)
{
	ON_BIND(ctx, true, merge_bind6);
	return end_run(ctx);
}

/*
 * Was this socket looked at in this generation already?  Most sends end here, so the answer is
 * remembered for ungoverned sockets as well.
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

/* The same at a send: one that is refused is looked at again. */
static __always_inline int end_send(struct bpf_sock_addr *ctx)
{
	struct bpf_sock *sk = SOCKET_OF(ctx);
	struct sp_socket *s;

	if (end_run(ctx) == ALLOW)
		return ALLOW;
	s = sk ? bpf_sk_storage_get(&sockets, sk, NULL, 0) : NULL;
	if (s)
		s->seen = 0;
	return REFUSE;
}

/* Merges for a send, which tells the family alone, as it stands in how. */
static __always_inline int merge_family(struct bpf_sock_addr *ctx, __u64 id, __u32 what, __u32 how,
					enum sp_family family)
{
	struct facts facts = { .family = family };

	return merge(ctx, &facts, id, what, how, 0, CONTEXT_ADDR);
}

__noinline int merge_send4(struct bpf_sock_addr *ctx, __u64 id, __u32 what, __u32 how)
{
	return merge_family(ctx, id, what, how, SP_FAMILY_INDEX_IPV4);
}

__noinline int merge_send6(struct bpf_sock_addr *ctx, __u64 id, __u32 what, __u32 how)
{
	return merge_family(ctx, id, what, how, SP_FAMILY_INDEX_IPV6);
}

__noinline int merge_unix(struct bpf_sock_addr *ctx, __u64 id, __u32 what, __u32 how)
{
	return merge_family(ctx, id, what, how, SP_FAMILY_INDEX_UNIX);
}

/* Is the send of a socket that got no options yet?  A bound socket stays `listen` whatever it
 * sends, and a connected one got its options at connect(2). */
static __always_inline bool is_to_be_governed(struct bpf_sock_addr *ctx, struct bpf_sock *sk,
					      struct owner *ret)
{
	struct sock *raw;

	if (!sk || ctx->protocol != IPPROTO_UDP || sk->state == TCP_ESTABLISHED || seen(sk))
		return false;
	raw = raw_socket(sk);
	return !is_bound(sk, raw) && owner_of_raw(raw, ret);
}

/* Returns the families whose options a sender takes: an IPv6 socket may send to either. */
static __always_inline __u32 families_of_sender(struct bpf_sock *sk)
{
	return sk->family == AF_INET6 ? SP_FAMILY_IPV4 | SP_FAMILY_IPV6 | DUAL_STACK
				      : SP_FAMILY_IPV4;
}

SEC("cgroup/sendmsg4")
int sendmsg4(struct bpf_sock_addr *ctx)
{
	struct bpf_sock *sk = ctx->sk;
	struct owner owner;

	if (!is_to_be_governed(ctx, sk, &owner))
		return ALLOW;
	RUN_STAGE(ctx, &owner, SP_STAGE_UDP_SEND, families_of_sender(sk) | UNBOUND(ctx),
		  first_time(sk, COUNTED_CONNECT), set_addr, merge_send4);
	return end_send(ctx);
}

SEC("cgroup/sendmsg6")
int sendmsg6(struct bpf_sock_addr *ctx)
{
	struct bpf_sock *sk = ctx->sk;
	struct owner owner;

	if (!is_to_be_governed(ctx, sk, &owner))
		return ALLOW;
	RUN_STAGE(ctx, &owner, SP_STAGE_UDP_SEND, families_of_sender(sk) | UNBOUND(ctx),
		  first_time(sk, COUNTED_CONNECT), set_addr, merge_send6);
	return end_send(ctx);
}

#define BOTH_FAMILIES (SP_FAMILY_IPV4 | SP_FAMILY_IPV6)

/* libbpf 1.1 has no section names for these two and does not load them by itself: the agent gives
 * them their attach types where the kernel has these hooks. */
SEC("?cgroup/connect4")
int connect_unix(struct bpf_sock_addr *ctx)
{
	struct bpf_sock *sk = ctx->sk;
	struct owner owner;

	if (!sk || !owner_of_raw(raw_socket(sk), &owner))
		return ALLOW;
	RUN_STAGE(ctx, &owner, SP_STAGE_UNIX, BOTH_FAMILIES, first_time(sk, COUNTED_CONNECT),
		  set_addr, merge_unix);
	return end_run(ctx);
}

SEC("?cgroup/sendmsg4")
int sendmsg_unix(struct bpf_sock_addr *ctx)
{
	struct bpf_sock *sk = ctx->sk;
	struct owner owner;

	if (!sk || seen(sk) || !owner_of_raw(raw_socket(sk), &owner))
		return ALLOW;
	RUN_STAGE(ctx, &owner, SP_STAGE_UNIX, BOTH_FAMILIES, first_time(sk, COUNTED_CONNECT),
		  set_addr, merge_unix);
	return end_send(ctx);
}

/* Sets local and remote as sock_ops has them: remote_port in the upper half, in network byte
 * order. */
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

/*
 * Returns the options to leave out when the kernel asks for a reply, by number.  It asks on a
 * listener's request_sock as well, whose facts are the accepted socket's.  Only the option asked
 * for matters.
 */
static __always_inline __u64 except_replies(struct bpf_sock_ops *ctx, __u32 stage)
{
	if (stage < SP_STAGE_REPLY_ACTIVE)
		return 0;
	return ~(1ULL << (state.reply_options[ctx->op & (SP_SOCK_OPS_MAX - 1)] & 63));
}

__noinline int merge_ops(struct bpf_sock_ops *ctx, __u64 id, __u32 what, __u32 how)
{
	bool listens = HOW_STAGE(how) == SP_STAGE_TCP_LISTEN;
	struct facts facts = { 0 };

	set_facts(&facts, ctx, listens);
	how = how_with(how, families_of(&facts, listens));
	return merge(ctx, &facts, id, what, how, except_replies(ctx, HOW_STAGE(how)), CONTEXT_OPS);
}

/* Is it an accepted socket?  BASE_RTT is also asked of those that no process has yet. */
static __always_inline bool is_accepted(struct tcp_sock *tp)
{
	return tp->inet_conn.icsk_inet.sk.sk_socket == NULL;
}

/* Returns the families whose options a socket takes; a dual-stack listener's address tells them. */
static __always_inline __u32 families_of_op(struct bpf_sock_ops *ctx, __u32 stage)
{
	if (ctx->family != AF_INET6)
		return SP_FAMILY_IPV4;
	if (stage != SP_STAGE_TCP_LISTEN)
		return is_v4_mapped(ctx->remote_ip6[0], ctx->remote_ip6[1], ctx->remote_ip6[2])
			       ? SP_FAMILY_IPV4
			       : SP_FAMILY_IPV6;
	if (is_v4_mapped(ctx->local_ip6[0], ctx->local_ip6[1], ctx->local_ip6[2]))
		return SP_FAMILY_IPV4;
	return ctx->local_ip6[0] | ctx->local_ip6[1] | ctx->local_ip6[2] | ctx->local_ip6[3]
		       ? SP_FAMILY_IPV6
		       : SP_FAMILY_IPV4 | SP_FAMILY_IPV6 | DUAL_STACK;
}

/* Sets the short way; at sock_ops other replies are left alone as well. */
static __always_inline void set_ops(struct bpf_sock_ops *ctx, __u32 first_cell, __u32 n_ops,
				    __u32 how, __u64 but)
{
	set_block(ctx, first_cell, n_ops, how, but | except_replies(ctx, HOW_STAGE(how)),
		  CONTEXT_OPS);
}

/*
 * Returns the stage of a socket that was accepted, or not: one that opens a connection at the
 * moment its peer does, or to itself, is established passively (tcp_rcv_state_process,
 * net/ipv4/tcp_input.c), but it called connect(2).  An accepted one that is established has sent
 * nothing itself; a further subflow belongs to its MPTCP socket then, and so to a process
 * (mptcp_finish_join, net/mptcp/protocol.c).
 */
static __always_inline __u32 stage_by_direction(__u32 stage, struct tcp_sock *tp)
{
	switch (stage) {
	case SP_STAGE_REPLY_ACTIVE:
		return is_accepted(tp) ? SP_STAGE_REPLY_PASSIVE : stage;
	case SP_STAGE_TCP_PASSIVE_EST:
		return is_accepted(tp) || !tp->segs_out ? stage : SP_STAGE_TCP_ACTIVE_EST;
	default:
		return stage;
	}
}

/* Kept out of line, so that sock_ops() has next to nothing to save and restore. */
static __noinline int due_at(struct bpf_sock_ops *ctx, __u32 stage)
{
	struct bpf_sock *sk = ctx->sk;
	struct tcp_sock *tp;
	struct owner owner;

	if (sk) {
		tp = bpf_skc_to_tcp_sock(sk);
		if (!tp || !owner_of_tcp(tp, &owner))
			return HANDLED;
		stage = stage_by_direction(stage, tp);
	} else {
		if (!owner_of_request(ctx, &owner))
			return HANDLED;
		stage = SP_STAGE_REPLY_PASSIVE;
	}
	if (stage < SP_STAGE_MAX)
		RUN_STAGE(ctx, &owner, stage, families_of_op(ctx, stage) | UNBOUND(ctx), true,
			  set_ops, merge_ops);
	if (used(SP_DUE_CARE))
		catch_up_ops(ctx);
	return HANDLED;
}

/*
 * The kernel calls this some ten times a connection, whether or not there is something to do.  The
 * stage is looked up, so that the verifier walks through what follows once, not for each stage.
 */
SEC("sockops")
int sock_ops(struct bpf_sock_ops *ctx)
{
	__u32 stage = state.sock_ops[ctx->op & (SP_SOCK_OPS_MAX - 1)];

	return stage ? due_at(ctx, stage) : HANDLED;
}

static __always_inline void set_given(struct given *to, __u32 first_cell, __u32 n_ops, __u32 how,
				      __u64 but)
{
	set_block(to, first_cell, n_ops, how, but, CONTEXT_GIVEN);
}

/* Besides the protocol, which the stage tells, the family is all that is known at socket(2). */
__noinline int merge_given(struct given *to, __u64 id, __u32 what, __u32 how)
{
	struct facts facts = { 0 };

	if (!to)
		return 0;
	facts.family = to->family;
	return merge(to, &facts, id, what, how, 0, CONTEXT_GIVEN);
}

#define GIVE(to, owner, generation, policies, stage)                                               \
	RUN_POLICIES(to, owner, generation, policies, stage, BOTH_FAMILIES, true, set_given,       \
		     merge_given)

/* Notes from the beginning what the application sets: what the hook at setsockopt(2) notes now, not
 * what a later configuration will respect. */
static __always_inline void begin_own_sets(struct bpf_sock *ctx, __u32 what, __u32 generation)
{
	struct sp_own_sets *s =
		bpf_sk_storage_get(&own_sets, ctx, NULL, BPF_SK_STORAGE_GET_F_CREATE);
	struct sp_policy *p;

	if (!s)
		return;
	s->whole = state.of[generation & 1].respected;
	if (what == SP_WORD_IN_LISTS)
		return;
	p = MAP_LOOK(policies, generation & 1, &what);
	s->whole &= p ? p->asked : 0;
}

/* Can a later hook refuse what the device could not be given for?  Raw and ping sockets have none.
 */
static __always_inline bool has_later_hook(const struct bpf_sock *ctx, const struct given *given)
{
	__u32 protocol = ctx->protocol;

	if (given->is_by_name && !state.netns_cookie) /* post_create */
		return true;
	return ctx->type != SOCK_RAW &&
	       (protocol == IPPROTO_TCP || protocol == IPPROTO_MPTCP || protocol == IPPROTO_UDP);
}

/* The socket is in the cgroup of the task that makes it, so a helper gives the id without following
 * the socket. */
SEC("cgroup/sock_create")
int sock_create(struct bpf_sock *ctx)
{
	__u32 what, protocol = ctx->protocol;
	struct owner owner = { .id = bpf_get_current_cgroup_id() };
	__u64 generation = state.generation;
	bool is_here;
	struct given given = {
		.family = ctx->family == AF_INET6 ? SP_FAMILY_INDEX_IPV6 : SP_FAMILY_INDEX_IPV4,
	};

	/* The cgroup's address, which takes longest, is for what the cache does not know, or may
	 * forget. */
	if (!cache_recall(owner.id, generation, &what) || what == SP_WORD_IN_LISTS)
		what = owner_of_raw(raw_socket(ctx), &owner) ? policies_of(&owner, generation) : 0;
	if (!what)
		return ALLOW;
	if (state.of[generation & 1].flags & SP_GENERATION_RESPECTS)
		begin_own_sets(ctx, what, generation);
	if (ctx->type == SOCK_STREAM && (protocol == IPPROTO_TCP || protocol == IPPROTO_MPTCP))
		GIVE(&given, &owner, generation, what, SP_STAGE_TCP_SOCKET);
	else if (protocol == IPPROTO_UDP)
		GIVE(&given, &owner, generation, what, SP_STAGE_UDP_SOCKET);
	else
		GIVE(&given, &owner, generation, what, SP_STAGE_OTHER_SOCKET);
	if (given.has_mark)
		ctx->mark = given.mark;
	if (given.has_priority)
		ctx->priority = given.priority;
	if (!given.has_device)
		return ALLOW;
	/* In another network namespace the index may be another device's. */
	is_here = !given.is_by_name || bpf_get_netns_cookie(ctx) == state.netns_cookie;
	if (is_here)
		ctx->bound_dev_if = given.device;
	if (!given.refuses || given.unbinds || (is_here && given.device) ||
	    has_later_hook(ctx, &given))
		return ALLOW;
	count_outcome(given.counter, given.option, SP_OUTCOME_REFUSED);
	return REFUSE;
}

/* Returns what a socket is at socket(2); SP_STAGE_MAX: nothing that this hook gives it. */
static __always_inline __u32 stage_of_new(struct sock *sk, enum sp_family *ret_family)
{
	__u16 protocol = sk->sk_protocol;

	switch (sk->__sk_common.skc_family) {
	case AF_INET:
	case AF_INET6:
		/* What sock_create gave is not for a process without CAP_NET_RAW to change. */
		if (sk->__sk_common.skc_bound_dev_if)
			return SP_STAGE_MAX;
		*ret_family = sk->__sk_common.skc_family == AF_INET6 ? SP_FAMILY_INDEX_IPV6
								     : SP_FAMILY_INDEX_IPV4;
		if (sk->sk_type == SOCK_STREAM &&
		    (protocol == IPPROTO_TCP || protocol == IPPROTO_MPTCP))
			return SP_STAGE_TCP_SOCKET;
		return protocol == IPPROTO_UDP ? SP_STAGE_UDP_SOCKET : SP_STAGE_OTHER_SOCKET;
	case AF_UNIX:
		*ret_family = SP_FAMILY_INDEX_UNIX;
		return state.missing_stages & 1 << SP_STAGE_UNIX ? SP_STAGE_LOCAL_SOCKET
								 : SP_STAGE_MAX;
	case AF_NETLINK:
		*ret_family = SP_FAMILY_INDEX_NETLINK;
		return SP_STAGE_LOCAL_SOCKET;
	case AF_PACKET:
		*ret_family = SP_FAMILY_INDEX_PACKET;
		return SP_STAGE_LOCAL_SOCKET;
	default:
		return SP_STAGE_MAX;
	}
}

/*
 * Gives what sock_create cannot: a device by its name, whatever the network namespace, and options
 * of sockets that are not IP's.  kern: the kernel makes a socket for itself.
 */
SEC("?lsm_cgroup/socket_post_create")
int BPF_PROG(post_create, struct socket *socket, int family, int type, int protocol, int kern)
{
	struct given given = { .by_call = true };
	__u64 generation = state.generation;
	struct sock *sk = socket->sk;
	enum sp_family of = 0;
	struct owner owner;
	__u32 stage;

	if (kern || !sk || !sk->sk_cgrp_data.cgroup)
		return ALLOW;
	stage = stage_of_new(sk, &of);
	if (stage >= SP_STAGE_MAX)
		return ALLOW;
	given.family = of;
	owner.id = sk->sk_cgrp_data.cgroup->kn->id;
	owner.address = (__u64)(void *)sk->sk_cgrp_data.cgroup;
	RUN_POLICIES(&given, &owner, generation, policies_of(&owner, generation), stage,
		     BOTH_FAMILIES, stage == SP_STAGE_LOCAL_SOCKET, set_given, merge_given);
#pragma clang loop unroll(disable)
	for (__u32 i = 0; i < GIVEN_OPS_MAX && i < given.n_ops; i++) {
		struct sp_op *op = numbered_op(given.op[i], generation);

		if (!op || set_value(sk, op, HOW(stage, BOTH_FAMILIES, false, generation)) == 0 ||
		    !(op->flags & SP_OP_REFUSE))
			continue;
		count_outcome(op->counter, op->option, SP_OUTCOME_REFUSED);
		return REFUSE;
	}
	return ALLOW;
}

/* What the application sets itself, after the hooks above or before. */
SEC("cgroup/setsockopt")
int setsockopt(struct bpf_sockopt *ctx)
{
	return on_setsockopt(ctx);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
