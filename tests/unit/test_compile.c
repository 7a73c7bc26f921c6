// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Which operations and credits come to which stage (sockpol.policy(5), the end of "What wins"). */
#include <netinet/in.h>
#include <sys/socket.h>

#include "compile_fixture.h"

static void test_base_options(void **state)
{
	/* Given in another order than the table's, which has IP_TOS before SO_PRIORITY. */
	static const struct fixture_policy policies[] = {
		{ "p",
		  { "/a" },
		  .base = { { OPTION_SO_PRIORITY, 5 },
			    { OPTION_IP_TOS, 8 },
			    { OPTION_TCP_BPF_IW, 20 },
			    { OPTION_TCP_NODELAY, 1 },
			    { OPTION_TCP_MAXSEG, 900 },
			    { OPTION_TCP_SAVE_SYN, 1 },
			    { OPTION_SO_REUSEPORT, 1 },
			    { OPTION_SO_RCVBUF, 4096 } } },
	};
	struct fixture f = fixture_new(policies, ARRAY_SIZE(policies));

	(void)state;
	expect_ops(&f, SP_STAGE_TCP_BIND, "SO_REUSEPORT");
	expect_ops(&f, SP_STAGE_TCP_CONNECT, "SO_RCVBUF TCP_NODELAY TCP_MAXSEG IP_TOS SO_PRIORITY");
	expect_ops(&f, SP_STAGE_TCP_ACTIVE_EST, "TCP_BPF_IW");
	expect_ops(&f, SP_STAGE_TCP_PASSIVE_EST,
		   "SO_RCVBUF TCP_BPF_IW TCP_NODELAY IP_TOS SO_PRIORITY");
	/* a listener: what works only there, or what the SYN-ACK needs */
	expect_ops(&f, SP_STAGE_TCP_LISTEN, "SO_RCVBUF TCP_MAXSEG TCP_SAVE_SYN IP_TOS");
	expect_ops(&f, SP_STAGE_UDP_BIND, "SO_REUSEPORT SO_RCVBUF IP_TOS SO_PRIORITY");
	expect_ops(&f, SP_STAGE_UDP_CONNECT, "SO_RCVBUF IP_TOS SO_PRIORITY");

	/* once a direction and protocol, at the earliest stage; never at bind(2) of TCP */
	expect_credits(&f, SP_STAGE_TCP_BIND, "");
	expect_credits(&f, SP_STAGE_TCP_CONNECT, "p");
	expect_credits(&f, SP_STAGE_TCP_ACTIVE_EST, "");
	expect_credits(&f, SP_STAGE_TCP_PASSIVE_EST, "p");
	expect_credits(&f, SP_STAGE_TCP_LISTEN, "p");
	expect_credits(&f, SP_STAGE_UDP_BIND, "p");
	expect_credits(&f, SP_STAGE_UDP_CONNECT, "p");
	fixture_free(&f);
}

/* Only a rule that names `listen` puts on a listener what is not carried. */
static void test_listener(void **state)
{
	static const struct fixture_policy policies[] = {
		{ "p",
		  { "/a" },
		  .base = { { OPTION_TCP_NODELAY, 1 } },
		  .rules = { { "any", 0, { { OPTION_TCP_KEEPCNT, 3 }, { OPTION_SO_MARK, 1 } } },
			     { "out", CONNECT, { { OPTION_TCP_SYNCNT, 3 } } },
			     { "in", ACCEPT | LISTEN, { { OPTION_SO_KEEPALIVE, 1 } } },
			     { "ear", LISTEN, { { OPTION_TCP_CONGESTION, .text = "reno" } } } } },
	};
	struct fixture f = fixture_new(policies, ARRAY_SIZE(policies));

	(void)state;
	expect_ops(&f, SP_STAGE_TCP_LISTEN, "SO_MARK TCP_CONGESTION SO_KEEPALIVE");
	expect_credits(&f, SP_STAGE_TCP_LISTEN, "p p/any p/ear p/in");
	expect_ops(&f, SP_STAGE_TCP_CONNECT, "SO_MARK TCP_NODELAY TCP_SYNCNT TCP_KEEPCNT");
	expect_credits(&f, SP_STAGE_TCP_CONNECT, "p p/any p/out");
	expect_ops(&f, SP_STAGE_TCP_PASSIVE_EST, "SO_MARK TCP_NODELAY TCP_KEEPCNT SO_KEEPALIVE");
	expect_credits(&f, SP_STAGE_TCP_PASSIVE_EST, "p p/any p/in");
	/* a bound UDP socket takes all of a rule without a direction, too */
	expect_ops(&f, SP_STAGE_UDP_BIND, "SO_MARK");
	expect_credits(&f, SP_STAGE_UDP_BIND, "p p/any");
	fixture_free(&f);
}

/* At bind(2): base options and listen rules, whatever the socket becomes; credited when it listens.
 */
static void test_bind(void **state)
{
	static const struct fixture_policy policies[] = {
		{ "base", { "/a" }, .base = { { OPTION_SO_REUSEADDR, 1 } } },
		{ "rules",
		  { "/a" },
		  .rules = { { "out", CONNECT, { { OPTION_SO_REUSEADDR, 1 } } },
			     { "ear", LISTEN, { { OPTION_SO_REUSEPORT, 1 } } } } },
	};
	struct fixture f = fixture_new(policies, ARRAY_SIZE(policies));

	(void)state;
	expect_ops(&f, SP_STAGE_TCP_BIND, "SO_REUSEADDR SO_REUSEPORT");
	expect_choices(&f, SP_STAGE_TCP_BIND, OPTION_SO_REUSEADDR, "base=1");
	expect_ops(&f, SP_STAGE_TCP_LISTEN, "");
	expect_credits(&f, SP_STAGE_TCP_BIND, "");
	expect_credits(&f, SP_STAGE_TCP_LISTEN, "base rules rules/ear");
	expect_credits(&f, SP_STAGE_UDP_BIND, "base rules rules/ear");
	expect_ops(&f, SP_STAGE_TCP_CONNECT, "");
	expect_credits(&f, SP_STAGE_TCP_CONNECT, "");
	fixture_free(&f);
}

/* Who is first seen at the later stage is credited there, and only there. */
static void test_later_credit(void **state)
{
	static const struct fixture_policy policies[] = {
		{ "iw", { "/a" }, .base = { { OPTION_TCP_BPF_IW, 20 } } },
		{ "both",
		  { "/a" },
		  .base = { { OPTION_TCP_NODELAY, 1 } },
		  .rules = { { "out",
			       CONNECT,
			       { { OPTION_TCP_BPF_IW, 30 }, { OPTION_SO_MARK, 1 } } },
			     { "late", CONNECT, { { OPTION_TCP_BPF_IW, 40 } } } } },
	};
	struct fixture f = fixture_new(policies, ARRAY_SIZE(policies));

	(void)state;
	expect_credits(&f, SP_STAGE_TCP_CONNECT, "both both/out");
	expect_credits(&f, SP_STAGE_TCP_ACTIVE_EST, "both/late");
	expect_credits(&f, SP_STAGE_TCP_PASSIVE_EST, "iw both");
	fixture_free(&f);
}

/* `unset` wins, and then nothing is set, and nobody credited for it. */
static void test_unset(void **state)
{
	static const struct fixture_policy policies[] = {
		{ "p", { "/a" }, .base = { { OPTION_SO_MARK, 1 } } },
		{ "q", { "/a" }, .rules = { { "out", CONNECT, { { OPTION_SO_MARK, UNSET } } } } },
	};
	struct fixture f = fixture_new(policies, ARRAY_SIZE(policies));

	(void)state;
	expect_ops(&f, SP_STAGE_TCP_CONNECT, "");
	expect_credits(&f, SP_STAGE_TCP_CONNECT, "");
	expect_ops(&f, SP_STAGE_TCP_PASSIVE_EST, "SO_MARK");
	expect_credits(&f, SP_STAGE_TCP_PASSIVE_EST, "p");
	fixture_free(&f);
}

static void test_stages_of_a_setting(void **state)
{
	const struct rule any = { .when = { .directions = CONNECT | ACCEPT | LISTEN } };
	const struct rule ear = { .when = { .has_direction = true, .directions = LISTEN } };
	const struct block base = { 0 }, of_any = { .rule = &any }, of_ear = { .rule = &ear };
	const struct option *nodelay = &option_table[OPTION_TCP_NODELAY];

	(void)state;
	assert_int_equal(setting_stages(&base, nodelay, DIRECTION_LISTEN), 0);
	assert_int_equal(setting_stages(&of_any, nodelay, DIRECTION_LISTEN), 0);
	assert_int_equal(setting_stages(&of_ear, nodelay, DIRECTION_LISTEN),
			 BIT(SP_STAGE_TCP_LISTEN));
	assert_int_equal(setting_stages(&base, nodelay, DIRECTION_CONNECT),
			 BIT(SP_STAGE_TCP_CONNECT));
	assert_int_equal(setting_stages(&base, &option_table[OPTION_SO_MARK], DIRECTION_LISTEN),
			 BIT(SP_STAGE_TCP_LISTEN) | BIT(SP_STAGE_UDP_BIND));
	assert_int_equal(
		setting_stages(&base, &option_table[OPTION_SO_REUSEPORT], DIRECTION_CONNECT), 0);
}

static void test_encode(void **state)
{
	static const struct fixture_policy policies[] = {
		{ "p",
		  { "/a" },
		  .base = { { OPTION_TCP_CONGESTION, .text = "abcdefghijklmno" },
			    { OPTION_SO_MARK, -2 },
			    { OPTION_IPV6_TCLASS, 8 } } },
	};
	static const __u8 zero[SP_VALUE_SIZE];
	struct fixture f = fixture_new(policies, ARRAY_SIZE(policies));
	const struct program_stage *s = &f.program.stages[SP_STAGE_TCP_CONNECT];
	struct sp_op op;
	int mark = -2;

	(void)state;
	expect_ops(&f, SP_STAGE_TCP_CONNECT, "SO_MARK TCP_CONGESTION IPV6_TCLASS");
	memset(&op, 0xff, sizeof(op));
	op_encode(s->ops[0].option, &s->ops[0].base, &op);
	assert_int_equal(op.level, SOL_SOCKET);
	assert_int_equal(op.optname, SO_MARK);
	assert_int_equal(op.option, OPTION_SO_MARK);
	assert_int_equal(op.optlen, 4);
	assert_int_equal(op.families, SP_FAMILY_IPV4 | SP_FAMILY_IPV6);
	assert_memory_equal(op.value, &mark, 4);
	assert_memory_equal(op.value + 4, zero, SP_VALUE_SIZE - 4);
	assert_int_equal(op.source, 0);
	assert_int_equal(op.rules, 0);
	assert_int_equal(op.first_alternative, 0);

	op_encode(s->ops[1].option, &s->ops[1].base, &op);
	assert_int_equal(op.level, IPPROTO_TCP);
	assert_int_equal(op.optlen, 16);
	assert_string_equal((const char *)op.value, "abcdefghijklmno");

	op_encode(s->ops[2].option, &s->ops[2].base, &op);
	assert_int_equal(op.families, SP_FAMILY_IPV6);
	fixture_free(&f);
}

/* What compile.c takes for granted of the table. */
static void test_table(void **state)
{
	(void)state;
	for (int id = 0; id < OPTION_MAX; id++) {
		const struct option *o = &option_table[id];

		if (o->type == OPTION_STRING)
			assert_true(o->max + 1 <= SP_VALUE_SIZE);
		/* a stage belongs to one direction */
		assert_int_equal(o->stages[DIRECTION_CONNECT] & o->stages[DIRECTION_ACCEPT], 0);
		assert_int_equal(o->stages[DIRECTION_CONNECT] & o->stages[DIRECTION_LISTEN], 0);
		assert_int_equal(o->stages[DIRECTION_ACCEPT] & o->stages[DIRECTION_LISTEN], 0);
	}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_base_options), cmocka_unit_test(test_listener),
		cmocka_unit_test(test_bind),	     cmocka_unit_test(test_later_credit),
		cmocka_unit_test(test_unset),	     cmocka_unit_test(test_stages_of_a_setting),
		cmocka_unit_test(test_encode),	     cmocka_unit_test(test_table),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
