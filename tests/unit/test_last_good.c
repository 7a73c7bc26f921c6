// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* The last good files: kept whole, replaced whole, refused where others can write. */
#include "scratch_dir.h"

#include <errno.h>

#include "base/log.h"
#include "daemon/last_good.h"

/* Files by name, with their texts. */
static void keep(const char *state_dir, size_t n, const char *const files[][2])
{
	struct config_file v[8];

	assert_true(n <= ARRAY_SIZE(v));
	for (size_t i = 0; i < n; i++)
		v[i] = (struct config_file){ (char *)(uintptr_t)files[i][0],
					     (char *)(uintptr_t)files[i][1], strlen(files[i][1]) };
	last_good_keep(state_dir, &(struct config){ .files = v, .n_files = n });
}

static void assert_kept(const char *state_dir, const char *name, const char *text)
{
	_cleanup_free_ char *dir = NULL, *path = NULL;
	char got[64] = "";
	FILE *f;

	assert_int_equal(last_good_find(state_dir, &dir), 0);
	assert_true(asprintf(&path, "%s/%s", dir, name) > 0);
	f = fopen(path, "re");
	if (!text) {
		assert_null(f);
		return;
	}
	assert_non_null(f);
	assert_int_equal(fread(got, 1, sizeof(got) - 1, f), strlen(text));
	fclose(f);
	assert_string_equal(got, text);
}

static void test_sets_replace_each_other(void **state)
{
	const char *dir = scratch_path(*state, "state");
	char *none = NULL;

	assert_int_equal(last_good_find(dir, &none), -ENOENT);
	for (int i = 0; i < 3; i++) {
		keep(dir, 2, (const char *const[][2]){ { "/etc/a.yaml", "1" }, { "b.yaml", "2" } });
		assert_kept(dir, "a.yaml", "1");
		assert_kept(dir, "b.yaml", "2");
		keep(dir, 1, (const char *const[][2]){ { "/run/b.yaml", "3" } });
		assert_kept(dir, "a.yaml", NULL);
		assert_kept(dir, "b.yaml", "3");
	}
	keep(dir, 0, NULL);
	assert_kept(dir, "b.yaml", NULL);
}

static void test_what_is_kept_is_not_written_again(void **state)
{
	const char *dir = scratch_path(*state, "state"),
		   *link = scratch_path(*state, "state/" LAST_GOOD_LINK);
	struct stat before, after;

	for (int i = 0; i < 2; i++) {
		keep(dir, 1, (const char *const[][2]){ { "a.yaml", "1" } });
		assert_int_equal(lstat(link, i ? &after : &before), 0);
	}
	assert_int_equal(after.st_ino, before.st_ino);
	assert_int_equal(after.st_mtim.tv_nsec, before.st_mtim.tv_nsec);
}

static void test_nothing_to_read(void **state)
{
	const char *dir = scratch_path(*state, "state"),
		   *link = scratch_path(*state, "state/" LAST_GOOD_LINK);
	char *none = NULL;

	keep(dir, 1, (const char *const[][2]){ { "a.yaml", "1" } });
	assert_int_equal(chmod(dir, 0770), 0);
	assert_int_equal(last_good_find(dir, &none), -EPERM);
	assert_int_equal(chmod(dir, 0700), 0);
	assert_int_equal(unlink(link), 0);
	assert_int_equal(symlink("/etc", link), 0);
	assert_int_equal(last_good_find(dir, &none), -ENOENT);
	assert_null(none);
	/* A good start mends that. */
	keep(dir, 1, (const char *const[][2]){ { "a.yaml", "1" } });
	assert_kept(dir, "a.yaml", "1");
}

/* What lies in the way of the new set gives way; what cannot be written leaves the old one. */
static void test_in_the_way(void **state)
{
	const char *dir = scratch_path(*state, "state");

	keep(dir, 1, (const char *const[][2]){ { "a.yaml", "1" } });
	for (int i = 0; i < 2; i++) {
		const char *way = scratch_path(*state, i ? "state/files.1" : "state/files.0");
		FILE *f = fopen(way, "wxe");

		if (f) /* else it is the one that is kept */
			fclose(f);
	}
	keep(dir, 1, (const char *const[][2]){ { "a.yaml", "2" } });
	assert_kept(dir, "a.yaml", "2");
	keep(dir, 2, (const char *const[][2]){ { "x/a.yaml", "3" }, { "y/a.yaml", "4" } });
	assert_kept(dir, "a.yaml", "2");
}

#define SCRATCH_TEST(test) cmocka_unit_test_setup_teardown(test, scratch_setup, scratch_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		SCRATCH_TEST(test_sets_replace_each_other),
		SCRATCH_TEST(test_what_is_kept_is_not_written_again),
		SCRATCH_TEST(test_nothing_to_read),
		SCRATCH_TEST(test_in_the_way),
	};

	log_set_level(LOG_CRIT);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
