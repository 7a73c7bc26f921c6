// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* A dry run over directories in place of cgroups, and a configuration in force that the test makes
 * up. */
#include <errno.h>

#include "base/log.h"
#include "fake_pinned.h"
#include "host/cgroup.h"
#include "report/dry_run.h"
#include "scratch_dir.h"

static const char *mount_point;

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
	*ret = strdup("/");
	return *ret ? 0 : -ENOMEM;
}

/* Is in force until the teardown. */
static void enforce(const struct fixture_policy *policies, size_t n)
{
	fake.config = fixture_config(policies, n);
	fake.state.generation = 5;
}

static int teardown(void **state)
{
	config_free((struct config *)fake.config);
	return scratch_teardown(state);
}

static int setup(void **state)
{
	int r = scratch_setup(state);
	struct scratch *s = *state;

	if (r < 0)
		return r;
	memset(&fake, 0, sizeof(fake));
	mount_point = scratch_mkdir(s, "mount");
	scratch_mkdir(s, "mount/a");
	scratch_mkdir(s, "mount/a/c10");
	scratch_mkdir(s, "mount/a/c2");
	scratch_mkdir(s, "mount/b");
	scratch_mkdir(s, "policies.d");
	log_set_level(LOG_ERR - 1);
	return 0;
}

static int run(struct scratch *s, const char *text, json_t **ret)
{
	const char *const dirs[] = { scratch_path(s, "policies.d"), NULL };
	struct diags diags = { 0 };
	int r;

	scratch_write(s, "policies.d/10.yaml", text);
	r = dry_run_make(dirs, "/nowhere", &diags, ret);
	assert_int_equal(r == -EBADMSG, diags.n_errors > 0);
	diags_clear(&diags);
	return r;
}

static void expect(json_t *d, const char *expected)
{
	size_t n;
	char *text;
	FILE *to = open_memstream(&text, &n);

	assert_non_null(to);
	dry_run_print(d, false, to);
	assert_int_equal(fclose(to), 0);
	assert_string_equal(text, expected);
	free(text);
	json_decref(d);
}

static const char *const web = "policies:\n  - name: web\n    match: { cgroup: /a }\n"
			       "    options: { TCP_NODELAY: on }\n";

#define WEB                                                                                        \
	"policies that come: web\n"                                                                \
	"3 cgroups: /a, /a/c2, /a/c10\n"                                                           \
	"    policies that come: web\n"                                                            \
	"    TCP_NODELAY: not set -> on by web at connect, accept\n"                               \
	"a reload would change 3 of 5 cgroups\n"

static void test_nothing_in_force(void **state)
{
	json_t *d;

	assert_int_equal(run(*state, web, &d), 0);
	expect(d, "nothing is in force now\n" WEB);
}

static void test_nothing_changes(void **state)
{
	json_t *d;

	enforce(NULL, 0);
	assert_int_equal(run(*state, "policies: []\n", &d), 0);
	expect(d, "a reload would change nothing for the 5 cgroups that live\n");
}

static const struct fixture_policy webs[] = {
	{ "web", { "/a" }, .base = { { OPTION_TCP_NODELAY, 1 } } },
	{ "old", { "/b" }, .base = { { OPTION_SO_MARK, 7 } } },
	{ "away", { "/nowhere" }, .base = { { OPTION_SO_MARK, 8 } } },
};

/* Policies that change, go, and change where no cgroup lives. */
static void test_policies(void **state)
{
	json_t *d;

	enforce(webs, ARRAY_SIZE(webs));
	assert_int_equal(
		run(*state,
		    "policies:\n"
		    "  - { name: web, match: { cgroup: /a }, options: { TCP_NODELAY: off } }\n"
		    "  - { name: away, match: { cgroup: /nowhere }, options: { SO_MARK: 9 } }\n",
		    &d),
		0);
	assert_int_equal(document_number(d, "generation"), 5);
	expect(d, "policies that go: old\n"
		  "policies that change: web, away\n"
		  "policy away, which applies to no cgroup that lives:\n"
		  "    SO_MARK: 8 by away -> 9 by away at connect, accept, listen\n"
		  "3 cgroups: /a, /a/c2, /a/c10\n"
		  "    TCP_NODELAY: on by web -> off by web at connect, accept\n"
		  "1 cgroup: /b\n"
		  "    policies that go: old\n"
		  "    SO_MARK: 7 by old -> not set at connect, accept, listen\n"
		  "a reload would change 4 of 5 cgroups\n");
}

/* What a policy matches is no part of what it does: its cgroups tell. */
static void test_globs(void **state)
{
	json_t *d;

	enforce(webs, 1);
	assert_int_equal(
		run(*state,
		    "policies:\n"
		    "  - { name: web, match: { cgroup: [/b, /a/c2] }, options: { TCP_NODELAY: on } }\n",
		    &d),
		0);
	expect(d, "2 cgroups: /a, /a/c10\n"
		  "    policies that go: web\n"
		  "    TCP_NODELAY: on by web -> not set at connect, accept\n"
		  "1 cgroup: /b\n"
		  "    policies that come: web\n"
		  "    TCP_NODELAY: not set -> on by web at connect, accept\n"
		  "a reload would change 3 of 5 cgroups\n");
}

static void test_order(void **state)
{
	static const struct fixture_policy policies[] = {
		{ "one", { "/b" }, .base = { { OPTION_SO_MARK, 1 } } },
		{ "two", { "/b" }, .base = { { OPTION_SO_MARK, 2 } } },
	};
	json_t *d;

	enforce(policies, 2);
	assert_int_equal(run(*state,
			     "policies:\n"
			     "  - { name: two, match: { cgroup: /b }, options: { SO_MARK: 2 } }\n"
			     "  - { name: one, match: { cgroup: /b }, options: { SO_MARK: 1 } }\n",
			     &d),
			 0);
	expect(d, "policies come in another order\n"
		  "1 cgroup: /b\n"
		  "    policies in another order\n"
		  "    SO_MARK: 2 by two -> 1 by one at connect, accept, listen\n"
		  "a reload would change 1 of 5 cgroups\n");
}

static void test_several_groups(void **state)
{
	json_t *d;

	enforce(NULL, 0);
	assert_int_equal(
		run(*state,
		    "policies:\n"
		    "  - name: all\n    match: { cgroup: / }\n    options: { TCP_NODELAY: on }\n"
		    "  - name: some\n    match: { cgroup: [/b, /a/c2] }\n"
		    "    options: { SO_MARK: 7 }\n",
		    &d),
		0);
	assert_int_equal(json_array_size(json_object_get(d, "groups")), 2);
	expect(d, "policies that come: all, some\n"
		  "3 cgroups: /, /a, /a/c10\n"
		  "    policies that come: all\n"
		  "    TCP_NODELAY: not set -> on by all at connect, accept\n"
		  "2 cgroups: /a/c2, /b\n"
		  "    policies that come: all, some\n"
		  "    SO_MARK: not set -> 7 by some at connect, accept, listen\n"
		  "    TCP_NODELAY: not set -> on by all at connect, accept\n"
		  "a reload would change 5 of 5 cgroups\n");
}

static void test_wrong_files(void **state)
{
	json_t *d;

	enforce(NULL, 0);
	assert_int_equal(run(*state, "policies: 7\n", &d), -EBADMSG);
	assert_int_equal(fake.opened, 0);
}

/* What was read while the maps were being changed is thrown away. */
static void test_reload_meanwhile(void **state)
{
	json_t *d;

	enforce(NULL, 0);
	fake.reloads = 8;
	assert_int_equal(run(*state, web, &d), 0);
	assert_int_equal(document_number(d, "generation"), 5 + 8);
	assert_int_equal(fake.opened, 1 + 8);
	expect(d, WEB);
	fake.reloads = UINT32_MAX;
	assert_int_equal(run(*state, web, &d), -ESTALE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_nothing_in_force, setup, teardown),
		cmocka_unit_test_setup_teardown(test_nothing_changes, setup, teardown),
		cmocka_unit_test_setup_teardown(test_policies, setup, teardown),
		cmocka_unit_test_setup_teardown(test_globs, setup, teardown),
		cmocka_unit_test_setup_teardown(test_order, setup, teardown),
		cmocka_unit_test_setup_teardown(test_several_groups, setup, teardown),
		cmocka_unit_test_setup_teardown(test_wrong_files, setup, teardown),
		cmocka_unit_test_setup_teardown(test_reload_meanwhile, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
