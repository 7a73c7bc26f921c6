// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* The tree works on any directories: these are in a temporary one. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "tree.h"

struct fixture {
	char dir[64];
	struct tree *tree;
};

static void make(const struct fixture *f, const char *path)
{
	char full[256];

	snprintf(full, sizeof(full), "%s%s", f->dir, path);
	assert_int_equal(mkdir(full, 0700), 0);
}

static uint64_t id_of(const struct fixture *f, const char *path)
{
	char full[256];
	struct stat st;

	snprintf(full, sizeof(full), "%s%s", f->dir, path);
	assert_int_equal(stat(full, &st), 0);
	return st.st_ino;
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	strcpy(f->dir, "/tmp/sockpol-test-XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	make(f, "/a");
	make(f, "/a/b");
	make(f, "/a/b/c");
	make(f, "/d");
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	static const char *const paths[] = { "/a/b/c/late", "/a/b/c", "/a/b", "/a", "/d", "" };
	struct fixture *f = *state;
	char full[256];

	if (f->tree)
		tree_free(f->tree);
	for (size_t i = 0; i < ARRAY_SIZE(paths); i++) {
		snprintf(full, sizeof(full), "%s%s", f->dir, paths[i]);
		rmdir(full);
	}
	free(f);
	return 0;
}

/* Appends each path, so that order can be seen. */
static int collect(struct node *n, void *userdata)
{
	char *all = userdata;

	strcat(all, n->path);
	strcat(all, " ");
	return 0;
}

static void scans_from_a_root_below_the_mount(void **state)
{
	struct fixture *f = *state;
	char added[256] = "", walked[256] = "";

	assert_int_equal(tree_new(f->dir, "/a", &f->tree), 0);
	assert_int_equal(tree_scan(f->tree, collect, added), 0);
	assert_string_equal(added, "/a/b /a/b/c ");
	assert_int_equal(tree_walk(f->tree, collect, walked), 0);
	assert_string_equal(walked, "/a /a/b /a/b/c ");
	assert_null(tree_find(f->tree, id_of(f, "/d")));
	assert_string_equal(tree_find(f->tree, id_of(f, "/a/b/c"))->path, "/a/b/c");
}

static void paths_below_the_real_root_have_one_slash(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(tree_new(f->dir, "/", &f->tree), 0);
	assert_int_equal(tree_scan(f->tree, NULL, NULL), 0);
	assert_string_equal(tree_root(f->tree)->path, "/");
	assert_string_equal(tree_find(f->tree, id_of(f, "/d"))->path, "/d");
	assert_int_equal(tree_size(f->tree), 5);
}

static void a_second_scan_adds_only_what_is_new(void **state)
{
	struct fixture *f = *state;
	char added[256] = "";

	assert_int_equal(tree_new(f->dir, "/a", &f->tree), 0);
	assert_int_equal(tree_scan(f->tree, NULL, NULL), 0);
	make(f, "/a/b/c/late");
	assert_int_equal(tree_scan(f->tree, collect, added), 0);
	assert_string_equal(added, "/a/b/c/late ");
}

static void adding_twice_finds_the_first(void **state)
{
	struct fixture *f = *state;
	struct node *first, *second;

	assert_int_equal(tree_new(f->dir, "/a", &f->tree), 0);
	assert_int_equal(tree_add(f->tree, 42, tree_root(f->tree), "x", &first), 0);
	assert_int_equal(tree_add(f->tree, 42, tree_root(f->tree), "x", &second), -EEXIST);
	assert_ptr_equal(first, second);
	assert_string_equal(first->path, "/a/x");
}

static void removing_takes_what_is_below(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(tree_new(f->dir, "/a", &f->tree), 0);
	assert_int_equal(tree_scan(f->tree, NULL, NULL), 0);
	tree_remove(f->tree, tree_find(f->tree, id_of(f, "/a/b")));
	assert_null(tree_find(f->tree, id_of(f, "/a/b/c")));
	assert_int_equal(tree_size(f->tree), 1);
}

static int fail_at_b(struct node *n, void *userdata)
{
	++*(int *)userdata;
	return streq(n->path, "/a/b") ? -EIO : 0;
}

static void a_walk_ends_at_the_first_failure(void **state)
{
	struct fixture *f = *state;
	int seen = 0;

	assert_int_equal(tree_new(f->dir, "/a", &f->tree), 0);
	assert_int_equal(tree_scan(f->tree, NULL, NULL), 0);
	assert_int_equal(tree_walk(f->tree, fail_at_b, &seen), -EIO);
	assert_int_equal(seen, 2);
}

static void a_root_that_is_not_there(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(tree_new(f->dir, "/nowhere", &f->tree), -ENOENT);
	assert_null(f->tree);
}

int main(void)
{
#define TEST(t) cmocka_unit_test_setup_teardown(t, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(scans_from_a_root_below_the_mount),
		TEST(paths_below_the_real_root_have_one_slash),
		TEST(a_second_scan_adds_only_what_is_new),
		TEST(adding_twice_finds_the_first),
		TEST(removing_takes_what_is_below),
		TEST(a_walk_ends_at_the_first_failure),
		TEST(a_root_that_is_not_there),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
