// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* The walk over cgroups, on directories in place of them. */
#include <errno.h>
#include <fcntl.h>
#include <sys/resource.h>

#include "base/names.h"
#include "host/living.h"
#include "scratch_dir.h"

static int note(const char *path, uint64_t id, void *userdata)
{
	assert_true(id != 0);
	return names_append(userdata, path);
}

static void expect(const char *mount, const char *root, const char *const *paths, size_t n)
{
	struct names found = { 0 };

	assert_int_equal(living_each(mount, root, note, &found), 0);
	assert_int_equal(found.n, n);
	for (size_t i = 0; i < n; i++)
		assert_string_equal(found.v[i], paths[i]);
	names_clear(&found);
}
#define EXPECT(mount, root, ...)                                                                   \
	expect(mount, root, (const char *const[]){ __VA_ARGS__ },                                  \
	       sizeof((const char *const[]){ __VA_ARGS__ }) / sizeof(char *))

static void test_order(void **state)
{
	struct scratch *s = *state;
	const char *mount = scratch_mkdir(s, "mount");

	scratch_mkdir(s, "mount/a");
	scratch_mkdir(s, "mount/a/c10");
	scratch_mkdir(s, "mount/a/c2");
	scratch_mkdir(s, "mount/a/c2/x");
	scratch_mkdir(s, "mount/b");
	scratch_write(s, "mount/a/cgroup.procs", "1\n");
	EXPECT(mount, "/", "/", "/a", "/a/c2", "/a/c2/x", "/a/c10", "/b");
	EXPECT(mount, "/a", "/a", "/a/c2", "/a/c2/x", "/a/c10");
	EXPECT(mount, "/a/c2/x", "/a/c2/x");
}

static int stop(const char *path, uint64_t id, void *userdata)
{
	unsigned *n = userdata;

	(void)path;
	(void)id;
	return ++*n == 3 ? -EXDEV : 0;
}

static void test_stops(void **state)
{
	struct scratch *s = *state;
	const char *mount = scratch_mkdir(s, "mount");
	unsigned n = 0;

	scratch_mkdir(s, "mount/a");
	scratch_mkdir(s, "mount/a/b");
	scratch_mkdir(s, "mount/a/b/c");
	assert_int_equal(living_each(mount, "/", stop, &n), -EXDEV);
	assert_int_equal(n, 3);
	assert_int_equal(living_each(mount, "/x", stop, &n), -ENOENT);
}

struct deep {
	size_t n, longest;
};

static int measure(const char *path, uint64_t id, void *userdata)
{
	struct deep *d = userdata;

	(void)id;
	d->n++;
	if (strlen(path) > d->longest)
		d->longest = strlen(path);
	return 0;
}

static void remove_nested(const char *mount, const char *name)
{
	int fd = open(mount, O_PATH | O_DIRECTORY), next;

	while ((next = openat(fd, name, O_PATH | O_DIRECTORY)) >= 0) {
		close(fd);
		fd = next;
	}
	while ((next = openat(fd, "..", O_PATH | O_DIRECTORY)) >= 0) {
		close(fd);
		fd = next;
		if (unlinkat(fd, name, AT_REMOVEDIR) < 0)
			break;
	}
	close(fd);
}

/* Longer than PATH_MAX, and deeper than descriptors may be open. */
static void test_depth(void **state)
{
	enum { DEPTH = 400, NAME = 250 };
	const struct rlimit few = { 32, 1024 };
	struct scratch *s = *state;
	const char *mount = scratch_mkdir(s, "mount");
	char name[NAME + 1] = { 0 };
	struct deep d = { 0 };
	struct rlimit before;
	int fd = open(mount, O_PATH | O_DIRECTORY);

	memset(name, 'n', NAME);
	for (int i = 0; i < DEPTH; i++) {
		int next;

		assert_int_equal(mkdirat(fd, name, 0755), 0);
		next = openat(fd, name, O_PATH | O_DIRECTORY);
		assert_true(next >= 0);
		close(fd);
		fd = next;
	}
	close(fd);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	assert_int_equal(
		setrlimit(RLIMIT_NOFILE, &(struct rlimit){ few.rlim_cur, before.rlim_max }), 0);
	assert_int_equal(living_each(mount, "/", measure, &d), 0);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
	remove_nested(mount, name);
	assert_int_equal(d.n, 1 + DEPTH);
	assert_int_equal(d.longest, DEPTH * (NAME + 1));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_order, scratch_setup, scratch_teardown),
		cmocka_unit_test_setup_teardown(test_stops, scratch_setup, scratch_teardown),
		cmocka_unit_test_setup_teardown(test_depth, scratch_setup, scratch_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
