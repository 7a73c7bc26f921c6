// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <errno.h>

#include "compile/machine.h"
#include "compile/machine_graph.h"

#define N_BYTES	     256u
#define N_NAME_BYTES 254u /* all but '/' and NUL */
/*
 * Bounds.  States grow by some factor of what the globs need one by one, where a "**" goes on
 * beside others; where they multiply, they are to be found out early.
 */
#define STATES_PER_NODE 4
#define STATES_FREE	16384
#define WAYS_PER_STATE	8
#define WORDS_PER_STATE 16 /* nodes in a state */
#define WORK_PER_STATE	64
#define SHORT_SORT	16
#define NOT_A_SET	UINT32_MAX

/* Where something goes for many bytes: those of a set (NOT_A_SET: all of a name) but one (0: no
 * exception). */
struct wide_move {
	uint32_t to, set;
	unsigned but;
};

struct narrow_move {
	uint32_t to, next;
};

struct list {
	uint32_t *v;
	size_t n;
};

struct builder {
	const struct glob_tree *tree;
	struct graph *g;
	struct sequences sets; /* of nodes, by state */
	size_t states_max;
	/* Of the state at hand: */
	struct list at, words, says;
	struct wide_move *wide;
	size_t n_wide;
	struct narrow_move *narrow; /* 0 is unused */
	size_t n_narrow;
	uint32_t by_byte[N_BYTES]; /* lists of `narrow`; 0: none */
	struct byte_set mentioned; /* '/' too */
};

static int append(struct list *l, uint32_t word)
{
	if (GROW(l->v, l->n) < 0)
		return -ENOMEM;
	l->v[l->n++] = word;
	return 0;
}

static int compare_words(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

static void sort_words(uint32_t *v, size_t n)
{
	if (n > SHORT_SORT) {
		qsort(v, n, sizeof(*v), compare_words);
		return;
	}
	for (size_t i = 1; i < n; i++) {
		uint32_t word = v[i];
		size_t to = i;

		for (; to && v[to - 1] > word; to--)
			v[to] = v[to - 1];
		v[to] = word;
	}
}

static void sort_and_unite(struct list *l)
{
	size_t n = 0;

	sort_words(l->v, l->n);
	for (size_t i = 0; i < l->n; i++)
		if (!n || l->v[n - 1] != l->v[i])
			l->v[n++] = l->v[i];
	l->n = n;
}

/* A loop finds all that the chain before it could find; without that, states multiply. */
static void drop_subsumed(const struct glob_tree *t, struct list *l)
{
	uint32_t top = UINT32_MAX;
	size_t n = l->n;

	for (size_t i = l->n; i--;) {
		uint32_t at = l->v[i];

		if (at >= top)
			continue;
		if (t->v[at].loop)
			top = t->v[at].top;
		l->v[--n] = at;
	}
	l->n -= n;
	if (n)
		memmove(l->v, l->v + n, l->n * sizeof(*l->v));
}

static bool leads_nowhere(const struct glob_tree *t, uint32_t at)
{
	const struct glob_node *v = &t->v[at];

	return !v->loop && !v->says && !t->v[v->follow].first && at != t->name && at != t->escaped;
}

/* The node, and those that are reached together with it. */
static int reach(struct builder *b, uint32_t at)
{
	const struct glob_node *v = &b->tree->v[at];
	int r = 0;

	b->g->work++;
	if (!leads_nowhere(b->tree, at))
		r = append(&b->words, at);
	if (at == b->tree->name || at == b->tree->escaped)
		return r;
	if (r == 0 && v->star)
		r = reach(b, v->star);
	if (r == 0 && v->any)
		r = reach(b, v->any);
	return r;
}

static int move_wide(struct builder *b, uint32_t to, uint32_t set, unsigned but)
{
	if (GROW(b->wide, b->n_wide) < 0)
		return -ENOMEM;
	b->g->work++;
	b->wide[b->n_wide++] = (struct wide_move){ to, set, but };
	return 0;
}

static int move_narrow(struct builder *b, uint32_t to, unsigned byte)
{
	if (GROW(b->narrow, b->n_narrow) < 0)
		return -ENOMEM;
	b->g->work++;
	b->narrow[b->n_narrow] = (struct narrow_move){ to, b->by_byte[byte] };
	b->by_byte[byte] = (uint32_t)b->n_narrow++;
	byte_set_add(&b->mentioned, byte);
	return 0;
}

/* Is the set's rest, rather than the set, what is worth naming? */
static bool is_mostly_all(const struct byte_set *s)
{
	return s->n > N_NAME_BYTES / 2;
}

static int move_set(struct builder *b, uint32_t to, uint32_t set, unsigned but)
{
	const struct byte_set *s = &b->tree->sets[set];
	int r = 0;

	if (is_mostly_all(s)) {
		for (unsigned byte = 1; byte < N_BYTES; byte++)
			if (byte != '/' && !byte_set_has(s, byte))
				byte_set_add(&b->mentioned, byte);
		return move_wide(b, to, set, but);
	}
	for (unsigned byte = 1; byte < N_BYTES && r == 0; byte++)
		if (byte_set_has(s, byte) && byte != but)
			r = move_narrow(b, to, byte);
	return r;
}

/* What can be read after `at`; `but`: a byte that is not read here, or 0. */
static int move_on(struct builder *b, uint32_t at, unsigned but)
{
	const struct glob_tree *t = b->tree;
	int r = 0;

	if (t->v[at].loop)
		r = move_wide(b, at, NOT_A_SET, but);
	for (uint32_t i = t->v[t->v[at].follow].first; i && r == 0; i = t->v[i].next) {
		const struct glob_node *v = &t->v[i];

		if (v->reads == READS_SET)
			r = move_set(b, i, v->set, but);
		else if (v->reads == READS_ANY_BYTE)
			r = move_wide(b, i, NOT_A_SET, but);
		else if (v->byte != but)
			r = move_narrow(b, i, v->byte);
	}
	return r;
}

/* A unit's name: systemd puts '_' before some, and it is always taken off. */
static int move_on_in_unit(struct builder *b, uint32_t at)
{
	const struct glob_tree *t = b->tree;
	const unsigned but = at == t->name ? '_' : 0;
	int r = but ? move_narrow(b, t->escaped, but) : 0;

	if (r == 0)
		r = move_on(b, at, but);
	if (r == 0 && t->v[t->name].star)
		r = move_on(b, t->v[t->name].star, but);
	return r;
}

static int move_on_all(struct builder *b)
{
	int r = 0;

	b->n_wide = 0;
	b->n_narrow = 1;
	memset(b->by_byte, 0, sizeof(b->by_byte));
	b->mentioned = (struct byte_set){ 0 };
	byte_set_add(&b->mentioned, '/');
	for (size_t i = 0; i < b->at.n && r == 0; i++) {
		uint32_t at = b->at.v[i];

		r = at == b->tree->name || at == b->tree->escaped ? move_on_in_unit(b, at)
								  : move_on(b, at, 0);
	}
	return r;
}

/* What `matched` says of the nodes in b->words: 0 where no glob ends. */
static int match(struct builder *b, uint32_t *ret)
{
	const struct glob_tree *t = b->tree;
	struct list *l = &b->says;
	size_t n_match = 0;
	int r = 0;

	*ret = 0;
	l->n = 0;
	for (size_t i = 0; i < b->words.n; i++)
		for (uint32_t say = t->v[b->words.v[i]].says; say && r == 0;
		     say = t->says[say].next)
			r = append(l, t->says[say].who);
	if (r < 0 || l->n == 0)
		return r;
	/* sorted by what it is, then by policy */
	for (size_t i = 0; i < l->n; i++)
		l->v[i] = l->v[i] >> 1 | l->v[i] << 31;
	sort_and_unite(l);
	while (n_match < l->n && !(l->v[n_match] >> 31))
		n_match++;
	for (size_t i = n_match; i < l->n; i++)
		l->v[i] &= INT32_MAX;
	r = append(l, 0);
	if (r < 0)
		return r;
	memmove(l->v + 1, l->v, (l->n - 1) * sizeof(*l->v));
	l->v[0] = (uint32_t)n_match;
	return sequences_put(&b->g->matched, l->v, l->n, ret);
}

/* The state that is made of the nodes in b->words. */
static int state_of_words(struct builder *b, uint32_t *ret)
{
	struct graph *g = b->g;
	int r;

	sort_and_unite(&b->words);
	drop_subsumed(b->tree, &b->words);
	g->work += b->words.n;
	r = sequences_put(&b->sets, b->words.v, b->words.n, ret);
	if (r < 0 || *ret < g->n_states)
		return r;
	if (*ret > b->states_max || b->sets.n_words > WORDS_PER_STATE * b->states_max ||
	    g->work > WORK_PER_STATE * b->states_max)
		return -E2BIG;
	if (GROW(g->states, g->n_states) < 0)
		return -ENOMEM;
	g->states[g->n_states] = (struct sp_glob_state){ 0 };
	return match(b, &g->states[g->n_states++].matches);
}

/* The state after a byte; 0: one that no way is named for. */
static int state_after(struct builder *b, unsigned byte, uint32_t *ret)
{
	int r = 0;

	b->g->work++;
	b->words.n = 0;
	for (size_t i = 0; i < b->n_wide && r == 0 && byte != '/'; i++) {
		const struct wide_move *m = &b->wide[i];

		if ((m->but && m->but == byte) ||
		    (m->set != NOT_A_SET && byte && !byte_set_has(&b->tree->sets[m->set], byte)))
			continue;
		r = reach(b, m->to);
	}
	for (uint32_t i = byte ? b->by_byte[byte] : 0; i && r == 0; i = b->narrow[i].next)
		r = reach(b, b->narrow[i].to);
	return r < 0 ? r : state_of_words(b, ret);
}

static int add_way(struct builder *b, unsigned byte, uint32_t to)
{
	struct graph *g = b->g;

	if (g->n_ways >= WAYS_PER_STATE * b->states_max)
		return -E2BIG;
	if (GROW(g->ways, g->n_ways) < 0)
		return -ENOMEM;
	g->ways[g->n_ways++] = (struct way){ to, (uint8_t)byte };
	return 0;
}

/* `otherwise` must not be a state that no byte leads to: it would seem to be reachable. */
static int find_otherwise(struct builder *b, uint32_t *ret)
{
	unsigned byte = 0;

	if (b->mentioned.n > N_NAME_BYTES)
		for (byte = 1; byte == '/'; byte++)
			;
	return state_after(b, byte, ret);
}

static int expand(struct builder *b, uint32_t state)
{
	struct graph *g = b->g;
	const uint32_t *at;
	uint32_t otherwise, to;
	size_t n;
	int r = 0;

	b->at.n = 0;
	at = sequences_get(&b->sets, state, &n);
	for (size_t i = 0; i < n && r == 0; i++)
		r = append(&b->at, at[i]);
	if (r == 0)
		r = move_on_all(b);
	if (r == 0)
		r = find_otherwise(b, &otherwise);
	if (r < 0)
		return r;
	g->states[state].first_edge = g->n_ways;
	g->states[state].otherwise = otherwise;
	for (unsigned byte = 1; byte < N_BYTES && r == 0; byte++) {
		if (!byte_set_has(&b->mentioned, byte))
			continue;
		r = state_after(b, byte, &to);
		if (r == 0 && to != otherwise)
			r = add_way(b, byte, to);
	}
	return r;
}

static int build(struct builder *b)
{
	struct graph *g = b->g;
	uint32_t root;
	int r;

	if (GROW(b->narrow, 0) < 0 || GROW(g->states, 0) < 0)
		return -ENOMEM;
	g->states[0] = (struct sp_glob_state){ 0 };
	g->n_states = 1;
	r = reach(b, b->tree->root);
	if (r == 0 && b->tree->v[b->tree->units].n_ends)
		r = reach(b, b->tree->units);
	if (r == 0)
		r = state_of_words(b, &root);
	for (uint32_t state = 1; state < g->n_states && r == 0; state++)
		r = expand(b, state);
	return r;
}

static void builder_clear(struct builder *b)
{
	sequences_clear(&b->sets);
	free(b->at.v);
	free(b->words.v);
	free(b->says.v);
	free(b->wide);
	free(b->narrow);
}

static size_t states_max(const struct glob_tree *t)
{
	size_t n = STATES_PER_NODE * t->n + STATES_FREE;

	return n < MACHINE_STATES_MAX ? n : MACHINE_STATES_MAX;
}

int graph_new(const struct glob_tree *t, struct graph **ret, size_t *ret_work)
{
	_cleanup_(graph_free) struct graph *g = calloc(1, sizeof(*g));
	struct builder b = { .tree = t, .g = g, .states_max = states_max(t) };
	int r;

	*ret_work = 0;
	if (!g)
		return -ENOMEM;
	r = build(&b);
	builder_clear(&b);
	*ret_work = g->work;
	if (r < 0)
		return r;
	*ret = TAKE_PTR(g);
	return 0;
}

void graph_free(struct graph *g)
{
	if (!g)
		return;
	free(g->states);
	free(g->ways);
	sequences_clear(&g->matched);
	free(g);
}
