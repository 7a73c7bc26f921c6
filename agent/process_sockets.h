/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The TCP and UDP sockets that a process has open, each with its own cgroup. */
#ifndef SOCKPOL_PROCESS_SOCKETS_H
#define SOCKPOL_PROCESS_SOCKETS_H

#include <netinet/in.h>
#include <stdint.h>
#include <sys/types.h>

#include "util.h"

struct process_socket {
	int protocol; /* IPPROTO_TCP, IPPROTO_UDP */
	uint64_t inode;
	uint64_t cgroup_id; /* the cgroup it was created in; 0: the kernel does not say */
	char local[INET6_ADDRSTRLEN + sizeof("[]:65535")];
	char remote[INET6_ADDRSTRLEN + sizeof("[]:65535")]; /* "": none */
};

struct process_sockets {
	struct process_socket *v; /* by protocol, then as the kernel lists them */
	size_t n;
};

/*
 * Returns 0; -ESRCH: no such process; -EACCES or -EPERM: another user's, or in a network namespace
 * that is closed to us; another negative errno.
 */
int process_sockets_read(pid_t pid, struct process_sockets *ret);
void process_sockets_clear(struct process_sockets *s);

#endif
