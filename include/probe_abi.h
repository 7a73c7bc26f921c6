/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Shared by bpf/probe.bpf.c and agent/kernel/probe.c.  It lives for one run, so it has no
 * version. */
#ifndef SOCKPOL_PROBE_ABI_H
#define SOCKPOL_PROBE_ABI_H

#include <linux/types.h>

#include "abi.h"

#define SP_PROBES_MAX 64

/* One question to the kernel: does bpf_setsockopt take this value on this socket? */
struct sp_probe {
	__u64 cookie; /* SO_COOKIE of the socket to try it on */
	__s32 level;
	__s32 optname;
	__u32 optlen; /* bytes of value, 1 to SP_VALUE_SIZE */
	__s32 answer; /* what bpf_setsockopt returned */
	__u32 answered;
	__u32 reserved;
	__u8 value[SP_VALUE_SIZE];
};

_Static_assert(sizeof(struct sp_probe) == 48, "probe_abi");

#endif
