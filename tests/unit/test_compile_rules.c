// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Who may win an option at a stage, where that depends on the connection. */
#include <errno.h>
#include <sys/socket.h>

#include "compile_fixture.h"

/* A rule that holds whatever the connection beats all before it: no alternatives are left. */
static void test_unconditional_rule(void **state)
{
	static const struct fixture_policy policies[] = {
		{ "p",
		  { "/a" },
		  .base = { { OPTION_SO_MARK, 1 } },
		  .rules = { { "near", 0, { { OPTION_SO_MARK, 2 } }, .remote = { "10.0.0.0/8" } },
			     { "out", CONNECT, { { OPTION_SO_MARK, 3 } } },
			     { "far", 0, { { OPTION_SO_MARK, 4 } }, .remote = { "0.0.0.0/0" } } } },
		{ "q", { "/a" }, .base = { { OPTION_TCP_NODELAY, 1 } } },
	};
	struct fixture f = fixture_new(policies, ARRAY_SIZE(policies));

	(void)state;
	expect_choices(&f, SP_STAGE_TCP_CONNECT, OPTION_SO_MARK, "p/out=3, 2 p/far=4");
	expect_choices(&f, SP_STAGE_UDP_CONNECT, OPTION_SO_MARK, "p/out=3, 2 p/far=4");
	expect_choices(&f, SP_STAGE_TCP_PASSIVE_EST, OPTION_SO_MARK, "p=1, 0 p/near=2, 2 p/far=4");
	/* A listener has no peer, so for it neither holds. */
	expect_choices(&f, SP_STAGE_TCP_LISTEN, OPTION_SO_MARK, "p=1");
	expect_choices(&f, SP_STAGE_TCP_CONNECT, OPTION_TCP_NODELAY, "q=1");
	assert_true(f.program.stages[SP_STAGE_TCP_CONNECT].rules == 0x4);
	assert_true(f.program.stages[SP_STAGE_TCP_LISTEN].rules == 0);
	/* who cannot win anything at a stage is not credited there */
	expect_credits(&f, SP_STAGE_TCP_CONNECT, "p p/out p/far q");
	fixture_free(&f);
}

/* Rules that depend on the connection stay, in walk order over all policies, weakest first. */
static void test_conditional_rules(void **state)
{
	static const struct fixture_policy policies[] = {
		{ "p",
		  { "/a" },
		  .rules = { { "six",
			       0,
			       { { OPTION_SO_MARK, 1 } },
			       .families = BIT(SP_FAMILY_INDEX_IPV6) },
			     { "other", 0, { { OPTION_TCP_NODELAY, 1 } } },
			     { "port",
			       0,
			       { { OPTION_SO_MARK, 2 } },
			       .remote_port = { { 80 }, { 8000, 8999 } } } } },
		{ "q",
		  { "/a" },
		  .rules = { { "net",
			       0,
			       { { OPTION_SO_MARK, 3 }, { OPTION_TCP_NODELAY, UNSET } },
			       .remote = { "fd00::/8" } },
			     { "tcp",
			       0,
			       { { OPTION_SO_SNDBUF, 9 } },
			       .protocols = BIT(PROTOCOL_TCP) },
			     { "udp",
			       0,
			       { { OPTION_SO_SNDBUF, 8 } },
			       .protocols = BIT(PROTOCOL_UDP) } } },
	};
	struct fixture f = fixture_new(policies, ARRAY_SIZE(policies));

	(void)state;
	expect_choices(&f, SP_STAGE_TCP_CONNECT, OPTION_SO_MARK,
		       ", 0 p/six=1, 2 p/port=2, 3 q/net=3");
	/* `unset` stands in line like any other value */
	expect_choices(&f, SP_STAGE_TCP_CONNECT, OPTION_TCP_NODELAY, "p/other=1, 3 q/net=-");
	/* the protocol is known at each stage: nothing is left to look at */
	expect_choices(&f, SP_STAGE_TCP_CONNECT, OPTION_SO_SNDBUF, "q/tcp=9");
	expect_choices(&f, SP_STAGE_UDP_CONNECT, OPTION_SO_SNDBUF, "q/udp=8");
	assert_true(f.program.stages[SP_STAGE_TCP_CONNECT].rules == 0xd);
	assert_true(find_credit(&f, SP_STAGE_TCP_CONNECT, "q", NULL)->rules == 0x8);
	assert_true(find_credit(&f, SP_STAGE_TCP_CONNECT, "q", NULL)->by_base);
	assert_false(find_credit(&f, SP_STAGE_TCP_CONNECT, "q", "net")->by_base);
	assert_true(find_credit(&f, SP_STAGE_TCP_CONNECT, "p", "port")->rules == 0x4);
	fixture_free(&f);
}

/* Of an option that only `unset` is left of, nothing is. */
static void test_unset_conditional(void **state)
{
	static const struct fixture_policy policies[] = {
		{ "p",
		  { "/a" },
		  .base = { { OPTION_SO_MARK, UNSET }, { OPTION_SO_SNDBUF, UNSET } },
		  .rules = { { "a", 0, { { OPTION_SO_MARK, UNSET } }, .remote = { "10.0.0.0/8" } },
			     { "b",
			       0,
			       { { OPTION_SO_SNDBUF, 5 } },
			       .remote = { "10.0.0.0/8" } } } },
	};
	struct fixture f = fixture_new(policies, ARRAY_SIZE(policies));

	(void)state;
	expect_ops(&f, SP_STAGE_TCP_CONNECT, "SO_SNDBUF");
	expect_choices(&f, SP_STAGE_TCP_CONNECT, OPTION_SO_SNDBUF, "p=-, 1 p/b=5");
	expect_ops(&f, SP_STAGE_TCP_LISTEN, "");
	expect_credits(&f, SP_STAGE_TCP_CONNECT, "p p/b");
	assert_false(find_credit(&f, SP_STAGE_TCP_CONNECT, "p", NULL)->by_base);
	fixture_free(&f);
}

static void test_conditional_listener(void **state)
{
	static const struct fixture_policy policies[] = {
		{ "p",
		  { "/a" },
		  .base = { { OPTION_TCP_NODELAY, 1 }, { OPTION_SO_RCVBUF, 1 } },
		  .rules = { { "ear",
			       LISTEN,
			       { { OPTION_TCP_NODELAY, 2 } },
			       .local_port = { { 80 } } },
			     { "any",
			       0,
			       { { OPTION_TCP_NODELAY, 3 }, { OPTION_SO_RCVBUF, 3 } },
			       .local = { "10.0.0.1/32" } },
			     { "peer",
			       LISTEN,
			       { { OPTION_SO_RCVBUF, 4 } },
			       .remote_port = { { 1 } } },
			     { "reuse",
			       LISTEN,
			       { { OPTION_SO_REUSEPORT, 1 } },
			       .local_port = { { 80 } } } } },
	};
	struct fixture f = fixture_new(policies, ARRAY_SIZE(policies));

	(void)state;
	/* Only who names `listen` sets there what is not carried; others win it, and leave it. */
	expect_choices(&f, SP_STAGE_TCP_LISTEN, OPTION_TCP_NODELAY, "p=-, 0 p/ear=2, 1 p/any=-");
	expect_choices(&f, SP_STAGE_TCP_LISTEN, OPTION_SO_RCVBUF, "p=1, 1 p/any=3");
	expect_choices(&f, SP_STAGE_TCP_BIND, OPTION_SO_REUSEPORT, ", 3 p/reuse=1");
	expect_choices(&f, SP_STAGE_UDP_BIND, OPTION_SO_RCVBUF, "p=1, 1 p/any=3");
	/* What was set at bind(2) is credited by whoever holds once the socket listens. */
	assert_true(find_credit(&f, SP_STAGE_TCP_LISTEN, "p", "reuse")->held == 0x8);
	assert_true(f.program.stages[SP_STAGE_TCP_LISTEN].rules & 0x8);
	fixture_free(&f);
}

/* An option that a connect rule with `local` may win waits for the kernel to choose the address. */
static void test_decided_late(void **state)
{
	static const struct fixture_policy policies[] = {
		{ "p",
		  { "/a" },
		  .base = { { OPTION_SO_SNDBUF, 1 },
			    { OPTION_SO_MARK, 1 },
			    { OPTION_TCP_BPF_IW, 1 },
			    { OPTION_TCP_SYNCNT, 1 } },
		  .rules = { { "here",
			       CONNECT,
			       { { OPTION_SO_SNDBUF, 2 },
				 { OPTION_TCP_BPF_IW, 2 },
				 { OPTION_TCP_KEEPCNT, 2 } },
			       .local = { "10.0.0.0/8" } },
			     { "port",
			       0,
			       { { OPTION_SO_SNDBUF, UNSET } },
			       .local_port = { { 9 } } },
			     { "in", ACCEPT, { { OPTION_SO_MARK, 3 } }, .local = { "10.0.0.0/8" } },
			     { "beaten",
			       CONNECT,
			       { { OPTION_TCP_SYNCNT, 4 } },
			       .local_port = { { 9 } } },
			     { "out", CONNECT, { { OPTION_TCP_SYNCNT, 5 } } } } },
	};
	struct fixture f = fixture_new(policies, ARRAY_SIZE(policies));
	const struct effective *e = f.program.effective;

	(void)state;
	assert_true(decided_late(e, &option_table[OPTION_SO_SNDBUF]));
	assert_true(decided_late(e, &option_table[OPTION_TCP_KEEPCNT]));
	assert_false(decided_late(e, &option_table[OPTION_SO_MARK]));
	assert_false(decided_late(e, &option_table[OPTION_TCP_SYNCNT]));
	expect_ops(&f, SP_STAGE_TCP_CONNECT, "SO_MARK TCP_SYNCNT");
	expect_ops(&f, SP_STAGE_TCP_SYN, "SO_SNDBUF TCP_KEEPCNT");
	expect_choices(&f, SP_STAGE_TCP_SYN, OPTION_SO_SNDBUF, "p=1, 0 p/here=2, 1 p/port=-");
	expect_choices(&f, SP_STAGE_TCP_CONNECT, OPTION_TCP_SYNCNT, "p/out=5");
	/* at established it is late enough anyway */
	expect_choices(&f, SP_STAGE_TCP_ACTIVE_EST, OPTION_TCP_BPF_IW, "p=1, 0 p/here=2");
	expect_choices(&f, SP_STAGE_TCP_PASSIVE_EST, OPTION_SO_SNDBUF, "p=1, 1 p/port=-");
	/* UDP: the address it was bound to before is known at once */
	expect_choices(&f, SP_STAGE_UDP_CONNECT, OPTION_SO_SNDBUF, "p=1, 0 p/here=2, 1 p/port=-");
	fixture_free(&f);
}

/* An unconnected sender has neither peer nor own address. */
static void test_udp_send(void **state)
{
	static const struct fixture_policy policies[] = {
		{ "p",
		  { "/a" },
		  .base = { { OPTION_SO_MARK, 1 }, { OPTION_SO_REUSEPORT, 1 } },
		  .rules = { { "net", 0, { { OPTION_SO_MARK, 2 } }, .remote = { "0.0.0.0/0" } },
			     { "port",
			       0,
			       { { OPTION_SO_MARK, 3 } },
			       .remote_port = { { 1, 65535 } } },
			     { "own", 0, { { OPTION_SO_MARK, 4 } }, .local = { "0.0.0.0/0" } },
			     { "bound",
			       0,
			       { { OPTION_SO_MARK, 5 } },
			       .local_port = { { 1, 65535 } } },
			     { "ear", LISTEN, { { OPTION_SO_MARK, 6 } } },
			     { "four",
			       CONNECT,
			       { { OPTION_SO_MARK, 7 }, { OPTION_TCP_NODELAY, 1 } },
			       .families = BIT(SP_FAMILY_INDEX_IPV4) } } },
	};
	struct fixture f = fixture_new(policies, ARRAY_SIZE(policies));

	(void)state;
	expect_ops(&f, SP_STAGE_UDP_SEND, "SO_MARK");
	expect_choices(&f, SP_STAGE_UDP_SEND, OPTION_SO_MARK, "p=1, 5 p/four=7");
	expect_credits(&f, SP_STAGE_UDP_SEND, "p p/four");
	expect_choices(&f, SP_STAGE_UDP_CONNECT, OPTION_SO_MARK,
		       "p=1, 0 p/net=2, 1 p/port=3, 2 p/own=4, 3 p/bound=5, 5 p/four=7");
	expect_choices(&f, SP_STAGE_UDP_BIND, OPTION_SO_MARK, "p/ear=6");
	fixture_free(&f);
}

/* AF_UNIX: only rules that say so; they have no protocol, no addresses and no ports. */
static void test_unix(void **state)
{
	const unsigned is_unix = BIT(SP_FAMILY_INDEX_UNIX);
	const struct fixture_policy policies[] = {
		{ "p",
		  { "/a" },
		  .base = { { OPTION_SO_SNDBUF, 1 }, { OPTION_SO_MARK, 1 } },
		  .rules = { { "any", 0, { { OPTION_SO_SNDBUF, 2 } } },
			     { "local",
			       0,
			       { { OPTION_SO_SNDBUF, 3 }, { OPTION_TCP_NODELAY, 1 } },
			       .families = is_unix },
			     { "both",
			       CONNECT,
			       { { OPTION_SO_MARK, 4 } },
			       .families = is_unix | BIT(SP_FAMILY_INDEX_IPV4) },
			     { "tcp",
			       0,
			       { { OPTION_SO_SNDBUF, 5 } },
			       .families = is_unix,
			       .protocols = BIT(PROTOCOL_TCP) },
			     { "net",
			       0,
			       { { OPTION_SO_SNDBUF, 6 } },
			       .families = is_unix,
			       .remote = { "0.0.0.0/0" } },
			     { "ear",
			       LISTEN,
			       { { OPTION_SO_SNDBUF, 7 } },
			       .families = is_unix } } },
		{ "q", { "/a" }, .base = { { OPTION_SO_PRIORITY, 1 } } },
	};
	struct fixture f = fixture_new(policies, ARRAY_SIZE(policies));

	(void)state;
	for (int s = SP_STAGE_UNIX_CONNECT; s <= SP_STAGE_UNIX_SEND; s++) {
		expect_ops(&f, (enum sp_stage)s, "SO_MARK SO_SNDBUF");
		expect_choices(&f, (enum sp_stage)s, OPTION_SO_SNDBUF, "p/local=3");
		expect_choices(&f, (enum sp_stage)s, OPTION_SO_MARK, "p/both=4");
		expect_credits(&f, (enum sp_stage)s, "p p/both p/local");
	}
	expect_choices(&f, SP_STAGE_TCP_CONNECT, OPTION_SO_SNDBUF, "p/any=2");
	expect_choices(&f, SP_STAGE_TCP_CONNECT, OPTION_SO_MARK, "p=1, 2 p/both=4");
	fixture_free(&f);
}

/* Replies are asked for several times a connection; it is credited when it begins. */
static void test_replies(void **state)
{
	static const struct fixture_policy policies[] = {
		{ "p",
		  { "/a" },
		  .base = { { OPTION_TIMEOUT_INIT, 100 } },
		  .rules = { { "near", 0, { { OPTION_RWND_INIT, 7 } }, .remote = { "10.0.0.0/8" } },
			     { "out", CONNECT, { { OPTION_NEEDS_ECN, 1 } } } } },
	};
	struct fixture f = fixture_new(policies, ARRAY_SIZE(policies));

	(void)state;
	expect_ops(&f, SP_STAGE_TCP_CONNECT, "");
	expect_ops(&f, SP_STAGE_REPLY_ACTIVE, "TIMEOUT_INIT RWND_INIT NEEDS_ECN");
	expect_ops(&f, SP_STAGE_REPLY_PASSIVE, "TIMEOUT_INIT RWND_INIT");
	expect_choices(&f, SP_STAGE_REPLY_PASSIVE, OPTION_RWND_INIT, ", 0 p/near=7");
	expect_credits(&f, SP_STAGE_REPLY_ACTIVE, "");
	expect_credits(&f, SP_STAGE_REPLY_PASSIVE, "");
	expect_credits(&f, SP_STAGE_TCP_LISTEN, "");
	expect_credits(&f, SP_STAGE_TCP_CONNECT, "p p/near p/out");
	expect_credits(&f, SP_STAGE_TCP_PASSIVE_EST, "p p/near");
	assert_true(find_credit(&f, SP_STAGE_TCP_CONNECT, "p", NULL)->whatever);
	assert_true(find_credit(&f, SP_STAGE_TCP_CONNECT, "p", "out")->whatever);
	assert_true(find_credit(&f, SP_STAGE_TCP_PASSIVE_EST, "p", NULL)->whatever);
	/* A rule that must hold for that is looked at where it is credited. */
	assert_false(find_credit(&f, SP_STAGE_TCP_CONNECT, "p", "near")->whatever);
	assert_true(find_credit(&f, SP_STAGE_TCP_CONNECT, "p", "near")->held == 0x1);
	assert_true(f.program.stages[SP_STAGE_TCP_CONNECT].rules == 0x1);
	assert_true(f.program.stages[SP_STAGE_TCP_PASSIVE_EST].rules == 0x1);
	fixture_free(&f);
}

/* One option in two spellings: whoever comes last wins, and the loser is not set first. */
static void test_two_spellings(void **state)
{
	static const struct fixture_policy policies[] = {
		{ "name", { "/a" }, .base = { { OPTION_SO_BINDTODEVICE, .text = "eth0" } } },
		{ "index",
		  { "/a" },
		  .rules = { { "net",
			       0,
			       { { OPTION_SO_BINDTOIFINDEX, 7 } },
			       .remote = { "10.0.0.0/8" } },
			     { "port",
			       0,
			       { { OPTION_SO_BINDTODEVICE, .text = "eth1" } },
			       .remote_port = { { 80 } } },
			     { "off",
			       0,
			       { { OPTION_SO_BINDTOIFINDEX, UNSET } },
			       .remote_port = { { 81 } } } } },
		{ "listen",
		  { "/a" },
		  .rules = { { "ear", LISTEN, { { OPTION_SO_BINDTOIFINDEX, 8 } } } } },
	};
	struct fixture f = fixture_new(policies, ARRAY_SIZE(policies));
	struct sp_op op;

	(void)state;
	expect_ops(&f, SP_STAGE_TCP_CONNECT, "SO_BINDTODEVICE");
	expect_choices(&f, SP_STAGE_TCP_CONNECT, OPTION_SO_BINDTODEVICE,
		       "name=eth0, 0 index/net=7, 1 index/port=eth1, 2 index/off=-");
	expect_choices(&f, SP_STAGE_TCP_LISTEN, OPTION_SO_BINDTODEVICE, "listen/ear=8");
	/* each is encoded as what it was written as */
	op_encode(&option_table[OPTION_SO_BINDTODEVICE],
		  &find_op(&f, SP_STAGE_TCP_CONNECT, OPTION_SO_BINDTODEVICE)->rules[0], &op);
	assert_int_equal(op.option, OPTION_SO_BINDTOIFINDEX);
	assert_int_equal(op.optname, SO_BINDTOIFINDEX);
	assert_int_equal(op.optlen, 4);
	op_encode(&option_table[OPTION_SO_BINDTODEVICE],
		  &find_op(&f, SP_STAGE_TCP_CONNECT, OPTION_SO_BINDTODEVICE)->rules[2], &op);
	assert_int_equal(op.optlen, 0);
	fixture_free(&f);
}

/* SP_RULES_MAX rules, over all policies of a cgroup; `more`: and so many. */
static int compile_many(unsigned more, struct fixture *ret)
{
	struct config *c = config_new();
	const struct cgroup_class *k;
	unsigned left = SP_RULES_MAX + more;

	assert_non_null(c);
	while (left) {
		struct fixture_policy p = { .cgroup = { "/a" } };
		char name[32], names[FIXTURE_RULES][16];

		snprintf(name, sizeof(name), "p%u", left);
		p.name = name;
		for (unsigned i = 0; i < FIXTURE_RULES && left; i++, left--) {
			snprintf(names[i], sizeof(names[i]), "r%u", left);
			p.rules[i] = (struct fixture_rule){ .name = names[i],
							    .options = { { OPTION_SO_MARK, 1 } },
							    .remote = { "10.0.0.0/8" } };
		}
		fixture_add(c, &p);
	}
	*ret = (struct fixture){ .config = c };
	assert_int_equal(cascade_new(c, &ret->cascade), 0);
	assert_int_equal(cascade_walk(ret->cascade, "/a", &k), 0);
	return program_compile(cascade_effective(k), &ret->program);
}

static void test_number_of_rules(void **state)
{
	static const struct program untouched;
	struct fixture f;

	(void)state;
	assert_int_equal(compile_many(0, &f), 0);
	assert_int_equal(find_op(&f, SP_STAGE_TCP_CONNECT, OPTION_SO_MARK)->n_rules, SP_RULES_MAX);
	assert_true(f.program.stages[SP_STAGE_TCP_CONNECT].rules == UINT64_MAX);
	fixture_free(&f);
	assert_int_equal(compile_many(1, &f), -E2BIG);
	assert_memory_equal(&f.program, &untouched, sizeof(untouched));
	fixture_free(&f);
}

/* However many stages a contributor has a part in, it is credited at one of them. */
static void test_credit_once(void **state)
{
	static const struct fixture_policy policies[] = {
		{ "p",
		  { "/a" },
		  .base = { { OPTION_SO_MARK, 1 },
			    { OPTION_TCP_BPF_IW, 1 },
			    { OPTION_RWND_INIT, 1 } },
		  .rules = { { "all",
			       CONNECT,
			       { { OPTION_SO_SNDBUF, 2 },
				 { OPTION_TCP_BPF_IW, 2 },
				 { OPTION_RWND_INIT, 2 } },
			       .remote = { "10.0.0.0/8" } },
			     { "late",
			       CONNECT,
			       { { OPTION_TCP_SYNCNT, 3 }, { OPTION_TCP_BPF_IW, 3 } },
			       .local = { "10.0.0.0/8" } },
			     { "est",
			       CONNECT,
			       { { OPTION_TCP_BPF_IW, 4 } },
			       .remote_port = { { 80 } } } } },
	};
	struct fixture f = fixture_new(policies, ARRAY_SIZE(policies));

	(void)state;
	expect_credits(&f, SP_STAGE_TCP_CONNECT, "p p/all");
	expect_credits(&f, SP_STAGE_TCP_SYN, "p/late");
	expect_credits(&f, SP_STAGE_TCP_ACTIVE_EST, "p/est");
	/* where it is, it counts what the later ones will set, too */
	assert_true(find_credit(&f, SP_STAGE_TCP_CONNECT, "p", NULL)->whatever);
	assert_true(find_credit(&f, SP_STAGE_TCP_CONNECT, "p", NULL)->held == 0x7);
	assert_true(find_credit(&f, SP_STAGE_TCP_CONNECT, "p", "all")->held == 0x1);
	fixture_free(&f);
}

/* A reply is credited at connect(2), so what its policy sets when established is not again. */
static void test_credit_once_with_reply(void **state)
{
	static const struct fixture_policy policies[] = {
		{ "p", { "/a" }, .base = { { OPTION_TIMEOUT_INIT, 1 }, { OPTION_TCP_BPF_IW, 1 } } },
	};
	struct fixture f = fixture_new(policies, ARRAY_SIZE(policies));

	(void)state;
	expect_credits(&f, SP_STAGE_TCP_CONNECT, "p");
	expect_credits(&f, SP_STAGE_TCP_ACTIVE_EST, "");
	expect_credits(&f, SP_STAGE_TCP_PASSIVE_EST, "p");
	fixture_free(&f);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_unconditional_rule),
		cmocka_unit_test(test_conditional_rules),
		cmocka_unit_test(test_unset_conditional),
		cmocka_unit_test(test_conditional_listener),
		cmocka_unit_test(test_decided_late),
		cmocka_unit_test(test_udp_send),
		cmocka_unit_test(test_unix),
		cmocka_unit_test(test_replies),
		cmocka_unit_test(test_two_spellings),
		cmocka_unit_test(test_number_of_rules),
		cmocka_unit_test(test_credit_once),
		cmocka_unit_test(test_credit_once_with_reply),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
