/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* From the policy files to a governed kernel: the whole way, in the order of its steps. */
#ifndef SOCKPOL_ACTIVATION_H
#define SOCKPOL_ACTIVATION_H

#include "base/diag.h"
#include "daemon/governor.h"

struct activation_request {
	const char *const *policy_dirs; /* NULL-terminated */
	const char *mount, *root_path;	/* of cgroup2; of the agent's root below it */
	const char *pin_dir;
};

/*
 * Loads the files, has the kernel load what they need, and puts them in force through *governor.
 * Where there is none yet (NULL), it is made of what an earlier agent left pinned, which then stays
 * in force also when the files are wrong.  Where there is nothing to go on with, or the maps are
 * too small, a new one is made that takes the hooks over in place.  When *governor has changed the
 * caller owns both, and frees the old one.
 * Returns 0; -EBADMSG: the files are wrong (see diags); or another negative errno, logged.  On
 * failure what is in force is as it was.
 */
int activate(const struct activation_request *request, struct governor **governor,
	     struct diags *diags);
/* The same with the configuration that is in force already: for cgroups that found no room. */
int activate_again(const struct activation_request *request, struct governor **governor,
		   struct diags *diags);

#endif
