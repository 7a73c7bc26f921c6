// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include "explanation.h"

#define LABEL "      %-8s " /* of a line below an option */

static const char *kind_name(const struct pattern *p)
{
	return glob_kind(p->glob) == GLOB_UNIT ? "unit" : "cgroup";
}

/* "web, rule inside (FILE:LINE)" */
static void print_setter(const struct block *b, const struct setting *s, FILE *to)
{
	fprintf(to, "%s", b->policy->name);
	if (b->rule)
		fprintf(to, ", rule %s", b->rule->name);
	fprintf(to, " (%s:%u)", s->at.file, s->at.line);
}

static void print_stages(const struct explained_option *o, FILE *to)
{
	const char *separator = "";

	fprintf(to, LABEL, "set at");
	for (int s = 0; s < SP_STAGE_MAX; s++) {
		if (!(o->stages & BIT(s)))
			continue;
		fprintf(to, "%s%s (%s)", separator, stage_name((enum sp_stage)s),
			stage_hooks((enum sp_stage)s));
		separator = ", ";
	}
	if (!o->stages && o->winner->setting->option->stages[o->direction])
		fprintf(to, "nothing: a listener gets it only from a rule that says "
			    "'direction: listen'");
	else if (!o->stages)
		fprintf(to, "nothing: no hook makes it effective in this direction");
	fprintf(to, "\n");
}

static void print_option(const struct explained_option *o, FILE *to)
{
	const struct setting *s = o->winner->setting;

	if (s->unset)
		fprintf(to, "    %s left alone (unset)\n", s->option->name);
	else
		fprintf(to, "    %s = %s\n", s->option->name, o->value);
	fprintf(to, LABEL, "by");
	print_setter(o->winner->block, s, to);
	if (s->shorthand)
		fprintf(to, " as %s", s->shorthand);
	fprintf(to, "\n");
	if (!s->unset)
		print_stages(o, to);
	if (o->stages)
		fprintf(to, LABEL "%s\n", "kernel", o->result.text ? o->result.text : "as asked");
	for (size_t i = 0; i < o->n_losers; i++) {
		const struct explained_loser *l = &o->losers[i];

		fprintf(to, LABEL, "beats");
		print_setter(l->block, l->setting, to);
		if (l->setting->option != s->option)
			fprintf(to, " %s", l->setting->option->name);
		fprintf(to, " %s\n", l->value);
	}
}

static void print_policy(const struct explained_policy *p, FILE *to)
{
	fprintf(to, "    %s (%s:%u) from %s on (depth %zu), by %s %s\n", p->policy->name,
		p->policy->at.file, p->policy->at.line, p->cgroup, p->depth, kind_name(p->pattern),
		glob_pattern(p->pattern->glob));
}

static void print_side(const char *who, const struct in_force_side *s, FILE *to)
{
	if (s->value)
		fprintf(to, "%s %s by %s%s%s", who, s->value, s->policy, s->rule ? ", rule " : "",
			s->rule ? s->rule : "");
	else
		fprintf(to, "%s not set", who);
}

static void print_in_force(const struct in_force *f, FILE *to)
{
	fprintf(to, "  in force: ");
	if (!f->known) {
		fprintf(to, "%s\n", f->why);
		return;
	}
	fprintf(to, "%s\n",
		f->n ? "not what the files say (sockpol reload?)" : "same as the files");
	for (size_t i = 0; i < f->n; i++) {
		const struct in_force_difference *d = &f->v[i];

		fprintf(to, "    %s at %s: ", d->option->name, stage_name(d->stage));
		print_side("in force", &d->kernel, to);
		print_side("; by the files", &d->files, to);
		fprintf(to, "\n");
	}
}

void explanation_print(const struct explanation *e, FILE *to)
{
	enum direction d = DIRECTION_INVALID;

	fprintf(to, "cgroup %s\n", e->cgroup);
	if (e->n_policies)
		fprintf(to, "  policies, weakest first:\n");
	else
		fprintf(to, "  no policy applies: its sockets are left alone\n");
	for (size_t i = 0; i < e->n_policies; i++)
		print_policy(&e->policies[i], to);
	for (size_t i = 0; i < e->n_options; i++) {
		if (e->options[i].direction != d) {
			d = e->options[i].direction;
			fprintf(to, "  %s:\n", direction_name(d));
		}
		print_option(&e->options[i], to);
	}
	print_in_force(&e->in_force, to);
}
