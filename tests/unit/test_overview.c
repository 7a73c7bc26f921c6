// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* What is in force, on directories in place of cgroups. */
#include <errno.h>

#include "fake_pinned.h"
#include "host/cgroup.h"
#include "kernel/attachments.h"
#include "kernel/neighbours.h"
#include "report/overview.h"
#include "scratch_dir.h"

static const char *mount_point, *root;

int cgroup_of_pid(pid_t pid, char **ret)
{
	(void)pid;
	(void)ret;
	return -ESRCH;
}

int cgroup_mount(char **ret)
{
	*ret = strdup(mount_point);
	return *ret ? 0 : -ENOMEM;
}

int cgroup_path_of_id(const char *mount, uint64_t id, char **ret)
{
	(void)mount;
	(void)id;
	if (!root)
		return -ENOENT;
	*ret = strdup(root);
	return *ret ? 0 : -ENOMEM;
}

/* Nothing runs beside it. */
int neighbours_read(const struct sp_state *state, const struct attachment *own, size_t n_own,
		    struct neighbour **ret, size_t *ret_n)
{
	(void)state;
	(void)own;
	(void)n_own;
	*ret = NULL;
	*ret_n = 0;
	return 0;
}

void neighbours_free(struct neighbour *v, size_t n)
{
	(void)n;
	free(v);
}

const char *neighbour_effect(const struct neighbour *n)
{
	(void)n;
	return "";
}

/* Nothing is attached. */
int attachments_read(const char *pin_dir, const struct sp_state *state,
		     struct attachment ret[HOOK_MAX], size_t *ret_n)
{
	(void)pin_dir;
	(void)state;
	(void)ret;
	*ret_n = 0;
	return 0;
}

static int setup(void **state)
{
	int r = scratch_setup(state);
	struct scratch *s = *state;

	if (r < 0)
		return r;
	memset(&fake, 0, sizeof(fake));
	root = "/";
	mount_point = scratch_mkdir(s, "mount");
	scratch_mkdir(s, "mount/a");
	scratch_mkdir(s, "mount/a/b");
	scratch_mkdir(s, "mount/a/c");
	scratch_mkdir(s, "mount/d");
	return 0;
}

static int teardown(void **state)
{
	if (fake.config)
		config_free((struct config *)fake.config);
	return scratch_teardown(state);
}

static struct generations *open_with(const struct fixture_policy *policies, size_t n)
{
	struct generations *g;

	fake.config = fixture_config(policies, n);
	assert_int_equal(generations_open("/pins", NULL, &g, NULL, NULL), 0);
	assert_true(g->are_pinned);
	return g;
}
#define OPEN(policies) open_with(policies, ARRAY_SIZE(policies))

/* Reads what is in force, with the cgroups counted. */
static json_t *overview(bool only_overridden)
{
	json_t *o;

	assert_int_equal(overview_read("/pins", NULL, (struct pinned *)&fake, &o), 0);
	assert_int_equal(overview_count_cgroups(o, "/pins", only_overridden), 0);
	return o;
}

static const json_t *policy(const json_t *o, const char *name)
{
	const json_t *one;
	size_t i;

	json_array_foreach (json_object_get(o, "policies"), i, one)
		if (streq(document_text(one, "name"), name))
			return one;
	fail_msg("no policy %s", name);
	return NULL;
}

static void expect_cgroups(const json_t *o, int living, int governed)
{
	const json_t *cgroups = json_object_get(o, "cgroups");

	assert_int_equal(document_number(cgroups, "living"), living);
	assert_int_equal(document_number(cgroups, "governed"), governed);
}

static void test_counts(void **state)
{
	static const struct fixture_policy policies[] = {
		{ "a", { "/a" }, .exclude = { "/a/c" }, .base = { { OPTION_SO_MARK, 1 } } },
		{ "b", { "/a/b", "/d" }, .base = { { OPTION_TCP_SYNCNT, 1 } } },
		{ "nowhere", { "/x" }, .base = { { OPTION_TCP_KEEPCNT, 2 } } },
	};
	struct generations *g = OPEN(policies);
	json_t *o = overview(false);

	(void)state;
	expect_cgroups(o, 5, 3);
	assert_int_equal(document_number(policy(o, "a"), "cgroups"), 2);
	assert_int_equal(document_number(policy(o, "b"), "cgroups"), 2);
	assert_int_equal(document_number(policy(o, "nowhere"), "cgroups"), 0);
	json_decref(o);
	o = overview(true);
	assert_null(json_object_get(o, "cgroups"));
	json_decref(o);

	assert_int_equal(generation_view_find(&g->in_force, "b"), 2);
	assert_int_equal(generation_view_find(&g->in_force, "c"), 0);
	generations_close(g);
}

static void expect_overridden(const struct fixture_policy *policies, size_t n,
			      const bool *overridden)
{
	fake.config = fixture_config(policies, n);
	for (int only_overridden = 0; only_overridden < 2; only_overridden++) {
		json_t *o = overview(only_overridden);

		for (size_t i = 0; i < n; i++)
			assert_int_equal(document_is(policy(o, policies[i].name), "overridden"),
					 overridden[i]);
		json_decref(o);
	}
	config_free((struct config *)fake.config);
	fake.config = NULL;
}

static void test_overridden(void **state)
{
	struct fixture_policy policies[] = {
		{ "weak", { "/a/b" }, .base = { { OPTION_SO_MARK, 1 } } },
		{ "strong", { "/a/b" }, .base = { { OPTION_SO_MARK, UNSET } } },
		{ "empty", { "/a/b" } },
	};
	const bool no[] = { false, false, false }, weak[] = { true, false, false };

	(void)state;
	expect_overridden(policies, 3, weak);
	/* a rule that may not hold overrides nothing */
	memset(policies[1].base, 0, sizeof(policies[1].base));
	policies[1].rules[0] = (struct fixture_rule){ "r", .remote_port = { { 80 } },
						      .options = { { OPTION_SO_MARK, 2 } } };
	expect_overridden(policies, 3, no);
	/* a rule is overridden as well; and one that is, still is if a base is not */
	policies[1].rules[0].name = NULL;
	policies[1].base[0] = (struct fixture_setting){ OPTION_SO_MARK, 2 };
	policies[0].rules[0] = (struct fixture_rule){ "r", .remote_port = { { 80 } },
						      .options = { { OPTION_SO_MARK, 2 } } };
	expect_overridden(policies, 3, weak);
	policies[0].rules[0].options[1] = (struct fixture_setting){ OPTION_TCP_SYNCNT, 2 };
	expect_overridden(policies, 3, no);
	/* in one more cgroup it is alone */
	policies[0].rules[0].name = NULL;
	policies[0].cgroup[0] = "/a/*";
	expect_overridden(policies, 3, no);
	/* it applies nowhere */
	policies[0].cgroup[0] = "/x";
	expect_overridden(policies, 3, no);
}

/* Programs that are attached further down govern nothing beside it. */
static void test_root(void **state)
{
	static const struct fixture_policy policies[] = { { "all", { "/**" } } };
	struct glob_list list;
	struct generations *g;
	json_t *o;

	(void)state;
	root = "/a";
	g = OPEN(policies);
	o = overview(false);
	expect_cgroups(o, 3, 3);
	json_decref(o);
	assert_int_equal(generations_list_in_force(g, "/a/b", &list), 0);
	assert_int_equal(list.n, 1);
	assert_int_equal(generations_list_in_force(g, "/ab", &list), 0);
	assert_int_equal(list.n, 0);
	generations_close(g);
	config_free((struct config *)fake.config);
	root = NULL; /* that cgroup is gone */
	fake.config = fixture_config(policies, 1);
	o = overview(false);
	expect_cgroups(o, 0, 0);
	json_decref(o);
}

/* Failures by the option's and the error's names, if they have any. */
static void test_failures(void **state)
{
	static const struct fixture_policy policies[] = {
		{ "p",
		  { "/a" },
		  .rules = { { "r", .remote_port = { { 80 } },
			       .options = { { OPTION_SO_MARK, 1 } } } } },
	};
	static const struct sp_failure failures[] = {
		{ .counter = FAKE_RULES, .option = OPTION_SO_MARK, .error = -EPERM },
		{ .counter = FAKE_RULES + 1, .option = OPTION_MAX, .error = -524 },
		{ .counter = 7, .option = OPTION_SO_MARK, .error = -EPERM }, /* nobody's */
	};
	const char *const expected =
		"[{\"count\":2,\"errno\":\"EPERM\",\"message\":\"Operation not permitted\","
		"\"option\":\"SO_MARK\",\"rule\":null},"
		"{\"count\":2,\"errno\":\"524\",\"message\":\"Unknown error 524\","
		"\"option\":\"?\",\"rule\":\"r\"}]";
	_cleanup_free_ char *text = NULL;
	json_t *o;

	(void)state;
	fake.config = fixture_config(policies, 1);
	fake.failures = failures;
	fake.n_failures = ARRAY_SIZE(failures);
	o = overview(true);
	text = json_dumps(json_object_get(policy(o, "p"), "failed"), JSON_COMPACT | JSON_SORT_KEYS);
	assert_string_equal(text, expected);
	json_decref(o);
}

/* What became of what applications set, by the words of the metrics. */
static void test_outcomes(void **state)
{
	static const struct fixture_policy policies[] = { { "p", { "/a" } } };
	static const struct sp_outcome outcomes[] = {
		{ .counter = FAKE_RULES, .option = OPTION_SO_MARK, .kind = SP_OUTCOME_HELD },
		{ .counter = FAKE_RULES, .option = OPTION_IP_TOS, .kind = SP_OUTCOME_REFUSED },
		{ .counter = FAKE_RULES, .kind = SP_OUTCOME_MAX }, /* another version's */
		{ .counter = 7, .kind = SP_OUTCOME_DENIED },	   /* nobody's */
	};
	const char *const expected =
		"[{\"count\":3,\"kind\":\"held\",\"option\":\"SO_MARK\",\"rule\":null},"
		"{\"count\":3,\"kind\":\"refused\",\"option\":\"IP_TOS\",\"rule\":null}]";
	_cleanup_free_ char *text = NULL;
	json_t *o;

	(void)state;
	fake.config = fixture_config(policies, 1);
	fake.outcomes = outcomes;
	fake.n_outcomes = ARRAY_SIZE(outcomes);
	o = overview(true);
	text = json_dumps(json_object_get(policy(o, "p"), "outcomes"),
			  JSON_COMPACT | JSON_SORT_KEYS);
	assert_string_equal(text, expected);
	json_decref(o);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_counts, setup, teardown),
		cmocka_unit_test_setup_teardown(test_overridden, setup, teardown),
		cmocka_unit_test_setup_teardown(test_root, setup, teardown),
		cmocka_unit_test_setup_teardown(test_failures, setup, teardown),
		cmocka_unit_test_setup_teardown(test_outcomes, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
