/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The kernel's own list of TCP, MPTCP and UDP sockets (sock_diag(7)), each with its own cgroup. */
#ifndef SOCKPOL_SOCK_DIAG_H
#define SOCKPOL_SOCK_DIAG_H

#include <netinet/in.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/util.h"

#define SOCK_DIAG_ADDRESS_SIZE (INET6_ADDRSTRLEN + sizeof("[]:65535"))

struct sock_diag_socket {
	int family;   /* AF_INET, AF_INET6 */
	int protocol; /* IPPROTO_TCP, IPPROTO_MPTCP, IPPROTO_UDP */
	bool listens;
	/* By sock_diag_of_pid(): someone listens at its port, so it was accepted there; and a
	 * descriptor of the process's. */
	bool is_accepted;
	int fd;
	uint16_t port; /* of this end; 0: it has none yet */
	uint64_t inode;
	uint64_t cgroup_id; /* cgroup in which it was created; 0: the kernel does not say */
	char *cgroup;	    /* owned: that cgroup's path, by cgroup_of_sockets(); NULL: not known */
	char local[SOCK_DIAG_ADDRESS_SIZE];  /* "0.0.0.0:80", "[::]:80" */
	char remote[SOCK_DIAG_ADDRESS_SIZE]; /* "": none */
};

struct sock_diag_list {
	struct sock_diag_socket *v; /* by protocol, then as the kernel lists them */
	size_t n;
};

/*
 * Reads the TCP sockets that listen in this process's network namespace: those of a container with
 * a namespace of its own are not among them.  *ret is empty at first, and after an error.
 */
int sock_diag_listeners(struct sock_diag_list *ret);

/*
 * Reads the TCP, MPTCP and UDP sockets that a process has open.  -ESRCH: no such process; -EACCES
 * or -EPERM: another user's, or in a network namespace that is closed to us.  *ret: likewise.
 */
int sock_diag_of_pid(pid_t pid, struct sock_diag_list *ret);

void sock_diag_clear(struct sock_diag_list *l);

#endif
