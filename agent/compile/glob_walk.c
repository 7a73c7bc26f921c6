// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <errno.h>

#include "compile/glob_walk.h"

/* Numbers of nodes or of policies, each once. */
struct numbers {
	uint16_t *v;
	size_t n;
};

/* The state of the walk at the end of a name. */
struct level {
	size_t length;	       /* length of the path down to here */
	struct numbers *after; /* active nodes, by table */
	size_t n_found, n_excluded;
};

struct glob_walker {
	const struct glob_tables *tables;
	uint32_t n_tables;
	char *path; /* the last one */
	struct level *levels;
	size_t n_levels, room; /* levels of that path, and levels with memory */
	struct numbers found;  /* policies that match, by level and number: all of them */
	struct numbers excluded;
	struct numbers now, next; /* active nodes of the current table */
	bool failed;		  /* memory was out: what was added since does not count */
};

int glob_walker_new(const struct glob_tables *t, struct glob_walker **ret)
{
	struct glob_walker *w = calloc(1, sizeof(*w));

	if (!w)
		return -ENOMEM;
	w->tables = t;
	w->n_tables = t->n_match + t->n_exclude;
	*ret = w;
	return 0;
}

void glob_walker_free(struct glob_walker *w)
{
	if (!w)
		return;
	for (size_t i = 0; i < w->room; i++) {
		for (uint32_t t = 0; w->levels[i].after && t < w->n_tables; t++)
			free(w->levels[i].after[t].v);
		free(w->levels[i].after);
	}
	free(w->levels);
	free(w->path);
	free(w->found.v);
	free(w->excluded.v);
	free(w->now.v);
	free(w->next.v);
	free(w);
}

static bool has_number(const struct numbers *n, uint16_t number)
{
	for (size_t i = 0; i < n->n; i++)
		if (n->v[i] == number)
			return true;
	return false;
}

static void add_number(struct glob_walker *w, struct numbers *to, uint16_t number)
{
	if (!has_number(to, number) && APPEND(to->v, to->n, number) < 0)
		w->failed = true;
}

/* Adds what a chain of links is about. */
static void add_links(struct glob_walker *w, struct numbers *to, const struct glob_table *t,
		      uint16_t link)
{
	for (; link; link = t->links[link].next)
		add_number(w, to, t->links[link].what);
}

static void end_step(struct glob_walker *w)
{
	struct numbers over = w->now;

	w->now = w->next;
	w->next = over;
	w->next.n = 0;
}

static const struct sp_glob_node *node_at(const struct glob_table *t, uint32_t index, uint16_t from)
{
	const struct sp_glob_node *node = &t->nodes[index];

	return index < t->n_nodes && node->from == from ? node : NULL;
}

static void read_byte(struct glob_walker *w, const struct glob_table *t, uint8_t byte)
{
	for (size_t i = 0; i < w->now.n; i++) {
		uint16_t node = w->now.v[i];
		const struct sp_glob_node *edge = node_at(t, (uint32_t)node + byte, node);

		if (!edge && byte != '/')
			edge = node_at(t, node, node);
		if (!edge || !edge->to)
			continue;
		add_number(w, &w->next, edge->to);
		add_links(w, &w->next, t, edge->more);
	}
	end_step(w);
}

/* Reports the globs that end with a name. */
static void report_ends(struct glob_walker *w, const struct glob_table *t, struct numbers *to)
{
	for (size_t i = 0; i < w->now.n; i++) {
		uint16_t node = w->now.v[i];
		const struct sp_glob_node *own = node_at(t, node, node);

		add_links(w, to, t, own ? own->says : 0);
	}
}

static void copy_numbers(struct glob_walker *w, struct numbers *to, const struct numbers *from)
{
	to->n = 0;
	for (size_t i = 0; i < from->n; i++)
		if (APPEND(to->v, to->n, from->v[i]) < 0)
			w->failed = true;
}

/* Walks a table from the level above (none: the root) over a name that ends at `length`. */
static void walk_table(struct glob_walker *w, uint32_t table, size_t length)
{
	const struct glob_table *t = &w->tables->v[table];
	struct level *at = &w->levels[w->n_levels];

	w->now.n = w->next.n = 0;
	if (w->n_levels) {
		const struct level *above = at - 1;

		copy_numbers(w, &w->now, &above->after[table]);
		for (size_t i = above->length; i < length && w->now.n; i++)
			read_byte(w, t, (uint8_t)w->path[i]);
	} else {
		add_links(w, &w->next, t, t->nodes[0].more);
		end_step(w);
	}
	report_ends(w, t, table < w->tables->n_match ? &w->found : &w->excluded);
	copy_numbers(w, &at->after[table], &w->now);
}

static int by_number(const void *a, const void *b)
{
	return (int)*(const uint16_t *)a - (int)*(const uint16_t *)b;
}

static int make_room(struct glob_walker *w)
{
	if (w->n_levels < w->room)
		return 0;
	if (GROW(w->levels, w->n_levels) < 0)
		return -ENOMEM;
	w->levels[w->n_levels] = (struct level){
		.after = calloc(w->n_tables + 1, sizeof(struct numbers)),
	};
	if (!w->levels[w->n_levels].after)
		return -ENOMEM;
	w->room = w->n_levels + 1;
	return 0;
}

static int walk_level(struct glob_walker *w, size_t length)
{
	size_t n = w->found.n;
	int r = make_room(w);

	if (r < 0)
		return r;
	w->failed = false;
	for (uint32_t i = 0; i < w->n_tables; i++)
		walk_table(w, i, length);
	if (w->failed)
		return -ENOMEM;
	if (w->found.n > n)
		qsort(w->found.v + n, w->found.n - n, sizeof(*w->found.v), by_number);
	w->levels[w->n_levels].length = length;
	w->levels[w->n_levels].n_found = w->found.n;
	w->levels[w->n_levels++].n_excluded = w->excluded.n;
	return 0;
}

/* Goes back to the last level that both paths share. */
static void go_back(struct glob_walker *w, const char *path)
{
	size_t same = 0;

	while (w->path && w->path[same] && w->path[same] == path[same])
		same++;
	while (w->n_levels) {
		size_t length = w->levels[w->n_levels - 1].length;

		if (length <= same && (path[length] == '/' || !path[length]))
			break;
		w->n_levels--;
	}
	w->found.n = w->n_levels ? w->levels[w->n_levels - 1].n_found : 0;
	w->excluded.n = w->n_levels ? w->levels[w->n_levels - 1].n_excluded : 0;
}

static void choose(const struct glob_walker *w, struct glob_list *ret)
{
	ret->n = 0;
	ret->left_out = w->found.n > SP_LIST_MAX;
	for (size_t i = 0; i < w->found.n && i < SP_LIST_MAX; i++)
		if (!has_number(&w->excluded, w->found.v[i]))
			ret->number[ret->n++] = w->found.v[i];
}

int glob_walker_walk(struct glob_walker *w, const char *path, struct glob_list *ret)
{
	const char *s = path[1] ? path : path + 1; /* the root has no names */
	char *copy = strdup(s);
	int r = 0;

	if (!copy)
		return -ENOMEM;
	go_back(w, copy);
	free(w->path);
	w->path = copy;
	if (!w->n_levels)
		r = walk_level(w, 0);
	while (r == 0 && copy[w->levels[w->n_levels - 1].length]) {
		size_t length = w->levels[w->n_levels - 1].length;

		r = walk_level(w, length + 1 + strcspn(copy + length + 1, "/"));
	}
	if (r < 0) {
		w->n_levels = w->found.n = w->excluded.n = 0;
		return r;
	}
	choose(w, ret);
	return 0;
}

int glob_walk(const struct glob_tables *t, const char *path, struct glob_list *ret)
{
	_cleanup_(glob_walker_free) struct glob_walker *w = NULL;
	int r = glob_walker_new(t, &w);

	return r < 0 ? r : glob_walker_walk(w, path, ret);
}
