/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Patterns that say which cgroups are meant (`cgroup` and `unit` in sockpol.policy(5)). */
#ifndef SOCKPOL_GLOB_H
#define SOCKPOL_GLOB_H

#include "base/util.h"

enum glob_kind {
	GLOB_CGROUP, /* against the path below the cgroup2 mount */
	GLOB_UNIT,   /* against the last component, where every one above it ends in ".slice" */
};

struct glob;

/* Makes a pattern.  Returns 0, -EINVAL (*ret_error: an owned sentence) or -ENOMEM (*ret_error is
 * NULL). */
int glob_new(enum glob_kind kind, const char *pattern, struct glob **ret, char **ret_error);
void glob_free(struct glob *g);
DEFINE_CLEANUP(struct glob *, glob_free)

/* Does the pattern match?  path: "/" or "/a/b", without a trailing slash, as /proc/PID/cgroup shows
 * it. */
bool glob_match(const struct glob *g, const char *path);

const char *glob_pattern(const struct glob *g);
enum glob_kind glob_kind(const struct glob *g);
/* The components between its slashes; none for "/", one for a unit.  "**" is a component of its
 * own. */
size_t glob_n_components(const struct glob *g);
const char *glob_component(const struct glob *g, size_t i);
/* Returns the end (the ']') of the bracket expression that begins at s, or NULL. */
const char *glob_bracket_end(const char *s);
/* Can the pattern match a cgroup inside a tree delegated to a user (below user@UID.service)? */
bool glob_reaches_delegated(const struct glob *g);

#endif
