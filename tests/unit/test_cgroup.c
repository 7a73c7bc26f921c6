// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>

#include "scratch_dir.h"

#include "host/cgroup.h"

static bool no_handles;	  /* as without CAP_DAC_READ_SEARCH */
static unsigned n_listed; /* directories */

/* In place of libc's, to see what the agent's code does. */
int open_by_handle_at(int mount_fd, struct file_handle *handle, int flags)
{
	typeof(open_by_handle_at) *real = dlsym(RTLD_NEXT, "open_by_handle_at");

	if (no_handles) {
		errno = EPERM;
		return -1;
	}
	return real(mount_fd, handle, flags);
}

int scandirat(int fd, const char *path, struct dirent ***ret, int (*wanted)(const struct dirent *),
	      int (*compare)(const struct dirent **, const struct dirent **))
{
	typeof(scandirat) *real = dlsym(RTLD_NEXT, "scandirat");

	n_listed++;
	return real(fd, path, ret, wanted, compare);
}

static FILE *text_file(const char *text)
{
	FILE *f = tmpfile();

	assert_non_null(f);
	assert_true(fputs(text, f) >= 0);
	rewind(f);
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

static void test_mount_lines(void **state)
{
	_cleanup_fclose_ FILE *f = text_file(
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

static void test_real_mounts(void **state)
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

static void test_mounts_of_cgroup2(void **state)
{
	static const struct {
		const char *text, *mount; /* NULL: none */
	} cases[] = {
		{ "30 23 0:27 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n",
		  "/sys/fs/cgroup" },
		/* a hybrid host, without optional fields */
		{ "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n"
		  "32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n"
		  "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n",
		  "/sys/fs/cgroup/unified" },
		/* several optional fields, and a part of the hierarchy first */
		{ "1 2 0:3 /a/b /part rw shared:1 master:2 - cgroup2 none rw\n"
		  "2 2 0:3 / /whole rw shared:1 master:2 - cgroup2 none rw\n"
		  "3 2 0:3 / /again rw - cgroup2 none rw\n",
		  "/whole" },
		{ "1 2 0:3 /a /only rw - cgroup2 none rw\n", "/only" },
		{ "1 2 0:3 /a /first rw - cgroup2 none rw\n"
		  "1 2 0:3 /b /second rw - cgroup2 none rw\n",
		  "/first" },
		{ "1 2 0:3 / /with\\040blank\\011and\\134x\\12 rw - cgroup2 none rw\n",
		  "/with blank\tand\\x\\12" },
		/* the type counts, not the source's name or the mount point */
		{ "1 2 0:3 / /cgroup2 rw - tmpfs cgroup2 rw\n", NULL },
		{ "1 2 0:3 / /x rw - cgroup cgroup2 rw\n", NULL },
		{ "1 2 0:3 / /x rw cgroup2\n", NULL },
		{ "1 2 - cgroup2\n", NULL },
		{ "\n", NULL },
		{ "", NULL },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_fclose_ FILE *f = text_file(cases[i].text);
		_cleanup_free_ char *mount = NULL;
		int r = cgroup_mount_in(f, &mount);

		assert_int_equal(r, cases[i].mount ? 0 : -ENOENT);
		if (cases[i].mount)
			assert_string_equal(mount, cases[i].mount);
		else
			assert_null(mount);
	}
}

static void test_proc_cgroup(void **state)
{
	static const struct {
		const char *text, *path; /* NULL: none */
	} cases[] = {
		{ "0::/system.slice/a.service\n", "/system.slice/a.service" },
		{ "0::/\n", "/" },
		{ "9:name=systemd:/x\n1:cpu:/y\n0::/z:0::w\n", "/z:0::w" },
		{ "0::/a (deleted)\n", "/a" },
		{ "9:name=systemd:/\n10::/x\n", NULL },
		{ "", NULL },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_fclose_ FILE *f = text_file(cases[i].text);
		_cleanup_free_ char *path = NULL;
		int r = cgroup_of_file(f, &path);

		assert_int_equal(r, cases[i].path ? 0 : -ENODATA);
		if (cases[i].path)
			assert_string_equal(path, cases[i].path);
	}
}

static void test_normalize(void **state)
{
	static const struct {
		const char *mount, *path, *expected; /* NULL: -EINVAL */
	} cases[] = {
		{ "/m", "a/b", "/a/b" },    { "/m", "/a/b/", "/a/b" },
		{ "/m", "//a//b", "/a/b" }, { "/m", "/", "/" },
		{ "/m", "", "/" },	    { "/m", "./a/./b", "/a/b" },
		{ "/m", "/m/a/b", "/a/b" }, { "/m", "/m", "/" },
		{ "/m", "/m/", "/" },	    { "/m", "/ma/b", "/ma/b" },
		{ "/m", "m/a", "/m/a" },    { "/sys/fs/cgroup", "/sys/fs/cgroup/a", "/a" },
		{ NULL, "/m/a", "/m/a" },   { "/m", "/a..b/..c", "/a..b/..c" },
		{ "/m", "/a/../b", NULL },  { "/m", "..", NULL },
		{ "/m", "/m/..", NULL },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_free_ char *path = NULL;
		int r = cgroup_normalize(cases[i].mount, cases[i].path, &path);

		assert_int_equal(r, cases[i].expected ? 0 : -EINVAL);
		if (cases[i].expected)
			assert_string_equal(path, cases[i].expected);
		else
			assert_null(path);
	}
}

static void test_no_process(void **state)
{
	char *path = NULL;

	(void)state;
	assert_int_equal(cgroup_of_pid(0, &path), -ESRCH);
	assert_null(path);
}

/* On this host, where it has cgroup2: ids and paths lead to each other. */
static void test_live(void **state)
{
	_cleanup_free_ char *mount = NULL, *mine = NULL, *directory = NULL, *path = NULL,
			    *gone = NULL;
	uint64_t id, not_dir;
	int r;

	(void)state;
	r = cgroup_mount(&mount);
	if (r == -ENOENT) {
		print_message("SKIP: no cgroup2 mount\n");
		skip();
	}
	assert_int_equal(r, 0);
	assert_int_equal(cgroup_of_pid(getpid(), &mine), 0);
	assert_true(asprintf(&directory, "%s%s", mount, mine) > 0);
	assert_int_equal(cgroup_id_of_dir(directory, &id), 0);
	assert_int_equal(cgroup_path_of_id(mount, id, &path), 0);
	assert_string_equal(path, mine);
	assert_int_equal(cgroup_path_of_id(mount, UINT64_MAX - 1, &gone), -ENOENT);
	assert_null(gone);
	assert_int_equal(cgroup_id_of_dir("/proc/self/cgroup", &not_dir), -ENOTDIR);
	assert_int_equal(cgroup_id_of_dir("/nonexistent", &not_dir), -ENOENT);
}

static void resolve_one(const char *mount, const char *name, const char *expected)
{
	_cleanup_free_ char *path = NULL;

	assert_int_equal(cgroup_resolve(mount, name, &path), expected ? 0 : -EINVAL);
	if (expected)
		assert_string_equal(path, expected);
}

static void test_resolve(void **state)
{
	const char *mount, *inner, *elsewhere;
	char *before = getcwd(NULL, 0);

	mount = scratch_mkdir(*state, "mount");
	inner = scratch_mkdir(*state, "mount/a.slice");
	scratch_mkdir(*state, "mount/a.slice/b");
	elsewhere = scratch_mkdir(*state, "elsewhere");
	assert_int_equal(symlink(inner, scratch_path(*state, "elsewhere/link")), 0);
	scratch_mkdir(*state, "elsewhere/c");
	assert_non_null(before);
	assert_int_equal(chdir(inner), 0);
	resolve_one(mount, "b", "/a.slice/b");
	resolve_one(mount, ".", "/a.slice");
	resolve_one(mount, "..", "/");
	resolve_one(mount, inner, "/a.slice");
	resolve_one(mount, "/a.slice/b", "/a.slice/b");
	resolve_one(mount, "no/such/b", "/no/such/b");
	resolve_one(mount, "/", "/");
	resolve_one(mount, "../../elsewhere", NULL);
	assert_int_equal(chdir(elsewhere), 0);
	resolve_one(mount, "a.slice", "/a.slice");
	resolve_one(mount, "link/b", "/a.slice/b");
	resolve_one(mount, "c", "/c"); /* a directory, but not a cgroup's */
	assert_int_equal(chdir(before), 0);
	free(before);
}

static uint64_t id_of(const char *directory)
{
	uint64_t id;

	assert_int_equal(cgroup_id_of_dir(directory, &id), 0);
	return id;
}

/* What has no kernfs handles shows the walk as well: these are plain directories. */
static void test_paths_of_ids_in_one_walk(void **state)
{
	const char *mount = scratch_mkdir(*state, "mount");
	const uint64_t ids[] = {
		id_of(scratch_mkdir(*state, "mount/a")),
		id_of(scratch_mkdir(*state, "mount/b")),
		0,
		id_of(scratch_mkdir(*state, "mount/b/c")),
		UINT64_MAX - 1,
		id_of(mount),
		id_of(scratch_path(*state, "mount/b/c")),
	};
	static const char *const expected[] = { "/a", "/b", NULL, "/b/c", NULL, "/", "/b/c" };
	char *paths[ARRAY_SIZE(ids)] = { NULL };

	no_handles = true;
	assert_int_equal(cgroup_paths_of_ids(mount, ids, ARRAY_SIZE(ids), paths), 0);
	no_handles = false;
	assert_int_equal(n_listed, 4); /* each directory once */
	for (size_t i = 0; i < ARRAY_SIZE(ids); i++) {
		if (expected[i])
			assert_string_equal(paths[i], expected[i]);
		else
			assert_null(paths[i]);
		free(paths[i]);
	}
}

static void test_net_lines(void **state)
{
	static char text[] = "9:net_cls,net_prio:/a\n8:cpu,net_prio:/b\n7:pids:/net_cls\n0::/c\n";
	_cleanup_fclose_ FILE *f = fmemopen(text, strlen(text), "r");
	_cleanup_free_ char *lines = cgroup_net_lines(f);

	(void)state;
	assert_string_equal(lines, "9:net_cls,net_prio:/a\n8:cpu,net_prio:/b\n");
	assert_true(cgroup_net_is_ours(getpid()));
	assert_false(cgroup_net_is_ours(0)); /* there is no such process */
}

int main(void)
{
#define SCRATCH_TEST(f) cmocka_unit_test_setup_teardown(f, scratch_setup, scratch_teardown)
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_mount_lines),
		cmocka_unit_test(test_real_mounts),
		cmocka_unit_test(test_mounts_of_cgroup2),
		cmocka_unit_test(test_proc_cgroup),
		cmocka_unit_test(test_net_lines),
		cmocka_unit_test(test_normalize),
		cmocka_unit_test(test_no_process),
		cmocka_unit_test(test_live),
		SCRATCH_TEST(test_resolve),
		SCRATCH_TEST(test_paths_of_ids_in_one_walk),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
