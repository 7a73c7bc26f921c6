/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The eight options as an application sets them: eight calls of setsockopt(2). */
#ifndef SOCKPOL_BENCH_EIGHT_CALLS_H
#define SOCKPOL_BENCH_EIGHT_CALLS_H

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include "eight.h"

static inline int set_integer(int fd, int level, int name, int value)
{
	return setsockopt(fd, level, name, &value, sizeof(value));
}

/* 0, or a negative errno where one failed; all are tried. */
static inline int set_eight(int fd)
{
	int r = set_integer(fd, SOL_SOCKET, SO_SNDBUF, EIGHT_SNDBUF);

	r |= setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, EIGHT_CONGESTION,
			sizeof(EIGHT_CONGESTION) - 1);
#define SET(level, name, value) r |= set_integer(fd, level, name, value);
	EIGHT_INTEGERS(SET)
#undef SET
	return r < 0 ? -errno : 0;
}

#endif
