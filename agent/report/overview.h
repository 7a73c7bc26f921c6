/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What `sockpol status` knows: read from the pinned maps and links, then from the agent if one
 * runs.  The documents are what it prints with --json.
 */
#ifndef SOCKPOL_OVERVIEW_H
#define SOCKPOL_OVERVIEW_H

#include "kernel/pinned.h"
#include "report/document.h"
#include "report/generations.h"

/*
 * Reads the overview.  p NULL: only the agent is asked; runtime_dir NULL: only the pins are read.
 * Returns 0 or a negative errno, those of pinned_open() among them.
 */
int overview_read(const char *pin_dir, const char *runtime_dir, const struct pinned *p,
		  json_t **ret);
/* Counts the live cgroups of each policy.  only_overridden: only if some policy can be overridden.
 * Returns 0 or a negative errno. */
int overview_count_cgroups(json_t *o, const char *pin_dir, bool only_overridden);
/* Reads what is in force for one cgroup.  Returns 0 or a negative errno. */
int overview_read_cgroup(struct generations *g, const char *path, uint64_t id, json_t **ret);
/* Returns the names of the policies, the first few of many; owned.  NULL: memory is out. */
char *overview_name_policies(const json_t *o);
/* Logs why there is no overview: an error of pinned_open() or overview_read(). */
void overview_complain(int err, const char *pin_dir);

#endif
