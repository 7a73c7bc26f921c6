/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What wins (sockpol.policy(5)): from a cgroup's path to the sequence of blocks that is walked for
 * its sockets.  Uses the patterns themselves (policy/glob.h), and so does not depend on the tables
 * that the hooks walk.
 */
#ifndef SOCKPOL_CASCADE_H
#define SOCKPOL_CASCADE_H

#include "policy/policy.h"

/* A block of options: a policy's base (rule NULL) or one of its rules. */
struct block {
	const struct policy *policy;
	const struct rule *rule;
	const struct settings *options;
};

struct effective {
	/* The policies that apply, weakest first (walk order); SP_LIST_MAX at most. */
	const struct policy **policies;
	size_t n_policies;
	/* Their blocks in walk order: weakest first. */
	struct block *blocks;
	size_t n_blocks;
	/* Policies that match, beyond the first SP_LIST_MAX. */
	const struct policy **left_out;
	size_t n_left_out;
};

/*
 * Finds the shallowest of the cgroups down to `path` ("/", "/a" and "/a/b" for "/a/b") that one of
 * the patterns matches, and returns that pattern; NULL: there is none.  *ret_level: how many names
 * lead to the cgroup, which are the first *ret_length bytes of the path.  The path is as before in
 * the end.
 */
const struct pattern *cascade_match(const struct patterns *patterns, char *path, size_t *ret_level,
				    size_t *ret_length);

/* Finds the policies and blocks for a cgroup.  path: as for glob_match().  The configuration must
 * outlive *ret.  Returns 0 or -ENOMEM. */
int cascade_walk(const struct config *c, const char *path, struct effective *ret);
void effective_clear(struct effective *e);

#endif
