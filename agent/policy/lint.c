// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include "base/progress.h"
#include "policy/lint.h"
#include "option/value.h"
#include "policy/stage.h"

struct lint {
	const struct host *host;
	struct diags *diags;
	/* By option: a setting that some listener passes on to what it accepts, or NULL. */
	const struct setting *carried[OPTION_MAX];
};

/* --- a block of options, and the rule that has it --------------------------------------------- */

/* Can a block (r NULL: the base options) hold for some socket at a stage, given its addresses? */
static bool reaches(const struct rule *r, enum sp_stage s)
{
	if (!stage_rule_may_hold(r, s))
		return false;
	return !r || stage_table[s].transport == TRANSPORT_UNIX || when_ip_families(&r->when);
}

static void lint_congestion(const struct lint *l, const struct setting *s)
{
	const char *name = sockopt_data(&s->value);

	if (option_id(s->option) == OPTION_TCP_CONGESTION &&
	    host_has_congestion(l->host, name) == 0)
		diag_warning(l->diags, &s->at,
			     "congestion control '%s' is not loaded in the running kernel; the "
			     "agent has it loaded, and leaves the option out if that fails",
			     EXCERPT(name));
}

static void lint_value(const struct lint *l, const struct setting *s)
{
	_cleanup_free_ char *asked = NULL;
	struct value_result result = { 0 };

	if (value_result(s->option, &s->value, l->host, &result) < 0)
		return;
	asked = value_format(s->option, &s->value);
	if (asked && (result.refused || result.capped))
		diag_warning(l->diags, &s->at, "%s: %s is %s%s%s", s->option->name, asked,
			     result.refused ? "refused" : "capped", result.text ? ": " : "",
			     result.text ? result.text : "");
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
		if (families & SP_FAMILY_IPV6 && reaches(r, without_peer[i]))
			return both;
	return families;
}

/* Does the option reach a hook where the block holds? */
static bool reaches_a_hook(const struct rule *r, const struct option *o)
{
	for (int s = 0; s < SP_STAGE_MAX; s++)
		if (stage_setting_due(r, o, stage_table[s].direction, (enum sp_stage)s) &&
		    reaches(r, (enum sp_stage)s))
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
	    !reaches(r, SP_STAGE_TCP_SYN))
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

	if (!carried || !reaches(r, SP_STAGE_TCP_PASSIVE_EST) || reaches(r, SP_STAGE_TCP_LISTEN))
		return;
	diag_warning(l->diags, &s->at,
		     "%s: unset has no effect on accepted sockets: listeners carry the value of "
		     "%s:%u:%u, and accepted sockets inherit it",
		     s->option->name, carried->at.file, carried->at.line, carried->at.column);
}

static void lint_block(const struct lint *l, const struct rule *r, const struct settings *options)
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
		if (reaches(r, (enum sp_stage)s))
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

static void lint_rule(const struct lint *l, const struct rule *r)
{
	const enum when_key empty = when_empty_key(&r->when);

	if (!r->options.n)
		diag_warning(l->diags, &r->at, "rule '%s' has no options: it does nothing",
			     r->name);
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

/* --- one policy ------------------------------------------------------------------------------- */

/* Returns what the block sets the option to, or NULL. */
static const struct setting *find_set(const struct settings *s, enum option_id id)
{
	const struct setting *found = settings_find(s, &option_table[id]);

	return found && !found->unset ? found : NULL;
}

/* What only privileged programs may give to a socket, or what decides its route and its queue. */
static const enum option_id privileged[] = {
	OPTION_SO_MARK,
	OPTION_SO_PRIORITY,
	OPTION_SO_BINDTODEVICE,
	OPTION_SO_BINDTOIFINDEX,
};

static const char *sets_privileged(const struct policy *p)
{
	for (size_t i = 0; i < ARRAY_SIZE(privileged); i++)
		for (size_t r = 0; r <= p->n_rules; r++)
			if (find_set(r ? &p->rules[r - 1].options : &p->base, privileged[i]))
				return option_table[privileged[i]].name;
	return NULL;
}

static void lint_delegated(const struct lint *l, const struct policy *p)
{
	const char *option = sets_privileged(p);

	for (size_t i = 0; option && i < p->match.n; i++) {
		const struct pattern *pattern = &p->match.v[i];

		if (glob_reaches_delegated(pattern->glob))
			diag_warning(
				l->diags, &pattern->at,
				"cgroup '%s' can match below user@UID.service, where users name "
				"their own cgroups, and the policy sets %s; 'unit' matches the "
				"system's units only",
				EXCERPT(pattern->glob->pattern), option);
	}
}

static void lint_unit(const struct lint *l, const struct pattern *pattern)
{
	const char *text = pattern->glob->pattern;
	const struct unit_kind *unit = glob_unit_kind(text);

	if (pattern->glob->kind != GLOB_UNIT || strchr("*?]", text[strlen(text) - 1]))
		return;
	if (!unit)
		diag_warning(l->diags, &pattern->at,
			     "unit '%s' does not end in a unit's suffix; did you mean "
			     "'%s.service'?",
			     EXCERPT(text), EXCERPT(text));
	else if (!unit->has_cgroup)
		diag_warning(l->diags, &pattern->at,
			     "unit '%s' can never match: a %s unit has no cgroup", EXCERPT(text),
			     unit->suffix);
}

static void lint_patterns(const struct lint *l, const struct policy *p)
{
	for (size_t i = 0; i < p->match.n; i++) {
		const struct glob *glob = p->match.v[i].glob;

		lint_unit(l, &p->match.v[i]);
		for (size_t j = 0; j < p->exclude.n; j++)
			if (glob->kind == p->exclude.v[j].glob->kind &&
			    streq(glob->pattern, p->exclude.v[j].glob->pattern))
				diag_warning(l->diags, &p->match.v[i].at,
					     "'%s' can never match: 'exclude' has it as well",
					     EXCERPT(glob->pattern));
	}
	for (size_t i = 0; i < p->exclude.n; i++)
		lint_unit(l, &p->exclude.v[i]);
}

/* Returns a keepalive time that the block sets, or NULL. */
static const struct setting *keepalive_time(const struct settings *s)
{
	static const enum option_id times[] = {
		OPTION_TCP_KEEPIDLE,
		OPTION_TCP_KEEPINTVL,
		OPTION_TCP_KEEPCNT,
	};
	const struct setting *found = NULL;

	for (size_t i = 0; i < ARRAY_SIZE(times) && !found; i++)
		found = find_set(s, times[i]);
	return found;
}

static void lint_keepalive(const struct lint *l, const struct policy *p)
{
	const struct setting *time = NULL, *keepalive;

	for (size_t i = 0; i <= p->n_rules; i++) {
		const struct settings *s = i ? &p->rules[i - 1].options : &p->base;

		keepalive = find_set(s, OPTION_SO_KEEPALIVE);
		if (keepalive && value_number(keepalive->option, &keepalive->value) != 0)
			return;
		if (!time)
			time = keepalive_time(s);
	}
	if (time)
		diag_warning(l->diags, &time->at,
			     "%s without SO_KEEPALIVE: the policy turns keepalive on nowhere",
			     time->option->name);
}

static void lint_policy(const struct lint *l, const struct policy *p)
{
	if (!p->base.n && !p->n_rules)
		diag_warning(l->diags, &p->at, "policy '%s' has no options: it does nothing",
			     p->name);
	lint_patterns(l, p);
	lint_delegated(l, p);
	lint_keepalive(l, p);
	lint_block(l, NULL, &p->base);
	for (size_t i = 0; i < p->n_rules; i++)
		lint_rule(l, &p->rules[i]);
}

/* --- the configuration ------------------------------------------------------------------------ */

static void note_carried(struct lint *l, const struct rule *r, const struct settings *options)
{
	if (!reaches(r, SP_STAGE_TCP_LISTEN))
		return;
	for (size_t i = 0; i < options->n; i++) {
		const struct setting *s = &options->v[i];
		enum option_id id = option_id(s->option);

		if (!s->unset && !l->carried[id] &&
		    stage_setting_due(r, s->option, DIRECTION_LISTEN, SP_STAGE_TCP_LISTEN))
			l->carried[id] = s;
	}
}

void lint_config(const struct config *c, const struct host *host, struct diags *diags)
{
	struct lint l = { .host = host, .diags = diags };

	for (size_t i = 0; i < c->n_policies; i++) {
		const struct policy *p = &c->policies[i];

		note_carried(&l, NULL, &p->base);
		for (size_t j = 0; j < p->n_rules; j++)
			note_carried(&l, &p->rules[j], &p->rules[j].options);
	}
	for (size_t i = 0; i < c->n_policies; i++) {
		progress_made();
		lint_policy(&l, &c->policies[i]);
	}
}
