/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What is in force below a cgroup, and how another configuration comes in its place. */
#ifndef SOCKPOL_GOVERNOR_H
#define SOCKPOL_GOVERNOR_H

#include "base/diag.h"
#include "policy/policy.h"

struct governor;

/* Nothing is in force by it yet.  root_path: below the cgroup2 mount.  The texts are borrowed.
 * Errors are logged. */
int governor_new(const char *mount, const char *root_path, const char *pin_dir,
		 struct governor **ret);
/* Leaves what is pinned in force. */
void governor_free(struct governor *g);
DEFINE_CLEANUP(struct governor *, governor_free)

/* Is anything in force that it could go on with? */
bool governor_has_policy(const struct governor *g);

/*
 * From the policy files to a governed kernel: loads the files, has the kernel load what they need,
 * and puts them in force, whole, by one store.  What an earlier agent left pinned for the same
 * cgroup is adopted first, and so stays in force also when the files are wrong; what it left
 * otherwise is replaced.  policy_dirs: NULL-terminated.  Returns 0; -EBADMSG: the files are wrong,
 * or more than fits (see diags); or another negative errno, logged.  On failure what was in force
 * stays so.
 */
int governor_load(struct governor *g, const char *const *policy_dirs, struct diags *diags);

/*
 * After a governor_load() that succeeded, when there is time (a few grace periods): frees what
 * was in force before, detaches hooks that nothing needs any more, and names the listeners that
 * keep old values.
 */
void governor_settle(struct governor *g);

/* The configuration in force; NULL: none, or an earlier agent's. */
const struct config *governor_config(const struct governor *g);

/* See kernel_n_lost(), kernel_mend(). */
size_t governor_n_lost(const struct governor *g);
int governor_mend(struct governor *g);

/* Takes everything out of the kernel, and what an earlier agent left, too. */
void governor_detach(struct governor *g);

#endif
