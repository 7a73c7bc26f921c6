// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include "random_globs.h"

#include "classify_twin.h"
#include "compile/glob_tree.h"
#include "glob_model.h"

static struct glob_list list_of(const struct policy_list *from)
{
	struct glob_list list = { .n = from->n };

	memcpy(list.number, from->number, sizeof(*list.number) * from->n);
	return list;
}

static void load(const struct config *c, struct glob_tables *ret)
{
	struct position at;
	char *error;

	assert_int_equal(glob_tables_new(c, ret, &error, &at), 0);
	twin_load(ret);
}

static void check_path(struct seeded *s, const struct config *c, const struct glob_tables *t,
		       const char *path)
{
	struct glob_list want = model_list(c, path, UINT32_MAX), walked;
	struct policy_list hook = twin_policies(path);
	struct glob_list has = list_of(&hook);

	assert_int_equal(glob_walk(t, path, &walked), 0);
	if (!lists_equal(&want, &walked))
		SEEDED_FAIL(s, "%s: the walk finds %u policies, not %u", path, walked.n, want.n);
	if (!lists_equal(&want, &has))
		SEEDED_FAIL(s, "%s: the hook finds %u policies, not %u", path, has.n, want.n);
	assert_int_equal(want.left_out, walked.left_out);
}

static void agrees(struct seeded *s)
{
	struct random_globs g = random_globs(s, ARRAY_SIZE(pieces));
	struct glob_tables t;

	load(g.config, &t);
	for (size_t i = 0; i < g.n_paths; i++)
		check_path(s, g.config, &t, g.paths[i]);
	assert_int_equal(map_state.cut, 0);
	glob_tables_clear(&t);
	random_globs_free(&g);
}

static void hooks_agree_with_glob_match(void **state)
{
	(void)state;
	for_seeds(2000, agrees);
}

/* Deep: walks begin at others' states, whose policies and active nodes count from there on. */
static void agrees_deep(struct seeded *s)
{
	struct random_globs g = random_globs(s, ARRAY_SIZE(pieces));
	struct glob_tables t;
	char path[RANDOM_PATH_SIZE] = "";

	load(g.config, &t);
	for (unsigned level = 0; level < 60; level++) {
		char side[RANDOM_PATH_SIZE + 8];
		size_t n = strlen(path);

		if (g.n_paths && random_below(s, 8) == 0 && n < 2000) {
			const char *more = g.paths[random_below(s, (unsigned)g.n_paths)];

			if (more[1] && strlen(more) < 1000)
				strcat(path, more);
		}
		strcat(path, "/");
		random_name(s, path + strlen(path));
		if (random_below(s, 3)) /* or else nobody has been there */
			check_path(s, g.config, &t, path);
		snprintf(side, sizeof(side), "%s/ab", path);
		if (random_below(s, 3) == 0)
			check_path(s, g.config, &t, side);
	}
	assert_int_equal(map_state.cut, 0);
	glob_tables_clear(&t);
	random_globs_free(&g);
}

static void deep_walks_begin_where_others_ended(void **state)
{
	(void)state;
	for_seeds(500, agrees_deep);
}

/* The last glob that is not refused for its many '*' has the room that it needs. */
static void agrees_with_many_stars(struct seeded *s)
{
	struct config *c = config_new();
	char text[128] = "", name[256], path[520];
	struct fixture_policy p = { .name = "p" };
	struct glob_tables t;

	if (random_below(s, 2))
		strcpy(text, random_below(s, 2) ? "/**/" : "/**/*a*/**/");
	for (unsigned n = 4 + random_below(s, 16); n; n--)
		strcat(text, random_below(s, 3) ? "*a" : random_below(s, 2) ? "?" : "a");
	strcat(text, random_below(s, 2) ? "*" : "");
	if (*text == '/')
		p.cgroup[0] = text;
	else
		p.unit[0] = text;
	fixture_add(c, &p);
	if (glob_tree_room(c->policies[0].match.v[0].glob) <= SP_GLOB_ACTIVE_MAX) {
		load(c, &t);
		memset(name, 'a', sizeof(name));
		for (unsigned i = random_below(s, 4); i; i--)
			name[random_below(s, sizeof(name))] = 'b';
		name[random_below(s, 2) ? 255 : 30] = '\0';
		snprintf(path, sizeof(path), "/%s/%s", name, name + random_below(s, 20));
		check_path(s, c, &t, path);
		assert_int_equal(map_state.cut, 0);
		glob_tables_clear(&t);
	}
	config_free(c);
}

static void one_glob_fits_the_ring(void **state)
{
	(void)state;
	for_seeds(1000, agrees_with_many_stars);
}

/* So many loops at once that the ring overflows. */
static void agrees_in_passes(struct seeded *s)
{
	struct config *c = config_new();
	struct glob_tables t;
	unsigned n = 20 + random_below(s, 120);

	for (unsigned i = 0; i < n; i++) {
		char text[64];
		struct fixture_policy p = { .name = "p" };

		static const char *const forms[] = { "*#*#*#*#", "/**/*#*#*#*#", "/*#*#*/**/#?#",
						     "/**/##?/**/#*#" };

		strcpy(text, random_of(s, forms));
		for (char *at = text; (at = strchr(at, '#'));)
			*at = "ab_-"[random_below(s, 4)];
		if (*text == '/')
			p.cgroup[0] = text;
		else
			p.unit[0] = text;
		if (random_below(s, 6) == 0)
			p.exclude[0] = "/**/*b*b*";
		fixture_add(c, &p);
	}
	load(c, &t);
	for (unsigned i = 0; i < 12; i++) {
		char path[RANDOM_PATH_SIZE] = "";

		for (unsigned k = 1 + random_below(s, 5); k; k--) {
			char *at = strchr(path, '\0');

			*at++ = '/';
			for (unsigned m = 1 + random_below(s, 24); m; m--)
				*at++ = "aabb_-0"[random_below(s, 7)];
			strcpy(at, random_below(s, 2) ? "" : ".slice");
		}
		check_path(s, c, &t, path);
	}
	assert_int_equal(map_state.cut, 0);
	glob_tables_clear(&t);
	config_free(c);
}

static void more_nodes_than_the_ring_holds(void **state)
{
	(void)state;
	for_seeds(300, agrees_in_passes);
}

/* name behind name, n times */
static char *deep_path(const char *name, unsigned n)
{
	char *path = calloc(n, strlen(name) + 2), *at = path;

	for (; n; n--)
		at += sprintf(at, "/%s", name);
	return path;
}

static void below_the_deepest_level(void **state)
{
	static const struct fixture_policy v[] = {
		{ .name = "all", .cgroup = { "/**" }, .exclude = { "/**/x/y" } },
		{ .name = "leaf", .cgroup = { "/**/leaf" } },
	};
	struct config *c = fixture_config(v, ARRAY_SIZE(v));
	char *path = deep_path("a", SP_LEVELS_MAX - 1), *longer = NULL;
	struct policy_list list;
	struct glob_tables t;

	(void)state;
	load(c, &t);
	assert_true(asprintf(&longer, "%s/leaf/x/y", path) > 0);
	/* The last level that counts, and one below. */
	longer[strlen(path) + strlen("/leaf")] = '\0';
	list = twin_policies(longer);
	assert_int_equal(list.n, 2);
	assert_int_equal(map_state.cut, 0);
	longer[strlen(path) + strlen("/leaf")] = '/';
	list = twin_policies(longer);
	assert_int_equal(list.n, 2);
	assert_int_equal(map_state.cut, 1);
	glob_tables_clear(&t);
	config_free(c);
	free(path);
	free(longer);
}

/* Names that cost more turns than there are. */
static void names_use_up_the_turns(void **state)
{
	static const struct fixture_policy v[] = {
		{ .name = "above", .cgroup = { "/a" } },
		{ .name = "units", .unit = { "*b*b*b*b*" } },
		{ .name = "paths", .cgroup = { "/**/*b*b*b*b*c" } },
		{ .name = "leaf", .cgroup = { "/**/leaf" } },
	};
	struct config *c = fixture_config(v, ARRAY_SIZE(v));
	char name[256], *names, *path = NULL;
	struct policy_list list;
	struct glob_tables t;

	(void)state;
	memset(name, 'b', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	names = deep_path(name, 600);
	assert_true(asprintf(&path, "/a%s/leaf", names) > 0);
	load(c, &t);
	list = twin_policies(path);
	assert_int_equal(map_state.cut, 1);
	assert_int_equal(list.n, 1); /* "leaf" is too deep */
	assert_int_equal(list.number[0], 1);
	glob_tables_clear(&t);
	config_free(c);
	free(names);
	free(path);
}

/* The child of a deep cgroup costs a few levels. */
static void a_child_begins_at_its_parents_state(void **state)
{
	static const struct fixture_policy v[] = {
		{ .name = "all", .cgroup = { "/**/x" }, .exclude = { "/**/no/**" } },
		{ .name = "b", .cgroup = { "/**/b" } },
	};
	struct config *c = fixture_config(v, ARRAY_SIZE(v));
	char *path = deep_path("x", 800), *child = NULL;
	struct policy_list list;
	struct glob_tables t;
	uint64_t reads;

	(void)state;
	load(c, &t);
	/* A child leaves the state of its parent, in which nothing is excluded. */
	assert_true(asprintf(&child, "%s/no", path) > 0);
	twin.reads = 0;
	list = twin_policies(child);
	assert_int_equal(list.n, 0);
	assert_true(twin.reads > 2400);
	strcpy(strrchr(child, '/'), "/c");
	reads = twin.reads;
	list = twin_policies(child);
	assert_int_equal(list.n, 1);
	assert_true(twin.reads - reads < 60);
	/* More is found than the state has: what excludes it is looked for from the root. */
	strcpy(strrchr(child, '/'), "/b");
	list = twin_policies(child);
	assert_int_equal(list.n, 2);
	glob_tables_clear(&t);
	config_free(c);
	free(path);
	free(child);
}

/* What an exclude takes away does not give its place to another. */
static void excluded_policies_keep_their_places(void **state)
{
	struct fixture_policy v[40];
	struct policy_list list;
	struct glob_tables t;
	struct config *c;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(v); i++)
		v[i] = (struct fixture_policy){ .name = "p",
						.cgroup = { i < 20 ? "/a/b" : "/a" },
						.exclude = { i == 30 || i == 3 ? "/a/b" : "/no" } };
	c = fixture_config(v, ARRAY_SIZE(v));
	load(c, &t);
	list = twin_policies("/a/b");
	/* 20 of /a less one, then the first 12 of /a/b less one. */
	assert_int_equal(list.n, 30);
	assert_int_equal(list.number[0], 21);
	assert_int_equal(list.number[18], 40);
	assert_int_equal(list.number[19], 1);
	assert_int_equal(list.number[29], 12);
	assert_int_equal(map_state.left_out, 1);
	glob_tables_clear(&t);
	config_free(c);
}

/* In a cgroup namespace paths begin at the mount, and what is not below it has none. */
static void below_a_mount(void **unused)
{
	static const struct fixture_policy policies[] = {
		{ "web", { "/web" } },
		{ "unit", .unit = { "a.service" } },
		{ "all", { "/**" }, .exclude = { "/web/no" } },
	};
	struct config *c = fixture_config(policies, ARRAY_SIZE(policies));
	static const struct {
		const char *path;
		uint16_t n, number[3];
	} cases[] = {
		{ "/ns/of/web", 2, { 1, 3 } }, { "/ns/of/a.service", 2, { 2, 3 } },
		{ "/ns/of/web/no", 1, { 1 } }, { "/ns/of", 0, { 0 } },
		{ "/web", 0, { 0 } },	       { "/ns", 0, { 0 } },
	};
	struct glob_tables t;
	struct position at;
	char *error;

	(void)unused;
	assert_int_equal(glob_tables_new(c, &t, &error, &at), 0);
	twin_load(&t);
	twin_mount_level = 2;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct policy_list list = twin_policies(cases[i].path);

		assert_int_equal(list.n, cases[i].n);
		assert_memory_equal(list.number, cases[i].number, sizeof(list.number[0]) * list.n);
	}
	twin_mount_level = 0;
	glob_tables_clear(&t);
	config_free(c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(below_a_mount),
		cmocka_unit_test(hooks_agree_with_glob_match),
		cmocka_unit_test(deep_walks_begin_where_others_ended),
		cmocka_unit_test(one_glob_fits_the_ring),
		cmocka_unit_test(more_nodes_than_the_ring_holds),
		cmocka_unit_test(below_the_deepest_level),
		cmocka_unit_test(names_use_up_the_turns),
		cmocka_unit_test(a_child_begins_at_its_parents_state),
		cmocka_unit_test(excluded_policies_keep_their_places),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
