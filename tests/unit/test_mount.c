// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "host/mount.h"

/* Lines of /proc/self/mountinfo, read from memory. */
static FILE *mountinfo(const char *text)
{
	FILE *f = fmemopen((void *)(uintptr_t)text, strlen(text), "r");

	assert_non_null(f);
	return f;
}

static void assert_mount(FILE *f, struct mount *m, const char *root, const char *point,
			 const char *type)
{
	assert_int_equal(mount_next(f, m), 1);
	assert_string_equal(m->root, root);
	assert_string_equal(m->point, point);
	assert_string_equal(m->type, type);
}

static void one_after_the_other(void **state)
{
	_cleanup_fclose_ FILE *f = mountinfo(
		"31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n"
		"too short - bpf\n"
		"\n"
		"1 2 0:3 / /cut rw shared:1\n"
		"41 31 0:38 /a\\040b /with\\040blank\\011and\\134x\\12 rw shared:1 master:2 - cgroup2 none\n"
		"5 2 0:9 / /bpf rw - bpf bpf rw");
	_cleanup_(mount_clear) struct mount m = { 0 };

	(void)state;
	assert_mount(f, &m, "/", "/sys/fs/cgroup", "tmpfs");
	assert_mount(f, &m, "/a b", "/with blank\tand\\x\\12", "cgroup2");
	assert_mount(f, &m, "/", "/bpf", "bpf");
	assert_int_equal(mount_next(f, &m), 0);
}

static void the_real_one(void **state)
{
	_cleanup_fclose_ FILE *f = fopen(MOUNTINFO, "re");
	_cleanup_(mount_clear) struct mount m = { 0 };
	bool root = false;
	int r;

	(void)state;
	assert_non_null(f);
	while ((r = mount_next(f, &m)) > 0)
		root = root || streq(m.point, "/");
	assert_int_equal(r, 0);
	assert_true(root);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_after_the_other),
		cmocka_unit_test(the_real_one),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
