/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* How large must the maps be? */
#ifndef SOCKPOL_SIZES_H
#define SOCKPOL_SIZES_H

#include "daemon/governor.h"
#include "policy/policy.h"

/*
 * An estimate with room to spare for a configuration and so many cgroups: what it gets wrong
 * sizes_grow() puts right.  Returns 0 or -ENOMEM.
 */
int sizes_for(const struct config *c, size_t n_cgroups, struct kernel_sizes *ret);

/* Room for at least those that live at and below this directory. */
void sizes_raise_cgroups(struct kernel_sizes *s, const char *directory);

/*
 * After governor_activate() failed with `error` and `what`: the sizes with which it would not have.
 * False: larger maps are no way out.
 */
bool sizes_grow(struct kernel_sizes *s, const struct governor *failed, int error, const char *what);

#endif
