// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <errno.h>

#include "host/cgroup.h"
#include "report/dry_run.h"
#include "host/listeners.h"
#include "policy/loader.h"
#include "base/log.h"
#include "kernel/support.h"
#include "host/tree.h"

#define HASH_NONFATAL_OOM 1
#include <uthash.h>

#define TRIES 200 /* a reading takes some ms; even reloads without a pause leave room for one */

/* Cgroups that have the same now, and are to have the same: compared once. */
struct pair {
	struct pair_key {
		uint64_t index; /* of the policy in force */
		const struct effective *effective;
	} key;
	ssize_t group;	      /* of dry_run.groups; -1: nothing changes */
	bool stale_listeners; /* what is set on listeners changes */
	UT_hash_handle hh;
};

/* A group by what it changes, in words. */
struct group_name {
	char *text; /* owned */
	size_t group;
	UT_hash_handle hh;
};

struct cgroup {
	uint64_t id;
	const char *path; /* the tree's */
	const struct cgroup_class *class;
	const struct pair *pair;
	UT_hash_handle hh;
};

/* An entry of map `cgroups`. */
struct entry {
	uint64_t id;
	uint32_t index;
};

struct comparison {
	const struct config *config;
	struct cascade *cascade;
	const struct pins *pins; /* NULL: nothing is in force */
	const struct tree *tree;
	struct entry *entries; /* by id */
	size_t n_entries, n_governed;
	struct cgroup *cgroups; /* hash by id */
	struct pair *pairs;
	struct group_name *group_names;
	struct diags *diags;
	struct dry_run result;
};

static void comparison_clear(struct comparison *c)
{
	struct group_name *name, *next_name;
	struct cgroup *cgroup, *next_cgroup;
	struct pair *pair, *next_pair;

	HASH_ITER (hh, c->group_names, name, next_name) {
		HASH_DEL(c->group_names, name);
		free(name->text);
		free(name);
	}
	HASH_ITER (hh, c->cgroups, cgroup, next_cgroup) {
		HASH_DEL(c->cgroups, cgroup);
		free(cgroup);
	}
	HASH_ITER (hh, c->pairs, pair, next_pair) {
		HASH_DEL(c->pairs, pair);
		free(pair);
	}
	free(c->entries);
	dry_run_clear(&c->result);
}

/* The names of the policies that apply where the policy with this index is in force. */
static int read_members(const struct pins *pins, uint32_t index, struct names *ret)
{
	struct sp_policy policy;
	int r = index ? pins_policy(pins, index, &policy) : -ENOENT;

	if (r < 0)
		return index ? r : 0;
	for (uint32_t i = 0; i < policy.n_members && r == 0; i++) {
		struct sp_credit member;
		struct sp_source source;

		r = pins_credit(pins, policy.first_member + i, &member);
		if (r == 0)
			r = pins_source(pins, member.source, &source);
		if (r == 0)
			r = names_add(ret, source.policy);
	}
	return r;
}

static int effective_names(const struct effective *e, struct names *ret)
{
	int r = 0;

	for (size_t i = 0; e && i < e->n_policies && r == 0; i++)
		r = names_add(ret, e->policies[i]->name);
	return r;
}

/* Those of `names` that `others` lacks. */
static int subtract(const struct names *names, const struct names *others, struct names *ret)
{
	int r = 0;

	for (size_t i = 0; i < names->n && r == 0; i++)
		if (!names_have(others, names->v[i]))
			r = names_add(ret, names->v[i]);
	return r;
}

static int compare_names(struct names *now, struct names *then, struct names *ret_come,
			 struct names *ret_go)
{
	int r = subtract(then, now, ret_come);

	if (r == 0)
		r = subtract(now, then, ret_go);
	names_clear(now);
	names_clear(then);
	return r;
}

static int compare_members(const struct comparison *c, const struct pair_key *key,
			   struct change_set *set)
{
	struct names now = { 0 }, then = { 0 };
	int r = read_members(c->pins, (uint32_t)key->index, &now);

	if (r == 0)
		r = effective_names(key->effective, &then);
	if (r == 0)
		return compare_names(&now, &then, &set->come, &set->go);
	names_clear(&now);
	names_clear(&then);
	return r;
}

/* As a reload judges it: by what is set, not by who sets it. */
static bool changes_listeners(const struct in_force *f)
{
	for (size_t i = 0; i < f->n; i++) {
		const struct in_force_difference *d = &f->v[i];

		if (d->stage == SP_STAGE_TCP_LISTEN &&
		    (d->also || !d->kernel.value || !d->files.value ||
		     !streq(d->kernel.value, d->files.value)))
			return true;
	}
	return false;
}

/* Does the policy in force set anything on listeners? */
static int governs_listeners(const struct comparison *c, uint32_t index, bool *ret)
{
	struct sp_policy policy;
	int r;

	*ret = false;
	if (!index)
		return 0;
	r = pins_policy(c->pins, index, &policy);
	if (r == 0)
		*ret = policy.stage[SP_STAGE_TCP_LISTEN].n_ops != 0;
	return r;
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

/* Takes the set over. */
static int add_group(struct comparison *c, struct change_set *set, char *text)
{
	struct group_name *name = calloc(1, sizeof(*name));

	if (!name || GROW(c->result.groups, c->result.n_groups) < 0) {
		free(name);
		return -ENOMEM;
	}
	name->text = text;
	name->group = c->result.n_groups;
	HASH_ADD_KEYPTR(hh, c->group_names, name->text, strlen(name->text), name);
	if (!name->hh.tbl) {
		free(name);
		return -ENOMEM;
	}
	c->result.groups[c->result.n_groups++] = (struct dry_run_group){ .changes = *set };
	*set = (struct change_set){ 0 };
	return 0;
}

/* The group that changes what the set does; takes the set over if it is the first. */
static int find_group(struct comparison *c, struct change_set *set, ssize_t *ret)
{
	_cleanup_free_ char *text = NULL;
	struct group_name *name;
	int r = group_text(set, &text);

	if (r < 0)
		return r;
	HASH_FIND_STR(c->group_names, text, name);
	if (name) {
		*ret = (ssize_t)name->group;
		return 0;
	}
	r = add_group(c, set, text);
	if (r < 0)
		return r;
	text = NULL; /* the group's */
	*ret = (ssize_t)c->result.n_groups - 1;
	return 0;
}

/* As the agent would complain of it. */
static int complain_of_rules(const struct comparison *c, const struct effective *e,
			     const char *path)
{
	const struct policy *last = e->policies[e->n_policies - 1];
	size_t n = 0;

	for (size_t i = 0; i < e->n_policies; i++)
		n += e->policies[i]->n_rules;
	diag_error(c->diags, &last->at, "%zu rules apply to cgroup %s, at most %d can", n, path,
		   SP_RULES_MAX);
	return -EBADMSG;
}

static bool has_too_many_rules(const struct effective *e)
{
	size_t n = 0;

	for (size_t i = 0; e && i < e->n_policies; i++)
		n += e->policies[i]->n_rules;
	return n > SP_RULES_MAX;
}

static int compare_pair(struct comparison *c, struct pair *p)
{
	struct change_set set = { 0 };
	struct in_force f = { 0 };
	bool governs, changes;
	uint32_t index = (uint32_t)p->key.index;
	int r = in_force_compare_index(c->pins, index, p->key.effective, &f);

	if (r < 0)
		return r;
	changes = changes_listeners(&f);
	r = change_set_make(&f, &set);
	if (r == 0)
		r = governs_listeners(c, index, &governs);
	if (r == 0)
		r = compare_members(c, &p->key, &set);
	if (r == 0) {
		p->stale_listeners = governs && changes;
		p->group = -1;
		if (!change_set_is_empty(&set))
			r = find_group(c, &set, &p->group);
	}
	change_set_clear(&set);
	return r;
}

static int find_pair(struct comparison *c, uint32_t index, const struct effective *e,
		     const char *path, const struct pair **ret)
{
	struct pair_key key;
	struct pair *p;
	int r;

	memset(&key, 0, sizeof(key)); /* it is compared by its bytes */
	key.index = index;
	key.effective = e;
	HASH_FIND(hh, c->pairs, &key, sizeof(key), p);
	*ret = p;
	if (p)
		return 0;
	if (has_too_many_rules(e))
		return complain_of_rules(c, e, path);
	p = calloc(1, sizeof(*p));
	if (!p)
		return -ENOMEM;
	p->key = key;
	r = compare_pair(c, p);
	if (r < 0) {
		free(p);
		return r;
	}
	HASH_ADD(hh, c->pairs, key, sizeof(p->key), p);
	if (!p->hh.tbl) {
		free(p);
		return -ENOMEM;
	}
	*ret = p;
	return 0;
}

static int by_id(const void *a, const void *b)
{
	const struct entry *x = a, *y = b;

	return (x->id > y->id) - (x->id < y->id);
}

static uint32_t index_of(const struct comparison *c, uint64_t id)
{
	const struct entry key = { .id = id };
	const struct entry *e =
		c->n_entries ? bsearch(&key, c->entries, c->n_entries, sizeof(key), by_id) : NULL;

	return e ? e->index : 0;
}

static struct cgroup *find_cgroup(const struct comparison *c, uint64_t id)
{
	struct cgroup *found;

	HASH_FIND(hh, c->cgroups, &id, sizeof(id), found);
	return found;
}

static int classify(struct comparison *c, const struct node *n, struct cgroup *g)
{
	const struct cgroup *parent = n->parent ? find_cgroup(c, n->parent->id) : NULL;

	if (parent)
		return cascade_step(c->cascade, parent->class, n->path, &g->class);
	return cascade_walk(c->cascade, n->path, &g->class);
}

static int compare_cgroup(struct comparison *c, const struct node *n, struct cgroup *g)
{
	uint32_t index = index_of(c, n->id);
	int r = classify(c, n, g);

	if (r == 0)
		r = find_pair(c, index, cascade_effective(g->class), n->path, &g->pair);
	if (r < 0)
		return r;
	c->result.n_cgroups++;
	c->n_governed -= index != 0;
	if (g->pair->group < 0)
		return 0;
	c->result.n_changed++;
	return names_append(&c->result.groups[g->pair->group].cgroups, n->path);
}

/* Parents come first. */
static int on_node(struct node *n, void *userdata)
{
	struct comparison *c = userdata;
	struct cgroup *g = calloc(1, sizeof(*g));
	int r;

	if (!g)
		return -ENOMEM;
	g->id = n->id;
	g->path = n->path;
	r = compare_cgroup(c, n, g);
	if (r == 0)
		HASH_ADD(hh, c->cgroups, id, sizeof(g->id), g);
	if (r == 0 && !g->hh.tbl)
		r = -ENOMEM;
	if (r < 0)
		free(g);
	return r;
}

static int add_entry(uint64_t id, uint32_t index, void *userdata)
{
	struct comparison *c = userdata;

	if (!index)
		return 0;
	if (GROW(c->entries, c->n_entries) < 0)
		return -ENOMEM;
	c->entries[c->n_entries++] = (struct entry){ id, index };
	return 0;
}

static int read_entries(struct comparison *c)
{
	int r = c->pins ? pins_each_cgroup(c->pins, add_entry, c) : 0;

	if (c->n_entries)
		qsort(c->entries, c->n_entries, sizeof(*c->entries), by_id);
	c->n_governed = c->n_entries;
	return r;
}

static int add_policy_name(uint32_t id, const struct sp_source *source, void *userdata)
{
	(void)id;
	return source->rule[0] ? 0 : names_add(userdata, source->policy);
}

static int compare_policies(struct comparison *c)
{
	struct names now = { 0 }, then = { 0 };
	int r = c->pins ? pins_each_source(c->pins, add_policy_name, &now) : 0;

	for (size_t i = 0; i < c->config->n_policies && r == 0; i++)
		r = names_add(&then, c->config->policies[i].name);
	if (r == 0)
		return compare_names(&now, &then, &c->result.come, &c->result.go);
	names_clear(&now);
	names_clear(&then);
	return r;
}

static int add_listener(const struct listener *l, void *userdata)
{
	struct comparison *c = userdata;
	const struct cgroup *g = find_cgroup(c, l->cgroup_id);
	struct dry_run_listener *one;

	if (!g || !g->pair->stale_listeners)
		return 0;
	if (GROW(c->result.listeners, c->result.n_listeners) < 0)
		return -ENOMEM;
	one = &c->result.listeners[c->result.n_listeners];
	snprintf(one->local, sizeof(one->local), "%s", l->local);
	one->cgroup = strdup(g->path);
	if (!one->cgroup)
		return -ENOMEM;
	c->result.n_listeners++;
	return 0;
}

static int find_listeners(struct comparison *c)
{
	int r = listeners_each(add_listener, c);

	if (r < 0 && r != -ENOMEM)
		log_warning_errno(r, "Cannot find the listeners that would keep old values, "
				     "ignoring");
	return r == -ENOMEM ? r : 0;
}

/* *ret is NULL where nothing is pinned. */
static int open_pins(const char *pin_dir, struct pins **ret)
{
	int r = pins_open(pin_dir, ret);

	if (r == -EPROTO)
		log_error("What is pinned at %s is of another version of sockpol", pin_dir);
	return r == -ENOENT ? 0 : r;
}

static int find_root(const char *mount, const struct sp_state *state, char **ret)
{
	int r;

	if (!state) {
		*ret = strdup("/");
		return *ret ? 0 : -ENOMEM;
	}
	r = cgroup_path_of_id(mount, state->cgroup_root_id, ret);
	return r == -ENOENT ? log_error_errno(r, "The cgroup that the agent is attached to is gone")
			    : r;
}

/* The cgroups below the one that the agent is attached to; below "/" where nothing is in force. */
static int scan(const char *pin_dir, struct tree **ret)
{
	_cleanup_(pins_close) struct pins *pins = NULL;
	_cleanup_(tree_free) struct tree *tree = NULL;
	_cleanup_free_ char *mount = NULL, *root = NULL;
	struct sp_state state = { 0 };
	int r = cgroup_mount(&mount);

	if (r < 0)
		return log_error_errno(r, "No cgroup2 hierarchy is mounted");
	r = open_pins(pin_dir, &pins);
	if (r == 0 && pins)
		r = pins_state(pins, &state);
	if (r < 0)
		return r;
	r = find_root(mount, pins ? &state : NULL, &root);
	if (r == 0)
		r = tree_new(mount, root, &tree);
	if (r == 0)
		r = tree_scan(tree, NULL, NULL);
	if (r == 0)
		*ret = TAKE_PTR(tree);
	return r;
}

static int by_first_cgroup(const void *a, const void *b)
{
	const struct dry_run_group *x = a, *y = b;

	return strverscmp(x->cgroups.v[0], y->cgroups.v[0]);
}

static void sort_groups(struct dry_run *d)
{
	for (size_t i = 0; i < d->n_groups; i++)
		names_sort(&d->groups[i].cgroups);
	if (d->n_groups)
		qsort(d->groups, d->n_groups, sizeof(*d->groups), by_first_cgroup);
}

static int compare_all(struct comparison *c)
{
	struct sp_state state = { 0 };
	int r = c->pins ? pins_state(c->pins, &state) : 0;

	if (r == 0)
		r = read_entries(c);
	if (r == 0)
		r = compare_policies(c);
	if (r == 0)
		r = tree_walk(c->tree, on_node, c);
	c->result.in_force = c->pins;
	c->result.generation = state.generation;
	c->result.n_gone = c->n_governed;
	return r;
}

static bool has_changed(const struct comparison *c)
{
	struct sp_state state;

	return c->pins && pins_state(c->pins, &state) == 0 &&
	       state.generation != c->result.generation;
}

/* -EAGAIN: a reload came between, and what was read is of no use. */
static int compare_in_one_generation(const char *pin_dir, struct comparison *c)
{
	_cleanup_(pins_close) struct pins *pins = NULL;
	int r = open_pins(pin_dir, &pins);

	if (r < 0)
		return r;
	c->pins = pins;
	r = compare_all(c);
	if (r != -EBADMSG && has_changed(c))
		r = -EAGAIN;
	if (r == 0)
		r = find_listeners(c);
	c->pins = NULL;
	return r;
}

static int compare(const char *pin_dir, const struct config *config, struct diags *diags,
		   struct dry_run *ret)
{
	_cleanup_(cascade_free) struct cascade *cascade = NULL;
	_cleanup_(tree_free) struct tree *tree = NULL;
	int r = cascade_new(config, &cascade);

	if (r == 0)
		r = scan(pin_dir, &tree);
	if (r < 0)
		return r;
	r = -EAGAIN;
	for (int tries = 0; tries < TRIES && r == -EAGAIN; tries++) {
		struct comparison c = {
			.config = config, .cascade = cascade, .tree = tree, .diags = diags
		};

		r = compare_in_one_generation(pin_dir, &c);
		if (r == 0) {
			sort_groups(&c.result);
			*ret = c.result;
			c.result = (struct dry_run){ 0 };
		}
		comparison_clear(&c);
	}
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
	for (size_t i = 0; i < d->n_listeners; i++)
		free(d->listeners[i].cgroup);
	free(d->groups);
	free(d->listeners);
	names_clear(&d->come);
	names_clear(&d->go);
	*d = (struct dry_run){ 0 };
}
