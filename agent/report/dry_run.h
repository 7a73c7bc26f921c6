/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What a reload would change: the policy files against what is in force in the kernel, policy by
 * policy, and for every cgroup that lives.  Nothing is changed, and no agent is needed.
 */
#ifndef SOCKPOL_DRY_RUN_H
#define SOCKPOL_DRY_RUN_H

#include "base/diag.h"
#include "host/sock_diag.h"
#include "report/change_set.h"

/* Cgroups for which the same changes. */
struct dry_run_group {
	struct change_set changes; /* of the first of them */
	struct names cgroups;	   /* paths, as far as there is room for names */
	size_t n_cgroups;
};

/* A policy that is in force and in the files, and changes; where it applies to a cgroup that lives,
 * what changes is told there. */
struct dry_run_policy {
	char *name; /* owned */
	bool applies;
	struct change_set changes;
};

/* Keeps what it got under the policy before, as a reload does not touch it. */
struct dry_run_listener {
	uint64_t cgroup_id;
	char local[SOCK_DIAG_ADDRESS_SIZE];
	char *cgroup; /* owned; NULL: what it has stays right */
};

struct dry_run {
	struct names come, go; /* policies, whether or not they apply to a cgroup that lives */
	struct dry_run_policy *policies;
	size_t n_policies;
	bool other_order;	      /* of policies that are in force and in the files */
	struct dry_run_group *groups; /* by their first cgroup */
	size_t n_groups;
	struct dry_run_listener *listeners;
	size_t n_listeners;
	size_t n_cgroups;    /* looked at */
	size_t n_changed;    /* of these */
	bool in_force;	     /* something is: else all would be new */
	uint64_t generation; /* of that */
};

/*
 * policy_dirs: NULL-terminated.  Returns 0; -EBADMSG: the files are wrong (see diags); or another
 * negative errno, logged.
 */
int dry_run_make(const char *const *policy_dirs, const char *pin_dir, struct diags *diags,
		 struct dry_run *ret);
void dry_run_clear(struct dry_run *d);

/* all: every cgroup and listener by its name. */
void dry_run_print(const struct dry_run *d, bool all, FILE *to);
/* A new reference, or NULL when memory is out. */
json_t *dry_run_json(const struct dry_run *d);

#endif
