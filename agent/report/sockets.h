/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * A process's open sockets beside what the policy files give such sockets when they are new: an
 * older one may have something else, and so may one whose program set an option later, or that
 * was connected a second time.
 */
#ifndef SOCKPOL_SOCKETS_H
#define SOCKPOL_SOCKETS_H

#include "compile/cascade.h"
#include "host/host.h"
#include "host/sock_diag.h"
#include "report/document.h"

/*
 * Opens a process, so that sockets_judge() can ask its sockets (by pidfd_getfd(2)).  Returns a
 * descriptor, or a negative errno: -EPERM: not permitted; -EXDEV: to ask would change them.
 */
int sockets_open(pid_t pid);

/* Returns what `explain --json` says of a socket, but for what it has.  NULL: memory is out. */
json_t *sockets_json(const struct sock_diag_socket *s);

/*
 * Asks the socket what it has, adds to its document what it should have and has not, and counts it
 * in the explanation (for every connection) of its cgroup.  effective: of that cgroup.  A socket
 * that is closed meanwhile is left as it is.  Returns 0, -ENOMEM or another negative errno: it
 * cannot be asked.
 */
int sockets_judge(int pidfd, const struct sock_diag_socket *s, const struct effective *effective,
		  const struct host *host, const json_t *explanation, json_t *document);

/* Prints the sockets of which there is something to say; verbose: all. */
void sockets_print(const json_t *root, bool verbose, FILE *to);

#endif
