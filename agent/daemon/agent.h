/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The agent: puts the files' policies in force, keeps them so, and listens to its administrator. */
#ifndef SOCKPOL_AGENT_H
#define SOCKPOL_AGENT_H

#include "base/util.h"

struct agent_options {
	const char *const *policy_dirs; /* NULL-terminated */
	const char *cgroup_root;	/* see cgroup_resolve(); NULL: all */
	const char *pin_dir;
	bool pin_dir_is_default; /* so that what is said of it needs no name */
	const char *runtime_dir;
	const char *state_dir;	  /* where the last good files are kept; NULL: nowhere */
	bool persist;		  /* what is in force stays so when the agent is stopped */
	const char *metrics_file; /* NULL: none */
};

/*
 * Runs until SIGTERM or SIGINT.  Returns 0 or a negative errno (-EBADMSG: not started, as the
 * policy files have errors, and neither pins nor last good files were there); errors are logged.
 */
int agent_run(const struct agent_options *options);

#endif
