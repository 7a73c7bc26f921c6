// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include "policy/condition.h"
#include "policy_fixture.h"

/* A configuration with this one rule. */
static struct config *config_with(struct fixture_rule rule)
{
	struct fixture_policy policy = { "p", .rules = { rule } };

	policy.rules[0].name = "r";
	return fixture_config(&policy, 1);
}

static const struct when *when_of(const struct config *c)
{
	return &c->policies[0].rules[0].when;
}

static void text_one(struct fixture_rule rule, const char *expected)
{
	struct config *c = config_with(rule);
	char *text = condition_text(when_of(c));

	assert_non_null(text);
	assert_string_equal(text, expected);
	free(text);
	config_free(c);
}

static void test_text(void **state)
{
	(void)state;
	text_one((struct fixture_rule){ 0 }, "");
	text_one((struct fixture_rule){ .directions = BIT(DIRECTION_ACCEPT) }, "");
	text_one((struct fixture_rule){ .protocols = BIT(PROTOCOL_UDP) }, "protocol udp");
	text_one((struct fixture_rule){ .families = BIT(SP_FAMILY_INDEX_IPV4) |
						    BIT(SP_FAMILY_INDEX_UNIX) },
		 "family ipv4, unix");
	text_one((struct fixture_rule){ .remote = { "10.0.0.0/8", "fd00::/8" },
					.remote_port = { { 5432, 0 }, { 6432, 6439 } } },
		 "remote 10.0.0.0/8, fd00::/8; remote_port 5432, 6432-6439");
	text_one((struct fixture_rule){ .local = { "192.0.2.1/32", "2001:db8::1/128" },
					.local_port = { { 80, 0 } } },
		 "local 192.0.2.1, 2001:db8::1; local_port 80");
}

static void test_long_lists_are_cut(void **state)
{
	(void)state;
	text_one((struct fixture_rule){ .remote_port = { { 1 }, { 2 }, { 3 }, { 4 } } },
		 "remote_port 1, 2, 3, 4");
	text_one(
		(struct fixture_rule){
			.remote_port = { { 1 }, { 2 }, { 3 }, { 4 }, { 5 }, { 6 } } },
		"remote_port 1, 2, 3, 4 and 2 more");
	text_one((struct fixture_rule){ .remote = { "1.0.0.0/8", "2.0.0.0/8", "3.0.0.0/8",
						    "4.0.0.0/8", "5.0.0.0/8" } },
		 "remote 1.0.0.0/8, 2.0.0.0/8, 3.0.0.0/8, 4.0.0.0/8 and 1 more");
}

static void key_one(struct fixture_rule rule, const char *key, const char *expected)
{
	struct config *c = config_with(rule);
	char *text = condition_key_text(when_of(c), key);

	assert_non_null(text);
	assert_string_equal(text, expected);
	free(text);
	config_free(c);
}

static void test_one_key(void **state)
{
	const struct fixture_rule rule = { .directions = BIT(DIRECTION_LISTEN),
					   .remote = { "10.0.0.0/8" } };

	(void)state;
	key_one(rule, "remote", "remote 10.0.0.0/8");
	key_one(rule, "direction", "direction listen");
	/* not given, but it is why such a rule leaves AF_UNIX sockets alone */
	key_one(rule, "family", "family ipv4, ipv6");
}

static bool is_empty(struct fixture_rule rule)
{
	struct config *c = config_with(rule);
	bool empty = condition_is_empty(when_of(c));

	config_free(c);
	return empty;
}

static void test_empty(void **state)
{
	(void)state;
	assert_true(is_empty((struct fixture_rule){ 0 }));
	assert_true(is_empty((struct fixture_rule){ .directions = BIT(DIRECTION_LISTEN) }));
	assert_true(is_empty((struct fixture_rule){ .protocols = BIT(PROTOCOL_MAX) - 1 }));
	assert_true(is_empty((struct fixture_rule){ .families = BIT(SP_FAMILY_INDEX_MAX) - 1 }));
	assert_false(is_empty((struct fixture_rule){ .protocols = BIT(PROTOCOL_TCP) }));
	assert_false(is_empty((struct fixture_rule){ .families = BIT(SP_FAMILY_INDEX_IPV6) }));
	assert_false(is_empty((struct fixture_rule){ .remote = { "0.0.0.0/0" } }));
	assert_false(is_empty((struct fixture_rule){ .local = { "0.0.0.0/0" } }));
	assert_false(is_empty((struct fixture_rule){ .remote_port = { { 1, 65535 } } }));
	assert_false(is_empty((struct fixture_rule){ .local_port = { { 1, 65535 } } }));
}

static uint32_t digest(struct fixture_rule rule)
{
	struct config *c = config_with(rule);
	uint32_t d = condition_digest(when_of(c));

	config_free(c);
	return d;
}

static void test_digest(void **state)
{
	/* all different */
	const struct fixture_rule rules[] = {
		{ 0 },
		{ .directions = BIT(DIRECTION_MAX) - 1 }, /* it says `listen` */
		{ .directions = BIT(DIRECTION_LISTEN) },
		{ .protocols = BIT(PROTOCOL_TCP) },
		{ .protocols = BIT(PROTOCOL_MAX) - 1 }, /* not for AF_UNIX */
		{ .families = BIT(SP_FAMILY_INDEX_IPV6) },
		{ .remote = { "0.0.0.0/0" } },
		{ .remote = { "::/0" } },
		{ .local = { "0.0.0.0/0" } },
		{ .remote = { "10.0.0.0/8" } },
		{ .remote = { "10.0.0.0/9" } },
		{ .remote = { "10.0.0.0/8", "fd00::/8" } },
		{ .remote_port = { { 80 } } },
		{ .local_port = { { 80 } } },
		{ .remote_port = { { 80, 81 } } },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rules); i++)
		for (size_t j = 0; j < i; j++)
			assert_int_not_equal(digest(rules[i]), digest(rules[j]));
	assert_int_equal(digest((struct fixture_rule){ .remote = { "fd00::/8", "10.0.0.0/8" } }),
			 digest((struct fixture_rule){ .remote = { "10.0.0.0/8", "fd00::/8" } }));
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_text),	cmocka_unit_test(test_long_lists_are_cut),
		cmocka_unit_test(test_one_key), cmocka_unit_test(test_empty),
		cmocka_unit_test(test_digest),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
