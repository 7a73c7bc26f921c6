/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * TCP sockets that listen, each with its own cgroup.  sock_diag shows only this process's network
 * namespace, so listeners in a container with a namespace of its own are not among them.
 */
#ifndef SOCKPOL_LISTENERS_H
#define SOCKPOL_LISTENERS_H

#include "host/sock_diag.h"

struct listener {
	uint64_t cgroup_id; /* cgroup in which it was created; 0: the kernel does not say */
	char local[SOCK_DIAG_ADDRESS_SIZE]; /* "0.0.0.0:80", "[::]:80" */
};

typedef int listener_fn(const struct listener *l, void *userdata);

/* Calls fn for each listener until it returns something other than 0.  Returns that, 0, or a
 * negative errno. */
int listeners_each(listener_fn *fn, void *userdata);

/*
 * Returns the path of a cgroup whose listeners carry what a policy set at SP_STAGE_TCP_LISTEN, if
 * that has changed or goes now; NULL for any other cgroup.  The path lives until the next call.
 */
typedef const char *listener_stale_fn(uint64_t cgroup_id, void *userdata);

/*
 * Logs the listeners that keep old values, one a line, after a reload and before a detach.  (One
 * that was opened before any policy came is named as well: nothing tells them apart.) Returns how
 * many, or a negative errno.
 */
int listeners_name_stale(listener_stale_fn *fn, void *userdata);

#endif
