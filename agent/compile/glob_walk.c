// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <errno.h>

#include "compile/glob_walk.h"

struct actives {
	uint16_t *v;
	size_t n;
};

/* A policy that matches; more of them than are kept at first. */
struct found {
	uint16_t number;
	uint32_t level;
	bool excluded;
};

struct walk {
	const struct glob_table *table;
	bool exclude;
	uint32_t level;
	struct actives now, next;
	struct found *found;
	size_t n_found;
};

static int activate(struct walk *w, uint16_t node)
{
	for (size_t i = 0; i < w->next.n; i++)
		if (w->next.v[i] == node)
			return 0;
	if (GROW(w->next.v, w->next.n) < 0)
		return -ENOMEM;
	w->next.v[w->next.n++] = node;
	return 0;
}

static int activate_links(struct walk *w, uint16_t link)
{
	int r = 0;

	for (; link && r == 0; link = w->table->links[link].next)
		r = activate(w, w->table->links[link].what);
	return r;
}

static void end_step(struct walk *w)
{
	struct actives over = w->now;

	w->now = w->next;
	w->next = over;
	w->next.n = 0;
}

static const struct sp_glob_node *node_at(const struct walk *w, uint32_t index, uint16_t from)
{
	const struct sp_glob_node *node = &w->table->nodes[index];

	return index < w->table->n_nodes && node->from == from ? node : NULL;
}

static int read_byte(struct walk *w, uint8_t byte)
{
	int r = 0;

	for (size_t i = 0; i < w->now.n && r == 0; i++) {
		uint16_t node = w->now.v[i];
		const struct sp_glob_node *edge = node_at(w, (uint32_t)node + byte, node);

		if (!edge && byte != '/')
			edge = node_at(w, node, node);
		if (!edge || !edge->to)
			continue;
		r = activate(w, edge->to);
		if (r == 0)
			r = activate_links(w, edge->more);
	}
	end_step(w);
	return r;
}

static struct found *find(struct walk *w, uint16_t number)
{
	for (size_t i = 0; i < w->n_found; i++)
		if (w->found[i].number == number)
			return &w->found[i];
	return NULL;
}

static int report(struct walk *w, uint16_t number)
{
	struct found *f = find(w, number);

	if (w->exclude) {
		if (f)
			f->excluded = true;
		return 0;
	}
	if (!f) {
		if (GROW(w->found, w->n_found) < 0)
			return -ENOMEM;
		f = &w->found[w->n_found++];
		*f = (struct found){ number, w->level, false };
	}
	if (w->level < f->level)
		f->level = w->level;
	return 0;
}

/* A name is over. */
static int report_ends(struct walk *w)
{
	int r = 0;

	for (size_t i = 0; i < w->now.n; i++) {
		uint16_t node = w->now.v[i];
		const struct sp_glob_node *own = node_at(w, node, node);

		for (uint16_t at = own ? own->says : 0; at && r == 0; at = w->table->links[at].next)
			r = report(w, w->table->links[at].what);
	}
	return r;
}

static int walk_table(struct walk *w, const char *path)
{
	int r;

	w->level = 0;
	w->now.n = w->next.n = 0;
	r = activate_links(w, w->table->nodes[0].more);
	end_step(w);
	if (r == 0)
		r = report_ends(w);
	for (const char *s = path; path[1] && *s && w->now.n && r == 0; s++) {
		w->level += *s == '/';
		r = read_byte(w, (uint8_t)*s);
		if (r == 0 && (s[1] == '/' || !s[1]))
			r = report_ends(w);
	}
	return r;
}

static int by_level(const void *a, const void *b)
{
	const struct found *x = a, *y = b;

	if (x->level != y->level)
		return x->level < y->level ? -1 : 1;
	return (int)x->number - (int)y->number;
}

static int walk_tables(struct walk *w, const struct glob_tables *t, const char *path)
{
	uint32_t n = t->n_match + t->n_exclude;
	int r = 0;

	for (uint32_t i = 0; i < n && r == 0; i++) {
		w->table = &t->v[i];
		w->exclude = i >= t->n_match;
		r = walk_table(w, path);
	}
	if (w->n_found)
		qsort(w->found, w->n_found, sizeof(*w->found), by_level);
	return r;
}

int glob_walk(const struct glob_tables *t, const char *path, struct glob_list *ret)
{
	struct glob_list list = { 0 };
	struct walk w = { 0 };
	int r = walk_tables(&w, t, path);

	list.left_out = w.n_found > SP_LIST_MAX;
	for (size_t i = 0; i < w.n_found && i < SP_LIST_MAX; i++)
		if (!w.found[i].excluded)
			list.number[list.n++] = w.found[i].number;
	free(w.found);
	free(w.now.v);
	free(w.next.v);
	if (r < 0)
		return r;
	*ret = list;
	return 0;
}
