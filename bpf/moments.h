/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Which of its moments has a socket behind it, and what is known about it there? */
#ifndef SOCKPOL_BPF_MOMENTS_H
#define SOCKPOL_BPF_MOMENTS_H

#include <stdbool.h>

#include <linux/in.h>
#include <bpf/bpf_endian.h>

#include "facts.h"
#include "socket.h"

#ifndef AF_INET /* a unit test has them from the C library */
#define AF_UNIX	    1
#define AF_INET	    2
#define AF_INET6    10
#define AF_NETLINK  16
#define AF_PACKET   17
#define SOCK_STREAM 1
#define SOCK_RAW    3
#endif
#define TCP_ESTABLISHED	 1 /* also of a connected UDP socket */
#define TCP_CLOSE	 7
#define TCP_LISTEN_STATE 10

/* In sk_userlocks (include/net/sock.h): the application bound an address or a port. */
#define SOCK_BINDADDR_LOCK 4
#define SOCK_BINDPORT_LOCK 8

/* Bits of sp_socket.counted: a socket is counted once a direction. */
#define COUNTED_CONNECT 0x1
#define COUNTED_LISTEN	0x2
/* A further bit: the application bound the socket to any address and port 0, which sk_userlocks
 * does not show. */
#define BOUND 0x4

/* Was the socket bound by the application, not by the kernel at its first send? */
static __always_inline bool is_bound(struct bpf_sock *sk, struct sock *raw)
{
	struct sp_socket *s;

	if (READ_RAW_BITS(raw, sk_userlocks) & (SOCK_BINDADDR_LOCK | SOCK_BINDPORT_LOCK))
		return true;
	s = bpf_sk_storage_get(&sockets, sk, NULL, 0);
	return s && s->counted & BOUND;
}

/* Stages that a socket has behind it, a byte each with 1 more than the stage: the latest first. */
struct moments {
	__u32 passed;
	bool is_untold;			     /* perhaps it was accepted */
	__u8 families;			     /* whose options it takes, as in a HOW */
	__u8 family_at_socket, family_since; /* enum sp_family: an IPv6 socket may speak IPv4 */
};
#define MOMENT_BITS	5
#define MOMENT(moments) (((moments)&0x1f) - 1)
#define MOMENTS_1(a)	((__u32)(a) + 1)
#define MOMENTS_2(a, b) (MOMENTS_1(a) | MOMENTS_1(b) << MOMENT_BITS)
_Static_assert(SP_STAGE_MAX < 0x1f, "room for each stage");

/*
 * Without a listener's backlog: is it perhaps accepted all the same?  It is not where the
 * application bound a port, which no accepted socket has of its listener (sk_clone,
 * net/core/sock.c).  A port that the kernel would not have chosen is a listener's.
 */
static __always_inline bool may_be_accepted(struct bpf_sock *sk, struct sock *raw)
{
	__u32 locks = READ_RAW_BITS(raw, sk_userlocks), port = sk->src_port;

	if (locks & SOCK_BINDPORT_LOCK)
		return false;
	return locks & SOCK_BINDADDR_LOCK ||
	       (port && (port < state.port_low || port > state.port_high));
}

/* Did the socket call connect(2), bound to an address of its own?  See note_connect(). */
static __always_inline bool is_noted_to_connect(struct bpf_sock *sk)
{
	struct sp_own_sets *s = bpf_sk_storage_get(&own_sets, sk, NULL, 0);

	return s && s->flags & SP_OWN_SETS_CONNECTS;
}

/* Returns the backlog that a socket has of its listener, or its first subflow. */
static __always_inline __u32 backlog_of(struct bpf_sock *sk, struct sock *raw)
{
	struct sock *first;

	if (sk->protocol != IPPROTO_MPTCP || !bpf_core_type_exists(struct mptcp_sock))
		return READ_RAW(raw, sk_max_ack_backlog);
	first = BPF_CORE_READ((struct mptcp_sock *)raw, first);
	return BPF_CORE_READ(first, sk_max_ack_backlog);
}

/* Returns the moments of a TCP socket, also of MPTCP's own.  An accepted one has its listener's
 * backlog, which is 0 where that was listen(fd, 0). */
static __always_inline void find_moments_of_tcp(struct bpf_sock *sk, struct sock *raw,
						struct moments *ret)
{
	if (sk->state == TCP_CLOSE) {
		ret->passed = sk->src_port ? MOMENTS_2(SP_STAGE_TCP_BIND, SP_STAGE_TCP_SOCKET)
					   : MOMENTS_1(SP_STAGE_TCP_SOCKET);
		return;
	}
	if (sk->state == TCP_LISTEN_STATE) {
		ret->passed = MOMENTS_2(SP_STAGE_TCP_LISTEN, SP_STAGE_TCP_SOCKET);
		return;
	}
	if (backlog_of(sk, raw)) {
		ret->passed = MOMENTS_1(SP_STAGE_TCP_PASSIVE_EST);
		return;
	}
	ret->passed = MOMENTS_2(SP_STAGE_TCP_CONNECT, SP_STAGE_TCP_SYN) |
		      MOMENTS_1(SP_STAGE_TCP_SOCKET) << 2 * MOMENT_BITS;
	ret->is_untold = may_be_accepted(sk, raw) && !is_noted_to_connect(sk);
}

/* As connect(2) had it: an address or a port that the kernel chose is not known. */
static __always_inline void forget_unbound(struct bpf_sock *sk, struct sock *raw, struct facts *f)
{
	if (!(READ_RAW_BITS(raw, sk_userlocks) & SOCK_BINDADDR_LOCK))
		f->local.known = false;
	if (!is_bound(sk, raw))
		f->local.port = 0;
}

static __always_inline __u32 moments_of_udp(struct bpf_sock *sk, struct sock *raw, struct facts *f)
{
	struct sp_socket *s;

	if (sk->state == TCP_ESTABLISHED) {
		forget_unbound(sk, raw, f);
		return MOMENTS_2(SP_STAGE_UDP_CONNECT, SP_STAGE_UDP_SOCKET);
	}
	if (is_bound(sk, raw))
		return MOMENTS_2(SP_STAGE_UDP_BIND, SP_STAGE_UDP_SOCKET);
	/* One that has a port has sent something, perhaps before there was a policy. */
	s = bpf_sk_storage_get(&sockets, sk, NULL, 0);
	return sk->src_port || (s && s->seen) ? MOMENTS_2(SP_STAGE_UDP_SEND, SP_STAGE_UDP_SOCKET)
					      : MOMENTS_1(SP_STAGE_UDP_SOCKET);
}

/* Returns the moments of a socket that is not IP's. */
static __always_inline __u32 moments_of_local(struct bpf_sock *sk)
{
	struct sp_socket *s;

	if (sk->family != AF_UNIX || state.missing_stages & 1 << SP_STAGE_UNIX)
		return MOMENTS_1(SP_STAGE_LOCAL_SOCKET);
	s = bpf_sk_storage_get(&sockets, sk, NULL, 0);
	return s && s->counted & COUNTED_CONNECT ? MOMENTS_1(SP_STAGE_UNIX) : 0;
}

static __always_inline __u16 family_index(struct bpf_sock *sk)
{
	switch (sk->family) {
	case AF_UNIX:
		return SP_FAMILY_INDEX_UNIX;
	case AF_NETLINK:
		return SP_FAMILY_INDEX_NETLINK;
	case AF_PACKET:
		return SP_FAMILY_INDEX_PACKET;
	default:
		return SP_FAMILY_INDEX_IPV4;
	}
}

/* Sets the facts of an IP socket that rules look at. */
static __always_inline void find_facts(struct bpf_sock *sk, struct facts *f)
{
	__u16 port = bpf_ntohs(sk->dst_port);

	if (sk->family == AF_INET6) {
		set_v6(&f->local, sk->src_ip6[0], sk->src_ip6[1], sk->src_ip6[2], sk->src_ip6[3],
		       sk->src_port);
		if (port)
			set_v6(&f->remote, sk->dst_ip6[0], sk->dst_ip6[1], sk->dst_ip6[2],
			       sk->dst_ip6[3], port);
	} else {
		set_v4(&f->local, sk->src_ip4, sk->src_port);
		if (port)
			set_v4(&f->remote, sk->dst_ip4, port);
	}
	f->family = (f->remote.known ? f->remote.v4 : f->local.v4) ? SP_FAMILY_INDEX_IPV4
								   : SP_FAMILY_INDEX_IPV6;
}

static __always_inline void find_moments(struct bpf_sock *sk, struct moments *ret, struct facts *f)
{
	__u32 protocol = sk->protocol;
	struct sock *raw = raw_socket(sk);

	ret->is_untold = false;
	ret->families = ANY_FAMILY;
	if (sk->family != AF_INET && sk->family != AF_INET6) {
		ret->family_since = family_index(sk);
		ret->passed = moments_of_local(sk);
		return;
	}
	find_facts(sk, f);
	ret->family_since = f->family;
	ret->family_at_socket =
		sk->family == AF_INET6 ? SP_FAMILY_INDEX_IPV6 : SP_FAMILY_INDEX_IPV4;
	ret->families = families_of(f, !f->remote.known) | SP_FAMILY_UNBOUND;
	/* bind(2) does not know the port that the kernel chooses */
	if (sk->state == TCP_CLOSE && !(READ_RAW_BITS(raw, sk_userlocks) & SOCK_BINDPORT_LOCK))
		f->local.port = 0;
	if (sk->type == SOCK_STREAM && (protocol == IPPROTO_TCP || protocol == IPPROTO_MPTCP))
		find_moments_of_tcp(sk, raw, ret);
	else if (protocol == IPPROTO_UDP && sk->type != SOCK_RAW)
		ret->passed = moments_of_udp(sk, raw, f);
	else
		ret->passed = MOMENTS_1(SP_STAGE_OTHER_SOCKET);
}

#endif
