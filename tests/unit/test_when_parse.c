// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "policy/when_parse.h"

/* `input` is this prefix, as prefix_format() has it; "v4:" or "v6:" before it says which. */
static void parse_prefix_one(const char *input, const char *expected)
{
	_cleanup_free_ char *error = NULL;
	char text[PREFIX_TEXT_SIZE], got[PREFIX_TEXT_SIZE + sizeof("v4:")];
	struct prefix p = { 0 };
	int r = prefix_parse(input, &p, &error);

	if (r)
		fail_msg("'%s': %d, %s", input, r, error ? error : "no message");
	snprintf(got, sizeof(got), "%s:%s", p.v4 ? "v4" : "v6", prefix_format(&p, text));
	assert_string_equal(got, expected);
	/* what a v4-mapped address leaves behind would tell equal prefixes apart */
	for (size_t i = 4; p.v4 && i < sizeof(p.address); i++)
		assert_int_equal(p.address[i], 0);
}

/* `input` is bad, and the sentence is its text and this. */
static void parse_prefix_bad(const char *input, const char *reason)
{
	_cleanup_free_ char *error = NULL, *expected = NULL;
	struct prefix p = { .length = 77 };

	if (prefix_parse(input, &p, &error) != -EINVAL)
		fail_msg("'%s' is taken", input);
	assert_true(asprintf(&expected, "'%s' %s", input, reason) > 0);
	assert_string_equal(error, expected);
	assert_int_equal(p.length, 77); /* untouched */
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
	struct port_range range = { 0 };
	int r = port_range_parse(input, &range, &error);

	if (r)
		fail_msg("'%s': %d, %s", input, r, error ? error : "no message");
	assert_int_equal(range.first, first);
	assert_int_equal(range.last, last);
}

static void parse_port_bad(const char *input, const char *reason)
{
	_cleanup_free_ char *error = NULL, *expected = NULL;
	struct port_range range = { .first = 77 };

	if (port_range_parse(input, &range, &error) != -EINVAL)
		fail_msg("'%s' is taken", input);
	assert_true(asprintf(&expected, "'%s' %s", input, reason) > 0);
	assert_string_equal(error, expected);
	assert_int_equal(range.first, 77); /* untouched */
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

/* A whole `when`, from YAML. */
static void parse_when_one(const char *yaml, struct when *ret)
{
	struct config config = { 0 };
	struct diags diags = { 0 };
	struct parse p = { .config = &config, .diags = &diags };
	struct yaml_doc doc;

	assert_int_equal(yaml_doc_parse(yaml, strlen(yaml), "when", &diags, &doc), 0);
	when_init(ret);
	assert_int_equal(when_parse(&p, doc.root, ret), 0);
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
	assert_true(w.remote.v[0].v4);
	assert_int_equal(w.remote.v[0].length, 8);
	assert_int_equal(w.remote.v[0].at.line, 4);
	assert_int_equal(w.remote.v[1].at.column, 22);
	assert_false(w.remote.v[1].v4);
	assert_int_equal(w.remote.v[2].length, 128);
	assert_int_equal(w.local.n, 1);
	assert_true(w.local.v[0].v4);
	assert_int_equal(w.remote_port.n, 2);
	assert_int_equal(w.remote_port.v[1].first, 6432);
	assert_int_equal(w.remote_port.v[1].last, 6439);
	assert_int_equal(w.remote_port.v[1].at.line, 6);
	assert_int_equal(w.local_port.n, 1);
	assert_int_equal(w.local_port.v[0].first, 80);
	when_clear(&w);
	assert_null(w.remote.v);
}

static void empty_lists(void **state)
{
	struct when w;

	(void)state;
	parse_when_one("{direction: [], protocol: [], family: [], remote: [], local: [], "
		       "remote_port: [], local_port: []}",
		       &w);
	assert_true(w.has_remote && w.has_local && w.has_remote_port && w.has_local_port);
	assert_int_equal(w.directions | w.protocols | w.families, 0);
	assert_int_equal(w.remote.n + w.local.n + w.remote_port.n + w.local_port.n, 0);
	when_clear(&w);
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
		cmocka_unit_test(nothing_given),
		cmocka_unit_test(everything_given),
		cmocka_unit_test(empty_lists),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
