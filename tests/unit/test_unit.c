// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Units' cgroups, in a directory tree that stands for a cgroup2 mount. */
#include <errno.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <cmocka.h>

#include "report/unit.h"

static char mount[] = "test_unit.XXXXXX"; /* in the directory for temporary files */

static int make_tree(void **state)
{
	static const char *const directories[] = {
		"/system.slice",
		"/system.slice/web.service",
		"/system.slice/web.service/web.service",
		"/system.slice/system-ha.slice",
		"/system.slice/system-ha.slice/ha@b.service",
		"/system.slice/system-ha.slice/ha@a.service",
		"/system.slice/_cpu.service",
		"/user.slice",
		"/user.slice/user@1.service",
		"/user.slice/user@1.service/web.service",
		"/user.slice/user@1.service/app.slice",
		"/user.slice/user@1.service/app.slice/mine.service",
	};
	const char *base = getenv("TMPDIR");

	(void)state;
	if (chdir(base ? base : P_tmpdir) < 0 || !mkdtemp(mount))
		return -1;
	for (size_t i = 0; i < ARRAY_SIZE(directories); i++) {
		char path[256];

		snprintf(path, sizeof(path), "%s%s", mount, directories[i]);
		if (mkdir(path, 0700) < 0)
			return -1;
	}
	return 0;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

static int remove_tree(void **state)
{
	(void)state;
	return nftw(mount, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

/* "PATH PATH ..." */
static void expect_cgroups(const char *at, const char *name, const char *expected, bool assumed)
{
	struct names u = { 0 };
	char paths[1024] = "";
	bool is_assumed;
	char *error = NULL;

	assert_int_equal(unit_cgroups_find(at, name, &u, &is_assumed, &error), 0);
	assert_null(error);
	for (size_t i = 0; i < u.n; i++) {
		if (i)
			strcat(paths, " ");
		strcat(paths, u.v[i]);
	}
	assert_string_equal(paths, expected);
	assert_int_equal(is_assumed, assumed);
	names_clear(&u);
}

static void test_found(void **state)
{
	(void)state;
	/* not the one that a user made, nor the one below another unit */
	expect_cgroups(mount, "web.service", "/system.slice/web.service", false);
	expect_cgroups(mount, "web", "/system.slice/web.service", false);
	expect_cgroups(mount, "ha@*.service",
		       "/system.slice/system-ha.slice/ha@a.service "
		       "/system.slice/system-ha.slice/ha@b.service",
		       false);
	expect_cgroups(mount, "system-ha.slice", "/system.slice/system-ha.slice", false);
	expect_cgroups(mount, "cpu", "/system.slice/_cpu.service", false);
}

static void test_assumed(void **state)
{
	(void)state;
	expect_cgroups(mount, "mine", "/system.slice/mine.service", true);
	expect_cgroups(NULL, "web", "/system.slice/web.service", true);
	expect_cgroups(NULL, "web.socket", "/system.slice/web.socket", true);
	expect_cgroups(NULL, "a-b@c.service", "/system.slice/system-a\\x2db.slice/a-b@c.service",
		       true);
	expect_cgroups(NULL, "a-b-c.slice", "/a.slice/a-b.slice/a-b-c.slice", true);
	expect_cgroups(NULL, "a.slice", "/a.slice", true);
	expect_cgroups(NULL, "-.slice", "/", true);
	expect_cgroups(NULL, "_x", "/system.slice/__x.service", true);
}

static void test_errors(void **state)
{
	static const struct {
		const char *name;
		int error;
		const char *says;
	} cases[] = {
		{ "x.timer", -ENOENT, "no cgroup" },
		{ "none-*.service", -ENOENT, "it matches no cgroup now" },
		{ "run-1.scope", -ENOENT, "scope" },
		{ "a/b", -EINVAL, "without a path" },
		{ "", -EINVAL, "empty" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct names u = { 0 };
		bool assumed;
		_cleanup_free_ char *error = NULL;

		assert_int_equal(unit_cgroups_find(mount, cases[i].name, &u, &assumed, &error),
				 cases[i].error);
		assert_int_equal(u.n, 0);
		assert_non_null(error);
		if (!strstr(error, cases[i].says))
			fail_msg("%s: %s", cases[i].name, error);
	}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_found),
		cmocka_unit_test(test_assumed),
		cmocka_unit_test(test_errors),
	};

	return cmocka_run_group_tests(tests, make_tree, remove_tree);
}
