// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <errno.h>
#include <jansson.h>

#include "base/utf8.h"
#include "command/status_json.h"
#include "policy/stage.h"
#include "report/contest.h"
#include "report/governed.h"

/* Prints the object and drops the reference; NULL: memory is out. */
static int print(json_t *root)
{
	int r = root ? json_dumpf(root, stdout, JSON_INDENT(2)) : -1;

	json_decref(root);
	if (r < 0)
		return -ENOMEM;
	putchar('\n');
	return 0;
}

static json_t *json_links(const struct overview *o)
{
	json_t *links = json_array();

	for (size_t i = 0; i < o->n_links; i++) {
		const struct overview_link *l = &o->links[i];

		json_array_append_new(links, json_pack("{s:s, s:I, s:I, s:I}", "hook", l->hook,
						       "link", (json_int_t)l->link_id, "program",
						       (json_int_t)l->program_id, "cgroup",
						       (json_int_t)l->cgroup_id));
	}
	return links;
}

static json_t *json_neighbours(const struct overview *o)
{
	json_t *neighbours = json_array();

	for (size_t i = 0; i < o->n_neighbours; i++) {
		const struct neighbour *n = &o->neighbours[i];
		_cleanup_free_ char *name = utf8_escape(n->name);
		_cleanup_free_ char *cgroup = n->cgroup ? utf8_escape(n->cgroup) : NULL;

		json_array_append_new(neighbours,
				      json_pack("{s:s, s:I, s:s?, s:b, s:b, s:s?}", "hook", n->hook,
						"program", (json_int_t)n->program_id, "name", name,
						"sockpol", n->is_sockpol, "runs_after",
						n->runs_after, "cgroup", cgroup));
	}
	return neighbours;
}

static json_t *json_failure(const struct overview_failure *f)
{
	const char *name = strerrorname_np(f->error);

	return json_pack("{s:s, s:s, s:s, s:I, s:o}", "option", f->option, "errno",
			 name ? name : "?", "message", strerror(f->error), "count",
			 (json_int_t)f->count, "rule",
			 f->rule[0] ? json_string(f->rule) : json_null());
}

static json_t *json_policy(const struct overview *o, const struct overview_policy *p)
{
	json_t *rules = json_array(), *failed = json_array(), *policy;

	for (size_t i = 0; i < p->n_rules; i++)
		json_array_append_new(rules, json_pack("{s:s, s:I}", "name", p->rules[i].name,
						       "applied", (json_int_t)p->rules[i].applied));
	for (size_t i = 0; i < p->n_failed; i++)
		json_array_append_new(failed, json_failure(&p->failed[i]));
	policy = json_pack("{s:s, s:I, s:b, s:o, s:o}", "name", p->name, "applied",
			   (json_int_t)p->applied, "overridden", p->is_overridden, "rules", rules,
			   "failed", failed);
	if (o->has_cgroups)
		json_object_set_new(policy, "cgroups", json_integer((json_int_t)p->n_cgroups));
	return policy;
}

static json_t *json_agent(const struct overview *o)
{
	return json_pack("{s:b, s:b, s:o, s:s?, s:s?, s:b, s:s?, s:s?, s:I}", "running", o->running,
			 "answers", o->answers, "pid",
			 o->running && o->pid ? json_integer(o->pid) : json_null(), "other_pins",
			 o->other_pins, "last_load", o->verdict, "degraded", o->degraded, "source",
			 o->source, "source_dir", o->source_dir, "pins_lost",
			 (json_int_t)o->pins_lost);
}

static json_t *json_counts(const struct sp_state *state)
{
	return json_pack("{s:I, s:I, s:I, s:I, s:I}", "classified", (json_int_t)state->misses,
			 "cut", (json_int_t)state->cut, "left_out", (json_int_t)state->left_out,
			 "lists_lost", (json_int_t)state->lists_lost, "failures_lost",
			 (json_int_t)state->failures_lost);
}

int status_json(const struct overview *o)
{
	const struct sp_generation *in_force = &o->state.of[o->state.generation & 1];
	json_t *policies = json_array(), *root;

	for (size_t i = 0; i < o->n_policies; i++)
		json_array_append_new(policies, json_policy(o, &o->policies[i]));
	root = json_pack("{s:o, s:I, s:I, s:I, s:o, s:o, s:o, s:o, s:O?}", "agent", json_agent(o),
			 "generation", (json_int_t)o->state.generation, "loaded_usec",
			 (json_int_t)in_force->loaded_usec, "cgroup_root",
			 (json_int_t)o->state.cgroup_root_id, "counts", json_counts(&o->state),
			 "attachments", json_links(o), "neighbours", json_neighbours(o), "policies",
			 policies, "unsupported", o->unsupported);
	if (root && o->has_cgroups)
		json_object_set_new(root, "cgroups",
				    json_pack("{s:I, s:I}", "living", (json_int_t)o->n_cgroups,
					      "governed", (json_int_t)o->n_governed));
	return print(root);
}

static void append_contestant(const struct contestant *c, bool conditional, enum sp_stage s,
			      json_t *to)
{
	_cleanup_free_ char *value = NULL;

	if (!c->op || contestant_value(c, &value) < 0) /* it leaves the option alone */
		return;
	json_array_append_new(
		to, json_pack("{s:s, s:s, s:s, s:s, s:s, s:o, s:b}", "stage", stage_name(s),
			      "hooks", stage_hooks(s), "option", c->option->name, "value", value,
			      "policy", c->who->policy, "rule",
			      c->who->rule[0] ? json_string(c->who->rule) : json_null(),
			      "conditional", conditional));
}

static int append_stage(struct generations *g, const struct glob_list *list, enum sp_stage s,
			json_t *to)
{
	struct contests c;
	int r = contests_read(&g->in_force, list, s, &c);

	if (r < 0)
		return r;
	for (size_t id = 0; id < OPTION_MAX; id++) {
		append_contestant(&c.v[id].base, false, s, to);
		for (size_t i = 0; i < c.v[id].n_rules; i++)
			append_contestant(&c.v[id].rules[i], true, s, to);
	}
	contests_clear(&c);
	return 0;
}

int status_json_cgroup(struct generations *g, const char *path, uint64_t id)
{
	_cleanup_free_ char *escaped = utf8_escape(path);
	json_t *policies = json_array(), *options = json_array();
	struct glob_list list;
	int r = generations_list_in_force(g, path, &list);

	for (uint32_t i = 0; r == 0 && i < list.n; i++)
		json_array_append_new(policies, json_string(generation_view_policy_name(
							&g->in_force, list.number[i])));
	for (enum sp_stage s = 0; r == 0 && s < SP_STAGE_MAX; s++)
		r = append_stage(g, &list, s, options);
	if (r < 0) {
		json_decref(policies);
		json_decref(options);
		return r;
	}
	return print(json_pack("{s:{s:s, s:I, s:b, s:b, s:o, s:o}}", "cgroup", "path", escaped,
			       "id", (json_int_t)id, "governed", list.n != 0, "left_out",
			       list.left_out, "policies", policies, "options", options));
}

/* Prints a path as it is found, since the list may be long. */
static int print_path(const char *path, uint64_t id, void *userdata)
{
	_cleanup_free_ char *escaped = utf8_escape(path);
	json_t *text = escaped ? json_string(escaped) : NULL;
	bool *is_first = userdata;
	int r;

	(void)id;
	fputs(*is_first ? "\n    " : ",\n    ", stdout);
	*is_first = false;
	r = text ? json_dumpf(text, stdout, JSON_ENCODE_ANY) : -1;
	json_decref(text);
	return r < 0 ? -ENOMEM : 0;
}

int status_json_paths(const struct generations *g, uint32_t number)
{
	bool is_first = true;
	int r;

	printf("{\n  \"policy\": \"%s\",\n  \"cgroups\": [",
	       generation_view_policy_name(&g->in_force, number));
	r = governed_each(g, number, print_path, &is_first);
	printf("%s]\n}\n", is_first ? "" : "\n  ");
	return r;
}
