// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <arpa/inet.h>
#include <errno.h>

#include "policy/address.h"

/* The bytes before the IPv4 address in a v4-mapped one. */
static const unsigned char mapped_head[] = { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff };
#define MAPPED_BITS (8 * (unsigned)sizeof(mapped_head))

/* Makes the sentence "'TEXT' <reason>".  Returns -EINVAL, or -ENOMEM. */
#define FAIL(ret_error, text, reason, ...)                                                         \
	sentence(ret_error, -EINVAL, "'%s' " reason, EXCERPT(text), ##__VA_ARGS__)

/* Reads a number: digits only, no leading zero, not above max.  *ret_rest is what follows it. */
static bool scan_number(const char *text, unsigned max, unsigned *ret, const char **ret_rest)
{
	size_t digits = strspn(text, "0123456789");
	unsigned long value = strtoul(text, NULL, 10);

	if (!digits || (digits > 1 && *text == '0') || value > max)
		return false;
	*ret = (unsigned)value;
	*ret_rest = text + digits;
	return true;
}

/* --- ranges ----------------------------------------------------------------------------------- */

size_t range_size(const struct range *r)
{
	static const size_t sizes[] = {
		[RANGE_IPV4] = 4,
		[RANGE_IPV6] = 16,
		[RANGE_PORT] = 2,
	};

	return sizes[r->kind];
}

static unsigned port_at(const unsigned char data[2])
{
	return (unsigned)data[0] << 8 | data[1];
}

const char *range_format(const struct range *r, char buf[static RANGE_TEXT_SIZE])
{
	unsigned bits = 8 * (unsigned)range_size(r), length = 0;
	char address[INET6_ADDRSTRLEN] = "";

	if (r->kind == RANGE_PORT) {
		unsigned first = port_at(r->first), last = port_at(r->last);

		snprintf(buf, RANGE_TEXT_SIZE, first == last ? "%u" : "%u-%u", first, last);
		return buf;
	}
	while (length < bits &&
	       !((r->first[length / 8] ^ r->last[length / 8]) & 0x80 >> length % 8))
		length++;
	inet_ntop(r->kind == RANGE_IPV4 ? AF_INET : AF_INET6, r->first, address, sizeof(address));
	snprintf(buf, RANGE_TEXT_SIZE, length == bits ? "%s" : "%s/%u", address, length);
	return buf;
}

/* Reads an IPv4 or IPv6 address, as it is written: a v4-mapped one is IPv6 here. */
static bool scan_address(const char *text, size_t size, struct range *ret)
{
	char address[INET6_ADDRSTRLEN];

	*ret = (struct range){ .kind = RANGE_IPV4 };
	if (size >= sizeof(address))
		return false;
	memcpy(address, text, size);
	address[size] = '\0';
	if (inet_pton(AF_INET, address, ret->first) == 1)
		return true;
	ret->kind = RANGE_IPV6;
	return inet_pton(AF_INET6, address, ret->first) == 1;
}

/* Extends an address to all that have its first bits.  Returns whether it had others. */
static bool clear_host_bits(struct range *r, unsigned length)
{
	bool some = false;

	memcpy(r->last, r->first, sizeof(r->last));
	for (unsigned bit = length; bit < 8 * range_size(r); bit++) {
		unsigned char mask = (unsigned char)(0x80 >> bit % 8);

		some = some || r->first[bit / 8] & mask;
		r->first[bit / 8] &= (unsigned char)~mask;
		r->last[bit / 8] |= mask;
	}
	return some;
}

/* Turns the v4-mapped addresses of IPv6 to those of IPv4. */
static void unmap(struct range *r)
{
	struct range v4 = { .kind = RANGE_IPV4 };

	memcpy(v4.first, r->first + sizeof(mapped_head), range_size(&v4));
	memcpy(v4.last, r->last + sizeof(mapped_head), range_size(&v4));
	*r = v4;
}

int prefix_parse(const char *text, struct range *ret, char **ret_error)
{
	const char *slash = strchrnul(text, '/'), *rest;
	unsigned length, least, most;
	char meant[RANGE_TEXT_SIZE];
	bool is_mapped;
	struct range r;

	if (strchr(text, '%'))
		return FAIL(ret_error, text, "has a zone id, which no rule can look at");
	if (!scan_address(text, (size_t)(slash - text), &r))
		return FAIL(ret_error, text,
			    "is not an address or a prefix (10.0.0.1, 10.0.0.0/8, 2001:db8::/32)");
	is_mapped = r.kind == RANGE_IPV6 && !memcmp(r.first, mapped_head, sizeof(mapped_head));
	least = is_mapped ? MAPPED_BITS : 0;
	length = most = 8 * (unsigned)range_size(&r);
	if (*slash && (!scan_number(slash + 1, most, &length, &rest) || *rest))
		return FAIL(ret_error, text, "has a bad prefix length: %s takes %u to %u",
			    r.kind == RANGE_IPV4 ? "IPv4" : "IPv6", least, most);
	if (length < least)
		return FAIL(ret_error, text,
			    "is v4-mapped with a prefix length below %u, where the IPv4 address "
			    "begins",
			    MAPPED_BITS);
	if (clear_host_bits(&r, length))
		return FAIL(ret_error, text,
			    "has bits set below its prefix length; did you mean '%s'?",
			    range_format(&r, meant));
	if (is_mapped)
		unmap(&r);
	*ret = r;
	return 0;
}

int port_range_parse(const char *text, struct range *ret, char **ret_error)
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
	*ret = (struct range){
		.kind = RANGE_PORT,
		.first = { (unsigned char)(first >> 8), (unsigned char)first },
		.last = { (unsigned char)(last >> 8), (unsigned char)last },
	};
	return 0;
}

/* An unknown port is 0, and no range begins there. */
static bool range_holds(const struct range *r, const struct endpoint *e)
{
	const unsigned char port[] = { (unsigned char)(e->port >> 8), (unsigned char)e->port };
	const unsigned char *key = r->kind == RANGE_PORT ? port : e->address;
	size_t size = range_size(r);

	if (r->kind != RANGE_PORT && (!e->known || e->v4 != (r->kind == RANGE_IPV4)))
		return false;
	return memcmp(r->first, key, size) <= 0 && memcmp(key, r->last, size) <= 0;
}

bool ranges_hold(const struct ranges *list, const struct endpoint *e)
{
	for (size_t i = 0; i < list->n; i++)
		if (range_holds(&list->v[i], e))
			return true;
	return false;
}

/* --- ends of connections ---------------------------------------------------------------------- */

static int parse_address(const char *text, struct endpoint *e)
{
	_cleanup_free_ char *error = NULL;
	struct range range = { 0 };
	int r = strchr(text, '/') ? -EINVAL : prefix_parse(text, &range, &error);

	if (r < 0)
		return r;
	e->known = true;
	e->v4 = range.kind == RANGE_IPV4;
	memcpy(e->address, range.first, sizeof(e->address));
	return 0;
}

static int parse_port(const char *text, struct endpoint *e)
{
	_cleanup_free_ char *error = NULL;
	struct range range = { 0 };
	int r = port_range_parse(text, &range, &error);

	if (r < 0)
		return r;
	if (port_at(range.first) != port_at(range.last))
		return -EINVAL;
	e->port = (uint16_t)port_at(range.first);
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

bool endpoint_is_wildcard(const struct endpoint *e)
{
	static const unsigned char zero[sizeof(e->address)];

	return memcmp(e->address, zero, e->v4 ? 4 : sizeof(zero)) == 0;
}
