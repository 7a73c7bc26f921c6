/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Which options this kernel's bpf_setsockopt takes, and which hooks it has: asked, not guessed from
 * its version. */
#ifndef SOCKPOL_PROBE_H
#define SOCKPOL_PROBE_H

#include "option/option.h"

/* probe_options() had no socket to try the option on (a host without IPv6). */
#define PROBE_UNKNOWN (-ENODATA)

/*
 * Tries every option on sockets of its own, with a BPF program that is gone when this returns.  By
 * enum option_id: 0: the kernel takes it, PROBE_UNKNOWN, or the negative errno it answers.
 * Returns 0, or a negative errno when nothing could be asked (-EPERM: no privilege).
 */
int probe_options(int ret[OPTION_MAX]);

/*
 * Does the kernel know this attach type of programs at a cgroup's addresses (enum bpf_attach_type,
 * newer ones by number)?  Loads the smallest program there is.  1, 0, or a negative errno (-EPERM:
 * no privilege).
 */
int probe_attach_type(int type);

#endif
