// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "policy/address.h"

/* `input` is this prefix, as range_format() has it; "v4:" or "v6:" before it says which. */
static void parse_prefix_one(const char *input, const char *expected)
{
	_cleanup_free_ char *error = NULL;
	char text[RANGE_TEXT_SIZE], got[RANGE_TEXT_SIZE + sizeof("v4:")];
	struct range p;
	int r = prefix_parse(input, &p, &error);

	if (r)
		fail_msg("'%s': %d, %s", input, r, error ? error : "no message");
	snprintf(got, sizeof(got), "%s:%s", p.kind == RANGE_IPV4 ? "v4" : "v6",
		 range_format(&p, text));
	assert_string_equal(got, expected);
	/* what a v4-mapped address leaves behind would tell equal prefixes apart */
	for (size_t i = range_size(&p); i < sizeof(p.first); i++)
		assert_int_equal(p.first[i] | p.last[i], 0);
}

/* `input` is bad, and the sentence is its text and this. */
static void parse_prefix_bad(const char *input, const char *reason)
{
	_cleanup_free_ char *error = NULL, *expected = NULL;
	struct range p = { .first = { 77 } };

	if (prefix_parse(input, &p, &error) != -EINVAL)
		fail_msg("'%s' is taken", input);
	assert_true(asprintf(&expected, "'%s' %s", input, reason) > 0);
	assert_string_equal(error, expected);
	assert_int_equal(p.first[0], 77); /* untouched */
}

static void ipv4(void **state)
{
	(void)state;
	parse_prefix_one("10.0.0.1", "v4:10.0.0.1");
	parse_prefix_one("10.0.0.1/32", "v4:10.0.0.1");
	parse_prefix_one("10.0.0.0/31", "v4:10.0.0.0/31");
	parse_prefix_one("10.0.0.0/8", "v4:10.0.0.0/8");
	parse_prefix_one("128.0.0.0/1", "v4:128.0.0.0/1");
	parse_prefix_one("0.0.0.0/0", "v4:0.0.0.0/0");
	parse_prefix_one("0.0.0.0", "v4:0.0.0.0");
	parse_prefix_one("255.255.255.255", "v4:255.255.255.255");
	parse_prefix_one("255.255.255.254/31", "v4:255.255.255.254/31");
}

static void ipv6(void **state)
{
	(void)state;
	parse_prefix_one("::1", "v6:::1");
	parse_prefix_one("::", "v6:::");
	parse_prefix_one("::/0", "v6:::/0");
	parse_prefix_one("fd00::/8", "v6:fd00::/8");
	parse_prefix_one("FD00::1/128", "v6:fd00::1");
	parse_prefix_one("2001:db8::/33", "v6:2001:db8::/33");
	parse_prefix_one("2001:db8:0:0:0:0:0:0/127", "v6:2001:db8::/127");
	parse_prefix_one("8000::/1", "v6:8000::/1");
	parse_prefix_one("ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255",
			 "v6:ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff");
	parse_prefix_one("::10.0.0.1", "v6:::10.0.0.1"); /* compatible, not mapped */
	parse_prefix_one("64:ff9b::10.0.0.0/120", "v6:64:ff9b::a00:0/120");
}

static void ipv4_mapped(void **state)
{
	(void)state;
	parse_prefix_one("::ffff:10.0.0.1", "v4:10.0.0.1");
	parse_prefix_one("::ffff:10.0.0.1/128", "v4:10.0.0.1");
	parse_prefix_one("::ffff:10.0.0.0/104", "v4:10.0.0.0/8");
	parse_prefix_one("::ffff:0:0/96", "v4:0.0.0.0/0");
	parse_prefix_one("::FFFF:a00:1", "v4:10.0.0.1");
	parse_prefix_bad("::ffff:10.0.0.0/8",
			 "is v4-mapped with a prefix length below 96, where the IPv4 address "
			 "begins");
	parse_prefix_bad("::ffff:0:0/95",
			 "is v4-mapped with a prefix length below 96, where the IPv4 address "
			 "begins");
	parse_prefix_bad("::ffff:10.0.0.1/104",
			 "has bits set below its prefix length; did you mean "
			 "'::ffff:10.0.0.0/104'?");
	parse_prefix_bad("::ffff:10.0.0.0/129", "has a bad prefix length: IPv6 takes 96 to 128");
	/* around them: all IPv6, and so without the IPv4 ones */
	parse_prefix_one("::/80", "v6:::/80");
	parse_prefix_one("::fffe:0:0/95", "v6:::fffe:0:0/95");
}

static void host_bits(void **state)
{
	static const struct {
		const char *input, *meant;
	} cases[] = {
		{ "10.0.0.1/8", "10.0.0.0/8" },
		{ "10.0.0.1/31", "10.0.0.0/31" },
		{ "10.7.0.0/12", "10.0.0.0/12" },
		{ "1.0.0.0/0", "0.0.0.0/0" },
		{ "255.255.255.255/1", "128.0.0.0/1" },
		{ "fd00::1/8", "fd00::/8" },
		{ "2001:db8::1/127", "2001:db8::/127" },
		{ "::1/0", "::/0" },
		{ "2001:db8:8000::/32", "2001:db8::/32" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		char reason[160];

		snprintf(reason, sizeof(reason),
			 "has bits set below its prefix length; did you mean '%s'?",
			 cases[i].meant);
		parse_prefix_bad(cases[i].input, reason);
	}
}

static void prefix_lengths(void **state)
{
	static const char *const v4[] = {
		"33",  "-1", "",    "+8",  "08", " 8",	       "8 ",
		"8/8", "x",  "8.0", "0x8", "00", "4294967304", "255.0.0.0"
	};
	static const char *const v6[] = { "129", "-1", "", "032", "18446744073709551648", "::" };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(v4); i++) {
		char input[64];

		snprintf(input, sizeof(input), "10.0.0.0/%s", v4[i]);
		parse_prefix_bad(input, "has a bad prefix length: IPv4 takes 0 to 32");
	}
	for (size_t i = 0; i < ARRAY_SIZE(v6); i++) {
		char input[64];

		snprintf(input, sizeof(input), "fd00::/%s", v6[i]);
		parse_prefix_bad(input, "has a bad prefix length: IPv6 takes 0 to 128");
	}
}

static void no_addresses(void **state)
{
	static const char *const bad[] = {
		"",
		" ",
		"/",
		"/8",
		"10",
		"10/8",
		"10.0.0",
		"10.0.0/8",
		"10.0.0.",
		"10.0.0.0.0",
		"256.0.0.1",
		"010.0.0.1",
		"10.0.0.1 ",
		" ::1",
		"0x0a000001",
		"167772161",
		"localhost",
		"example.com",
		"10.0.0.*",
		":::",
		"1::2::3",
		"fd00:",
		"g::",
		"12345::",
		"[::1]",
		"::1:80:",
		"10.0.0.1:80",
		"::ffff:10.0.0",
		"::ffff:10.0.0.256",
		"10.0.0.1-10.0.0.9",
		"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		parse_prefix_bad(bad[i], "is not an address or a prefix (10.0.0.1, 10.0.0.0/8, "
					 "2001:db8::/32)");
	parse_prefix_bad("fe80::1%eth0", "has a zone id, which no rule can look at");
	parse_prefix_bad("fe80::%2/64", "has a zone id, which no rule can look at");
}

static void parse_port_one(const char *input, unsigned first, unsigned last)
{
	_cleanup_free_ char *error = NULL;
	struct range range;
	int r = port_range_parse(input, &range, &error);

	if (r)
		fail_msg("'%s': %d, %s", input, r, error ? error : "no message");
	assert_int_equal(range.kind, RANGE_PORT);
	assert_int_equal(range.first[0] << 8 | range.first[1], first);
	assert_int_equal(range.last[0] << 8 | range.last[1], last);
}

static void parse_port_bad(const char *input, const char *reason)
{
	_cleanup_free_ char *error = NULL, *expected = NULL;
	struct range range = { .first = { 77 } };

	if (port_range_parse(input, &range, &error) != -EINVAL)
		fail_msg("'%s' is taken", input);
	assert_true(asprintf(&expected, "'%s' %s", input, reason) > 0);
	assert_string_equal(error, expected);
	assert_int_equal(range.first[0], 77); /* untouched */
}

static void ports(void **state)
{
	static const char *const bad[] = {
		"",
		"0",
		"65536",
		"-1",
		"-80",
		"80-",
		"80--90",
		"80-90-95",
		"0-80",
		"80-65536",
		"+80",
		"080",
		"80-090",
		"0x50",
		"80 ",
		" 80",
		"80 - 90",
		"80,90",
		"80:90",
		"http",
		"80/tcp",
		"80.0",
		"1e3",
		"*",
		"4294967376",
		"18446744073709551696",
		"80-4294967386",
		"99999999999999999999999",
	};

	(void)state;
	parse_port_one("1", 1, 1);
	parse_port_one("80", 80, 80);
	parse_port_one("65535", 65535, 65535);
	parse_port_one("80-80", 80, 80);
	parse_port_one("8000-8999", 8000, 8999);
	parse_port_one("1-65535", 1, 65535);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		parse_port_bad(bad[i], "is not a port or a range of ports (80, 8000-8999); ports "
				       "are 1 to 65535");
	parse_port_bad("90-80", "ends below where it begins; did you mean '80-90'?");
	parse_port_bad("80-0", "ends below where it begins; did you mean '0-80'?");
}

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

static void prefix_one(const char *prefix, const char *address, bool expected)
{
	_cleanup_free_ char *error = NULL;
	const struct endpoint e = endpoint(address, 80);
	struct range p;

	assert_int_equal(prefix_parse(prefix, &p, &error), 0);
	if (ranges_hold(&(struct ranges){ &p, 1 }, &e) != expected)
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

/* `input` is this end, as endpoint_format() has it. */
static void parse_endpoint_one(const char *input, bool v4, const char *expected)
{
	_cleanup_free_ char *error = NULL;
	char text[ENDPOINT_TEXT_SIZE];
	struct endpoint e;
	int r = endpoint_parse(input, &e, &error);

	if (r)
		fail_msg("'%s': %d, %s", input, r, error ? error : "no message");
	assert_string_equal(endpoint_format(&e, text), expected);
	assert_int_equal(e.v4, v4);
}

static void endpoints(void **state)
{
	const struct endpoint nothing = { 0 };
	char text[ENDPOINT_TEXT_SIZE];

	(void)state;
	parse_endpoint_one("10.0.0.1", true, "10.0.0.1");
	parse_endpoint_one("10.0.0.1:65535", true, "10.0.0.1:65535");
	parse_endpoint_one("fd00::1", false, "fd00::1");
	parse_endpoint_one("[fd00::1]", false, "fd00::1");
	parse_endpoint_one("[fd00::1]:443", false, "[fd00::1]:443");
	parse_endpoint_one("[::ffff:10.0.0.1]:80", true, "10.0.0.1:80");
	parse_endpoint_one(":80", false, ":80");
	assert_null(endpoint_format(&nothing, text));
}

static void no_endpoints(void **state)
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
		_cleanup_free_ char *error = NULL, *expected = NULL;
		struct endpoint e = { .port = 77 };

		if (endpoint_parse(bad[i], &e, &error) != -EINVAL)
			fail_msg("'%s' is taken", bad[i]);
		assert_true(asprintf(&expected,
				     "'%s' is not an address, with or without a port (192.0.2.1, "
				     "192.0.2.1:443, [2001:db8::1]:443, :443)",
				     bad[i]) > 0);
		assert_string_equal(error, expected);
		assert_int_equal(e.port, 77); /* untouched */
	}
}

static void wildcards(void **state)
{
	static const struct {
		const char *address;
		bool wildcard;
	} cases[] = {
		{ "0.0.0.0", true }, { "0.0.0.1", false }, { "1.0.0.0", false },
		{ "::", true },	     { "::1", false },	   { "1::", false },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct endpoint e = endpoint(cases[i].address, 80);

		assert_int_equal(endpoint_is_wildcard(&e), cases[i].wildcard);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ipv4),
		cmocka_unit_test(ipv6),
		cmocka_unit_test(ipv4_mapped),
		cmocka_unit_test(host_bits),
		cmocka_unit_test(prefix_lengths),
		cmocka_unit_test(no_addresses),
		cmocka_unit_test(ports),
		cmocka_unit_test(prefixes),
		cmocka_unit_test(families_do_not_mix),
		cmocka_unit_test(endpoints),
		cmocka_unit_test(no_endpoints),
		cmocka_unit_test(wildcards),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
