// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <errno.h>

#include "base/log.h"
#include "host/living.h"
#include "host/sock_diag.h"
#include "kernel/support.h"
#include "policy/loader.h"
#include "report/in_force.h"
#include "report/dry_run.h"
#include "report/generations.h"

/* Bytes of paths.  Users may nest cgroups so deep that all paths would fill the memory. */
#define ROOM_FOR_NAMES (64u << 20)
#define NAMED_MAX      3 /* of many cgroups or listeners, unless all are asked for */

struct comparison {
	struct generations *generations;
	bool *applies; /* by number in force: does the policy apply to a live cgroup? */
	size_t room;   /* room left for names */
	/* The cgroup of those alone for which a change would come too late is set. */
	struct sock_diag_list listeners;
	size_t n_cgroups, n_changed;
	bool other_order; /* of policies that are in force and in the files */
	json_t *come, *go, *policies;
	json_t *groups;		/* by their first cgroup */
	json_t *groups_by_text; /* the same, by the text of their changes */
	/* By the policies that cgroups have now, and would have: the `group`, null where nothing
	 * changes, and whether what is set on listeners changes, `stale`.  Each pair is compared
	 * only once. */
	json_t *pairs;
};

static void comparison_clear(struct comparison *c)
{
	sock_diag_clear(&c->listeners);
	free(c->applies);
	generations_close(c->generations);
	json_decref(c->come);
	json_decref(c->go);
	json_decref(c->policies);
	json_decref(c->groups);
	json_decref(c->groups_by_text);
	json_decref(c->pairs);
}

/* --- policies --------------------------------------------------------------------------------- */

/* Returns the numbers of one side's policies by name; NULL: memory is out. */
static json_t *numbers_of(const struct generation_view *v)
{
	json_t *numbers = json_object();

	for (uint32_t i = 1; i < generation_view_n_policies(v); i++)
		numbers = document_set(numbers, generation_view_policy_name(v, i), json_integer(i));
	return numbers;
}

/* Compares one policy as if it alone applied. */
static int compare_policy(struct comparison *c, uint32_t now, uint32_t then)
{
	struct generations *g = c->generations;
	const struct glob_list one = { .number = { (uint16_t)now }, .n = 1 },
			       other = { .number = { (uint16_t)then }, .n = 1 };
	_cleanup_(json_decref) json_t *f = NULL;
	json_t *set;
	int r = in_force_compare(&g->in_force, &one, &g->files, &other, &f);

	if (r < 0 || !document_is(f, "differs"))
		return r;
	set = document_set(in_force_changes(f), "name",
			   json_string(generation_view_policy_name(&g->files, then)));
	set = document_set(set, "applies", json_boolean(c->applies[now]));
	c->policies = document_append(c->policies, set);
	return 0;
}

static int compare_policies(struct comparison *c)
{
	const struct generations *g = c->generations;
	_cleanup_(json_decref) json_t *now = numbers_of(&g->in_force),
				      *then = numbers_of(&g->files);
	json_int_t last = 0;
	int r = now && then ? 0 : -ENOMEM;

	for (uint32_t i = 1; i < generation_view_n_policies(&g->files) && r == 0; i++) {
		const char *name = generation_view_policy_name(&g->files, i);
		json_int_t number = document_number(now, name);

		if (!number) {
			c->come = document_append(c->come, json_string(name));
			continue;
		}
		c->other_order |= number < last;
		last = number;
		r = compare_policy(c, (uint32_t)number, i);
	}
	for (uint32_t i = 1; i < generation_view_n_policies(&g->in_force) && r == 0; i++) {
		const char *name = generation_view_policy_name(&g->in_force, i);

		if (!json_object_get(then, name))
			c->go = document_append(c->go, json_string(name));
	}
	return r;
}

/* --- cgroups ---------------------------------------------------------------------------------- */

/* Does it change what is set on listeners?  Like a reload, it looks at what is set, not at who sets
 * it. */
static bool changes_listeners(const json_t *in_force)
{
	const json_t *d;
	size_t i;

	json_array_foreach (json_object_get(in_force, "differences"), i, d) {
		const json_t *now = json_object_get(d, "in_force"),
			     *then = json_object_get(d, "files");

		if (streq(document_text(d, "stage"), stage_name(SP_STAGE_TCP_LISTEN)) &&
		    !(json_is_object(now) && json_is_object(then) &&
		      document_same(now, then, "value") && document_same(now, then, "min") &&
		      document_same(now, then, "max")))
			return true;
	}
	return false;
}

/* Finds or makes the group with these changes; takes the set over.  NULL: memory is out. */
static json_t *find_group(struct comparison *c, json_t *set)
{
	_cleanup_free_ char *text = set ? json_dumps(set, JSON_COMPACT) : NULL;
	json_t *group = text ? json_object_get(c->groups_by_text, text) : NULL;

	if (group) {
		json_decref(set);
		return group;
	}
	group = document_set(set, "cgroups", json_array());
	group = document_set(group, "n_cgroups", json_integer(0));
	c->groups = document_append(c->groups, group);
	if (!c->groups || !text || json_object_set(c->groups_by_text, text, group) < 0)
		return NULL;
	return group;
}

static int compare_pair(struct comparison *c, const struct glob_list *now,
			const struct glob_list *then, const char *key, const json_t **ret)
{
	struct generations *g = c->generations;
	_cleanup_(json_decref) json_t *f = NULL;
	json_t *group = NULL, *pair;
	int r = in_force_compare(&g->in_force, now, &g->files, then, &f);

	if (r < 0)
		return r;
	if (document_is(f, "differs")) {
		group = find_group(c, in_force_changes(f));
		if (!group)
			return -ENOMEM;
	}
	pair = json_pack("{s:O?, s:b}", "group", group, "stale", changes_listeners(f));
	*ret = pair;
	return json_object_set_new(c->pairs, key, pair) < 0 ? -ENOMEM : 0;
}

static char *write_list(char *to, const struct glob_list *list)
{
	for (uint32_t i = 0; i < list->n; i++)
		to += sprintf(to, "%u,", list->number[i]);
	return to;
}

/* Finds what becomes of a cgroup that has these policies, and would have those. */
static int find_pair(struct comparison *c, const struct glob_list *now,
		     const struct glob_list *then, const json_t **ret)
{
	char key[2ul * SP_LIST_MAX * sizeof("65535") + 2], *end = write_list(key, now);

	*end++ = '/';
	*write_list(end, then) = '\0';
	*ret = json_object_get(c->pairs, key);
	return *ret ? 0 : compare_pair(c, now, then, key, ret);
}

/* Takes room for a path; false: there is not enough. */
static bool take_room(struct comparison *c, const char *path)
{
	size_t needed = strlen(path) + 1;

	if (needed > c->room)
		return false;
	c->room -= needed;
	return true;
}

static int mark_listeners(struct comparison *c, const char *path, uint64_t id)
{
	for (size_t i = 0; i < c->listeners.n; i++) {
		struct sock_diag_socket *l = &c->listeners.v[i];

		if (l->cgroup_id != id)
			continue;
		l->cgroup = strdup(take_room(c, path) ? path : "?");
		if (!l->cgroup)
			return -ENOMEM;
	}
	return 0;
}

static int compare_cgroup(const char *path, uint64_t id, void *userdata)
{
	struct comparison *c = userdata;
	struct glob_list now = { 0 }, then = { 0 };
	int r = generations_list_in_force(c->generations, path, &now);
	const json_t *pair = NULL, *group;

	if (r == 0)
		r = generations_list_of_files(c->generations, path, &then);
	if (r == 0)
		r = find_pair(c, &now, &then, &pair);
	if (r == 0 && document_is(pair, "stale"))
		r = mark_listeners(c, path, id);
	if (r < 0)
		return r;
	for (uint32_t i = 0; i < now.n; i++)
		c->applies[now.number[i]] = true;
	c->n_cgroups++;
	group = json_object_get(pair, "group");
	if (json_is_null(group))
		return 0;
	c->n_changed++;
	json_integer_set(json_object_get(group, "n_cgroups"),
			 document_number(group, "n_cgroups") + 1);
	return take_room(c, path) && json_array_append_new(json_object_get(group, "cgroups"),
							   document_string(path)) < 0
		       ? -ENOMEM
		       : 0;
}

static int list_listeners(struct comparison *c)
{
	int r = sock_diag_listeners(&c->listeners);

	if (r < 0 && r != -ENOMEM)
		log_warning_errno(r, "Cannot find the listeners that would keep what they have, "
				     "ignoring");
	return r == -ENOMEM ? r : 0;
}

/* Returns those for which a change would come too late. */
static json_t *listeners_json(const struct comparison *c)
{
	json_t *listeners = json_array();

	for (size_t i = 0; i < c->listeners.n; i++)
		if (c->listeners.v[i].cgroup)
			listeners = document_append(
				listeners,
				json_pack("{s:s, s:o}", "local", c->listeners.v[i].local, "cgroup",
					  document_string(c->listeners.v[i].cgroup)));
	return listeners;
}

static int compare_cgroups(struct comparison *c)
{
	struct generations *g = c->generations;
	int r;

	if (!g->root) {
		log_error("The cgroup that the agent is attached to is gone");
		return -ENOENT;
	}
	c->applies = calloc(generation_view_n_policies(&g->in_force) + 1, sizeof(*c->applies));
	if (!c->applies)
		return -ENOMEM;
	r = list_listeners(c);
	return r < 0 ? r : living_each(g->mount, g->root, compare_cgroup, c);
}

static int compare(const char *pin_dir, const struct config *config, struct diags *diags,
		   json_t **ret)
{
	struct comparison c = {
		.room = ROOM_FOR_NAMES,
		.come = json_array(),
		.go = json_array(),
		.policies = json_array(),
		.groups = json_array(),
		.groups_by_text = json_object(),
		.pairs = json_object(),
	};
	_cleanup_free_ char *error = NULL;
	struct position at;
	int r = generations_open(pin_dir, config, &c.generations, &error, &at);

	if (r == -E2BIG) {
		diag_error(diags, &at, "%s", error);
		r = -EBADMSG;
	}
	if (r == -EPROTO)
		log_error("What is pinned at %s is of another version of sockpol", pin_dir);
	if (r == 0)
		r = compare_cgroups(&c);
	if (r == 0)
		r = compare_policies(&c);
	if (r == 0) {
		*ret = json_pack("{s:b, s:I, s:I, s:I, s:O, s:O, s:O, s:b, s:O, s:o}", "in_force",
				 c.generations->are_pinned, "generation",
				 (json_int_t)c.generations->state.generation, "cgroups",
				 (json_int_t)c.n_cgroups, "changed", (json_int_t)c.n_changed,
				 "come", c.come, "go", c.go, "policies", c.policies, "other_order",
				 c.other_order, "groups", c.groups, "listeners",
				 listeners_json(&c));
		r = *ret ? 0 : -ENOMEM;
	}
	comparison_clear(&c);
	return r;
}

int dry_run_make(const char *const *policy_dirs, const char *pin_dir, struct diags *diags,
		 json_t **ret)
{
	_cleanup_(config_free) struct config *config = NULL;
	struct host host;
	int r;

	host_read(&host);
	r = config_load(policy_dirs, NULL, &host, diags, &config);
	if (r == 0)
		r = support_foresee(config, &host, diags);
	host_clear(&host);
	if (r == 0)
		r = compare(pin_dir, config, diags, ret);
	return r == 0 || r == -EBADMSG ? r : log_error_errno(r, "Cannot tell what would change");
}

/* --- for people ------------------------------------------------------------------------------- */

static size_t n_named(const json_t *list, bool all)
{
	const size_t n = json_array_size(list);

	return all || n <= NAMED_MAX ? n : NAMED_MAX;
}

static void print_group(const json_t *group, bool all, FILE *to)
{
	const json_t *cgroups = json_object_get(group, "cgroups");
	const size_t named = n_named(cgroups, all), n = (size_t)document_number(group, "n_cgroups");

	fprintf(to, "%zu cgroup%s:", n, plural(n));
	for (size_t i = 0; i < named; i++)
		fprintf(to, "%s %s", i ? "," : "", json_string_value(json_array_get(cgroups, i)));
	if (named < n)
		fprintf(to, " and %zu more", n - named);
	fputc('\n', to);
	in_force_print_changes(group, to);
}

static void print_listeners(const json_t *listeners, bool all, FILE *to)
{
	const size_t n = json_array_size(listeners), named = n_named(listeners, all);

	if (!n)
		return;
	fprintf(to, "%zu listener%s would keep what %s, until opened again:\n", n, plural(n),
		n == 1 ? "it has" : "they have");
	for (size_t i = 0; i < named; i++) {
		const json_t *l = json_array_get(listeners, i);

		fprintf(to, "    %s in cgroup %s\n", document_text(l, "local"),
			document_text(l, "cgroup"));
	}
	if (named < n)
		fprintf(to, "    and %zu more\n", n - named);
}

static void print_policies(const json_t *d, FILE *to)
{
	const json_t *policies = json_object_get(d, "policies"), *p;
	size_t i;

	document_print_names(json_object_get(d, "come"), "policies that come:", to);
	document_print_names(json_object_get(d, "go"), "policies that go:", to);
	json_array_foreach (policies, i, p)
		fprintf(to, "%s%s", i ? ", " : "policies that change: ", document_text(p, "name"));
	if (i)
		fputc('\n', to);
	if (document_is(d, "other_order"))
		fprintf(to, "policies come in another order\n");
	json_array_foreach (policies, i, p) {
		if (document_is(p, "applies"))
			continue;
		fprintf(to, "policy %s, which applies to no cgroup that lives:\n",
			document_text(p, "name"));
		in_force_print_changes(p, to);
	}
}

void dry_run_print(const json_t *d, bool all, FILE *to)
{
	const long long n = document_number(d, "cgroups"), changed = document_number(d, "changed");
	const json_t *group;
	size_t i;

	if (!document_is(d, "in_force"))
		fprintf(to, "nothing is in force now\n");
	print_policies(d, to);
	json_array_foreach (json_object_get(d, "groups"), i, group)
		print_group(group, all, to);
	print_listeners(json_object_get(d, "listeners"), all, to);
	if (changed)
		fprintf(to, "a reload would change %lld of %lld cgroups\n", changed, n);
	else
		fprintf(to, "a reload would change nothing for the %lld cgroup%s that live%s\n", n,
			plural(n), n == 1 ? "s" : "");
}
