// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "option/value.h"

#define UNLIMITED 0xffffffffLL

static int parse(const char *name, const char *input, struct sockopt *ret, char **ret_error)
{
	const struct option_shorthand *s = option_find_shorthand(name);
	const struct option *o = s ? &s->as_option : option_find(name);

	assert_non_null(o);
	return value_parse(o, input, ret, ret_error);
}

/* `input` is good, and is this number to setsockopt(2). */
static void parse_one(const char *name, const char *input, int64_t expected)
{
	const struct option_shorthand *shorthand = option_find_shorthand(name);
	const struct option *o = shorthand ? shorthand->expands_to[0] : option_find(name);
	_cleanup_free_ char *error = NULL;
	struct sockopt s;
	int r = parse(name, input, &s, &error);

	if (r)
		fail_msg("%s: '%s': %d, %s", name, input, r, error ? error : "no message");
	assert_int_equal(s.size, sizeof(int));
	assert_int_equal(s.level, o->level);
	assert_int_equal(s.name, o->optname);
	if (value_number(o, &s) != expected)
		fail_msg("%s: '%s' is %" PRId64 ", not %" PRId64, name, input, value_number(o, &s),
			 expected);
	sockopt_destroy(&s);
}

/* `input` is bad, and the sentence begins with the text and has `part` in it. */
static void parse_bad(const char *name, const char *input, int expected, const char *part)
{
	_cleanup_free_ char *error = NULL, *start = NULL;
	struct sockopt s = { .level = -77 };
	int r = parse(name, input, &s, &error);

	if (r != expected)
		fail_msg("%s: '%s': %d, not %d (%s)", name, input, r, expected, error ? error : "");
	assert_non_null(error);
	if (!strstr(error, part))
		fail_msg("%s: '%s': no '%s' in: %s", name, input, part, error);
	assert_true(asprintf(&start, "'%s' ", input) > 0);
	if (strncmp(error, start, strlen(start)) != 0)
		fail_msg("%s: '%s' is not named in: %s", name, input, error);
	assert_int_equal(s.level, -77); /* untouched */
}

static void integers(void **state)
{
	(void)state;
	parse_one("TCP_KEEPCNT", "1", 1);
	parse_one("TCP_KEEPCNT", "127", 127);
	parse_bad("TCP_KEEPCNT", "0", -ERANGE, "is too small; accepted: whole number; 1 to 127");
	parse_bad("TCP_KEEPCNT", "128", -ERANGE, "is too large");
	parse_bad("TCP_KEEPCNT", "-5", -ERANGE, "is negative");
	parse_bad("TCP_KEEPCNT", "", -EINVAL, "is empty");
	parse_bad("TCP_KEEPCNT", " 5", -EINVAL, "space");
	parse_bad("TCP_KEEPCNT", "5 ", -EINVAL, "space");
	parse_bad("TCP_KEEPCNT", "+5", -EINVAL, "sign");
	parse_bad("TCP_KEEPCNT", "010", -EINVAL, "leading zero");
	parse_bad("TCP_KEEPCNT", "00", -EINVAL, "leading zero");
	parse_bad("TCP_KEEPCNT", "-0", -EINVAL, "not a number");
	parse_bad("TCP_KEEPCNT", "--5", -EINVAL, "not a number");
	parse_bad("TCP_KEEPCNT", "5x", -EINVAL, "not a whole number");
	parse_bad("TCP_KEEPCNT", "5s", -EINVAL, "not a whole number");
	parse_bad("TCP_KEEPCNT", "5.0", -EINVAL, "not a whole number");
	parse_bad("TCP_KEEPCNT", "5.", -EINVAL, "no digit after the point");
	parse_bad("TCP_KEEPCNT", "1_0", -EINVAL, "not a whole number");
	parse_bad("TCP_KEEPCNT", "1e1", -EINVAL, "not a whole number");
	parse_bad("TCP_KEEPCNT", "0b1", -EINVAL, "not a whole number");
	parse_bad("TCP_KEEPCNT", "0x5", -EINVAL, "not a whole number");
	parse_bad("TCP_KEEPCNT", "five", -EINVAL, "not a number");
	parse_bad("TCP_KEEPCNT", "on", -EINVAL, "not a number");
	parse_bad("TCP_KEEPCNT", "\xd9\xa5", -EINVAL, "not a number");	    /* ARABIC-INDIC FIVE */
	parse_bad("TCP_KEEPCNT", "4294967297", -ERANGE, "too large");	    /* 1 in 32 bits */
	parse_bad("TCP_KEEPCNT", "18446744073709551617", -ERANGE, "range"); /* 1 in 64 bits */
	parse_bad("TCP_KEEPCNT", "9223372036854775808", -ERANGE, "range");
}

static void integers_with_other_ranges(void **state)
{
	(void)state;
	parse_one("SO_TXREHASH", "-1", -1);
	parse_one("SO_TXREHASH", "0", 0);
	parse_bad("SO_TXREHASH", "-2", -ERANGE, "accepted: whole number; -1 to 1");
	parse_one("TCP_MAXSEG", "0", 0);
	parse_one("TCP_MAXSEG", "88", 88);
	parse_one("TCP_MAXSEG", "32767", 32767);
	parse_bad("TCP_MAXSEG", "87", -ERANGE, "accepted: whole number; 0, or 88 to 32767");
	parse_one("SO_BINDTOIFINDEX", "2147483647", INT32_MAX);
	parse_bad("SO_BINDTOIFINDEX", "2147483648", -ERANGE, "too large");
}

static void hexadecimal(void **state)
{
	(void)state;
	parse_one("SO_MARK", "0", 0);
	parse_one("SO_MARK", "16", 16);
	parse_one("SO_MARK", "0x10", 16);
	parse_one("SO_MARK", "0xdeadBEEF", 0xdeadbeefLL);
	parse_one("SO_MARK", "4294967295", UINT32_MAX);
	parse_one("SO_MARK", "0xffffffff", UINT32_MAX);
	parse_one("SO_MARK", "0x00000010", 16); /* in hex zeros keep columns */
	parse_bad("SO_MARK", "4294967296", -ERANGE, "too large");
	parse_bad("SO_MARK", "0x100000000", -ERANGE, "too large");
	parse_bad("SO_MARK", "0xffffffffffffffff", -ERANGE, "too large");
	parse_bad("SO_MARK", "0x10000000000000001", -ERANGE, "too large");
	parse_bad("SO_MARK", "0x", -EINVAL, "not a whole number");
	parse_bad("SO_MARK", "0X10", -EINVAL, "not a whole number");
	parse_bad("SO_MARK", "0x1g", -EINVAL, "not a whole number");
	parse_bad("SO_MARK", "0x-1", -EINVAL, "not a whole number");
	parse_bad("SO_MARK", "0x10 ", -EINVAL, "space");
	parse_bad("SO_MARK", "x10", -EINVAL, "not a number");
	parse_bad("SO_MARK", "-1", -ERANGE, "negative");
	parse_bad("SO_MARK", "010", -EINVAL, "leading zero");
}

static void booleans(void **state)
{
	static const char *const on[] = { "on", "yes", "true", "1", "On", "TRUE" };
	static const char *const off[] = { "off", "no", "false", "0", "Off", "FALSE" };
	static const char *const bad[] = { "",	"2", "-1",  "01",  "y",	  "n",	     "onn",
					   "o", "t", "1.0", " on", "on ", "enabled", "0x1" };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(on); i++)
		parse_one("TCP_NODELAY", on[i], 1);
	for (size_t i = 0; i < ARRAY_SIZE(off); i++)
		parse_one("TCP_NODELAY", off[i], 0);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		parse_bad("TCP_NODELAY", bad[i], -EINVAL,
			  "is neither on nor off; accepted: on, off, yes, no, true, false, 1, 0");
}

static void sizes(void **state)
{
	(void)state;
	parse_one("SO_SNDBUF", "1", 1);
	parse_one("SO_SNDBUF", "4096", 4096);
	parse_one("SO_SNDBUF", "4K", 4096);
	parse_one("SO_SNDBUF", "4M", 4 << 20);
	parse_one("SO_SNDBUF", "1G", 1 << 30);
	parse_one("SO_SNDBUF", "1.5M", 3 << 19);
	parse_one("SO_SNDBUF", "0.5K", 512);
	parse_one("SO_SNDBUF", "1.000K", 1024);
	parse_one("SO_SNDBUF", "2147483647", INT32_MAX);
	parse_one("TCP_NOTSENT_LOWAT", "4294967295", UINT32_MAX);
	parse_one("SO_RCVLOWAT", "0K", 0);
	parse_bad("SO_SNDBUF", "0", -ERANGE, "is too small");
	parse_bad("SO_SNDBUF", "2G", -ERANGE,
		  "is too large; accepted: bytes, or with K, M, G; 1 to "
		  "2147483647");
	parse_bad("SO_SNDBUF", "17179869184G", -ERANGE, "too large"); /* 2^64 bytes */
	parse_bad("SO_SNDBUF", "17179869185G", -ERANGE, "too large");
	parse_bad("SO_SNDBUF", "18446744073709551617", -ERANGE, "too large");
	parse_bad("SO_SNDBUF", "1.5", -ERANGE, "is not a whole number of bytes");
	parse_bad("SO_SNDBUF", "0.0001K", -ERANGE, "is not a whole number of bytes");
	parse_bad("SO_SNDBUF", "1.00000000000000000000000001K", -ERANGE, "too many digits");
	parse_bad("SO_SNDBUF", "-4K", -ERANGE, "is negative");
	parse_bad("SO_SNDBUF", "4k", -EINVAL, "unknown unit");
	parse_bad("SO_SNDBUF", "4KB", -EINVAL, "unknown unit");
	parse_bad("SO_SNDBUF", "4MiB", -EINVAL, "unknown unit");
	parse_bad("SO_SNDBUF", "4T", -EINVAL, "unknown unit");
	parse_bad("SO_SNDBUF", "4s", -EINVAL, "unknown unit");
	parse_bad("SO_SNDBUF", "4MM", -EINVAL, "unknown unit");
	parse_bad("SO_SNDBUF", "4 M", -EINVAL, "space");
	parse_bad("SO_SNDBUF", "M", -EINVAL, "not a number");
	parse_bad("SO_SNDBUF", ".5M", -EINVAL, "not a number");
	parse_bad("SO_SNDBUF", "1.M", -EINVAL, "no digit after the point");
	parse_bad("SO_SNDBUF", "1.5.5M", -EINVAL, "unknown unit");
	parse_bad("SO_SNDBUF", "1,5M", -EINVAL, "unknown unit");
	parse_bad("SO_SNDBUF", "01M", -EINVAL, "leading zero");
	parse_bad("SO_SNDBUF", "0x1000", -EINVAL, "unknown unit");
	parse_bad("SO_SNDBUF", "", -EINVAL, "is empty");
}

static void rates(void **state)
{
	(void)state;
	parse_one("SO_MAX_PACING_RATE", "1", 1);
	parse_one("SO_MAX_PACING_RATE", "125000", 125000);
	parse_one("SO_MAX_PACING_RATE", "1kbit/s", 125);
	parse_one("SO_MAX_PACING_RATE", "8Mbit/s", 1000000);
	parse_one("SO_MAX_PACING_RATE", "10Gbit/s", 1250000000);
	parse_one("SO_MAX_PACING_RATE", "0.008kbit/s", 1);
	parse_one("SO_MAX_PACING_RATE", "2.5kB/s", 2500);
	parse_one("SO_MAX_PACING_RATE", "200MB/s", 200000000);
	parse_one("SO_MAX_PACING_RATE", "4GB/s", 4000000000LL);
	parse_one("SO_MAX_PACING_RATE", "1KiB/s", 1024);
	parse_one("SO_MAX_PACING_RATE", "1MiB/s", 1 << 20);
	parse_one("SO_MAX_PACING_RATE", "3GiB/s", 3LL << 30);
	parse_one("SO_MAX_PACING_RATE", "unlimited", UNLIMITED);
	parse_bad("SO_MAX_PACING_RATE", "0", -ERANGE, "write unlimited");
	parse_bad("SO_MAX_PACING_RATE", "0Mbit/s", -ERANGE, "write unlimited");
	parse_bad("SO_MAX_PACING_RATE", "4294967296", -ERANGE, "too large");
	parse_bad("SO_MAX_PACING_RATE", "40Gbit/s", -ERANGE,
		  "or unlimited; 1 to 4294967295 bytes/s");
	parse_bad("SO_MAX_PACING_RATE", "18446744073709551616GB/s", -ERANGE, "too large");
	parse_bad("SO_MAX_PACING_RATE", "18446744073GB/s", -ERANGE, "too large");
	parse_bad("SO_MAX_PACING_RATE", "0.001kbit/s", -ERANGE, "not a whole number of bytes/s");
	parse_bad("SO_MAX_PACING_RATE", "-1", -ERANGE, "negative");
	parse_bad("SO_MAX_PACING_RATE", "Unlimited", -EINVAL, "not a number");
	parse_bad("SO_MAX_PACING_RATE", "unlimitedx", -EINVAL, "not a number");
	parse_bad("SO_MAX_PACING_RATE", "200MB", -EINVAL, "unknown unit");
	parse_bad("SO_MAX_PACING_RATE", "200M", -EINVAL, "unknown unit");
	parse_bad("SO_MAX_PACING_RATE", "200mbit/s", -EINVAL, "unknown unit");
	parse_bad("SO_MAX_PACING_RATE", "200Mbit/s ", -EINVAL, "space");
	parse_bad("SO_MAX_PACING_RATE", "1s", -EINVAL, "unknown unit");
	parse_bad("SO_MAX_PACING_RATE", "", -EINVAL, "is empty");
}

static void times(void **state)
{
	(void)state;
	parse_one("TCP_KEEPIDLE", "60s", 60);
	parse_one("TCP_KEEPIDLE", "1000ms", 1);
	parse_one("TCP_KEEPIDLE", "5000000us", 5);
	parse_one("TCP_KEEPIDLE", "2min", 120);
	parse_one("TCP_KEEPIDLE", "2h", 7200);
	parse_one("TCP_KEEPIDLE", "0.5min", 30);
	parse_one("TCP_KEEPIDLE", "32767s", 32767);
	parse_one("TCP_USER_TIMEOUT", "0s", 0);
	parse_one("TCP_USER_TIMEOUT", "1.5s", 1500);
	parse_one("TCP_USER_TIMEOUT", "1.500000000000000000000000000s", 1500);
	parse_one("TCP_BPF_RTO_MIN", "10ms", 10000);
	parse_one("TCP_BPF_RTO_MIN", "0.2s", 200000);
	parse_one("TCP_BPF_DELACK_MAX", "1us", 1);
	parse_one("TCP_RTO_MAX_MS", "2min", 120000);
	parse_bad("TCP_KEEPIDLE", "60", -EINVAL, "has no unit: write 60s");
	parse_bad("TCP_USER_TIMEOUT", "20000", -EINVAL, "has no unit: write 20000ms");
	parse_bad("TCP_BPF_RTO_MIN", "10000", -EINVAL, "has no unit: write 10000us");
	parse_bad("TCP_USER_TIMEOUT", "0", -EINVAL, "has no unit: write 0ms");
	parse_bad("TCP_KEEPIDLE", "1500ms", -ERANGE, "is not a whole number of seconds");
	parse_bad("TCP_KEEPIDLE", "1.5s", -ERANGE, "is not a whole number of seconds");
	parse_bad("TCP_USER_TIMEOUT", "100us", -ERANGE, "is not a whole number of milliseconds");
	parse_bad("TCP_BPF_RTO_MIN", "0.5us", -ERANGE, "is not a whole number of microseconds");
	parse_bad("TCP_KEEPIDLE", "0s", -ERANGE,
		  "too small; accepted: number with us, ms, s, min or "
		  "h; 1s to 32767s");
	parse_bad("TCP_KEEPIDLE", "32768s", -ERANGE, "too large");
	parse_bad("TCP_KEEPIDLE", "10h", -ERANGE, "too large");
	parse_bad("TCP_RTO_MAX_MS", "999ms", -ERANGE, "too small");
	parse_bad("TCP_BPF_RTO_MIN", "201ms", -ERANGE, "1us to 200ms");
	parse_bad("TCP_KEEPIDLE", "5124095577h", -ERANGE, "too large"); /* 2^64 us and some */
	parse_bad("TCP_KEEPIDLE", "18446744073709551617s", -ERANGE, "too large");
	parse_bad("TCP_KEEPIDLE", "0.00000000000000000001s", -ERANGE, "too many digits");
	parse_bad("TCP_KEEPIDLE", "-1s", -ERANGE, "negative");
	parse_bad("TCP_KEEPIDLE", "60m", -EINVAL, "unknown unit");
	parse_bad("TCP_KEEPIDLE", "60S", -EINVAL, "unknown unit");
	parse_bad("TCP_KEEPIDLE", "60sec", -EINVAL, "unknown unit");
	parse_bad("TCP_KEEPIDLE", "60ss", -EINVAL, "unknown unit");
	parse_bad("TCP_KEEPIDLE", "1h30min", -EINVAL, "unknown unit");
	parse_bad("TCP_KEEPIDLE", "4M", -EINVAL, "unknown unit");
	parse_bad("TCP_KEEPIDLE", "60 s", -EINVAL, "space");
	parse_bad("TCP_KEEPIDLE", "s", -EINVAL, "not a number");
	parse_bad("TCP_KEEPIDLE", "1:30", -EINVAL, "unknown unit");
	parse_bad("TCP_KEEPIDLE", "060s", -EINVAL, "leading zero");
	parse_bad("TCP_KEEPIDLE", "", -EINVAL, "is empty");
}

/* The replies of sock_ops have values like any option. */
static void replies(void **state)
{
	(void)state;
	parse_one("TIMEOUT_INIT", "10ms", 10);
	parse_one("TIMEOUT_INIT", "2min", 120000);
	parse_bad("TIMEOUT_INIT", "0s", -ERANGE, "is too small");
	parse_bad("TIMEOUT_INIT", "121s", -ERANGE,
		  "accepted: number with us, ms, s, min or h; 1ms "
		  "to 120s");
	parse_bad("TIMEOUT_INIT", "1500us", -ERANGE, "is not a whole number of milliseconds");
	parse_bad("TIMEOUT_INIT", "10", -EINVAL, "has no unit: write 10ms");
	parse_one("RWND_INIT", "40", 40);
	parse_one("RWND_INIT", "65535", 65535);
	parse_bad("RWND_INIT", "0", -ERANGE, "is too small");
	parse_bad("RWND_INIT", "65536", -ERANGE, "is too large");
	parse_one("NEEDS_ECN", "on", 1);
	parse_one("NEEDS_ECN", "off", 0);
	parse_bad("NEEDS_ECN", "2", -EINVAL, "is neither on nor off");
	parse_one("BASE_RTT", "80us", 80);
	parse_one("BASE_RTT", "1.5ms", 1500);
	parse_bad("BASE_RTT", "0us", -ERANGE, "is too small");
	parse_bad("BASE_RTT", "80", -EINVAL, "has no unit: write 80us");
}

static void classes(void **state)
{
	(void)state;
	parse_one("IP_TOS", "0", 0);
	parse_one("IP_TOS", "255", 255);
	parse_one("IP_TOS", "AF41", 34 << 2);
	parse_one("IP_TOS", "af41", 34 << 2);
	parse_one("IP_TOS", "EF", 184);
	parse_one("IPV6_TCLASS", "CS7", 56 << 2);
	parse_one("IPV6_TCLASS", "3", 3);
	parse_bad("IP_TOS", "256", -ERANGE,
		  "accepted: 0 to 255, or a DSCP class (CS0-CS7, AF11-AF43, EF, VA, LE, DF)");
	parse_bad("IP_TOS", "-1", -ERANGE, "negative");
	parse_bad("IP_TOS", "0x10", -EINVAL, "not a whole number");
	parse_bad("IP_TOS", "AF44", -EINVAL, "is not a DSCP class");
	parse_bad("IP_TOS", "CS8", -EINVAL, "is not a DSCP class");
	parse_bad("IP_TOS", "AF41 ", -EINVAL, "is not a DSCP class");
	parse_bad("IP_TOS", "AF411", -EINVAL, "is not a DSCP class");
	parse_bad("IP_TOS", "", -EINVAL, "is empty");
}

static void dscp(void **state)
{
	static const struct {
		const char *name;
		int dscp;
	} rfc[] = {
		{ "CS0", 0 },	{ "CS1", 8 },	{ "CS2", 16 },	{ "CS3", 24 },	{ "CS4", 32 },
		{ "CS5", 40 },	{ "CS6", 48 },	{ "CS7", 56 },	{ "AF11", 10 }, { "AF12", 12 },
		{ "AF13", 14 }, { "AF21", 18 }, { "AF22", 20 }, { "AF23", 22 }, { "AF31", 26 },
		{ "AF32", 28 }, { "AF33", 30 }, { "AF41", 34 }, { "AF42", 36 }, { "AF43", 38 },
		{ "EF", 46 },	{ "VA", 44 },	{ "LE", 1 },	{ "DF", 0 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rfc); i++)
		parse_one("DSCP", rfc[i].name, rfc[i].dscp << 2);
	parse_one("DSCP", "0", 0);
	parse_one("DSCP", "63", 252);
	parse_bad("DSCP", "64", -ERANGE, "accepted: 0 to 63, or a DSCP class");
	parse_bad("DSCP", "184", -ERANGE, "too large");
	parse_bad("DSCP", "-1", -ERANGE, "negative");
	parse_bad("DSCP", "EF1", -EINVAL, "is not a DSCP class");
	parse_bad("DSCP", "46.0", -EINVAL, "not a whole number");
	parse_bad("DSCP", "", -EINVAL, "is empty");
}

static void string_one(const char *name, const char *input)
{
	_cleanup_free_ char *error = NULL, *text = NULL;
	const struct option *o = option_find(name);
	struct sockopt s;

	assert_int_equal(value_parse(o, input, &s, &error), 0);
	assert_int_equal(s.size, strlen(input) + 1);
	assert_string_equal(sockopt_data(&s), input);
	assert_int_equal(value_number(o, &s), 0);
	text = value_format(o, &s);
	assert_string_equal(text, input);
	sockopt_destroy(&s);
}

static void strings(void **state)
{
	(void)state;
	string_one("TCP_CONGESTION", "bbr");
	string_one("TCP_CONGESTION", "x");
	string_one("TCP_CONGESTION", "fifteen_letters");
	string_one("SO_BINDTODEVICE", "");
	string_one("SO_BINDTODEVICE", "eth0.100");
	string_one("SO_BINDTODEVICE", "010"); /* no number */
	parse_bad("TCP_CONGESTION", "", -ERANGE, "is empty; accepted: name of 1 to 15 characters");
	parse_bad("TCP_CONGESTION", "sixteen__letters", -ERANGE, "is too long");
	parse_bad("SO_BINDTODEVICE", "sixteen__letters", -ERANGE, "0 to 15 characters");
	parse_bad("SO_BINDTODEVICE", "eth 0", -EINVAL, "is not a name");
	parse_bad("SO_BINDTODEVICE", "../eth0", -EINVAL, "is not a name");
	parse_bad("SO_BINDTODEVICE", "eth0:1", -EINVAL, "is not a name");
}

static void error_of(const char *input, const char *expected)
{
	_cleanup_free_ char *error = NULL;
	struct sockopt s;

	assert_int_equal(value_parse(option_find("TCP_KEEPCNT"), input, &s, &error), -EINVAL);
	assert_true(!strncmp(error, expected, strlen(expected)));
}

/* A message stays one short line, whatever the text. */
static void hostile_text_in_messages(void **state)
{
	char long_ascii[1001], long_utf8[1001];

	(void)state;
	memset(long_ascii, 'a', sizeof(long_ascii) - 1);
	long_ascii[sizeof(long_ascii) - 1] = '\0';
	error_of(
		long_ascii,
		"'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa...' is not");
	for (size_t i = 0; i + 1 < sizeof(long_utf8); i++)
		long_utf8[i] = i % 2 ? '\xa9' : '\xc3';
	long_utf8[sizeof(long_utf8) - 1] = '\0';
	long_utf8[0] = 'x', long_utf8[1] = 'y'; /* "xy" and whole characters from there */
	error_of(long_utf8 + 1, "'y\xc3\xa9\xc3\xa9");
	{
		_cleanup_free_ char *error = NULL;
		struct sockopt s;

		assert_int_equal(value_parse(option_find("TCP_KEEPCNT"), long_utf8 + 1, &s, &error),
				 -EINVAL);
		assert_non_null(strstr(error, "\xc3\xa9...' is not"));
	}
}

static void format_one(const char *name, const char *input, const char *expected)
{
	_cleanup_free_ char *error = NULL, *text = NULL;
	const struct option *o = option_find(name);
	struct sockopt s;

	assert_int_equal(value_parse(o, input, &s, &error), 0);
	text = value_format(o, &s);
	sockopt_destroy(&s);
	assert_non_null(text);
	if (!streq(text, expected))
		fail_msg("%s: '%s' becomes '%s', not '%s'", name, input, text, expected);
}

static void shortest_form(void **state)
{
	(void)state;
	format_one("TCP_KEEPIDLE", "60s", "60s");
	format_one("TCP_KEEPIDLE", "1min", "60s");
	format_one("TCP_KEEPIDLE", "3600s", "1h");
	format_one("TCP_USER_TIMEOUT", "20000ms", "20s");
	format_one("TCP_USER_TIMEOUT", "1.5s", "1500ms");
	format_one("TCP_BPF_RTO_MIN", "0.01s", "10ms");
	format_one("TCP_USER_TIMEOUT", "0h", "0s");
	format_one("SO_SNDBUF", "4194304", "4M");
	format_one("SO_SNDBUF", "1.5M", "1536K");
	format_one("SO_SNDBUF", "4097", "4097");
	format_one("SO_MAX_PACING_RATE", "200000000", "200MB/s");
	format_one("SO_MAX_PACING_RATE", "1600Mbit/s", "200MB/s");
	format_one("SO_MAX_PACING_RATE", "1048576", "1MiB/s");
	format_one("SO_MAX_PACING_RATE", "500Mbit/s", "62500kB/s");
	format_one("SO_MAX_PACING_RATE", "62500001", "62500001B/s");
	format_one("SO_MAX_PACING_RATE", "unlimited", "unlimited");
	format_one("SO_MAX_PACING_RATE", "7", "7B/s");
	format_one("IP_TOS", "136", "AF41");
	format_one("IP_TOS", "137", "137");
	format_one("IP_TOS", "0", "CS0");
	format_one("IP_TOS", "df", "CS0");
	format_one("SO_MARK", "16", "0x10");
	format_one("SO_MARK", "0x7", "7");
	format_one("SO_MARK", "4294967295", "0xffffffff");
	format_one("SO_TXREHASH", "-1", "-1");
	format_one("TCP_NODELAY", "yes", "on");
	format_one("TCP_NODELAY", "0", "off");
}

static void round_trip(const struct option *o, int64_t number)
{
	_cleanup_free_ char *text = NULL, *error = NULL;
	struct sockopt before, after;
	int r;

	assert_int_equal(sockopt_init(&before, o->level, o->optname, sizeof(int)), 0);
	assert_int_equal(sockopt_setint(&before, (int)(uint32_t)number), 0);
	assert_int_equal(value_number(o, &before), number);
	text = value_format(o, &before);
	assert_non_null(text);
	r = value_parse(o, text, &after, &error);
	if (r)
		fail_msg("%s: %" PRId64 " is '%s': %s", o->name, number, text, error);
	assert_int_equal(after.level, before.level);
	assert_int_equal(after.name, before.name);
	assert_int_equal(after.size, before.size);
	if (memcmp(sockopt_data(&before), sockopt_data(&after), after.size) != 0)
		fail_msg("%s: %" PRId64 " is '%s', which is another", o->name, number, text);
	sockopt_destroy(&before);
	sockopt_destroy(&after);
}

/* Every row: both ends, all about powers of 2 and 10, and a walk over the whole range. */
static void every_row_round_trips(void **state)
{
	(void)state;
	for (size_t i = 0; i < OPTION_MAX; i++) {
		const struct option *o = &option_table[i];
		int64_t step = (o->max - o->min) / 1000 + 1;

		if (o->type == OPTION_STRING)
			continue;
		round_trip(o, o->max);
		for (int64_t n = o->min; n <= o->max; n += step)
			round_trip(o, n);
		for (int64_t base = 2; base <= 10; base += 8)
			for (int64_t power = 1; power <= o->max; power *= base)
				for (int64_t n = power - 1; n <= power + 1; n++)
					if (n >= o->min && n <= o->max)
						round_trip(o, n);
	}
}

static void every_row_has_a_syntax(void **state)
{
	(void)state;
	for (size_t i = 0; i < OPTION_MAX; i++) {
		_cleanup_free_ char *syntax = value_syntax(&option_table[i]);

		assert_non_null(syntax);
		assert_in_range(strlen(syntax), 10, 200);
	}
}

static const struct host host = {
	.rmem_max = 212992,
	.wmem_max = 100000,
	.tcp_rmem_max = 6291456,
	.tick_usec = 4000,
};

/* expected: the text, or NULL where the value stays what it is. */
static void result_on(const struct host *h, const char *name, const char *input,
		      const char *expected, bool capped, bool refused)
{
	_cleanup_free_ char *error = NULL;
	const struct option *o = option_find(name);
	struct value_result result;
	struct sockopt s;

	assert_int_equal(value_parse(o, input, &s, &error), 0);
	assert_int_equal(value_result(o, &s, h, &result), 0);
	sockopt_destroy(&s);
	if (!result.text != !expected || (expected && !streq(result.text, expected)))
		fail_msg("%s: '%s' gives '%s'", name, input,
			 result.text ? result.text : "(nothing)");
	assert_int_equal(result.capped, capped);
	assert_int_equal(result.refused, refused);
	free(result.text);
}

static void results(void **state)
{
	static const struct host hz300 = { -1, -1, -1, 3333, NULL };

	(void)state;
	result_on(&host, "SO_RCVBUF", "4096", "8192 bytes", false, false);
	result_on(&host, "SO_RCVBUF", "1", "2304 bytes", false, false);
	result_on(&host, "SO_RCVBUF", "212992", "425984 bytes", false, false);
	result_on(&host, "SO_RCVBUF", "4M", "425984 bytes, as net.core.rmem_max is 212992", true,
		  false);
	result_on(&host, "SO_SNDBUF", "4096", "8192 bytes", false, false);
	result_on(&host, "SO_SNDBUF", "2K", "4608 bytes", false, false);
	result_on(&host, "SO_SNDBUF", "4M", "200000 bytes, as net.core.wmem_max is 100000", true,
		  false);
	result_on(&host, "SO_RCVLOWAT", "0", "1 byte", false, false);
	result_on(&host, "SO_RCVLOWAT", "3M", NULL, false, false);
	result_on(&host, "SO_RCVLOWAT", "4M",
		  "3145728 bytes, half of the largest in net.ipv4.tcp_rmem", true, false);
	result_on(&host, "TCP_WINDOW_CLAMP", "100",
		  "1152 bytes, until data comes (6.12, 6.18): then what SO_RCVBUF leaves", false,
		  false);
	result_on(&host, "TCP_WINDOW_CLAMP", "20000",
		  "20000 bytes, until data comes (6.12, 6.18): then what SO_RCVBUF leaves", false,
		  false);
	result_on(&host, "TCP_BPF_RTO_MIN", "12ms", NULL, false, false);
	result_on(&host, "TCP_BPF_RTO_MIN", "10ms", "12ms", false, false);
	result_on(&host, "TCP_BPF_RTO_MIN", "4001us", "8ms", false, false);
	result_on(&host, "TCP_BPF_RTO_MIN", "4ms",
		  "EINVAL: this kernel wants more than one tick, which is 4ms", false, true);
	result_on(&host, "TIMEOUT_INIT", "12ms", NULL, false, false);
	result_on(&host, "TIMEOUT_INIT", "10ms", "12ms", false, false);
	result_on(&host, "TIMEOUT_INIT", "1ms", "4ms", false, false); /* one tick is enough */
	result_on(&host, "TIMEOUT_INIT", "2min", NULL, false, false);
	result_on(&hz300, "TIMEOUT_INIT", "10ms", NULL, false, false);
	result_on(&hz300, "TIMEOUT_INIT", "1ms", "3333us", false, false);
	result_on(&host, "RWND_INIT", "40", NULL, false, false);
	result_on(&host, "NEEDS_ECN", "on", NULL, false, false);
	result_on(&host, "BASE_RTT", "80us", NULL, false, false);
	result_on(&hz300, "TCP_BPF_RTO_MIN", "10ms", NULL, false, false);
	result_on(&hz300, "TCP_BPF_RTO_MIN", "11ms", "13333us", false, false);
	result_on(&host, "IP_TOS", "AF41", NULL, false, false);
	result_on(&host, "IP_TOS", "187", "184 on TCP, whose ECN bits stay the kernel's", false,
		  false);
	result_on(&host, "TCP_CONGESTION", "bbr", NULL, false, false);
	result_on(&host, "TCP_KEEPIDLE", "60s", NULL, false, false);
}

static void shown_on(const struct host *h, const char *name, const char *input, int64_t shown)
{
	_cleanup_free_ char *error = NULL;
	const struct option *o = option_find(name);
	struct value_result result;
	struct sockopt s;

	assert_int_equal(value_parse(o, input, &s, &error), 0);
	assert_int_equal(value_result(o, &s, h, &result), 0);
	sockopt_destroy(&s);
	free(result.text);
	assert_int_equal(result.shown, shown);
}

static void what_getsockopt_shows(void **state)
{
	static const struct host unknown = { -1, -1, -1, -1, NULL };

	(void)state;
	shown_on(&host, "SO_RCVBUF", "1", 2304);
	shown_on(&host, "SO_RCVBUF", "4M", 425984);
	shown_on(&unknown, "SO_RCVBUF", "4M", -1);
	shown_on(&host, "SO_RCVLOWAT", "0", 1);
	shown_on(&host, "SO_RCVLOWAT", "4M", 3145728);
	shown_on(&host, "TCP_WINDOW_CLAMP", "2000", -1);
	shown_on(&host, "TCP_MAXSEG", "1000", -1);
	shown_on(&host, "TCP_BPF_RTO_MIN", "12ms", -1);
	shown_on(&host, "TIMEOUT_INIT", "12ms", -1);
	shown_on(&host, "SO_TXREHASH", "-1", -1);
	shown_on(&host, "SO_MARK", "0xffffffff", UINT32_MAX);
	shown_on(&host, "TCP_USER_TIMEOUT", "20s", 20000);
}

static void results_on_an_unknown_host(void **state)
{
	static const struct host unknown = { -1, -1, -1, -1, NULL };

	(void)state;
	result_on(&unknown, "SO_RCVBUF", "4M",
		  "8388608 bytes, if net.core.rmem_max (not known here) allows it", false, false);
	result_on(&unknown, "SO_SNDBUF", "1",
		  "4608 bytes, if net.core.wmem_max (not known here) allows it", false, false);
	result_on(&unknown, "SO_RCVLOWAT", "1G", NULL, false, false);
	result_on(&unknown, "TCP_BPF_RTO_MIN", "1us", NULL, false, false);
	result_on(&unknown, "TIMEOUT_INIT", "1ms", NULL, false, false);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(integers),
		cmocka_unit_test(integers_with_other_ranges),
		cmocka_unit_test(hexadecimal),
		cmocka_unit_test(booleans),
		cmocka_unit_test(sizes),
		cmocka_unit_test(rates),
		cmocka_unit_test(times),
		cmocka_unit_test(replies),
		cmocka_unit_test(classes),
		cmocka_unit_test(dscp),
		cmocka_unit_test(strings),
		cmocka_unit_test(hostile_text_in_messages),
		cmocka_unit_test(shortest_form),
		cmocka_unit_test(every_row_round_trips),
		cmocka_unit_test(every_row_has_a_syntax),
		cmocka_unit_test(results),
		cmocka_unit_test(results_on_an_unknown_host),
		cmocka_unit_test(what_getsockopt_shows),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
