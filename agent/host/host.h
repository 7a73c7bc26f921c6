/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What this host's sysctls, tick and modules make of the values that policies ask for; what this
 * process may do. */
#ifndef SOCKPOL_HOST_H
#define SOCKPOL_HOST_H

#include <stdint.h>

#include "base/util.h"

struct host {
	int64_t rmem_max;     /* net.core.rmem_max, bytes; -1: not known, also below */
	int64_t wmem_max;     /* net.core.wmem_max, bytes */
	int64_t tcp_rmem_max; /* net.ipv4.tcp_rmem[2], bytes */
	int64_t tick_usec;    /* one jiffy: resolution of CLOCK_MONOTONIC_COARSE */
	/* Congestion controls, separated by spaces: net.ipv4.tcp_available_congestion_control, then
	 * those of modules that can be loaded.  Owned, may be NULL. */
	char *congestion;
	char *needs_ecn; /* those of the loaded ones that need ECN; likewise */
};

/* Returns a time in ticks, rounded up; tick_usec as in struct host, and known. */
int64_t host_ticks(int64_t usec, int64_t tick_usec);
/* Returns a time in jiffies of the running kernel, rounded up. */
int host_jiffies(int64_t usec);

/* Does the kernel have hooks for AF_UNIX sockets (6.7 and later)?  Asks its BTF, which needs no
 * privilege.  1 yes, 0 no, -ENODATA when it cannot be told. */
int host_has_unix_hooks(void);

/* Do programs of BPF LSM run: is `bpf` in the boot's list of security modules?  1 yes, 0 no,
 * -ENODATA when it cannot be told. */
int host_has_bpf_lsm(void);

/* Returns the last whole number of a sysctl of the caller's network namespace, by its name:
 * "net.ipv4.tcp_keepalive_time"; -1: there is none. */
int64_t host_sysctl_number(const char *name);

/* Finds the ports that the kernel chooses from (net.ipv4.ip_local_port_range); all of them where
 * that cannot be read. */
void host_port_range(uint16_t *ret_low, uint16_t *ret_high);

/* Reads what is readable and never fails; what cannot be read is -1 or NULL. */
void host_read(struct host *h);
void host_clear(struct host *h);
/* Does the host have this congestion control?  1 yes, 0 no, -ENODATA when it cannot be told. */
int host_has_congestion(const struct host *h, const char *name);
/* Does the congestion control need ECN?  Those that were loaded were tried on sockets of our own.
 */
bool host_congestion_needs_ecn(const struct host *h, const char *name);

/* Does the process have what an agent needs: CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON?  Returns 0, or
 * -EPERM, logged. */
int host_check_capabilities(void);
/* The same, without a word.  True also where it cannot be told. */
bool host_is_privileged(void);

#endif
