// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <arpa/inet.h>
#include <errno.h>
#include <stdarg.h>

#include "report/asked.h"
#include "policy/when_parse.h"

#define INET (BIT(SP_FAMILY_INDEX_IPV4) | BIT(SP_FAMILY_INDEX_IPV6))
#define UNIX BIT(SP_FAMILY_INDEX_UNIX)
#define BOTH (BIT(PROTOCOL_MAX) - 1)

#define ENDPOINT_TEXT_SIZE (INET6_ADDRSTRLEN + sizeof("[]:65535"))

static int PRINTF_LIKE(2, 3) fail(char **ret_error, const char *format, ...)
{
	char *error;
	va_list ap;
	int n;

	va_start(ap, format);
	n = vasprintf(&error, format, ap);
	va_end(ap);
	if (n < 0) {
		*ret_error = NULL;
		return -ENOMEM;
	}
	*ret_error = error;
	return -EINVAL;
}

static int parse_address(const char *text, struct endpoint *e)
{
	_cleanup_free_ char *error = NULL;
	struct prefix p;
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
	struct port_range range;
	int r = port_range_parse(text, &range, &error);

	if (r < 0)
		return r;
	if (range.first != range.last)
		return -EINVAL;
	e->port = range.first;
	return 0;
}

/* Cuts `text` into the address and the port, each NULL where there is none. */
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

/* text NULL: not given. */
static int parse_endpoint(const char *text, struct endpoint *ret, char **ret_error)
{
	_cleanup_free_ char *copy = text ? strdup(text) : NULL;
	struct endpoint e = { 0 };
	char *address, *port;
	int r;

	if (!text)
		return 0;
	if (!copy)
		return -ENOMEM;
	r = split(copy, &address, &port);
	if (r == 0 && address)
		r = parse_address(address, &e);
	if (r == 0 && port)
		r = parse_port(port, &e);
	if (r == -EINVAL)
		return fail(ret_error,
			    "'%s' is not an address, with or without a port (192.0.2.1, "
			    "192.0.2.1:443, [2001:db8::1]:443, :443)",
			    text);
	if (r == 0)
		*ret = e;
	return r;
}

/* text NULL: not given, and *bits stays. */
static int parse_words(const struct asked_words *words, struct asked *a, char **ret_error)
{
	unsigned bits;

	if (words->direction) {
		enum direction d = direction_from_name(words->direction);

		if (d == DIRECTION_INVALID)
			return fail(ret_error, "'%s' is not a direction: connect, accept or listen",
				    words->direction);
		a->directions = BIT(d);
	}
	if (words->protocol) {
		bits = 0;
		for (int p = 0; p < PROTOCOL_MAX; p++)
			if (streq(protocol_word((enum protocol)p), words->protocol))
				bits = BIT(p);
		if (!bits)
			return fail(ret_error, "'%s' is not a protocol: tcp or udp",
				    words->protocol);
		a->protocols = bits;
	}
	if (words->family) {
		bits = 0;
		for (int f = 0; f < SP_FAMILY_INDEX_MAX; f++)
			if (streq(family_word((enum sp_family)f), words->family))
				bits = BIT(f);
		if (!bits)
			return fail(ret_error, "'%s' is not a family: ipv4, ipv6 or unix",
				    words->family);
		a->families = bits;
	}
	return 0;
}

static bool is_wildcard(const struct endpoint *e)
{
	static const unsigned char zero[sizeof(e->address)];

	return memcmp(e->address, zero, e->v4 ? 4 : sizeof(zero)) == 0;
}

static int narrow_family(const struct endpoint *e, const char *text, struct asked *a,
			 char **ret_error)
{
	unsigned family;

	if (!e->known)
		return 0;
	family = e->v4 ? BIT(SP_FAMILY_INDEX_IPV4) : BIT(SP_FAMILY_INDEX_IPV6);
	if (!(a->families & family))
		return fail(ret_error,
			    "'%s' counts as %s, which contradicts the rest of what was asked", text,
			    e->v4 ? "ipv4" : "ipv6");
	a->families = family;
	return 0;
}

/* -EINVAL: an AF_UNIX socket has none of that. */
static int check_unix(const struct asked_words *words, struct asked *a, char **ret_error)
{
	if (words->protocol || words->remote || words->local)
		return fail(ret_error,
			    "--family unix does not go with --protocol, --remote, --local: "
			    "an AF_UNIX socket has none of them");
	if (!(a->directions & BIT(DIRECTION_CONNECT)))
		return fail(ret_error,
			    "AF_UNIX sockets get options when they connect or send only: "
			    "--family unix goes with --direction connect");
	a->protocols = 0;
	return 0;
}

static int check_inet(const struct asked_words *words, struct asked *a, char **ret_error)
{
	int r;

	if (words->remote && a->directions == BIT(DIRECTION_LISTEN))
		return fail(ret_error, "a listening or bound socket has no peer: --remote does not "
				       "go with --direction listen");
	if (a->directions == BIT(DIRECTION_ACCEPT)) {
		if (words->protocol && !(a->protocols & BIT(PROTOCOL_TCP)))
			return fail(ret_error,
				    "no UDP socket is accepted: --protocol udp goes with "
				    "--direction connect or listen");
		a->protocols = BIT(PROTOCOL_TCP);
	}
	/* A socket that is bound to no address in particular gets one when it connects. */
	if (a->directions != BIT(DIRECTION_LISTEN) && a->local.known && is_wildcard(&a->local))
		a->local.known = false;
	r = narrow_family(&a->remote, words->remote, a, ret_error);
	return r < 0 ? r : narrow_family(&a->local, words->local, a, ret_error);
}

int asked_parse(const struct asked_words *words, struct asked *ret, char **ret_error)
{
	struct asked a = {
		.connection = words->protocol || words->family || words->remote || words->local,
		.directions = BIT(DIRECTION_MAX) - 1,
		.protocols = BOTH,
		.families = INET,
	};
	int r;

	if (a.connection)
		a.directions =
			BIT(words->local && !words->remote ? DIRECTION_LISTEN : DIRECTION_CONNECT);
	r = parse_words(words, &a, ret_error);
	if (r == 0)
		r = parse_endpoint(words->remote, &a.remote, ret_error);
	if (r == 0)
		r = parse_endpoint(words->local, &a.local, ret_error);
	if (r == 0 && a.connection)
		r = a.families == UNIX ? check_unix(words, &a, ret_error)
				       : check_inet(words, &a, ret_error);
	if (r == 0)
		*ret = a;
	return r;
}

static enum direction direction_of(const struct asked *a)
{
	int d = 0;

	while (d < DIRECTION_MAX - 1 && !(a->directions & BIT(d)))
		d++;
	return (enum direction)d;
}

const char *asked_fails(const struct asked *a, const struct when *w)
{
	struct connection c = {
		.direction = direction_of(a),
		.remote = a->remote,
		.local = a->local,
	};
	const char *fails = NULL;

	if (a->families == UNIX) {
		c.family = SP_FAMILY_INDEX_UNIX;
		return when_fails(w, &c);
	}
	/* Where there are several possibilities it must hold for each of them. */
	for (int f = 0; f < SP_FAMILY_INDEX_MAX; f++) {
		for (int p = 0; p < PROTOCOL_MAX && !fails; p++) {
			c.family = (enum sp_family)f;
			c.protocol = (enum protocol)p;
			if (a->families & BIT(f) && a->protocols & BIT(p))
				fails = when_fails(w, &c);
		}
	}
	return fails;
}

bool asked_is_unknown(const struct asked *a, const char *key)
{
	const struct {
		const char *key;
		bool unknown;
	} properties[] = {
		{ "protocol", a->protocols == BOTH }, { "family", a->families == INET },
		{ "remote", !a->remote.known },	      { "remote_port", !a->remote.port },
		{ "local", !a->local.known },	      { "local_port", !a->local.port },
	};

	for (size_t i = 0; i < ARRAY_SIZE(properties); i++)
		if (streq(properties[i].key, key))
			return properties[i].unknown;
	return false;
}

static bool has_end(const struct asked *a)
{
	return a->remote.known || a->remote.port || a->local.known || a->local.port;
}

bool asked_passes(const struct asked *a, enum sp_stage s)
{
	const struct stage *stage = &stage_table[s];

	if (!(a->directions & BIT(stage->direction)))
		return false;
	if (!a->connection)
		return true;
	switch (stage->transport) {
	case TRANSPORT_TCP:
		return a->protocols & BIT(PROTOCOL_TCP);
	case TRANSPORT_UDP:
		/* Only a socket that neither binds nor connects is looked at when it sends. */
		if (stage->direction == DIRECTION_CONNECT && stage->has_remote != has_end(a))
			return false;
		return a->protocols & BIT(PROTOCOL_UDP);
	case TRANSPORT_UNIX:
		return a->families == UNIX;
	}
	return false;
}

unsigned asked_speaks(const struct asked *a)
{
	bool listens = a->directions == BIT(DIRECTION_LISTEN);

	if (a->families == BIT(SP_FAMILY_INDEX_IPV4))
		return SP_FAMILY_IPV4;
	if (a->families != BIT(SP_FAMILY_INDEX_IPV6))
		return SP_FAMILY_IPV4 | SP_FAMILY_IPV6;
	/* A dual-stack listener: one that is bound to no address in particular. */
	if (listens && (!a->local.known || is_wildcard(&a->local)))
		return SP_FAMILY_IPV4 | SP_FAMILY_IPV6;
	return SP_FAMILY_IPV6;
}

static const char *protocol_text(const struct asked *a)
{
	for (int p = 0; p < PROTOCOL_MAX; p++)
		if (a->protocols == BIT(p))
			return protocol_word((enum protocol)p);
	return NULL;
}

static const char *family_text(const struct asked *a)
{
	for (int f = 0; f < SP_FAMILY_INDEX_MAX; f++)
		if (a->families == BIT(f))
			return family_word((enum sp_family)f);
	return NULL;
}

/* As asked_parse() takes it; NULL: nothing is known. */
static const char *endpoint_text(const struct endpoint *e, char buf[static ENDPOINT_TEXT_SIZE])
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

static void print_unknown(const struct asked *a, FILE *to)
{
	static const char *const keys[] = { "protocol",	   "family", "remote",
					    "remote_port", "local",  "local_port" };
	const char *separator = "; not given, so that no rule holds that asks for it: ";

	for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
		bool of_peer = i == 2 || i == 3;

		/* These have no peer, and no more than that. */
		if (a->families == UNIX || (of_peer && a->directions == BIT(DIRECTION_LISTEN)) ||
		    !asked_is_unknown(a, keys[i]))
			continue;
		fprintf(to, "%s%s", separator, keys[i]);
		separator = ", ";
	}
}

void asked_print(const struct asked *a, FILE *to)
{
	char text[ENDPOINT_TEXT_SIZE];
	const char *protocol = protocol_text(a), *family = family_text(a);

	fprintf(to, "%s", direction_name(direction_of(a)));
	if (protocol)
		fprintf(to, " %s", protocol);
	if (family)
		fprintf(to, " %s", family);
	if (endpoint_text(&a->remote, text))
		fprintf(to, ", remote %s", text);
	if (endpoint_text(&a->local, text))
		fprintf(to, ", local %s", text);
	print_unknown(a, to);
}

json_t *asked_json(const struct asked *a)
{
	char remote[ENDPOINT_TEXT_SIZE], local[ENDPOINT_TEXT_SIZE];

	if (!a->connection)
		return json_null();
	return json_pack("{s:s, s:s?, s:s?, s:s?, s:s?}", "direction",
			 direction_name(direction_of(a)), "protocol", protocol_text(a), "family",
			 family_text(a), "remote", endpoint_text(&a->remote, remote), "local",
			 endpoint_text(&a->local, local));
}
