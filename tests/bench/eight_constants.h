/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The eight options as a BPF program sets them that somebody wrote by hand. */
#ifndef SOCKPOL_BENCH_EIGHT_CONSTANTS_H
#define SOCKPOL_BENCH_EIGHT_CONSTANTS_H

#include <linux/bpf.h>
#include <linux/in.h>
#include <linux/tcp.h>
#include <asm/socket.h>
#include <bpf/bpf_helpers.h>

#include "eight.h"

static __always_inline void set_integer(void *ctx, int level, int name, int value)
{
	bpf_setsockopt(ctx, level, name, &value, sizeof(value));
}

static __always_inline void set_eight(void *ctx)
{
	char congestion[] = EIGHT_CONGESTION;

	set_integer(ctx, SOL_SOCKET, SO_SNDBUF, EIGHT_SNDBUF);
	bpf_setsockopt(ctx, IPPROTO_TCP, TCP_CONGESTION, congestion, sizeof(congestion));
#define SET(level, name, value) set_integer(ctx, level, name, value);
	EIGHT_INTEGERS(SET)
#undef SET
}

#endif
