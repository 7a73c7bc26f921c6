// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Can a rule hold, for any socket? */
#include "policy/lint_block.h"

#define IPV4 BIT(SP_FAMILY_INDEX_IPV4)
#define IPV6 BIT(SP_FAMILY_INDEX_IPV6)
#define UNIX BIT(SP_FAMILY_INDEX_UNIX)

static unsigned families_of(const struct prefixes *list)
{
	const unsigned both = SP_FAMILY_IPV4 | SP_FAMILY_IPV6;
	unsigned families = 0;

	for (size_t i = 0; i < list->n && families != both; i++)
		families |= list->v[i].v4 ? SP_FAMILY_IPV4 : SP_FAMILY_IPV6;
	return families;
}

unsigned when_ip_families(const struct when *w)
{
	unsigned families = 0;

	if (w->families & IPV4)
		families |= SP_FAMILY_IPV4;
	if (w->families & IPV6)
		families |= SP_FAMILY_IPV6;
	if (w->has_remote)
		families &= families_of(&w->remote);
	if (w->has_local)
		families &= families_of(&w->local);
	return families;
}

bool block_reaches(const struct block *b, enum sp_stage s)
{
	if (!block_may_hold(b, s))
		return false;
	return !b->rule || stage_table[s].transport == TRANSPORT_UNIX ||
	       when_ip_families(&b->rule->when);
}

static bool reaches_some_stage(const struct block *b)
{
	for (int s = 0; s < SP_STAGE_MAX; s++)
		if (block_reaches(b, (enum sp_stage)s))
			return true;
	return false;
}

/* The first key whose list has no entry, or NULL. */
static const char *empty_key(const struct when *w)
{
	const struct {
		bool empty;
		const char *key;
	} lists[] = {
		{ !w->directions, "direction" },
		{ !w->protocols, "protocol" },
		{ !w->families, "family" },
		{ w->has_remote && !w->remote.n, "remote" },
		{ w->has_local && !w->local.n, "local" },
		{ w->has_remote_port && !w->remote_port.n, "remote_port" },
		{ w->has_local_port && !w->local_port.n, "local_port" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(lists); i++)
		if (lists[i].empty)
			return lists[i].key;
	return NULL;
}

/* Why a rule that has no empty list can never match: the commonest reason that applies. */
static const char *contradiction(const struct when *w)
{
	bool asks_remote = w->has_remote || w->has_remote_port;
	bool asks_local = w->has_local || w->has_local_port;

	if (w->families == UNIX && w->has_protocol)
		return "AF_UNIX sockets have no protocol";
	if (w->families == UNIX && (asks_remote || asks_local))
		return "AF_UNIX sockets have neither addresses nor ports";
	if (w->families == UNIX && !(w->directions & BIT(DIRECTION_CONNECT)))
		return "AF_UNIX sockets are governed when they connect or send";
	if (w->protocols == BIT(PROTOCOL_UDP) && w->directions == BIT(DIRECTION_ACCEPT))
		return "UDP sockets are not accepted";
	if (w->directions == BIT(DIRECTION_LISTEN) && asks_remote)
		return "a socket that listens has no remote";
	if (!when_ip_families(w))
		return "its 'family', 'remote' and 'local' have no family in common";
	return "no socket is all that its 'when' asks for";
}

static void lint_unix(const struct lint *l, const struct rule *r)
{
	/* in this order: to ask is to read the kernel's BTF */
	if (r->when.families & UNIX && host_has_unix_hooks() == 0)
		diag_warning(l->diags, &r->at,
			     "this kernel has no hooks for AF_UNIX sockets (6.7 and later have): "
			     "rule '%s' does nothing for them",
			     r->name);
}

static void lint_when(const struct lint *l, const struct block *b)
{
	const struct rule *r = b->rule;
	const char *empty = empty_key(&r->when);

	if (empty) {
		diag_warning(l->diags, &r->at, "rule '%s' can never match: its %s is empty",
			     r->name, empty);
	} else if (!reaches_some_stage(b)) {
		diag_warning(l->diags, &r->at, "rule '%s' can never match: %s", r->name,
			     contradiction(&r->when));
	} else { /* what a rule sets that never matches is no matter */
		lint_unix(l, r);
		lint_block(l, b);
	}
}

void lint_rule(const struct lint *l, const struct policy *p, const struct rule *r)
{
	const struct block b = { .policy = p, .rule = r, .options = &r->options };

	if (!r->options.n)
		diag_warning(l->diags, &r->at, "rule '%s' has no options: it does nothing",
			     r->name);
	lint_when(l, &b);
}
