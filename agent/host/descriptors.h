/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Which processes have which sockets open, by their inodes. */
#ifndef SOCKPOL_DESCRIPTORS_H
#define SOCKPOL_DESCRIPTORS_H

#include <stdint.h>
#include <sys/types.h>

#include "base/util.h"

struct descriptor {
	uint64_t inode;
	pid_t pid;
	int fd;
};

struct descriptors {
	struct descriptor *v; /* owned; by inode, pid and fd */
	size_t n;
};

/* Reads those of a process, or, pid 0, of all; passes over processes that end meanwhile.  Returns
 * 0; -ESRCH: no such process; -EACCES or -EPERM: another user's; or -ENOMEM. */
int descriptors_read(pid_t pid, struct descriptors *ret);
void descriptors_clear(struct descriptors *d);
/* Returns those of a socket, *ret_n of them. */
const struct descriptor *descriptors_find(const struct descriptors *d, uint64_t inode,
					  size_t *ret_n);

#endif
