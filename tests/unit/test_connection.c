// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "policy/connection.h"
#include "policy/when_parse.h"

/* "" : not known.  The parser is not what is tested here: v4-mapped addresses are IPv4 to it too.
 */
static struct endpoint endpoint(const char *address, uint16_t port)
{
	_cleanup_free_ char *error = NULL;
	struct endpoint e = { .port = port };
	struct prefix p;

	if (!*address)
		return e;
	assert_int_equal(prefix_parse(address, &p, &error), 0);
	e.known = true;
	e.v4 = p.v4;
	memcpy(e.address, p.address, sizeof(e.address));
	return e;
}

static void prefix_one(const char *prefix, const char *address, bool expected)
{
	_cleanup_free_ char *error = NULL;
	const struct endpoint e = endpoint(address, 80);
	struct prefix p;

	assert_int_equal(prefix_parse(prefix, &p, &error), 0);
	if (prefix_holds(&p, &e) != expected)
		fail_msg("%s in %s: not %d", address, prefix, expected);
}

static void prefixes(void **state)
{
	(void)state;
	prefix_one("0.0.0.0/0", "0.0.0.0", true);
	prefix_one("0.0.0.0/0", "255.255.255.255", true);
	prefix_one("0.0.0.0/0", "", false);
	prefix_one("10.0.0.1", "10.0.0.1", true);
	prefix_one("10.0.0.1", "10.0.0.0", false);
	prefix_one("10.0.0.1", "10.0.0.2", false);
	prefix_one("10.0.0.0/8", "10.0.0.0", true);
	prefix_one("10.0.0.0/8", "10.255.255.255", true);
	prefix_one("10.0.0.0/8", "9.255.255.255", false);
	prefix_one("10.0.0.0/8", "11.0.0.0", false);
	prefix_one("10.64.0.0/10", "10.127.255.255", true);
	prefix_one("10.64.0.0/10", "10.128.0.0", false);
	prefix_one("10.64.0.0/10", "10.63.255.255", false);
	prefix_one("128.0.0.0/1", "127.255.255.255", false);
	prefix_one("128.0.0.0/1", "128.0.0.0", true);
	prefix_one("10.0.0.0/31", "10.0.0.1", true);
	prefix_one("10.0.0.0/31", "10.0.0.2", false);
	prefix_one("::/0", "::", true);
	prefix_one("::/0", "ffff::", true);
	prefix_one("fd00::/8", "fdff:ffff::1", true);
	prefix_one("fd00::/8", "fe00::", false);
	prefix_one("fc00::/7", "fd00::1", true);
	prefix_one("fc00::/7", "fe00::", false);
	prefix_one("2001:db8::/127", "2001:db8::1", true);
	prefix_one("2001:db8::/127", "2001:db8::2", false);
	prefix_one("2001:db8::1", "2001:db8::1", true);
	prefix_one("2001:db8::1", "2001:db8::", false);
}

static void families_do_not_mix(void **state)
{
	(void)state;
	prefix_one("::/0", "10.0.0.1", false);
	prefix_one("0.0.0.0/0", "::1", false);
	prefix_one("0.0.0.0/0", "::", false);
	/* the same bytes */
	prefix_one("32.1.13.184", "2001:db8::", false);
	prefix_one("2001:db8::/32", "32.1.13.184", false);
	/* v4-mapped is IPv4, on either side */
	prefix_one("10.0.0.0/8", "::ffff:10.1.2.3", true);
	prefix_one("::ffff:10.0.0.0/104", "10.1.2.3", true);
	prefix_one("::ffff:0:0/96", "10.1.2.3", true);
	prefix_one("::/0", "::ffff:10.1.2.3", false);
	prefix_one("::/80", "::ffff:10.1.2.3", false);
}

/* What a rule's `when` may be made of here; what is NULL or 0 is not given. */
struct asked {
	unsigned directions, protocols, families;
	const char *remote[3], *local[3];
	struct port_range remote_port[2], local_port[2];
};

static struct prefixes make_prefixes(const char *const texts[3])
{
	struct prefixes list = { 0 };

	for (size_t i = 0; i < 3 && texts[i]; i++) {
		_cleanup_free_ char *error = NULL;

		assert_int_equal(GROW(list.v, list.n), 0);
		assert_int_equal(prefix_parse(texts[i], &list.v[list.n++], &error), 0);
	}
	return list;
}

static struct port_ranges make_ports(const struct port_range ranges[2])
{
	struct port_ranges list = { 0 };

	for (size_t i = 0; i < 2 && ranges[i].last; i++) {
		assert_int_equal(GROW(list.v, list.n), 0);
		list.v[list.n++] = ranges[i];
	}
	return list;
}

static struct when make_when(const struct asked *a)
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
static void when_one(const struct asked *a, const struct connection *c, const char *fails)
{
	struct when w = make_when(a);
	const char *got = when_fails(&w, c);

	if (!got != !fails || (got && fails && !streq(got, fails)))
		fail_msg("%s fails, not %s", got ? got : "nothing", fails ? fails : "nothing");
	assert_int_equal(when_holds(&w, c), !fails);
	when_clear(&w);
}

#define WHEN(c, fails, ...) when_one(&(const struct asked){ __VA_ARGS__ }, c, fails)
#define CONNECT		    BIT(DIRECTION_CONNECT)
#define ACCEPT		    BIT(DIRECTION_ACCEPT)
#define LISTEN		    BIT(DIRECTION_LISTEN)
#define IPV4		    BIT(SP_FAMILY_INDEX_IPV4)
#define IPV6		    BIT(SP_FAMILY_INDEX_IPV6)
#define UNIX		    BIT(SP_FAMILY_INDEX_UNIX)

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
static void empty_lists(void **state)
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
		assert_string_equal(when_fails(&w, &c), keys[i]);
	}
}

static void all_keys_at_once(void **state)
{
	const struct asked all = { .directions = CONNECT,
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

static void ipv6(void **state)
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(prefixes),
		cmocka_unit_test(families_do_not_mix),
		cmocka_unit_test(each_key_alone),
		cmocka_unit_test(empty_lists),
		cmocka_unit_test(all_keys_at_once),
		cmocka_unit_test(what_is_not_known_does_not_hold),
		cmocka_unit_test(v4_mapped),
		cmocka_unit_test(ipv6),
		cmocka_unit_test(unix_sockets),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
