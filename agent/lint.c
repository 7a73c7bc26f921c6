// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include "compile.h"
#include "lint.h"
#include "value.h"

struct lint {
	const struct host *host;
	struct diags *diags;
	/* By option: a setting that some listener carries into what it accepts, or NULL. */
	const struct setting *carried[OPTION_MAX];
};

static bool is_set(const struct settings *s, enum option_id id)
{
	const struct setting *found = settings_find(s, &option_table[id]);

	return found && !found->unset;
}

/* Of one setting. */

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

static void lint_stages(const struct lint *l, const struct block *b, const struct setting *s)
{
	unsigned stages = 0;

	/* a rule that never holds is reported as such */
	if (b->rule && !b->rule->when.directions)
		return;
	for (int d = 0; d < DIRECTION_MAX; d++)
		if (block_holds(b, (enum direction)d))
			stages |= setting_stages(b, s->option, (enum direction)d);
	if (!stages)
		diag_warning(l->diags, &s->at, "%s: no hook of rule '%s' can make it effective",
			     s->option->name, b->rule ? b->rule->name : "");
}

/* Unset where accepted sockets inherit: the listener has the value, and a child is born with it. */
static void lint_unset(const struct lint *l, const struct block *b, const struct setting *s)
{
	const struct setting *carried = l->carried[option_id(s->option)];

	if (!carried || !block_holds(b, DIRECTION_ACCEPT) || block_holds(b, DIRECTION_LISTEN))
		return;
	diag_warning(l->diags, &s->at,
		     "%s: unset has no effect on accepted sockets: listeners carry the value of "
		     "%s:%u:%u, and accepted sockets inherit it",
		     s->option->name, carried->at.file, carried->at.line, carried->at.column);
}

static void lint_block(const struct lint *l, const struct block *b)
{
	for (size_t i = 0; i < b->options->n; i++) {
		const struct setting *s = &b->options->v[i];

		if (s->unset) {
			lint_unset(l, b, s);
			continue;
		}
		lint_stages(l, b, s);
		lint_value(l, s);
		lint_congestion(l, s);
	}
}

/* Of a rule. */

static void lint_rule(const struct lint *l, const struct policy *p, const struct rule *r)
{
	struct block b = { .policy = p, .rule = r, .options = &r->options };

	if (!r->when.directions)
		diag_warning(l->diags, &r->at, "rule '%s' can never match: its direction is empty",
			     r->name);
	if (!r->options.n)
		diag_warning(l->diags, &r->at, "rule '%s' has no options: it does nothing",
			     r->name);
	lint_block(l, &b);
}

/* Of a policy. */

/* What privileged programs alone may give to a socket, or what decides its route and its queue. */
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
				EXCERPT(glob_pattern(pattern->glob)), option);
	}
}

/* Units of some kinds have no processes, and so no cgroup. */
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
	const char *text = glob_pattern(pattern->glob);
	size_t length = strlen(text);

	if (glob_kind(pattern->glob) != GLOB_UNIT || !length || strchr("*?]", text[length - 1]))
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
			if (glob_kind(glob) == glob_kind(p->exclude.v[j].glob) &&
			    streq(glob_pattern(glob), glob_pattern(p->exclude.v[j].glob)))
				diag_warning(l->diags, &p->match.v[i].at,
					     "'%s' can never match: 'exclude' has it too",
					     EXCERPT(glob_pattern(glob)));
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
	struct block base = { .policy = p, .options = &p->base };

	if (!p->base.n && !p->n_rules)
		diag_warning(l->diags, &p->at, "policy '%s' has no options: it does nothing",
			     p->name);
	lint_patterns(l, p);
	lint_delegated(l, p);
	lint_keepalive(l, p);
	lint_block(l, &base);
	for (size_t i = 0; i < p->n_rules; i++)
		lint_rule(l, p, &p->rules[i]);
}

/* Of the whole. */

static void note_carried(struct lint *l, const struct block *b)
{
	if (!block_holds(b, DIRECTION_LISTEN))
		return;
	for (size_t i = 0; i < b->options->n; i++) {
		const struct setting *s = &b->options->v[i];
		enum option_id id = option_id(s->option);

		if (!s->unset && !l->carried[id] &&
		    setting_due_at(b, s->option, DIRECTION_LISTEN, SP_STAGE_TCP_LISTEN))
			l->carried[id] = s;
	}
}

void lint_config(const struct config *c, const struct host *host, struct diags *diags)
{
	struct lint l = { .host = host, .diags = diags };

	for (size_t i = 0; i < c->n_policies; i++) {
		const struct policy *p = &c->policies[i];

		note_carried(&l, &(struct block){ .policy = p, .options = &p->base });
		for (size_t j = 0; j < p->n_rules; j++)
			note_carried(&l, &(struct block){ p, &p->rules[j], &p->rules[j].options });
	}
	for (size_t i = 0; i < c->n_policies; i++)
		lint_policy(&l, &c->policies[i]);
}
