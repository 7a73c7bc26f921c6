// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <stdarg.h>

#include "policy/loader.h"
#include "policy/when_parse.h"

#define IPV4_BITS   32u
#define IPV6_BITS   128u
#define MAPPED_BITS 96u /* ::ffff: before the IPv4 address */
#define WORDS_MAX   3

static const unsigned char mapped_head[] = { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff };
static_assert(sizeof(mapped_head) * 8 == MAPPED_BITS, "what is before the IPv4 address");

/* Makes the sentence "'TEXT' <reason>"; returns -EINVAL, or -ENOMEM. */
static int PRINTF_LIKE(3, 4) fail(char **ret_error, const char *text, const char *format, ...)
{
	va_list ap;
	int r;

	va_start(ap, format);
	r = quoted_sentence(ret_error, EXCERPT(text), format, ap);
	va_end(ap);
	return r < 0 ? r : -EINVAL;
}

/* Digits only, no leading zero, not above max; *ret_rest is what follows them. */
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

/* Addresses. */

static bool is_mapped(const struct prefix *p)
{
	return !p->v4 && memcmp(p->address, mapped_head, sizeof(mapped_head)) == 0;
}

/* An IPv4 or IPv6 address of full length, as it is written: v4-mapped ones are IPv6 here. */
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

/* Clears what is below the prefix length; was there something? */
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

/* "/n" of a prefix whose address is known.  Returns 0, -EINVAL or -ENOMEM. */
static int parse_length(const char *text, const char *length, struct prefix *p, char **ret_error)
{
	unsigned least = is_mapped(p) ? MAPPED_BITS : 0, most = p->length;
	const char *rest;

	if (!scan_number(length, most, &p->length, &rest) || *rest)
		return fail(ret_error, text, "has a bad prefix length: %s takes %u to %u",
			    p->v4 ? "IPv4" : "IPv6", least, most);
	if (p->length < least)
		return fail(ret_error, text,
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
		return fail(ret_error, text, "has a zone id, which no rule can look at");
	if (!scan_address(text, (size_t)(slash - text), &p))
		return fail(ret_error, text,
			    "is not an address or a prefix (10.0.0.1, 10.0.0.0/8, 2001:db8::/32)");
	if (*slash)
		r = parse_length(text, slash + 1, &p, ret_error);
	if (r < 0)
		return r;
	if (clear_host_bits(&p))
		return fail(ret_error, text,
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

/* Ports. */

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
		return fail(ret_error, text,
			    "is not a port or a range of ports (80, 8000-8999); ports are 1 to %u",
			    UINT16_MAX);
	if (last < first)
		return fail(ret_error, text, "ends below where it begins; did you mean '%u-%u'?",
			    last, first);
	*ret = (struct port_range){ .first = (uint16_t)first, .last = (uint16_t)last };
	return 0;
}

/* The keys of `when`. */

struct words {
	const char *key;
	const char *v[WORDS_MAX];
	size_t n;
	unsigned given; /* bits by place in v */
};
static_assert(DIRECTION_MAX <= WORDS_MAX && (int)PROTOCOL_MAX <= WORDS_MAX &&
		      (int)SP_FAMILY_INDEX_MAX <= WORDS_MAX,
	      "room for the words of each key");

static int parse_one_word(struct parse *p, const struct yaml_node *item, void *target)
{
	struct words *words = target;

	for (size_t i = 0; i < words->n; i++) {
		if (streq(words->v[i], item->text)) {
			words->given |= BIT(i);
			return 0;
		}
	}
	report_unknown_word(p, item, words->key, words->v, words->n);
	return 0;
}

static int parse_words(struct parse *p, const struct yaml_node *key, const struct yaml_node *value,
		       struct words *words, bool *has, unsigned *given)
{
	int r;

	words->key = key->text;
	r = parse_each_scalar(p, key, value, parse_one_word, words);
	*has = true;
	*given = words->given;
	return r;
}

static int parse_direction(struct parse *p, const struct yaml_node *key,
			   const struct yaml_node *value, void *target)
{
	struct when *when = target;
	struct words words = { 0 };

	for (int d = 0; d < DIRECTION_MAX; d++)
		words.v[words.n++] = direction_name((enum direction)d);
	return parse_words(p, key, value, &words, &when->has_direction, &when->directions);
}

static int parse_protocol(struct parse *p, const struct yaml_node *key,
			  const struct yaml_node *value, void *target)
{
	struct when *when = target;
	struct words words = { 0 };

	for (int i = 0; i < PROTOCOL_MAX; i++)
		words.v[words.n++] = protocol_word((enum protocol)i);
	return parse_words(p, key, value, &words, &when->has_protocol, &when->protocols);
}

static int parse_family(struct parse *p, const struct yaml_node *key, const struct yaml_node *value,
			void *target)
{
	struct when *when = target;
	struct words words = { 0 };

	for (int i = 0; i < SP_FAMILY_INDEX_MAX; i++)
		words.v[words.n++] = family_word((enum sp_family)i);
	return parse_words(p, key, value, &words, &when->has_family, &when->families);
}

static int parse_one_prefix(struct parse *p, const struct yaml_node *item, void *target)
{
	_cleanup_free_ char *error = NULL;
	struct prefixes *list = target;
	struct prefix prefix;
	int r;

	if (p->config->n_prefixes++ == LOADER_PREFIXES_MAX)
		diag_error(p->diags, &item->at, "more than %u prefixes in all",
			   LOADER_PREFIXES_MAX);
	if (p->config->n_prefixes > LOADER_PREFIXES_MAX)
		return 0;
	r = prefix_parse(item->text, &prefix, &error);
	if (r == -ENOMEM)
		return r;
	if (r < 0) {
		diag_error(p->diags, &item->at, "%s", error);
		return 0;
	}
	if (GROW(list->v, list->n) < 0)
		return -ENOMEM;
	prefix.at = item->at;
	list->v[list->n++] = prefix;
	return 0;
}

static int parse_remote(struct parse *p, const struct yaml_node *key, const struct yaml_node *value,
			void *target)
{
	struct when *when = target;

	when->has_remote = true;
	return parse_each_scalar(p, key, value, parse_one_prefix, &when->remote);
}

static int parse_local(struct parse *p, const struct yaml_node *key, const struct yaml_node *value,
		       void *target)
{
	struct when *when = target;

	when->has_local = true;
	return parse_each_scalar(p, key, value, parse_one_prefix, &when->local);
}

static int parse_one_port(struct parse *p, const struct yaml_node *item, void *target)
{
	_cleanup_free_ char *error = NULL;
	struct port_ranges *list = target;
	struct port_range range;
	int r;

	r = port_range_parse(item->text, &range, &error);
	if (r == -ENOMEM)
		return r;
	if (r < 0) {
		diag_error(p->diags, &item->at, "%s", error);
		return 0;
	}
	if (GROW(list->v, list->n) < 0)
		return -ENOMEM;
	range.at = item->at;
	list->v[list->n++] = range;
	return 0;
}

static int parse_remote_port(struct parse *p, const struct yaml_node *key,
			     const struct yaml_node *value, void *target)
{
	struct when *when = target;

	when->has_remote_port = true;
	return parse_each_scalar(p, key, value, parse_one_port, &when->remote_port);
}

static int parse_local_port(struct parse *p, const struct yaml_node *key,
			    const struct yaml_node *value, void *target)
{
	struct when *when = target;

	when->has_local_port = true;
	return parse_each_scalar(p, key, value, parse_one_port, &when->local_port);
}

static const struct key when_keys[] = {
	{ "direction", parse_direction },   { "protocol", parse_protocol },
	{ "family", parse_family },	    { "remote", parse_remote },
	{ "local", parse_local },	    { "remote_port", parse_remote_port },
	{ "local_port", parse_local_port },
};

int when_parse(struct parse *p, const struct yaml_node *map, struct when *when)
{
	if (yaml_is_null(map))
		return 0;
	return parse_map(p, map, "'when'", when_keys, ARRAY_SIZE(when_keys), when);
}
