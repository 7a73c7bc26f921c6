// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* The tree works on any directories: these are in a temporary one. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "host/tree.h"

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

static void take_away(const struct fixture *f, const char *path)
{
	char full[256];

	snprintf(full, sizeof(full), "%s%s", f->dir, path);
	assert_int_equal(rmdir(full), 0);
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
	assert_string_equal(tree_find(f->tree, id_of(f, "/a/b/c"))->name, "c");
	assert_string_equal(tree_root(f->tree)->name, "a");
}

static void paths_below_the_real_root_have_one_slash(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(tree_new(f->dir, "/", &f->tree), 0);
	assert_int_equal(tree_scan(f->tree, NULL, NULL), 0);
	assert_string_equal(tree_root(f->tree)->path, "/");
	assert_string_equal(tree_root(f->tree)->name, "");
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

struct sweeping {
	char told[256];	  /* what `gone` was asked about, in this order */
	const char *held; /* what is still in use, or NULL */
};

static int gone_unless_held(struct node *n, void *userdata)
{
	struct sweeping *s = userdata;

	collect(n, s->told);
	return !s->held || !streq(n->path, s->held);
}

static void scan_then_sweep(struct fixture *f, struct sweeping *s)
{
	assert_int_equal(tree_scan(f->tree, NULL, NULL), 0);
	tree_sweep(f->tree, gone_unless_held, s);
}

static void a_sweep_leaves_what_is_there(void **state)
{
	struct sweeping s = { 0 };
	struct fixture *f = *state;

	assert_int_equal(tree_new(f->dir, "/", &f->tree), 0);
	scan_then_sweep(f, &s);
	assert_string_equal(s.told, "");
	assert_int_equal(tree_size(f->tree), 5);
}

static void a_sweep_removes_children_first(void **state)
{
	struct sweeping s = { 0 };
	struct fixture *f = *state;
	uint64_t b = id_of(f, "/a/b"), c = id_of(f, "/a/b/c");

	assert_int_equal(tree_new(f->dir, "/", &f->tree), 0);
	assert_int_equal(tree_scan(f->tree, NULL, NULL), 0);
	take_away(f, "/a/b/c");
	take_away(f, "/a/b");
	scan_then_sweep(f, &s);
	assert_string_equal(s.told, "/a/b/c /a/b ");
	assert_null(tree_find(f->tree, c));
	assert_null(tree_find(f->tree, b));
	assert_non_null(tree_find(f->tree, id_of(f, "/a")));
	assert_int_equal(tree_size(f->tree), 3);
}

static void what_is_held_stays_with_its_parents(void **state)
{
	struct sweeping s = { .held = "/a/b/c" };
	struct fixture *f = *state;

	assert_int_equal(tree_new(f->dir, "/", &f->tree), 0);
	assert_int_equal(tree_scan(f->tree, NULL, NULL), 0);
	take_away(f, "/a/b/c");
	take_away(f, "/a/b");
	take_away(f, "/d");
	scan_then_sweep(f, &s);
	assert_int_equal(tree_size(f->tree), 4); /* without /d */

	s = (struct sweeping){ 0 };
	scan_then_sweep(f, &s);
	assert_string_equal(s.told, "/a/b/c /a/b ");
	assert_int_equal(tree_size(f->tree), 2);
}

static void the_root_is_never_swept(void **state)
{
	struct sweeping s = { 0 };
	struct fixture *f = *state;

	assert_int_equal(tree_new(f->dir, "/d", &f->tree), 0);
	take_away(f, "/d");
	scan_then_sweep(f, &s);
	assert_string_equal(s.told, "");
	assert_string_equal(tree_root(f->tree)->path, "/d");
}

static int count_gone(struct node *n, void *userdata)
{
	(void)n;
	++*(int *)userdata;
	return 1;
}

/* Of what is gone before the tree was there only the id is known. */
static void what_was_gone_before(void **state)
{
	struct sweeping s = { 0 };
	struct fixture *f = *state;
	struct node *gone, *again;
	int n = 0;

	assert_int_equal(tree_new(f->dir, "/d", &f->tree), 0);
	assert_int_equal(tree_add_gone(f->tree, 42, &gone), 0);
	assert_int_equal(tree_add_gone(f->tree, 42, &again), -EEXIST);
	assert_ptr_equal(again, gone);
	assert_null(gone->path);
	assert_string_equal(gone->name, "");
	assert_ptr_equal(gone->parent, tree_root(f->tree));
	assert_ptr_equal(tree_find(f->tree, 42), gone);
	assert_int_equal(tree_scan(f->tree, NULL, NULL), 0);
	tree_sweep(f->tree, count_gone, &n);
	assert_int_equal(n, 1);
	assert_null(tree_find(f->tree, 42));
	scan_then_sweep(f, &s);
	assert_string_equal(s.told, "");
}

/* Parents that have been passed already go with their children. */
static void a_sweep_of_many(void **state)
{
	struct fixture *f = *state;
	struct node *inner, *leaf;
	int n = 0;

	assert_int_equal(tree_new(f->dir, "/d", &f->tree), 0);
	for (uint64_t i = 1; i <= 50; i++) {
		assert_int_equal(tree_add(f->tree, i, tree_root(f->tree), "p", &inner), 0);
		assert_int_equal(tree_add(f->tree, 1000 + i, inner, "q", &leaf), 0);
	}
	assert_int_equal(tree_size(f->tree), 101);
	assert_int_equal(tree_scan(f->tree, NULL, NULL), 0);
	tree_sweep(f->tree, count_gone, &n);
	assert_int_equal(n, 100);
	assert_int_equal(tree_size(f->tree), 1);
}

#define DEPTH 1100 /* of "/n" below /d: the path fits PATH_MAX */

static void go_down_and_make(const struct fixture *f)
{
	char path[256 + 2 * DEPTH];
	size_t length = (size_t)snprintf(path, sizeof(path), "%s/d", f->dir);

	for (size_t i = 0; i < DEPTH; i++) {
		strcpy(path + length + 2 * i, "/n");
		assert_int_equal(mkdir(path, 0700), 0);
	}
}

/* Also when the test has failed half way. */
static int remove_deep(void **state)
{
	const struct fixture *f = *state;
	char path[256 + 2 * DEPTH];
	size_t length = (size_t)snprintf(path, sizeof(path), "%s/d", f->dir);

	for (size_t i = 0; i < DEPTH; i++)
		strcpy(path + length + 2 * i, "/n");
	for (size_t i = DEPTH; i > 0; i--) {
		path[length + 2 * i] = '\0';
		rmdir(path);
	}
	return teardown(state);
}

static void deeper_than_file_descriptors(void **state)
{
	struct rlimit before, few;
	struct fixture *f = *state;
	struct sweeping s = { 0 };
	int r;

	go_down_and_make(f);
	assert_int_equal(tree_new(f->dir, "/d", &f->tree), 0);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	few = before;
	few.rlim_cur = 16;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
	r = tree_scan(f->tree, NULL, NULL);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
	assert_int_equal(r, 0);
	assert_int_equal(tree_size(f->tree), DEPTH + 1);
	tree_sweep(f->tree, gone_unless_held, &s);
	assert_string_equal(s.told, "");
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
		TEST(a_sweep_leaves_what_is_there),
		TEST(a_sweep_removes_children_first),
		TEST(what_is_held_stays_with_its_parents),
		TEST(the_root_is_never_swept),
		TEST(what_was_gone_before),
		TEST(a_sweep_of_many),
		cmocka_unit_test_setup_teardown(deeper_than_file_descriptors, setup, remove_deep),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
