/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Inside of the machine (machine.h): what the children of a cgroup can be, found when asked for. */
#ifndef SOCKPOL_MACHINE_CHILDREN_H
#define SOCKPOL_MACHINE_CHILDREN_H

#include "compile/machine.h"

struct children;

/* The machine must outlive it; its tables must be there. */
int children_new(const struct machine *m, struct children **ret);
void children_free(struct children *c);
DEFINE_CLEANUP(struct children *, children_free)

/* future: the state after a parent's path and '/'.  As machine_children(). */
int children_of(struct children *c, uint32_t future, const struct machine_child **ret,
		size_t *ret_n);

#endif
