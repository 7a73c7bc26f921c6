// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * jansson's "o" takes a reference over, and a NULL makes the whole json_pack() fail.  The functions
 * here therefore need no checks of their own, and the end result is NULL when memory was out.
 */
#include "report/explanation.h"
#include "policy/stage.h"
#include "base/utf8.h"

static const char *rule_name(const struct block *b)
{
	return b->rule ? b->rule->name : NULL;
}

/* Appends a new reference; NULL spoils the array, which is then freed. */
static json_t *append(json_t *array, json_t *item)
{
	if (array && json_array_append_new(array, item) == 0)
		return array;
	if (!array)
		json_decref(item);
	json_decref(array);
	return NULL;
}

static json_t *loser_json(const struct explained_loser *l)
{
	return json_pack("{s:s, s:s, s:s?, s:s, s:i, s:s}", "option", l->setting->option->name,
			 "policy", l->block->policy->name, "rule", rule_name(l->block), "file",
			 l->setting->at.file, "line", (int)l->setting->at.line, "value", l->value);
}

/* Returns the names of the hooks of all stages, each once ("connect4", "connect6", ...). */
static json_t *hooks_json(unsigned stages)
{
	json_t *hooks = json_array();

	for (int s = 0; s < SP_STAGE_MAX && hooks; s++) {
		const char *at = (stages & BIT(s)) ? stage_hooks((enum sp_stage)s) : "";

		while (hooks && *at) {
			size_t length = strcspn(at, ","), i;
			const json_t *known;

			json_array_foreach(
				hooks, i,
				known) if (json_string_length(known) == length &&
					   memcmp(json_string_value(known), at, length) == 0) break;
			if (i == json_array_size(hooks))
				hooks = append(hooks, json_stringn(at, length));
			at += length;
			at += strspn(at, ", ");
		}
	}
	return hooks;
}

static json_t *stages_json(unsigned stages)
{
	json_t *names = json_array();

	for (int s = 0; s < SP_STAGE_MAX; s++)
		if (stages & BIT(s))
			names = append(names, json_string(stage_name((enum sp_stage)s)));
	return names;
}

static json_t *number_json(const struct setting *s)
{
	if (s->unset || s->option->type == OPTION_STRING)
		return json_null();
	return json_integer(value_number(s->option, &s->value));
}

static const char *kernel_text(const struct explained_choice *c)
{
	if (!c->stages) /* the kernel never sees it */
		return NULL;
	return c->result.text ? c->result.text : c->value;
}

/* `option` is named where no block has a say. */
static json_t *choice_json(const struct option *option, const struct explained_choice *c)
{
	const struct block *b = c->block;
	const struct setting *s = c->setting;

	return json_pack("{s:s, s:s?, s:o, s:s?, s:o, s:o, s:s?, s:s?, s:s?, s:o}", "option",
			 s ? s->option->name : option->name, "value", c->value, "number",
			 s ? number_json(s) : json_null(), "kernel", kernel_text(c), "hooks",
			 hooks_json(c->stages), "stages", stages_json(c->stages), "policy",
			 b ? b->policy->name : NULL, "rule", b ? rule_name(b) : NULL, "file",
			 s ? s->at.file : NULL, "line", s ? json_integer(s->at.line) : json_null());
}

/* Adds a member; NULL spoils the object, which is then freed. */
static json_t *with(json_t *object, const char *key, json_t *member)
{
	if (object && json_object_set_new(object, key, member) == 0)
		return object;
	if (!object)
		json_decref(member);
	json_decref(object);
	return NULL;
}

static json_t *when_json(const struct explained_choice *c)
{
	return c->when ? json_string(c->when) : json_null();
}

static json_t *rules_json(const struct explained_option *o)
{
	json_t *rules = json_array();

	for (size_t i = 0; i < o->n_rules; i++)
		rules = append(rules, with(choice_json(o->option, &o->rules[i]), "when",
					   when_json(&o->rules[i])));
	return rules;
}

static json_t *option_json(const struct explained_option *o)
{
	json_t *object = choice_json(o->option, &o->winner), *beats = json_array();

	for (size_t i = 0; i < o->n_losers; i++)
		beats = append(beats, loser_json(&o->losers[i]));
	object = with(object, "direction", json_string(direction_name(o->direction)));
	return with(object, "beats", beats);
}

/* Returns the options for any connection, with the rules that win where they hold. */
static json_t *every_options_json(const struct explanation *e)
{
	json_t *options = json_array();

	for (size_t i = 0; i < e->n_options; i++) {
		const struct explained_option *o = &e->options[i];
		json_t *object = with(option_json(o), "when", when_json(&o->winner));

		options = append(options, with(object, "candidates", rules_json(o)));
	}
	return options;
}

/* Returns, for one connection, the options that its socket gets, or those that it does not get, and
 * why. */
static json_t *connection_options_json(const struct explanation *e, bool set)
{
	json_t *options = json_array();

	for (size_t i = 0; i < e->n_options; i++) {
		const struct explained_choice *winner = &e->options[i].winner;
		json_t *object;

		if ((winner->stages != 0) != set)
			continue;
		object = option_json(&e->options[i]);
		if (!set)
			object = with(
				object, "why",
				json_string(winner->why_nowhere ? winner->why_nowhere : "unset"));
		options = append(options, object);
	}
	return options;
}

static json_t *not_holding_json(const struct explained_rule *r)
{
	const struct position *at = &r->block->rule->at;

	return json_pack("{s:s, s:s, s:s?, s:i, s:s, s:s, s:b}", "policy", r->block->policy->name,
			 "rule", r->block->rule->name, "file", at->file, "line", (int)at->line,
			 "key", r->key, "when", r->when, "not_given", r->unknown);
}

/* Adds what there is only for one connection. */
static json_t *with_connection(json_t *root, const struct explanation *e)
{
	json_t *rules = json_array();

	for (size_t i = 0; i < e->n_not_holding; i++)
		rules = append(rules, not_holding_json(&e->not_holding[i]));
	root = with(root, "left_alone", connection_options_json(e, false));
	return with(root, "not_holding", rules);
}

static json_t *policy_json(const struct explained_policy *p)
{
	_cleanup_free_ char *cgroup = utf8_escape(p->cgroup);

	return json_pack("{s:s, s:s, s:i, s:s, s:i, s:s, s:s}", "name", p->policy->name, "file",
			 p->policy->at.file, "line", (int)p->policy->at.line, "cgroup", cgroup,
			 "depth", (int)p->depth, "match",
			 p->pattern->glob->kind == GLOB_UNIT ? "unit" : "cgroup", "pattern",
			 p->pattern->glob->pattern);
}

static json_t *side_json(const struct in_force_side *s)
{
	if (!s->value)
		return json_null();
	return json_pack("{s:s, s:s?, s:s?}", "value", s->value, "policy", s->policy, "rule",
			 s->rule);
}

static json_t *in_force_json(const struct in_force *f)
{
	json_t *differences = json_array();

	for (size_t i = 0; i < f->n; i++) {
		const struct in_force_difference *d = &f->v[i];

		differences = append(differences,
				     json_pack("{s:s, s:s, s:o, s:o, s:s?}", "option",
					       d->option->name, "stage", stage_name(d->stage),
					       "in_force", side_json(&d->kernel), "files",
					       side_json(&d->files), "also", d->also));
	}
	return json_pack("{s:b, s:b, s:o, s:o, s:o, s:b, s:s?}", "known", f->known, "differs",
			 in_force_differs(f), "differences", differences, "come",
			 names_json(&f->come), "go", names_json(&f->go), "other_order",
			 f->other_order, "why", f->why);
}

json_t *explanation_json(const struct explanation *e)
{
	json_t *policies = json_array(), *left_out = json_array(), *options, *root;
	_cleanup_free_ char *cgroup = utf8_escape(e->cgroup);

	for (size_t i = 0; i < e->n_policies; i++)
		policies = append(policies, policy_json(&e->policies[i]));
	for (size_t i = 0; i < e->effective.n_left_out; i++)
		left_out = append(left_out, json_string(e->effective.left_out[i]->name));
	options = e->asked.connection ? connection_options_json(e, true) : every_options_json(e);
	root = json_pack("{s:s, s:o, s:o, s:o, s:o, s:o}", "cgroup", cgroup, "connection",
			 asked_json(&e->asked), "policies", policies, "left_out", left_out,
			 "options", options, "in_force", in_force_json(&e->in_force));
	return e->asked.connection ? with_connection(root, e) : root;
}
