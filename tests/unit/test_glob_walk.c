// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include "random_globs.h"

#include "glob_model.h"

/* The tables of a random configuration, and the paths that go with it, against the model: each path
 * alone, and by a walker that goes on from the path before. */
static void agrees(struct seeded *s)
{
	struct random_globs g = random_globs(s, ARRAY_SIZE(pieces));
	struct glob_walker *walker;
	struct glob_tables tables;
	struct position at;
	char *error;

	assert_int_equal(glob_tables_new(g.config, &tables, &error, &at), 0);
	assert_int_equal(glob_walker_new(&tables, &walker), 0);
	for (size_t i = 0; i < g.n_paths; i++) {
		struct glob_list want = model_list(g.config, g.paths[i], UINT32_MAX), has, next;

		assert_int_equal(glob_walk(&tables, g.paths[i], &has), 0);
		assert_int_equal(glob_walker_walk(walker, g.paths[i], &next), 0);
		if (!lists_equal(&want, &has) || !lists_equal(&want, &next))
			SEEDED_FAIL(s, "%s: %u policies, %u after another path, not %u", g.paths[i],
				    has.n, next.n, want.n);
	}
	glob_walker_free(walker);
	glob_tables_clear(&tables);
	random_globs_free(&g);
}

static void walk_agrees_with_glob_match(void **state)
{
	(void)state;
	for_seeds(3000, agrees);
}

static void more_than_a_list_holds(void **state)
{
	struct fixture_policy v[1 + SP_LIST_MAX] = { { .name = "deep", .cgroup = { "/a/b" } } };
	struct glob_tables tables;
	struct glob_list list;
	struct position at;
	struct config *c;
	char *error;

	(void)state;
	for (size_t i = 1; i < ARRAY_SIZE(v); i++)
		v[i] = (struct fixture_policy){ .name = "p", .cgroup = { "/a" } };
	c = fixture_config(v, ARRAY_SIZE(v));
	assert_int_equal(glob_tables_new(c, &tables, &error, &at), 0);
	assert_int_equal(glob_walk(&tables, "/a", &list), 0);
	assert_int_equal(list.n, SP_LIST_MAX);
	assert_false(list.left_out);
	/* The deeper one has no place, although it is the first in the files. */
	assert_int_equal(glob_walk(&tables, "/a/b", &list), 0);
	assert_int_equal(list.n, SP_LIST_MAX);
	assert_int_equal(list.number[0], 2);
	assert_true(list.left_out);
	glob_tables_clear(&tables);
	config_free(c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(walk_agrees_with_glob_match),
		cmocka_unit_test(more_than_a_list_holds),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
