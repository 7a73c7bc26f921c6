// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/diag.h"
#include "base/utf8.h"

/* What is printed of `d`; owned by the caller. */
static char *printed(const struct diags *d)
{
	char *text = NULL;
	size_t size;
	FILE *f = open_memstream(&text, &size);

	assert_non_null(f);
	diags_print(d, f);
	fclose(f);
	return text;
}

static void test_print(void **state)
{
	struct diags d = { 0 };
	char *text;

	(void)state;
	diag_error(&d, (&(struct position){ "a.yaml", 3, 5 }), "wrong: %s", "x");
	diag_warning(&d, (&(struct position){ "a.yaml", 0, 0 }), "odd");
	text = printed(&d);
	assert_string_equal(text, "a.yaml:3:5: error: wrong: x\na.yaml: warning: odd\n");
	assert_int_equal(d.n_errors, 1);
	assert_int_equal(d.n_warnings, 1);
	free(text);
	diags_clear(&d);
	assert_int_equal(d.n, 0);
}

/* Every limit around the ends of lines and in the middle of characters. */
static void test_text(void **state)
{
	static const char line[] = "\303\244\303\266.yaml: error: \342\202\254\342\202\254\n",
			  more[] = "... (the rest is in the agent's log)\n";
	const size_t n_lines = 9, all = n_lines * strlen(line);
	struct diags d = { 0 };

	(void)state;
	for (size_t i = 0; i < n_lines; i++)
		diag_error(&d, (&(struct position){ .file = "\303\244\303\266.yaml" }),
			   "\342\202\254\342\202\254");
	for (size_t max = strlen(more); max <= all + 2; max++) {
		char *text = diags_text(&d, max);
		size_t n = strlen(text), kept = n / strlen(line);

		assert_true(n <= max);
		if (max >= all) {
			assert_int_equal(n, all);
		} else { /* as many whole lines as there is room for */
			kept = (n - strlen(more)) / strlen(line);
			assert_int_equal(kept, (max - strlen(more)) / strlen(line));
			assert_string_equal(text + kept * strlen(line), more);
		}
		for (size_t i = 0; i < kept; i++)
			assert_memory_equal(text + i * strlen(line), line, strlen(line));
		free(text);
	}
	diags_clear(&d);
}

static void test_sort(void **state)
{
	struct diags d = { 0 };
	char *text;

	(void)state;
	diag_error(&d, (&(struct position){ "z", 2, 9 }), "z2");
	diag_error(&d, (&(struct position){ "a", 1, 10 }), "a1b");
	diag_error(&d, (&(struct position){ "z", 2, 9 }), "z2 later");
	diag_error(&d, (&(struct position){ "a", 1, 9 }), "a1a");
	diag_error(&d, (&(struct position){ "z", 0, 0 }), "z");
	diags_sort(&d);
	text = printed(&d);
	/* z comes first because it was first spoken of */
	assert_string_equal(text, "z: error: z\nz:2:9: error: z2\nz:2:9: error: z2 later\n"
				  "a:1:9: error: a1a\na:1:10: error: a1b\n");
	free(text);
	diags_clear(&d);
}

/* So many that nobody reads them all: the head, and how many more there are. */
static void test_flood(void **state)
{
	struct diags d = { 0 };
	_cleanup_free_ char *text = NULL;
	char *tail;

	(void)state;
	diag_error(&d, (&(struct position){ "a", 1, 1 }), "first");
	for (unsigned i = 1; i < DIAGS_KEPT_MAX + 2; i++)
		diag_error(&d, (&(struct position){ "b", i, 1 }), "wrong");
	for (unsigned i = 1; i < DIAGS_KEPT_MAX + 5; i++)
		diag_warning(&d, (&(struct position){ "b", i, 1 }), "odd");
	diag_error(&d, (&(struct position){ "c", 1, 1 }), "last");
	diags_sort(&d);
	assert_int_equal(d.n, 2 * DIAGS_KEPT_MAX + 2);
	assert_int_equal(d.n_errors, DIAGS_KEPT_MAX + 3);
	assert_int_equal(d.n_warnings, DIAGS_KEPT_MAX + 4);
	text = printed(&d);
	tail = strstr(text, "b:1000:1: warning: odd\n");
	assert_non_null(tail);
	assert_string_equal(tail, "b:1000:1: warning: odd\nb: error: 1 more error\n"
				  "b: warning: 4 more warnings\nc:1:1: error: last\n");
	assert_null(strstr(text, "a: error: "));
	assert_false(diags_may_suggest(&d));
	diags_clear(&d);
	assert_true(diags_may_suggest(&d));
}

/* What an alias repeats takes no room from what is wrong besides. */
static void test_flood_of_one(void **state)
{
	struct diags d = { 0 };

	(void)state;
	for (unsigned i = 0; i < 5 * DIAGS_KEPT_MAX; i++)
		diag_error(&d, (&(struct position){ "a", 1, 1 }), "same");
	diag_error(&d, (&(struct position){ "a", 2, 1 }), "other");
	diags_sort(&d);
	assert_int_equal(d.n, 2);
	assert_int_equal(d.n_errors, 2);
	assert_int_equal(d.files[0].more[DIAG_ERROR], 0);
	diags_clear(&d);
}

static void test_sort_drops_repeated(void **state)
{
	struct position at = { "a", 1, 1 };
	struct diags d = { 0 };

	(void)state;
	for (int i = 0; i < 9; i++) {
		diag_error(&d, &at, "same");
		diag_warning(&d, &at, "same");
	}
	diags_sort(&d);
	/* errors and warnings alternate, so nothing repeats its neighbour */
	assert_int_equal(d.n, 18);
	diags_clear(&d);

	for (int i = 0; i < 9; i++)
		diag_error(&d, &at, "same");
	diag_error(&d, &at, "other");
	diags_sort(&d);
	assert_int_equal(d.n, 2);
	assert_int_equal(d.n_errors, 2);
	for (int i = 0; i < 100; i++) /* and there is still room for more */
		diag_warning(&d, &at, "number %d", i);
	assert_int_equal(d.n, 102);
	assert_int_equal(d.n_warnings, 100);
	assert_string_equal(d.v[101].message, "number 99");
	diags_clear(&d);
}

static void message_one(const char *input, const char *expected)
{
	struct diags d = { 0 };

	diag_error(&d, (&(struct position){ input, 1, 1 }), "%s", input);
	assert_string_equal(d.v[0].message, expected);
	assert_string_equal(d.v[0].file, expected);
	diags_clear(&d);
}

static void test_escape(void **state)
{
	(void)state;
	message_one("", "");
	message_one("plain 'text' %s %n", "plain 'text' %s %n");
	message_one("M\303\274ller", "M\303\274ller");
	message_one("\033[31mred", "\\x1b[31mred");
	message_one("two\nlines\r\x7f", "two\\x0alines\\x0d\\x7f");
	message_one("\377\303", "\\xff\\xc3");	 /* not UTF-8 */
	message_one("\302\233m", "\\xc2\\x9bm"); /* U+009B, an escape sequence's start */
	/* U+202E turns the line around, U+202C ends that */
	message_one("a\342\200\256b\342\200\254", "a\\xe2\\x80\\xaeb\\xe2\\x80\\xac");
}

static void utf8_one(const char *bytes, size_t n, int length, uint32_t expected)
{
	uint32_t c = 0;

	assert_int_equal(utf8_decode(bytes, n, &c), length);
	assert_int_equal(c, expected);
}

static void test_utf8(void **state)
{
	(void)state;
	utf8_one("a", 1, 1, 'a');
	utf8_one("\0", 1, 1, 0);
	utf8_one("\303\274x", 3, 2, 0xfc);
	utf8_one("\342\202\254", 3, 3, 0x20ac);
	utf8_one("\360\237\230\200", 4, 4, 0x1f600);
	utf8_one("\364\217\277\277", 4, 4, 0x10ffff);
	utf8_one("\303\274", 1, -EINVAL, 0); /* the rest is not ours to read */
	utf8_one("\360\237\230\200", 3, -EINVAL, 0);
	utf8_one("\300\257", 2, -EINVAL, 0);	     /* overlong */
	utf8_one("\340\200\257", 3, -EINVAL, 0);     /* overlong */
	utf8_one("\355\240\200", 3, -EINVAL, 0);     /* a surrogate */
	utf8_one("\364\220\200\200", 4, -EINVAL, 0); /* U+110000 */
	utf8_one("\274", 1, -EINVAL, 0);
	utf8_one("\377", 1, -EINVAL, 0);
	utf8_one("\303(", 2, -EINVAL, 0);
}

static void test_long_message(void **state)
{
	size_t length = 1 << 20;
	char *text = malloc(length + 1);
	struct diags d = { 0 };

	(void)state;
	assert_non_null(text);
	memset(text, 'x', length);
	text[length] = '\0';
	diag_error(&d, (&(struct position){ "a", 1, 1 }), "%s", text);
	assert_int_equal(strlen(d.v[0].message), 1500 + strlen("..."));
	assert_string_equal(d.v[0].message + strlen(d.v[0].message) - 4, "x...");
	diags_clear(&d);
	free(text);
}

static void excerpt_one(const char *text, size_t length, bool shortened)
{
	const char *e = EXCERPT(text);

	assert_int_equal(strlen(e), length);
	assert_int_equal(strstr(e, "...") != NULL, shortened);
}

static void test_excerpt(void **state)
{
	char text[200];

	(void)state;
	excerpt_one("", 0, false);
	excerpt_one("name", 4, false);
	memset(text, 'x', sizeof(text));
	text[EXCERPT_SIZE - 1] = '\0';
	excerpt_one(text, EXCERPT_SIZE - 1, false);
	text[EXCERPT_SIZE - 1] = 'x';
	text[EXCERPT_SIZE] = '\0';
	excerpt_one(text, EXCERPT_SIZE - 1, true);
	memset(text, 'x', 150);
	text[150] = '\0';
	memcpy(text + 75, "\303\274\303\274\303\274", 6); /* the cut would be amid the second */
	excerpt_one(text, EXCERPT_SIZE - 1, true);
	memmove(text + 76, text + 75, 6);
	text[75] = 'x';
	excerpt_one(text, EXCERPT_SIZE - 2, true);
}

static void test_duplicates(void **state)
{
	const struct position at[] = { { "a", 1, 1 }, { "a", 2, 1 }, { "a", 3, 1 }, { "b", 1, 9 } };
	struct unique_name names[] = {
		{ "x", &at[0], 0 }, { "y", &at[1], 1 }, { "x", &at[2], 2 }, { "x", &at[3], 3 }
	};
	struct diags d = { 0 };
	char *text;

	(void)state;
	duplicates_report(names, ARRAY_SIZE(names), "name", &d);
	text = diags_text(&d, 1000);
	assert_non_null(text);
	assert_string_equal(text, "a:3:1: error: duplicate name 'x', first at a:1:1\n"
				  "b:1:9: error: duplicate name 'x', first at a:1:1\n");
	free(text);
	diags_clear(&d);
	duplicates_report(names, 0, "name", &d);
	assert_int_equal(d.n, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_print),	     cmocka_unit_test(test_text),
		cmocka_unit_test(test_sort),	     cmocka_unit_test(test_sort_drops_repeated),
		cmocka_unit_test(test_escape),	     cmocka_unit_test(test_utf8),
		cmocka_unit_test(test_long_message), cmocka_unit_test(test_excerpt),
		cmocka_unit_test(test_flood),	     cmocka_unit_test(test_flood_of_one),
		cmocka_unit_test(test_duplicates),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
