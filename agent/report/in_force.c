// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <errno.h>

#include "report/in_force.h"

static void side_clear(struct in_force_side *s)
{
	free(s->value);
	free(s->policy);
	free(s->rule);
}

void in_force_clear(struct in_force *f)
{
	for (size_t i = 0; i < f->n; i++) {
		side_clear(&f->v[i].kernel);
		side_clear(&f->v[i].files);
	}
	free(f->v);
	free(f->why);
	names_clear(&f->come);
	names_clear(&f->go);
	*f = (struct in_force){ 0 };
}

int in_force_unknown(const char *why, struct in_force *ret)
{
	char *copy = strdup(why);

	if (!copy)
		return -ENOMEM;
	*ret = (struct in_force){ .why = copy };
	return 0;
}

bool in_force_differs(const struct in_force *f)
{
	return f->n || f->come.n || f->go.n || f->other_order;
}

static int fill_side(const struct contestant *from, struct in_force_side *to)
{
	int r;

	if (!from->present)
		return 0;
	r = contestant_value(from, &to->value);
	if (r < 0)
		return r;
	to->policy = strdup(from->who->policy);
	to->rule = from->who->rule[0] ? strdup(from->who->rule) : NULL;
	return to->policy && (to->rule || !from->who->rule[0]) ? 0 : -ENOMEM;
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

static int add_difference(enum sp_stage s, const struct contestant *kernel,
			  const struct contestant *files, const char *also, struct in_force *f)
{
	struct in_force_difference *d;
	int r;

	if (GROW(f->v, f->n) < 0)
		return -ENOMEM;
	d = &f->v[f->n++];
	*d = (struct in_force_difference){
		.stage = s,
		.option = files->present ? files->option : kernel->option,
		.also = also,
	};
	r = fill_side(kernel, &d->kernel);
	return r < 0 ? r : fill_side(files, &d->files);
}

static int compare_contestants(enum sp_stage s, const struct contestant *kernel,
			       const struct contestant *files, struct in_force *f)
{
	bool as_said;

	if (same(kernel, files))
		return 0;
	as_said = kernel->present && files->present && same_name(kernel, files) &&
		  same_value(kernel, files);
	return add_difference(s, kernel, files, as_said ? "condition" : NULL, f);
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
static int compare_rules(enum sp_stage s, struct contest *kernel, const struct contest *files,
			 struct in_force *f)
{
	const struct contestant nothing = { 0 }, *last = NULL;
	int r = 0;

	for (size_t i = 0; i < files->n_rules && r == 0; i++) {
		const struct contestant *rule = &files->rules[i];
		struct contestant *partner = find_partner(kernel, rule);

		r = compare_contestants(s, partner ? partner : &nothing, rule, f);
		if (r == 0 && partner && last && partner < last)
			r = add_difference(s, partner, rule, "order", f);
		if (partner) {
			partner->present = false;
			last = partner;
		}
	}
	for (size_t i = 0; i < kernel->n_rules && r == 0; i++)
		if (kernel->rules[i].present)
			r = add_difference(s, &kernel->rules[i], &nothing, NULL, f);
	return r;
}

static int compare_stage(enum sp_stage s, struct contests *kernel, const struct contests *files,
			 struct in_force *f)
{
	int r = 0;

	for (size_t id = 0; id < OPTION_MAX && r == 0; id++) {
		r = compare_contestants(s, &kernel->v[id].base, &files->v[id].base, f);
		if (r == 0)
			r = compare_rules(s, &kernel->v[id], &files->v[id], f);
	}
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

static int compare_lists(const struct generation_view *kernel, const struct glob_list *in_force,
			 const struct generation_view *files, const struct glob_list *by_files,
			 struct in_force *f)
{
	uint32_t at = 0;
	int r = 0;

	for (uint32_t i = 0; i < by_files->n && r == 0; i++) {
		const char *name = generation_view_policy_name(files, by_files->number[i]);
		uint32_t place = find(kernel, in_force, at, name);

		if (place < in_force->n)
			at = place + 1;
		else if (find(kernel, in_force, 0, name) < in_force->n)
			f->other_order = true;
		else
			r = names_append(&f->come, name);
	}
	for (uint32_t i = 0; i < in_force->n && r == 0; i++) {
		const char *name = generation_view_policy_name(kernel, in_force->number[i]);

		if (find(files, by_files, 0, name) == by_files->n)
			r = names_append(&f->go, name);
	}
	return r;
}

int in_force_compare(struct generation_view *kernel, const struct glob_list *in_force,
		     struct generation_view *files, const struct glob_list *by_files,
		     struct in_force *ret)
{
	struct in_force f = { .known = true };
	int r = compare_lists(kernel, in_force, files, by_files, &f);

	for (int s = 0; s < SP_STAGE_MAX && r == 0; s++) {
		struct contests now = { 0 }, then = { 0 };

		r = contests_read(kernel, in_force, (enum sp_stage)s, &now);
		if (r == 0)
			r = contests_read(files, by_files, (enum sp_stage)s, &then);
		if (r == 0)
			r = compare_stage((enum sp_stage)s, &now, &then, &f);
		contests_clear(&now);
		contests_clear(&then);
	}
	if (r < 0)
		in_force_clear(&f);
	else
		*ret = f;
	return r;
}
