// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>

#include "policy/address.h"

#define IPV4_BITS   32u
#define IPV6_BITS   128u
#define MAPPED_BITS 96u /* ::ffff: before the IPv4 address */

static const unsigned char mapped_head[] = { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff };
static_assert(sizeof(mapped_head) * 8 == MAPPED_BITS, "what is before the IPv4 address");

/* Makes the sentence "'TEXT' <reason>".  Returns -EINVAL, or -ENOMEM. */
#define FAIL(ret_error, text, reason, ...)                                                         \
	sentence(ret_error, -EINVAL, "'%s' " reason, EXCERPT(text), ##__VA_ARGS__)

/* Reads a number: digits only, no leading zero, not above max.  *ret_rest is what follows it. */
static bool scan_number(const char *text, unsigned max, unsigned *ret, const char **ret_rest)
{
	size_t digits = strspn(text, "0123456789");
	unsigned value = 0;

	if (!digits || (digits > 1 && *text == '0'))
		return false;
	for (size_t i = 0; i < digits; i++) {
		value = value * 10 + (unsigned)(text[i] - '0');
		if (value > max)
			return false;
	}
	*ret = value;
	*ret_rest = text + digits;
	return true;
}

/* --- addresses -------------------------------------------------------------------------------- */

static bool is_mapped(const struct prefix *p)
{
	return !p->v4 && memcmp(p->address, mapped_head, sizeof(mapped_head)) == 0;
}

/* Reads an IPv4 or IPv6 address as a prefix of full length, as it is written: a v4-mapped one is
 * IPv6 here. */
static bool scan_address(const char *text, size_t size, struct prefix *ret)
{
	struct prefix p = { 0 };
	char address[INET6_ADDRSTRLEN];

	if (size >= sizeof(address))
		return false;
	memcpy(address, text, size);
	address[size] = '\0';
	p.v4 = inet_pton(AF_INET, address, p.address) == 1;
	if (!p.v4 && inet_pton(AF_INET6, address, p.address) != 1)
		return false;
	p.length = p.v4 ? IPV4_BITS : IPV6_BITS;
	*ret = p;
	return true;
}

/* Clears the bits below the prefix length; returns whether one was set. */
static bool clear_host_bits(struct prefix *p)
{
	bool some = false;

	for (unsigned bit = p->length; bit < (p->v4 ? IPV4_BITS : IPV6_BITS); bit++) {
		unsigned char mask = (unsigned char)(0x80 >> bit % 8);

		some = some || p->address[bit / 8] & mask;
		p->address[bit / 8] &= (unsigned char)~mask;
	}
	return some;
}

const char *prefix_format(const struct prefix *p, char buf[static PREFIX_TEXT_SIZE])
{
	char address[INET6_ADDRSTRLEN] = "";

	inet_ntop(p->v4 ? AF_INET : AF_INET6, p->address, address, sizeof(address));
	if (p->length == (p->v4 ? IPV4_BITS : IPV6_BITS))
		snprintf(buf, PREFIX_TEXT_SIZE, "%s", address);
	else
		snprintf(buf, PREFIX_TEXT_SIZE, "%s/%u", address, p->length);
	return buf;
}

/* Reads the "/n" of a prefix whose address is known.  Returns 0, -EINVAL or -ENOMEM. */
static int parse_length(const char *text, const char *length, struct prefix *p, char **ret_error)
{
	unsigned least = is_mapped(p) ? MAPPED_BITS : 0, most = p->length;
	const char *rest;

	if (!scan_number(length, most, &p->length, &rest) || *rest)
		return FAIL(ret_error, text, "has a bad prefix length: %s takes %u to %u",
			    p->v4 ? "IPv4" : "IPv6", least, most);
	if (p->length < least)
		return FAIL(ret_error, text,
			    "is v4-mapped with a prefix length below %u, where the IPv4 address "
			    "begins",
			    MAPPED_BITS);
	return 0;
}

int prefix_parse(const char *text, struct prefix *ret, char **ret_error)
{
	const char *slash = strchrnul(text, '/');
	char meant[PREFIX_TEXT_SIZE];
	struct prefix p;
	int r = 0;

	if (strchr(text, '%'))
		return FAIL(ret_error, text, "has a zone id, which no rule can look at");
	if (!scan_address(text, (size_t)(slash - text), &p))
		return FAIL(ret_error, text,
			    "is not an address or a prefix (10.0.0.1, 10.0.0.0/8, 2001:db8::/32)");
	if (*slash)
		r = parse_length(text, slash + 1, &p, ret_error);
	if (r < 0)
		return r;
	if (clear_host_bits(&p))
		return FAIL(ret_error, text,
			    "has bits set below its prefix length; did you mean '%s'?",
			    prefix_format(&p, meant));
	if (is_mapped(&p) && p.length >= MAPPED_BITS) {
		p.v4 = true;
		p.length -= MAPPED_BITS;
		memmove(p.address, p.address + sizeof(mapped_head), IPV4_BITS / 8);
		memset(p.address + IPV4_BITS / 8, 0, sizeof(p.address) - IPV4_BITS / 8);
	}
	*ret = p;
	return 0;
}

/* --- ports ------------------------------------------------------------------------------------ */

int port_range_parse(const char *text, struct port_range *ret, char **ret_error)
{
	unsigned first = 0, last;
	const char *rest;
	bool good;

	good = scan_number(text, UINT16_MAX, &first, &rest);
	last = first;
	if (good && *rest == '-')
		good = scan_number(rest + 1, UINT16_MAX, &last, &rest);
	if (!good || *rest || !first)
		return FAIL(ret_error, text,
			    "is not a port or a range of ports (80, 8000-8999); ports are 1 to %u",
			    UINT16_MAX);
	if (last < first)
		return FAIL(ret_error, text, "ends below where it begins; did you mean '%u-%u'?",
			    last, first);
	*ret = (struct port_range){ .first = (uint16_t)first, .last = (uint16_t)last };
	return 0;
}

/* --- ends of connections ---------------------------------------------------------------------- */

static int parse_address(const char *text, struct endpoint *e)
{
	_cleanup_free_ char *error = NULL;
	struct prefix p = { 0 };
	int r = strchr(text, '/') ? -EINVAL : prefix_parse(text, &p, &error);

	if (r < 0)
		return r;
	e->known = true;
	e->v4 = p.v4;
	memcpy(e->address, p.address, sizeof(e->address));
	return 0;
}

static int parse_port(const char *text, struct endpoint *e)
{
	_cleanup_free_ char *error = NULL;
	struct port_range range = { 0 };
	int r = port_range_parse(text, &range, &error);

	if (r < 0)
		return r;
	if (range.first != range.last)
		return -EINVAL;
	e->port = range.first;
	return 0;
}

/* Splits `text` into the address and the port, each NULL where there is none. */
static int split(char *text, char **ret_address, char **ret_port)
{
	char *colon = strchr(text, ':'), *address = text;

	if (*text == '[') {
		char *end = strchr(text, ']');

		if (!end || (end[1] && end[1] != ':'))
			return -EINVAL;
		colon = end[1] ? end + 1 : NULL;
		*end = '\0';
		address++;
		if (!strchr(address, ':'))
			return -EINVAL; /* brackets are for IPv6 */
	} else if (colon && strchr(colon + 1, ':')) {
		colon = NULL; /* more than one: an IPv6 address without a port */
	}
	if (colon)
		*colon = '\0';
	*ret_address = colon == text ? NULL : address;
	*ret_port = colon ? colon + 1 : NULL;
	return 0;
}

int endpoint_parse(const char *text, struct endpoint *ret, char **ret_error)
{
	_cleanup_free_ char *copy = strdup(text);
	struct endpoint e = { 0 };
	char *address, *port;
	int r = copy ? split(copy, &address, &port) : -ENOMEM;

	if (r == 0 && address)
		r = parse_address(address, &e);
	if (r == 0 && port)
		r = parse_port(port, &e);
	if (r == -EINVAL)
		return FAIL(ret_error, text,
			    "is not an address, with or without a port (192.0.2.1, 192.0.2.1:443, "
			    "[2001:db8::1]:443, :443)");
	if (r < 0) {
		*ret_error = NULL;
		return r;
	}
	*ret = e;
	return 0;
}

const char *endpoint_format(const struct endpoint *e, char buf[static ENDPOINT_TEXT_SIZE])
{
	char address[INET6_ADDRSTRLEN] = "";
	bool brackets = e->known && !e->v4 && e->port;
	int n;

	if (!e->known && !e->port)
		return NULL;
	if (e->known)
		inet_ntop(e->v4 ? AF_INET : AF_INET6, e->address, address, sizeof(address));
	n = snprintf(buf, ENDPOINT_TEXT_SIZE, "%s%s%s", brackets ? "[" : "", address,
		     brackets ? "]" : "");
	if (e->port)
		snprintf(buf + n, ENDPOINT_TEXT_SIZE - (size_t)n, ":%u", e->port);
	return buf;
}

bool prefix_holds(const struct prefix *p, const struct endpoint *e)
{
	unsigned bytes = p->length / 8, bits = p->length % 8;
	unsigned mask = 0xff00u >> bits; /* of the last byte; the low byte counts */

	if (!e->known || e->v4 != p->v4 || memcmp(p->address, e->address, bytes) != 0)
		return false;
	return !bits || !((p->address[bytes] ^ e->address[bytes]) & mask);
}

bool prefixes_hold(const struct prefixes *list, const struct endpoint *e)
{
	for (size_t i = 0; i < list->n; i++)
		if (prefix_holds(&list->v[i], e))
			return true;
	return false;
}

/* An unknown port is 0, and no range begins there. */
bool port_ranges_hold(const struct port_ranges *list, const struct endpoint *e)
{
	for (size_t i = 0; i < list->n; i++)
		if (e->port >= list->v[i].first && e->port <= list->v[i].last)
			return true;
	return false;
}

bool endpoint_is_wildcard(const struct endpoint *e)
{
	static const unsigned char zero[sizeof(e->address)];

	return memcmp(e->address, zero, e->v4 ? 4 : sizeof(zero)) == 0;
}
