/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Patterns that say which cgroups are meant (`cgroup` and `unit` in sockpol.policy(5)). */
#ifndef SOCKPOL_GLOB_H
#define SOCKPOL_GLOB_H

#include "base/util.h"

enum glob_kind {
	GLOB_CGROUP, /* against the path below the cgroup2 mount */
	GLOB_UNIT,   /* against the last component, where every one above it ends in ".slice" */
};

struct glob {
	enum glob_kind kind;
	char *pattern; /* as it was written */
	char *text;    /* a copy, split into components */
	/* What is between slashes; "**" is a component of its own. */
	struct glob_component {
		const char *text; /* points into the copy */
		size_t length;
		bool any;     /* "**": zero or more components */
		bool literal; /* compare the bytes */
	} * v;
	size_t n; /* GLOB_CGROUP: 0 for "/"; GLOB_UNIT: 1 */
};

/* Makes the sentence "'PATTERN': <reason>", where a long pattern is cut.  Returns r, or -ENOMEM. */
#define GLOB_SHOWN 80
#define glob_sentence(ret_error, r, text, reason, ...)                                             \
	sentence(ret_error, r, "'%.*s%s': " reason, GLOB_SHOWN, text,                              \
		 strlen(text) > GLOB_SHOWN ? "..." : "", ##__VA_ARGS__)

/* Makes a pattern.  Returns 0, -EINVAL (*ret_error: an owned sentence) or -ENOMEM (*ret_error is
 * NULL). */
int glob_new(enum glob_kind kind, const char *pattern, struct glob **ret, char **ret_error);
void glob_free(struct glob *g);
DEFINE_CLEANUP(struct glob *, glob_free)

/* Does the pattern match?  path: "/" or "/a/b", without a trailing slash, as /proc/PID/cgroup shows
 * it. */
bool glob_match(const struct glob *g, const char *path);

/* Returns the end (the ']') of the bracket expression that begins at s, or NULL. */
const char *glob_bracket_end(const char *s);
/* A kind of systemd's units; only some have processes, and so a cgroup. */
struct unit_kind {
	const char *suffix;
	bool has_cgroup;
};
/* Returns the kind of unit that such a name is, or NULL. */
const struct unit_kind *glob_unit_kind(const char *name);
/* Can the pattern match a cgroup inside a tree delegated to a user (below user@UID.service)? */
bool glob_reaches_delegated(const struct glob *g);
/* Can it match such a tree, or one that it lies in? */
bool glob_governs_delegated(const struct glob *g);
/* Can both patterns govern one cgroup: can one match what the other matches, or something above it?
 * When in doubt, yes. */
bool glob_may_meet(const struct glob *a, const struct glob *b);

#endif
