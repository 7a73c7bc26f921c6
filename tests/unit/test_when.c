// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include "host/host.h"
#include "policy/keys.h"
#include "policy/stage.h"
#include "policy/when.h"
#include "policy_fixture.h"

/* A whole `when`, from YAML. */
static void parse_when_one(const char *yaml, struct when *ret)
{
	struct config config = { 0 };
	struct diags diags = { 0 };
	struct parse p = { .config = &config, .diags = &diags };
	struct yaml_doc doc;

	assert_int_equal(yaml_doc_parse(yaml, strlen(yaml), "when", &diags, &doc), 0);
	when_init(ret);
	assert_int_equal(when_parse(&p, NULL, doc.root, ret), 0);
	diags_print(&diags, stderr);
	assert_int_equal(diags.n, 0);
	assert_int_equal(config.n_prefixes, ret->remote.n + ret->local.n);
	diags_clear(&diags);
	yaml_doc_clear(&doc);
}

static void nothing_given(void **state)
{
	const unsigned inet = BIT(SP_FAMILY_INDEX_IPV4) | BIT(SP_FAMILY_INDEX_IPV6);
	static const char *const texts[] = { "{}", "~", "null" };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		struct when w;

		parse_when_one(texts[i], &w);
		assert_int_equal(w.directions, BIT(DIRECTION_MAX) - 1);
		assert_int_equal(w.protocols, BIT(PROTOCOL_TCP) | BIT(PROTOCOL_UDP));
		assert_int_equal(w.families, inet);
		assert_false(w.has_direction || w.has_protocol || w.has_family);
		assert_false(w.has_remote || w.has_local || w.has_remote_port || w.has_local_port);
		when_clear(&w);
	}
}

static void everything_given(void **state)
{
	struct when w;

	(void)state;
	parse_when_one("direction: [accept, connect]\n"
		       "protocol: tcp\n"
		       "family: [ipv6, unix]\n"
		       "remote: [10.0.0.0/8, fd00::/8, \"::1\"]\n"
		       "local: ::ffff:10.0.0.1\n"
		       "remote_port: [5432, 6432-6439]\n"
		       "local_port: 80\n",
		       &w);
	assert_true(w.has_direction && w.has_protocol && w.has_family);
	assert_true(w.has_remote && w.has_local && w.has_remote_port && w.has_local_port);
	assert_int_equal(w.directions, BIT(DIRECTION_ACCEPT) | BIT(DIRECTION_CONNECT));
	assert_int_equal(w.protocols, BIT(PROTOCOL_TCP));
	assert_int_equal(w.families, BIT(SP_FAMILY_INDEX_IPV6) | BIT(SP_FAMILY_INDEX_UNIX));
	assert_int_equal(w.remote.n, 3);
	assert_int_equal(w.remote.v[0].kind, RANGE_IPV4);
	assert_int_equal(w.remote.v[1].kind, RANGE_IPV6);
	assert_int_equal(w.local.n, 1);
	assert_int_equal(w.local.v[0].kind, RANGE_IPV4);
	assert_int_equal(w.remote_port.n, 2);
	assert_int_equal(fixture_port_at(w.remote_port.v[1].first), 6432);
	assert_int_equal(fixture_port_at(w.remote_port.v[1].last), 6439);
	assert_int_equal(w.local_port.n, 1);
	assert_int_equal(fixture_port_at(w.local_port.v[0].first), 80);
	assert_int_equal(when_empty_key(&w), WHEN_KEY_MAX);
	when_clear(&w);
	assert_null(w.remote.v);
}

static void empty_lists_given(void **state)
{
	struct when w;

	(void)state;
	parse_when_one("{direction: [], protocol: [], family: [], remote: [], local: [], "
		       "remote_port: [], local_port: []}",
		       &w);
	assert_true(w.has_remote && w.has_local && w.has_remote_port && w.has_local_port);
	assert_int_equal(w.directions | w.protocols | w.families, 0);
	assert_int_equal(w.remote.n + w.local.n + w.remote_port.n + w.local_port.n, 0);
	assert_int_equal(when_empty_key(&w), WHEN_DIRECTION);
	when_clear(&w);
	parse_when_one("{direction: connect, remote_port: []}", &w);
	assert_int_equal(when_empty_key(&w), WHEN_REMOTE_PORT);
	when_clear(&w);
}

/* What a rule's `when` may be made of here; what is NULL or 0 is not given. */
struct given {
	unsigned directions, protocols, families;
	const char *remote[3], *local[3];
	struct fixture_ports remote_port[2], local_port[2];
};

static struct ranges make_prefixes(const char *const texts[3])
{
	struct ranges list = { 0 };

	for (size_t i = 0; i < 3 && texts[i]; i++)
		fixture_prefix(&list, texts[i]);
	return list;
}

static struct ranges make_ports(const struct fixture_ports ports[2])
{
	struct ranges list = { 0 };

	for (size_t i = 0; i < 2 && ports[i].last; i++)
		fixture_port(&list, ports[i].first, ports[i].last);
	return list;
}

static struct when make_when(const struct given *a)
{
	struct when w;

	when_init(&w);
	w.has_direction = a->directions;
	w.has_protocol = a->protocols;
	w.has_family = a->families;
	if (a->directions)
		w.directions = a->directions;
	if (a->protocols)
		w.protocols = a->protocols;
	if (a->families)
		w.families = a->families;
	w.remote = make_prefixes(a->remote);
	w.local = make_prefixes(a->local);
	w.remote_port = make_ports(a->remote_port);
	w.local_port = make_ports(a->local_port);
	w.has_remote = w.remote.n;
	w.has_local = w.local.n;
	w.has_remote_port = w.remote_port.n;
	w.has_local_port = w.local_port.n;
	return w;
}

/* fails: the key that does not hold, or NULL. */
static void when_one(const struct given *a, const struct connection *c, const char *fails)
{
	struct when w = make_when(a);
	const enum when_key key = when_fails(&w, c);
	const char *got = key == WHEN_KEY_MAX ? NULL : when_key_name(key);

	if (!got != !fails || (got && fails && !streq(got, fails)))
		fail_msg("%s fails, not %s", got ? got : "nothing", fails ? fails : "nothing");
	when_clear(&w);
}

#define WHEN(c, fails, ...) when_one(&(const struct given){ __VA_ARGS__ }, c, fails)
#define CONNECT		    BIT(DIRECTION_CONNECT)
#define ACCEPT		    BIT(DIRECTION_ACCEPT)
#define LISTEN		    BIT(DIRECTION_LISTEN)
#define IPV4		    BIT(SP_FAMILY_INDEX_IPV4)
#define IPV6		    BIT(SP_FAMILY_INDEX_IPV6)
#define UNIX		    BIT(SP_FAMILY_INDEX_UNIX)
#define NETLINK		    BIT(SP_FAMILY_INDEX_NETLINK)
#define PACKET		    BIT(SP_FAMILY_INDEX_PACKET)

/* Makes an end of a connection; "": not known.  Not with the parser, which is not what is tested
 * here; v4-mapped addresses are IPv4 here as well. */
static struct endpoint endpoint(const char *address, uint16_t port)
{
	_cleanup_free_ char *error = NULL;
	struct endpoint e = { .port = port };
	struct range p;

	if (!*address)
		return e;
	assert_int_equal(prefix_parse(address, &p, &error), 0);
	e.known = true;
	e.v4 = p.kind == RANGE_IPV4;
	memcpy(e.address, p.first, sizeof(e.address));
	return e;
}

static struct connection tcp4(enum direction d)
{
	return (struct connection){ .direction = d,
				    .protocol = PROTOCOL_TCP,
				    .family = SP_FAMILY_INDEX_IPV4,
				    .remote = endpoint("10.7.0.1", 5432),
				    .local = endpoint("192.0.2.1", 40000) };
}

static void each_key_alone(void **state)
{
	const struct connection c = tcp4(DIRECTION_CONNECT);

	(void)state;
	WHEN(&c, NULL, 0);
	WHEN(&c, NULL, .directions = CONNECT);
	WHEN(&c, NULL, .directions = CONNECT | LISTEN);
	WHEN(&c, "direction", .directions = ACCEPT | LISTEN);
	WHEN(&c, NULL, .protocols = BIT(PROTOCOL_TCP));
	WHEN(&c, NULL, .protocols = BIT(PROTOCOL_TCP) | BIT(PROTOCOL_UDP));
	WHEN(&c, "protocol", .protocols = BIT(PROTOCOL_UDP));
	WHEN(&c, NULL, .families = IPV4);
	WHEN(&c, NULL, .families = IPV4 | UNIX);
	WHEN(&c, "family", .families = IPV6);
	WHEN(&c, NULL, .remote = { "10.7.0.0/16" });
	WHEN(&c, NULL, .remote = { "fd00::/8", "10.8.0.0/16", "10.7.0.1" });
	WHEN(&c, "remote", .remote = { "fd00::/8", "10.8.0.0/16", "10.7.0.2" });
	WHEN(&c, NULL, .local = { "192.0.2.1" });
	WHEN(&c, "local", .local = { "10.7.0.0/16" }); /* which is the remote's */
	WHEN(&c, NULL, .remote_port = { { 5432, 5432 } });
	WHEN(&c, NULL, .remote_port = { { 1, 5431 }, { 5432, 6000 } });
	WHEN(&c, NULL, .remote_port = { { 5000, 5432 } });
	WHEN(&c, "remote_port", .remote_port = { { 1, 5431 }, { 5433, 65535 } });
	WHEN(&c, NULL, .local_port = { { 1, 65535 } });
	WHEN(&c, "local_port", .local_port = { { 5432, 5432 } });
}

/* A list that is given and empty holds for nothing. */
static void empty_lists_hold_for_nothing(void **state)
{
	const struct connection c = tcp4(DIRECTION_CONNECT);
	const char *const keys[] = { "remote", "local", "remote_port", "local_port" };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
		struct when w;

		when_init(&w);
		w.has_remote = i == 0;
		w.has_local = i == 1;
		w.has_remote_port = i == 2;
		w.has_local_port = i == 3;
		assert_string_equal(when_key_name(when_fails(&w, &c)), keys[i]);
	}
}

static void all_keys_at_once(void **state)
{
	const struct given all = { .directions = CONNECT,
				   .protocols = BIT(PROTOCOL_TCP),
				   .families = IPV4,
				   .remote = { "10.7.0.0/16" },
				   .local = { "192.0.2.0/24" },
				   .remote_port = { { 5432, 5432 } },
				   .local_port = { { 32768, 60999 } } };
	struct connection c = tcp4(DIRECTION_CONNECT);

	(void)state;
	when_one(&all, &c, NULL);
	c.direction = DIRECTION_ACCEPT;
	when_one(&all, &c, "direction");
	c = tcp4(DIRECTION_CONNECT);
	c.protocol = PROTOCOL_UDP;
	when_one(&all, &c, "protocol");
	c = tcp4(DIRECTION_CONNECT);
	c.family = SP_FAMILY_INDEX_IPV6;
	when_one(&all, &c, "family");
	c = tcp4(DIRECTION_CONNECT);
	c.remote = endpoint("10.8.0.1", 5432);
	when_one(&all, &c, "remote");
	c = tcp4(DIRECTION_CONNECT);
	c.local = endpoint("192.0.3.1", 40000);
	when_one(&all, &c, "local");
	c = tcp4(DIRECTION_CONNECT);
	c.remote.port = 5433;
	when_one(&all, &c, "remote_port");
	c = tcp4(DIRECTION_CONNECT);
	c.local.port = 80;
	when_one(&all, &c, "local_port");
}

static void what_is_not_known_does_not_hold(void **state)
{
	struct connection c = tcp4(DIRECTION_LISTEN);

	(void)state;
	c.remote = endpoint("", 0);
	WHEN(&c, NULL, .directions = LISTEN, .local = { "192.0.2.1" });
	WHEN(&c, "remote", .remote = { "0.0.0.0/0", "::/0" });
	WHEN(&c, "remote_port", .remote_port = { { 1, 65535 } });
	c.local = endpoint("", 0);
	WHEN(&c, "local", .local = { "0.0.0.0/0", "::/0" });
	WHEN(&c, "local_port", .local_port = { { 1, 65535 } });
	/* one without the other */
	c.local = endpoint("192.0.2.1", 0);
	WHEN(&c, NULL, .local = { "192.0.2.1" });
	WHEN(&c, "local_port", .local_port = { { 1, 65535 } });
	c.local = endpoint("", 53);
	WHEN(&c, "local", .local = { "0.0.0.0/0" });
	WHEN(&c, NULL, .local_port = { { 53, 53 } });
}

static void v4_mapped(void **state)
{
	struct connection c = tcp4(DIRECTION_ACCEPT);

	(void)state;
	c.remote = endpoint("::ffff:10.7.0.1", 40000);
	c.local = endpoint("::ffff:192.0.2.1", 443);
	WHEN(&c, NULL, .families = IPV4, .remote = { "10.0.0.0/8" }, .local = { "192.0.2.1" });
	WHEN(&c, "remote", .remote = { "::/0" });
	WHEN(&c, "local", .local = { "::/0" });
}

static void ipv6_connections(void **state)
{
	struct connection c = tcp4(DIRECTION_CONNECT);

	(void)state;
	c.family = SP_FAMILY_INDEX_IPV6;
	c.remote = endpoint("fd00::1", 80);
	c.local = endpoint("fd00::2", 40000);
	WHEN(&c, NULL, .families = IPV6, .remote = { "10.0.0.0/8", "fd00::/8" });
	WHEN(&c, "family", .families = IPV4);
	WHEN(&c, "remote", .remote = { "0.0.0.0/0" });
}

/* Only rules that say so, and those cannot ask for what an AF_UNIX socket does not have. */
static void unix_sockets(void **state)
{
	const struct connection c = { .direction = DIRECTION_CONNECT,
				      .protocol = PROTOCOL_TCP,
				      .family = SP_FAMILY_INDEX_UNIX };

	(void)state;
	WHEN(&c, "family", 0);
	WHEN(&c, "family", .families = IPV4 | IPV6);
	WHEN(&c, NULL, .families = UNIX);
	WHEN(&c, NULL, .families = IPV4 | UNIX, .directions = CONNECT);
	WHEN(&c, "protocol", .families = UNIX, .protocols = BIT(PROTOCOL_TCP) | BIT(PROTOCOL_UDP));
	WHEN(&c, "remote", .families = UNIX, .remote = { "0.0.0.0/0" });
	WHEN(&c, "local_port", .families = UNIX, .local_port = { { 1, 65535 } });
}

/* They have nothing but their family. */
static void netlink_sockets(void **state)
{
	const struct connection c = { .direction = DIRECTION_CONNECT,
				      .family = SP_FAMILY_INDEX_NETLINK };

	(void)state;
	WHEN(&c, "family", 0);
	WHEN(&c, "family", .families = PACKET | UNIX);
	WHEN(&c, NULL, .families = NETLINK | IPV6);
	WHEN(&c, "direction", .families = NETLINK, .directions = CONNECT);
	WHEN(&c, "protocol", .families = NETLINK, .protocols = BIT(PROTOCOL_TCP));
}

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
	char *text = when_text(when_of(c));

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

static void key_one(struct fixture_rule rule, enum when_key key, const char *expected)
{
	struct config *c = config_with(rule);
	char *text = when_key_text(when_of(c), key);

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
	key_one(rule, WHEN_REMOTE, "remote 10.0.0.0/8");
	key_one(rule, WHEN_DIRECTION, "direction listen");
	/* not given, but it is why such a rule leaves AF_UNIX sockets alone */
	key_one(rule, WHEN_FAMILY, "family ipv4, ipv6");
}

static bool is_empty(struct fixture_rule rule)
{
	struct config *c = config_with(rule);
	bool empty = when_is_empty(when_of(c));

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
	uint32_t d = when_digest(when_of(c));

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

/* A hole in the table would show here. */
static void every_key_has_a_row(void **state)
{
	const struct connection c = tcp4(DIRECTION_CONNECT);
	struct when w;

	(void)state;
	when_init(&w);
	for (int k = 0; k < WHEN_KEY_MAX; k++) {
		const char *name = when_key_name((enum when_key)k);
		char *one = when_key_text(&w, (enum when_key)k);

		assert_non_null(name);
		assert_non_null(one);
		assert_int_equal(strncmp(one, name, strlen(name)), 0);
		for (int other = 0; other < k; other++)
			assert_string_not_equal(name, when_key_name((enum when_key)other));
		free(one);
	}
	assert_int_equal(when_fails(&w, &c), WHEN_KEY_MAX);
	when_clear(&w);
}

static void asks_of_properties(void **state)
{
	const struct given cases[SP_PROPERTY_MAX] = {
		[SP_PROPERTY_REMOTE] = { .remote = { "10.0.0.0/8" } },
		[SP_PROPERTY_LOCAL] = { .local = { "10.0.0.0/8" } },
		[SP_PROPERTY_REMOTE_PORT] = { .remote_port = { { 80, 80 } } },
		[SP_PROPERTY_LOCAL_PORT] = { .local_port = { { 80, 80 } } },
	};

	(void)state;
	for (int asked = 0; asked < SP_PROPERTY_MAX; asked++) {
		struct when w = make_when(&cases[asked]);

		for (int property = 0; property < SP_PROPERTY_MAX; property++)
			assert_int_equal(!!when_ranges(&w, (enum sp_property)property),
					 property == asked);
		when_clear(&w);
	}
}

static void keys_of_the_peer(void **state)
{
	(void)state;
	for (int k = 0; k < WHEN_KEY_MAX; k++)
		assert_int_equal(when_key_is_remote((enum when_key)k),
				 k == WHEN_REMOTE || k == WHEN_REMOTE_PORT);
}

/* BIT(enum sp_stage): where it may hold, and where it then depends on the connection. */
static void stages_one(struct given given, unsigned may_hold, unsigned depends)
{
	struct when w = make_when(&given);
	unsigned may = 0, does = 0;

	for (int s = 0; s < SP_STAGE_MAX; s++) {
		if (!when_may_hold(&w, &stage_table[s]))
			continue;
		may |= BIT(s);
		if (when_depends(&w, &stage_table[s]))
			does |= BIT(s);
	}
	assert_int_equal(may, may_hold);
	assert_int_equal(does, depends);
	when_clear(&w);
}

static void stages(void **state)
{
	const unsigned unix_stages = BIT(SP_STAGE_UNIX);
	const unsigned udp =
		BIT(SP_STAGE_UDP_BIND) | BIT(SP_STAGE_UDP_CONNECT) | BIT(SP_STAGE_UDP_SEND);
	const unsigned sockets =
		BIT(SP_STAGE_TCP_SOCKET) | BIT(SP_STAGE_UDP_SOCKET) | BIT(SP_STAGE_OTHER_SOCKET);
	const unsigned local_socket = BIT(SP_STAGE_LOCAL_SOCKET),
		       unix_socket = host_has_unix_hooks() == 0 ? local_socket : 0;
	const unsigned all = (BIT(SP_STAGE_MAX) - 1) & ~unix_stages & ~local_socket;
	const unsigned listen =
		BIT(SP_STAGE_TCP_BIND) | BIT(SP_STAGE_TCP_LISTEN) | BIT(SP_STAGE_UDP_BIND);
	const unsigned peerless = listen | BIT(SP_STAGE_UDP_SEND) | sockets;
	const unsigned localless = BIT(SP_STAGE_TCP_CONNECT) | BIT(SP_STAGE_UDP_SEND) | sockets;

	(void)state;
	stages_one((struct given){ 0 }, all, 0);
	stages_one((struct given){ .directions = LISTEN }, listen, 0);
	stages_one((struct given){ .protocols = BIT(PROTOCOL_UDP) }, udp | BIT(SP_STAGE_UDP_SOCKET),
		   0);
	/* raw sockets and the like have neither protocol */
	stages_one((struct given){ .protocols = BIT(PROTOCOL_TCP) | BIT(PROTOCOL_UDP) },
		   all & ~BIT(SP_STAGE_OTHER_SOCKET), 0);
	stages_one((struct given){ .families = IPV6 }, all, all);
	stages_one((struct given){ .families = IPV4 | IPV6 }, all, 0);
	stages_one((struct given){ .families = UNIX }, unix_stages | unix_socket, unix_socket);
	stages_one((struct given){ .families = UNIX | IPV4 }, all | unix_stages | unix_socket,
		   all | unix_socket);
	stages_one((struct given){ .families = NETLINK }, local_socket, local_socket);
	stages_one((struct given){ .families = NETLINK | PACKET | UNIX },
		   local_socket | unix_stages, 0);
	/* rules that ask for nothing else */
	stages_one((struct given){ .families = PACKET, .directions = CONNECT }, 0, 0);
	stages_one((struct given){ .families = PACKET, .protocols = BIT(PROTOCOL_UDP) }, 0, 0);
	stages_one((struct given){ .families = NETLINK, .remote_port = { { 80, 80 } } }, 0, 0);
	stages_one((struct given){ .families = UNIX, .protocols = BIT(PROTOCOL_TCP) }, 0, 0);
	stages_one((struct given){ .remote = { "10.0.0.0/8" } }, all & ~peerless, all & ~peerless);
	stages_one((struct given){ .remote_port = { { 80, 80 } } }, all & ~peerless,
		   all & ~peerless);
	stages_one((struct given){ .local = { "10.0.0.0/8" } }, all & ~localless, all & ~localless);
	stages_one((struct given){ .local_port = { { 80, 80 } } }, all & ~localless,
		   all & ~localless);
}

static void families_of_addresses(void **state)
{
	static const struct {
		struct given given;
		unsigned families;
	} cases[] = {
		{ { 0 }, SP_FAMILY_IPV4 | SP_FAMILY_IPV6 },
		{ { .families = IPV6 | UNIX }, SP_FAMILY_IPV6 },
		{ { .families = UNIX }, 0 },
		{ { .remote = { "10.0.0.0/8" } }, SP_FAMILY_IPV4 },
		{ { .remote = { "10.0.0.0/8", "fd00::/8" } }, SP_FAMILY_IPV4 | SP_FAMILY_IPV6 },
		{ { .remote = { "10.0.0.0/8", "fd00::/8" }, .local = { "fd00::1" } },
		  SP_FAMILY_IPV6 },
		{ { .remote = { "10.0.0.0/8" }, .local = { "fd00::1" } }, 0 },
		{ { .families = IPV6, .remote = { "10.0.0.0/8" } }, 0 },
		{ { .remote_port = { { 80, 80 } } }, SP_FAMILY_IPV4 | SP_FAMILY_IPV6 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct when w = make_when(&cases[i].given);

		assert_int_equal(when_ip_families(&w), cases[i].families);
		when_clear(&w);
	}
}

static void contradictions(void **state)
{
	static const struct {
		struct given given;
		const char *why;
	} cases[] = {
		{ { .families = UNIX, .protocols = BIT(PROTOCOL_TCP) },
		  "only IP sockets have a protocol" },
		{ { .families = UNIX, .remote = { "10.0.0.0/8" } },
		  "only IP sockets have addresses and ports" },
		{ { .families = UNIX, .local_port = { { 80, 80 } } },
		  "only IP sockets have addresses and ports" },
		{ { .families = UNIX, .directions = ACCEPT | LISTEN },
		  "AF_UNIX sockets are governed when they connect or send" },
		{ { .families = NETLINK | PACKET, .directions = LISTEN },
		  "netlink and packet sockets are governed at socket(2), where no direction is "
		  "known" },
		{ { .protocols = BIT(PROTOCOL_UDP), .directions = ACCEPT },
		  "UDP sockets are not accepted" },
		{ { .directions = LISTEN, .remote_port = { { 80, 80 } } },
		  "a socket that listens has no remote" },
		{ { .families = IPV6, .remote = { "10.0.0.0/8" } },
		  "its 'family', 'remote' and 'local' have no family in common" },
		{ { .protocols = BIT(PROTOCOL_UDP), .directions = LISTEN },
		  "no socket is all that its 'when' asks for" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct when w = make_when(&cases[i].given);

		assert_string_equal(when_contradiction(&w), cases[i].why);
		when_clear(&w);
	}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_given),
		cmocka_unit_test(everything_given),
		cmocka_unit_test(empty_lists_given),
		cmocka_unit_test(every_key_has_a_row),
		cmocka_unit_test(each_key_alone),
		cmocka_unit_test(empty_lists_hold_for_nothing),
		cmocka_unit_test(all_keys_at_once),
		cmocka_unit_test(what_is_not_known_does_not_hold),
		cmocka_unit_test(v4_mapped),
		cmocka_unit_test(ipv6_connections),
		cmocka_unit_test(unix_sockets),
		cmocka_unit_test(netlink_sockets),
		cmocka_unit_test(test_text),
		cmocka_unit_test(test_long_lists_are_cut),
		cmocka_unit_test(test_one_key),
		cmocka_unit_test(test_empty),
		cmocka_unit_test(test_digest),
		cmocka_unit_test(asks_of_properties),
		cmocka_unit_test(keys_of_the_peer),
		cmocka_unit_test(stages),
		cmocka_unit_test(families_of_addresses),
		cmocka_unit_test(contradictions),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
