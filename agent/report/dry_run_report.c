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

	fprintf(to, "%zu cgroup%s:", cgroups->n, plural(cgroups->n));
	for (size_t i = 0; i < named; i++) {
		_cleanup_free_ char *path = utf8_escape(cgroups->v[i]);

		fprintf(to, "%s %s", i ? "," : "", path ? path : "?");
	}
	if (named < cgroups->n)
		fprintf(to, " and %zu more", cgroups->n - named);
	fputc('\n', to);
	change_set_print(&g->changes, to);
}

static void print_listeners(const struct dry_run *d, bool all, FILE *to)
{
	size_t named = n_named(d->n_listeners, all);

	if (!d->n_listeners)
		return;
	fprintf(to, "%zu listener%s would keep what the policy before set, until opened again:\n",
		d->n_listeners, plural(d->n_listeners));
	for (size_t i = 0; i < named; i++) {
		_cleanup_free_ char *cgroup = utf8_escape(d->listeners[i].cgroup);

		fprintf(to, "    %s in cgroup %s\n", d->listeners[i].local, cgroup ? cgroup : "?");
	}
	if (named < d->n_listeners)
		fprintf(to, "    and %zu more\n", d->n_listeners - named);
}

void dry_run_print(const struct dry_run *d, bool all, FILE *to)
{
	if (!d->in_force)
		fprintf(to, "nothing is in force now\n");
	names_print(&d->come, "policies that come:", to);
	names_print(&d->go, "policies that go:", to);
	for (size_t i = 0; i < d->n_groups; i++)
		print_group(&d->groups[i], all, to);
	print_listeners(d, all, to);
	if (d->n_gone)
		fprintf(to, "not looked at: %zu governed cgroup%s without a directory any more\n",
			d->n_gone, plural(d->n_gone));
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
	return group;
}

json_t *dry_run_json(const struct dry_run *d)
{
	json_t *groups = json_array(), *listeners = json_array();

	for (size_t i = 0; i < d->n_groups; i++)
		json_array_append_new(groups, group_json(&d->groups[i]));
	for (size_t i = 0; i < d->n_listeners; i++) {
		_cleanup_free_ char *cgroup = utf8_escape(d->listeners[i].cgroup);

		json_array_append_new(
			listeners,
			json_pack("{s:s, s:s?}", "local", d->listeners[i].local, "cgroup", cgroup));
	}
	return json_pack("{s:b, s:I, s:I, s:I, s:I, s:o, s:o, s:o, s:o}", "in_force", d->in_force,
			 "generation", (json_int_t)d->generation, "cgroups",
			 (json_int_t)d->n_cgroups, "changed", (json_int_t)d->n_changed, "gone",
			 (json_int_t)d->n_gone, "come", names_json(&d->come), "go",
			 names_json(&d->go), "groups", groups, "listeners", listeners);
}
