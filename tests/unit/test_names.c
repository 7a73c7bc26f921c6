// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/names.h"
#include "base/util.h"

static void suggest_one(const char *word, const char *expected)
{
	static const char *const names[] = { "name",	"match",     "options",	    "rules",
					     "SO_MARK", "SO_SNDBUF", "SO_KEEPALIVE" };
	const char *got = suggest(word, names, ARRAY_SIZE(names));

	if (!got && !expected)
		return;
	if (!got || !expected || strcmp(got, expected) != 0)
		fail_msg("'%s': suggested %s, expected %s", word, got ? got : "nothing",
			 expected ? expected : "nothing");
}

static void test_suggest(void **state)
{
	char longest[300];

	(void)state;
	suggest_one("nmae", "name");	   /* transposed */
	suggest_one("nam", "name");	   /* missing */
	suggest_one("naame", "name");	   /* doubled */
	suggest_one("mame", "name");	   /* wrong */
	suggest_one("so_mark", "SO_MARK"); /* case */
	suggest_one("SO_KEPPALIVE", "SO_KEEPALIVE");
	suggest_one("KEEPALIVE", "SO_KEEPALIVE");
	suggest_one("optoins", "options");
	suggest_one("", NULL);
	suggest_one("x", NULL);
	suggest_one("description", NULL);
	suggest_one("TCP_CORK", NULL);
	memset(longest, 'o', sizeof(longest));
	longest[sizeof(longest) - 1] = '\0';
	suggest_one(longest, NULL);
	assert_null(suggest("name", NULL, 0));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_suggest),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
