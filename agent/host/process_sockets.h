/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The TCP and UDP sockets that a process has open, each with its own cgroup. */
#ifndef SOCKPOL_PROCESS_SOCKETS_H
#define SOCKPOL_PROCESS_SOCKETS_H

#include <sys/types.h>

#include "host/sock_diag.h"

struct process_sockets {
	struct sock_diag_socket *v; /* by protocol, then as the kernel lists them */
	size_t n;
};

/*
 * Returns 0; -ESRCH: no such process; -EACCES or -EPERM: another user's, or in a network namespace
 * that is closed to us; another negative errno.
 */
int process_sockets_read(pid_t pid, struct process_sockets *ret);
void process_sockets_clear(struct process_sockets *s);

#endif
