// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "command/cli.h"

/* The options of an imaginary command, and what a command line made of them. */
struct parsed {
	const char *list[8];
	const char *value;
	bool flag;
	int first, status;
};

static struct parsed parse(int arguments_max, int argc, char **argv)
{
	struct parsed p = { .status = -1 };
	const struct cli_option options[] = {
		{ "dir", "DIR", "may repeat", .list = p.list },
		{ "value", "V", "the last one counts", .value = &p.value },
		{ "flag", NULL, "on", .flag = &p.flag },
	};
	const struct cli_syntax syntax = { "try [OPTION]... [ARGUMENT]...", "Tries.", options,
					   ARRAY_SIZE(options), arguments_max };
	FILE *out = stdout, *err = stderr;

	stdout = stderr = fopen("/dev/null", "w");
	assert_non_null(stdout);
	p.first = cli_parse(argc, argv, &syntax, &p.status);
	fclose(stdout);
	stdout = out;
	stderr = err;
	return p;
}

#define PARSE(...) PARSE_AT_MOST(2, __VA_ARGS__)
#define PARSE_AT_MOST(arguments_max, ...)                                                          \
	({                                                                                         \
		const char *argv_[] = { "try", __VA_ARGS__, NULL };                                \
		parse(arguments_max, (int)ARRAY_SIZE(argv_) - 1, (char **)argv_);                  \
	})

static void options_and_arguments(void **state)
{
	struct parsed p = PARSE("--dir", "a", "--value=1", "rest", "--dir=b", "--flag", "--value",
				"2", "more");

	(void)state;
	assert_int_equal(p.first, 8); /* arguments come last, whatever their place was */
	assert_string_equal(p.list[0], "a");
	assert_string_equal(p.list[1], "b");
	assert_null(p.list[2]);
	assert_string_equal(p.value, "2");
	assert_true(p.flag);
}

static void usage_errors(void **state)
{
	(void)state;
	assert_int_equal(PARSE("--nonsense").first, -1);
	assert_int_equal(PARSE("--nonsense").status, EXIT_USAGE);
	assert_int_equal(PARSE("--dir").status, EXIT_USAGE);
	assert_int_equal(PARSE("--flag=yes").status, EXIT_USAGE);
	assert_int_equal(PARSE("-x").status, EXIT_USAGE);
}

static void too_many_arguments(void **state)
{
	(void)state;
	assert_int_equal(PARSE_AT_MOST(0, "--flag").first, 2);
	assert_int_equal(PARSE_AT_MOST(0, "rest", "--flag").first, -1);
	assert_int_equal(PARSE_AT_MOST(0, "rest", "--flag").status, EXIT_USAGE);
	assert_int_equal(PARSE_AT_MOST(1, "rest", "--flag").first, 2);
	assert_int_equal(PARSE_AT_MOST(1, "rest", "more").first, -1);
}

static void help_is_not_an_error(void **state)
{
	(void)state;
	assert_int_equal(PARSE("--help").first, -1);
	assert_int_equal(PARSE("--help").status, EXIT_GOOD);
}

static void two_dashes_end_the_options(void **state)
{
	struct parsed p = PARSE("--flag", "--", "--dir");

	(void)state;
	assert_int_equal(p.first, 3);
	assert_null(p.list[0]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(options_and_arguments),
		cmocka_unit_test(usage_errors),
		cmocka_unit_test(too_many_arguments),
		cmocka_unit_test(help_is_not_an_error),
		cmocka_unit_test(two_dashes_end_the_options),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
