// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <errno.h>

#include "base/log.h"
#include "host/living.h"
#include "kernel/support.h"
#include "policy/loader.h"
#include "report/dry_run.h"
#include "report/generations.h"

#define HASH_NONFATAL_OOM 1
#include <uthash.h>

/* Bytes of paths.  Users may nest cgroups so deep that all paths would fill the memory. */
#define ROOM_FOR_NAMES (64u << 20)

/* Cgroups that have the same policies now, and would have the same: compared only once. */
struct pair {
	struct pair_key {
		struct glob_list now, then;
	} key;
	ssize_t group;	      /* of dry_run.groups; -1: nothing changes */
	bool stale_listeners; /* what is set on listeners changes */
	UT_hash_handle hh;
};

/* A group, found by the text of its changes. */
struct group_name {
	char *text; /* owned */
	size_t group;
	UT_hash_handle hh;
};

struct comparison {
	struct generations *generations;
	struct pair *pairs;
	struct group_name *group_names;
	bool *applies; /* by number in force: does the policy apply to a live cgroup? */
	size_t room;   /* room left for names */
	struct dry_run result;
};

static void comparison_clear(struct comparison *c)
{
	struct group_name *name, *next_name;
	struct pair *pair, *next_pair;

	HASH_ITER (hh, c->group_names, name, next_name) {
		HASH_DEL(c->group_names, name);
		free(name->text);
		free(name);
	}
	HASH_ITER (hh, c->pairs, pair, next_pair) {
		HASH_DEL(c->pairs, pair);
		free(pair);
	}
	free(c->applies);
	generations_close(c->generations);
	dry_run_clear(&c->result);
}

/* --- policies ----------------------------------------------------------------------------------
 */

struct named {
	const char *name;
	uint32_t number;
};

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct named *)a)->name, ((const struct named *)b)->name);
}

/* Returns the policies of one side sorted by name; owned.  NULL: memory is out. */
static struct named *sort_policies(const struct generation_view *v, size_t *ret_n)
{
	struct named *sorted = calloc(generation_view_n_policies(v) + 1, sizeof(*sorted));
	size_t n = 0;

	for (uint32_t i = 1; sorted && i < generation_view_n_policies(v); i++)
		sorted[n++] = (struct named){ generation_view_policy_name(v, i), i };
	if (n)
		qsort(sorted, n, sizeof(*sorted), by_name);
	*ret_n = n;
	return sorted;
}

static uint32_t find_number(const struct named *v, size_t n, const char *name)
{
	const struct named key = { .name = name };
	const struct named *found = n ? bsearch(&key, v, n, sizeof(*v), by_name) : NULL;

	return found ? found->number : 0;
}

/* Compares one policy as if it alone applied. */
static int compare_policy(struct comparison *c, uint32_t now, uint32_t then)
{
	struct generations *g = c->generations;
	const struct glob_list one = { .number = { (uint16_t)now }, .n = 1 },
			       other = { .number = { (uint16_t)then }, .n = 1 };
	struct dry_run_policy *p;
	struct in_force f;
	int r = in_force_compare(&g->in_force, &one, &g->files, &other, &f);

	if (r < 0)
		return r;
	if (!in_force_differs(&f))
		return 0;
	if (GROW(c->result.policies, c->result.n_policies) < 0) {
		in_force_clear(&f);
		return -ENOMEM;
	}
	p = &c->result.policies[c->result.n_policies++];
	*p = (struct dry_run_policy){ .applies = c->applies[now] };
	r = change_set_make(&f, &p->changes);
	p->name = strdup(generation_view_policy_name(&g->files, then));
	return r == 0 && !p->name ? -ENOMEM : r;
}

static int compare_with(struct comparison *c, const struct named *now, size_t n_now,
			const struct named *then, size_t n_then)
{
	const struct generations *g = c->generations;
	uint32_t last = 0;
	int r = 0;

	for (uint32_t i = 1; i < generation_view_n_policies(&g->files) && r == 0; i++) {
		const char *name = generation_view_policy_name(&g->files, i);
		uint32_t number = find_number(now, n_now, name);

		if (!number) {
			r = names_append(&c->result.come, name);
			continue;
		}
		c->result.other_order |= number < last;
		last = number;
		r = compare_policy(c, number, i);
	}
	for (uint32_t i = 1; i < generation_view_n_policies(&g->in_force) && r == 0; i++) {
		const char *name = generation_view_policy_name(&g->in_force, i);

		if (!find_number(then, n_then, name))
			r = names_append(&c->result.go, name);
	}
	return r;
}

static int compare_policies(struct comparison *c)
{
	size_t n_now = 0, n_then = 0;
	_cleanup_free_ struct named *now = sort_policies(&c->generations->in_force, &n_now);
	_cleanup_free_ struct named *then = sort_policies(&c->generations->files, &n_then);

	return now && then ? compare_with(c, now, n_now, then, n_then) : -ENOMEM;
}

/* --- cgroups -----------------------------------------------------------------------------------
 */

/* Does it change what is set on listeners?  Like a reload, it looks at what is set, not at who sets
 * it, and only where something was set. */
static bool changes_listeners(const struct in_force *f)
{
	for (size_t i = 0; i < f->n; i++) {
		const struct in_force_difference *d = &f->v[i];

		if (d->stage == SP_STAGE_TCP_LISTEN && d->kernel.value &&
		    (!d->files.value || !streq(d->kernel.value, d->files.value)))
			return true;
	}
	return false;
}

static int group_text(const struct change_set *set, char **ret)
{
	size_t n;
	FILE *to = open_memstream(ret, &n);

	if (!to)
		return -ENOMEM;
	change_set_print(set, to);
	return fclose(to) == EOF ? -ENOMEM : 0;
}

/* Finds or makes the group with these changes; takes the set over if it makes one. */
static int find_group(struct comparison *c, struct change_set *set, ssize_t *ret)
{
	_cleanup_free_ struct group_name *new = calloc(1, sizeof(*new));
	_cleanup_free_ char *text = NULL;
	const struct group_name *name;
	int r = new ? group_text(set, &text) : -ENOMEM;

	if (r < 0)
		return r;
	HASH_FIND_STR(c->group_names, text, name);
	if (name) {
		*ret = (ssize_t)name->group;
		return 0;
	}
	if (GROW(c->result.groups, c->result.n_groups) < 0)
		return -ENOMEM;
	new->text = text;
	new->group = c->result.n_groups;
	HASH_ADD_KEYPTR(hh, c->group_names, new->text, strlen(new->text), new);
	if (!new->hh.tbl)
		return -ENOMEM;
	text = NULL;
	*ret = (ssize_t)TAKE_PTR(new)->group;
	c->result.groups[c->result.n_groups++] = (struct dry_run_group){ .changes = *set };
	*set = (struct change_set){ 0 };
	return 0;
}

static int compare_pair(struct comparison *c, struct pair *p)
{
	struct generations *g = c->generations;
	struct change_set set = { 0 };
	struct in_force f;
	int r = in_force_compare(&g->in_force, &p->key.now, &g->files, &p->key.then, &f);

	if (r < 0)
		return r;
	p->stale_listeners = changes_listeners(&f);
	r = change_set_make(&f, &set);
	p->group = -1;
	if (r == 0 && !change_set_is_empty(&set))
		r = find_group(c, &set, &p->group);
	change_set_clear(&set);
	return r;
}

static int find_pair(struct comparison *c, const struct pair_key *key, const struct pair **ret)
{
	struct pair *p;
	int r;

	HASH_FIND(hh, c->pairs, key, sizeof(*key), p);
	*ret = p;
	if (p)
		return 0;
	p = calloc(1, sizeof(*p));
	if (!p)
		return -ENOMEM;
	memcpy(&p->key, key, sizeof(*key));
	r = compare_pair(c, p);
	if (r == 0)
		HASH_ADD(hh, c->pairs, key, sizeof(p->key), p);
	if (r == 0 && !p->hh.tbl)
		r = -ENOMEM;
	if (r < 0)
		free(p);
	else
		*ret = p;
	return r;
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

static int by_cgroup(const void *a, const void *b)
{
	const struct sock_diag_socket *x = a, *y = b;

	return (x->cgroup_id > y->cgroup_id) - (x->cgroup_id < y->cgroup_id);
}

static int mark_listeners(struct comparison *c, const char *path, uint64_t id)
{
	const struct dry_run *d = &c->result;
	const struct sock_diag_socket key = { .cgroup_id = id };
	struct sock_diag_socket *l =
		d->n_listeners ? bsearch(&key, d->listeners, d->n_listeners, sizeof(key), by_cgroup)
			       : NULL;

	while (l && l > d->listeners && l[-1].cgroup_id == id)
		l--;
	for (; l && l < d->listeners + d->n_listeners && l->cgroup_id == id; l++) {
		l->cgroup = strdup(take_room(c, path) ? path : "?");
		if (!l->cgroup)
			return -ENOMEM;
	}
	return 0;
}

/* Copies a list, so that equal lists are equal byte by byte. */
static void copy_list(const struct glob_list *from, struct glob_list *to)
{
	memset(to, 0, sizeof(*to));
	memcpy(to->number, from->number, from->n * sizeof(from->number[0]));
	to->n = from->n;
}

static int read_key(const struct comparison *c, const char *path, struct pair_key *ret)
{
	struct glob_list now = { 0 }, then = { 0 };
	int r = generations_list_in_force(c->generations, path, &now);

	if (r == 0)
		r = generations_list_of_files(c->generations, path, &then);
	if (r < 0)
		return r;
	memset(ret, 0, sizeof(*ret));
	copy_list(&now, &ret->now);
	copy_list(&then, &ret->then);
	return 0;
}

static int compare_cgroup(const char *path, uint64_t id, void *userdata)
{
	struct comparison *c = userdata;
	const struct pair *pair;
	struct dry_run_group *group;
	struct pair_key key;
	int r = read_key(c, path, &key);

	if (r == 0)
		r = find_pair(c, &key, &pair);
	if (r == 0 && pair->stale_listeners)
		r = mark_listeners(c, path, id);
	if (r < 0)
		return r;
	for (uint32_t i = 0; i < key.now.n; i++)
		c->applies[key.now.number[i]] = true;
	c->result.n_cgroups++;
	if (pair->group < 0)
		return 0;
	c->result.n_changed++;
	group = &c->result.groups[pair->group];
	group->n_cgroups++;
	return take_room(c, path) ? names_append(&group->cgroups, path) : 0;
}

static int list_listeners(struct dry_run *d)
{
	struct sock_diag_list list = { 0 };
	int r = sock_diag_listeners(&list);

	d->listeners = list.v;
	d->n_listeners = list.n;
	if (d->n_listeners)
		qsort(d->listeners, d->n_listeners, sizeof(*d->listeners), by_cgroup);
	if (r < 0 && r != -ENOMEM)
		log_warning_errno(r, "Cannot find the listeners that would keep old values, "
				     "ignoring");
	return r == -ENOMEM ? r : 0;
}

/* Drops the listeners whose values stay right. */
static void keep_stale_listeners(struct dry_run *d)
{
	size_t n = 0;

	for (size_t i = 0; i < d->n_listeners; i++)
		if (d->listeners[i].cgroup)
			d->listeners[n++] = d->listeners[i];
	d->n_listeners = n;
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
	r = list_listeners(&c->result);
	if (r == 0)
		r = living_each(g->mount, g->root, compare_cgroup, c);
	keep_stale_listeners(&c->result);
	return r;
}

static int compare(const char *pin_dir, const struct config *config, struct diags *diags,
		   struct dry_run *ret)
{
	struct comparison c = { .room = ROOM_FOR_NAMES };
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
		*ret = c.result;
		ret->in_force = c.generations->are_pinned;
		ret->generation = c.generations->state.generation;
		c.result = (struct dry_run){ 0 };
	}
	comparison_clear(&c);
	return r;
}

int dry_run_make(const char *const *policy_dirs, const char *pin_dir, struct diags *diags,
		 struct dry_run *ret)
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

void dry_run_clear(struct dry_run *d)
{
	for (size_t i = 0; i < d->n_groups; i++) {
		change_set_clear(&d->groups[i].changes);
		names_clear(&d->groups[i].cgroups);
	}
	for (size_t i = 0; i < d->n_policies; i++) {
		change_set_clear(&d->policies[i].changes);
		free(d->policies[i].name);
	}
	for (size_t i = 0; i < d->n_listeners; i++)
		free(d->listeners[i].cgroup);
	free(d->groups);
	free(d->policies);
	free(d->listeners);
	names_clear(&d->come);
	names_clear(&d->go);
	*d = (struct dry_run){ 0 };
}
