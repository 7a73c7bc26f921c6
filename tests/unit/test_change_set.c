// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* From differences at hooks to changes in words. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "report/change_set.h"

struct row {
	enum sp_stage stage;
	enum option_id option;
	/* value, policy, rule; of what is in force, and of the files */
	const char *kernel[3], *files[3];
	const char *also;
};

static char *copy(const char *s)
{
	return s ? strdup(s) : NULL;
}

static struct in_force_side side(const char *const v[3])
{
	return (struct in_force_side){ copy(v[0]), copy(v[1]), copy(v[2]) };
}

static struct in_force in_force(const struct row *rows, size_t n)
{
	struct in_force f = { .known = true };

	f.v = calloc(n + 1, sizeof(*f.v));
	assert_non_null(f.v);
	for (; f.n < n; f.n++)
		f.v[f.n] = (struct in_force_difference){
			.stage = rows[f.n].stage,
			.option = &option_table[rows[f.n].option],
			.kernel = side(rows[f.n].kernel),
			.files = side(rows[f.n].files),
			.also = rows[f.n].also,
		};
	return f;
}

static void expect(const struct row *rows, size_t n, const char *come, const char *expected)
{
	struct in_force f = in_force(rows, n);
	struct change_set set;
	size_t size;
	char *text;
	FILE *to = open_memstream(&text, &size);

	assert_non_null(to);
	assert_int_equal(change_set_make(&f, &set), 0);
	assert_int_equal(f.n, 0); /* it was taken over */
	if (come)
		assert_int_equal(names_append(&set.in_force.come, come), 0);
	assert_int_equal(change_set_is_empty(&set), !*expected);
	change_set_print(&set, to);
	assert_int_equal(fclose(to), 0);
	assert_string_equal(text, expected);
	change_set_clear(&set);
	free(text);
}
#define EXPECT(rows, expected) expect(rows, ARRAY_SIZE(rows), NULL, expected)

#define PRIORITY OPTION_SO_PRIORITY
#define NODELAY	 OPTION_TCP_NODELAY
#define NOTHING                                                                                    \
	{                                                                                          \
		NULL                                                                               \
	}

static void test_empty(void **state)
{
	(void)state;
	expect(NULL, 0, NULL, "");
	expect(NULL, 0, "web", "    policies that come: web\n");
}

static void test_directions_join(void **state)
{
	const struct row rows[] = {
		{ SP_STAGE_TCP_CONNECT, PRIORITY, { "4", "a" }, { "5", "a" } },
		{ SP_STAGE_TCP_PASSIVE_EST, PRIORITY, { "4", "a" }, { "5", "a" } },
		{ SP_STAGE_UDP_BIND, PRIORITY, { "4", "a" }, { "5", "a" } },
		{ SP_STAGE_UDP_CONNECT, PRIORITY, { "4", "a" }, { "5", "a" } },
	};

	(void)state;
	EXPECT(rows, "    SO_PRIORITY: 4 by a -> 5 by a at connect, accept, listen of udp\n");
}

static void test_directions_that_differ(void **state)
{
	const struct row rows[] = {
		{ SP_STAGE_TCP_CONNECT, NODELAY, NOTHING, { "on", "a", "out" } },
		{ SP_STAGE_TCP_CONNECT, PRIORITY, { "4", "a" }, { "5", "a" } },
		{ SP_STAGE_TCP_PASSIVE_EST, PRIORITY, { "4", "a" }, { "6", "b" } },
		{ SP_STAGE_UNIX_CONNECT, PRIORITY, { "4", "a" }, NOTHING },
	};

	(void)state;
	EXPECT(rows, "    TCP_NODELAY: not set -> on by a, rule out at connect\n"
		     "    SO_PRIORITY: 4 by a -> not set at connect of unix\n"
		     "    SO_PRIORITY: 4 by a -> 5 by a at connect\n"
		     "    SO_PRIORITY: 4 by a -> 6 by b at accept\n");
}

/* Set later than before: a difference at either hook, and one change. */
static void test_another_hook(void **state)
{
	const struct row same[] = {
		{ SP_STAGE_TCP_CONNECT, PRIORITY, { "4", "a" }, NOTHING },
		{ SP_STAGE_TCP_SYN, PRIORITY, NOTHING, { "4", "a" } },
	};
	const struct row other[] = {
		{ SP_STAGE_TCP_CONNECT, PRIORITY, { "4", "a" }, NOTHING },
		{ SP_STAGE_TCP_SYN, PRIORITY, NOTHING, { "5", "b" } },
	};

	(void)state;
	EXPECT(same, "    SO_PRIORITY: 4 by a at connect, with another hook\n");
	EXPECT(other, "    SO_PRIORITY: 4 by a -> 5 by b at connect\n");
}

static void test_rules(void **state)
{
	const struct row rows[] = {
		{ SP_STAGE_TCP_CONNECT, PRIORITY, { "4", "a", "r" }, { "5", "a", "r" } },
		{ SP_STAGE_TCP_CONNECT, PRIORITY, { "4", "a", "gone" }, NOTHING },
		{ SP_STAGE_TCP_CONNECT, PRIORITY, NOTHING, { "7", "a", "new" } },
		{ SP_STAGE_TCP_CONNECT,
		  PRIORITY,
		  { "8", "a", "c" },
		  { "8", "a", "c" },
		  "condition" },
		{ SP_STAGE_TCP_CONNECT, PRIORITY, NOTHING, { "unset", "a", "n" } },
	};

	(void)state;
	EXPECT(rows, "    SO_PRIORITY: 4 by a, rule gone -> not set at connect\n"
		     "    SO_PRIORITY: 8 by a, rule c at connect, with another condition\n"
		     "    SO_PRIORITY: not set -> left alone by a, rule n at connect\n"
		     "    SO_PRIORITY: not set -> 7 by a, rule new at connect\n"
		     "    SO_PRIORITY: 4 by a, rule r -> 5 by a, rule r at connect\n");
}

/* Whatever order differences come in, cgroups that change alike are told alike. */
static void test_order(void **state)
{
	struct row rows[] = {
		{ SP_STAGE_TCP_CONNECT, PRIORITY, { "4", "a" }, { "5", "a" } },
		{ SP_STAGE_TCP_CONNECT, PRIORITY, NOTHING, { "6", "a", "x" } },
		{ SP_STAGE_TCP_CONNECT, PRIORITY, NOTHING, { "7", "a", "y" } },
		{ SP_STAGE_TCP_CONNECT, NODELAY, { "on", "a" }, NOTHING },
	};
	const char *expected = "    TCP_NODELAY: on by a -> not set at connect\n"
			       "    SO_PRIORITY: 4 by a -> 5 by a at connect\n"
			       "    SO_PRIORITY: not set -> 6 by a, rule x at connect\n"
			       "    SO_PRIORITY: not set -> 7 by a, rule y at connect\n";

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct row first = rows[0];

		EXPECT(rows, expected);
		memmove(&rows[0], &rows[1], sizeof(rows) - sizeof(rows[0]));
		rows[ARRAY_SIZE(rows) - 1] = first;
	}
}

static void test_json(void **state)
{
	const struct row rows[] = {
		{ SP_STAGE_TCP_CONNECT, PRIORITY, NOTHING, { "5", "a", "r" } },
		{ SP_STAGE_UDP_CONNECT, PRIORITY, NOTHING, { "5", "a", "r" } },
	};
	struct in_force f = in_force(rows, ARRAY_SIZE(rows));
	struct change_set set;
	_cleanup_free_ char *text = NULL;
	json_t *json;

	(void)state;
	assert_int_equal(change_set_make(&f, &set), 0);
	json = change_set_json(&set);
	text = json_dumps(json, JSON_COMPACT | JSON_SORT_KEYS);
	assert_string_equal(
		text,
		"{\"changes\":[{\"also\":null,\"from\":null,\"option\":\"SO_PRIORITY\",\"to\":"
		"{\"policy\":\"a\",\"rule\":\"r\",\"value\":\"5\"},\"where\":["
		"{\"direction\":\"connect\",\"transport\":\"tcp\"},"
		"{\"direction\":\"connect\",\"transport\":\"udp\"}]}],\"come\":[],\"go\":[],"
		"\"other_order\":false}");
	json_decref(json);
	change_set_clear(&set);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_empty),
		cmocka_unit_test(test_directions_join),
		cmocka_unit_test(test_directions_that_differ),
		cmocka_unit_test(test_another_hook),
		cmocka_unit_test(test_rules),
		cmocka_unit_test(test_order),
		cmocka_unit_test(test_json),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
