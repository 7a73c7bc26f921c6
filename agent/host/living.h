/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The cgroups that live now. */
#ifndef SOCKPOL_LIVING_H
#define SOCKPOL_LIVING_H

#include <stdint.h>

/* Takes a cgroup.  path: below the mount, "/" or "/a/b"; of any length, since cgroups nest without
 * bound. */
typedef int living_fn(const char *path, uint64_t id, void *userdata);

/*
 * Calls fn for each cgroup from `root` (a path below the mount) down, parents first, siblings by
 * name ("c2" before "c10"), until fn returns something other than 0.  A cgroup that comes or goes
 * meanwhile may be missed, and what is below a directory that is closed to us is.  Holds one
 * directory open and the names of siblings along one path, however many cgroups there are.  Returns
 * what fn returned, 0, or a negative errno; -ENOENT: there is no such root.
 */
int living_each(const char *mount, const char *root, living_fn *fn, void *userdata);

#endif
