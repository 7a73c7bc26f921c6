/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Finds the cgroups of a systemd unit by its name. */
#ifndef SOCKPOL_UNIT_H
#define SOCKPOL_UNIT_H

#include "base/util.h"

struct unit_cgroups {
	char **v; /* owned, sorted: "/system.slice/nginx.service" */
	size_t n;
	/* There is no such cgroup now: *v is where systemd would put it. */
	bool assumed;
};

/*
 * Finds the cgroups that `name` (a unit's name or a glob, as under `unit` in a policy) means now;
 * without a type it is a service.  mount NULL: there are none to look at.  Returns 0, -ENOMEM, or
 * with an owned sentence in *ret_error: -EINVAL (not a name), -ENOENT (no such unit, and no place
 * to assume).
 */
int unit_cgroups_find(const char *mount, const char *name, struct unit_cgroups *ret,
		      char **ret_error);
void unit_cgroups_clear(struct unit_cgroups *u);

#endif
