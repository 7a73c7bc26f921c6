/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Random globs, and paths that have something to do with them: few different pieces, and half of
 * the paths made after a glob, so that matches are common.
 */
#ifndef SOCKPOL_RANDOM_GLOBS_H
#define SOCKPOL_RANDOM_GLOBS_H

#include "policy_fixture.h"
#include "seeded.h"

#define RANDOM_PATH_SIZE 4096

/* A piece of a pattern, and names that it matches. */
struct piece {
	const char *text;
	const char *examples[4];
};

static const struct piece pieces[] = {
	{ "a", { "a", "a", "a", "a" } },
	{ "b", { "b", "b", "b", "b" } },
	{ "_", { "_", "_", "_", "_" } },
	{ ".slice", { ".slice", ".slice", ".slice", ".slice" } },
	{ "*", { "", "a", "b_", "ab.slice" } },
	{ "*", { "", "_", "ba", "aab" } },
	{ "?", { "a", "b", "_", "\xe9" } },
	{ "[ab]", { "a", "b", "a", "b" } },
	{ "[!a]", { "b", "_", "\xff", "]" } },
	{ "[^_b]", { "a", "\xe9", "]", "\\" } },
	{ "[]a-]", { "]", "a", "-", "]" } },
	{ "[[:alpha:]_]", { "a", "b", "_", "a" } },
	{ "[\x80-\xff]", { "\x80", "\xff", "\xe9", "\xc3" } },
	{ "[]-a]", { "]", "^", "_", "a" } },
	{ "\\", { "\\", "\\", "\\", "\\" } },
	{ "\xc3\xa9", { "\xc3\xa9", "\xc3\xa9", "\xc3\xa9", "\xc3\xa9" } },
};

/* Appends a component of a pattern to one and, of an example, to the other. */
static void random_component(struct seeded *r, char *pattern, char *example, unsigned n_pieces)
{
	bool starred = false;

	for (unsigned n = 1 + random_below(r, 3); n; n--) {
		const struct piece *p = &pieces[random_below(r, n_pieces)];

		if (starred && *p->text == '*')
			continue; /* "**" is something else */
		starred = *p->text == '*';
		strcat(pattern, p->text);
		strcat(example, random_of(r, p->examples));
	}
}

static void random_cgroup_glob(struct seeded *r, char *pattern, char *example, unsigned n_pieces)
{
	unsigned n = random_below(r, 5);

	for (unsigned i = 0; i < n; i++) {
		strcat(pattern, "/");
		if (random_below(r, 4)) {
			strcat(example, "/");
			random_component(r, pattern, example, n_pieces);
			continue;
		}
		strcat(pattern, "**");
		for (unsigned any = random_below(r, 3); any; any--)
			strcat(example, random_below(r, 2) ? "/a" : "/b.slice");
	}
	if (!n)
		strcat(pattern, "/");
}

static void random_unit_glob(struct seeded *r, char *pattern, char *example, unsigned n_pieces)
{
	static const char *const above[] = { "/.slice", "/a.slice", "/ab.slice", "/a.sliceb" };

	for (unsigned n = random_below(r, 3); n; n--)
		strcat(example, random_of(r, above));
	strcat(example, random_below(r, 3) ? "/" : "/_");
	random_component(r, pattern, example, n_pieces);
}

/* Adds a glob (of the first n_pieces) to the policy's patterns; example: a path that it may match.
 */
static void random_glob(struct seeded *r, struct patterns *to, char *example, unsigned n_pieces)
{
	struct glob *g = NULL;

	while (!g) {
		char pattern[256] = "";
		enum glob_kind kind = random_below(r, 2) ? GLOB_CGROUP : GLOB_UNIT;
		char *error;

		*example = '\0';
		if (kind == GLOB_CGROUP)
			random_cgroup_glob(r, pattern, example, n_pieces);
		else
			random_unit_glob(r, pattern, example, n_pieces);
		if (glob_new(kind, pattern, &g, &error) < 0)
			free(error); /* "." is no component */
	}
	assert_int_equal(GROW(to->v, to->n), 0);
	to->v[to->n++] = (struct pattern){ .glob = g };
}

/* Is it one that a cgroup could have? */
static bool is_path(const char *path)
{
	size_t length = strlen(path);

	return *path == '/' && (length == 1 || path[length - 1] != '/') && !strstr(path, "//");
}

static void random_name(struct seeded *r, char *name)
{
	static const char *const names[] = { "a", "b",	  "_",	      "_a",	 "ab",	 "a.slice",
					     "b", "ba_b", "_b.slice", "a.sli",	 "\xe9", ".slice",
					     "a", "\\",	  ".slice.",  "a.slicea" };

	*name = '\0';
	if (random_below(r, 50) == 0) { /* the longest that there is */
		size_t n = 244 + random_below(r, 2);

		memset(name, "ab_"[random_below(r, 3)], n);
		name[n] = '\0';
	}
	strcat(name, random_of(r, names));
}

static void random_path(struct seeded *r, char *path)
{
	unsigned n = random_below(r, 6);

	strcpy(path, n ? "" : "/");
	for (; n; n--) {
		strcat(path, "/");
		random_name(r, strchr(path, '\0'));
	}
}

/* Policies p1, p2, ... with a few globs each.  paths: made after them, n_paths; each of
 * RANDOM_PATH_SIZE. */
struct random_globs {
	struct config *config;
	char (*paths)[RANDOM_PATH_SIZE];
	size_t n_paths;
};

static void random_globs_add_path(struct random_globs *g, const char *path)
{
	if (!is_path(path))
		return;
	assert_int_equal(GROW(g->paths, g->n_paths), 0);
	strcpy(g->paths[g->n_paths++], path);
}

static void random_patterns(struct seeded *r, struct random_globs *g, struct patterns *to,
			    unsigned n, unsigned n_pieces)
{
	for (; n; n--) {
		char example[RANDOM_PATH_SIZE];

		random_glob(r, to, example, n_pieces);
		random_globs_add_path(g, example);
		strcat(example, random_below(r, 2) ? "/a" : "b"); /* next to it */
		random_globs_add_path(g, example);
	}
}

static struct random_globs random_globs(struct seeded *r, unsigned n_pieces)
{
	struct random_globs g = { .config = config_new() };

	assert_non_null(g.config);
	for (unsigned i = 1 + random_below(r, 6); i; i--) {
		struct fixture_policy p = { 0 };
		struct policy *added;
		char name[16], path[RANDOM_PATH_SIZE] = "";

		snprintf(name, sizeof(name), "p%u", i);
		p.name = name;
		fixture_add(g.config, &p);
		added = &g.config->policies[g.config->n_policies - 1];
		random_patterns(r, &g, &added->match, 1 + random_below(r, 3), n_pieces);
		random_patterns(r, &g, &added->exclude, random_below(r, 3), n_pieces);
		random_path(r, path);
		random_globs_add_path(&g, path);
	}
	return g;
}

static void random_globs_free(struct random_globs *g)
{
	config_free(g->config);
	free(g->paths);
}

#endif
