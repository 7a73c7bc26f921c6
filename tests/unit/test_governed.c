// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Which policies govern which cgroups, on directories in place of cgroups. */
#include "base/names.h"
#include "fake_pinned.h"
#include "host/cgroup.h"
#include "report/governed.h"
#include "scratch_dir.h"

static const char *mount_point, *root;

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

static int note(const char *path, uint64_t id, void *userdata)
{
	(void)id;
	return names_append(userdata, path);
}

static void test_counts(void **state)
{
	static const struct fixture_policy policies[] = {
		{ "a", { "/a" }, .exclude = { "/a/c" }, .base = { { OPTION_SO_MARK, 1 } } },
		{ "b", { "/a/b", "/d" }, .base = { { OPTION_TCP_SYNCNT, 1 } } },
		{ "nowhere", { "/x" }, .base = { { OPTION_TCP_KEEPCNT, 2 } } },
	};
	struct generations *g = OPEN(policies);
	struct names found = { 0 };
	struct governed governed;

	(void)state;
	assert_int_equal(governed_read(g, &governed), 0);
	assert_int_equal(governed.n_cgroups, 5);
	assert_int_equal(governed.n_governed, 3);
	assert_int_equal(governed.v[1].n_cgroups, 2);
	assert_int_equal(governed.v[2].n_cgroups, 2);
	assert_int_equal(governed.v[3].n_cgroups, 0);
	assert_false(governed_may_be_overridden(g)); /* each has an option of its own */
	governed_clear(&governed);

	assert_int_equal(generation_view_find(&g->in_force, "b"), 2);
	assert_int_equal(generation_view_find(&g->in_force, "c"), 0);
	assert_int_equal(governed_each(g, 2, note, &found), 0);
	assert_int_equal(found.n, 2);
	assert_string_equal(found.v[0], "/a/b");
	assert_string_equal(found.v[1], "/d");
	names_clear(&found);
	generations_close(g);
}

static void expect_overridden(const struct fixture_policy *policies, size_t n,
			      const bool *overridden)
{
	struct generations *g = open_with(policies, n);
	struct governed governed;

	assert_true(governed_may_be_overridden(g)); /* whichever of them is stronger */
	assert_int_equal(governed_read(g, &governed), 0);
	for (size_t i = 0; i < n; i++)
		assert_int_equal(governed_is_overridden(&governed.v[1 + i]), overridden[i]);
	governed_clear(&governed);
	generations_close(g);
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
	struct governed governed;
	struct glob_list list;
	struct generations *g;

	(void)state;
	root = "/a";
	g = OPEN(policies);
	assert_int_equal(governed_read(g, &governed), 0);
	assert_int_equal(governed.n_cgroups, 3);
	assert_int_equal(governed.n_governed, 3);
	governed_clear(&governed);
	assert_int_equal(generations_list_in_force(g, "/a/b", &list), 0);
	assert_int_equal(list.n, 1);
	assert_int_equal(generations_list_in_force(g, "/ab", &list), 0);
	assert_int_equal(list.n, 0);
	generations_close(g);
	config_free((struct config *)fake.config);
	root = NULL; /* that cgroup is gone */
	g = OPEN(policies);
	assert_int_equal(governed_read(g, &governed), 0);
	assert_int_equal(governed.n_cgroups, 0);
	governed_clear(&governed);
	generations_close(g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_counts, setup, teardown),
		cmocka_unit_test_setup_teardown(test_overridden, setup, teardown),
		cmocka_unit_test_setup_teardown(test_root, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
