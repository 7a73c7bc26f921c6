/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Warnings about what a configuration names and this host does not have, or has otherwise. */
#ifndef SOCKPOL_ON_HOST_H
#define SOCKPOL_ON_HOST_H

#include "policy/policy.h"

/* mount: of cgroup2; NULL: there is none.  Returns 0 or -ENOMEM. */
int on_host_lint(const struct config *c, const char *mount, struct diags *diags);

#endif
