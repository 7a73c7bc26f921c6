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
	/* A listener gets what rules name, and of a base what only it can carry. */
	assert_int_equal(stage_settings(NULL, nodelay, DIRECTION_LISTEN), 0);
	assert_int_equal(stage_settings(any, nodelay, DIRECTION_LISTEN), BIT(SP_STAGE_TCP_LISTEN));
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

/* Where a block may hold: '+'; '?' where that depends on the connection; at socket(2) 'o', or '!'
 * if it depends on the family, where a later stage decides; ' ' elsewhere. */
static char holds_at(const struct rule *r, enum sp_stage s)
{
	if (!stage_rule_may_hold(r, s))
		return ' ';
	if (stage_rule_is_open(r, s))
		return stage_rule_depends(r, s) ? '!' : 'o';
	return stage_rule_depends(r, s) ? '?' : '+';
}

static void test_rules(void **state)
{
	static const struct fixture_policy policy = {
		"p",
		.rules = { { "ear", LISTEN },
			   { "net", .remote = { "10.0.0.0/8" } },
			   { "own", .local_port = { { 80 } } },
			   { "unix", .families = BIT(SP_FAMILY_INDEX_UNIX) },
			   { "udp", .protocols = BIT(PROTOCOL_UDP) },
			   { "six", .families = BIT(SP_FAMILY_INDEX_IPV6) },
			   { "accepted", BIT(DIRECTION_ACCEPT) },
			   { "net6", .families = BIT(SP_FAMILY_INDEX_IPV6), .remote = { "::/0" } },
			   /* an IPv6 socket may have an IPv4 peer */
			   { "net4", .families = BIT(SP_FAMILY_INDEX_IPV4),
			     .remote = { "0.0.0.0/0" } },
			   /* a listener has no peer, and accept(2) is not for what socket(2) made
			    */
			   { "passive", LISTEN | BIT(DIRECTION_ACCEPT), .remote = { "::/0" } },
			   /* no IPv4 socket has such a peer */
			   { "far6", .remote = { "fd00::/8" } } },
	};
	static const struct {
		enum sp_stage stage;
		const char *expected; /* the base and the rules, in their order */
	} cases[] = {
		{ SP_STAGE_TCP_BIND, "++ ? "
				     " ?     " },
		{ SP_STAGE_TCP_CONNECT, "+ ?  "
					" ? ?? ?" },
		{ SP_STAGE_TCP_SYN, "+ ?? "
				    " ? ?? ?" },
		{ SP_STAGE_TCP_PASSIVE_EST, "+ ?? "
					    " ?+????" },
		{ SP_STAGE_TCP_LISTEN, "++ ? "
				       " ?     " },
		{ SP_STAGE_UDP_CONNECT, "+ ?? "
					"+? ?? ?" },
		{ SP_STAGE_UDP_SEND, "+    "
				     "+?     " },
		{ SP_STAGE_UNIX, "    +"
				 "       " },
		{ SP_STAGE_LOCAL_SOCKET, "     "
					 "       " },
		{ SP_STAGE_REPLY_PASSIVE, "+ ?? "
					  " ?+????" },
		{ SP_STAGE_TCP_SOCKET, "+ooo "
				       " ? !o !" },
		{ SP_STAGE_UDP_SOCKET, "+ooo "
				       "+? !o !" },
		{ SP_STAGE_OTHER_SOCKET, "+    "
					 " ?     " },
	};
	struct config *c = fixture_config(&policy, 1);
	const struct policy *p = &c->policies[0];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		char seen[FIXTURE_RULES + 2] = { holds_at(NULL, cases[i].stage) };

		for (size_t k = 0; k < p->n_rules; k++)
			seen[1 + k] = holds_at(&p->rules[k], cases[i].stage);
		if (!streq(seen, cases[i].expected))
			fail_msg("%s: '%s', not '%s'", stage_name(cases[i].stage), seen,
				 cases[i].expected);
	}
	config_free(c);
}

/* What socket(2) brings: options that are members of a new socket, if no rule leaves them open. */
static void test_given_at_socket(void **state)
{
	static const struct fixture_policy policies[] = {
		{ "base", .base = { { OPTION_SO_MARK, 1 } } },
		{ "other", .base = { { OPTION_SO_SNDBUF, 1 } } },
		{ "left alone", .base = { { OPTION_SO_MARK, UNSET } } },
		{ "rule", .rules = { { "udp",
				       0,
				       { { OPTION_SO_PRIORITY, 1 } },
				       .protocols = BIT(PROTOCOL_UDP) } } },
		{ "open", .rules = { { "ear", LISTEN, { { OPTION_SO_PRIORITY, 1 } } } } },
		{ "unix", .rules = { { "unix",
				       0,
				       { { OPTION_SO_PRIORITY, 1 } },
				       .families = BIT(SP_FAMILY_INDEX_UNIX) } } },
	};
	static const bool expected[] = { true, false, false, true, false, false };
	struct config *c = fixture_config(policies, ARRAY_SIZE(policies));
	static const struct option *const mark = &option_table[OPTION_SO_MARK];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(policies); i++)
		assert_int_equal(stage_policy_gives_at_socket(&c->policies[i]), expected[i]);
	for (int s = SP_STAGE_TCP_SOCKET; s <= SP_STAGE_OTHER_SOCKET; s++) {
		assert_true(stage_setting_due(NULL, mark, DIRECTION_CONNECT, (enum sp_stage)s));
		assert_false(stage_setting_due(NULL, &option_table[OPTION_SO_SNDBUF],
					       DIRECTION_CONNECT, (enum sp_stage)s));
		/* It is no stage of a direction. */
		for (int d = 0; d < DIRECTION_MAX; d++)
			assert_false(stage_settings(NULL, mark, (enum direction)d) & BIT(s));
	}
	config_free(c);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_settings),
		cmocka_unit_test(test_rules),
		cmocka_unit_test(test_given_at_socket),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
