/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Inside of the machine (machine.h): which policies' globs go together into one of bounded size. */
#ifndef SOCKPOL_MACHINE_FIT_H
#define SOCKPOL_MACHINE_FIT_H

#include "compile/machine_graph.h"

/*
 * All policies where they fit; else as many as are found in bounded time.  *ret_has: by place, is
 * the policy in the graph?  The caller frees it.  Returns 0 or -ENOMEM.
 */
int machine_fit(const struct config *c, bool **ret_has, struct graph **ret);

#endif
