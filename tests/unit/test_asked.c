// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <errno.h>

#include "host/host.h"
#include "report/asked.h"
#include "policy_fixture.h"

static struct asked parse(struct asked_words words)
{
	struct asked a;
	char *error = NULL;

	if (asked_parse(&words, &a, &error) != 0)
		fail_msg("%s", error);
	return a;
}

static void refuse_one(struct asked_words words, const char *named)
{
	struct asked a = { .directions = 42 };
	char *error = NULL;

	assert_int_equal(asked_parse(&words, &a, &error), -EINVAL);
	assert_int_equal(a.directions, 42);
	assert_non_null(error);
	if (!strstr(error, named))
		fail_msg("'%s' does not name %s", error, named);
	free(error);
}

/* expected: as asked_text() has it, up to what was not given. */
static void print_one(struct asked_words words, const char *expected)
{
	struct asked a = parse(words);
	json_t *text = asked_text(&a);

	assert_non_null(text);
	assert_memory_equal(json_string_value(text), expected, strlen(expected));
	assert_true(strchr(";", json_string_value(text)[strlen(expected)]));
	json_decref(text);
}

static void test_endpoints(void **state)
{
	(void)state;
	print_one((struct asked_words){ .remote = "10.0.0.1" }, "connect ipv4, remote 10.0.0.1");
	print_one((struct asked_words){ .remote = "10.0.0.1:65535" },
		  "connect ipv4, remote 10.0.0.1:65535");
	print_one((struct asked_words){ .remote = "fd00::1" }, "connect ipv6, remote fd00::1");
	print_one((struct asked_words){ .remote = "[fd00::1]" }, "connect ipv6, remote fd00::1");
	print_one((struct asked_words){ .remote = "[fd00::1]:443" },
		  "connect ipv6, remote [fd00::1]:443");
	print_one((struct asked_words){ .remote = "::ffff:10.0.0.1" },
		  "connect ipv4, remote 10.0.0.1");
	print_one((struct asked_words){ .remote = "[::ffff:10.0.0.1]:80" },
		  "connect ipv4, remote 10.0.0.1:80");
	print_one((struct asked_words){ .remote = ":80" }, "connect, remote :80");
	print_one((struct asked_words){ .local = "[::]:80", .protocols = BIT(PROTOCOL_TCP) },
		  "listen tcp ipv6, local [::]:80");
	print_one((struct asked_words){ .remote = "10.0.0.1", .local = "10.0.0.2:1" },
		  "connect ipv4, remote 10.0.0.1, local 10.0.0.2:1");
	print_one((struct asked_words){ .families = BIT(SP_FAMILY_INDEX_UNIX) }, "connect unix");
	print_one((struct asked_words){ .families = BIT(SP_FAMILY_INDEX_NETLINK) },
		  "connect netlink");
	print_one((struct asked_words){ .directions = BIT(DIRECTION_ACCEPT),
					.families = BIT(SP_FAMILY_INDEX_IPV6) },
		  "accept tcp ipv6");
}

static void test_bad_endpoints(void **state)
{
	static const char *const bad[] = {
		"",
		":",
		"10.0.0.1:",
		"10.0.0.1:0",
		"10.0.0.1:65536",
		"10.0.0/8",
		"10.0.0.0/8",
		"10.0.0.256",
		"[fd00::1",
		"[fd00::1]443",
		"[fd00::1]:",
		"[10.0.0.1]:80",
		"fe80::1%lo",
		"1.2.3.4:80-90",
		"localhost",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		refuse_one((struct asked_words){ .remote = bad[i] }, "is not an address");
		refuse_one((struct asked_words){ .local = bad[i] }, "is not an address");
	}
}

static void test_contradictions(void **state)
{
	(void)state;
	refuse_one((struct asked_words){ .remote = "10.0.0.1", .local = "fd00::1" }, "fd00::1");
	refuse_one(
		(struct asked_words){ .families = BIT(SP_FAMILY_INDEX_IPV4), .remote = "fd00::1" },
		"fd00::1");
	refuse_one((struct asked_words){ .families = BIT(SP_FAMILY_INDEX_IPV6),
					 .remote = "::ffff:10.0.0.1" },
		   "ipv4");
	refuse_one(
		(struct asked_words){ .directions = BIT(DIRECTION_LISTEN), .remote = "10.0.0.1" },
		"--remote");
	refuse_one((struct asked_words){ .directions = BIT(DIRECTION_ACCEPT),
					 .protocols = BIT(PROTOCOL_UDP) },
		   "udp");
	refuse_one(
		(struct asked_words){ .families = BIT(SP_FAMILY_INDEX_UNIX), .remote = "10.0.0.1" },
		"unix");
	refuse_one((struct asked_words){ .families = BIT(SP_FAMILY_INDEX_UNIX), .local = ":1" },
		   "unix");
	refuse_one((struct asked_words){ .families = BIT(SP_FAMILY_INDEX_UNIX),
					 .protocols = BIT(PROTOCOL_TCP) },
		   "unix");
	refuse_one((struct asked_words){ .families = BIT(SP_FAMILY_INDEX_UNIX),
					 .directions = BIT(DIRECTION_ACCEPT) },
		   "unix");
}

static void test_directions_alone(void **state)
{
	struct asked all = parse((struct asked_words){ 0 });
	struct asked one = parse((struct asked_words){ .directions = BIT(DIRECTION_LISTEN) });

	(void)state;
	assert_false(all.connection);
	assert_int_equal(all.directions, BIT(DIRECTION_MAX) - 1);
	assert_false(one.connection);
	assert_int_equal(one.directions, BIT(DIRECTION_LISTEN));
	for (int s = 0; s < SP_STAGE_MAX; s++) {
		/* what socket(2) brings is brought again later */
		bool is_socket = stage_table[s].is_socket;

		assert_int_equal(asked_passes(&all, s), !is_socket);
		assert_int_equal(asked_passes(&one, s),
				 !is_socket && stage_table[s].direction == DIRECTION_LISTEN);
	}
}

static void fails_one(struct asked_words words, struct fixture_rule rule, const char *expected)
{
	struct fixture_policy policy = { "p", .rules = { rule } };
	struct asked a = parse(words);
	struct config *c;
	enum when_key key;

	policy.rules[0].name = "r";
	c = fixture_config(&policy, 1);
	key = asked_fails(&a, &c->policies[0].rules[0].when);
	assert_string_equal(key == WHEN_KEY_MAX ? "nothing" : when_key_name(key), expected);
	config_free(c);
}

/* What was not told does not hold, unless the rule takes all that it may be. */
static void test_not_told(void **state)
{
	const struct asked_words words = { .protocols = BIT(PROTOCOL_TCP) };
	const struct asked_words remote = { .remote = "10.0.0.1" };

	(void)state;
	fails_one(words, (struct fixture_rule){ 0 }, "nothing");
	fails_one(words, (struct fixture_rule){ .families = BIT(SP_FAMILY_INDEX_IPV4) }, "family");
	fails_one(words, (struct fixture_rule){ .families = BIT(SP_FAMILY_INDEX_IPV6) }, "family");
	fails_one(words,
		  (struct fixture_rule){ .families = BIT(SP_FAMILY_INDEX_IPV4) |
						     BIT(SP_FAMILY_INDEX_IPV6) },
		  "nothing");
	fails_one(words, (struct fixture_rule){ .remote = { "0.0.0.0/0", "::/0" } }, "remote");
	fails_one(words, (struct fixture_rule){ .local = { "0.0.0.0/0", "::/0" } }, "local");
	fails_one(words, (struct fixture_rule){ .remote_port = { { 1, 65535 } } }, "remote_port");
	fails_one(words, (struct fixture_rule){ .local_port = { { 1, 65535 } } }, "local_port");
	fails_one(remote, (struct fixture_rule){ .remote = { "0.0.0.0/0" } }, "nothing");
	fails_one(remote, (struct fixture_rule){ .remote_port = { { 1, 65535 } } }, "remote_port");
	fails_one(remote, (struct fixture_rule){ .protocols = BIT(PROTOCOL_TCP) }, "protocol");
	fails_one(remote, (struct fixture_rule){ .protocols = BIT(PROTOCOL_UDP) }, "protocol");
	fails_one(remote, (struct fixture_rule){ .protocols = BIT(PROTOCOL_MAX) - 1 }, "nothing");
}

static void hangs_one(struct asked_words words, struct fixture_rule rule, bool expected)
{
	struct fixture_policy policy = { "p", .rules = { rule } };
	struct asked a = parse(words);
	struct config *c;

	policy.rules[0].name = "r";
	c = fixture_config(&policy, 1);
	assert_int_equal(asked_hangs_on_protocol(&a, &c->policies[0].rules[0].when), expected);
	config_free(c);
}

static void test_hangs_on_protocol(void **state)
{
	const struct asked_words remote = { .remote = "10.0.0.1:5432" };
	const struct fixture_rule tcp = { .protocols = BIT(PROTOCOL_TCP) };

	(void)state;
	hangs_one(remote, tcp, true);
	hangs_one(remote, (struct fixture_rule){ .protocols = BIT(PROTOCOL_UDP) }, true);
	hangs_one(remote, (struct fixture_rule){ .remote = { "10.0.0.0/8" } }, false);
	hangs_one(remote,
		  (struct fixture_rule){ .protocols = BIT(PROTOCOL_TCP),
					 .remote = { "10.1.0.0/16" } },
		  false); /* holds for neither */
	hangs_one((struct asked_words){ .remote = "10.0.0.1", .protocols = BIT(PROTOCOL_TCP) }, tcp,
		  false);
	hangs_one((struct asked_words){ .directions = BIT(DIRECTION_ACCEPT), .remote = "10.0.0.1" },
		  tcp, false);
	hangs_one((struct asked_words){ 0 }, tcp, false);
}

/* The kernel chooses the address of a connecting socket that is bound to none; a listener keeps it.
 */
static void test_wildcard(void **state)
{
	const struct fixture_rule any = { .local = { "0.0.0.0/0", "::/0" } };

	(void)state;
	fails_one((struct asked_words){ .local = "0.0.0.0:53" }, any, "nothing");
	fails_one((struct asked_words){ .local = "[::]:53" }, any, "nothing");
	fails_one((struct asked_words){ .remote = "10.0.0.1", .local = "0.0.0.0:53" }, any,
		  "local");
	fails_one((struct asked_words){ .remote = "10.0.0.1", .local = "[::]:53" }, any, "local");
	fails_one((struct asked_words){ .remote = "10.0.0.1", .local = "[::]:53" },
		  (struct fixture_rule){ .local_port = { { 53 } } }, "nothing");
}

static void stages_one(struct asked_words words, unsigned expected)
{
	struct asked a = parse(words);
	unsigned stages = 0;

	for (int s = 0; s < SP_STAGE_MAX; s++)
		if (asked_passes(&a, s))
			stages |= BIT(s);
	assert_int_equal(stages, expected);
}

static void test_stages(void **state)
{
	const unsigned tcp_connect = BIT(SP_STAGE_TCP_CONNECT) | BIT(SP_STAGE_TCP_SYN) |
				     BIT(SP_STAGE_TCP_ACTIVE_EST) | BIT(SP_STAGE_REPLY_ACTIVE);

	(void)state;
	stages_one((struct asked_words){ .protocols = BIT(PROTOCOL_TCP), .remote = "10.0.0.1" },
		   tcp_connect);
	stages_one((struct asked_words){ .remote = "10.0.0.1" },
		   tcp_connect | BIT(SP_STAGE_UDP_CONNECT));
	stages_one((struct asked_words){ .protocols = BIT(PROTOCOL_UDP), .remote = "10.0.0.1" },
		   BIT(SP_STAGE_UDP_CONNECT));
	stages_one((struct asked_words){ .protocols = BIT(PROTOCOL_UDP),
					 .directions = BIT(DIRECTION_CONNECT) },
		   BIT(SP_STAGE_UDP_SEND));
	stages_one((struct asked_words){ .protocols = BIT(PROTOCOL_UDP), .local = ":53" },
		   BIT(SP_STAGE_UDP_BIND));
	stages_one((struct asked_words){ .protocols = BIT(PROTOCOL_TCP), .local = ":53" },
		   BIT(SP_STAGE_TCP_BIND) | BIT(SP_STAGE_TCP_LISTEN));
	stages_one(
		(struct asked_words){ .directions = BIT(DIRECTION_ACCEPT), .remote = "10.0.0.1" },
		BIT(SP_STAGE_TCP_PASSIVE_EST) | BIT(SP_STAGE_REPLY_PASSIVE));
	stages_one((struct asked_words){ .families = BIT(SP_FAMILY_INDEX_UNIX) },
		   BIT(SP_STAGE_UNIX) |
			   (host_has_unix_hooks() == 0 ? BIT(SP_STAGE_LOCAL_SOCKET) : 0));
	stages_one((struct asked_words){ .families = BIT(SP_FAMILY_INDEX_PACKET) },
		   BIT(SP_STAGE_LOCAL_SOCKET));
}

static void speaks_one(struct asked_words words, unsigned expected)
{
	struct asked a = parse(words);

	assert_int_equal(asked_speaks(&a), expected);
}

static void test_speaks(void **state)
{
	const unsigned both = SP_FAMILY_IPV4 | SP_FAMILY_IPV6;

	(void)state;
	speaks_one((struct asked_words){ .remote = "10.0.0.1" }, SP_FAMILY_IPV4);
	speaks_one((struct asked_words){ .remote = "::ffff:10.0.0.1" }, SP_FAMILY_IPV4);
	speaks_one((struct asked_words){ .remote = "fd00::1" }, SP_FAMILY_IPV6);
	speaks_one((struct asked_words){ .local = "0.0.0.0:80" }, SP_FAMILY_IPV4);
	speaks_one((struct asked_words){ .local = "[fd00::1]:80" }, SP_FAMILY_IPV6);
	speaks_one((struct asked_words){ .local = "[::]:80" }, both);
	speaks_one((struct asked_words){ .directions = BIT(DIRECTION_LISTEN),
					 .families = BIT(SP_FAMILY_INDEX_IPV6) },
		   both);
	speaks_one((struct asked_words){ .directions = BIT(DIRECTION_CONNECT),
					 .families = BIT(SP_FAMILY_INDEX_IPV6) },
		   SP_FAMILY_IPV6);
	speaks_one((struct asked_words){ .protocols = BIT(PROTOCOL_TCP) }, both);
	speaks_one((struct asked_words){ .families = BIT(SP_FAMILY_INDEX_UNIX) }, both);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_endpoints),      cmocka_unit_test(test_bad_endpoints),
		cmocka_unit_test(test_contradictions), cmocka_unit_test(test_directions_alone),
		cmocka_unit_test(test_not_told),       cmocka_unit_test(test_hangs_on_protocol),
		cmocka_unit_test(test_wildcard),       cmocka_unit_test(test_stages),
		cmocka_unit_test(test_speaks),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
