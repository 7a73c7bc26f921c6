/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* From the policy files to a governed kernel: the whole way, in the order of its steps. */
#ifndef SOCKPOL_ACTIVATION_H
#define SOCKPOL_ACTIVATION_H

#include "base/diag.h"
#include "daemon/governor.h"

/*
 * Loads the files, has the kernel load what they need, and puts them in force.  What an earlier
 * agent left pinned is adopted first, and so stays in force also when the files are wrong.
 * policy_dirs: NULL-terminated.  Returns 0; -EBADMSG: the files are wrong (see diags); or another
 * negative errno, logged.  On failure what is in force is as it was.
 */
int activate(struct governor *g, const char *pin_dir, const char *const *policy_dirs,
	     struct diags *diags);

#endif
