// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <errno.h>

#include "host/cgroup.h"
#include "report/generations.h"

#define TRIES 200 /* each takes some ms, and reloads leave time for one */

/* --- names of counters ------------------------------------------------------------------------ */

struct counters {
	struct sp_counter *v; /* owned; by index; without a policy: unused */
	uint32_t n;
};

static int add(struct counters *c, const struct sp_counter *counter, uint32_t index)
{
	while (c->n <= index)
		if (APPEND(c->v, c->n, (struct sp_counter){ 0 }) < 0)
			return -ENOMEM;
	c->v[index] = *counter;
	return 0;
}

static int add_pinned(uint32_t index, const struct sp_counter *counter, uint64_t applied,
		      void *userdata)
{
	(void)applied;
	return index < SP_COUNTERS_MAX ? add(userdata, counter, index) : 0;
}

int counters_read(const struct pinned *p, struct counters **ret)
{
	_cleanup_(counters_free) struct counters *c = calloc(1, sizeof(*c));
	int r = c ? add(c, &(struct sp_counter){ 0 }, 0) : -ENOMEM; /* 0 is never used */

	if (r == 0 && p)
		r = pinned_each_counter(p, add_pinned, c);
	if (r == 0)
		*ret = TAKE_PTR(c);
	return r;
}

void counters_free(struct counters *c)
{
	if (c)
		free(c->v);
	free(c);
}

const struct sp_counter *counters_at(const struct counters *c, uint32_t index)
{
	return index < c->n && c->v[index].policy[0] ? &c->v[index] : NULL;
}

uint32_t counters_index(const struct policy *p, const char *rule, void *userdata)
{
	struct counters *c = userdata;
	struct sp_counter counter = { 0 };
	const uint32_t next = c->n;

	/* An image asks for all that is one policy's before it asks for the next one's. */
	for (uint32_t i = next; --i && streq(c->v[i].policy, p->name);)
		if (streq(c->v[i].rule, rule))
			return i;
	snprintf(counter.policy, SP_NAME_SIZE, "%s", p->name);
	snprintf(counter.rule, SP_NAME_SIZE, "%s", rule);
	return add(c, &counter, next) == 0 ? next : 0;
}

/* --- one configuration ------------------------------------------------------------------------ */

int generation_view_init(struct generation_view *v, const struct counters *counters)
{
	v->counters = counters;
	v->conditions = calloc(generation_view_n_policies(v) + 1, sizeof(*v->conditions));
	if (!v->conditions)
		return -ENOMEM;
	return v->image ? glob_walker_new(&v->image->globs, &v->walker) : 0;
}

void generation_view_clear(struct generation_view *v)
{
	for (uint32_t i = 1; v->conditions && i < generation_view_n_policies(v); i++)
		free(v->conditions[i]);
	free(v->conditions);
	glob_walker_free(v->walker);
	image_free(v->image);
	*v = (struct generation_view){ 0 };
}

const void *generation_view_at(const struct generation_view *v, enum map_id map, uint32_t index)
{
	if (!v->image || index >= v->image->of[map].n)
		return NULL;
	return (const char *)v->image->of[map].values + (size_t)index * map_table[map].value_size;
}

uint32_t generation_view_n_policies(const struct generation_view *v)
{
	return v->image ? v->image->of[MAP_ID_policies].n : 0;
}

const char *generation_view_policy_name(const struct generation_view *v, uint32_t number)
{
	const struct sp_policy *p = generation_view_at(v, MAP_ID_policies, number);
	const struct sp_counter *c = p ? counters_at(v->counters, p->counter) : NULL;

	return c ? c->policy : "?";
}

uint32_t generation_view_find(const struct generation_view *v, const char *name)
{
	for (uint32_t i = 1; i < generation_view_n_policies(v); i++)
		if (streq(generation_view_policy_name(v, i), name))
			return i;
	return 0;
}

/* --- both ------------------------------------------------------------------------------------- */

static int find_root(struct generations *g)
{
	int r;

	if (!g->are_pinned) {
		g->root = strdup("/");
		return g->root ? 0 : -ENOMEM;
	}
	r = cgroup_path_of_id(g->mount, g->state.cgroup_root_id, &g->root);
	return r == -ENOENT ? 0 : r;
}

/* Reads everything into memory, so that no descriptors of maps stay open. */
static int read_pinned(const char *pin_dir, struct generations *g)
{
	_cleanup_(pinned_close) struct pinned *p = NULL;
	int r = pinned_open(pin_dir, &p);

	if (r == -ENOENT)
		return counters_read(NULL, &g->counters);
	if (r == 0)
		r = pinned_state(p, &g->state);
	if (r == 0)
		r = pinned_image(p, &g->in_force.image);
	if (r == 0)
		r = counters_read(p, &g->counters);
	if (r == 0 && pinned_is_outdated(p))
		r = -ESTALE;
	g->are_pinned = r == 0;
	return r;
}

static int read_once(const char *pin_dir, struct generations **ret)
{
	_cleanup_(generations_close) struct generations *g = calloc(1, sizeof(*g));
	int r = g ? read_pinned(pin_dir, g) : -ENOMEM;

	if (r == 0)
		*ret = TAKE_PTR(g);
	return r;
}

int generations_open(const char *pin_dir, const struct config *config, struct generations **ret,
		     char **ret_error, struct position *ret_at)
{
	_cleanup_(generations_close) struct generations *g = NULL;
	int r = -ESTALE;

	for (int tries = 0; tries < TRIES && r == -ESTALE; tries++)
		r = read_once(pin_dir, &g);
	if (r == 0)
		r = cgroup_mount(&g->mount);
	if (r == 0)
		r = find_root(g);
	if (r == 0 && config)
		r = image_new(config, counters_index, g->counters, &g->files.image, ret_error,
			      ret_at);
	if (r == 0)
		r = generation_view_init(&g->in_force, g->counters);
	if (r == 0)
		r = generation_view_init(&g->files, g->counters);
	if (r == 0)
		*ret = TAKE_PTR(g);
	return r;
}

void generations_close(struct generations *g)
{
	if (!g)
		return;
	generation_view_clear(&g->in_force);
	generation_view_clear(&g->files);
	counters_free(g->counters);
	free(g->mount);
	free(g->root);
	free(g);
}

int generations_list_in_force(const struct generations *g, const char *path, struct glob_list *ret)
{
	if (!g->are_pinned || !g->root || !cgroup_below(g->root, path)) {
		*ret = (struct glob_list){ 0 };
		return 0;
	}
	return glob_walker_walk(g->in_force.walker, path, ret);
}

int generations_list_of_files(const struct generations *g, const char *path, struct glob_list *ret)
{
	return glob_walker_walk(g->files.walker, path, ret);
}
