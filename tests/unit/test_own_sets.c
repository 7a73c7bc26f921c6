// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * What an application has set before a policy's moment, and what becomes of values that cannot be
 * set: by the hooks' own code, over a socket on which some calls fail.
 */
#include <errno.h>
#include <netinet/tcp.h>

#include "rules_model.h"

static struct connection peer(void)
{
	struct connection c = {
		.direction = DIRECTION_CONNECT,
		.protocol = PROTOCOL_TCP,
		.family = SP_FAMILY_INDEX_IPV4,
		.remote = { .known = true, .v4 = true, .port = 80, .address = { 10, 0, 0, 1 } },
		.local = { .known = true, .v4 = true, .port = 1024, .address = { 10, 0, 0, 7 } },
	};

	return c;
}

static void world_of(struct world *w, const struct fixture_policy *policies, size_t n)
{
	world_new(w, fixture_config(policies, n));
	for (size_t i = 0; i < n; i++)
		apply_policy(w, &w->config->policies[i]);
	twin_apply(w->numbers, w->n);
}

/* What is to be respected, or brought into a range.  A fresh socket has no limit of its rate. */
static const struct fixture_policy defaults = {
	"p",
	.base = {
		{ OPTION_SO_MARK, 7, .application = APPLICATION_RESPECT },
		{ OPTION_SO_SNDBUF, 5000, .application = APPLICATION_RESPECT },
		{ OPTION_SO_RCVBUF, 5000, .range = { true, 4000, 6000 } },
		{ OPTION_TCP_CONGESTION, .text = "vegas", .application = APPLICATION_RESPECT },
		{ OPTION_SO_MAX_PACING_RATE, 60000, .application = APPLICATION_RESPECT },
		{ OPTION_TCP_NOTSENT_LOWAT, .range = { true, 100, 900 } },
		{ OPTION_TCP_NODELAY, 1, .application = APPLICATION_RESPECT },
		{ OPTION_TCP_MAXSEG, 900, .application = APPLICATION_RESPECT },
		{ OPTION_TCP_WINDOW_CLAMP, .range = { true, 2000, UINT32_MAX } },
		{ OPTION_TCP_USER_TIMEOUT, 500, .range = { true, 400, UINT32_MAX } },
		{ OPTION_TCP_BPF_DELACK_MAX, 50000, .range = { true, 40000, 60000 } },
		{ OPTION_IP_TOS, 0x20, .application = APPLICATION_RESPECT },
		{ OPTION_SO_PRIORITY, 5, .application = APPLICATION_RESPECT },
	},
};

/* A new socket; whole: its hook was there from socket(2) on. */
static void begin(bool whole)
{
	const uint32_t unlimited = UINT32_MAX;

	twin_socket_new(AF_INET, SOCK_STREAM, IPPROTO_TCP, TCP_CLOSE);
	twin_have(SOL_SOCKET, SO_MAX_PACING_RATE, unlimited);
	memcpy(twin_value(IPPROTO_TCP, TCP_CONGESTION)->data, "cubic", 6);
	twin_socket.kept.has_own = whole;
	twin_socket.kept.own.whole = whole ? ~0ull : 0;
}

enum how_called {
	NOT_CALLED,
	CALLED,
	CALLED_UNSEEN, /* before there was a hook */
	CALL_FAILED,
	SHOWN, /* nobody set it, but the kernel shows that */
};

/* The kernel fails the call; applications know TCP_BPF_DELACK_MAX by its other name. */
static void call_option(enum option_id id, enum how_called how, uint32_t value)
{
	const struct option *o = &option_table[id];
	int name =
		o->other_optname && id == OPTION_TCP_BPF_DELACK_MAX ? o->other_optname : o->optname;
	struct twin_value *to = twin_value(o->level, name);

	to->call_error = how == CALL_FAILED ? -EINVAL : 0;
	if (how == CALLED || how == CALL_FAILED)
		assert_int_equal(twin_call_number(o->level, name, value), to->call_error);
	else if (how == CALLED_UNSEEN)
		twin_keep(to, &value, sizeof(value));
	else if (how == SHOWN)
		twin_have(o->level, name, value);
}

static const struct moment_case {
	const char *name;
	enum option_id id;
	bool whole;
	struct {
		enum how_called how;
		uint32_t value;
	} calls[2];
	uint32_t expected; /* as the kernel shows it */
	int outcome;	   /* enum sp_outcome_kind, or -1 */
} moment_cases[] = {
#define KEPT SP_OUTCOME_RESPECTED
	/* a number that the kernel shows */
	{ "nobody", OPTION_SO_MAX_PACING_RATE, true, { { 0 } }, 60000, -1 },
	{ "set", OPTION_SO_MAX_PACING_RATE, true, { { CALLED, 30 } }, 30, KEPT },
	{ "set to the default", OPTION_SO_MAX_PACING_RATE, true, { { CALLED, ~0u } }, ~0u, KEPT },
	{ "set to the policy's",
	  OPTION_SO_MAX_PACING_RATE,
	  true,
	  { { CALLED, 60000 } },
	  60000,
	  KEPT },
	{ "failed", OPTION_SO_MAX_PACING_RATE, true, { { CALL_FAILED, 30 } }, 60000, -1 },
	{ "set, then failed",
	  OPTION_SO_MAX_PACING_RATE,
	  true,
	  { { CALLED, 30 }, { CALL_FAILED, 40 } },
	  30,
	  KEPT },
	{ "failed, then set",
	  OPTION_SO_MAX_PACING_RATE,
	  true,
	  { { CALL_FAILED, 30 }, { CALLED, 40 } },
	  40,
	  KEPT },
	{ "set twice",
	  OPTION_SO_MAX_PACING_RATE,
	  true,
	  { { CALLED, 30 }, { CALLED, 40 } },
	  40,
	  KEPT },
	{ "a listener's, by its policy over the application's",
	  OPTION_SO_MAX_PACING_RATE,
	  true,
	  { { CALLED, 30 }, { SHOWN, 50 } },
	  60000,
	  -1 },
	{ "a listener's, by its policy",
	  OPTION_SO_MAX_PACING_RATE,
	  true,
	  { { SHOWN, 30 } },
	  60000,
	  -1 },
	{ "old: nobody", OPTION_SO_MAX_PACING_RATE, false, { { 0 } }, 60000, -1 },
	{ "old: set", OPTION_SO_MAX_PACING_RATE, false, { { CALLED_UNSEEN, 30 } }, 30, KEPT },
	{ "old: set to the policy's",
	  OPTION_SO_MAX_PACING_RATE,
	  false,
	  { { CALLED_UNSEEN, 60000 } },
	  60000,
	  -1 },
	{ "old: set since", OPTION_SO_MAX_PACING_RATE, false, { { CALLED, ~0u } }, ~0u, KEPT },
	/* buffers: a bit says whether somebody set them */
	{ "nobody", OPTION_SO_SNDBUF, true, { { SHOWN, 87380 } }, 10000, -1 },
	{ "set", OPTION_SO_SNDBUF, true, { { CALLED, 3000 } }, 6000, KEPT },
	{ "failed", OPTION_SO_SNDBUF, true, { { CALL_FAILED, 3000 } }, 10000, -1 },
	{ "old: nobody", OPTION_SO_SNDBUF, false, { { SHOWN, 87380 } }, 10000, -1 },
	{ "old: set", OPTION_SO_SNDBUF, false, { { CALLED_UNSEEN, 3000 } }, 6000, KEPT },
	/* the ECN bits are the kernel's */
	{ "set", OPTION_IP_TOS, true, { { CALLED, 0x43 } }, 0x40, KEPT },
	{ "old: only those differ", OPTION_IP_TOS, false, { { SHOWN, 0x21 } }, 0x21, -1 },
	{ "old: of a fresh one only those differ",
	  OPTION_IP_TOS,
	  false,
	  { { SHOWN, 2 } },
	  0x22,
	  -1 },
	/* 0 or 1, whatever was set */
	{ "nobody", OPTION_TCP_NODELAY, true, { { 0 } }, 1, -1 },
	{ "set", OPTION_TCP_NODELAY, true, { { CALLED, 7 } }, 1, KEPT },
	{ "off", OPTION_TCP_NODELAY, true, { { CALLED, 0 } }, 0, KEPT },
	/* what means nothing but the default counts for nothing */
	{ "set", OPTION_SO_MARK, true, { { CALLED, 3 } }, 3, KEPT },
	{ "failed", OPTION_SO_MARK, true, { { CALL_FAILED, 3 } }, 7, -1 },
	{ "set to 0", OPTION_SO_MARK, true, { { CALLED, 0 } }, 7, -1 },
	/* IP_TOS has moved it, which does not count; what a listener had is not inherited */
	{ "moved", OPTION_SO_PRIORITY, true, { { SHOWN, 4 } }, 5, -1 },
	{ "set", OPTION_SO_PRIORITY, true, { { CALLED, 4 } }, 4, KEPT },
	{ "not inherited", OPTION_SO_PRIORITY, true, { { CALLED, 4 }, { SHOWN, 0 } }, 5, -1 },
	/* not shown */
	{ "nobody", OPTION_TCP_MAXSEG, true, { { 0 } }, 900, -1 },
	{ "set", OPTION_TCP_MAXSEG, true, { { CALLED, 700 } }, 700, KEPT },
	{ "set to none", OPTION_TCP_MAXSEG, true, { { CALLED, 0 } }, 0, KEPT },
	{ "the kernel takes no such value",
	  OPTION_TCP_MAXSEG,
	  true,
	  { { CALL_FAILED, 20 } },
	  900,
	  -1 },
	{ "nor such a one", OPTION_TCP_MAXSEG, true, { { CALL_FAILED, 40000 } }, 900, -1 },
	/* ranges: of a value */
	{ "nobody", OPTION_SO_RCVBUF, true, { { SHOWN, 87380 } }, 10000, -1 },
	{ "in it", OPTION_SO_RCVBUF, true, { { CALLED, 4500 } }, 9000, -1 },
	{ "below", OPTION_SO_RCVBUF, true, { { CALLED, 100 } }, 8000, SP_OUTCOME_CLAMPED },
	{ "above",
	  OPTION_SO_RCVBUF,
	  false,
	  { { CALLED_UNSEEN, 6001 } },
	  12000,
	  SP_OUTCOME_CLAMPED },
	{ "none, without a most",
	  OPTION_TCP_USER_TIMEOUT,
	  true,
	  { { CALLED_UNSEEN, 0 } },
	  500,
	  -1 },
	{ "below", OPTION_TCP_USER_TIMEOUT, true, { { CALLED, 399 } }, 400, SP_OUTCOME_CLAMPED },
	{ "above all", OPTION_TCP_USER_TIMEOUT, true, { { CALLED, 1u << 30 } }, 1u << 30, -1 },
	{ "none", OPTION_TCP_WINDOW_CLAMP, true, { { CALLED, 0 } }, 0, -1 },
	{ "below", OPTION_TCP_WINDOW_CLAMP, true, { { CALLED, 1500 } }, 2000, SP_OUTCOME_CLAMPED },
	/* of none */
	{ "nobody", OPTION_TCP_NOTSENT_LOWAT, true, { { 0 } }, 0, -1 },
	{ "above", OPTION_TCP_NOTSENT_LOWAT, true, { { CALLED, 901 } }, 900, SP_OUTCOME_CLAMPED },
	{ "in it", OPTION_TCP_NOTSENT_LOWAT, true, { { CALLED, 101 } }, 101, -1 },
	/* not shown: as it was noted */
	{ "nobody", OPTION_TCP_BPF_DELACK_MAX, true, { { SHOWN, 40000 } }, 50000, -1 },
	{ "in it", OPTION_TCP_BPF_DELACK_MAX, true, { { CALLED, 45000 } }, 45000, -1 },
	{ "above",
	  OPTION_TCP_BPF_DELACK_MAX,
	  true,
	  { { CALLED, 90000 } },
	  60000,
	  SP_OUTCOME_CLAMPED },
#undef KEPT
};

static void run_case(const struct world *w, const struct moment_case *one)
{
	const struct option *o = &option_table[one->id];
	struct connection c = peer();
	uint32_t shown;

	begin(one->whole);
	for (size_t i = 0; i < ARRAY_SIZE(one->calls); i++)
		call_option(one->id, one->calls[i].how, one->calls[i].value);
	run_at(w, SP_STAGE_TCP_CONNECT, &c, 0);
	shown = twin_number(o->level, o->optname);
	if (shown != one->expected)
		fail_msg("%s, %s: %u, not %u", o->name, one->name, shown, one->expected);
	for (int kind = 0; kind < SP_OUTCOME_MAX; kind++)
		if (twin_outcomes_of(counter_of(&w->config->policies[0], "", w->config), one->id,
				     (enum sp_outcome_kind)kind) != (kind == one->outcome))
			fail_msg("%s, %s: outcome %d, not %d", o->name, one->name, kind,
				 one->outcome);
	assert_int_equal(twin.n_counts, one->outcome >= 0);
	assert_false(twin.refused);
}

static void test_moments(void **state_)
{
	struct world w;

	(void)state_;
	world_of(&w, &defaults, 1);
	for (size_t i = 0; i < ARRAY_SIZE(moment_cases); i++)
		run_case(&w, &moment_cases[i]);
	world_free(&w);
}

/* A later configuration respects what was not noted from the beginning: it is guessed. */
static void test_noted_since(void **state_)
{
	struct connection c = peer();
	struct world w;

	(void)state_;
	world_of(&w, &defaults, 1);
	begin(true);
	twin_socket.kept.own.whole = 1ull << OPTION_SO_MARK;
	call_option(OPTION_SO_MAX_PACING_RATE, CALLED_UNSEEN, 30);
	call_option(OPTION_SO_MARK, CALLED_UNSEEN, 3);
	run_at(&w, SP_STAGE_TCP_CONNECT, &c, 0);
	assert_int_equal(twin_number(SOL_SOCKET, SO_MAX_PACING_RATE), 30);
	assert_int_equal(twin_number(SOL_SOCKET, SO_MARK), 7);
	world_free(&w);
}

static void expect_congestion(const struct world *w, const char *expected, bool is_kept)
{
	struct connection c = peer();

	run_at(w, SP_STAGE_TCP_CONNECT, &c, 0);
	assert_string_equal(twin_value(IPPROTO_TCP, TCP_CONGESTION)->data, expected);
	assert_int_equal(twin_outcomes(OPTION_TCP_CONGESTION, SP_OUTCOME_RESPECTED), is_kept);
}

static void test_texts(void **state_)
{
	struct world w;

	(void)state_;
	world_of(&w, &defaults, 1);
	begin(true);
	expect_congestion(&w, "vegas", false);
	begin(true);
	assert_int_equal(twin_call(IPPROTO_TCP, TCP_CONGESTION, "bbr", 3), 0);
	expect_congestion(&w, "bbr", true);
	begin(true);
	assert_int_equal(twin_call(IPPROTO_TCP, TCP_CONGESTION, "cubic", 6), 0);
	expect_congestion(&w, "cubic", true);
	begin(true);
	twin_value(IPPROTO_TCP, TCP_CONGESTION)->call_error = -ENOENT;
	assert_int_equal(twin_call(IPPROTO_TCP, TCP_CONGESTION, "no", 2), -ENOENT);
	expect_congestion(&w, "vegas", false);
	/* an old one: a bit says whether somebody chose it */
	begin(false);
	expect_congestion(&w, "vegas", false);
	begin(false);
	twin_keep(twin_value(IPPROTO_TCP, TCP_CONGESTION), "bbr", 4);
	expect_congestion(&w, "bbr", true);
	world_free(&w);
}

/* The calls of MPTCP's own socket count for its subflows, which show nothing of them. */
static void test_mptcp(void **state_)
{
	static struct mptcp_sock parent;
	struct sp_own_sets *own = &twin_socket.of_parent.own;
	struct connection c = peer();
	struct world w;

	(void)state_;
	world_of(&w, &defaults, 1);
	for (int is_set = 0; is_set < 2; is_set++) {
		begin(false);
		twin_socket.parent = &parent;
		twin_socket.of_parent.has_own = true;
		own->whole = ~0ull;
		own->options = 1ull << OPTION_TCP_NODELAY | 1ull << OPTION_SO_MARK |
			       1ull << OPTION_SO_PRIORITY;
		own->value[OPTION_SO_MARK] = 3;
		own->value[OPTION_SO_PRIORITY] = 4;
		/* or the calls failed */
		parent.sk.icsk_inet.sk.sk_mark = is_set ? 3 : 0;
		parent.sk.icsk_inet.sk.sk_priority = is_set ? 4 : 0;
		run_at(&w, SP_STAGE_TCP_CONNECT, &c, 0);
		assert_int_equal(twin_number(IPPROTO_TCP, TCP_NODELAY), 0);
		assert_int_equal(twin_number(SOL_SOCKET, SO_MARK), is_set ? 0 : 7);
		assert_int_equal(twin_number(SOL_SOCKET, SO_PRIORITY), is_set ? 0 : 5);
		assert_int_equal(twin_number(SOL_SOCKET, SO_MAX_PACING_RATE), 60000);
		assert_int_equal(twin_outcomes(OPTION_SO_MARK, SP_OUTCOME_RESPECTED), is_set);
		assert_int_equal(twin_outcomes(OPTION_TCP_NODELAY, SP_OUTCOME_RESPECTED), 1);
	}
	world_free(&w);
}

/* A value that cannot be brought into its range. */
static void test_range_fails(void **state_)
{
	struct connection c = peer();
	struct world w;

	(void)state_;
	world_of(&w, &defaults, 1);
	begin(true);
	call_option(OPTION_SO_RCVBUF, CALLED, 100);
	twin_value(SOL_SOCKET, SO_RCVBUF)->helper_error = -EPERM;
	run_at(&w, SP_STAGE_TCP_CONNECT, &c, 0);
	assert_int_equal(twin_number(SOL_SOCKET, SO_RCVBUF), 200);
	assert_int_equal(twin_failures(OPTION_SO_RCVBUF, -EPERM), 1);
	assert_int_equal(twin_outcomes(OPTION_SO_RCVBUF, SP_OUTCOME_CLAMPED), 0);
	world_free(&w);
}

/* --- order ---------------------------------------------------------------------------------- */

/* Writes the names of what was set, in order. */
static void expect_order(const char *expected)
{
	char seen[512] = "";

	for (size_t i = 0; i < twin.n_calls; i++) {
		const struct option *o = twin_option(twin.calls[i].level, twin.calls[i].name);

		strcat(strcat(seen, *seen ? " " : ""), o ? o->name : "?");
	}
	assert_string_equal(seen, expected);
}

/* What looks at the socket comes last, in the order of the option table, whichever policy it is of:
 * SO_PRIORITY after IP_TOS. */
static void test_order(void **state_)
{
	static const struct fixture_policy policies[] = {
		{ "weak", .base = { { OPTION_IP_TOS, 0x20, .application = APPLICATION_RESPECT },
				    { OPTION_TCP_KEEPIDLE, 60 },
				    { OPTION_SO_MAX_PACING_RATE, 9,
				      .application = APPLICATION_RESPECT } } },
		{ "strong", .base = { { OPTION_SO_PRIORITY, 5 },
				      { OPTION_SO_SNDBUF, 5000, .refuse = true },
				      { OPTION_TCP_KEEPCNT, 4 } } },
	};
	struct connection c = peer();
	struct world w;

	(void)state_;
	world_of(&w, policies, 2);
	begin(true);
	run_at(&w, SP_STAGE_TCP_CONNECT, &c, 0);
	expect_order("TCP_KEEPCNT TCP_KEEPIDLE SO_SNDBUF SO_MAX_PACING_RATE IP_TOS SO_PRIORITY");
	assert_true(twin_socket.kept.own.due == 0);
	/* another moment begins anew */
	call_option(OPTION_SO_MAX_PACING_RATE, CALLED, 5);
	run_at(&w, SP_STAGE_TCP_CONNECT, &c, 0);
	expect_order("TCP_KEEPCNT TCP_KEEPIDLE SO_SNDBUF IP_TOS SO_PRIORITY");
	world_free(&w);
}

/* An accepted socket gets the SO_PRIORITY of its IP_TOS, wherever that lies among the operations,
 * but not of one that is the application's. */
static void test_implied(void **state_)
{
	static const struct fixture_policy many = {
		"p",
		.base = {
			{ OPTION_SO_MARK, 7 },
			{ OPTION_SO_RCVBUF, 5000 },
			{ OPTION_SO_SNDBUF, 5000 },
			{ OPTION_SO_RCVLOWAT, 1 },
			{ OPTION_TCP_NODELAY, 1 },
			{ OPTION_TCP_KEEPIDLE, 60 },
			{ OPTION_TCP_KEEPCNT, 4 },
			{ OPTION_IP_TOS, 0x28, .application = APPLICATION_RESPECT },
		},
	};

	(void)state_;
	for (unsigned first = 0; first < 8; first++) {
		struct fixture_policy policy = { "p" };
		struct connection c = peer();
		struct world w;

		c.direction = DIRECTION_ACCEPT;
		memcpy(policy.base, many.base + first, (8 - first) * sizeof(*policy.base));
		world_of(&w, &policy, 1);
		begin(true);
		run_at(&w, SP_STAGE_TCP_PASSIVE_EST, &c, 0);
		assert_int_equal(twin_number(IPPROTO_IP, IP_TOS), 0x28);
		if (twin_number(SOL_SOCKET, SO_PRIORITY) != 2)
			fail_msg("SO_PRIORITY %u behind %u operations",
				 twin_number(SOL_SOCKET, SO_PRIORITY), 7 - first);
		begin(true);
		call_option(OPTION_IP_TOS, CALLED, 0x40);
		run_at(&w, SP_STAGE_TCP_PASSIVE_EST, &c, 0);
		assert_int_equal(twin_number(IPPROTO_IP, IP_TOS), 0x40);
		assert_int_equal(twin_number(SOL_SOCKET, SO_PRIORITY), 0);
		world_free(&w);
	}
}

/* --- what cannot be set --------------------------------------------------------------------- */

#define NO_DEVICE_SET (twin_number(SOL_SOCKET, SO_BINDTOIFINDEX) == NO_DEVICE)

static const struct fixture_policy refusing = {
	"p",
	.base = { { OPTION_TCP_CONGESTION, .text = "vegas", .refuse = true },
		  { OPTION_TCP_BPF_IW, 5, .refuse = true },
		  { OPTION_IP_TOS, 0x20 } },
	.rules = { { "ear", BIT(DIRECTION_LISTEN), { { OPTION_TCP_NODELAY, 1, .refuse = true } } },
		   { "late",
		     BIT(DIRECTION_CONNECT),
		     { { OPTION_TCP_CONGESTION, .text = "bbr", .refuse = true } },
		     .local = { "10.0.0.0/8" } } },
};

/* Where the call is refused, where the SYN finds no route, and where there is nothing to refuse. */
static void test_refuse(void **state_)
{
	/* without the last rule, connect(2) decides */
	struct fixture_policy early = refusing;
	const struct {
		const struct fixture_policy *policy;
		enum sp_stage stage;
		enum option_id id;
		bool refused, no_device;
	} cases[] = {
		{ &early, SP_STAGE_TCP_CONNECT, OPTION_TCP_CONGESTION, true, false },
		{ &refusing, SP_STAGE_TCP_SYN, OPTION_TCP_CONGESTION, true, true },
		{ &refusing, SP_STAGE_TCP_ACTIVE_EST, OPTION_TCP_BPF_IW, false, false },
		{ &refusing, SP_STAGE_TCP_PASSIVE_EST, OPTION_TCP_CONGESTION, false, false },
		{ &refusing, SP_STAGE_TCP_LISTEN, OPTION_TCP_NODELAY, false, false },
	};

	(void)state_;
	early.rules[1].name = NULL;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		const struct option *o = &option_table[cases[i].id];
		struct connection c = peer();
		struct world w;

		world_of(&w, cases[i].policy, 1);
		c.direction = stages[cases[i].stage].direction;
		begin(true);
		run_at(&w, cases[i].stage, &c, 0);
		assert_false(twin.refused);
		assert_int_equal(twin.n_counts, 0);
		begin(true);
		twin_value(o->level, o->optname)->helper_error = -ENOENT;
		run_at(&w, cases[i].stage, &c, 0);
		if (twin.refused != cases[i].refused || NO_DEVICE_SET != cases[i].no_device)
			fail_msg("stage %d: refused %d, device %d", cases[i].stage, twin.refused,
				 NO_DEVICE_SET);
		assert_int_equal(twin_failures(cases[i].id, -ENOENT), 1);
		assert_int_equal(twin_outcomes(cases[i].id, SP_OUTCOME_REFUSED), cases[i].refused);
		assert_int_equal(twin_outcomes(cases[i].id, SP_OUTCOME_NOT_REFUSED),
				 !cases[i].refused);
		world_free(&w);
	}
}

/* A policy that refuses nothing; a socket that cannot be kept from its route. */
static void test_not_refused(void **state_)
{
	struct connection c = peer();
	struct world w;

	(void)state_;
	world_of(&w, &refusing, 1);
	begin(true);
	twin_value(IPPROTO_IP, IP_TOS)->helper_error = -ENOPROTOOPT;
	run_at(&w, SP_STAGE_TCP_CONNECT, &c, 0);
	assert_false(twin.refused);
	assert_int_equal(twin_failures(OPTION_IP_TOS, -ENOPROTOOPT), 1);
	assert_int_equal(twin.n_counts, 1);
	begin(true);
	twin_value(IPPROTO_TCP, TCP_CONGESTION)->helper_error = -ENOENT;
	twin_value(SOL_SOCKET, SO_BINDTOIFINDEX)->helper_error = -EPERM;
	run_at(&w, SP_STAGE_TCP_SYN, &c, 0);
	assert_false(twin.refused);
	assert_int_equal(twin_outcomes(OPTION_TCP_CONGESTION, SP_OUTCOME_NOT_REFUSED), 1);
	world_free(&w);
}

/* "its datagram has its route already, so the first send fails once (the next one is right)" */
static void test_comes_too_late(void **state_)
{
	static const struct fixture_policy policies[] = {
		{ "mark", .rules = { { "r",
				       BIT(DIRECTION_CONNECT),
				       { { OPTION_SO_MARK, 7, .refuse = true } } } } },
		{ "device",
		  .rules = { { "r",
			       BIT(DIRECTION_CONNECT),
			       { { OPTION_SO_BINDTODEVICE, .text = "lo", .refuse = true } } } } },
		{ "none",
		  .rules = { { "r",
			       BIT(DIRECTION_CONNECT),
			       { { OPTION_SO_BINDTODEVICE, .text = "", .refuse = true } } } } },
	};
	struct connection c = { .direction = DIRECTION_CONNECT, .protocol = PROTOCOL_UDP };
	struct world w;

	(void)state_;
	for (size_t i = 0; i < ARRAY_SIZE(policies); i++) {
		bool is_late = i < 2;

		world_of(&w, &policies[i], 1);
		w.also = SP_FAMILY_UNBOUND;
		twin_socket_new(AF_INET, SOCK_DGRAM, IPPROTO_UDP, TCP_CLOSE);
		run_at(&w, SP_STAGE_UDP_SEND, &c, 0);
		if (twin.refused != is_late || twin.n_set != 1)
			fail_msg("%s: refused %d", policies[i].name, twin.refused);
		assert_int_equal(twin.n_counts, is_late);
		w.also = i == 0 ? SP_FAMILY_UNBOUND : 0;
		run_at(&w, SP_STAGE_UDP_SEND, &c, 0);
		assert_false(twin.refused);
		/* connect(2) asks for the route afterwards */
		twin_socket_new(AF_INET, SOCK_DGRAM, IPPROTO_UDP, TCP_CLOSE);
		w.also = SP_FAMILY_UNBOUND;
		run_at(&w, SP_STAGE_UDP_CONNECT, &c, 0);
		assert_false(twin.refused);
		world_free(&w);
	}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_moments),	    cmocka_unit_test(test_noted_since),
		cmocka_unit_test(test_texts),	    cmocka_unit_test(test_mptcp),
		cmocka_unit_test(test_range_fails), cmocka_unit_test(test_order),
		cmocka_unit_test(test_implied),	    cmocka_unit_test(test_refuse),
		cmocka_unit_test(test_not_refused), cmocka_unit_test(test_comes_too_late),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
