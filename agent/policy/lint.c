// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include "policy/lint.h"
#include "policy/lint_block.h"
#include "option/value.h"

static bool is_set(const struct settings *s, enum option_id id)
{
	const struct setting *found = settings_find(s, &option_table[id]);

	return found && !found->unset;
}

/* --- one policy ------------------------------------------------------------------------------- */

/* What only privileged programs may give to a socket, or what decides its route and its queue. */
static const enum option_id privileged[] = {
	OPTION_SO_MARK,
	OPTION_SO_PRIORITY,
	OPTION_SO_BINDTODEVICE,
	OPTION_SO_BINDTOIFINDEX,
};

static const char *sets_privileged(const struct policy *p)
{
	for (size_t i = 0; i < ARRAY_SIZE(privileged); i++) {
		if (is_set(&p->base, privileged[i]))
			return option_table[privileged[i]].name;
		for (size_t r = 0; r < p->n_rules; r++)
			if (is_set(&p->rules[r].options, privileged[i]))
				return option_table[privileged[i]].name;
	}
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

/* Units of these kinds have no processes, and so no cgroup. */
static const struct unit_suffix {
	const char *suffix;
	bool has_cgroup;
} unit_suffixes[] = {
	{ ".service", true }, { ".socket", true },  { ".mount", true },	     { ".swap", true },
	{ ".slice", true },   { ".scope", true },   { ".target", false },    { ".timer", false },
	{ ".path", false },   { ".device", false }, { ".automount", false },
};

static void lint_unit(const struct lint *l, const struct pattern *pattern)
{
	const char *text = pattern->glob->pattern;
	size_t length = strlen(text);

	if (pattern->glob->kind != GLOB_UNIT || !length || strchr("*?]", text[length - 1]))
		return;
	for (size_t i = 0; i < ARRAY_SIZE(unit_suffixes); i++) {
		const struct unit_suffix *u = &unit_suffixes[i];
		size_t n = strlen(u->suffix);

		if (length <= n || !streq(text + length - n, u->suffix))
			continue;
		if (!u->has_cgroup)
			diag_warning(l->diags, &pattern->at,
				     "unit '%s' can never match: a %s unit has no cgroup",
				     EXCERPT(text), u->suffix);
		return;
	}
	diag_warning(l->diags, &pattern->at,
		     "unit '%s' does not end in a unit's suffix; did you mean '%s.service'?",
		     EXCERPT(text), EXCERPT(text));
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

static const struct setting *first_keepalive_time(const struct settings *s)
{
	static const enum option_id times[] = {
		OPTION_TCP_KEEPIDLE,
		OPTION_TCP_KEEPINTVL,
		OPTION_TCP_KEEPCNT,
	};

	for (size_t i = 0; i < ARRAY_SIZE(times); i++)
		if (is_set(s, times[i]))
			return settings_find(s, &option_table[times[i]]);
	return NULL;
}

static bool turns_keepalive_on(const struct settings *s)
{
	const struct setting *keepalive = settings_find(s, &option_table[OPTION_SO_KEEPALIVE]);

	return keepalive && !keepalive->unset &&
	       value_number(keepalive->option, &keepalive->value) != 0;
}

static void lint_keepalive(const struct lint *l, const struct policy *p)
{
	const struct setting *time = first_keepalive_time(&p->base);
	bool on = turns_keepalive_on(&p->base);

	for (size_t i = 0; i < p->n_rules; i++) {
		if (!time)
			time = first_keepalive_time(&p->rules[i].options);
		on = on || turns_keepalive_on(&p->rules[i].options);
	}
	if (time && !on)
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
	if (!lint_reaches(r, SP_STAGE_TCP_LISTEN))
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
	for (size_t i = 0; i < c->n_policies; i++)
		lint_policy(&l, &c->policies[i]);
}
