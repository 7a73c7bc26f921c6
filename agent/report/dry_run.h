/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The changes that a reload would make: compares the policy files with what is in force in the
 * kernel, policy by policy and for every live cgroup.  Changes nothing and needs no agent.
 */
#ifndef SOCKPOL_DRY_RUN_H
#define SOCKPOL_DRY_RUN_H

#include "base/diag.h"
#include "host/sock_diag.h"
#include "report/change_set.h"

/* Cgroups with the same changes. */
struct dry_run_group {
	struct change_set changes; /* the first one's */
	struct names cgroups;	   /* paths, as far as there was room for names */
	size_t n_cgroups;
};

/* A policy that is in force and in the files, and changes.  If it applies to a live cgroup, the
 * changes are reported there. */
struct dry_run_policy {
	char *name; /* owned */
	bool applies;
	struct change_set changes;
};

struct dry_run {
	struct names come, go; /* policies, whether or not they apply to a cgroup that lives */
	struct dry_run_policy *policies;
	size_t n_policies;
	bool other_order;	      /* of policies that are in force and in the files */
	struct dry_run_group *groups; /* by their first cgroup */
	size_t n_groups;
	/* Listeners, which keep what they got under the old policy, as a reload does not touch
	 * them.  cgroup NULL: its values stay right. */
	struct sock_diag_socket *listeners;
	size_t n_listeners;
	size_t n_cgroups;    /* cgroups looked at */
	size_t n_changed;    /* cgroups that change */
	bool in_force;	     /* false: nothing is in force, so everything would be new */
	uint64_t generation; /* the generation in force */
};

/*
 * Compares.  policy_dirs: NULL-terminated.  Returns 0; -EBADMSG: the files are wrong (see diags);
 * or another negative errno, logged.
 */
int dry_run_make(const char *const *policy_dirs, const char *pin_dir, struct diags *diags,
		 struct dry_run *ret);
void dry_run_clear(struct dry_run *d);

/* Prints the changes.  all: names every cgroup and listener. */
void dry_run_print(const struct dry_run *d, bool all, FILE *to);
/* Returns a new reference, or NULL when memory is out. */
json_t *dry_run_json(const struct dry_run *d);

#endif
