// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <errno.h>

#include "compile/glob_walk.h"

/* Nodes that are active, and those that will be after the byte at hand. */
struct node_set {
	uint16_t *v; /* owned */
	size_t n;
};

/* A policy that matches, and whether it is excluded; by level, then by number. */
struct found {
	uint32_t level;
	uint16_t number;
	bool excluded;
};

struct walk {
	const struct glob_table *table;
	struct node_set now, next;
	struct found found[SP_LIST_MAX];
	size_t n_found;
	bool exclude; /* the table is one of `exclude` */
	bool left_out;
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

static int activate_chain(struct walk *w, uint16_t link)
{
	int r = 0;

	for (; link && r == 0; link = w->table->links[link].next)
		r = activate(w, w->table->links[link].what);
	return r;
}

/* The node's own element; NULL: it has nothing to say. */
static const struct sp_glob_node *own_element(const struct walk *w, uint16_t node)
{
	const struct sp_glob_node *own = &w->table->nodes[node];

	return own->from == node ? own : NULL;
}

static int step(struct walk *w, uint16_t node, unsigned char byte)
{
	const struct sp_glob_node *edge = &w->table->nodes[node + byte];
	int r;

	if (edge->from != node)
		edge = byte == '/' ? NULL : own_element(w, node);
	if (!edge || !edge->to)
		return 0;
	r = activate(w, edge->to);
	return r < 0 ? r : activate_chain(w, edge->more);
}

static int step_all(struct walk *w, unsigned char byte)
{
	struct node_set before = w->now;
	int r = 0;

	w->next.n = 0;
	for (size_t i = 0; i < w->now.n && r == 0; i++)
		r = step(w, w->now.v[i], byte);
	w->now = w->next;
	w->next = before;
	return r;
}

static void exclude(struct walk *w, uint16_t number)
{
	for (size_t i = 0; i < w->n_found; i++)
		if (w->found[i].number == number)
			w->found[i].excluded = true;
}

/* A policy matches at a level: it takes its place in the order. */
static void find(struct walk *w, uint32_t level, uint16_t number)
{
	size_t at = w->n_found;

	for (size_t i = 0; i < w->n_found; i++) {
		const struct found *f = &w->found[i];

		if (f->number == number && f->level <= level)
			return;
		if (at == w->n_found &&
		    (f->level > level || (f->level == level && f->number > number)))
			at = i;
	}
	if (at == SP_LIST_MAX) {
		w->left_out = true;
		return;
	}
	/* The same policy may have been found deeper by another table: that place goes. */
	for (size_t i = at; i < w->n_found; i++) {
		if (w->found[i].number != number)
			continue;
		memmove(&w->found[i], &w->found[i + 1], (--w->n_found - i) * sizeof(*w->found));
		break;
	}
	if (w->n_found == SP_LIST_MAX) {
		w->left_out = true;
		w->n_found--;
	}
	memmove(&w->found[at + 1], &w->found[at], (w->n_found - at) * sizeof(*w->found));
	w->found[at] = (struct found){ .level = level, .number = number };
	w->n_found++;
}

/* A name is over: which globs end here? */
static void end_name(struct walk *w, uint32_t level)
{
	for (size_t i = 0; i < w->now.n; i++) {
		const struct sp_glob_node *own = own_element(w, w->now.v[i]);

		for (uint16_t link = own ? own->says : 0; link; link = w->table->links[link].next) {
			if (w->exclude)
				exclude(w, w->table->links[link].what);
			else
				find(w, level, w->table->links[link].what);
		}
	}
}

static int walk_table(struct walk *w, const struct glob_table *table, const char *path)
{
	uint32_t level = 0;
	int r;

	w->table = table;
	w->next.n = 0;
	r = activate_chain(w, table->nodes[0].more);
	if (r < 0)
		return r;
	w->now.n = 0;
	for (size_t i = 0; i < w->next.n; i++) {
		if (GROW(w->now.v, w->now.n) < 0)
			return -ENOMEM;
		w->now.v[w->now.n++] = w->next.v[i];
	}
	end_name(w, level);
	for (const char *at = streq(path, "/") ? "" : path; *at && level < SP_LEVELS_MAX;) {
		r = step_all(w, '/');
		for (at++; r == 0 && *at && *at != '/'; at++)
			r = step_all(w, (unsigned char)*at);
		if (r < 0)
			return r;
		end_name(w, ++level);
	}
	return 0;
}

int glob_walk(const struct glob_tables *t, const char *path, struct glob_list *ret)
{
	struct walk w = { 0 };
	int r = 0;

	for (uint32_t i = 0; i < t->n_match + t->n_exclude && r == 0; i++) {
		w.exclude = i >= t->n_match;
		r = walk_table(&w, &t->v[i], path);
	}
	free(w.now.v);
	free(w.next.v);
	if (r < 0)
		return r;
	*ret = (struct glob_list){ .left_out = w.left_out };
	for (size_t i = 0; i < w.n_found; i++)
		if (!w.found[i].excluded)
			ret->number[ret->n++] = w.found[i].number;
	return 0;
}
