// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Every sentence of "What wins" (sockpol.policy(5)) against examples that were worked by hand. */
#include "../include/abi.h"
#include "compile/cascade.h"
#include "random_globs.h"

#define CONNECT BIT(DIRECTION_CONNECT)
#define ACCEPT	BIT(DIRECTION_ACCEPT)
#define LISTEN	BIT(DIRECTION_LISTEN)

struct fixture {
	struct config *config;
	struct effective effective; /* of the last path that was asked for */
};

static struct fixture fixture_new(const struct fixture_policy *policies, size_t n)
{
	return (struct fixture){ .config = fixture_config(policies, n) };
}

static void fixture_free(struct fixture *f)
{
	effective_clear(&f->effective);
	config_free(f->config);
}

static const struct effective *effective_of(struct fixture *f, const char *path)
{
	effective_clear(&f->effective);
	assert_int_equal(cascade_walk(f->config, path, &f->effective), 0);
	return &f->effective;
}

/* "a b c": the names of the policies that apply, weakest first; "" when none does. */
static void expect_applies(struct fixture *f, const char *path, const char *expected)
{
	const struct effective *e = effective_of(f, path);
	char names[256] = "";

	for (size_t i = 0; i < e->n_policies; i++) {
		if (i)
			strcat(names, " ");
		strcat(names, e->policies[i]->name);
	}
	if (!streq(names, expected))
		fail_msg("%s: \"%s\" apply, not \"%s\"", path, names, expected);
}

struct winner {
	const struct block *block; /* NULL: nobody sets it */
	const struct setting *setting;
};

static bool holds(const struct block *b, enum direction d)
{
	return !b->rule || b->rule->when.directions & BIT(d);
}

/* The last block of the walk that names the option, in this very spelling. */
static struct winner winner_of(const struct effective *e, enum direction d, enum option_id option)
{
	struct winner w = { 0 };

	for (size_t i = 0; i < e->n_blocks; i++) {
		const struct setting *s =
			settings_find_rival(e->blocks[i].options, &option_table[option]);

		if (s && holds(&e->blocks[i], d))
			w = s->option == &option_table[option] ? (struct winner){ &e->blocks[i], s }
							       : (struct winner){ 0 };
	}
	return w;
}

/* "policy", "policy/rule", or "" when nobody sets the option; value may be UNSET. */
static void expect_wins(struct fixture *f, const char *path, enum direction d,
			enum option_id option, const char *expected, int value)
{
	const struct effective *e = effective_of(f, path);
	struct winner w;
	char who[256] = "";
	int has = 0;

	w = winner_of(e, d, option);
	if (w.block)
		snprintf(who, sizeof(who), "%s%s%s", w.block->policy->name,
			 w.block->rule ? "/" : "", w.block->rule ? w.block->rule->name : "");
	if (!streq(who, expected))
		fail_msg("%s, direction %d, %s: \"%s\" wins, not \"%s\"", path, d,
			 option_table[option].name, who, expected);
	if (!w.block)
		return;
	if (w.setting->unset)
		has = UNSET;
	else
		assert_int_equal(sockopt_getint(&w.setting->value, &has), 0);
	assert_int_equal(has, value);
}

static void test_deeper_wins(void **state)
{
	/* The deeper one is written first: depth comes before the order of files. */
	static const struct fixture_policy policies[] = {
		{ "deep", { "/a/b" }, .base = { { OPTION_TCP_SYNCNT, 1 } } },
		{ "shallow",
		  { "/a" },
		  .base = { { OPTION_TCP_SYNCNT, 2 }, { OPTION_TCP_KEEPCNT, 2 } } },
	};
	struct fixture f = fixture_new(policies, ARRAY_SIZE(policies));

	(void)state;
	expect_applies(&f, "/", "");
	expect_applies(&f, "/x", "");
	expect_applies(&f, "/a", "shallow");
	expect_applies(&f, "/a/b", "shallow deep");
	expect_applies(&f, "/a/b/c/d", "shallow deep");
	expect_applies(&f, "/ab", "");
	expect_wins(&f, "/a", DIRECTION_CONNECT, OPTION_TCP_SYNCNT, "shallow", 2);
	expect_wins(&f, "/a/b/c", DIRECTION_CONNECT, OPTION_TCP_SYNCNT, "deep", 1);
	expect_wins(&f, "/a/b/c", DIRECTION_CONNECT, OPTION_TCP_KEEPCNT, "shallow", 2);
	expect_wins(&f, "/a/b/c", DIRECTION_CONNECT, OPTION_TCP_NODELAY, "", 0);
	fixture_free(&f);
}

static void test_later_wins(void **state)
{
	static const struct fixture_policy policies[] = {
		{ "first",
		  { "/a" },
		  .base = { { OPTION_TCP_SYNCNT, 1 }, { OPTION_TCP_KEEPCNT, 1 } } },
		{ "second", .unit = { "a" }, .base = { { OPTION_TCP_SYNCNT, 2 } } },
	};
	struct fixture f = fixture_new(policies, ARRAY_SIZE(policies));

	(void)state;
	expect_applies(&f, "/a", "first second");
	expect_wins(&f, "/a/b", DIRECTION_ACCEPT, OPTION_TCP_SYNCNT, "second", 2);
	expect_wins(&f, "/a/b", DIRECTION_ACCEPT, OPTION_TCP_KEEPCNT, "first", 1);
	fixture_free(&f);
}

/* A policy applies at the shallowest cgroup that one of its globs matches, not again deeper down.
 */
static void test_shallowest_match(void **state)
{
	static const struct fixture_policy policies[] = {
		{ "both", { "/a", "/a/b/c" }, .base = { { OPTION_TCP_SYNCNT, 1 } } },
		{ "between", { "/a/b" }, .base = { { OPTION_TCP_SYNCNT, 2 } } },
		{ "root",
		  { "/" },
		  .base = { { OPTION_TCP_SYNCNT, 3 }, { OPTION_TCP_KEEPCNT, 3 } } },
	};
	struct fixture f = fixture_new(policies, ARRAY_SIZE(policies));

	(void)state;
	expect_applies(&f, "/", "root");
	expect_applies(&f, "/a/b/c", "root both between");
	expect_wins(&f, "/a/b/c", DIRECTION_CONNECT, OPTION_TCP_SYNCNT, "between", 2);
	expect_wins(&f, "/a/b/c", DIRECTION_CONNECT, OPTION_TCP_KEEPCNT, "root", 3);
	expect_wins(&f, "/", DIRECTION_CONNECT, OPTION_TCP_SYNCNT, "root", 3);
	fixture_free(&f);
}

static void test_exclude(void **state)
{
	static const struct fixture_policy policies[] = {
		{ "web",
		  { "/web", "/web/x/again" },
		  .exclude = { "/web/x", "/web/*/no" },
		  .base = { { OPTION_TCP_SYNCNT, 1 } } },
		{ "all",
		  { "/**" },
		  .exclude = { "/web/y/no/**" },
		  .base = { { OPTION_TCP_SYNCNT, 2 } } },
		{ "never",
		  { "/top" },
		  .exclude = { "/top" },
		  .base = { { OPTION_TCP_SYNCNT, 3 } } },
		{ "above",
		  { "/web/z/z" },
		  .exclude = { "/web/z" },
		  .base = { { OPTION_TCP_SYNCNT, 4 } } },
	};
	struct fixture f = fixture_new(policies, ARRAY_SIZE(policies));

	(void)state;
	expect_applies(&f, "/web", "web all");
	/* at the excluded cgroup and below it, even where a deeper one matches again */
	expect_applies(&f, "/web/x", "all");
	expect_applies(&f, "/web/x/again", "all");
	expect_applies(&f, "/web/x/again/deeper", "all");
	/* next to it: as ever */
	expect_applies(&f, "/web/xx", "web all");
	expect_applies(&f, "/web/y", "web all");
	/* both end at one cgroup, of which one excludes by "zero or more" */
	expect_applies(&f, "/web/y/no", "");
	expect_applies(&f, "/web/y/no/z", "");
	/* excluded where it matches, and excluded above where it would match */
	expect_applies(&f, "/top", "all");
	expect_applies(&f, "/web/z/z", "web all");
	fixture_free(&f);
}

static void test_rules(void **state)
{
	static const struct fixture_policy policies[] = {
		{ "p",
		  { "/a" },
		  .base = { { OPTION_TCP_SYNCNT, 1 },
			    { OPTION_TCP_KEEPCNT, 1 },
			    { OPTION_SO_MARK, 1 } },
		  .rules = { { "out",
			       CONNECT,
			       { { OPTION_TCP_SYNCNT, 2 }, { OPTION_SO_MARK, 2 } } },
			     { "any", 0, { { OPTION_SO_MARK, 3 } } },
			     { "in", ACCEPT | LISTEN, { { OPTION_TCP_SYNCNT, 4 } } },
			     { "in2", ACCEPT, { { OPTION_TCP_SYNCNT, 5 } } } } },
		{ "q", { "/a" }, .rules = { { "r", LISTEN, { { OPTION_TCP_KEEPCNT, 6 } } } } },
	};
	struct fixture f = fixture_new(policies, ARRAY_SIZE(policies));

	(void)state;
	/* base options apply to all directions; rules after them, those whose `when` holds, in
	 * order */
	expect_wins(&f, "/a", DIRECTION_CONNECT, OPTION_TCP_SYNCNT, "p/out", 2);
	expect_wins(&f, "/a", DIRECTION_LISTEN, OPTION_TCP_SYNCNT, "p/in", 4);
	expect_wins(&f, "/a", DIRECTION_ACCEPT, OPTION_TCP_SYNCNT, "p/in2", 5);
	expect_wins(&f, "/a", DIRECTION_CONNECT, OPTION_SO_MARK, "p/any", 3);
	expect_wins(&f, "/a", DIRECTION_ACCEPT, OPTION_SO_MARK, "p/any", 3);
	expect_wins(&f, "/a", DIRECTION_CONNECT, OPTION_TCP_KEEPCNT, "p", 1);
	expect_wins(&f, "/a", DIRECTION_ACCEPT, OPTION_TCP_KEEPCNT, "p", 1);
	expect_wins(&f, "/a", DIRECTION_LISTEN, OPTION_TCP_KEEPCNT, "q/r", 6);
	fixture_free(&f);
}

/* A later policy's base options win over an earlier one's rules: the sequence is one. */
static void test_base_over_earlier_rule(void **state)
{
	static const struct fixture_policy policies[] = {
		{ "p", { "/a" }, .rules = { { "out", CONNECT, { { OPTION_TCP_SYNCNT, 1 } } } } },
		{ "q", { "/a/b" }, .base = { { OPTION_TCP_SYNCNT, 2 } } },
	};
	struct fixture f = fixture_new(policies, ARRAY_SIZE(policies));

	(void)state;
	expect_wins(&f, "/a", DIRECTION_CONNECT, OPTION_TCP_SYNCNT, "p/out", 1);
	expect_wins(&f, "/a", DIRECTION_ACCEPT, OPTION_TCP_SYNCNT, "", 0);
	expect_wins(&f, "/a/b", DIRECTION_CONNECT, OPTION_TCP_SYNCNT, "q", 2);
	fixture_free(&f);
}

static void test_unset_wins(void **state)
{
	static const struct fixture_policy policies[] = {
		{ "p", { "/a" }, .base = { { OPTION_TCP_SYNCNT, 1 }, { OPTION_TCP_KEEPCNT, 1 } } },
		{ "q",
		  { "/a/b" },
		  .base = { { OPTION_TCP_SYNCNT, UNSET } },
		  .rules = { { "out", CONNECT, { { OPTION_TCP_KEEPCNT, UNSET } } } } },
		{ "r", { "/a/b/c" }, .base = { { OPTION_TCP_SYNCNT, 3 } } },
	};
	struct fixture f = fixture_new(policies, ARRAY_SIZE(policies));

	(void)state;
	expect_wins(&f, "/a/b", DIRECTION_CONNECT, OPTION_TCP_SYNCNT, "q", UNSET);
	expect_wins(&f, "/a/b", DIRECTION_CONNECT, OPTION_TCP_KEEPCNT, "q/out", UNSET);
	expect_wins(&f, "/a/b", DIRECTION_ACCEPT, OPTION_TCP_KEEPCNT, "p", 1);
	/* and is beaten like any other */
	expect_wins(&f, "/a/b/c", DIRECTION_CONNECT, OPTION_TCP_SYNCNT, "r", 3);
	fixture_free(&f);
}

static void test_two_spellings(void **state)
{
	static const struct fixture_policy policies[] = {
		{ "name", { "/a" }, .base = { { OPTION_SO_BINDTODEVICE, .text = "eth0" } } },
		{ "index",
		  { "/a/b" },
		  .rules = { { "out", CONNECT, { { OPTION_SO_BINDTOIFINDEX, 7 } } } } },
		{ "none", { "/a/b/c" }, .base = { { OPTION_SO_BINDTODEVICE, UNSET } } },
		{ "again", { "/a/b/c/d" }, .base = { { OPTION_SO_BINDTOIFINDEX, 8 } } },
	};
	struct fixture f = fixture_new(policies, ARRAY_SIZE(policies));
	struct winner w;

	(void)state;
	w = winner_of(effective_of(&f, "/a/b"), DIRECTION_ACCEPT, OPTION_SO_BINDTODEVICE);
	assert_string_equal(w.block->policy->name, "name");
	expect_wins(&f, "/a/b", DIRECTION_CONNECT, OPTION_SO_BINDTODEVICE, "", 0);
	expect_wins(&f, "/a/b", DIRECTION_CONNECT, OPTION_SO_BINDTOIFINDEX, "index/out", 7);
	expect_wins(&f, "/a/b/c", DIRECTION_CONNECT, OPTION_SO_BINDTODEVICE, "none", UNSET);
	expect_wins(&f, "/a/b/c", DIRECTION_CONNECT, OPTION_SO_BINDTOIFINDEX, "", 0);
	expect_wins(&f, "/a/b/c/d", DIRECTION_CONNECT, OPTION_SO_BINDTODEVICE, "", 0);
	expect_wins(&f, "/a/b/c/d", DIRECTION_CONNECT, OPTION_SO_BINDTOIFINDEX, "again", 8);
	fixture_free(&f);
}

/* A policy without any option applies too, and is listed. */
static void test_empty_policy(void **state)
{
	static const struct fixture_policy policies[] = { { "empty", { "/a" } } };
	struct fixture f = fixture_new(policies, ARRAY_SIZE(policies));

	(void)state;
	expect_applies(&f, "/a", "empty");
	expect_wins(&f, "/a", DIRECTION_CONNECT, OPTION_SO_MARK, "", 0);
	fixture_free(&f);
}

static void test_nothing_configured(void **state)
{
	struct fixture f = fixture_new(NULL, 0);

	(void)state;
	expect_applies(&f, "/", "");
	expect_applies(&f, "/a/b", "");
	assert_int_equal(f.effective.n_blocks, 0);
	assert_int_equal(f.effective.n_left_out, 0);
	fixture_free(&f);
}

/* Units are matched by their names, below slices only. */
static void test_units(void **state)
{
	static const struct fixture_policy policies[] = {
		{ "units", .unit = { "*.service" } },
		{ "x", { "/s.slice/x.service" }, .exclude = { "/s.slice/x.service/no" } },
	};
	struct fixture f = fixture_new(policies, ARRAY_SIZE(policies));

	(void)state;
	expect_applies(&f, "/x.service", "units");
	expect_applies(&f, "/s.slice/x.service", "units x");
	expect_applies(&f, "/s.slice/x.service/child", "units x");
	expect_applies(&f, "/s.slice/x.service/no", "units");
	expect_applies(&f, "/user/x.service", "");
	fixture_free(&f);
}

/* 40 policies: all at "/a" but p0 and p1, which come at "/a/b" and "/". */
static struct config *many_policies(const char *excluded)
{
	struct config *c = config_new();

	assert_non_null(c);
	for (int i = 0; i < 40; i++) {
		char name[16];
		struct fixture_policy p = { .name = name, .cgroup = { "/a" } };

		snprintf(name, sizeof(name), "p%d", i);
		if (i < 2)
			p.cgroup[0] = i ? "/" : "/a/b";
		if (excluded && i % 2)
			p.exclude[0] = excluded;
		fixture_add(c, &p);
	}
	return c;
}

static void test_list_max(void **state)
{
	struct fixture f = { .config = many_policies(NULL) };
	const struct effective *e = effective_of(&f, "/a");

	(void)state;
	assert_int_equal(e->n_policies, SP_LIST_MAX);
	assert_string_equal(e->policies[0]->name, "p1");
	assert_string_equal(e->policies[1]->name, "p2");
	assert_string_equal(e->policies[SP_LIST_MAX - 1]->name, "p32");
	assert_int_equal(e->n_left_out, 39 - SP_LIST_MAX);
	assert_string_equal(e->left_out[0]->name, "p33");
	assert_int_equal(e->n_blocks, SP_LIST_MAX);
	/* a deeper one finds no place either */
	e = effective_of(&f, "/a/b");
	assert_int_equal(e->n_policies, SP_LIST_MAX);
	assert_int_equal(e->n_left_out, 40 - SP_LIST_MAX);
	assert_string_equal(e->left_out[e->n_left_out - 1]->name, "p0");
	assert_int_equal(effective_of(&f, "/")->n_policies, 1);
	fixture_free(&f);
}

/* The first SP_LIST_MAX are kept before `exclude` is looked at. */
static void test_excluded_of_many(void **state)
{
	struct fixture f = { .config = many_policies("/a/x") };
	const struct effective *e = effective_of(&f, "/a/x/y");

	(void)state;
	assert_int_equal(e->n_policies, SP_LIST_MAX / 2);
	for (size_t i = 0; i < e->n_policies; i++)
		assert_int_equal(strtoul(e->policies[i]->name + 1, NULL, 10), 2 * i + 2);
	assert_int_equal(e->n_left_out, 39 - SP_LIST_MAX);
	fixture_free(&f);
}

/* Below SP_LEVELS_MAX nothing is looked at. */
static void test_levels_max(void **state)
{
	static const struct fixture_policy policies[] = {
		{ "last", { "/**/last" }, .exclude = { "/**/no" } },
	};
	struct fixture f = fixture_new(policies, 1);
	char path[2ul * SP_LEVELS_MAX + sizeof("/last/no")], *end = path;

	(void)state;
	for (unsigned i = 0; i < SP_LEVELS_MAX - 1; i++)
		end = stpcpy(end, "/a");
	strcpy(end, "/last");
	expect_applies(&f, path, "last");
	strcpy(end, "/last/no");
	expect_applies(&f, path, "last");
	strcpy(end, "/a/last");
	expect_applies(&f, path, "");
	fixture_free(&f);
}

/* Does the policy apply to a cgroup by what it matches at `depth`, as the rules are written? */
static bool applies_at(const struct policy *p, const char *path, unsigned depth)
{
	char prefix[RANDOM_PATH_SIZE] = "/";
	unsigned first = UINT32_MAX, at = 0;
	bool excluded = patterns_match(&p->exclude, prefix);

	if (patterns_match(&p->match, prefix))
		first = 0;
	for (size_t i = 1; path[i]; i++) {
		if (path[i + 1] && path[i + 1] != '/')
			continue;
		snprintf(prefix, sizeof(prefix), "%.*s", (int)i + 1, path);
		at++;
		excluded |= patterns_match(&p->exclude, prefix) != NULL;
		if (first == UINT32_MAX && patterns_match(&p->match, prefix))
			first = at;
	}
	return first == depth && !excluded;
}

static void expect_by_definition(struct seeded *s, const struct config *c, const char *path)
{
	struct effective e;
	unsigned depth_max = 0;
	size_t n = 0;

	assert_int_equal(cascade_walk(c, path, &e), 0);
	for (const char *at = path; (at = strchr(at, '/')) && at[1]; at++)
		depth_max++;
	for (unsigned depth = 0; depth <= depth_max; depth++) {
		for (size_t i = 0; i < c->n_policies; i++) {
			const struct policy *p = &c->policies[i];

			if (!applies_at(p, path, depth))
				continue;
			if (n >= e.n_policies || e.policies[n] != p)
				SEEDED_FAIL(s, "%s: %s is not number %zu", path, p->name, n);
			n++;
		}
	}
	assert_int_equal(n, e.n_policies);
	effective_clear(&e);
}

static void walk_by_definition(struct seeded *s)
{
	struct random_globs g = random_globs(s, ARRAY_SIZE(pieces));

	if (!g.paths)
		fail_msg("%s", "there is no path");
	for (size_t i = 0; i < g.n_paths; i++)
		expect_by_definition(s, g.config, g.paths[i]);
	random_globs_free(&g);
}

static void test_random(void **state)
{
	(void)state;
	for_seeds(1000, walk_by_definition);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_deeper_wins),
		cmocka_unit_test(test_later_wins),
		cmocka_unit_test(test_shallowest_match),
		cmocka_unit_test(test_exclude),
		cmocka_unit_test(test_rules),
		cmocka_unit_test(test_base_over_earlier_rule),
		cmocka_unit_test(test_unset_wins),
		cmocka_unit_test(test_two_spellings),
		cmocka_unit_test(test_empty_policy),
		cmocka_unit_test(test_nothing_configured),
		cmocka_unit_test(test_units),
		cmocka_unit_test(test_list_max),
		cmocka_unit_test(test_excluded_of_many),
		cmocka_unit_test(test_levels_max),
		cmocka_unit_test(test_random),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
