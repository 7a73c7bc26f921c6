// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Prometheus' text format: what has to be escaped, and how. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/exposition.h"

static char *text;
static size_t n;

static FILE *begin(void)
{
	FILE *to = open_memstream(&text, &n);

	assert_non_null(to);
	return to;
}

static void end(FILE *to, const char *expected)
{
	assert_int_equal(fclose(to), 0);
	assert_string_equal(text, expected);
	free(text);
}

static void name_one(const char *value, const char *expected)
{
	const struct exposition_label labels[EXPOSITION_LABELS_MAX] = { { "l", value } };
	_cleanup_free_ char *line = NULL;
	FILE *to = begin();

	assert_true(asprintf(&line, "m{l=\"%s\"} 1\n", expected) > 0);
	exposition_sample(to, "m", labels, 1);
	end(to, line);
}

static void test_label(void **state)
{
	(void)state;
	name_one("", "");
	name_one("web", "web");
	name_one("a\"b", "a\\\"b");
	name_one("a\\b", "a\\\\b");
	name_one("a\nb", "a\\nb");
	name_one("\\\"\n", "\\\\\\\"\\n");
	name_one("{},= #", "{},= #");
	name_one("M\xc3\xbcnchen", "M\xc3\xbcnchen");
	name_one("\t", "\t");
	/* Not UTF-8, and what stands for it. */
	name_one("a\xff", "a\\\\xff");
	name_one("\xc3", "\\\\xc3");
}

static void test_labels(void **state)
{
	const struct exposition_label all[EXPOSITION_LABELS_MAX] = {
		{ "a", "1" }, { "b", "2" }, { "c", "3" }, { "d", "4" }
	};
	FILE *to = begin();

	(void)state;
	exposition_sample(to, "m", NULL, 0);
	exposition_sample(to, "m", all, UINT64_MAX);
	end(to, "m 0\nm{a=\"1\",b=\"2\",c=\"3\",d=\"4\"} 18446744073709551615\n");
}

static void test_family(void **state)
{
	FILE *to = begin();

	(void)state;
	exposition_family(to, "m", "gauge", "A \"text\" with \\ and\nlines.");
	end(to, "# HELP m A \"text\" with \\\\ and\\nlines.\n# TYPE m gauge\n");
}

static void test_time(void **state)
{
	FILE *to = begin();

	(void)state;
	exposition_time(to, "t_seconds", 0);
	exposition_time(to, "t_seconds", 1700000000000042);
	end(to, "t_seconds 0.000000\nt_seconds 1700000000.000042\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_label),
		cmocka_unit_test(test_labels),
		cmocka_unit_test(test_family),
		cmocka_unit_test(test_time),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
