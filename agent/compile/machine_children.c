// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <errno.h>

#include "compile/machine_children.h"
#include "base/sequences.h"

#define HASH_NONFATAL_OOM 1
#include <uthash.h>

#define ROW 256u /* bytes */

/* States looked at in all answers together: more would take seconds. */
#define WORK_MAX (32u << 20)

/* The answer for a future. */
struct answer {
	uint32_t future;
	size_t n;
	UT_hash_handle hh;
	struct machine_child v[];
};

struct children {
	const struct machine *m;
	struct answer *answers;
	size_t work;
	/* By state, made when the first question comes: */
	uint32_t *first_next, *next; /* where a byte of a name leads: next[first_next[state]] to
					next[first_next[state + 1]] */
	uint32_t *kind;	   /* equal for equal matches and futures: the lowest state that has them */
	uint32_t *seen;	   /* the last question that came by it */
	uint32_t *counted; /* by kind: the last question that had it */
	uint32_t *found;   /* scratch, with room for all */
	uint32_t question;
	bool prepared;
};

static void forget(struct children *c)
{
	free(c->first_next);
	free(c->next);
	free(c->kind);
	free(c->seen);
	free(c->counted);
	free(c->found);
	c->first_next = c->next = c->kind = c->seen = c->counted = c->found = NULL;
}

int children_new(const struct machine *m, struct children **ret)
{
	_cleanup_(children_free) struct children *c = calloc(1, sizeof(*c));

	if (!c)
		return -ENOMEM;
	c->m = m;
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
	forget(c);
	free(c);
}

static int add_next(struct children *c, uint32_t first, uint32_t *n, uint32_t to)
{
	for (uint32_t i = first; i < *n; i++)
		if (c->next[i] == to)
			return 0;
	if (GROW(c->next, *n) < 0)
		return -ENOMEM;
	c->next[(*n)++] = to;
	return 0;
}

/* `otherwise` is a state that some byte leads to: see find_otherwise() in machine_graph.c. */
static int list_next(struct children *c, const struct machine_tables *t)
{
	uint32_t n = 0;

	for (uint32_t state = 1; state < t->n_states; state++) {
		const struct sp_glob_state *s = &t->states[state];
		uint32_t first = c->first_next[state] = n;
		int r = add_next(c, first, &n, s->otherwise);

		for (uint32_t byte = 1; byte < ROW && r == 0; byte++) {
			const struct sp_glob_edge *e = &t->edges[s->first_edge + byte];

			if (e->from == state && byte != '/')
				r = add_next(c, first, &n, e->to);
		}
		if (r < 0)
			return r;
	}
	c->first_next[t->n_states] = n;
	return 0;
}

/* The kinds are interned as a sequence each; its number leads to the first state that has it. */
static int find_kinds(struct children *c, const struct machine_tables *t)
{
	struct sequences kinds = { 0 };
	uint32_t *first = c->found;
	int r = 0;

	for (uint32_t state = 1; state < t->n_states && r == 0; state++) {
		const uint32_t kind[] = { machine_matches(c->m, state),
					  machine_future(c->m, state) };
		uint32_t before = kinds.n, number;

		r = sequences_put(&kinds, kind, ARRAY_SIZE(kind), &number);
		if (r < 0)
			break;
		if (kinds.n > before)
			first[number] = state;
		c->kind[state] = first[number];
	}
	sequences_clear(&kinds);
	return r;
}

static int prepare(struct children *c)
{
	const struct machine_tables t = machine_tables(c->m);
	const size_t n = t.n_states + 1;
	int r;

	if (c->prepared)
		return 0;
	forget(c); /* what an earlier attempt made before memory ran out */
	c->kind = calloc(n, sizeof(*c->kind));
	c->seen = calloc(n, sizeof(*c->seen));
	c->counted = calloc(n, sizeof(*c->counted));
	c->found = calloc(n, sizeof(*c->found));
	c->first_next = calloc(n, sizeof(*c->first_next));
	if (!c->kind || !c->seen || !c->counted || !c->found || !c->first_next)
		return -ENOMEM;
	r = list_next(c, &t);
	if (r == 0)
		r = find_kinds(c, &t);
	c->prepared = r == 0;
	return r;
}

static void visit_next(struct children *c, uint32_t state, size_t *n)
{
	for (uint32_t i = c->first_next[state]; i < c->first_next[state + 1]; i++) {
		uint32_t to = c->next[i]; /* NOLINT(clang-analyzer-core.NullDereference): prepare()
					     made it */

		if (c->seen[to] == c->question)
			continue;
		c->seen[to] = c->question;
		c->found[(*n)++] = to;
	}
}

/* All that a name leads to, one of each kind, in c->found. */
static size_t find_children(struct children *c, uint32_t future)
{
	size_t n = 0, kept = 0;

	c->question++;
	visit_next(c, future, &n);
	for (size_t i = 0; i < n; i++) /* n grows */
		visit_next(c, c->found[i], &n);
	c->work += n;
	for (size_t i = 0; i < n; i++) {
		uint32_t kind = c->kind[c->found[i]];

		if (c->counted[kind] == c->question)
			continue;
		c->counted[kind] = c->question;
		c->found[kept++] = kind;
	}
	return kept;
}

static int answer_new(struct children *c, uint32_t future, struct answer **ret)
{
	struct answer *a;
	size_t n;

	if (prepare(c) < 0)
		return -ENOMEM;
	if (c->work > WORK_MAX)
		return -ENOSPC;
	n = find_children(c, future);
	a = calloc(1, sizeof(*a) + n * sizeof(a->v[0]));
	if (!a)
		return -ENOMEM;
	a->future = future;
	a->n = n;
	for (size_t i = 0; i < n; i++)
		a->v[i] = (struct machine_child){ machine_matches(c->m, c->found[i]), c->found[i] };
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
