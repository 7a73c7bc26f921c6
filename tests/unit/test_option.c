// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <cmocka.h>

#include <linux/bpf.h>

#include "policy/stage.h"

static bool starts_with(const char *text, const char *prefix)
{
	return !strncmp(text, prefix, strlen(prefix));
}

/* One line of prose: there, no newline, does not end like a sentence. */
static bool is_one_line(const char *text)
{
	return text && *text && !strchr(text, '\n') && text[strlen(text) - 1] != '.';
}

static const char *prefix_of_level(int level)
{
	switch (level) {
	case SOL_SOCKET:
		return "SO_";
	case IPPROTO_TCP:
		return "TCP_";
	case IPPROTO_IP:
		return "IP_";
	case IPPROTO_IPV6:
		return "IPV6_";
	case SP_LEVEL_REPLY:
		return ""; /* as BPF_SOCK_OPS_* have them */
	default:
		return "no such level";
	}
}

/* SOL_TCP is for TCP; AF_UNIX sockets have SOL_SOCKET alone; replies have stages of their own. */
static void stage_fits_level(const struct option *o, enum sp_stage s)
{
	const bool replies = s == SP_STAGE_REPLY_ACTIVE || s == SP_STAGE_REPLY_PASSIVE;

	assert_int_equal(o->level == SP_LEVEL_REPLY, replies);
	if (o->level == IPPROTO_TCP)
		assert_int_equal(stage_table[s].transport, TRANSPORT_TCP);
	if (stage_table[s].transport == TRANSPORT_UNIX)
		assert_int_equal(o->level, SOL_SOCKET);
}

static void row_is_sane(const struct option *o)
{
	const unsigned all = BIT(SP_STAGE_MAX) - 1;
	unsigned used = 0;

	assert_true(starts_with(o->name, prefix_of_level(o->level)));
	assert_in_range(o->level, 0, UINT16_MAX);
	assert_in_range(o->optname, 1, UINT16_MAX);
	assert_true(o->type < OPTION_TYPE_MAX && o->type != OPTION_DSCP);
	assert_true(o->min <= o->max);
	assert_true(o->min >= INT32_MIN && o->max <= (int64_t)UINT32_MAX);
	/* One number of 32 bits cannot hold both. */
	assert_true(o->min >= 0 || o->max <= INT32_MAX);
	if (o->zero)
		assert_true(o->min > 0);
	assert_int_equal(o->type == OPTION_TIME, o->unit_usec != 0);
	if (o->type == OPTION_STRING)
		assert_in_range(o->max, 1, SP_VALUE_SIZE - 1);
	if (o->type == OPTION_BOOL)
		assert_true(o->min == 0 && o->max == 1);
	if (o->hex)
		assert_int_equal(o->type, OPTION_INT);
	for (int d = 0; d < DIRECTION_MAX; d++) {
		assert_int_equal(o->stages[d] & ~all, 0);
		used |= o->stages[d];
	}
	assert_true(used);
	if (o->carried)
		assert_true(o->stages[DIRECTION_LISTEN]);
	for (int s = 0; s < SP_STAGE_MAX; s++)
		if (used & BIT(s))
			stage_fits_level(o, (enum sp_stage)s);
	assert_true(is_one_line(o->summary));
	assert_true(is_one_line(o->kernel));
	if (o->level == SP_LEVEL_REPLY)
		assert_true(starts_with(o->since, "4."));
	else
		assert_true(starts_with(o->since, "5.") || starts_with(o->since, "6."));
}

static void every_row_is_sane(void **state)
{
	(void)state;
	assert_true(OPTION_MAX == 36);
	for (size_t i = 0; i < OPTION_MAX; i++) {
		const struct option *o = &option_table[i];

		print_message("%s\n", o->name);
		row_is_sane(o);
		assert_int_equal(option_id(o), i);
		assert_ptr_equal(option_find(o->name), o);
		assert_null(option_find_shorthand(o->name));
		assert_null(option_find_refused(o->name));
		for (size_t j = 0; j < i; j++)
			assert_true(option_table[j].level != o->level ||
				    option_table[j].optname != o->optname);
	}
}

/* A direction's stages are those at which such a socket passes by. */
static void stages_fit_directions(void **state)
{
	(void)state;
	for (size_t i = 0; i < OPTION_MAX; i++)
		for (int d = 0; d < DIRECTION_MAX; d++)
			for (int s = 0; s < SP_STAGE_MAX; s++)
				if (option_table[i].stages[d] & BIT(s))
					assert_int_equal(stage_table[s].direction, d);
}

/* Numbers from the kernel's headers, so that a row with its neighbour's is seen. */
static void numbers_are_the_kernels(void **state)
{
	static const struct {
		const char *name;
		int level, optname;
	} known[] = {
		{ "SO_MARK", 1, 36 },
		{ "SO_TXREHASH", 1, 74 },
		{ "SO_MAX_PACING_RATE", 1, 47 },
		{ "TCP_CONGESTION", 6, 13 },
		{ "TCP_USER_TIMEOUT", 6, 18 },
		{ "TCP_RTO_MAX_MS", 6, 44 },
		{ "TCP_BPF_IW", 6, 1001 },
		{ "TCP_BPF_SNDCWND_CLAMP", 6, 1002 },
		{ "TCP_BPF_DELACK_MAX", 6, 1003 },
		{ "TCP_BPF_RTO_MIN", 6, 1004 },
		{ "IP_TOS", 0, 1 },
		{ "IPV6_TCLASS", 41, 67 },
		{ "IPV6_AUTOFLOWLABEL", 41, 70 },
		{ "TIMEOUT_INIT", SP_LEVEL_REPLY, 1 },
		{ "RWND_INIT", SP_LEVEL_REPLY, 2 },
		{ "NEEDS_ECN", SP_LEVEL_REPLY, 6 },
		{ "BASE_RTT", SP_LEVEL_REPLY, 7 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(known); i++) {
		const struct option *o = option_find(known[i].name);

		assert_non_null(o);
		assert_int_equal(o->level, known[i].level);
		assert_int_equal(o->optname, known[i].optname);
	}
}

/* Who may have the last word about an option, which have a range, and where setting one fails. */
static void control_is_sane(void **state)
{
	(void)state;
	for (size_t i = 0; i < OPTION_MAX; i++) {
		const struct option *o = &option_table[i];
		const bool is_number = o->type == OPTION_INT || o->type == OPTION_SIZE ||
				       o->type == OPTION_RATE || o->type == OPTION_TIME;

		print_message("%s\n", o->name);
		assert_true(option_can_be_held(o) || !o->deniable);
		assert_true(option_can_be_held(o) || !o->has_order);
		assert_true(is_number || !o->has_order);
		assert_true(o->has_order || !o->zero_is_none);
		assert_true(!o->has_order || o->min >= 0); /* bounds have no sign */
		assert_int_equal(o->fails_at != 0, o->fails != NULL);
		assert_true(!o->fails || is_one_line(o->fails));
		assert_int_equal(o->fresh.kind == FRESH_SYSCTL, o->fresh.sysctl != NULL);
		assert_int_equal(option_is_none(o, 0), o->zero_is_none);
	}
}

static void are(const char *what, bool (*is)(const struct option *), const char *const *names,
		size_t n)
{
	for (size_t i = 0; i < OPTION_MAX; i++) {
		bool named = false;

		for (size_t j = 0; j < n; j++)
			named |= streq(option_table[i].name, names[j]);
		if (is(&option_table[i]) != named)
			fail_msg("%s: %s", what, option_table[i].name);
	}
}
#define ARE(is, ...)                                                                               \
	are(#is, is, (const char *const[]){ __VA_ARGS__ },                                         \
	    ARRAY_SIZE(((const char *const[]){ __VA_ARGS__ })))

static bool is_never_held(const struct option *o)
{
	return !option_can_be_held(o);
}

static bool is_deniable(const struct option *o)
{
	return o->deniable;
}

static bool has_no_order(const struct option *o)
{
	return !o->has_order;
}

/* As the policy language lists them. */
static void control_by_name(void **state)
{
	(void)state;
	ARE(is_never_held, "SO_REUSEADDR", "SO_REUSEPORT", "TCP_SAVE_SYN", "TIMEOUT_INIT",
	    "RWND_INIT", "NEEDS_ECN", "BASE_RTT");
	ARE(is_deniable, "SO_MARK", "SO_PRIORITY", "SO_BINDTODEVICE", "SO_BINDTOIFINDEX", "IP_TOS",
	    "IPV6_TCLASS", "TCP_CONGESTION");
	ARE(has_no_order, "SO_REUSEADDR", "SO_REUSEPORT", "SO_BINDTODEVICE", "SO_BINDTOIFINDEX",
	    "SO_MARK", "SO_PRIORITY", "SO_TXREHASH", "SO_KEEPALIVE", "TCP_CONGESTION",
	    "TCP_SAVE_SYN", "TCP_NODELAY", "TCP_THIN_LINEAR_TIMEOUTS", "IP_TOS", "IPV6_TCLASS",
	    "IPV6_AUTOFLOWLABEL", "TIMEOUT_INIT", "RWND_INIT", "NEEDS_ECN", "BASE_RTT");
	ARE(option_is_too_late, "SO_REUSEADDR", "SO_REUSEPORT", "SO_BINDTODEVICE",
	    "SO_BINDTOIFINDEX", "TCP_MAXSEG", "TCP_BPF_IW", "TCP_SYNCNT", "TCP_SAVE_SYN",
	    "TIMEOUT_INIT", "RWND_INIT", "NEEDS_ECN", "BASE_RTT");
}

/* "No limit" is above every number. */
static void values_that_are_none(void **state)
{
	(void)state;
	assert_true(option_is_none(option_find("TCP_USER_TIMEOUT"), 0));
	assert_false(option_is_none(option_find("TCP_USER_TIMEOUT"), 1));
	assert_true(option_is_none(option_find("SO_MAX_PACING_RATE"), UINT32_MAX));
	assert_false(option_is_none(option_find("SO_MAX_PACING_RATE"), 0));
	assert_false(option_is_none(option_find("SO_SNDBUF"), 0));
	assert_false(option_is_none(option_find("SO_SNDBUF"), UINT32_MAX));
}

static void families(void **state)
{
	const unsigned both = SP_FAMILY_IPV4 | SP_FAMILY_IPV6;

	(void)state;
	assert_int_equal(option_families(option_find("IP_TOS")), SP_FAMILY_IPV4);
	assert_int_equal(option_families(option_find("IPV6_TCLASS")), SP_FAMILY_IPV6);
	assert_int_equal(option_families(option_find("IPV6_AUTOFLOWLABEL")), SP_FAMILY_IPV6);
	assert_int_equal(option_families(option_find("SO_MARK")), both);
	assert_int_equal(option_families(option_find("TCP_NODELAY")), both);
	assert_int_equal(option_families(option_find("RWND_INIT")), both);
}

/* What ip-rule(8) and the look-up of a route go by, of all that a policy can set before it. */
static void what_the_route_goes_by(void **state)
{
	(void)state;
	for (size_t i = 0; i < OPTION_MAX; i++)
		assert_int_equal(option_table[i].route, i == OPTION_SO_MARK ||
								i == OPTION_SO_BINDTODEVICE ||
								i == OPTION_SO_BINDTOIFINDEX);
}

static void shorthand(void **state)
{
	const struct option_shorthand *s = option_find_shorthand("DSCP");

	(void)state;
	assert_non_null(s);
	assert_int_equal(s->as_option.type, OPTION_DSCP);
	assert_string_equal(s->expands_to[0]->name, "IP_TOS");
	assert_string_equal(s->expands_to[1]->name, "IPV6_TCLASS");
	assert_true(is_one_line(s->as_option.summary));
	assert_null(option_find("DSCP"));
	assert_null(option_find_shorthand("dscp"));
}

static void refused_are_sane(void **state)
{
	(void)state;
	for (size_t i = 0; i < n_option_refused; i++) {
		const struct option_refused *r = &option_refused[i];

		assert_non_null(r->names[0]);
		assert_null(r->names[ARRAY_SIZE(r->names) - 1]);
		for (const char *const *name = r->names; *name; name++) {
			print_message("%s\n", *name);
			assert_ptr_equal(option_find_refused(*name), r); /* no name twice */
			assert_null(option_find(*name));
			assert_null(option_find_shorthand(*name));
		}
		assert_true(is_one_line(r->why));
		assert_true(!r->instead || is_one_line(r->instead));
	}
}

/* The names that the policy language promises to know. */
static void refused_by_name(void **state)
{
	static const char *const names[] = {
		"SO_LINGER",
		"SO_RCVTIMEO",
		"SO_SNDTIMEO",
		"SO_SNDBUFFORCE",
		"SO_RCVBUFFORCE",
		"SO_BROADCAST",
		"SO_OOBINLINE",
		"SO_DEBUG",
		"SO_DONTROUTE",
		"SO_PASSCRED",
		"SO_BSDCOMPAT",
		"SO_SNDLOWAT",
		"SO_TYPE",
		"TCP_QUICKACK",
		"TCP_CORK",
		"TCP_DEFER_ACCEPT",
		"TCP_FASTOPEN_CONNECT",
		"TCP_LINGER2",
		"IP_TTL",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (!option_find_refused(names[i]))
			fail_msg("%s is not known", names[i]);
	assert_non_null(strstr(option_find_refused("TCP_RTO_MIN_US")->instead, "TCP_BPF_RTO_MIN"));
	assert_non_null(
		strstr(option_find_refused("TCP_DELACK_MAX_US")->instead, "TCP_BPF_DELACK_MAX"));
	assert_non_null(strstr(option_find_refused("SO_SNDBUFFORCE")->instead, "wmem_max"));
	assert_null(option_find_refused("TCP_RTO_MIN"));
}

static void suggest_one(const char *name, const char *expected)
{
	const char *got = option_suggest(name);

	if (!expected)
		assert_null(got);
	else if (!got || !streq(got, expected))
		fail_msg("%s: %s, not %s", name, got ? got : "nothing", expected);
}

static void suggestions(void **state)
{
	(void)state;
	suggest_one("TCP_CONGESTON", "TCP_CONGESTION");
	suggest_one("tcp_nodelay", "TCP_NODELAY");
	suggest_one("SO_SNDBFU", "SO_SNDBUF");
	suggest_one("DCSP", "DSCP");
	suggest_one("TCP_LINGR2", NULL); /* TCP_LINGER2 cannot be set */
	suggest_one("nothing like an option", NULL);
}

static void names_of_directions_and_stages(void **state)
{
	(void)state;
	for (int d = 0; d < DIRECTION_MAX; d++)
		assert_true(is_one_line(direction_words[d]));
	assert_string_equal(direction_words[DIRECTION_ACCEPT], "accept");
	for (int s = 0; s < SP_STAGE_MAX; s++) {
		assert_true(is_one_line(stage_name((enum sp_stage)s)));
		assert_true(is_one_line(stage_hooks((enum sp_stage)s)));
	}
	assert_string_equal(stage_name(SP_STAGE_TCP_CONNECT), "tcp-connect");
	assert_string_equal(stage_hooks(SP_STAGE_TCP_LISTEN), "sock_ops TCP_LISTEN_CB");
	assert_string_equal(stage_hooks(SP_STAGE_UDP_BIND), "bind4, bind6");
}

static bool is_reply(enum sp_stage s)
{
	return s == SP_STAGE_REPLY_ACTIVE || s == SP_STAGE_REPLY_PASSIVE;
}

/* Each op finds its stage when that is wanted, and nothing when all others are; but a socket that
 * called connect(2) may be established passively. */
static void stages_of_sock_ops(void **state)
{
	const uint64_t all = BIT(SP_STAGE_MAX) - 1u;

	(void)state;
	for (int s = 0; s < SP_STAGE_MAX; s++) {
		enum sp_stage stage = is_reply(s) ? SP_STAGE_REPLY_ACTIVE : (enum sp_stage)s;
		bool is_shared = is_reply(s) || s == SP_STAGE_TCP_PASSIVE_EST;
		uint64_t others = all & ~BIT(s);

		assert_int_equal(stage_table[s].sock_ops != 0,
				 starts_with(stage_hooks((enum sp_stage)s), "sock_ops"));
		for (int op = 0; op < SP_SOCK_OPS_MAX; op++) {
			if (!(stage_table[s].sock_ops >> op & 1))
				continue;
			assert_int_equal(stage_of_sock_op(BIT(s), op), stage);
			assert_int_equal(stage_of_sock_op(all, op), stage);
			assert_int_equal(stage_of_sock_op(others, op), is_shared ? stage : 0);
		}
	}
	assert_int_equal(
		stage_of_sock_op(BIT(SP_STAGE_TCP_ACTIVE_EST), BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB),
		SP_STAGE_TCP_PASSIVE_EST);
	assert_int_equal(
		stage_of_sock_op(BIT(SP_STAGE_TCP_PASSIVE_EST), BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB),
		0);
	assert_int_equal(stage_of_sock_op(all, BPF_SOCK_OPS_RTT_CB), 0);
	assert_int_equal(stage_of_sock_op(BIT(SP_STAGE_TCP_LISTEN), BPF_SOCK_OPS_TCP_LISTEN_CB),
			 SP_STAGE_TCP_LISTEN);
	assert_int_equal(stage_of_sock_op(0, BPF_SOCK_OPS_TCP_LISTEN_CB), 0);
}

static void spellings(void **state)
{
	const struct option *device = &option_table[OPTION_SO_BINDTODEVICE],
			    *index = &option_table[OPTION_SO_BINDTOIFINDEX],
			    *mark = &option_table[OPTION_SO_MARK];

	(void)state;
	assert_true(options_rival(device, index));
	assert_true(options_rival(mark, mark));
	assert_false(options_rival(mark, device));
	assert_true(is_second_spelling(OPTION_SO_BINDTOIFINDEX));
	assert_false(is_second_spelling(OPTION_SO_BINDTODEVICE));
	assert_false(is_second_spelling(OPTION_SO_MARK));
	assert_true(option_bits(index) ==
		    (1ull << OPTION_SO_BINDTODEVICE | 1ull << OPTION_SO_BINDTOIFINDEX));
	assert_true(option_bits(mark) == 1ull << OPTION_SO_MARK);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_row_is_sane),
		cmocka_unit_test(stages_fit_directions),
		cmocka_unit_test(numbers_are_the_kernels),
		cmocka_unit_test(control_is_sane),
		cmocka_unit_test(control_by_name),
		cmocka_unit_test(values_that_are_none),
		cmocka_unit_test(families),
		cmocka_unit_test(what_the_route_goes_by),
		cmocka_unit_test(spellings),
		cmocka_unit_test(shorthand),
		cmocka_unit_test(refused_are_sane),
		cmocka_unit_test(refused_by_name),
		cmocka_unit_test(suggestions),
		cmocka_unit_test(names_of_directions_and_stages),
		cmocka_unit_test(stages_of_sock_ops),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
