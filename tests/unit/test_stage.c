// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* At which stages a block may hold, and its options are due. */
#include "policy/stage.h"
#include "policy_fixture.h"

#define LISTEN BIT(DIRECTION_LISTEN)

static void test_settings(void **state)
{
	static const struct fixture_policy policy = {
		"p", .rules = { { "any" }, { "ear", LISTEN }, { "out", BIT(DIRECTION_CONNECT) } }
	};
	struct config *c = fixture_config(&policy, 1);
	const struct rule *any = &c->policies[0].rules[0], *ear = any + 1, *out = any + 2;
	static const struct option *const nodelay = &option_table[OPTION_TCP_NODELAY],
					  *const mark = &option_table[OPTION_SO_MARK],
					  *const reuse = &option_table[OPTION_SO_REUSEPORT];

	(void)state;
	/* A listener gets what it is said to get, and what only it can carry. */
	assert_int_equal(stage_settings(NULL, nodelay, DIRECTION_LISTEN), 0);
	assert_int_equal(stage_settings(any, nodelay, DIRECTION_LISTEN), 0);
	assert_int_equal(stage_settings(ear, nodelay, DIRECTION_LISTEN), BIT(SP_STAGE_TCP_LISTEN));
	assert_int_equal(stage_settings(NULL, mark, DIRECTION_LISTEN),
			 BIT(SP_STAGE_TCP_LISTEN) | BIT(SP_STAGE_UDP_BIND));

	assert_int_equal(stage_settings(out, nodelay, DIRECTION_CONNECT),
			 BIT(SP_STAGE_TCP_CONNECT));
	assert_int_equal(stage_settings(NULL, reuse, DIRECTION_CONNECT), 0);
	assert_true(stage_setting_due(out, nodelay, DIRECTION_CONNECT, SP_STAGE_TCP_CONNECT));
	assert_true(stage_setting_due(out, nodelay, DIRECTION_CONNECT, SP_STAGE_TCP_SYN));
	assert_false(stage_setting_due(out, nodelay, DIRECTION_CONNECT, SP_STAGE_TCP_ACTIVE_EST));
	config_free(c);
}

static void test_rules(void **state)
{
	static const struct fixture_policy policy = {
		"p",
		.rules = { { "ear", LISTEN },
			   { "net", .remote = { "10.0.0.0/8" } },
			   { "own", .local_port = { { 80 } } },
			   { "unix", .families = BIT(SP_FAMILY_INDEX_UNIX) } },
	};
	/* may hold there, and depends on the connection: '+', '?' if it does */
	static const struct {
		enum sp_stage stage;
		const char *base, *ear, *net, *own, *af_unix;
	} cases[] = {
		{ SP_STAGE_TCP_BIND, "+", "+", "", "?", "" },
		{ SP_STAGE_TCP_CONNECT, "+", "", "?", "", "" },
		{ SP_STAGE_TCP_SYN, "+", "", "?", "?", "" },
		{ SP_STAGE_TCP_PASSIVE_EST, "+", "", "?", "?", "" },
		{ SP_STAGE_TCP_LISTEN, "+", "+", "", "?", "" },
		{ SP_STAGE_UDP_CONNECT, "+", "", "?", "?", "" },
		{ SP_STAGE_UDP_SEND, "+", "", "", "", "" },
		{ SP_STAGE_UNIX_SEND, "", "", "", "", "+" },
		{ SP_STAGE_REPLY_PASSIVE, "+", "", "?", "?", "" },
	};
	struct config *c = fixture_config(&policy, 1);
	const struct rule *rules = c->policies[0].rules;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		const struct {
			const struct rule *rule;
			const char *expected;
		} blocks[] = {
			{ NULL, cases[i].base },	 { &rules[0], cases[i].ear },
			{ &rules[1], cases[i].net },	 { &rules[2], cases[i].own },
			{ &rules[3], cases[i].af_unix },
		};

		for (size_t k = 0; k < ARRAY_SIZE(blocks); k++) {
			const struct rule *r = blocks[k].rule;
			const char *is = "";

			if (stage_rule_may_hold(r, cases[i].stage))
				is = stage_rule_depends(r, cases[i].stage) ? "?" : "+";
			if (!streq(is, blocks[k].expected))
				fail_msg("%s, %s: '%s', not '%s'", stage_name(cases[i].stage),
					 r ? r->name : "base", is, blocks[k].expected);
		}
	}
	config_free(c);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_settings),
		cmocka_unit_test(test_rules),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
