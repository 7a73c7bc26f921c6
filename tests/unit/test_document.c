// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "report/document.h"

static void test_texts(void **state)
{
	static const struct {
		enum option_id option;
		const char *value; /* NULL: a range alone */
		enum application application;
		struct value_range range;
		const char *last_word, *range_text, *all;
	} cases[] = {
		{ OPTION_TCP_NODELAY, "on", APPLICATION_OVERRIDE, { 0 }, "override", "", "on" },
		{ OPTION_TCP_NODELAY, "on", APPLICATION_HOLD, { 0 }, "hold", "", "on (hold)" },
		{ OPTION_TCP_NODELAY, "unset", APPLICATION_OVERRIDE, { 0 }, "", "", "unset" },
		{ OPTION_NEEDS_ECN, "on", APPLICATION_OVERRIDE, { 0 }, "", "", "on" },
		{ OPTION_SO_SNDBUF,
		  NULL,
		  APPLICATION_OVERRIDE,
		  { true, 65536, 4 << 20 },
		  "range",
		  "64K to 4M",
		  "64K to 4M" },
		{ OPTION_SO_SNDBUF,
		  NULL,
		  APPLICATION_RESPECT,
		  { true, 65536, UINT32_MAX },
		  "respect",
		  "at least 64K",
		  "at least 64K (respect)" },
		{ OPTION_TCP_USER_TIMEOUT,
		  "20s",
		  APPLICATION_OVERRIDE,
		  { true, 0, 30000 },
		  "range",
		  "at most 30s",
		  "20s (at most 30s)" },
		{ OPTION_TCP_USER_TIMEOUT,
		  "20s",
		  APPLICATION_RESPECT,
		  { true, 1000, 30000 },
		  "respect",
		  "1s to 30s",
		  "20s (respect, 1s to 30s)" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		const bool unset = cases[i].value && streq(cases[i].value, "unset");
		json_t *said = document_add_word(json_pack("{s:s?}", "value", cases[i].value),
						 &option_table[cases[i].option], unset,
						 cases[i].application, cases[i].range);
		char text[DOCUMENT_VALUE_SIZE];

		assert_non_null(said);
		assert_int_equal(document_is_unset(said), unset);
		assert_string_equal(document_last_word(said), cases[i].last_word);
		assert_string_equal(document_range(said, text), cases[i].range_text);
		assert_string_equal(document_value(said, text),
				    cases[i].value ? cases[i].value : cases[i].range_text);
		assert_string_equal(document_value_and_word(said, text), cases[i].all);
		json_decref(said);
	}
}

int main(void)
{
	static const struct CMUnitTest tests[] = { cmocka_unit_test(test_texts) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
