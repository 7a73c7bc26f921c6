// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <errno.h>

#include "machine_children.h"

#define HASH_NONFATAL_OOM 1
#include <uthash.h>

#define ROW 256u /* bytes */

/* A state that a name leads to. */
struct found {
	uint32_t matches, future, state;
};

/* The answer for a future. */
struct answer {
	uint32_t future;
	size_t n;
	UT_hash_handle hh;
	struct machine_child v[];
};

struct children {
	const struct machine *m;
	struct machine_tables tables;
	struct answer *answers;
	/* Scratch: */
	uint32_t *seen; /* by state: the last question that came by it */
	uint32_t question;
	uint32_t *states; /* with room for all; so has v */
	struct found *v;
};

int children_new(const struct machine *m, struct children **ret)
{
	_cleanup_(children_free) struct children *c = calloc(1, sizeof(*c));

	if (!c)
		return -ENOMEM;
	c->m = m;
	c->tables = machine_tables(m);
	*ret = TAKE_PTR(c);
	return 0;
}

void children_free(struct children *c)
{
	struct answer *a, *following;

	if (!c)
		return;
	HASH_ITER (hh, c->answers, a, following) {
		HASH_DEL(c->answers, a);
		free(a);
	}
	free(c->seen);
	free(c->states);
	free(c->v);
	free(c);
}

static int make_scratch(struct children *c)
{
	if (c->v)
		return 0;
	c->seen = calloc(c->tables.n_states, sizeof(*c->seen));
	c->states = calloc(c->tables.n_states, sizeof(*c->states));
	c->v = calloc(c->tables.n_states, sizeof(*c->v));
	return c->seen && c->states && c->v ? 0 : -ENOMEM;
}

static void visit(struct children *c, uint32_t state, size_t *n)
{
	if (c->seen[state] == c->question)
		return;
	c->seen[state] = c->question;
	c->states[(*n)++] = state;
}

/*
 * Where one byte of a name leads.  `otherwise` is a state that some byte leads to (see
 * find_otherwise() in machine_graph.c).
 */
static void visit_next(struct children *c, uint32_t state, size_t *n)
{
	const struct sp_glob_state *s = &c->tables.states[state];

	visit(c, s->otherwise, n);
	for (uint32_t byte = 1; byte < ROW; byte++) {
		const struct sp_glob_edge *e = &c->tables.edges[s->first_edge + byte];

		if (e->from == state && byte != '/')
			visit(c, e->to, n);
	}
}

static int compare_kinds(const struct found *x, const struct found *y)
{
	if (x->matches != y->matches)
		return x->matches < y->matches ? -1 : 1;
	return x->future < y->future ? -1 : x->future > y->future;
}

static int compare_found(const void *a, const void *b)
{
	const struct found *x = a, *y = b;
	int r = compare_kinds(x, y);

	return r ? r : x->state < y->state ? -1 : x->state > y->state;
}

/* All that a name leads to, one of each kind, in c->v. */
static size_t find_children(struct children *c, uint32_t future)
{
	size_t n = 0, kept = 0;

	c->question++;
	visit_next(c, future, &n);
	for (size_t i = 0; i < n; i++) /* n grows */
		visit_next(c, c->states[i], &n);
	for (size_t i = 0; i < n; i++)
		c->v[i] = (struct found){ machine_matches(c->m, c->states[i]),
					  machine_future(c->m, c->states[i]), c->states[i] };
	qsort(c->v, n, sizeof(*c->v), compare_found);
	for (size_t i = 0; i < n; i++)
		if (!kept || compare_kinds(&c->v[kept - 1], &c->v[i]) != 0)
			c->v[kept++] = c->v[i];
	return kept;
}

static int answer_new(struct children *c, uint32_t future, struct answer **ret)
{
	struct answer *a;
	size_t n;

	if (make_scratch(c) < 0)
		return -ENOMEM;
	n = find_children(c, future);
	a = calloc(1, sizeof(*a) + n * sizeof(a->v[0]));
	if (!a)
		return -ENOMEM;
	a->future = future;
	a->n = n;
	for (size_t i = 0; i < n; i++)
		a->v[i] = (struct machine_child){ c->v[i].matches, c->v[i].state };
	HASH_ADD(hh, c->answers, future, sizeof(a->future), a);
	if (!a->hh.tbl) {
		free(a);
		return -ENOMEM;
	}
	*ret = a;
	return 0;
}

int children_of(struct children *c, uint32_t future, const struct machine_child **ret,
		size_t *ret_n)
{
	struct answer *a;
	int r = 0;

	HASH_FIND(hh, c->answers, &future, sizeof(future), a);
	if (!a)
		r = answer_new(c, future, &a);
	if (r < 0)
		return r;
	*ret = a->v;
	*ret_n = a->n;
	return 0;
}
