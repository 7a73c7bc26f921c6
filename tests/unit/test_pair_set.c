// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/pair_set.h"

static void what_was_added_is_there(void **state)
{
	struct pair_set s = { 0 };

	(void)state;
	assert_false(pair_set_has(&s, 1, 2));
	assert_int_equal(pair_set_add(&s, 1, 2), 1);
	assert_int_equal(pair_set_add(&s, 1, 2), 0);
	assert_int_equal(pair_set_add(&s, 0, UINT32_MAX), 1);
	assert_true(pair_set_has(&s, 1, 2));
	assert_true(pair_set_has(&s, 0, UINT32_MAX));
	assert_false(pair_set_has(&s, 2, 1));
	assert_false(pair_set_has(&s, UINT32_MAX, 0));
	assert_int_equal(s.n, 2);
	pair_set_clear(&s);
	assert_false(pair_set_has(&s, 1, 2));
	assert_int_equal(pair_set_add(&s, 1, 2), 1);
	pair_set_clear(&s);
}

/* Pairs that lie together, as numbers that count up do, through many times growing. */
static void many(void **state)
{
	struct pair_set s = { 0 };

	(void)state;
	for (uint32_t a = 0; a < 300; a++)
		for (uint32_t b = 1; b <= 300; b++)
			assert_int_equal(pair_set_add(&s, a, b), 1);
	assert_int_equal(s.n, 300 * 300);
	assert_true(s.n_slots <= 4 * s.n);
	for (uint32_t a = 0; a < 310; a++)
		for (uint32_t b = 1; b <= 310; b++)
			assert_int_equal(pair_set_has(&s, a, b), a < 300 && b <= 300);
	pair_set_clear(&s);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_was_added_is_there),
		cmocka_unit_test(many),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
