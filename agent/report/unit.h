/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Finds the cgroups of a systemd unit by its name. */
#ifndef SOCKPOL_UNIT_H
#define SOCKPOL_UNIT_H

#include "base/names.h"

/* Returns the path where systemd puts the cgroup of a unit.  slice: its Slice=; NULL: the usual
 * one. NULL: out of memory. */
char *unit_path(const char *name, const char *slice);

/*
 * Finds the cgroups that `name` (a unit's name or a glob, as under `unit` in a policy) means now;
 * without a type it is a service.  An alias is followed where systemd answers.  mount NULL: there
 * are none to look at.  *ret_assumed: there is no such cgroup now, and *ret is where systemd would
 * put it.  Returns 0, a negative errno, or with an owned sentence in *ret_error: -EINVAL (not a
 * name), -ENOENT (no such unit, and no place to assume).
 */
int unit_cgroups_find(const char *mount, const char *name, struct names *ret, bool *ret_assumed,
		      char **ret_error);

#endif
