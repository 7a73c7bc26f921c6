// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* What a policy does at which stage, and where its sockets are counted. */
#include <errno.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "compile_fixture.h"

static void test_base_options(void **state)
{
	/* Given in another order than the table's, which has IP_TOS before SO_PRIORITY. */
	static const struct fixture_policy policy = {
		"p",
		{ "/a" },
		.base = { { OPTION_SO_PRIORITY, 5 },
			  { OPTION_IP_TOS, 8 },
			  { OPTION_TCP_BPF_IW, 20 },
			  { OPTION_TCP_NODELAY, 1 },
			  { OPTION_TCP_MAXSEG, 900 },
			  { OPTION_TCP_SAVE_SYN, 1 },
			  { OPTION_SO_REUSEPORT, 1 },
			  { OPTION_SO_RCVBUF, 4096 } },
	};
	struct fixture f = fixture_compile(&policy, false);

	(void)state;
	expect_blocks(&f, SP_STAGE_TCP_BIND, "SO_REUSEPORT=1");
	expect_blocks(&f, SP_STAGE_TCP_CONNECT,
		      "SO_RCVBUF=4096 TCP_NODELAY=1 TCP_MAXSEG=900 IP_TOS=8 SO_PRIORITY=5");
	expect_blocks(&f, SP_STAGE_TCP_SYN, "");
	expect_blocks(&f, SP_STAGE_TCP_ACTIVE_EST, "TCP_BPF_IW=20");
	expect_blocks(&f, SP_STAGE_TCP_PASSIVE_EST,
		      "SO_RCVBUF=4096 TCP_BPF_IW=20 TCP_NODELAY=1 IP_TOS=8 SO_PRIORITY=5");
	/* A listener gets what works only there, or what the SYN-ACK needs.  The rest is decided
	 * there all the same: nothing is set. */
	expect_blocks(&f, SP_STAGE_TCP_LISTEN,
		      "SO_RCVBUF=4096 TCP_NODELAY=- TCP_MAXSEG=900 TCP_SAVE_SYN=1 IP_TOS=8 "
		      "SO_PRIORITY=5");
	expect_blocks(&f, SP_STAGE_UDP_BIND,
		      "SO_REUSEPORT=1 SO_RCVBUF=4096 IP_TOS=8 SO_PRIORITY=5");
	expect_blocks(&f, SP_STAGE_UDP_CONNECT, "SO_RCVBUF=4096 IP_TOS=8 SO_PRIORITY=5");
	expect_blocks(&f, SP_STAGE_UNIX, "");

	expect_counts(&f, SP_STAGE_TCP_BIND, "never");
	expect_counts(&f, SP_STAGE_TCP_CONNECT, "always");
	expect_counts(&f, SP_STAGE_TCP_SYN, "never");
	expect_counts(&f, SP_STAGE_TCP_ACTIVE_EST, "never");
	expect_counts(&f, SP_STAGE_TCP_PASSIVE_EST, "always");
	expect_counts(&f, SP_STAGE_TCP_LISTEN, "always");
	expect_counts(&f, SP_STAGE_UDP_BIND, "always");
	expect_counts(&f, SP_STAGE_UDP_CONNECT, "always");
	expect_counts(&f, SP_STAGE_UNIX, "never");
	fixture_free(&f);
}

/* Only a rule that names `listen` puts on a listener what is not carried. */
static void test_listener(void **state)
{
	static const struct fixture_policy policy = {
		"p",
		{ "/a" },
		.base = { { OPTION_TCP_NODELAY, 1 } },
		.rules = { { "any", 0, { { OPTION_TCP_KEEPCNT, 3 }, { OPTION_SO_MARK, 1 } } },
			   { "out", CONNECT, { { OPTION_TCP_SYNCNT, 3 } } },
			   { "in", ACCEPT | LISTEN, { { OPTION_SO_KEEPALIVE, 1 } } },
			   { "ear", LISTEN, { { OPTION_TCP_CONGESTION, .text = "reno" } } } },
	};
	struct fixture f = fixture_compile(&policy, false);

	(void)state;
	expect_blocks(&f, SP_STAGE_TCP_LISTEN,
		      "SO_MARK=1@any TCP_CONGESTION=reno@ear TCP_NODELAY=- TCP_KEEPCNT=3@any "
		      "SO_KEEPALIVE=1@in");
	expect_counts(&f, SP_STAGE_TCP_LISTEN, "always *any *in *ear");
	expect_blocks(&f, SP_STAGE_TCP_CONNECT,
		      "SO_MARK=1@any TCP_NODELAY=1 TCP_SYNCNT=3@out TCP_KEEPCNT=3@any");
	expect_counts(&f, SP_STAGE_TCP_CONNECT, "always *any *out");
	expect_blocks(&f, SP_STAGE_TCP_PASSIVE_EST,
		      "SO_MARK=1@any TCP_NODELAY=1 TCP_KEEPCNT=3@any SO_KEEPALIVE=1@in");
	expect_counts(&f, SP_STAGE_TCP_PASSIVE_EST, "always *any *in");
	/* a bound UDP socket takes all of a rule without a direction as well */
	expect_blocks(&f, SP_STAGE_UDP_BIND, "SO_MARK=1@any");
	expect_counts(&f, SP_STAGE_UDP_BIND, "always *any");
	assert_int_equal(f.program.n_rules, 0);
	fixture_free(&f);
}

/* Base options and listen rules are set at bind(2), whatever the socket becomes; they are counted
 * when it listens. */
static void test_bind(void **state)
{
	static const struct fixture_policy policy = {
		"p",
		{ "/a" },
		.base = { { OPTION_SO_REUSEADDR, 1 } },
		.rules = { { "out", CONNECT, { { OPTION_SO_REUSEADDR, 2 } } },
			   { "ear", LISTEN, { { OPTION_SO_REUSEPORT, 1 } } },
			   { "port",
			     LISTEN,
			     { { OPTION_SO_REUSEPORT, 2 } },
			     .local_port = { { 80 } } } },
	};
	struct fixture f = fixture_compile(&policy, false);

	(void)state;
	expect_blocks(&f, SP_STAGE_TCP_BIND,
		      "SO_REUSEADDR=1 SO_REUSEPORT=1@ear; 0 port: SO_REUSEPORT=2");
	expect_counts(&f, SP_STAGE_TCP_BIND, "never");
	expect_blocks(&f, SP_STAGE_TCP_LISTEN, "0 port:");
	expect_counts(&f, SP_STAGE_TCP_LISTEN, "always +0 *ear");
	expect_counts(&f, SP_STAGE_UDP_BIND, "always +0 *ear");
	expect_blocks(&f, SP_STAGE_TCP_CONNECT, "");
	expect_counts(&f, SP_STAGE_TCP_CONNECT, "never");
	fixture_free(&f);
}

/* A rule that always holds beats what comes before it, and rules that may hold what comes before
 * them. */
static void test_order(void **state)
{
	static const struct fixture_policy policy = {
		"p",
		{ "/a" },
		.base = { { OPTION_SO_MARK, 1 }, { OPTION_SO_SNDBUF, 1 } },
		.rules = { { "net",
			     0,
			     { { OPTION_SO_MARK, 2 }, { OPTION_SO_SNDBUF, 2 } },
			     .remote = { "10.0.0.0/8" } },
			   { "tcp",
			     0,
			     { { OPTION_SO_SNDBUF, 3 } },
			     .protocols = BIT(PROTOCOL_TCP) },
			   { "port", 0, { { OPTION_SO_SNDBUF, 4 } }, .remote_port = { { 80 } } } },
	};
	struct fixture f = fixture_compile(&policy, false);

	(void)state;
	expect_blocks(&f, SP_STAGE_TCP_CONNECT,
		      "SO_MARK=1 SO_SNDBUF=3@tcp; 0 net: SO_MARK=2; 1 port: SO_SNDBUF=4");
	expect_blocks(&f, SP_STAGE_UDP_CONNECT,
		      "SO_MARK=1 SO_SNDBUF=1; 0 net: SO_MARK=2 SO_SNDBUF=2; 1 port: SO_SNDBUF=4");
	expect_blocks(&f, SP_STAGE_TCP_LISTEN, "SO_MARK=1 SO_SNDBUF=3@tcp");
	/* A rule that is beaten here holds all the same. */
	expect_counts(&f, SP_STAGE_TCP_CONNECT, "always +0 +1 *tcp");
	assert_int_equal(f.program.n_rules, 2);
	assert_ptr_equal(f.program.rules[0], &f.program.policy->rules[0]);
	assert_ptr_equal(f.program.rules[1], &f.program.policy->rules[2]);
	fixture_free(&f);
}

/* A block that is beaten in all it sets is counted, and has nothing to say. */
static void test_beaten(void **state)
{
	static const struct fixture_policy policy = {
		"p",
		{ "/a" },
		.rules = { { "net", 0, { { OPTION_SO_MARK, 2 } }, .remote = { "10.0.0.0/8" } },
			   { "out", CONNECT, { { OPTION_SO_MARK, 3 } } } },
	};
	struct fixture f = fixture_compile(&policy, false);

	(void)state;
	expect_blocks(&f, SP_STAGE_TCP_CONNECT, "SO_MARK=3@out; 0 net:");
	expect_counts(&f, SP_STAGE_TCP_CONNECT, "always +0 *out");
	expect_blocks(&f, SP_STAGE_TCP_PASSIVE_EST, "0 net: SO_MARK=2");
	expect_counts(&f, SP_STAGE_TCP_PASSIVE_EST, "rule +0");
	fixture_free(&f);
}

/* `unset` decides, and gives nobody anything. */
static void test_unset(void **state)
{
	static const struct fixture_policy policy = {
		"p",
		{ "/a" },
		.base = { { OPTION_SO_MARK, UNSET }, { OPTION_SO_SNDBUF, UNSET } },
		.rules = { { "a", 0, { { OPTION_SO_MARK, UNSET } }, .remote = { "10.0.0.0/8" } },
			   { "b", 0, { { OPTION_SO_SNDBUF, 5 } }, .remote = { "10.0.0.0/8" } } },
	};
	struct fixture f = fixture_compile(&policy, false);

	(void)state;
	expect_blocks(&f, SP_STAGE_TCP_CONNECT,
		      "SO_MARK=- SO_SNDBUF=-; 0 a: SO_MARK=-; 1 b: SO_SNDBUF=5");
	expect_counts(&f, SP_STAGE_TCP_CONNECT, "rule +1");
	expect_blocks(&f, SP_STAGE_TCP_LISTEN, "SO_MARK=- SO_SNDBUF=-");
	expect_counts(&f, SP_STAGE_TCP_LISTEN, "never");
	fixture_free(&f);
}

/* What nobody of the configuration sets need not be decided. */
static void test_restrict(void **state)
{
	static const struct fixture_policy policies[] = {
		{ "p",
		  { "/a" },
		  .base = { { OPTION_SO_MARK, UNSET }, { OPTION_SO_SNDBUF, UNSET } },
		  .rules = { { "a", 0, { { OPTION_SO_MARK, UNSET } }, .remote = { "10.0.0.0/8" } },
			     { "b",
			       CONNECT,
			       { { OPTION_SO_SNDBUF, 5 } },
			       .remote = { "10.0.0.0/8" } } } },
		{ "q",
		  { "/a" },
		  .base = { { OPTION_SO_RCVBUF, 5 } },
		  .rules = { { "in", ACCEPT, { { OPTION_SO_MARK, 1 } } } } },
	};
	struct fixture f = { .config = fixture_config(policies, 2) };
	uint64_t set[SP_STAGE_MAX] = { 0 };

	(void)state;
	program_survey(f.config, set);
	assert_true(set[SP_STAGE_TCP_CONNECT] ==
		    (1ull << OPTION_SO_SNDBUF | 1ull << OPTION_SO_RCVBUF));
	assert_true(set[SP_STAGE_TCP_PASSIVE_EST] ==
		    (1ull << OPTION_SO_MARK | 1ull << OPTION_SO_RCVBUF));
	assert_true(set[SP_STAGE_TCP_LISTEN] == 1ull << OPTION_SO_RCVBUF);
	assert_true(set[SP_STAGE_UNIX] == 0);
	assert_int_equal(program_compile(f.config->policies, set, false, &f.program), 0);
	expect_blocks(&f, SP_STAGE_TCP_CONNECT, "SO_SNDBUF=-; 1 b: SO_SNDBUF=5");
	expect_counts(&f, SP_STAGE_TCP_CONNECT, "rule +1");
	assert_true(f.program.stages[SP_STAGE_TCP_CONNECT].looked_at == 0x2);
	expect_blocks(&f, SP_STAGE_TCP_PASSIVE_EST, "SO_MARK=-; 0 a: SO_MARK=-");
	expect_blocks(&f, SP_STAGE_TCP_LISTEN, "");
	fixture_free(&f);
}

static void test_conditional_listener(void **state)
{
	static const struct fixture_policy policy = {
		"p",
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
			     .remote_port = { { 1 } } } },
	};
	struct fixture f = fixture_compile(&policy, true);

	(void)state;
	expect_blocks(&f, SP_STAGE_TCP_LISTEN,
		      "SO_RCVBUF=1 TCP_NODELAY=-; 0 ear: TCP_NODELAY=2; "
		      "1 any: SO_RCVBUF=3 TCP_NODELAY=3");
	expect_counts(&f, SP_STAGE_TCP_LISTEN, "always +0 +1");
	expect_blocks(&f, SP_STAGE_UDP_BIND, "SO_RCVBUF=1; 1 any: SO_RCVBUF=3");
	/* a rule that can never hold has no bit */
	assert_int_equal(f.program.n_rules, 2);
	fixture_free(&f);
}

/* An option that a connect rule with `local` may win waits for the kernel to choose the address. */
static void test_decided_late(void **state)
{
	static const struct fixture_policy policy = {
		"p",
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
			   { "port", 0, { { OPTION_SO_SNDBUF, UNSET } }, .local_port = { { 9 } } },
			   { "in", ACCEPT, { { OPTION_SO_MARK, 3 } }, .local = { "10.0.0.0/8" } },
			   { "beaten",
			     CONNECT,
			     { { OPTION_TCP_SYNCNT, 4 } },
			     .local_port = { { 9 } } },
			   { "out", CONNECT, { { OPTION_TCP_SYNCNT, 5 } } } },
	};
	struct fixture f = fixture_compile(&policy, true);

	(void)state;
	assert_true(f.program.decided_late ==
		    (1ull << OPTION_SO_SNDBUF | 1ull << OPTION_TCP_KEEPCNT));
	expect_blocks(&f, SP_STAGE_TCP_CONNECT, "SO_MARK=1 SO_SNDBUF=1 TCP_SYNCNT=5@out");
	expect_blocks(&f, SP_STAGE_TCP_SYN,
		      "SO_MARK=1 SO_SNDBUF=1 TCP_SYNCNT=5@out; "
		      "0 here: SO_SNDBUF=2 TCP_KEEPCNT=2; 1 port: SO_SNDBUF=-; 3 beaten:");
	/* at established it is late enough anyway */
	expect_blocks(&f, SP_STAGE_TCP_ACTIVE_EST, "TCP_BPF_IW=1; 0 here: TCP_BPF_IW=2");
	/* UDP: the address it was bound to before is known at once */
	expect_blocks(&f, SP_STAGE_UDP_CONNECT,
		      "SO_MARK=1 SO_SNDBUF=1; 0 here: SO_SNDBUF=2; 1 port: SO_SNDBUF=-");
	expect_counts(&f, SP_STAGE_TCP_CONNECT, "always *out");
	expect_counts(&f, SP_STAGE_TCP_SYN, "never +0 +3");
	expect_counts(&f, SP_STAGE_TCP_ACTIVE_EST, "never");
	fixture_free(&f);
}

/* Where only another policy decides late, this one's choices are there for what that decides. */
static void test_late_for_another(void **state)
{
	static const struct fixture_policy policy = {
		"p",
		{ "/a" },
		.base = { { OPTION_SO_MARK, 1 } },
		.rules = { { "net", 0, { { OPTION_SO_MARK, 2 } }, .remote = { "10.0.0.0/8" } } },
	};
	struct fixture f = fixture_compile(&policy, true);

	(void)state;
	assert_true(f.program.decided_late == 0);
	expect_blocks(&f, SP_STAGE_TCP_CONNECT, "SO_MARK=1; 0 net: SO_MARK=2");
	expect_blocks(&f, SP_STAGE_TCP_SYN, "SO_MARK=1; 0 net: SO_MARK=2");
	expect_counts(&f, SP_STAGE_TCP_CONNECT, "always +0");
	expect_counts(&f, SP_STAGE_TCP_SYN, "never");
	fixture_free(&f);
}

/* IP_TOS overwrites SO_PRIORITY, so the one is not set before the other. */
static void test_priority_is_late_too(void **state)
{
	static const struct fixture_policy policy = {
		"p",
		{ "/a" },
		.base = { { OPTION_SO_PRIORITY, 1 } },
		.rules = { { "here", 0, { { OPTION_IP_TOS, 8 } }, .local_port = { { 9 } } } },
	};
	struct fixture f = fixture_compile(&policy, true);

	(void)state;
	assert_true(f.program.decided_late == (1ull << OPTION_IP_TOS | 1ull << OPTION_SO_PRIORITY));
	expect_blocks(&f, SP_STAGE_TCP_SYN, "SO_PRIORITY=1; 0 here: IP_TOS=8");
	fixture_free(&f);
}

/* An unconnected sender has neither peer nor own address. */
static void test_udp_send(void **state)
{
	static const struct fixture_policy policy = {
		"p",
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
			     .families = BIT(SP_FAMILY_INDEX_IPV4) } },
	};
	struct fixture f = fixture_compile(&policy, true);

	(void)state;
	expect_blocks(&f, SP_STAGE_UDP_SEND, "SO_MARK=1; 4 four: SO_MARK=7");
	expect_counts(&f, SP_STAGE_UDP_SEND, "always +4");
	expect_blocks(&f, SP_STAGE_UDP_CONNECT,
		      "SO_MARK=1; 0 net: SO_MARK=2; 1 port: SO_MARK=3; 2 own: SO_MARK=4; "
		      "3 bound: SO_MARK=5; 4 four: SO_MARK=7");
	expect_blocks(&f, SP_STAGE_UDP_BIND, "SO_REUSEPORT=1 SO_MARK=6@ear; 2 own:; 3 bound:");
	fixture_free(&f);
}

/* AF_UNIX: only rules that say so; such sockets have no protocol, no addresses and no ports. */
static void test_unix(void **state)
{
	const unsigned is_unix = BIT(SP_FAMILY_INDEX_UNIX);
	const struct fixture_policy policy = {
		"p",
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
			   { "ear", LISTEN, { { OPTION_SO_SNDBUF, 7 } }, .families = is_unix } },
	};
	struct fixture f = fixture_compile(&policy, false);

	(void)state;
	expect_blocks(&f, SP_STAGE_UNIX, "SO_MARK=4@both SO_SNDBUF=3@local");
	expect_counts(&f, SP_STAGE_UNIX, "always *local *both");
	expect_blocks(&f, SP_STAGE_TCP_CONNECT, "SO_MARK=1 SO_SNDBUF=2@any; 0 both: SO_MARK=4");
	fixture_free(&f);
}

/* Replies are asked for several times a connection; it is counted when it is established. */
static void test_replies(void **state)
{
	static const struct fixture_policy policy = {
		"p",
		{ "/a" },
		.base = { { OPTION_TIMEOUT_INIT, 100 } },
		.rules = { { "near", 0, { { OPTION_RWND_INIT, 7 } }, .remote = { "10.0.0.0/8" } },
			   { "out", CONNECT, { { OPTION_NEEDS_ECN, 1 } } } },
	};
	struct fixture f = fixture_compile(&policy, false);

	(void)state;
	expect_blocks(&f, SP_STAGE_REPLY_ACTIVE,
		      "TIMEOUT_INIT=100 NEEDS_ECN=1@out; 0 near: RWND_INIT=7");
	expect_blocks(&f, SP_STAGE_REPLY_PASSIVE, "TIMEOUT_INIT=100; 0 near: RWND_INIT=7");
	expect_blocks(&f, SP_STAGE_TCP_CONNECT, "");
	expect_blocks(&f, SP_STAGE_TCP_ACTIVE_EST, "0 near:");
	expect_counts(&f, SP_STAGE_TCP_CONNECT, "never");
	expect_counts(&f, SP_STAGE_TCP_ACTIVE_EST, "always +0 *out");
	expect_counts(&f, SP_STAGE_TCP_PASSIVE_EST, "always +0");
	expect_counts(&f, SP_STAGE_REPLY_ACTIVE, "never");
	expect_counts(&f, SP_STAGE_REPLY_PASSIVE, "never");
	expect_counts(&f, SP_STAGE_TCP_LISTEN, "never");
	fixture_free(&f);
}

/* However many stages a block has something due at, it is counted at the first. */
static void test_counted_once(void **state)
{
	static const struct fixture_policy policy = {
		"p",
		{ "/a" },
		.base = { { OPTION_TCP_BPF_IW, 1 }, { OPTION_RWND_INIT, 1 } },
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
			     .remote_port = { { 80 } } },
			   { "reply", 0, { { OPTION_RWND_INIT, 5 } }, .remote_port = { { 81 } } },
			   { "no",
			     CONNECT,
			     { { OPTION_SO_MARK, UNSET } },
			     .remote_port = { { 82 } } },
			   { "ear", 0, { { OPTION_SO_REUSEPORT, 1 } }, .local_port = { { 83 } } } },
	};
	struct fixture f = fixture_compile(&policy, true);

	(void)state;
	expect_counts(&f, SP_STAGE_TCP_CONNECT, "rule +0");
	expect_counts(&f, SP_STAGE_TCP_SYN, "rule +1 -0");
	expect_counts(&f, SP_STAGE_TCP_ACTIVE_EST, "always +2 +3 -0 -1");
	expect_counts(&f, SP_STAGE_TCP_PASSIVE_EST, "always +3");
	expect_counts(&f, SP_STAGE_TCP_LISTEN, "rule +5");
	expect_counts(&f, SP_STAGE_UDP_BIND, "rule +5");
	expect_counts(&f, SP_STAGE_UDP_CONNECT, "rule +0");
	fixture_free(&f);
}

/* A policy that was counted whatever the connection is not counted again with a rule. */
static void test_counted_by_the_base(void **state)
{
	static const struct fixture_policy policy = {
		"p",
		{ "/a" },
		.rules = { { "est",
			     CONNECT,
			     { { OPTION_TCP_BPF_IW, 4 } },
			     .remote_port = { { 80 } } },
			   { "out", CONNECT, { { OPTION_SO_MARK, 1 } } } },
	};
	struct fixture f = fixture_compile(&policy, false);

	(void)state;
	expect_counts(&f, SP_STAGE_TCP_CONNECT, "always *out");
	expect_counts(&f, SP_STAGE_TCP_ACTIVE_EST, "never +0");
	fixture_free(&f);
}

/* One option in two spellings is one; it is set as what it was written as. */
static void test_two_spellings(void **state)
{
	const uint64_t both = 1ull << OPTION_SO_BINDTODEVICE | 1ull << OPTION_SO_BINDTOIFINDEX;
	static const struct fixture_policy policy = {
		"p",
		{ "/a" },
		.base = { { OPTION_SO_BINDTODEVICE, .text = "eth0" } },
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
			     .remote_port = { { 81 } } },
			   { "ear", LISTEN, { { OPTION_SO_BINDTOIFINDEX, 8 } } } },
	};
	struct fixture f = fixture_compile(&policy, false);
	uint64_t set[SP_STAGE_MAX];
	struct sp_op op;

	(void)state;
	expect_blocks(&f, SP_STAGE_TCP_CONNECT,
		      "SO_BINDTODEVICE=eth0; 0 net: SO_BINDTODEVICE=7; 1 port: "
		      "SO_BINDTODEVICE=eth1; 2 off: SO_BINDTODEVICE=-");
	expect_blocks(&f, SP_STAGE_TCP_LISTEN, "SO_BINDTODEVICE=8@ear");
	program_encode_ops(&f.program.stages[SP_STAGE_TCP_LISTEN].base.choices[0],
			   SP_STAGE_TCP_LISTEN, &op);
	assert_int_equal(op.option, OPTION_SO_BINDTOIFINDEX);
	assert_int_equal(op.optname, SO_BINDTOIFINDEX);
	assert_int_equal(op.optlen, 4);
	program_survey(f.config, set);
	assert_true(set[SP_STAGE_TCP_LISTEN] == both);
	fixture_free(&f);
}

/* As many rules as a policy may have, of which all or none depend on the connection. */
static void test_number_of_rules(void **state)
{
	static const struct fixture_policy policy = { "p", { "/a" } };
	static const struct fixture_rule any = { "r", CONNECT, { { OPTION_SO_MARK, 1 } } }, net = {
		"r", CONNECT, { { OPTION_SO_MARK, 1 } }, .remote = { "10.0.0.0/8" }
	};

	(void)state;
	for (int depend = 0; depend < 2; depend++) {
		struct fixture f = { .config = fixture_config(&policy, 1) };
		struct policy *p = f.config->policies;
		uint64_t set[SP_STAGE_MAX] = { 0 };

		free(p->rules);
		p->n_rules = SP_RULES_MAX;
		p->rules = calloc(p->n_rules, sizeof(*p->rules));
		assert_non_null(p->rules);
		for (size_t i = 0; i < p->n_rules; i++) {
			p->rules[i].name = fixture_strdup("r");
			fixture_when(&p->rules[i].when, depend ? &net : &any);
			fixture_settings(&p->rules[i].options, depend ? net.options : any.options);
		}
		program_survey(f.config, set);
		assert_int_equal(program_compile(p, set, false, &f.program), 0);
		assert_int_equal(f.program.n_rules, depend ? SP_RULES_MAX : 0);
		assert_true(f.program.stages[SP_STAGE_TCP_CONNECT].looked_at ==
			    (depend ? UINT64_MAX : 0));
		assert_int_equal(f.program.stages[SP_STAGE_TCP_CONNECT].n_always,
				 depend ? 0 : SP_RULES_MAX);
		fixture_free(&f);
	}
}

static void test_encode(void **state)
{
	static const struct fixture_policy policy = {
		"p",
		{ "/a" },
		.base = { { OPTION_TCP_CONGESTION, .text = "abcdefghijklmno" },
			  { OPTION_SO_MARK, -2 },
			  { OPTION_IPV6_TCLASS, 8 } },
	};
	static const __u8 zero[SP_VALUE_SIZE];
	struct fixture f = fixture_compile(&policy, false);
	const struct program_choice *choices = f.program.stages[SP_STAGE_TCP_CONNECT].base.choices;
	struct sp_op op;
	int mark = -2;

	(void)state;
	memset(&op, 0xff, sizeof(op));
	program_encode_ops(&choices[0], SP_STAGE_TCP_CONNECT, &op);
	assert_int_equal(op.level, SOL_SOCKET);
	assert_int_equal(op.optname, SO_MARK);
	assert_int_equal(op.option, OPTION_SO_MARK);
	assert_int_equal(op.optlen, 4);
	assert_int_equal(op.families, SP_FAMILY_IPV4 | SP_FAMILY_IPV6);
	assert_int_equal(op.flags, 0);
	assert_int_equal(op.counter, 0);
	assert_int_equal(op.index, 0);
	assert_memory_equal(op.value, &mark, 4);
	assert_memory_equal(op.value + 4, zero, SP_VALUE_SIZE - 4);

	program_encode_ops(&choices[1], SP_STAGE_TCP_CONNECT, &op);
	assert_int_equal(op.level, IPPROTO_TCP);
	assert_int_equal(op.optlen, 16);
	assert_string_equal((const char *)op.value, "abcdefghijklmno");

	program_encode_ops(&choices[2], SP_STAGE_TCP_CONNECT, &op);
	assert_int_equal(op.families, SP_FAMILY_IPV6);
	fixture_free(&f);
}

/* What program.c takes for granted of the table. */
static void test_table(void **state)
{
	(void)state;
	for (int id = 0; id < OPTION_MAX; id++) {
		const struct option *o = &option_table[id];

		if (o->type == OPTION_STRING)
			assert_true(o->max + 1 <= SP_VALUE_SIZE);
		/* a stage belongs to one direction */
		for (int d = 0; d < DIRECTION_MAX; d++)
			for (int s = 0; s < SP_STAGE_MAX; s++)
				assert_true(!(o->stages[d] & BIT(s)) ||
					    stage_table[s].direction == (enum direction)d);
	}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_base_options),
		cmocka_unit_test(test_listener),
		cmocka_unit_test(test_bind),
		cmocka_unit_test(test_order),
		cmocka_unit_test(test_beaten),
		cmocka_unit_test(test_unset),
		cmocka_unit_test(test_restrict),
		cmocka_unit_test(test_conditional_listener),
		cmocka_unit_test(test_decided_late),
		cmocka_unit_test(test_late_for_another),
		cmocka_unit_test(test_priority_is_late_too),
		cmocka_unit_test(test_udp_send),
		cmocka_unit_test(test_unix),
		cmocka_unit_test(test_replies),
		cmocka_unit_test(test_counted_once),
		cmocka_unit_test(test_counted_by_the_base),
		cmocka_unit_test(test_two_spellings),
		cmocka_unit_test(test_number_of_rules),
		cmocka_unit_test(test_encode),
		cmocka_unit_test(test_table),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
