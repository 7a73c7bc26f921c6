// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include "report/explanation.h"
#include "policy/stage.h"
#include "base/utf8.h"

#define LABEL "      %-8s " /* begins a line below an option */

static const char *kind_name(const struct pattern *p)
{
	return p->glob->kind == GLOB_UNIT ? "unit" : "cgroup";
}

/* Prints "web, rule inside (FILE:LINE)". */
static void print_setter(const struct block *b, const struct setting *s, FILE *to)
{
	fprintf(to, "%s", b->policy->name);
	if (b->rule)
		fprintf(to, ", rule %s", b->rule->name);
	fprintf(to, " (%s:%u)", s->at.file, s->at.line);
}

static void print_stages(const struct explained_choice *c, FILE *to)
{
	const char *separator = "";

	fprintf(to, LABEL, "set at");
	for (int s = 0; s < SP_STAGE_MAX; s++) {
		if (!(c->stages & BIT(s)))
			continue;
		fprintf(to, "%s%s (%s)", separator, stage_name((enum sp_stage)s),
			stage_hooks((enum sp_stage)s));
		separator = ", ";
	}
	if (!c->stages)
		fprintf(to, "nothing: %s", c->why_nowhere);
	fprintf(to, "\n");
}

/* Prints a choice.  suffix: its condition. */
static void print_choice(const struct explained_choice *c, const char *suffix, const char *when,
			 FILE *to)
{
	const struct setting *s = c->setting;

	if (s->unset)
		fprintf(to, "    %s left alone (unset)%s%s\n", s->option->name, suffix, when);
	else
		fprintf(to, "    %s = %s%s%s\n", s->option->name, c->value, suffix, when);
	fprintf(to, LABEL, "by");
	print_setter(c->block, s, to);
	if (s->shorthand)
		fprintf(to, " as %s", s->shorthand);
	fprintf(to, "\n");
	if (!s->unset)
		print_stages(c, to);
	if (c->stages)
		fprintf(to, LABEL "%s\n", "kernel", c->result.text ? c->result.text : "as asked");
}

static void print_option(const struct explained_option *o, FILE *to)
{
	const char *otherwise = o->n_rules ? " otherwise" : "";

	for (size_t i = 0; i < o->n_rules; i++)
		print_choice(&o->rules[i], " when ", o->rules[i].when, to);
	if (o->winner.block)
		print_choice(&o->winner, otherwise, "", to);
	else
		fprintf(to, "    %s left alone otherwise (nobody else sets it)\n", o->option->name);
	for (size_t i = 0; i < o->n_losers; i++) {
		const struct explained_loser *l = &o->losers[i];

		fprintf(to, LABEL, "beats");
		print_setter(l->block, l->setting, to);
		if (l->setting->option != o->option)
			fprintf(to, " %s", l->setting->option->name);
		fprintf(to, " %s\n", l->value);
	}
}

static void print_rule(const struct explained_rule *r, FILE *to)
{
	const struct position *at = &r->block->rule->at;

	fprintf(to, "    %s, rule %s (%s:%u): %s%s\n", r->block->policy->name, r->block->rule->name,
		at->file, at->line, r->when, r->unknown ? " (not given)" : "");
}

static void print_policy(const struct explained_policy *p, FILE *to)
{
	_cleanup_free_ char *cgroup = utf8_escape(p->cgroup);

	fprintf(to, "    %s (%s:%u) from %s on (depth %zu), by %s %s\n", p->policy->name,
		p->policy->at.file, p->policy->at.line, cgroup ? cgroup : "?", p->depth,
		kind_name(p->pattern), p->pattern->glob->pattern);
}

static void print_side(const char *who, const struct in_force_side *s, FILE *to)
{
	fprintf(to, "%s %s", who, s->value ? s->value : "not set");
	if (s->policy)
		fprintf(to, " by %s", s->policy);
	if (s->rule)
		fprintf(to, ", rule %s", s->rule);
}

static void print_in_force(const struct in_force *f, FILE *to)
{
	fprintf(to, "  in force: ");
	if (!f->known) {
		fprintf(to, "%s\n", f->why);
		return;
	}
	fprintf(to, "%s\n",
		in_force_differs(f) ? "not what the files say (sockpol reload?)"
				    : "same as the files");
	names_print(&f->come, "    policies by the files only:", to);
	names_print(&f->go, "    policies in force only:", to);
	if (f->other_order)
		fprintf(to, "    the policies are in another order\n");
	for (size_t i = 0; i < f->n; i++) {
		const struct in_force_difference *d = &f->v[i];

		fprintf(to, "    %s at %s: ", d->option->name, stage_name(d->stage));
		print_side("in force", &d->kernel, to);
		print_side("; by the files", &d->files, to);
		if (d->also)
			fprintf(to, ", with another %s", d->also);
		fprintf(to, "\n");
	}
}

void explanation_print(const struct explanation *e, FILE *to)
{
	_cleanup_free_ char *cgroup = utf8_escape(e->cgroup);
	enum direction d = DIRECTION_INVALID;

	fprintf(to, "cgroup %s\n", cgroup ? cgroup : "?");
	if (e->n_policies)
		fprintf(to, "  policies, weakest first:\n");
	else
		fprintf(to, "  no policy applies: its sockets are left alone\n");
	for (size_t i = 0; i < e->n_policies; i++)
		print_policy(&e->policies[i], to);
	for (size_t i = 0; i < e->effective.n_left_out; i++)
		fprintf(to, "    left out: %s, as only the first %d that match apply\n",
			e->effective.left_out[i]->name, SP_LIST_MAX);
	if (e->asked.connection) {
		fprintf(to, "  ");
		asked_print(&e->asked, to);
		fprintf(to, ":\n");
	}
	for (size_t i = 0; i < e->n_options; i++) {
		if (e->options[i].direction != d && !e->asked.connection) {
			d = e->options[i].direction;
			fprintf(to, "  %s:\n", direction_name(d));
		}
		print_option(&e->options[i], to);
	}
	if (e->n_not_holding)
		fprintf(to, "  rules that do not hold:\n");
	for (size_t i = 0; i < e->n_not_holding; i++)
		print_rule(&e->not_holding[i], to);
	print_in_force(&e->in_force, to);
}
