// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include "report/dry_run.h"
#include "base/utf8.h"

#define NAMED_MAX 3 /* of many cgroups or listeners, unless all are asked for */

static const char *plural(size_t n)
{
	return n == 1 ? "" : "s";
}

static size_t n_named(size_t n, bool all)
{
	return all || n <= NAMED_MAX ? n : NAMED_MAX;
}

static void print_group(const struct dry_run_group *g, bool all, FILE *to)
{
	const struct names *cgroups = &g->cgroups;
	size_t named = n_named(cgroups->n, all);

	fprintf(to, "%zu cgroup%s:", g->n_cgroups, plural(g->n_cgroups));
	for (size_t i = 0; i < named; i++) {
		_cleanup_free_ char *path = utf8_escape(cgroups->v[i]);

		fprintf(to, "%s %s", i ? "," : "", path ? path : "?");
	}
	if (named < g->n_cgroups)
		fprintf(to, " and %zu more", g->n_cgroups - named);
	fputc('\n', to);
	change_set_print(&g->changes, to);
}

static void print_listeners(const struct dry_run *d, bool all, FILE *to)
{
	size_t named = n_named(d->n_listeners, all);

	if (!d->n_listeners)
		return;
	fprintf(to, "%zu listener%s would keep what the old policy set, until opened again:\n",
		d->n_listeners, plural(d->n_listeners));
	for (size_t i = 0; i < named; i++) {
		_cleanup_free_ char *cgroup = utf8_escape(d->listeners[i].cgroup);

		fprintf(to, "    %s in cgroup %s\n", d->listeners[i].local, cgroup ? cgroup : "?");
	}
	if (named < d->n_listeners)
		fprintf(to, "    and %zu more\n", d->n_listeners - named);
}

static void print_policies(const struct dry_run *d, FILE *to)
{
	const char *before = "policies that change: ";

	names_print(&d->come, "policies that come:", to);
	names_print(&d->go, "policies that go:", to);
	for (size_t i = 0; i < d->n_policies; i++) {
		fprintf(to, "%s%s", before, d->policies[i].name);
		before = ", ";
	}
	if (d->n_policies)
		fputc('\n', to);
	if (d->other_order)
		fprintf(to, "policies come in another order\n");
	for (size_t i = 0; i < d->n_policies; i++) {
		if (d->policies[i].applies)
			continue;
		fprintf(to, "policy %s, which applies to no cgroup that lives:\n",
			d->policies[i].name);
		change_set_print(&d->policies[i].changes, to);
	}
}

void dry_run_print(const struct dry_run *d, bool all, FILE *to)
{
	if (!d->in_force)
		fprintf(to, "nothing is in force now\n");
	print_policies(d, to);
	for (size_t i = 0; i < d->n_groups; i++)
		print_group(&d->groups[i], all, to);
	print_listeners(d, all, to);
	if (d->n_changed)
		fprintf(to, "a reload would change %zu of %zu cgroups\n", d->n_changed,
			d->n_cgroups);
	else
		fprintf(to, "a reload would change nothing for the %zu cgroups that live\n",
			d->n_cgroups);
}

static json_t *group_json(const struct dry_run_group *g)
{
	json_t *group = change_set_json(&g->changes), *cgroups = json_array();

	for (size_t i = 0; i < g->cgroups.n; i++) {
		_cleanup_free_ char *path = utf8_escape(g->cgroups.v[i]);

		json_array_append_new(cgroups, json_string(path ? path : "?"));
	}
	json_object_set_new(group, "cgroups", cgroups);
	json_object_set_new(group, "n_cgroups", json_integer((json_int_t)g->n_cgroups));
	return group;
}

static json_t *policy_json(const struct dry_run_policy *p)
{
	json_t *policy = change_set_json(&p->changes);

	json_object_set_new(policy, "name", json_string(p->name));
	return policy;
}

json_t *dry_run_json(const struct dry_run *d)
{
	json_t *groups = json_array(), *listeners = json_array(), *policies = json_array();

	for (size_t i = 0; i < d->n_policies; i++)
		json_array_append_new(policies, policy_json(&d->policies[i]));
	for (size_t i = 0; i < d->n_groups; i++)
		json_array_append_new(groups, group_json(&d->groups[i]));
	for (size_t i = 0; i < d->n_listeners; i++) {
		_cleanup_free_ char *cgroup = utf8_escape(d->listeners[i].cgroup);

		json_array_append_new(
			listeners,
			json_pack("{s:s, s:s?}", "local", d->listeners[i].local, "cgroup", cgroup));
	}
	return json_pack("{s:b, s:I, s:I, s:I, s:o, s:o, s:o, s:b, s:o, s:o}", "in_force",
			 d->in_force, "generation", (json_int_t)d->generation, "cgroups",
			 (json_int_t)d->n_cgroups, "changed", (json_int_t)d->n_changed, "come",
			 names_json(&d->come), "go", names_json(&d->go), "policies", policies,
			 "other_order", d->other_order, "groups", groups, "listeners", listeners);
}
