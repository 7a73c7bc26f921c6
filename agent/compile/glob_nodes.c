// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <errno.h>

#include "base/progress.h"
#include "compile/glob_nodes.h"
#include "compile/glob_tree.h"

#define NUMBERS	      (UINT16_MAX + 1u)	    /* numbers of nodes, and of links; 0 is none */
#define ELEMENTS_FULL (NUMBERS / 16ul * 15) /* room for the last ones is hard to find */

struct targets {
	uint32_t *v; /* nodes of the tree */
	size_t n;
};

/* The targets of a node of the tree, by byte. */
struct moves {
	struct targets by[BYTES]; /* by[0]: for bytes without targets of their own */
	uint8_t bytes[BYTES];	  /* the bytes with targets of their own */
	size_t n;
};

/* A move for some bytes. */
struct step {
	uint32_t to;
	struct byte_set set;
	bool is_large; /* it has most bytes, and so those that are not told apart */
};

struct packer {
	const struct glob_tree *t;
	struct glob_table *to;
	struct moves moves;
	struct step *steps;
	size_t n_steps;
	struct {
		uint32_t source;		  /* the only node that leads to it; SEVERAL */
		uint16_t number;		  /* 0: it is never active */
		uint8_t flags;			  /* SP_GLOB_* */
	} * of;					  /* by node of the tree */
	bool used[SP_GLOB_NODES], taken[NUMBERS]; /* elements; numbers */
	uint32_t cursor[BYTES];			  /* see find_room() */
	size_t n_links;
	int error; /* the first one: what is packed after it does not count */
};
#define SEVERAL UINT32_MAX

static void add_target(struct packer *p, struct targets *to, uint32_t node)
{
	for (size_t i = 0; i < to->n; i++)
		if (to->v[i] == node)
			return;
	if (APPEND(to->v, to->n, node) < 0)
		p->error = -ENOMEM;
}

/* Does neither a glob end in the node nor a path go on from it? */
static bool is_dead(const struct glob_tree *t, uint32_t at)
{
	const struct glob_tree_node *node = &t->v[at];

	if (!node->n_globs)
		return true;
	return !node->loop && !node->says && !t->v[node->follow].first && at != t->name &&
	       at != t->escaped;
}

/* Adds a node and those that become active together with it. */
static void add_reached(struct packer *p, uint32_t at, struct targets *to)
{
	const struct glob_tree *t = p->t;

	if (!is_dead(t, at))
		add_target(p, to, at);
	if (at == t->name || at == t->escaped)
		return;
	if (t->v[at].star)
		add_reached(p, t->v[at].star, to);
	if (t->v[at].any)
		add_reached(p, t->v[at].any, to);
}

static void add_step(struct packer *p, uint32_t to, const struct byte_set *set, uint8_t but)
{
	struct step step = { .to = to, .set = *set };
	unsigned size;

	step.set.bits[but / 64] &= ~(1ull << but % 64);
	size = byte_set_size(&step.set);
	step.is_large = size >= BYTES / 2;
	if (size && APPEND(p->steps, p->n_steps, step) < 0)
		p->error = -ENOMEM;
}

/* Adds what the node does with bytes, except for one (0: with all). */
static void add_steps(struct packer *p, uint32_t at, uint8_t but)
{
	const struct glob_tree_node *v = p->t->v;

	if (v[at].loop)
		add_step(p, at, &byte_set_of_names, but);
	for (uint32_t i = v[v[at].follow].first; i; i = v[i].next)
		add_step(p, i, &v[i].reads, but);
}

/* Finds what the node does with bytes; in front of a unit's name a '_' is skipped. */
static void find_steps(struct packer *p, uint32_t at)
{
	const struct glob_tree *t = p->t;
	uint8_t but = at == t->name ? '_' : 0;

	p->n_steps = 0;
	if (but)
		add_step(p, t->escaped, &t->v[t->escaped].reads, 0);
	add_steps(p, at, but);
	if ((at == t->name || at == t->escaped) && t->v[t->name].star)
		add_steps(p, t->v[t->name].star, but);
}

static bool targets_equal(const struct targets *a, const struct targets *b)
{
	return a->n == b->n && (!a->n || !memcmp(a->v, b->v, sizeof(*a->v) * a->n));
}

static void find_targets(struct packer *p, unsigned byte)
{
	struct targets *to = &p->moves.by[byte];

	to->n = 0;
	for (size_t i = 0; i < p->n_steps; i++)
		if (byte ? byte_set_has(&p->steps[i].set, byte) : p->steps[i].is_large)
			add_reached(p, p->steps[i].to, to);
}

static void find_moves(struct packer *p, uint32_t at)
{
	struct byte_set mentioned = { 0 };
	struct moves *m = &p->moves;

	find_steps(p, at);
	find_targets(p, 0);
	m->n = 0;
	for (size_t i = 0; i < p->n_steps; i++)
		for (size_t k = 0; k < ARRAY_SIZE(mentioned.bits); k++)
			mentioned.bits[k] |= p->steps[i].is_large ? ~p->steps[i].set.bits[k]
								  : p->steps[i].set.bits[k];
	mentioned.bits[0] &= ~1ull; /* NUL */
	for (unsigned k = 0; k < ARRAY_SIZE(mentioned.bits); k++) {
		for (uint64_t bits = mentioned.bits[k]; bits; bits &= bits - 1) {
			unsigned b = 64 * k + (unsigned)__builtin_ctzll(bits);

			find_targets(p, b);
			if (b == '/' ? m->by[b].n > 0 : !targets_equal(&m->by[b], &m->by[0]))
				m->bytes[m->n++] = (uint8_t)b;
		}
	}
}

static void note_sources(struct packer *p, uint32_t at, const struct targets *to)
{
	for (size_t i = 0; i < to->n; i++) {
		uint32_t *source = &p->of[to->v[i]].source;

		*source = !*source || *source == at ? at : SEVERAL;
	}
}

static uint8_t flags_of(const struct packer *p, uint32_t at)
{
	const struct glob_tree_node *node = &p->t->v[at];
	const struct moves *m = &p->moves;
	uint8_t flags = node->says ? SP_GLOB_SAYS : 0;

	if (!node->loop)
		return flags;
	flags |= SP_GLOB_STAYS;
	if (node->loop == LOOP_PATH)
		flags |= SP_GLOB_STAYS_SLASH;
	if (m->by[0].n == 1 && (m->n == 0 || (m->n == 1 && m->bytes[0] == '/')))
		flags |= SP_GLOB_IDLE;
	return flags;
}

/* Does the node need an element of its own, for bytes that nobody mentions or for globs that end in
 * it? */
static bool has_own(const struct packer *p, uint32_t at)
{
	return p->moves.by[0].n || p->t->v[at].says;
}

static bool is_free(const struct packer *p, uint32_t number, bool own)
{
	if (p->taken[number] || (own && p->used[number]))
		return false;
	for (size_t i = 0; i < p->moves.n; i++)
		if (p->used[number + p->moves.bytes[i]])
			return false;
	return true;
}

/*
 * Returns the first number at which the node's elements fit between those of others.  Places before
 * the cursor are in use for all nodes that need one at the same distance.
 */
static uint32_t find_room(struct packer *p, bool own)
{
	uint8_t key = own || !p->moves.n ? 0 : p->moves.bytes[0];
	uint32_t *cursor = &p->cursor[key], number;

	while (*cursor < NUMBERS && (p->taken[*cursor] || p->used[*cursor + key]))
		++*cursor;
	for (number = *cursor; number < NUMBERS; number++)
		if (is_free(p, number, own))
			break;
	if (number > *cursor + 2048) /* the places skipped here will hardly fit a later node */
		*cursor = number - 1024;
	return number;
}

/* Finds a place for a node.  -ENOSPC: the table is full. */
static void place_node(struct packer *p, uint32_t at)
{
	const struct moves *m = &p->moves;
	uint32_t number, end;
	bool own;

	find_moves(p, at);
	note_sources(p, at, &m->by[0]);
	for (size_t i = 0; i < m->n; i++)
		note_sources(p, at, &m->by[m->bytes[i]]);
	p->of[at].flags = flags_of(p, at);
	own = has_own(p, at);
	number = find_room(p, own);
	if (number >= NUMBERS) {
		p->error = -ENOSPC;
		return;
	}
	p->of[at].number = (uint16_t)number;
	p->taken[number] = true;
	if (own)
		p->used[number] = true;
	for (size_t i = 0; i < m->n; i++)
		p->used[number + m->bytes[i]] = true;
	end = number + (m->n ? m->bytes[m->n - 1] : 0) + 1;
	if (end > p->to->n_nodes)
		p->to->n_nodes = end;
}

static uint16_t last_glob(const struct glob_tree_node *node)
{
	return (uint16_t)(node->first_glob + node->n_globs - 1);
}

static uint8_t target_flags(const struct packer *p, uint32_t at)
{
	return p->of[at].flags | (p->of[at].source == SEVERAL ? SP_GLOB_SHARED : 0);
}

/* Puts a link in front of the chain that begins at *first; 0: there is none yet. */
static void add_link(struct packer *p, struct sp_glob_link link, uint16_t *first)
{
	if (p->n_links >= NUMBERS)
		p->error = -ENOSPC;
	else if (GROW(p->to->links, p->n_links) < 0)
		p->error = -ENOMEM;
	if (p->error)
		return;
	link.next = *first;
	*first = (uint16_t)p->n_links;
	p->to->links[p->n_links++] = link;
}

/* Returns the chain of the targets from place `first` on; 0: there are none. */
static uint16_t write_links(struct packer *p, const struct targets *to, size_t first)
{
	uint16_t chain = 0;

	for (size_t i = to->n; i-- > first;) {
		const struct glob_tree_node *node = &p->t->v[to->v[i]];

		add_link(p,
			 (struct sp_glob_link){ .what = p->of[to->v[i]].number,
						.first = (uint16_t)node->first_glob,
						.last = last_glob(node),
						.flags = target_flags(p, to->v[i]) },
			 &chain);
	}
	return chain;
}

static uint16_t write_says(struct packer *p, uint32_t at)
{
	uint16_t chain = 0;

	for (uint32_t i = p->t->v[at].says; i; i = p->t->says[i].next) {
		const struct glob_tree_say *say = &p->t->says[i];
		uint16_t glob = (uint16_t)say->glob;

		add_link(p,
			 (struct sp_glob_link){
				 .what = (uint16_t)say->who, .first = glob, .last = glob },
			 &chain);
	}
	return chain;
}

static void write_element(struct packer *p, uint32_t at, unsigned byte)
{
	const struct targets *to = &p->moves.by[byte];
	struct sp_glob_node *e = &p->to->nodes[p->of[at].number + byte];
	const struct glob_tree_node *first;

	e->from = p->of[at].number;
	if (!to->n)
		return;
	first = &p->t->v[to->v[0]];
	e->to = p->of[to->v[0]].number;
	e->first = (uint16_t)first->first_glob;
	e->last = last_glob(first);
	e->flags = target_flags(p, to->v[0]);
	e->more = write_links(p, to, 1);
}

static void write_node(struct packer *p, uint32_t at)
{
	struct sp_glob_node *own = &p->to->nodes[p->of[at].number];
	const struct moves *m = &p->moves;

	find_moves(p, at);
	if (has_own(p, at)) {
		write_element(p, at, 0);
		own->says = write_says(p, at);
	}
	for (size_t i = 0; i < m->n; i++) {
		if (i && targets_equal(&m->by[m->bytes[i]], &m->by[m->bytes[i - 1]]))
			own[m->bytes[i]] = own[m->bytes[i - 1]]; /* a set's bytes share a chain */
		else
			write_element(p, at, m->bytes[i]);
	}
}

static int pack(struct packer *p)
{
	const struct glob_tree *t = p->t;
	struct sp_glob_node *zero = p->to->nodes;
	struct targets begin = { 0 };
	uint16_t none = 0;

	add_reached(p, t->root, &begin);
	add_reached(p, t->units, &begin);
	note_sources(p, (uint32_t)t->n, &begin);
	p->to->n_nodes = 1;
	for (uint32_t i = 1; i < t->n && !p->error; i++)
		if (!is_dead(t, i))
			place_node(p, i);
	add_link(p, (struct sp_glob_link){ 0 }, &none);
	zero->more = write_links(p, &begin, 0);
	zero->last = (uint16_t)(t->n_globs - 1);
	for (uint32_t i = 1; i < t->n && !p->error; i++)
		if (p->of[i].number)
			write_node(p, i);
	p->to->n_links = (uint32_t)p->n_links;
	p->to->n_globs = t->n_globs;
	free(begin.v);
	return p->error;
}

static void glob_table_clear(struct glob_table *t)
{
	free(t->nodes);
	free(t->links);
	*t = (struct glob_table){ 0 };
}

static void packer_free(struct packer *p)
{
	for (size_t i = 0; i < BYTES; i++)
		free(p->moves.by[i].v);
	free(p->steps);
	free(p->of);
	free(p);
}
DEFINE_CLEANUP(struct packer *, packer_free)

static int pack_tree(const struct glob_tree *t, struct glob_table *ret)
{
	_cleanup_(packer_free) struct packer *p = calloc(1, sizeof(*p));
	struct glob_table table = { .nodes = calloc(SP_GLOB_NODES, sizeof(*table.nodes)) };
	int r = -ENOMEM;

	if (p && table.nodes) {
		p->t = t;
		p->to = &table;
		p->of = calloc(t->n, sizeof(*p->of));
		p->used[0] = p->taken[0] = true;
		r = p->of ? pack(p) : -ENOMEM;
	}
	if (r < 0) {
		glob_table_clear(&table);
		return r;
	}
	*ret = table;
	return 0;
}

/* --- several tables ----------------------------------------------------------------------------
 */

struct numbered_glob {
	const struct pattern *pattern;
	uint32_t policy;
};

struct numbered_globs {
	struct numbered_glob *v;
	size_t n;
};

#define REFUSE(about, ret_error, ret_at, ...)                                                      \
	(*(ret_at) = (about)->at,                                                                  \
	 glob_sentence(ret_error, -E2BIG, (about)->glob->pattern, __VA_ARGS__))

static int check(const struct pattern *p, char **ret_error, struct position *ret_at)
{
	size_t room = glob_tree_room(p->glob);

	if (!glob_tree_can(p->glob))
		return REFUSE(p, ret_error, ret_at,
			      "a bracket expression may have ranges and classes such as "
			      "[:alpha:], but no '[.', '[=' or other '[:'");
	if (room > SP_GLOB_ACTIVE_MAX)
		return REFUSE(p, ret_error, ret_at,
			      "could match in too many ways at once (%zu, at most %d); use fewer "
			      "'*' and '?'",
			      room, SP_GLOB_ACTIVE_MAX);
	return 0;
}

static int collect(struct numbered_globs *to, const struct config *c, bool exclude,
		   char **ret_error, struct position *ret_at)
{
	for (size_t i = 0; i < c->n_policies; i++) {
		const struct patterns *from =
			exclude ? &c->policies[i].exclude : &c->policies[i].match;

		for (size_t k = 0; k < from->n; k++) {
			int r = check(&from->v[k], ret_error, ret_at);

			if (r < 0)
				return r;
			if (APPEND(to->v, to->n,
				   (struct numbered_glob){ &from->v[k], (uint32_t)i + 1 }) < 0)
				return -ENOMEM;
		}
	}
	return 0;
}

/* Grows a tree from as many globs from place `first` on as so many edges hold, at least one. */
static int grow_tree(const struct numbered_globs *globs, size_t first, size_t edges_max,
		     struct glob_tree **ret)
{
	_cleanup_(glob_tree_free) struct glob_tree *t = NULL;
	int r = glob_tree_new(&t);

	for (size_t i = first; i < globs->n && r == 0; i++) {
		if (t->n_globs && (t->n_edges >= edges_max || t->n_globs >= NUMBERS - 1))
			break;
		r = glob_tree_add(t, globs->v[i].pattern->glob, globs->v[i].policy);
	}
	if (r == 0)
		r = glob_tree_number(t);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(t);
	return 0;
}

/* Fills one table.  Returns -ENOSPC: the glob at place `first` is too large on its own. */
static int fill_table(const struct numbered_globs *globs, size_t first, struct glob_table *ret)
{
	size_t edges_max = ELEMENTS_FULL;

	for (;;) {
		_cleanup_(glob_tree_free) struct glob_tree *t = NULL;
		int r = grow_tree(globs, first, edges_max, &t);

		if (r < 0)
			return r;
		r = pack_tree(t, ret);
		if (r != -ENOSPC || t->n_globs == 1)
			return r;
		edges_max = (t->n_edges < edges_max ? t->n_edges : edges_max) / 8 * 7;
	}
}

static int add_tables(const struct config *c, bool exclude, struct glob_tables *to,
		      char **ret_error, struct position *ret_at)
{
	uint32_t *n = exclude ? &to->n_exclude : &to->n_match;
	struct numbered_globs globs = { 0 };
	int r = collect(&globs, c, exclude, ret_error, ret_at);

	for (size_t i = 0; i < globs.n && r == 0; ++*n) {
		const struct pattern *first = globs.v[i].pattern;
		uint32_t at = to->n_match + to->n_exclude;

		if (at >= SP_GLOB_TABLES_MAX) {
			r = REFUSE(first, ret_error, ret_at,
				   "this glob and those behind it do not fit: %d tables are full",
				   SP_GLOB_TABLES_MAX);
			break;
		}
		progress_made();
		r = fill_table(&globs, i, &to->v[at]);
		if (r == -ENOSPC)
			r = REFUSE(first, ret_error, ret_at, "too long");
		i += to->v[at].n_globs;
	}
	free(globs.v);
	return r;
}

int glob_tables_new(const struct config *c, struct glob_tables *ret, char **ret_error,
		    struct position *ret_at)
{
	struct glob_tables t = { 0 };
	int r;

	*ret_error = NULL;
	r = add_tables(c, false, &t, ret_error, ret_at);
	if (r == 0)
		r = add_tables(c, true, &t, ret_error, ret_at);
	if (r < 0) {
		glob_tables_clear(&t);
		return r;
	}
	*ret = t;
	return 0;
}

void glob_tables_clear(struct glob_tables *t)
{
	for (size_t i = 0; i < SP_GLOB_TABLES_MAX; i++)
		glob_table_clear(&t->v[i]);
	*t = (struct glob_tables){ 0 };
}

static bool is_sound(const struct glob_table *t)
{
	for (uint32_t i = 0; i < t->n_nodes; i++)
		if ((t->nodes[i].more && t->nodes[i].more >= t->n_links) ||
		    (t->nodes[i].says && t->nodes[i].says >= t->n_links))
			return false;
	for (uint32_t i = 1; i < t->n_links; i++)
		if (t->links[i].next >= i)
			return false;
	return true;
}

bool glob_tables_are_sound(const struct glob_tables *t)
{
	for (uint32_t i = 0; i < t->n_match + t->n_exclude; i++)
		if (!is_sound(&t->v[i]))
			return false;
	return true;
}
