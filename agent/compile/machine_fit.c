// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <errno.h>

#include "compile/machine_fit.h"

#define WORK_MAX     (12u << 20) /* of all attempts but the last one: well below a second */
#define WORK_PER_SET 1024	 /* a call of fnmatch(3) for each byte */

struct candidate {
	uint32_t policy;
	unsigned cost;
};

struct fit {
	const struct config *config;
	struct candidate *v; /* cheapest first */
	bool *has;	     /* what fitted, and the candidates of this attempt */
	struct graph *graph; /* of what fitted; NULL: nothing was tried yet */
	size_t work;
};

static int attempt(struct fit *f)
{
	_cleanup_(glob_tree_free) struct glob_tree *t = NULL;
	struct graph *g = NULL;
	size_t work = 0;
	int r;

	r = glob_tree_new(f->config, f->has, &t);
	f->work += t ? t->n + WORK_PER_SET * t->n_sets : GLOB_TREE_NODES_MAX;
	if (r == 0)
		r = graph_new(t, &g, &work);
	f->work += work;
	if (r < 0)
		return r;
	graph_free(f->graph);
	f->graph = g;
	return 0;
}

/* After a '*' in the same name: how far ahead of it others have gone, must be remembered. */
static unsigned cost_of_name(const char *s)
{
	unsigned n = *s == '*';
	bool star = false;

	for (; *s; s++) {
		n += 2 * (star && strchr("*?[", *s) != NULL);
		star |= *s == '*';
	}
	return n;
}

/*
 * How much may a glob multiply states?  0: hardly.  All that begins at a loop goes on beside all
 * others.  A guess: it only says what is tried first.
 */
static unsigned cost_of_glob(const struct glob *g)
{
	unsigned n = 0;
	bool any = false;

	for (size_t i = 0; i < glob_n_components(g); i++) {
		const char *s = glob_component(g, i);

		n += streq(s, "**") ? 0 : cost_of_name(s) + any;
		any |= streq(s, "**");
	}
	return n;
}

static unsigned cost_of(const struct patterns *p)
{
	unsigned n = 0;

	for (size_t i = 0; i < p->n; i++)
		n += cost_of_glob(p->v[i].glob);
	return n;
}

static int compare_candidates(const void *a, const void *b)
{
	const struct candidate *x = a, *y = b;

	if (x->cost != y->cost)
		return x->cost < y->cost ? -1 : 1;
	return x->policy < y->policy ? -1 : x->policy > y->policy;
}

static void mark(struct fit *f, size_t begin, size_t end, bool has)
{
	for (size_t i = begin; i < end; i++)
		f->has[f->v[i].policy] = has;
}

/* Where to cut a group that does not fit: what costs nothing goes first, else in halves. */
static size_t middle(const struct fit *f, size_t begin, size_t end)
{
	for (size_t i = begin + 1; i < end; i++)
		if (!f->v[i - 1].cost && f->v[i].cost)
			return i;
	return begin + (end - begin) / 2;
}

/* Adds as many of the candidates as fit beside what is there. */
static int add(struct fit *f, size_t begin, size_t end)
{
	size_t cut = middle(f, begin, end);
	int r;

	if (begin == end || f->work > WORK_MAX)
		return 0;
	mark(f, begin, end, true);
	r = attempt(f);
	if (r != -E2BIG)
		return r;
	mark(f, begin, end, false);
	if (end - begin == 1)
		return 0;
	r = add(f, begin, cut);
	return r < 0 ? r : add(f, cut, end);
}

static bool patterns_can(const struct patterns *p)
{
	for (size_t i = 0; i < p->n; i++)
		if (!glob_tree_can(p->v[i].glob))
			return false;
	return true;
}

static int fit_all(struct fit *f)
{
	size_t n = 0;
	int r;

	for (size_t i = 0; i < f->config->n_policies; i++) {
		const struct policy *p = &f->config->policies[i];

		if (patterns_can(&p->match) && patterns_can(&p->exclude))
			f->v[n++] = (struct candidate){ (uint32_t)i,
							cost_of(&p->match) + cost_of(&p->exclude) };
	}
	if (n)
		qsort(f->v, n, sizeof(*f->v), compare_candidates);
	r = add(f, 0, n);
	/* nothing is in it, or nothing was found to fit */
	return r < 0 || f->graph ? r : attempt(f);
}

int machine_fit(const struct config *c, bool **ret_has, struct graph **ret)
{
	struct fit f = {
		.config = c,
		.v = calloc(c->n_policies + 1, sizeof(*f.v)),
		.has = calloc(c->n_policies + 1, sizeof(*f.has)),
	};
	int r = f.v && f.has ? fit_all(&f) : -ENOMEM;

	free(f.v);
	if (r < 0) {
		free(f.has);
		graph_free(f.graph);
		return r;
	}
	*ret_has = f.has;
	*ret = f.graph;
	return 0;
}
