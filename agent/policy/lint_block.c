// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include "policy/lint_block.h"
#include "option/value.h"

bool lint_reaches(const struct rule *r, enum sp_stage s)
{
	if (!stage_rule_may_hold(r, s))
		return false;
	return !r || stage_table[s].transport == TRANSPORT_UNIX || when_ip_families(&r->when);
}

static void lint_congestion(const struct lint *l, const struct setting *s)
{
	const char *name;

	if (option_id(s->option) != OPTION_TCP_CONGESTION)
		return;
	name = sockopt_data(&s->value);
	if (host_has_congestion(l->host, name) == 0)
		diag_warning(l->diags, &s->at,
			     "congestion control '%s' is not loaded in the running kernel; the "
			     "agent has it loaded, and refuses the configuration if that fails",
			     EXCERPT(name));
}

static void lint_value(const struct lint *l, const struct setting *s)
{
	_cleanup_free_ char *asked = NULL;
	struct value_result result = { 0 };

	if (value_result(s->option, &s->value, l->host, &result) < 0)
		return;
	asked = value_format(s->option, &s->value);
	if (asked && result.refused)
		diag_warning(l->diags, &s->at, "%s: %s is refused%s%s", s->option->name, asked,
			     result.text ? ": " : "", result.text ? result.text : "");
	else if (asked && result.capped)
		diag_warning(l->diags, &s->at, "%s: %s is capped%s%s", s->option->name, asked,
			     result.text ? ": " : "", result.text ? result.text : "");
	free(result.text);
}

/*
 * Returns the families of IP that matter to the sockets that a block reaches; none if these are all
 * AF_UNIX.  An IPv6 socket without a peer may come to speak IPv4 as well.
 */
static unsigned families_reached(const struct rule *r)
{
	static const enum sp_stage without_peer[] = { SP_STAGE_TCP_BIND, SP_STAGE_TCP_LISTEN,
						      SP_STAGE_UDP_BIND, SP_STAGE_UDP_SEND };
	const unsigned both = SP_FAMILY_IPV4 | SP_FAMILY_IPV6;
	unsigned families = r ? when_ip_families(&r->when) : both;

	for (size_t i = 0; i < ARRAY_SIZE(without_peer); i++)
		if (families & SP_FAMILY_IPV6 && lint_reaches(r, without_peer[i]))
			return both;
	return families;
}

/* Does the option reach a hook where the block holds? */
static bool reaches_a_hook(const struct rule *r, const struct option *o)
{
	for (int s = 0; s < SP_STAGE_MAX; s++)
		if (stage_setting_due(r, o, stage_table[s].direction, (enum sp_stage)s) &&
		    lint_reaches(r, (enum sp_stage)s))
			return true;
	return false;
}

static void lint_effect(const struct lint *l, const struct rule *r, const struct setting *s)
{
	unsigned works_for = option_families(s->option), families = families_reached(r);
	const char *rule = r ? r->name : "";

	if (!reaches_a_hook(r, s->option))
		diag_warning(l->diags, &s->at, "%s: no hook of rule '%s' can make it effective",
			     s->option->name, rule);
	else if (!s->shorthand && families && !(works_for & families))
		diag_warning(l->diags, &s->at,
			     "%s: rule '%s' holds for %s only, where it has no effect",
			     s->option->name, rule, works_for & SP_FAMILY_IPV4 ? "IPv6" : "IPv4");
}

/* Warns of options that come too late for the route: the kernel chooses route and local address
 * together, and a rule may ask for the address. */
static void lint_route(const struct lint *l, const struct rule *r, const struct setting *s)
{
	const struct when *w = r ? &r->when : NULL;

	if (!w || !s->option->route || !(w->has_local || w->has_local_port) ||
	    !lint_reaches(r, SP_STAGE_TCP_SYN))
		return;
	diag_warning(l->diags, &s->at,
		     "%s: rule '%s' asks for '%s', which a connecting TCP socket has only when its "
		     "route is chosen: too late for the route, even if another rule sets it",
		     s->option->name, r->name, w->has_local ? "local" : "local_port");
}

/* Warns of `unset` where accepted sockets inherit: the listener has the value, and a child is born
 * with it. */
static void lint_unset(const struct lint *l, const struct rule *r, const struct setting *s)
{
	const struct setting *carried = l->carried[option_id(s->option)];

	if (!carried || !lint_reaches(r, SP_STAGE_TCP_PASSIVE_EST) ||
	    lint_reaches(r, SP_STAGE_TCP_LISTEN))
		return;
	diag_warning(l->diags, &s->at,
		     "%s: unset has no effect on accepted sockets: listeners carry the value of "
		     "%s:%u:%u, and accepted sockets inherit it",
		     s->option->name, carried->at.file, carried->at.line, carried->at.column);
}

void lint_block(const struct lint *l, const struct rule *r, const struct settings *options)
{
	for (size_t i = 0; i < options->n; i++) {
		const struct setting *s = &options->v[i];

		if (s->unset) {
			lint_unset(l, r, s);
			continue;
		}
		lint_effect(l, r, s);
		lint_route(l, r, s);
		lint_value(l, s);
		lint_congestion(l, s);
	}
}

static bool reaches_some_stage(const struct rule *r)
{
	for (int s = 0; s < SP_STAGE_MAX; s++)
		if (lint_reaches(r, (enum sp_stage)s))
			return true;
	return false;
}

static void lint_unix(const struct lint *l, const struct rule *r)
{
	/* the cheap question first: the other reads the kernel's BTF */
	if (r->when.families & BIT(SP_FAMILY_INDEX_UNIX) && host_has_unix_hooks() == 0)
		diag_warning(l->diags, &r->at,
			     "this kernel has no hooks for AF_UNIX sockets (6.7 and later have): "
			     "rule '%s' does nothing for them",
			     r->name);
}

static void lint_when(const struct lint *l, const struct rule *r)
{
	const enum when_key empty = when_empty_key(&r->when);

	if (empty != WHEN_KEY_MAX) {
		diag_warning(l->diags, &r->at, "rule '%s' can never match: its %s is empty",
			     r->name, when_key_name(empty));
	} else if (!reaches_some_stage(r)) {
		diag_warning(l->diags, &r->at, "rule '%s' can never match: %s", r->name,
			     when_contradiction(&r->when));
	} else { /* a rule that never matches gets no further warnings */
		lint_unix(l, r);
		lint_block(l, r, &r->options);
	}
}

void lint_rule(const struct lint *l, const struct rule *r)
{
	if (!r->options.n)
		diag_warning(l->diags, &r->at, "rule '%s' has no options: it does nothing",
			     r->name);
	lint_when(l, r);
}
