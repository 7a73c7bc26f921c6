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

/* Contents that differ in one bit, in their length alone, or only in order. */
static void test_large(void **state)
{
	unsigned char a[40] = { 1, 2, 3 }, b[40] = { 1, 2, 3 };

	(void)state;
	for (size_t n = 0; n <= sizeof(a); n++) {
		assert_true(digest_large(DIGEST_START, a, n) == digest_large(DIGEST_START, b, n));
		for (size_t other = 0; other < n; other++) {
			assert_true(digest_large(DIGEST_START, a, n) !=
				    digest_large(DIGEST_START, a, other));
			b[other] ^= 0x80;
			assert_true(digest_large(DIGEST_START, a, n) !=
				    digest_large(DIGEST_START, b, n));
			b[other] ^= 0x80;
		}
	}
	assert_true(digest_large(digest_large(DIGEST_START, "a", 1), "b", 1) !=
		    digest_large(digest_large(DIGEST_START, "b", 1), "a", 1));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_large),
		cmocka_unit_test(known_answers),
		cmocka_unit_test(numbers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
