/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Which cgroups come and go, as their directories show it: for kernels that do not tell of them by
 * tracepoints.  A cgroup whose directory is gone is taken for released, though sockets may be left.
 */
#ifndef SOCKPOL_DIRECTORIES_H
#define SOCKPOL_DIRECTORIES_H

#include "kernel/kernel.h"

struct directories;

/* root: the directory of the agent's cgroup.  What is made from here on is told. */
int directories_new(const char *root, struct directories **ret);
void directories_free(struct directories *d);
DEFINE_CLEANUP(struct directories *, directories_free)

int directories_fd(const struct directories *d); /* readable when something waits */
/*
 * Tells what waits, as the programs would.  *ret_lost: some of it is not known; fn was told of what
 * went, and who wants to know what came must look.
 */
int directories_consume(struct directories *d, kernel_event_fn *fn, void *userdata, bool *ret_lost);

#endif
