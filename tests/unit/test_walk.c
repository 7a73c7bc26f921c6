// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* What the iterators make of values must be what value_result() says. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "kernel/walk.h"
#include "option/value.h"

static const struct host host = {
	.rmem_max = 212992, .wmem_max = 300000, .tcp_rmem_max = 6291456, .tick_usec = 4000
};

static struct walk_option describe(enum option_id id, const char *fresh)
{
	struct walk_option o;

	walk_option_describe(&option_table[id], &host, fresh, &o);
	return o;
}

static void test_made_of(void **state)
{
	static const int64_t values[] = { 0,
					  1,
					  2,
					  3,
					  88,
					  1000,
					  1151,
					  1152,
					  2304,
					  4608,
					  8000,
					  20000,
					  106496,
					  212992,
					  212993,
					  300001,
					  3145728,
					  3145729,
					  INT32_MAX - 1,
					  INT32_MAX };

	(void)state;
	for (enum option_id id = 0; id < OPTION_MAX; id++) {
		const struct option *o = &option_table[id];
		struct walk_option walk = describe(id, "7");

		for (size_t i = 0; i < ARRAY_SIZE(values) && o->type != OPTION_STRING; i++) {
			struct sockopt value = { .level = o->level, .name = o->optname };
			struct value_result result = { 0 };

			if (values[i] < o->min || values[i] > o->max)
				continue;
			assert_int_equal(sockopt_setint(&value, (int)values[i]), 0);
			assert_int_equal(value_result(o, &value, &host, &result), 0);
			if (result.shown >= 0 && !result.refused)
				assert_int_equal(walk_made_of(&walk, (uint32_t)values[i]),
						 result.shown);
			free(result.text);
		}
	}
}

/* By hidden options the text is all that value_result() says. */
static void test_hidden(void **state)
{
	struct walk_option rto = describe(OPTION_TCP_BPF_RTO_MIN, NULL);
	struct walk_option clamp = describe(OPTION_TCP_WINDOW_CLAMP, NULL);

	(void)state;
	assert_int_equal(rto.seen, WALK_SEEN_RTO_MIN);
	assert_int_equal(walk_made_of(&rto, 20000), 5);
	assert_int_equal(walk_made_of(&rto, 20001), 6);
	assert_int_equal(walk_made_from(&rto, 5), 20000);
	assert_int_equal(walk_made_of(&clamp, 100), 1152);
	assert_int_equal(describe(OPTION_TCP_BPF_IW, NULL).seen, WALK_SEEN_NEVER);
	assert_int_equal(describe(OPTION_TCP_CONGESTION, NULL).seen, WALK_SEEN_TEXT);
}

static void test_fresh(void **state)
{
	struct walk_option o;

	(void)state;
	o = describe(OPTION_TCP_KEEPIDLE, "7200");
	assert_int_equal(o.fresh_kind, WALK_FRESH_NUMBER);
	assert_int_equal(o.fresh, 7200);
	o = describe(OPTION_TCP_KEEPIDLE, NULL); /* nobody knows it */
	assert_int_equal(o.fresh_kind, WALK_FRESH_NEVER);
	o = describe(OPTION_TCP_KEEPIDLE, "nonsense");
	assert_int_equal(o.fresh_kind, WALK_FRESH_NEVER);
	o = describe(OPTION_TCP_CONGESTION, "cubic");
	assert_int_equal(o.fresh_kind, WALK_FRESH_TEXT);
	assert_string_equal(o.fresh_text, "cubic");
	assert_int_equal(o.optlen, 6);
	o = describe(OPTION_SO_MAX_PACING_RATE, NULL);
	assert_int_equal(o.fresh, UINT32_MAX);
	o = describe(OPTION_SO_SNDBUF, NULL);
	assert_int_equal(o.fresh_kind, WALK_FRESH_NEVER);
	o = describe(OPTION_IPV6_AUTOFLOWLABEL, "2"); /* off, unless a socket asks for it */
	assert_int_equal(o.fresh, 0);
	o = describe(OPTION_SO_TXREHASH, "1"); /* -1 is the host's */
	assert_int_equal(walk_made_of(&o, UINT32_MAX), 1);
}

static void test_late(void **state)
{
	static const enum option_id on_listeners[] = { OPTION_SO_REUSEADDR, OPTION_SO_REUSEPORT,
						       OPTION_TCP_BPF_IW };

	(void)state;
	for (enum option_id id = 0; id < OPTION_MAX; id++) {
		struct walk_option o = describe(id, NULL);
		bool late = false;

		for (size_t i = 0; i < ARRAY_SIZE(on_listeners); i++)
			late |= on_listeners[i] == id;
		if (option_table[id].level == SP_LEVEL_REPLY) /* no socket has it */
			continue;
		assert_int_equal(!!(o.late & WALK_LATE_CONNECTION),
				 option_is_too_late(&option_table[id]));
		assert_int_equal(!!(o.late & WALK_LATE_LISTENER), late);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_made_of),
		cmocka_unit_test(test_hidden),
		cmocka_unit_test(test_fresh),
		cmocka_unit_test(test_late),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
