/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The kernel's own list of TCP and UDP sockets (sock_diag(7)), of one network namespace. */
#ifndef SOCKPOL_SOCK_DIAG_H
#define SOCKPOL_SOCK_DIAG_H

#include <netinet/in.h>
#include <stdint.h>

#include "base/util.h"

#define SOCK_DIAG_ADDRESS_SIZE (INET6_ADDRSTRLEN + sizeof("[]:65535"))

struct sock_diag_socket {
	int protocol; /* IPPROTO_TCP, IPPROTO_UDP */
	uint64_t inode;
	uint64_t cgroup_id; /* cgroup in which it was created; 0: the kernel does not say */
	char local[SOCK_DIAG_ADDRESS_SIZE];
	char remote[SOCK_DIAG_ADDRESS_SIZE]; /* "": none */
};

struct mnl_socket;

/* Opens a socket that asks about the network namespace that the calling thread is in now. */
int sock_diag_open(struct mnl_socket **ret);
void sock_diag_close(struct mnl_socket *nl);
DEFINE_CLEANUP(struct mnl_socket *, sock_diag_close)

#define SOCK_DIAG_ALL_STATES 0xffffffffu

typedef int sock_diag_fn(const struct sock_diag_socket *s, void *userdata);

/*
 * Calls fn for the sockets of a protocol, of both families, that are in one of the states
 * (BIT(TCP_LISTEN), ...), until it returns a negative errno.  A kernel without this protocol's diag
 * module shows none.
 */
int sock_diag_each(struct mnl_socket *nl, int protocol, uint32_t states, sock_diag_fn *fn,
		   void *userdata);

#endif
