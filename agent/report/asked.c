// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <errno.h>

#include "report/asked.h"

#define INET (BIT(SP_FAMILY_INDEX_IPV4) | BIT(SP_FAMILY_INDEX_IPV6))
#define BOTH (BIT(PROTOCOL_MAX) - 1)

/* Returns the word for the only bit of a set, NULL where it has several. */
static const char *only_word(unsigned set, const char *const *words, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (set == BIT(i))
			return words[i];
	return NULL;
}
#define ONLY_WORD(set, words) only_word(set, words, ARRAY_SIZE(words))

static int narrow_family(const struct endpoint *e, const char *text, struct asked *a,
			 char **ret_error)
{
	unsigned family;

	if (!e->known)
		return 0;
	family = e->v4 ? BIT(SP_FAMILY_INDEX_IPV4) : BIT(SP_FAMILY_INDEX_IPV6);
	if (!(a->families & family))
		return sentence(ret_error, -EINVAL,
				"'%s' counts as %s, which contradicts the rest of what was asked",
				text, e->v4 ? "ipv4" : "ipv6");
	a->families = family;
	return 0;
}

/* Is it about a socket that is not IP's? */
static bool is_local(const struct asked *a)
{
	return !(a->families & INET);
}

/* Checks what was given with such a family.  -EINVAL: its sockets have none of that. */
static int check_local(const struct asked_words *words, struct asked *a, char **ret_error)
{
	if (words->protocols || words->remote || words->local)
		return sentence(ret_error, -EINVAL,
				"--family %s does not go with --protocol, --remote, --local: only "
				"IP sockets have them",
				ONLY_WORD(a->families, family_words));
	if (!(a->directions & BIT(DIRECTION_CONNECT)))
		return sentence(ret_error, -EINVAL,
				"--family %s goes with --direction connect: only IP sockets get "
				"options when they listen or are accepted",
				ONLY_WORD(a->families, family_words));
	a->protocols = 0;
	return 0;
}

static int check_inet(const struct asked_words *words, struct asked *a, char **ret_error)
{
	int r;

	if (words->remote && a->directions == BIT(DIRECTION_LISTEN))
		return sentence(ret_error, -EINVAL,
				"a listening or bound socket has no peer: --remote does not "
				"go with --direction listen");
	if (a->directions == BIT(DIRECTION_ACCEPT)) {
		if (words->protocols && !(a->protocols & BIT(PROTOCOL_TCP)))
			return sentence(ret_error, -EINVAL,
					"no UDP socket is accepted: --protocol udp goes with "
					"--direction connect or listen");
		a->protocols = BIT(PROTOCOL_TCP);
	}
	/* A connecting socket that is bound to no particular address gets one. */
	if (a->directions != BIT(DIRECTION_LISTEN) && a->local.known &&
	    endpoint_is_wildcard(&a->local))
		a->local.known = false;
	r = narrow_family(&a->remote, words->remote, a, ret_error);
	return r < 0 ? r : narrow_family(&a->local, words->local, a, ret_error);
}

int asked_parse(const struct asked_words *words, struct asked *ret, char **ret_error)
{
	struct asked a = {
		.connection = words->protocols || words->families || words->remote || words->local,
		.directions = BIT(DIRECTION_MAX) - 1,
		.protocols = BOTH,
		.families = INET,
	};
	int r = 0;

	if (a.connection)
		a.directions =
			BIT(words->local && !words->remote ? DIRECTION_LISTEN : DIRECTION_CONNECT);
	if (words->directions)
		a.directions = words->directions;
	if (words->protocols)
		a.protocols = words->protocols;
	if (words->families)
		a.families = words->families;
	if (words->remote)
		r = endpoint_parse(words->remote, &a.remote, ret_error);
	if (r == 0 && words->local)
		r = endpoint_parse(words->local, &a.local, ret_error);
	if (r == 0 && a.connection)
		r = is_local(&a) ? check_local(words, &a, ret_error)
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

enum when_key asked_fails(const struct asked *a, const struct when *w)
{
	struct connection c = {
		.direction = direction_of(a),
		.remote = a->remote,
		.local = a->local,
	};

	if (is_local(a)) {
		c.family = (enum sp_family)__builtin_ctz(a->families);
		return when_fails(w, &c);
	}
	/* The rule must hold for every family that is possible. */
	for (enum sp_family f = 0; f < SP_FAMILY_INDEX_MAX; f++) {
		for (enum protocol p = 0; p < PROTOCOL_MAX; p++) {
			enum when_key key;

			if (!(a->families & BIT(f) && a->protocols & BIT(p)))
				continue;
			c.family = f;
			c.protocol = p;
			key = when_fails(w, &c);
			if (key != WHEN_KEY_MAX)
				return key;
		}
	}
	return WHEN_KEY_MAX;
}

static bool holds_for(struct asked a, unsigned protocol, const struct when *w)
{
	a.protocols = BIT(protocol);
	return asked_fails(&a, w) == WHEN_KEY_MAX;
}

bool asked_hangs_on_protocol(const struct asked *a, const struct when *w)
{
	if (!a->connection || a->protocols != BOTH)
		return false;
	return holds_for(*a, PROTOCOL_TCP, w) != holds_for(*a, PROTOCOL_UDP, w);
}

bool asked_is_unknown(const struct asked *a, enum when_key key)
{
	/* Only these may be unknown; other keys have an answer for every connection. */
	const bool unknown[WHEN_KEY_MAX] = {
		[WHEN_PROTOCOL] = a->protocols == BOTH, [WHEN_FAMILY] = a->families == INET,
		[WHEN_REMOTE] = !a->remote.known,	[WHEN_LOCAL] = !a->local.known,
		[WHEN_REMOTE_PORT] = !a->remote.port,	[WHEN_LOCAL_PORT] = !a->local.port,
	};

	return unknown[key];
}

static bool has_end(const struct asked *a)
{
	return a->remote.known || a->remote.port || a->local.known || a->local.port;
}

bool asked_passes(const struct asked *a, enum sp_stage s)
{
	const struct stage *stage = &stage_table[s];

	if (stage->is_socket || !(a->directions & BIT(stage->direction)))
		return false; /* what socket(2) brings is brought again later */
	if (!a->connection)
		return true;
	switch (stage->transport) {
	case TRANSPORT_TCP:
		return a->protocols & BIT(PROTOCOL_TCP);
	case TRANSPORT_UDP:
		/* Only a socket that neither binds nor connects passes the stage of sends. */
		if (stage->direction == DIRECTION_CONNECT && stage->has_remote != has_end(a))
			return false;
		return a->protocols & BIT(PROTOCOL_UDP);
	case TRANSPORT_UNIX:
	case TRANSPORT_LOCAL:
		return when_families_at(a->families, stage);
	case TRANSPORT_OTHER:
		break;
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
	/* A listener bound to no particular address may be a dual-stack one. */
	if (listens && (!a->local.known || endpoint_is_wildcard(&a->local)))
		return SP_FAMILY_IPV4 | SP_FAMILY_IPV6;
	return SP_FAMILY_IPV6;
}

static void print_unknown(const struct asked *a, FILE *to)
{
	const char *separator = "; not given, so no rule that asks for it holds: ";
	const bool has_peer = a->directions != BIT(DIRECTION_LISTEN);

	if (is_local(a)) /* such a socket has none of these */
		return;
	for (enum when_key key = 0; key < WHEN_KEY_MAX; key++) {
		if ((when_key_is_remote(key) && !has_peer) || !asked_is_unknown(a, key))
			continue;
		fprintf(to, "%s%s", separator, when_key_name(key));
		separator = ", ";
	}
}

json_t *asked_text(const struct asked *a)
{
	char text[ENDPOINT_TEXT_SIZE];
	const char *protocol = ONLY_WORD(a->protocols, protocol_words),
		   *family = ONLY_WORD(a->families, family_words);
	_cleanup_free_ char *all = NULL;
	size_t size;
	FILE *to = a->connection ? open_memstream(&all, &size) : NULL;

	if (!to)
		return a->connection ? NULL : json_null();
	fprintf(to, "%s", direction_words[direction_of(a)]);
	if (protocol)
		fprintf(to, " %s", protocol);
	if (family)
		fprintf(to, " %s", family);
	if (endpoint_format(&a->remote, text))
		fprintf(to, ", remote %s", text);
	if (endpoint_format(&a->local, text))
		fprintf(to, ", local %s", text);
	print_unknown(a, to);
	fclose(to);
	return all ? json_string(all) : NULL;
}

json_t *asked_json(const struct asked *a)
{
	char remote[ENDPOINT_TEXT_SIZE], local[ENDPOINT_TEXT_SIZE];

	if (!a->connection)
		return json_null();
	return json_pack(
		"{s:s, s:s?, s:s?, s:s?, s:s?}", "direction", direction_words[direction_of(a)],
		"protocol", ONLY_WORD(a->protocols, protocol_words), "family",
		ONLY_WORD(a->families, family_words), "remote", endpoint_format(&a->remote, remote),
		"local", endpoint_format(&a->local, local));
}
