/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * TCP sockets that listen, each with its own cgroup: those of this process's network namespace only
 * (sock_diag knows no other), so what listens in a container with its own is not among them.
 */
#ifndef SOCKPOL_LISTENERS_H
#define SOCKPOL_LISTENERS_H

#include "host/sock_diag.h"

struct listener {
	uint64_t cgroup_id; /* the cgroup it was created in; 0: the kernel does not say */
	char local[SOCK_DIAG_ADDRESS_SIZE]; /* "0.0.0.0:80", "[::]:80" */
};

typedef int listener_fn(const struct listener *l, void *userdata);

/* Until fn returns something other than 0; returns that, 0, or a negative errno. */
int listeners_each(listener_fn *fn, void *userdata);

/*
 * The path of a cgroup whose listeners carry what a policy set at SP_STAGE_TCP_LISTEN, and where
 * that has changed or goes now; NULL for any other.  Lives until the next call.
 */
typedef const char *listener_stale_fn(uint64_t cgroup_id, void *userdata);

/*
 * Names in the log, one line each, the listeners that keep old values: after a reload, and before a
 * detach.  (One that was opened before any policy came is named too: nothing tells them apart.)
 * Returns how many, or a negative errno.
 */
int listeners_name_stale(listener_stale_fn *fn, void *userdata);

#endif
