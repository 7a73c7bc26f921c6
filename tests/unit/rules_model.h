/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What sockpol.policy(5) says of who wins an option, read from struct config: what the hooks' own
 * code (hook_twin.h) is compared with.
 */
#ifndef SOCKPOL_RULES_MODEL_H
#define SOCKPOL_RULES_MODEL_H

#include "hook_twin.h"
#include "random_policies.h"

#define INET (BIT(SP_FAMILY_INDEX_IPV4) | BIT(SP_FAMILY_INDEX_IPV6))

/* The stages as the kernel runs them, for this test on its own: not by agent/policy/stage.c. */
static const struct stage_facts {
	enum direction direction;
	enum protocol protocol;
	bool is_unix, is_local, remote, local;
	bool is_socket, no_protocol;
} stages[SP_STAGE_MAX] = {
	[SP_STAGE_TCP_BIND] = { DIRECTION_LISTEN, PROTOCOL_TCP, .local = true },
	[SP_STAGE_TCP_CONNECT] = { DIRECTION_CONNECT, PROTOCOL_TCP, .remote = true },
	[SP_STAGE_TCP_SYN] = { DIRECTION_CONNECT, PROTOCOL_TCP, .remote = true, .local = true },
	[SP_STAGE_TCP_ACTIVE_EST] = { DIRECTION_CONNECT, PROTOCOL_TCP, .remote = true,
				      .local = true },
	[SP_STAGE_TCP_PASSIVE_EST] = { DIRECTION_ACCEPT, PROTOCOL_TCP, .remote = true,
				       .local = true },
	[SP_STAGE_TCP_LISTEN] = { DIRECTION_LISTEN, PROTOCOL_TCP, .local = true },
	[SP_STAGE_UDP_BIND] = { DIRECTION_LISTEN, PROTOCOL_UDP, .local = true },
	[SP_STAGE_UDP_CONNECT] = { DIRECTION_CONNECT, PROTOCOL_UDP, .remote = true, .local = true },
	[SP_STAGE_UDP_SEND] = { DIRECTION_CONNECT, PROTOCOL_UDP },
	[SP_STAGE_UNIX] = { DIRECTION_CONNECT, .is_unix = true },
	[SP_STAGE_LOCAL_SOCKET] = { DIRECTION_CONNECT, .is_local = true },
	[SP_STAGE_REPLY_ACTIVE] = { DIRECTION_CONNECT, PROTOCOL_TCP, .remote = true,
				    .local = true },
	[SP_STAGE_REPLY_PASSIVE] = { DIRECTION_ACCEPT, PROTOCOL_TCP, .remote = true,
				     .local = true },
	[SP_STAGE_TCP_SOCKET] = { .protocol = PROTOCOL_TCP, .is_socket = true },
	[SP_STAGE_UDP_SOCKET] = { .protocol = PROTOCOL_UDP, .is_socket = true },
	[SP_STAGE_OTHER_SOCKET] = { .is_socket = true, .no_protocol = true },
};

struct world {
	struct seeded *random;
	struct config *config;
	struct image *image;
	uint32_t numbers[SP_LIST_MAX]; /* of the policies that apply, weakest first */
	uint32_t n;
	uint32_t also; /* bits of families: of what the connection does not tell */
};

static uint32_t counter_of(const struct policy *p, const char *rule, void *userdata)
{
	const struct config *c = userdata;

	return 1 + (uint32_t)(p - c->policies) * (FIXTURE_RULES + 2) + fixture_counter(p, rule);
}

static void world_new(struct world *w, struct config *c)
{
	struct position at;
	char *error;

	*w = (struct world){ .config = c };
	assert_int_equal(image_new(c, counter_of, c, &w->image, &error, &at), 0);
	twin_load(w->image);
}

static void world_free(struct world *w)
{
	image_free(w->image);
	config_free(w->config);
}

static void apply_policy(struct world *w, const struct policy *p)
{
	w->numbers[w->n++] = image_policy_number(w->image, p);
}

static const struct policy *policy_at(const struct world *w, uint32_t i)
{
	return &w->config->policies[w->numbers[i] - 1];
}

static inline struct connection random_connection(struct seeded *r, enum sp_stage s)
{
	const struct stage_facts *of = &stages[s];
	struct connection c = { .direction = of->direction, .protocol = of->protocol };
	bool v4 = random_below(r, 2);

	if (of->is_unix || of->is_local) {
		c.family = of->is_unix		? SP_FAMILY_INDEX_UNIX
			   : random_below(r, 2) ? SP_FAMILY_INDEX_NETLINK
						: SP_FAMILY_INDEX_PACKET;
		return c;
	}
	c.family = v4 ? SP_FAMILY_INDEX_IPV4 : SP_FAMILY_INDEX_IPV6;
	if (of->remote)
		c.remote = random_endpoint(r, v4);
	/* an address of its own, but perhaps no port yet, or nothing at all */
	if (of->local && (s != SP_STAGE_UDP_CONNECT || random_below(r, 2)))
		c.local = random_endpoint(r, v4);
	if (s == SP_STAGE_TCP_BIND && random_below(r, 2))
		c.local.port = 0;
	return c;
}

/* The part of it that is known at a stage. */
static struct connection known_at(enum sp_stage s, const struct connection *c)
{
	static const struct endpoint unknown = { 0 };
	struct connection known = *c;

	if (!stages[s].remote)
		known.remote = unknown;
	if (!stages[s].local)
		known.local = unknown;
	return known;
}

/* SP_FAMILY_*: whose options the connection takes. */
static uint32_t takes(const struct connection *c)
{
	switch (c->family) {
	case SP_FAMILY_INDEX_IPV4:
		return SP_FAMILY_IPV4;
	case SP_FAMILY_INDEX_IPV6:
		return SP_FAMILY_IPV6;
	default:
		return SP_FAMILY_IPV4 | SP_FAMILY_IPV6;
	}
}

static bool holds(const struct rule *r, const struct connection *c)
{
	return r ? when_fails(&r->when, c) == WHEN_KEY_MAX : BIT(c->family) & INET;
}

static bool names_device(const struct option *o)
{
	return o == &option_table[OPTION_SO_BINDTODEVICE] ||
	       o == &option_table[OPTION_SO_BINDTOIFINDEX];
}

/* "SO_MARK, SO_PRIORITY, SO_BINDTODEVICE and SO_BINDTOIFINDEX are given at socket(2) already" */
static bool is_given_at_socket(const struct option *o)
{
	return o == &option_table[OPTION_SO_MARK] || o == &option_table[OPTION_SO_PRIORITY] ||
	       names_device(o);
}

/* "A rule that asks for more (direction, addresses, ports)" */
static bool asks_for_more(const struct when *w)
{
	return w->directions != BIT(DIRECTION_MAX) - 1 || w->has_remote || w->has_local ||
	       w->has_remote_port || w->has_local_port;
}

/* Does the rule hold for some socket at a stage, as far as that knows addresses? */
static bool is_for_stage(const struct when *w, enum sp_stage s)
{
	const struct stage_facts *of = &stages[s];

	return !of->is_unix && !of->is_local && !of->is_socket &&
	       w->directions & BIT(of->direction) && w->protocols & BIT(of->protocol) &&
	       (of->remote || !(w->has_remote || w->has_remote_port)) &&
	       (of->local || !(w->has_local || w->has_local_port));
}

/* "may hold, but only for kinds of sockets that reach its hook": none that accept(2) makes. */
static bool may_hold_later(const struct when *w, enum sp_stage socket)
{
	for (int s = 0; s < SP_STAGE_MAX; s++)
		if (!stages[socket].no_protocol && stages[s].protocol == stages[socket].protocol &&
		    stages[s].direction != DIRECTION_ACCEPT && is_for_stage(w, (enum sp_stage)s))
			return true;
	return false;
}

enum at_socket {
	HOLDS_NOT,
	HOLDS,
	MAY_HOLD,
};

/* Is there an address of one of the families in the list of a rule? */
static bool has_address(const struct ranges *list, unsigned families)
{
	for (size_t i = 0; i < list->n; i++)
		if (families & (list->v[i].kind == RANGE_IPV4 ? SP_FAMILY_IPV4 : SP_FAMILY_IPV6))
			return true;
	return false;
}

/* Can a socket that speaks these families be all that is asked of addresses? */
static bool can_speak(const struct when *w, unsigned families)
{
	for (unsigned one = SP_FAMILY_IPV4; one <= SP_FAMILY_IPV6; one <<= 1)
		if (w->families & families & one &&
		    (!w->has_remote || has_address(&w->remote, one)) &&
		    (!w->has_local || has_address(&w->local, one)))
			return true;
	return false;
}

/* An IPv6 socket may have IPv4 peers later on. */
static enum at_socket at_socket(const struct rule *r, enum sp_stage s, enum sp_family family)
{
	unsigned families = BIT(family) | BIT(SP_FAMILY_INDEX_IPV4);
	const struct when *w;

	if (!r)
		return HOLDS;
	w = &r->when;
	if (asks_for_more(w))
		return can_speak(w, families) && may_hold_later(w, s) ? MAY_HOLD : HOLDS_NOT;
	if (stages[s].no_protocol ? w->has_protocol : !(w->protocols & BIT(stages[s].protocol)))
		return HOLDS_NOT;
	return (w->families & BIT(family)) ? HOLDS : HOLDS_NOT;
}

/* Is it set at the stage, if it wins?  At SP_STAGE_TCP_SYN as at SP_STAGE_TCP_CONNECT. */
static bool is_set_at(const struct rule *r, const struct setting *setting, enum sp_stage s)
{
	enum sp_stage as = s == SP_STAGE_TCP_SYN ? SP_STAGE_TCP_CONNECT : s;
	const struct option *o = setting->option;

	if (setting->unset || !(o->stages[stages[s].direction] & BIT(as)))
		return false;
	return s != SP_STAGE_TCP_LISTEN || o->carried || r;
}

struct winner {
	const struct policy *policy;
	const struct rule *rule;
	const struct setting *setting; /* NULL: nobody names the option */
};

static void walk_block(const struct policy *p, const struct rule *r, const struct option *option,
		       struct winner *to)
{
	const struct settings *settings = r ? &r->options : &p->base;

	for (size_t i = 0; i < settings->n; i++)
		if (options_rival(settings->v[i].option, option))
			*to = (struct winner){ p, r, &settings->v[i] };
}

static bool names(const struct settings *settings, const struct option *o)
{
	for (size_t i = 0; i < settings->n; i++)
		if (options_rival(settings->v[i].option, o))
			return true;
	return false;
}

/* "where a connect rule that may hold names SO_BINDTO*, bind(2) leaves it alone" */
static bool is_left_to_connect(const struct when *w)
{
	return is_for_stage(w, SP_STAGE_TCP_SYN) && w->families & INET &&
	       !is_for_stage(w, SP_STAGE_TCP_BIND);
}

/* "Walk that sequence; for each option the last one to set it wins." */
static inline struct winner walk(const struct world *w, const struct option *option,
				 enum sp_stage s, const struct connection *c)
{
	struct winner winner = { 0 };

	for (uint32_t i = 0; i < w->n; i++) {
		const struct policy *p = policy_at(w, i);

		if (holds(NULL, c))
			walk_block(p, NULL, option, &winner);
		for (size_t k = 0; k < p->n_rules; k++) {
			if (holds(&p->rules[k], c))
				walk_block(p, &p->rules[k], option, &winner);
			else if (s == SP_STAGE_TCP_BIND && names_device(option) &&
				 is_left_to_connect(&p->rules[k].when) &&
				 names(&p->rules[k].options, option))
				winner = (struct winner){ 0 };
		}
	}
	return winner;
}

/* Returns what socket(2) gives: the last one to name the option, unless only a later stage tells
 * whether it holds. */
static inline struct winner walk_at_socket(const struct world *w, const struct option *option,
					   enum sp_stage s, enum sp_family family)
{
	static const struct winner none = { 0 };
	struct winner winner = none;

	for (uint32_t i = 0; i < w->n; i++) {
		const struct policy *p = policy_at(w, i);

		for (size_t k = 0; k <= p->n_rules; k++) {
			const struct rule *r = k ? &p->rules[k - 1] : NULL;
			struct winner named = none;

			walk_block(p, r, option, &named);
			if (!named.setting)
				continue;
			if (at_socket(r, s, family) == MAY_HOLD)
				winner = none;
			else if (at_socket(r, s, family) == HOLDS)
				winner = named;
		}
	}
	if (winner.setting && (winner.setting->unset || !is_given_at_socket(option)))
		return none;
	return winner;
}

static bool unbinds(const struct setting *setting)
{
	const char none[SP_VALUE_SIZE] = { 0 };
	char value[SP_VALUE_SIZE] = { 0 };

	(void)sockopt_get(&setting->value, value, setting->value.size);
	return memcmp(value, none, sizeof(none)) == 0;
}

/* The expected setting of the option; NULL: nothing. */
static inline const struct setting *due(const struct winner *w, const struct option *o,
					enum sp_stage s, const struct connection *c, uint32_t also)
{
	if (!w->setting || w->setting->option != o || !is_set_at(w->rule, w->setting, s) ||
	    !(option_families(o) & (takes(c) | also)))
		return NULL;
	/* "A device is given again only where the socket has none"; "" and 0 take it away. */
	if (names_device(o) && !(also & SP_FAMILY_UNBOUND) && !unbinds(w->setting))
		return NULL;
	return w->setting;
}

static void set_address(struct address *to, const struct endpoint *from)
{
	memcpy(to->a, from->address, from->v4 ? 4 : 16);
	to->known = from->known;
	to->v4 = from->v4;
	to->port = from->port;
}

static inline void run_at(const struct world *w, enum sp_stage s, const struct connection *c,
			  enum option_id reply)
{
	const struct connection known = known_at(s, c);
	struct facts facts = { .family = c->family };

	set_address(&facts.remote, &known.remote);
	set_address(&facts.local, &known.local);
	twin_apply(w->numbers, w->n);
	twin_run(s, &facts, takes(c) | w->also, reply);
}

#endif
