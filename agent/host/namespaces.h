/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The network namespaces that some process is in. */
#ifndef SOCKPOL_NAMESPACES_H
#define SOCKPOL_NAMESPACES_H

#include <stdint.h>

#include "base/util.h"

#define NAMESPACES_ALL "all"

/* Is called in each namespace, by the number that /proc/PID/ns/net shows. */
typedef int namespace_fn(uint64_t inode, void *userdata);

/*
 * Calls fn in network namespaces, until it returns something other than 0: which is NULL (this
 * thread's own), NAMESPACES_ALL (each that some process is in, once), or the path of one, such as
 * /proc/PID/ns/net or /run/netns/NAME.  The thread comes back to its own.  Returns what fn
 * returned; or a negative errno, logged: -EPERM: it takes CAP_SYS_ADMIN, and CAP_SYS_PTRACE.
 */
int namespaces_each(const char *which, namespace_fn *fn, void *userdata);

#endif
