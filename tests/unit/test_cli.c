// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "command/commands.h"

/* The options of an imaginary command, and what a command line made of them. */
struct options {
	const char **list;
	const char *value;
	unsigned colours;
	long number;
	bool flag;
};

static const char *const colours[] = { "red", "green", "blue" };

static const struct cli_option cli_options[] = {
	{ "dir", "DIR", "may repeat", CLI_LIST(struct options, list) },
	{ "value", "V", "the last one counts", CLI_TEXT(struct options, value) },
	{ "colour", "C", "one of three", CLI_WORD(struct options, colours, colours) },
	{ "number", "N", "not zero by itself", CLI_NUMBER(struct options, number, -5, LONG_MAX) },
	{ "flag", NULL, "on", CLI_FLAG(struct options, flag) },
};

static struct parsed {
	struct options options;
	const char *list[8];
	const char *arguments[8];
	int status;
	bool ran;
	char *out, *err;
} parsed;

static void copy(const char *const *from, const char *to[8])
{
	size_t i = 0;

	for (; from[i]; i++) {
		assert_true(i < 7);
		to[i] = from[i];
	}
}

static int try(const void *given, const char *const *arguments)
{
	parsed.options = *(const struct options *)given;
	copy(parsed.options.list, parsed.list);
	copy(arguments, parsed.arguments);
	parsed.ran = true;
	return 42;
}

static struct command command = {
	.name = "try",
	.summary = "tries",
	.synopsis = "try [OPTION]... [ARGUMENT]...",
	.description = "Tries.",
	CLI_OPTIONS(cli_options, struct options),
	.defaults = &(const struct options){ .number = 7, .value = "none" },
	.run = try,
};
static const struct command other = { .name = "retry", .summary = "tries again", .run = try };

static void run(int arguments_max, int argc, char **argv)
{
	const struct command *const commands[] = { &command, &other };
	FILE *out = stdout, *err = stderr;
	size_t size_out, size_err;

	free(parsed.out);
	free(parsed.err);
	parsed = (struct parsed){ 0 };
	command.arguments_max = arguments_max;
	stdout = open_memstream(&parsed.out, &size_out);
	stderr = open_memstream(&parsed.err, &size_err);
	assert_true(stdout && stderr);
	parsed.status = cli_main(commands, ARRAY_SIZE(commands), argc, argv);
	fclose(stdout);
	fclose(stderr);
	stdout = out;
	stderr = err;
}

#define SOCKPOL(...)                                                                               \
	({                                                                                         \
		const char *argv_[] = { "sockpol", __VA_ARGS__, NULL };                            \
		run(2, (int)ARRAY_SIZE(argv_) - 1, (char **)argv_);                                \
	})
#define TRY(...) TRY_AT_MOST(2, __VA_ARGS__)
#define TRY_AT_MOST(arguments_max, ...)                                                            \
	({                                                                                         \
		const char *argv_[] = { "sockpol", "try", __VA_ARGS__, NULL };                     \
		run(arguments_max, (int)ARRAY_SIZE(argv_) - 1, (char **)argv_);                    \
	})

/* The command has not run, and stderr is this. */
static void assert_usage(const char *expected)
{
	assert_false(parsed.ran);
	assert_int_equal(parsed.status, EXIT_USAGE);
	assert_string_equal(parsed.err, expected);
	assert_string_equal(parsed.out, "");
}

#define USAGE "Usage: sockpol try [OPTION]... [ARGUMENT]...\n"

static void options_and_arguments(void **state)
{
	(void)state;
	TRY("--dir", "a", "--value=1", "rest", "--dir=b", "--flag", "--value", "2", "more",
	    "--number", "0", "--colour=green");
	assert_true(parsed.ran);
	assert_int_equal(parsed.status, 42);
	/* arguments come last, whatever their place was */
	assert_string_equal(parsed.arguments[0], "rest");
	assert_string_equal(parsed.arguments[1], "more");
	assert_null(parsed.arguments[2]);
	assert_string_equal(parsed.list[0], "a");
	assert_string_equal(parsed.list[1], "b");
	assert_null(parsed.list[2]);
	assert_string_equal(parsed.options.value, "2");
	assert_true(parsed.options.flag);
	assert_int_equal(parsed.options.number, 0);
	assert_int_equal(parsed.options.colours, BIT(1));
}

static void nothing_given(void **state)
{
	(void)state;
	SOCKPOL("try");
	assert_true(parsed.ran);
	assert_null(parsed.list[0]);
	assert_null(parsed.arguments[0]);
	assert_string_equal(parsed.options.value, "none");
	assert_false(parsed.options.flag);
	assert_int_equal(parsed.options.number, 7);
	assert_int_equal(parsed.options.colours, 0);
}

/* getopt_long(3) takes what is not ambiguous. */
static void abbreviations(void **state)
{
	(void)state;
	TRY("--val", "1");
	assert_string_equal(parsed.options.value, "1");
}

static void usage_errors(void **state)
{
	(void)state;
	TRY("--nonsense");
	assert_usage("try: unrecognized option '--nonsense'\n" USAGE);
	TRY("--dir");
	assert_usage("try: option '--dir' requires an argument\n" USAGE);
	TRY("--flag=yes");
	assert_usage("try: option '--flag' doesn't allow an argument\n" USAGE);
	TRY("-x");
	assert_usage("try: invalid option -- 'x'\n" USAGE);
}

static void misspelt_options(void **state)
{
	(void)state;
	TRY("--vlaue=3");
	assert_usage("try: unrecognized option '--vlaue=3'\nDid you mean --value?\n" USAGE);
	TRY("rest", "--colours", "red");
	assert_usage("try: unrecognized option '--colours'\nDid you mean --colour?\n" USAGE);
}

static void numbers(void **state)
{
	static const char *const bad[] = {
		"80x", "x",   "",    " 8",  "+8", "8 ",
		"--8", "- 8", "0x8", "8.0", "-6", "99999999999999999999"
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		_cleanup_free_ char *expected = NULL;

		TRY("--number", bad[i]);
		assert_true(asprintf(&expected,
				     "sockpol try: --number takes a number from -5 to %ld, not "
				     "'%s'\n",
				     LONG_MAX, bad[i]) > 0);
		assert_usage(expected);
	}
	TRY("--number=-5");
	assert_int_equal(parsed.options.number, -5);
	TRY("--number=9223372036854775807");
	assert_int_equal(parsed.options.number, LONG_MAX);
}

static void words(void **state)
{
	(void)state;
	TRY("--colour", "rd");
	assert_usage("sockpol try: --colour takes red, green or blue, not 'rd'; did you mean "
		     "'red'?\n");
	TRY("--colour", "purple");
	assert_usage("sockpol try: --colour takes red, green or blue, not 'purple'\n");
	TRY("--colour=");
	assert_usage("sockpol try: --colour takes red, green or blue, not ''\n");
	TRY("--colour=blue");
	assert_int_equal(parsed.options.colours, BIT(2));
}

static void too_many_arguments(void **state)
{
	(void)state;
	TRY_AT_MOST(0, "--flag");
	assert_true(parsed.ran);
	TRY_AT_MOST(0, "rest", "--flag");
	assert_usage("sockpol try: unexpected argument 'rest'\n");
	TRY_AT_MOST(1, "rest", "--flag");
	assert_true(parsed.ran);
	TRY_AT_MOST(1, "rest", "more");
	assert_usage("sockpol try: unexpected argument 'more'\n");
	TRY_AT_MOST(INT_MAX, "rest", "more");
	assert_true(parsed.ran);
}

static void help_is_not_an_error(void **state)
{
	(void)state;
	TRY("--help");
	assert_false(parsed.ran);
	assert_int_equal(parsed.status, EXIT_GOOD);
	assert_string_equal(parsed.err, "");
	assert_string_equal(parsed.out, USAGE "\nTries.\n\nOptions:\n"
					      "  --dir DIR             may repeat\n"
					      "  --value V             the last one counts\n"
					      "  --colour C            one of three\n"
					      "  --number N            not zero by itself\n"
					      "  --flag                on\n"
					      "  --help                print this and exit\n");
	TRY("-h");
	assert_int_equal(parsed.status, EXIT_GOOD);
}

static void two_dashes_end_the_options(void **state)
{
	(void)state;
	TRY("--flag", "--", "--dir");
	assert_string_equal(parsed.arguments[0], "--dir");
	assert_null(parsed.list[0]);
}

static void commands_by_name(void **state)
{
	(void)state;
	SOCKPOL("--version");
	assert_string_equal(parsed.out, "sockpol " SOCKPOL_VERSION "\n");
	SOCKPOL("--help");
	assert_int_equal(parsed.status, EXIT_GOOD);
	assert_non_null(strstr(parsed.out, "\n  try        tries\n  retry      tries again\n"));
	SOCKPOL("rety");
	assert_usage("sockpol: there is no command 'rety'; did you mean 'retry'?\n");
	SOCKPOL("nonsense");
	assert_usage("sockpol: there is no command 'nonsense'; sockpol --help lists them\n");
	run(0, 1, (char **)(const char *[]){ "sockpol", NULL });
	assert_int_equal(parsed.status, EXIT_USAGE);
	assert_string_equal(parsed.out, "");
	assert_non_null(strstr(parsed.err, "Commands:\n"));
}

/* Each field lies in its command's struct, and has a reader in cli.c. */
static void commands_of_sockpol(void **state)
{
	const struct command *const all[] = { COMMANDS(COMMAND_POINTER) };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(all); i++) {
		const struct command *c = all[i];

		assert_true(c->summary && c->description && c->run);
		assert_true(c->n_options <= CLI_NAMES_MAX);
		assert_int_equal(strncmp(c->synopsis, c->name, strlen(c->name)), 0);
		for (size_t o = 0; o < c->n_options; o++) {
			const struct cli_option *option = &c->options[o];

			assert_true(option->field < c->size);
			assert_int_equal(!option->argument, option->type == CLI_TYPE_FLAG);
			assert_int_equal(!option->words, option->type != CLI_TYPE_WORD);
			for (size_t before = 0; before < o; before++) {
				assert_string_not_equal(option->name, c->options[before].name);
				assert_int_not_equal(option->field, c->options[before].field);
			}
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(options_and_arguments),
		cmocka_unit_test(nothing_given),
		cmocka_unit_test(abbreviations),
		cmocka_unit_test(usage_errors),
		cmocka_unit_test(misspelt_options),
		cmocka_unit_test(numbers),
		cmocka_unit_test(words),
		cmocka_unit_test(too_many_arguments),
		cmocka_unit_test(help_is_not_an_error),
		cmocka_unit_test(two_dashes_end_the_options),
		cmocka_unit_test(commands_by_name),
		cmocka_unit_test(commands_of_sockpol),
	};
	int failed = cmocka_run_group_tests(tests, NULL, NULL);

	free(parsed.out);
	free(parsed.err);
	return failed;
}
