/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What is in force below a cgroup, and how another configuration comes in its place. */
#ifndef SOCKPOL_GOVERNOR_H
#define SOCKPOL_GOVERNOR_H

#include "base/diag.h"
#include "policy/policy.h"

struct governor;

/* Nothing is in force by it yet.  root_path: below the cgroup2 mount.  Errors are logged. */
int governor_new(const char *mount, const char *root_path, const char *pin_dir,
		 struct governor **ret);
/* Leaves what is pinned in force. */
void governor_free(struct governor *g);
DEFINE_CLEANUP(struct governor *, governor_free)

/*
 * What an earlier agent left pinned for the same cgroup stays in force, with its counters, until
 * governor_activate().  -ENOENT, -EPROTO: as kernel_adopt(); other errors are logged.
 */
int governor_adopt(struct governor *g);
/* Is anything in force that it could go on with? */
bool governor_has_policy(const struct governor *g);

/*
 * Puts a configuration in force, whole, by one store; takes it over, also on failure.  Where
 * nothing is in force by this governor, it takes the place of what an earlier agent left. -EBADMSG:
 * it is more than fits (see diags); other errors are logged.  On failure what was in force stays
 * so.
 */
int governor_activate(struct governor *g, struct config *c, struct diags *diags);

/*
 * After a governor_activate() that succeeded, when there is time (a few grace periods): frees what
 * was in force before, detaches hooks that nothing needs any more, and names the listeners that
 * keep old values.
 */
void governor_settle(struct governor *g);

/* The configuration in force; NULL: none, or an earlier agent's. */
const struct config *governor_config(const struct governor *g);

/* See kernel_n_lost(), kernel_mend(). */
size_t governor_n_lost(const struct governor *g, size_t *ret_n_detached);
int governor_mend(struct governor *g);

/* Takes everything out of the kernel, and what an earlier agent left, too. */
void governor_detach(struct governor *g);

#endif
