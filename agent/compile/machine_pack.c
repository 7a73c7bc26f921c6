// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Row displacement: each state's ways are a row of 256 elements, mostly empty, and the rows are
 * shifted until they lie in each other's holes.
 */
#include <errno.h>

#include "compile/machine_graph.h"

#define ROW   256u /* a state's elements, from its first_edge on */
#define TRIES 32   /* holes to look at for the first of a row's ways */

struct packing {
	struct sp_glob_edge *edges;
	uint32_t *next_free; /* by element, itself when it is free; else some later one */
	uint32_t room, end;  /* end: after the last that is taken */
	uint32_t n;	     /* with the whole of the last row */
};

static int make_room(struct packing *p, uint32_t n)
{
	uint32_t room = p->room ? p->room : ROW;
	struct sp_glob_edge *edges;
	uint32_t *next_free;

	while (room < n)
		room *= 2;
	if (room == p->room)
		return 0;
	edges = reallocarray(p->edges, room, sizeof(*edges));
	if (edges)
		p->edges = edges;
	next_free = reallocarray(p->next_free, room, sizeof(*next_free));
	if (next_free)
		p->next_free = next_free;
	if (!edges || !next_free)
		return -ENOMEM;
	for (uint32_t i = p->room; i < room; i++) {
		edges[i] = (struct sp_glob_edge){ 0 };
		next_free[i] = i;
	}
	p->room = room;
	return 0;
}

/* The first free element from `at` on; p->end is always free, and so is all after it. */
static uint32_t find_free(struct packing *p, uint32_t at)
{
	uint32_t found = at, next;

	if (at >= p->end)
		return at;
	while (p->next_free[found] != found)
		found = p->next_free[found];
	for (; p->next_free[at] != found && at != found; at = next) {
		next = p->next_free[at];
		p->next_free[at] = found;
	}
	return found;
}

static bool fits(const struct packing *p, const struct way *ways, uint32_t n, uint32_t first)
{
	for (uint32_t i = 0; i < n; i++)
		if (first + ways[i].byte < p->end && p->edges[first + ways[i].byte].from)
			return false;
	return true;
}

/* *cursor: where to look first; holes that no row fitted in are left to shorter rows. */
static uint32_t find_first(struct packing *p, const struct way *ways, uint32_t n, uint32_t *cursor)
{
	uint32_t at = *cursor > ways[0].byte ? *cursor : ways[0].byte;

	for (int i = 0; i < TRIES; i++) {
		at = find_free(p, at);
		if (fits(p, ways, n, at - ways[0].byte)) {
			if (i)
				*cursor = at;
			return at - ways[0].byte;
		}
		at++;
	}
	*cursor = at;
	return p->end > ways[0].byte ? p->end - ways[0].byte : 0;
}

static int place(struct packing *p, uint32_t state, const struct way *ways, uint32_t n,
		 uint32_t first)
{
	int r = make_room(p, first + ROW + 1); /* one is always free after them */

	if (r < 0)
		return r;
	for (uint32_t i = 0; i < n; i++) {
		uint32_t at = first + ways[i].byte;

		p->edges[at] = (struct sp_glob_edge){ .from = state, .to = ways[i].to };
		p->next_free[at] = at + 1;
		if (at >= p->end)
			p->end = at + 1;
	}
	return 0;
}

struct row {
	uint32_t state, begin, n; /* in ways */
};

static struct row row_of(const struct graph *g, uint32_t state)
{
	uint32_t begin = g->states[state].first_edge;
	uint32_t end = state + 1 < g->n_states ? g->states[state + 1].first_edge : g->n_ways;

	return (struct row){ state, begin, end - begin };
}

/* Those with the most ways first: they are the hardest to place. */
static struct row *rows_of(const struct graph *g)
{
	uint32_t begin[ROW + 2] = { 0 }; /* of the rows with ROW - index ways */
	struct row *rows = calloc(g->n_states, sizeof(*rows));

	if (!rows)
		return NULL;
	for (uint32_t s = 1; s < g->n_states; s++)
		begin[ROW - row_of(g, s).n + 1]++;
	for (uint32_t i = 1; i < ARRAY_SIZE(begin); i++)
		begin[i] += begin[i - 1];
	for (uint32_t s = 1; s < g->n_states; s++) {
		struct row row = row_of(g, s);

		rows[begin[ROW - row.n]++] = row;
	}
	return rows;
}

static int place_all(struct packing *p, struct graph *g, const struct row *rows)
{
	uint32_t cursor = 0, last_n = 0;
	int r = 0;

	for (uint32_t i = 0; i + 1 < g->n_states && r == 0; i++) {
		const struct row *row = &rows[i];
		/* where there are no ways at all, there is no array either */
		const struct way *ways = row->n ? g->ways + row->begin : NULL;
		uint32_t first = 0;

		if (row->n != last_n)
			cursor = 0;
		last_n = row->n;
		if (row->n)
			first = find_first(p, ways, row->n, &cursor);
		r = place(p, row->state, ways, row->n, first);
		g->states[row->state].first_edge = first;
		if (p->n < first + ROW)
			p->n = first + ROW;
	}
	return r;
}

static void *shrink(void *v, size_t n, size_t size)
{
	void *smaller = reallocarray(v, n, size);

	return smaller ? smaller : v;
}

int graph_pack(struct graph *g, struct sp_glob_edge **ret, uint32_t *ret_n)
{
	_cleanup_free_ struct row *rows = rows_of(g);
	struct packing p = { 0 };
	int r = rows ? place_all(&p, g, rows) : -ENOMEM;

	free(p.next_free);
	free(g->ways);
	g->ways = NULL;
	g->n_ways = 0;
	if (r < 0) {
		free(p.edges);
		return r;
	}
	/* What is left lives as long as the configuration. */
	*ret = shrink(p.edges, p.n, sizeof(*p.edges));
	*ret_n = p.n;
	g->states = shrink(g->states, g->n_states, sizeof(*g->states));
	return 0;
}
