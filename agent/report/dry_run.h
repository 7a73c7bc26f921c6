/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The changes that a reload would make: compares the policy files with what is in force in the
 * kernel, policy by policy and for every live cgroup.  Changes nothing and needs no agent.
 */
#ifndef SOCKPOL_DRY_RUN_H
#define SOCKPOL_DRY_RUN_H

#include "base/diag.h"
#include "report/document.h"

/*
 * Compares.  policy_dirs: NULL-terminated.  Returns 0, and what `reload --dry-run --json` prints;
 * -EBADMSG: the files are wrong (see diags); or another negative errno, logged.
 */
int dry_run_make(const char *const *policy_dirs, const char *pin_dir, struct diags *diags,
		 json_t **ret);

/* Prints the changes.  all: names every cgroup and listener. */
void dry_run_print(const json_t *d, bool all, FILE *to);

#endif
