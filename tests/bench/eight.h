/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The eight options that every contestant sets: by setsockopt(2) and, with the same constants, by
 * bpf_setsockopt.  In the order of sockpol's option table.  tests/bench/eight.py has them as a
 * policy says them; the benchmark looks at sockets of each contestant, whether all agree.
 */
#ifndef SOCKPOL_BENCH_EIGHT_H
#define SOCKPOL_BENCH_EIGHT_H

/* Not what the sandbox has as default (reno): to set what is there already costs nothing. */
#define EIGHT_CONGESTION "cubic"

/* The other seven, X(level, name, value); keepalive's times before it is switched on. */
#define EIGHT_INTEGERS(X)                                                                          \
	X(IPPROTO_TCP, TCP_NOTSENT_LOWAT, 131072)                                                  \
	X(IPPROTO_TCP, TCP_USER_TIMEOUT, 30000)                                                    \
	X(IPPROTO_TCP, TCP_KEEPIDLE, 60)                                                           \
	X(IPPROTO_TCP, TCP_KEEPINTVL, 10)                                                          \
	X(IPPROTO_TCP, TCP_KEEPCNT, 3)                                                             \
	X(SOL_SOCKET, SO_KEEPALIVE, 1)

/* Before TCP_CONGESTION. */
#define EIGHT_SNDBUF 131072

#endif
