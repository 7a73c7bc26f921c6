// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * jansson's "o" takes a reference over, and a NULL makes the whole json_pack() fail: so that each
 * function here needs no check of its own, and NULL comes out at the end when memory was out.
 */
#include "explanation.h"

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

/* The names of the hooks of all its stages, each once ("connect4", "connect6", ...). */
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

static const char *kernel_text(const struct explained_option *o)
{
	if (!o->stages) /* the kernel never sees it */
		return NULL;
	return o->result.text ? o->result.text : o->value;
}

static json_t *option_json(const struct explained_option *o)
{
	const struct setting *s = o->winner->setting;
	json_t *beats = json_array();

	for (size_t i = 0; i < o->n_losers; i++)
		beats = append(beats, loser_json(&o->losers[i]));
	return json_pack("{s:s, s:s, s:s, s:o, s:s?, s:o, s:o, s:s, s:s?, s:s, s:i, s:o}", "option",
			 s->option->name, "direction", direction_name(o->direction), "value",
			 o->value, "number", number_json(s), "kernel", kernel_text(o), "hooks",
			 hooks_json(o->stages), "stages", stages_json(o->stages), "policy",
			 o->winner->block->policy->name, "rule", rule_name(o->winner->block),
			 "file", s->at.file, "line", (int)s->at.line, "beats", beats);
}

static json_t *policy_json(const struct explained_policy *p)
{
	return json_pack("{s:s, s:s, s:i, s:s, s:i, s:s, s:s}", "name", p->policy->name, "file",
			 p->policy->at.file, "line", (int)p->policy->at.line, "cgroup", p->cgroup,
			 "depth", (int)p->depth, "match",
			 glob_kind(p->pattern->glob) == GLOB_UNIT ? "unit" : "cgroup", "pattern",
			 glob_pattern(p->pattern->glob));
}

static json_t *side_json(const struct in_force_side *s)
{
	if (!s->value)
		return json_null();
	return json_pack("{s:s, s:s, s:s?}", "value", s->value, "policy", s->policy, "rule",
			 s->rule);
}

static json_t *in_force_json(const struct in_force *f)
{
	json_t *differences = json_array();

	for (size_t i = 0; i < f->n; i++) {
		const struct in_force_difference *d = &f->v[i];

		differences =
			append(differences,
			       json_pack("{s:s, s:s, s:o, s:o}", "option", d->option->name, "stage",
					 stage_name(d->stage), "in_force", side_json(&d->kernel),
					 "files", side_json(&d->files)));
	}
	return json_pack("{s:b, s:b, s:o, s:s?}", "known", f->known, "differs", f->n > 0,
			 "differences", differences, "why", f->why);
}

json_t *explanation_json(const struct explanation *e)
{
	json_t *policies = json_array(), *options = json_array();

	for (size_t i = 0; i < e->n_policies; i++)
		policies = append(policies, policy_json(&e->policies[i]));
	for (size_t i = 0; i < e->n_options; i++)
		options = append(options, option_json(&e->options[i]));
	return json_pack("{s:s, s:o, s:o, s:o}", "cgroup", e->cgroup, "policies", policies,
			 "options", options, "in_force", in_force_json(&e->in_force));
}
