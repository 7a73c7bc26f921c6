// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include "policy/connection.h"

bool prefix_holds(const struct prefix *p, const struct endpoint *e)
{
	unsigned bytes = p->length / 8, bits = p->length % 8;
	unsigned mask =
		0xff00u >> bits; /* of the byte where the prefix ends; the low byte counts */

	if (!e->known || e->v4 != p->v4 || memcmp(p->address, e->address, bytes) != 0)
		return false;
	return !bits || !((p->address[bytes] ^ e->address[bytes]) & mask);
}

static bool one_prefix_holds(const struct prefixes *list, const struct endpoint *e)
{
	for (size_t i = 0; i < list->n; i++)
		if (prefix_holds(&list->v[i], e))
			return true;
	return false;
}

/* A port that is not known is 0, where no range begins. */
static bool one_port_holds(const struct port_ranges *list, const struct endpoint *e)
{
	for (size_t i = 0; i < list->n; i++)
		if (e->port >= list->v[i].first && e->port <= list->v[i].last)
			return true;
	return false;
}

const char *when_fails(const struct when *w, const struct connection *c)
{
	bool is_unix = c->family == SP_FAMILY_INDEX_UNIX;

	if (!(w->families & BIT(c->family)))
		return "family";
	if (!(w->directions & BIT(c->direction)))
		return "direction";
	/* An AF_UNIX socket has no transport that could be asked for. */
	if (w->has_protocol && (is_unix || !(w->protocols & BIT(c->protocol))))
		return "protocol";
	if (w->has_remote && !one_prefix_holds(&w->remote, &c->remote))
		return "remote";
	if (w->has_local && !one_prefix_holds(&w->local, &c->local))
		return "local";
	if (w->has_remote_port && !one_port_holds(&w->remote_port, &c->remote))
		return "remote_port";
	if (w->has_local_port && !one_port_holds(&w->local_port, &c->local))
		return "local_port";
	return NULL;
}

bool when_holds(const struct when *w, const struct connection *c)
{
	return !when_fails(w, c);
}
