// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Every sentence of "What wins" (sockpol.policy(5)) against examples that were worked by hand. */
#include <errno.h>
#include <time.h>

#include "compile/cascade.h"
#include "random_globs.h"

#define CONNECT BIT(DIRECTION_CONNECT)
#define ACCEPT	BIT(DIRECTION_ACCEPT)
#define LISTEN	BIT(DIRECTION_LISTEN)

struct fixture {
	struct config *config;
	struct cascade *cascade;
};

static struct fixture fixture_new(const struct fixture_policy *policies, size_t n)
{
	struct fixture f = { .config = fixture_config(policies, n) };

	assert_int_equal(cascade_new(f.config, &f.cascade), 0);
	return f;
}

static void fixture_free(struct fixture *f)
{
	cascade_free(f->cascade);
	config_free(f->config);
}

static const struct effective *effective_of(const struct fixture *f, const char *path)
{
	const struct cgroup_class *k;

	assert_int_equal(cascade_walk(f->cascade, path, &k), 0);
	return cascade_effective(k);
}

/* "a b c": the names of the policies that apply, weakest first; "" when none does. */
static void expect_applies(const struct fixture *f, const char *path, const char *expected)
{
	const struct effective *e = effective_of(f, path);
	char names[256] = "";

	for (size_t i = 0; e && i < e->n_policies; i++) {
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
		const struct setting *s = block_setting(&e->blocks[i], &option_table[option]);

		if (s && holds(&e->blocks[i], d))
			w = s->option == &option_table[option] ? (struct winner){ &e->blocks[i], s }
							       : (struct winner){ 0 };
	}
	return w;
}

/* "policy", "policy/rule", or "" when nobody sets the option; value may be UNSET. */
static void expect_wins(const struct fixture *f, const char *path, enum direction d,
			enum option_id option, const char *expected, int value)
{
	const struct effective *e = effective_of(f, path);
	struct winner w;
	char who[256] = "";
	int has = 0;

	assert_non_null(e);
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

	assert_true(options_rival(&option_table[OPTION_SO_BINDTODEVICE],
				  &option_table[OPTION_SO_BINDTOIFINDEX]));
	assert_true(options_rival(&option_table[OPTION_SO_MARK], &option_table[OPTION_SO_MARK]));
	assert_false(options_rival(&option_table[OPTION_SO_MARK], &option_table[OPTION_IP_TOS]));
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
	assert_null(effective_of(&f, "/"));
	assert_null(effective_of(&f, "/a/b"));
	fixture_free(&f);
}

static void test_interning(void **state)
{
	static const struct fixture_policy policies[] = {
		{ "units", .unit = { "*.service" }, .base = { { OPTION_TCP_SYNCNT, 1 } } },
		{ "a", { "/a" }, .base = { { OPTION_TCP_SYNCNT, 2 } } },
		{ "b", { "/a/b" }, .exclude = { "/a/b/c" }, .base = { { OPTION_TCP_SYNCNT, 3 } } },
	};
	struct fixture f = fixture_new(policies, ARRAY_SIZE(policies));
	const struct cgroup_class *x, *y, *child, *sibling;

	(void)state;
	/* other parents, same outcome */
	assert_ptr_equal(effective_of(&f, "/x.service"), effective_of(&f, "/s.slice/y.service"));
	assert_ptr_equal(effective_of(&f, "/x.service/child"), effective_of(&f, "/x.service"));
	assert_ptr_not_equal(effective_of(&f, "/x.service"), effective_of(&f, "/a"));
	/* an exclusion leads back to what held above */
	assert_ptr_equal(effective_of(&f, "/a/b/c"), effective_of(&f, "/a"));
	assert_ptr_not_equal(effective_of(&f, "/a/b"), effective_of(&f, "/a"));
	/* in the order of their making */
	assert_int_equal(effective_of(&f, "/x.service")->index, 0);
	assert_int_equal(effective_of(&f, "/a")->index, 1);
	assert_int_equal(effective_of(&f, "/a/b")->index, 2);

	assert_int_equal(cascade_walk(f.cascade, "/a", &x), 0);
	assert_int_equal(cascade_step(f.cascade, x, "/a/b", &y), 0);
	assert_int_equal(cascade_step(f.cascade, y, "/a/b/d", &child), 0);
	assert_ptr_equal(y, child);
	assert_int_equal(cascade_walk(f.cascade, "/a/b/e", &sibling), 0);
	assert_ptr_equal(sibling, child);
	/* excluded for good: not the class of /a, which /a/b could still join */
	assert_int_equal(cascade_walk(f.cascade, "/a/b/c", &y), 0);
	assert_ptr_not_equal(x, y);
	fixture_free(&f);
}

/* What is told of the path instead of looked for. */
static const struct cgroup_class *apply_at(const struct random_globs *g, struct cascade *c,
					   const struct cgroup_class *parent, const char *path)
{
	const size_t n = g->config->n_policies;
	uint32_t match[8], exclude[8];
	struct matched m = { .match = match, .exclude = exclude };
	const struct cgroup_class *k;

	assert_in_range(n, 0, ARRAY_SIZE(match));
	for (uint32_t i = 0; i < n; i++) {
		if (patterns_match(&g->config->policies[i].match, path))
			match[m.n_match++] = i;
		if (patterns_match(&g->config->policies[i].exclude, path))
			exclude[m.n_exclude++] = i;
	}
	assert_int_equal(cascade_apply(c, parent, &m, &k), 0);
	return k;
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
		excluded |= patterns_match(&p->exclude, prefix);
		if (first == UINT32_MAX && patterns_match(&p->match, prefix))
			first = at;
	}
	return first == depth && !excluded;
}

static void expect_by_definition(struct seeded *s, const struct config *c, const char *path,
				 const struct effective *e)
{
	unsigned depth_max = 0;
	size_t n = 0;

	for (const char *at = path; (at = strchr(at, '/')) && at[1]; at++)
		depth_max++;
	for (unsigned depth = 0; depth <= depth_max; depth++) {
		for (size_t i = 0; i < c->n_policies; i++) {
			const struct policy *p = &c->policies[i];

			if (!applies_at(p, path, depth))
				continue;
			if (!e || n >= e->n_policies || e->policies[n] != p)
				SEEDED_FAIL(s, "%s: %s is not number %zu", path, p->name, n);
			n++;
		}
	}
	assert_int_equal(n, e ? e->n_policies : 0);
}

static void apply_equals_step(struct seeded *s)
{
	struct random_globs g = random_globs(s, ARRAY_SIZE(pieces));
	const struct cgroup_class *stepped, *applied, *walked;
	struct cascade *c;

	assert_int_equal(cascade_new(g.config, &c), 0);
	if (!g.paths)
		fail_msg("%s", "there is no path");
	for (size_t i = 0; i < g.n_paths; i++) {
		char *path = g.paths[i], *at = path;

		assert_int_equal(cascade_step(c, NULL, "/", &stepped), 0);
		applied = apply_at(&g, c, NULL, "/");
		assert_ptr_equal(stepped, applied);
		while (at && at[1]) {
			char *end = strchr(at + 1, '/');

			if (end)
				*end = '\0';
			applied = apply_at(&g, c, applied, path);
			assert_int_equal(cascade_step(c, stepped, path, &stepped), 0);
			if (stepped != applied)
				SEEDED_FAIL(s, "%s: two classes", path);
			if (end)
				*end = '/';
			at = end;
		}
		assert_int_equal(cascade_walk(c, path, &walked), 0);
		assert_ptr_equal(walked, stepped);
		expect_by_definition(s, g.config, path, cascade_effective(walked));
	}
	cascade_free(c);
	random_globs_free(&g);
}

static void test_apply(void **state)
{
	(void)state;
	for_seeds(1000, apply_equals_step);
}

static void test_by_names(void **state)
{
	static const struct fixture_policy policies[] = {
		{ "a", { "/a" } }, { "b", { "/a/b" } }, { "c", { "/c" }, .exclude = { "/c/d" } }
	};
	static const char *const ab[] = { "a", "b" }, *const ba[] = { "b", "gone", "a", "b" },
				 *const gone[] = { "gone" };
	struct fixture f = fixture_new(policies, ARRAY_SIZE(policies));
	const struct cgroup_class *k, *walked;

	(void)state;
	assert_int_equal(cascade_by_names(f.cascade, ab, 2, &k), 0);
	assert_int_equal(cascade_walk(f.cascade, "/a/b", &walked), 0);
	assert_ptr_equal(k, walked);
	/* in the order that is given, each once, those that there still are */
	assert_int_equal(cascade_by_names(f.cascade, ba, 4, &k), 0);
	assert_int_equal(cascade_effective(k)->n_policies, 2);
	assert_string_equal(cascade_effective(k)->policies[0]->name, "b");
	assert_string_equal(cascade_effective(k)->policies[1]->name, "a");
	assert_int_equal(cascade_by_names(f.cascade, gone, 1, &k), 0);
	assert_null(cascade_effective(k));
	assert_int_equal(cascade_walk(f.cascade, "/x", &walked), 0);
	assert_ptr_equal(k, walked);
	assert_int_equal(cascade_by_names(f.cascade, NULL, 0, &k), 0);
	assert_ptr_equal(k, walked);
	fixture_free(&f);

	f = fixture_new(NULL, 0);
	assert_int_equal(cascade_by_names(f.cascade, ab, 2, &k), 0);
	assert_null(cascade_effective(k));
	fixture_free(&f);
}

static void test_class_index(void **state)
{
	static const struct fixture_policy policies[] = { { "a", { "/a" } },
							  { "b", { "/b" }, .exclude = { "/c" } } };
	static const char *const paths[] = { "/x", "/a", "/b", "/c", "/a/c", "/a" };
	static const size_t expected[] = { 0, 1, 2, 3, 1, 1 };
	struct fixture f = fixture_new(policies, ARRAY_SIZE(policies));
	const struct cgroup_class *k;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(paths); i++) {
		assert_int_equal(cascade_walk(f.cascade, paths[i], &k), 0);
		assert_int_equal(cascade_class_index(k), expected[i]);
	}
	fixture_free(&f);
}

static struct config *big_config(size_t n_policies)
{
	struct config *c = config_new();

	assert_non_null(c);
	for (size_t i = 0; i < n_policies; i++) {
		char name[32], unit[64], cgroup[64], nowhere[64];
		struct fixture_policy p = { .name = name,
					    .cgroup = { cgroup, nowhere },
					    .unit = { unit },
					    .exclude = { nowhere },
					    .base = { { OPTION_TCP_SYNCNT, 3 } },
					    .rules = {
						    { "r", CONNECT, { { OPTION_SO_MARK, 4 } } } } };

		snprintf(name, sizeof(name), "p%zu", i);
		snprintf(unit, sizeof(unit), "svc-%zu@*.service", i);
		snprintf(cgroup, sizeof(cgroup), "/system.slice/svc-%zu.service/*", i);
		snprintf(nowhere, sizeof(nowhere), "/**/excluded-%zu", i);
		fixture_add(c, &p);
	}
	return c;
}

/* 10,000 cgroups under 1,000 policies of three globs and an exclusion each. */
static void test_scale(void **state)
{
	struct fixture f = { .config = big_config(1000) };
	const struct cgroup_class *root, *slice, *k;
	struct timespec begin, end;

	(void)state;
	assert_int_equal(cascade_new(f.config, &f.cascade), 0);
	clock_gettime(CLOCK_MONOTONIC, &begin);
	assert_int_equal(cascade_step(f.cascade, NULL, "/", &root), 0);
	assert_int_equal(cascade_step(f.cascade, root, "/system.slice", &slice), 0);
	for (int i = 0; i < 10000; i++) {
		char path[64];

		snprintf(path, sizeof(path), "/system.slice/svc-%d@%d.service", i % 1000, i);
		assert_int_equal(cascade_step(f.cascade, slice, path, &k), 0);
		assert_int_equal(cascade_effective(k)->n_policies, 1);
		assert_int_equal(cascade_effective(k)->index, i % 1000);
	}
	clock_gettime(CLOCK_MONOTONIC, &end);
	print_message("10,000 cgroups, 1,000 policies: %.0f ms\n",
		      (double)(end.tv_sec - begin.tv_sec) * 1e3 +
			      (double)(end.tv_nsec - begin.tv_nsec) / 1e6);
	assert_true(end.tv_sec - begin.tv_sec < 20); /* generous: sanitizers, a busy machine */
	fixture_free(&f);
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
		cmocka_unit_test(test_interning),
		cmocka_unit_test(test_apply),
		cmocka_unit_test(test_by_names),
		cmocka_unit_test(test_class_index),
		cmocka_unit_test(test_scale),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
