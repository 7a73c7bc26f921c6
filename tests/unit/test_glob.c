// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <time.h>
#include <cmocka.h>

#include "policy/glob.h"

static struct glob *new_glob(enum glob_kind kind, const char *pattern)
{
	struct glob *g = NULL;
	char *error = NULL;

	if (glob_new(kind, pattern, &g, &error) < 0)
		fail_msg("%s refused: %s", pattern, error);
	assert_null(error);
	return g;
}

struct match_case {
	const char *pattern, *path;
	bool matches;
};

static void match_all(enum glob_kind kind, const struct match_case *cases, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		_cleanup_(glob_free) struct glob *g = new_glob(kind, cases[i].pattern);

		if (glob_match(g, cases[i].path) != cases[i].matches)
			fail_msg("%s %s %s", cases[i].pattern,
				 cases[i].matches ? "does not match" : "matches", cases[i].path);
	}
}

static void test_cgroup_match(void **state)
{
	static const struct match_case cases[] = {
		/* only a literal "/" is the root */
		{ "/", "/", true },
		{ "/**", "/", false },
		{ "/*", "/", false },
		{ "/", "/a", false },
		/* "*" and "?" stay within a component */
		{ "/*", "/a", true },
		{ "/*", "/a/b", false },
		{ "/a*", "/abc", true },
		{ "/a*", "/a", true },
		{ "/a*c", "/abc/c", false },
		{ "/a?c", "/abc", true },
		{ "/a?c", "/ac", false },
		{ "/a?c", "/a/c", false },
		{ "/*/b", "/a/b", true },
		{ "/*/b", "/b", false },
		{ "/*", "/.hidden", true },
		/* classes */
		{ "/[ab]", "/a", true },
		{ "/[ab]", "/c", false },
		{ "/[!ab]", "/c", true },
		{ "/[!ab]", "/a", false },
		{ "/[^ab]", "/c", true },
		{ "/[^ab]", "/b", false },
		{ "/[0-9]x", "/7x", true },
		{ "/[]]", "/]", true },
		{ "/[[]", "/[", true },
		{ "/[[:digit:]]", "/5", true },
		{ "/[[:digit:]]", "/d", false },
		/* "**" is zero or more components */
		{ "/**", "/a", true },
		{ "/**", "/a/b/c", true },
		{ "/a/**", "/a", true },
		{ "/a/**", "/a/b", true },
		{ "/a/**", "/ab", false },
		{ "/**/c", "/c", true },
		{ "/**/c", "/a/b/c", true },
		{ "/**/c", "/a/c/b", false },
		{ "/a/**/d", "/a/d", true },
		{ "/a/**/d", "/a/b/c/d", true },
		{ "/a/**/d", "/b/d", false },
		{ "/**/b/**/d", "/a/b/b/c/d", true },
		{ "/**/b/c/**", "/b/x/b/c", true },
		{ "/**/b/c/**", "/b/x/b/d", false },
		{ "/**/a/*", "/a/a", true },
		{ "/**/**/a", "/a", true },
		{ "/a/**/b/*", "/a/b/b/b/x/b/y", true },
		{ "/a/**/b/*", "/a/b/b/b/x/c/y", false },
		/* a literal is the whole of it */
		{ "/a/b", "/a/b", true },
		{ "/a/b", "/a", false },
		{ "/a/b", "/a/b/c", false },
		{ "/a", "/A", false },
		/* backslashes are literal */
		{ "/dev-a\\x2db.slice", "/dev-a\\x2db.slice", true },
		{ "/dev-a\\x2d*.slice", "/dev-a\\x2dbc.slice", true },
		{ "/\\*", "/*", false },
		{ "/\\*", "/\\x", true },
		/* cgroup patterns know no escaping of names */
		{ "/cpu.service", "/_cpu.service", false },
	};

	(void)state;
	match_all(GLOB_CGROUP, cases, ARRAY_SIZE(cases));
}

static void test_unit_match(void **state)
{
	static const struct match_case cases[] = {
		{ "nginx.service", "/system.slice/nginx.service", true },
		{ "nginx.service", "/nginx.service", true },
		{ "nginx.service", "/a.slice/a-b.slice/nginx.service", true },
		{ "nginx.service", "/user.slice/user-1.slice/user@1.service/nginx.service", false },
		{ "nginx.service", "/system.slice/other/nginx.service", false },
		{ "nginx.service", "/system.slice/nginx.service/child", false },
		{ "nginx.service", "/system.slice", false },
		{ "nginx.service", "/", false },
		{ "*", "/", false },
		{ "*", "/system.slice", true },
		{ "system.slice", "/system.slice", true },
		{ "ha@*.service", "/system.slice/system-ha.slice/ha@a.service", true },
		{ "ha@*.service", "/system.slice/ha.service", false },
		{ "db[12].service", "/system.slice/db2.service", true },
		{ "a\\x2db.service", "/system.slice/a\\x2db.service", true },
		/* a slice is named by its end, not by its middle */
		{ "x.service", "/my.slicer/x.service", false },
		{ "x.service", "/slice/x.service", false },
		/* systemd's escaping of names that are the kernel's own */
		{ "cpu.service", "/system.slice/_cpu.service", true },
		{ "_x.service", "/system.slice/__x.service", true },
		{ "_x.service", "/system.slice/_x.service", false },
		{ ".x.service", "/system.slice/_.x.service", true },
		{ "*", "/_", false },
	};

	(void)state;
	match_all(GLOB_UNIT, cases, ARRAY_SIZE(cases));
}

static void test_errors(void **state)
{
	static const struct {
		enum glob_kind kind;
		const char *pattern, *says;
	} cases[] = {
		{ GLOB_CGROUP, "", "empty pattern" },
		{ GLOB_CGROUP, "a/b", "write '/a/b'" },
		{ GLOB_CGROUP, "nginx.service", "write 'unit: nginx.service'" },
		{ GLOB_CGROUP, "system.slice/nginx.service",
		  "write '/system.slice/nginx.service'" },
		{ GLOB_CGROUP, "**/x", "write '/**/x'" },
		{ GLOB_CGROUP, "/a/", "does not end with '/'" },
		{ GLOB_CGROUP, "//", "does not end with '/'" },
		{ GLOB_CGROUP, "//a", "empty component" },
		{ GLOB_CGROUP, "/a//b", "empty component" },
		{ GLOB_CGROUP, "/a/./b", "not names of cgroups" },
		{ GLOB_CGROUP, "/a/../b", "not names of cgroups" },
		{ GLOB_CGROUP, "/a**", "'**' stands for whole components" },
		{ GLOB_CGROUP, "/**a", "'**' stands for whole components" },
		{ GLOB_CGROUP, "/a/***", "'**' stands for whole components" },
		{ GLOB_CGROUP, "/a[b", "'[' begins a class" },
		{ GLOB_CGROUP, "/a[]", "'[' begins a class" },
		{ GLOB_CGROUP, "/a[!]", "'[' begins a class" },
		{ GLOB_CGROUP, "/[a/b]", "'[' begins a class" },
		{ GLOB_CGROUP, "/[[:alpha:]", "'[' begins a class" },
		{ GLOB_UNIT, "", "empty pattern" },
		{ GLOB_UNIT, "a/b.service", "write 'cgroup: /a/b.service'" },
		{ GLOB_UNIT, "/b.service", "write 'cgroup: /b.service'" },
		{ GLOB_UNIT, "..", "not names of cgroups" },
		{ GLOB_UNIT, "a[b.service", "'[' begins a class" },
		{ GLOB_UNIT, "**.service", "write '*'" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct glob *untouched = (struct glob *)1, *g = untouched;
		_cleanup_free_ char *error = NULL;

		assert_int_equal(glob_new(cases[i].kind, cases[i].pattern, &g, &error), -EINVAL);
		assert_ptr_equal(g, untouched);
		assert_non_null(error);
		if (!strstr(error, cases[i].says) || !strstr(error, cases[i].pattern))
			fail_msg("%s: %s", cases[i].pattern, error);
	}
}

static void test_length(void **state)
{
	char longest[4096], longer[4097];
	_cleanup_(glob_free) struct glob *g = NULL, *none = NULL;
	_cleanup_free_ char *error = NULL;

	(void)state;
	memset(longest, 'a', sizeof(longest) - 1);
	longest[0] = '/';
	longest[sizeof(longest) - 1] = '\0';
	g = new_glob(GLOB_CGROUP, longest);
	assert_string_equal(g->pattern, longest);
	assert_true(glob_match(g, longest));

	memset(longer, 'a', sizeof(longer) - 1);
	longer[0] = '/';
	longer[sizeof(longer) - 1] = '\0';
	assert_int_equal(glob_new(GLOB_CGROUP, longer, &none, &error), -EINVAL);
	assert_non_null(strstr(error, "4096 bytes are too long"));
	assert_true(strlen(error) < 200);
}

static void test_reaches_delegated(void **state)
{
	static const struct {
		enum glob_kind kind;
		const char *pattern;
		bool reaches;
	} cases[] = {
		{ GLOB_CGROUP, "/**", true },
		{ GLOB_CGROUP, "/**/nginx.service", true },
		{ GLOB_CGROUP, "/user.slice/**", true },
		{ GLOB_CGROUP, "/user.slice/*/*/*", true },
		{ GLOB_CGROUP, "/*/*/*/*", true },
		{ GLOB_CGROUP, "/*/*/*", false },
		{ GLOB_CGROUP, "/user.slice/user-1000.slice/user@1000.service/**", true },
		{ GLOB_CGROUP, "/user.slice/user-1000.slice/user@1000.service", false },
		{ GLOB_CGROUP, "/user.slice/user-1*.slice/user@[0-9]*.service/x/y", true },
		{ GLOB_CGROUP, "/user.slice/user-*.slice/session-*.scope/x", false },
		{ GLOB_CGROUP, "/system.slice/**", false },
		{ GLOB_CGROUP, "/system.slice/*/*/*", false },
		{ GLOB_CGROUP, "/*.slice/**/x", true },
		{ GLOB_CGROUP, "/", false },
		{ GLOB_UNIT, "*", false },
		{ GLOB_UNIT, "nginx.service", false },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_(glob_free) struct glob *g = new_glob(cases[i].kind, cases[i].pattern);

		if (glob_reaches_delegated(g) != cases[i].reaches)
			fail_msg("%s", cases[i].pattern);
		assert_int_equal(g->kind, cases[i].kind);
	}
}

static void test_governs_delegated(void **state)
{
	static const struct {
		enum glob_kind kind;
		const char *pattern;
		bool governs;
	} cases[] = {
		{ GLOB_CGROUP, "/", true },
		{ GLOB_CGROUP, "/**/x", true },
		{ GLOB_CGROUP, "/user.slice", true },
		{ GLOB_CGROUP, "/*/user-1000.slice", true },
		{ GLOB_CGROUP, "/user.slice/x", false },
		{ GLOB_CGROUP, "/system.slice/**", false },
		{ GLOB_UNIT, "user.slice", true },
		{ GLOB_UNIT, "user-*.slice", true },
		{ GLOB_UNIT, "user@1000.service", true },
		{ GLOB_UNIT, "*", true },
		{ GLOB_UNIT, "web.service", false },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_(glob_free) struct glob *g = new_glob(cases[i].kind, cases[i].pattern);

		if (glob_governs_delegated(g) != cases[i].governs)
			fail_msg("%s", cases[i].pattern);
	}
}

static void test_may_meet(void **state)
{
	static const struct {
		enum glob_kind kind;
		const char *pattern;
		enum glob_kind other_kind;
		const char *other;
		bool meets;
	} cases[] = {
		{ GLOB_UNIT, "a.service", GLOB_UNIT, "a.service", true },
		{ GLOB_UNIT, "a.service", GLOB_UNIT, "b.service", false },
		{ GLOB_UNIT, "a*.service", GLOB_UNIT, "ab.service", true },
		{ GLOB_UNIT, "a*.service", GLOB_UNIT, "b.service", false },
		{ GLOB_UNIT, "a*.service", GLOB_UNIT, "*b.service", true },
		{ GLOB_UNIT, "a.service", GLOB_UNIT, "x.slice", true },
		{ GLOB_UNIT, "y.slice", GLOB_UNIT, "x.slice", true },
		{ GLOB_UNIT, "a.service", GLOB_CGROUP, "/", true },
		{ GLOB_UNIT, "a.service", GLOB_CGROUP, "/**/b", true },
		{ GLOB_UNIT, "a.service", GLOB_CGROUP, "/system.slice", true },
		{ GLOB_UNIT, "a.service", GLOB_CGROUP, "/system.slice/a.service/b", true },
		{ GLOB_UNIT, "a.service", GLOB_CGROUP, "/system.slice/b.service", false },
		{ GLOB_UNIT, "x.slice", GLOB_CGROUP, "/system.slice/b.service", false },
		{ GLOB_UNIT, "x.slice", GLOB_CGROUP, "/*/b.service", true },
		{ GLOB_CGROUP, "/a", GLOB_CGROUP, "/a/b", true },
		{ GLOB_CGROUP, "/a/c", GLOB_CGROUP, "/a/b", false },
		{ GLOB_CGROUP, "/a/?", GLOB_CGROUP, "/a/b/c", true },
		{ GLOB_CGROUP, "/a/??", GLOB_CGROUP, "/a/b/c", false },
		{ GLOB_CGROUP, "/a/**", GLOB_CGROUP, "/a/b/c", true },
		{ GLOB_CGROUP, "/b/**", GLOB_CGROUP, "/a/b/c", false },
		{ GLOB_CGROUP, "/", GLOB_CGROUP, "/a/b/c", true },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_(glob_free) struct glob *a = new_glob(cases[i].kind, cases[i].pattern);
		_cleanup_(glob_free) struct glob *b = new_glob(cases[i].other_kind, cases[i].other);

		if (glob_may_meet(a, b) != cases[i].meets || glob_may_meet(b, a) != cases[i].meets)
			fail_msg("%s, %s", cases[i].pattern, cases[i].other);
	}
}

/* Patterns that make a naive matcher try every way to divide the path. */
static void test_no_blowup(void **state)
{
	char pattern[1024] = "", path[4096] = "", stars[256] = "/", name[256] = "/";
	_cleanup_(glob_free) struct glob *g = NULL, *h = NULL;
	struct timespec begin, end;

	(void)state;
	for (int i = 0; i < 100; i++)
		strcat(pattern, "/**/a");
	strcat(pattern, "/b");
	for (int i = 0; i < 1000; i++)
		strcat(path, "/a");
	for (int i = 0; i < 80; i++)
		strcat(stars, "*a");
	strcat(stars, "b");
	for (int i = 0; i < 250; i++)
		strcat(name, "a");
	g = new_glob(GLOB_CGROUP, pattern);
	h = new_glob(GLOB_CGROUP, stars);
	clock_gettime(CLOCK_MONOTONIC, &begin);
	assert_false(glob_match(g, path));
	assert_false(glob_match(h, name));
	clock_gettime(CLOCK_MONOTONIC, &end);
	assert_true(end.tv_sec - begin.tv_sec < 2);
	strcat(path, "/b");
	assert_true(glob_match(g, path));
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_cgroup_match),
		cmocka_unit_test(test_unit_match),
		cmocka_unit_test(test_errors),
		cmocka_unit_test(test_length),
		cmocka_unit_test(test_reaches_delegated),
		cmocka_unit_test(test_governs_delegated),
		cmocka_unit_test(test_may_meet),
		cmocka_unit_test(test_no_blowup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
