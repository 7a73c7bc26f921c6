// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <errno.h>

#include "report/in_force.h"

/* What the documents are made of; NULL when memory was out. */
struct comparison {
	json_t *differences, *come, *go;
	bool other_order; /* the policies that apply by both come in another order */
};

json_t *in_force_unknown(const char *why)
{
	return json_pack("{s:b, s:b, s:[], s:[], s:[], s:b, s:s}", "known", 0, "differs", 0,
			 "differences", "come", "go", "other_order", 0, "why", why);
}

bool in_force_differs(const json_t *f)
{
	return document_is(f, "differs");
}

static json_t *side_json(const struct contestant *c)
{
	_cleanup_free_ char *value = c->present ? contestant_value(c) : NULL;

	if (!c->present)
		return json_null();
	return json_pack("{s:o, s:s, s:s?}", "value", value ? document_string(value) : NULL,
			 "policy", c->who->policy, "rule", c->who->rule[0] ? c->who->rule : NULL);
}

static bool same_name(const struct contestant *a, const struct contestant *b)
{
	return streq(a->who->policy, b->who->policy) && streq(a->who->rule, b->who->rule);
}

static bool same_value(const struct contestant *a, const struct contestant *b)
{
	if (!a->op || !b->op)
		return a->op == b->op;
	return a->option == b->option && a->op->optlen == b->op->optlen &&
	       memcmp(a->op->value, b->op->value, sizeof(a->op->value)) == 0;
}

static bool same_op(const struct contestant *a, const struct contestant *b)
{
	struct sp_op x, y;

	if (!a->op || !b->op)
		return a->op == b->op;
	x = *a->op;
	y = *b->op;
	x.counter = y.counter = 0; /* its name is compared */
	return memcmp(&x, &y, sizeof(x)) == 0;
}

static bool same(const struct contestant *a, const struct contestant *b)
{
	if (!a->present || !b->present)
		return a->present == b->present;
	return same_name(a, b) && same_op(a, b) && a->condition == b->condition;
}

static void add_difference(enum sp_stage s, const struct contestant *kernel,
			   const struct contestant *files, const char *also, struct comparison *c)
{
	const struct option *o = files->present ? files->option : kernel->option;

	c->differences = document_append(
		c->differences,
		json_pack("{s:s, s:s, s:o, s:o, s:s?}", "option", o->name, "stage", stage_name(s),
			  "in_force", side_json(kernel), "files", side_json(files), "also", also));
}

static void compare_contestants(enum sp_stage s, const struct contestant *kernel,
				const struct contestant *files, struct comparison *c)
{
	bool as_said;

	if (same(kernel, files))
		return;
	as_said = kernel->present && files->present && same_name(kernel, files) &&
		  same_value(kernel, files);
	add_difference(s, kernel, files, as_said ? "condition" : NULL, c);
}

/* Returns the kernel's rule of this name that has no partner yet, or NULL. */
static struct contestant *find_partner(struct contest *kernel, const struct contestant *rule)
{
	for (size_t i = 0; i < kernel->n_rules; i++)
		if (kernel->rules[i].present && same_name(&kernel->rules[i], rule))
			return &kernel->rules[i];
	return NULL;
}

/* Compares rules by name; those that found a partner are no longer present. */
static void compare_rules(enum sp_stage s, struct contest *kernel, const struct contest *files,
			  struct comparison *c)
{
	const struct contestant nothing = { 0 }, *last = NULL;

	for (size_t i = 0; i < files->n_rules; i++) {
		const struct contestant *rule = &files->rules[i];
		struct contestant *partner = find_partner(kernel, rule);

		compare_contestants(s, partner ? partner : &nothing, rule, c);
		if (!partner)
			continue;
		if (last && partner < last)
			add_difference(s, partner, rule, "order", c);
		partner->present = false;
		last = partner;
	}
	for (size_t i = 0; i < kernel->n_rules; i++)
		if (kernel->rules[i].present)
			add_difference(s, &kernel->rules[i], &nothing, NULL, c);
}

static int compare_stage(struct generation_view *kernel, const struct glob_list *in_force,
			 struct generation_view *files, const struct glob_list *by_files,
			 enum sp_stage s, struct comparison *c)
{
	struct contests now = { 0 }, then = { 0 };
	int r = contests_read(kernel, in_force, s, &now);

	if (r == 0)
		r = contests_read(files, by_files, s, &then);
	for (size_t id = 0; id < OPTION_MAX && r == 0; id++) {
		compare_contestants(s, &now.v[id].base, &then.v[id].base, c);
		compare_rules(s, &now.v[id], &then.v[id], c);
	}
	contests_clear(&now);
	contests_clear(&then);
	return r;
}

/* Returns the place of the policy with this name, from `from` on, or list->n. */
static uint32_t find(const struct generation_view *v, const struct glob_list *list, uint32_t from,
		     const char *name)
{
	while (from < list->n && !streq(generation_view_policy_name(v, list->number[from]), name))
		from++;
	return from;
}

static void compare_lists(const struct generation_view *kernel, const struct glob_list *in_force,
			  const struct generation_view *files, const struct glob_list *by_files,
			  struct comparison *c)
{
	uint32_t at = 0;

	for (uint32_t i = 0; i < by_files->n; i++) {
		const char *name = generation_view_policy_name(files, by_files->number[i]);
		uint32_t place = find(kernel, in_force, at, name);

		if (place < in_force->n)
			at = place + 1;
		else if (find(kernel, in_force, 0, name) < in_force->n)
			c->other_order = true;
		else
			c->come = document_append(c->come, json_string(name));
	}
	for (uint32_t i = 0; i < in_force->n; i++) {
		const char *name = generation_view_policy_name(kernel, in_force->number[i]);

		if (find(files, by_files, 0, name) == by_files->n)
			c->go = document_append(c->go, json_string(name));
	}
}

int in_force_compare(struct generation_view *kernel, const struct glob_list *in_force,
		     struct generation_view *files, const struct glob_list *by_files, json_t **ret)
{
	struct comparison c = { json_array(), json_array(), json_array() };
	json_t *f;
	int r = 0;

	compare_lists(kernel, in_force, files, by_files, &c);
	for (int s = 0; s < SP_STAGE_MAX && r == 0; s++)
		r = compare_stage(kernel, in_force, files, by_files, (enum sp_stage)s, &c);
	f = json_pack("{s:b, s:b, s:o, s:o, s:o, s:b, s:n}", "known", 1, "differs",
		      json_array_size(c.differences) || json_array_size(c.come) ||
			      json_array_size(c.go) || c.other_order,
		      "differences", c.differences, "come", c.come, "go", c.go, "other_order",
		      c.other_order, "why");
	if (r == 0 && !f)
		r = -ENOMEM;
	if (r < 0)
		json_decref(f);
	else
		*ret = f;
	return r;
}

void in_force_print_side(const json_t *side, const char *unset, FILE *to)
{
	const char *value = document_text(side, "value"), *rule = document_text(side, "rule");

	if (value && streq(value, "unset"))
		value = unset;
	fputs(value ? value : "not set", to);
	if (value)
		fprintf(to, " by %s", document_text(side, "policy"));
	if (rule)
		fprintf(to, ", rule %s", rule);
}

void in_force_print(const json_t *f, FILE *to)
{
	const json_t *d;
	size_t i;

	if (!document_is(f, "known")) {
		fprintf(to, "  in force: %s\n", document_text(f, "why"));
		return;
	}
	fprintf(to, "  in force: %s\n",
		in_force_differs(f) ? "not what the files say (sockpol reload?)"
				    : "same as the files");
	document_print_names(json_object_get(f, "come"), "    policies by the files only:", to);
	document_print_names(json_object_get(f, "go"), "    policies in force only:", to);
	if (document_is(f, "other_order"))
		fprintf(to, "    the policies are in another order\n");
	json_array_foreach (json_object_get(f, "differences"), i, d) {
		const char *also = document_text(d, "also");

		fprintf(to, "    %s at %s: in force ", document_text(d, "option"),
			document_text(d, "stage"));
		in_force_print_side(json_object_get(d, "in_force"), "unset", to);
		fprintf(to, "; by the files ");
		in_force_print_side(json_object_get(d, "files"), "unset", to);
		if (also)
			fprintf(to, ", with another %s", also);
		fputc('\n', to);
	}
}
