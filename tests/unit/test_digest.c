// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/digest.h"

/* The vectors that the authors of FNV give. */
static void known_answers(void **state)
{
	static const struct {
		const char *text;
		uint32_t digest;
	} cases[] = {
		{ "", 0x811c9dc5 },
		{ "a", 0xe40c292c },
		{ "b", 0xe70c2de5 },
		{ "foobar", 0xbf9cf968 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		assert_int_equal(digest_bytes(DIGEST_START, cases[i].text, strlen(cases[i].text)),
				 cases[i].digest);
}

static void numbers(void **state)
{
	(void)state;
	assert_int_equal(digest_number(DIGEST_START, 0x6f6f66), /* "foo", low byte first */
			 digest_bytes(DIGEST_START, "foo", 4));
	assert_int_not_equal(digest_number(DIGEST_START, 1), digest_number(DIGEST_START, 256));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(known_answers),
		cmocka_unit_test(numbers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
