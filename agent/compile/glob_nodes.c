// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * From globs to the tables of include/abi.h, in three steps: a tree that shares what globs begin
 * with, its globs numbered in depth-first order, and its nodes packed into one array.
 *
 *   /a/ *.x       root -'/'-> . -a-> . -'/'-> . , star (loops on names) -'.'-> . -x-> . says who
 *   /a/ ** /b     ... -a-> . , any -'/'-> inside (loops on names and '/') -'/'-> . -b-> . says who
 *   unit: b       units -'/'-> name ('_' is skipped) -b-> . says who
 *                 units -'/'-> slices (loops on names) -'.'-> ... -e-> . goes on as units does
 */
#include <errno.h>
#include <fnmatch.h>

#include "compile/glob_nodes.h"

#define HASH_NONFATAL_OOM 1
#include <uthash.h>

enum reads {
	READS_NOTHING, /* is reached together with another */
	READS_BYTE,
	READS_ANY_BYTE, /* of a name: all but '/' */
	READS_SET,
};

enum loop {
	LOOP_NONE,
	LOOP_NAME, /* stays for every byte but '/' */
	LOOP_PATH, /* the same, and comes back by '/' */
};

struct byte_set {
	uint64_t bits[4]; /* never '/' and NUL */
};

struct tree_node {
	uint32_t next;	 /* of the list that it is in; 0: the last */
	uint32_t first;	 /* list of what can be read next */
	uint32_t follow; /* the node whose list holds here as well: mostly its own */
	uint32_t star;	 /* reached together with this one: the loop of a '*'; 0: none */
	uint32_t any;	 /* the same for a "**" */
	uint32_t says;	 /* index into tree.says; 0: no glob ends here */
	uint32_t set;	 /* READS_SET: index into tree.sets */
	uint8_t reads, byte, loop;
	bool shared; /* several nodes lead here */
	/* The globs that are reached from here by reading on: their numbers. */
	uint32_t first_glob, last_glob;
	uint32_t number; /* in the table */
};

struct tree_say {
	uint16_t who;  /* the policy's number */
	uint16_t glob; /* the glob's own number */
	uint32_t next; /* 0: the last */
};

/* A bracket expression, as it is written. */
struct named_set {
	char *text;
	uint32_t set;
	UT_hash_handle hh;
};

struct tree {
	struct tree_node *v; /* 0 is unused */
	size_t n;
	struct tree_say *says; /* 0 is unused */
	size_t n_says;
	struct byte_set *sets;
	size_t n_sets;
	struct named_set *set_names;
	uint32_t root, units;	/* where a path begins */
	uint32_t name, escaped; /* before a unit's name, and after its '_' */
	bool has_units;
	size_t n_elements; /* that its nodes take in a table, about */
};

/* A glob and the policy that has it. */
struct owned_glob {
	const struct pattern *pattern;
	uint16_t who;
};

/* What a table holds: elements up to here are filled, beyond the first-fit search grows slow. */
#define ELEMENTS_MAX 60000u
#define NUMBERS_MAX  65535u

static bool set_has(const struct byte_set *s, unsigned byte)
{
	return s->bits[byte / 64] >> byte % 64 & 1;
}

static unsigned set_size(const struct byte_set *s)
{
	unsigned n = 0;

	for (size_t i = 0; i < ARRAY_SIZE(s->bits); i++)
		n += (unsigned)__builtin_popcountll(s->bits[i]);
	return n;
}

/* --- the tree ----------------------------------------------------------------------------------
 */

static int new_node(struct tree *t, struct tree_node like, uint32_t *ret)
{
	if (GROW(t->v, t->n) < 0)
		return -ENOMEM;
	like.follow = (uint32_t)t->n;
	t->v[t->n] = like;
	*ret = (uint32_t)t->n++;
	t->n_elements += like.loop ? 2 : 1;
	return 0;
}

/* The node after `at` that reads as `like` does, whether it is there already or not. */
static int read_on(struct tree *t, uint32_t at, struct tree_node like, uint32_t *ret)
{
	uint32_t last = 0, child;
	int r;

	for (uint32_t i = t->v[at].first; i; i = t->v[i].next) {
		const struct tree_node *has = &t->v[i];

		if (has->reads == like.reads && has->byte == like.byte && has->set == like.set &&
		    has->loop == like.loop) {
			*ret = i;
			return 0;
		}
		last = i;
	}
	r = new_node(t, like, &child);
	if (r < 0)
		return r;
	if (last)
		t->v[last].next = child;
	else
		t->v[at].first = child;
	*ret = child;
	return 0;
}

static int read_byte(struct tree *t, uint32_t at, char byte, uint32_t *ret)
{
	const struct tree_node like = { .reads = READS_BYTE, .byte = (uint8_t)byte };

	return read_on(t, at, like, ret);
}

/* fnmatch(3) itself says which bytes a bracket expression has. */
static struct byte_set bytes_of(const char *bracket)
{
	struct byte_set set = { 0 };

	for (unsigned byte = 1; byte <= UINT8_MAX; byte++) {
		const char name[] = { (char)byte, '\0' };

		if (byte != '/' && fnmatch(bracket, name, FNM_NOESCAPE) == 0)
			set.bits[byte / 64] |= 1ull << byte % 64;
	}
	return set;
}

static void named_set_free(struct named_set *s)
{
	free(s->text);
	free(s);
}

static int named_set_new(struct tree *t, const char *s, size_t length, struct named_set **ret)
{
	struct named_set *n = calloc(1, sizeof(*n));

	if (!n)
		return -ENOMEM;
	n->text = strndup(s, length);
	if (!n->text || GROW(t->sets, t->n_sets) < 0) {
		named_set_free(n);
		return -ENOMEM;
	}
	n->set = (uint32_t)t->n_sets;
	t->sets[t->n_sets] = bytes_of(n->text);
	HASH_ADD_KEYPTR(hh, t->set_names, n->text, length, n);
	if (!n->hh.tbl) {
		named_set_free(n);
		return -ENOMEM;
	}
	t->n_sets++;
	*ret = n;
	return 0;
}

static int read_set(struct tree *t, uint32_t at, const char *s, size_t length, uint32_t *ret)
{
	struct tree_node like = { .reads = READS_SET };
	struct named_set *found;
	int r = 0;

	HASH_FIND(hh, t->set_names, s, length, found);
	if (!found)
		r = named_set_new(t, s, length, &found);
	if (r < 0)
		return r;
	like.set = found->set;
	t->n_elements += set_size(&t->sets[found->set]) % 128;
	return read_on(t, at, like, ret);
}

static int add_star(struct tree *t, uint32_t at, uint32_t *ret)
{
	uint32_t star = t->v[at].star;
	int r = 0;

	if (!star) {
		r = new_node(t, (struct tree_node){ .loop = LOOP_NAME }, &star);
		if (r == 0)
			t->v[at].star = star;
	}
	*ret = star;
	return r;
}

/*
 * Zero components more, or inside of one: the first in the list of what comes after zero, which is
 * its own as well, so that it goes on over '/'.
 */
static int add_any(struct tree *t, uint32_t at, uint32_t *ret)
{
	static const struct tree_node like_inside = { .reads = READS_BYTE,
						      .byte = '/',
						      .loop = LOOP_PATH };
	uint32_t any, inside;
	int r;

	if (!t->v[at].any) {
		r = new_node(t, (struct tree_node){ 0 }, &any);
		if (r < 0)
			return r;
		t->v[at].any = any;
		r = read_on(t, any, like_inside, &inside);
		if (r < 0)
			return r;
		t->v[inside].follow = any;
	}
	*ret = t->v[at].any;
	return 0;
}

static int add_element(struct tree *t, uint32_t at, const char **s, uint32_t *ret)
{
	static const struct tree_node like_any_byte = { .reads = READS_ANY_BYTE };
	const char *begin = (*s)++;

	switch (*begin) {
	case '*':
		return add_star(t, at, ret);
	case '?':
		return read_on(t, at, like_any_byte, ret);
	case '[':
		*s = glob_bracket_end(begin) + 1;
		return read_set(t, at, begin, (size_t)(*s - begin), ret);
	default:
		return read_byte(t, at, *begin, ret);
	}
}

static int add_name(struct tree *t, const char *s, uint32_t *at)
{
	int r = 0;

	while (r == 0 && *s)
		r = add_element(t, *at, &s, at);
	return r;
}

static int add_say(struct tree *t, uint32_t at, uint16_t who)
{
	if (GROW(t->says, t->n_says) < 0)
		return -ENOMEM;
	t->says[t->n_says] = (struct tree_say){ .who = who, .next = t->v[at].says };
	t->v[at].says = (uint32_t)t->n_says++;
	t->n_elements++;
	return 0;
}

/* `any` may stand for no component, where the one before it ends; but never for the root. */
static int end_in_any(struct tree *t, uint32_t before, uint32_t any, uint16_t who)
{
	int r = add_say(t, t->v[any].first, who);

	return r < 0 || before == t->root ? r : add_say(t, before, who);
}

static int add_cgroup(struct tree *t, const struct glob *g, uint16_t who)
{
	uint32_t at = t->root, before = 0; /* a "**" at the end: the node before it */
	int r = 0;

	for (size_t i = 0; i < glob_n_components(g) && r == 0; i++) {
		const char *s = glob_component(g, i);

		if (streq(s, "**")) {
			if (before)
				continue; /* two of them say no more than one */
			before = at;
			r = add_any(t, at, &at);
			continue;
		}
		before = 0;
		r = read_byte(t, at, '/', &at);
		if (r == 0)
			r = add_name(t, s, &at);
	}
	if (r < 0)
		return r;
	return before ? end_in_any(t, before, at, who) : add_say(t, at, who);
}

static int add_glob(struct tree *t, const struct owned_glob *g)
{
	const struct glob *glob = g->pattern->glob;
	uint32_t at = t->name;
	int r;

	if (glob_kind(glob) == GLOB_CGROUP)
		return add_cgroup(t, glob, g->who);
	t->has_units = true;
	r = add_name(t, glob_component(glob, 0), &at);
	return r < 0 ? r : add_say(t, at, g->who);
}

/* A path of slices, and a name. */
static int add_units(struct tree *t)
{
	static const struct tree_node like_slices = { .reads = READS_BYTE,
						      .byte = '/',
						      .loop = LOOP_NAME };
	uint32_t at;
	int r;

	r = new_node(t, (struct tree_node){ 0 }, &t->units);
	if (r == 0)
		r = read_byte(t, t->units, '/', &t->name);
	if (r == 0)
		r = new_node(t, (struct tree_node){ .reads = READS_BYTE, .byte = '_' },
			     &t->escaped);
	if (r == 0)
		r = read_on(t, t->units, like_slices, &at);
	for (const char *s = ".slice"; r == 0 && *s; s++)
		r = read_byte(t, at, *s, &at);
	if (r < 0)
		return r;
	t->v[t->escaped].follow = t->name;
	t->v[at].follow = t->units;
	return 0;
}

static void tree_clear(struct tree *t)
{
	struct named_set *s, *following;

	HASH_ITER (hh, t->set_names, s, following) {
		HASH_DEL(t->set_names, s);
		named_set_free(s);
	}
	free(t->v);
	free(t->says);
	free(t->sets);
	*t = (struct tree){ 0 };
}

static int tree_init(struct tree *t)
{
	uint32_t unused;
	int r;

	*t = (struct tree){ .n_says = 1 };
	if (GROW(t->says, 0) < 0)
		return -ENOMEM;
	r = new_node(t, (struct tree_node){ 0 }, &unused);
	if (r == 0)
		r = new_node(t, (struct tree_node){ 0 }, &t->root);
	return r < 0 ? r : add_units(t);
}

/*
 * Numbers the globs in depth-first order, so that those below a node are an interval.  A node's own
 * interval is what it leads to by reading on: the loops reached together with it have their own.
 * shared: the node whose list it is in, or who it is reached together with, is reached by several.
 */
static void number_globs(struct tree *t, uint32_t at, bool shared, uint16_t *n)
{
	struct tree_node *v = &t->v[at];
	bool several = at == t->name || at == t->units || (v->first && t->v[v->first].follow == at);

	v->shared = shared || v->loop;
	v->first_glob = *n;
	for (uint32_t i = v->says; i; i = t->says[i].next)
		t->says[i].glob = (*n)++;
	for (uint32_t i = v->first; i; i = t->v[i].next)
		number_globs(t, i, several, n);
	v->last_glob = (uint32_t)(*n - 1);
	if (v->star)
		number_globs(t, v->star, true, n);
	if (v->any)
		number_globs(t, v->any, v->shared, n);
}

static void take_interval(struct tree *t, uint32_t at, uint32_t from)
{
	t->v[at].first_glob = t->v[from].first_glob;
	t->v[at].last_glob = t->v[from].last_glob;
}

/* Where a node goes on with another's list, it leads to the other's globs. */
static void widen_intervals(struct tree *t)
{
	uint32_t at = t->v[t->name].next; /* the slices */

	/* A unit's '*' comes with the name's first byte, not with the '/' before it. */
	if (t->v[t->name].star)
		t->v[t->name].last_glob = t->v[t->v[t->name].star].last_glob;
	t->v[t->units].last_glob = t->v[t->name].last_glob;
	take_interval(t, t->escaped, t->name);
	t->v[t->escaped].shared = true;
	for (; at; at = t->v[at].first)
		take_interval(t, at, t->units);
	for (size_t i = 1; i < t->n; i++)
		if (t->v[i].loop == LOOP_PATH)
			take_interval(t, (uint32_t)i, t->v[i].follow);
}

/* --- what a node does with each byte -----------------------------------------------------------
 */

struct target_list {
	uint32_t *v; /* owned */
	size_t n;
};

static int target_add(struct target_list *to, uint32_t node)
{
	for (size_t i = 0; i < to->n; i++)
		if (to->v[i] == node)
			return 0;
	if (GROW(to->v, to->n) < 0)
		return -ENOMEM;
	to->v[to->n++] = node;
	return 0;
}

static bool leads_nowhere(const struct tree *t, uint32_t at)
{
	const struct tree_node *v = &t->v[at];

	return !v->loop && !v->says && !t->v[v->follow].first && at != t->name && at != t->escaped;
}

/* A node, and those that are reached together with it. */
static int reach(const struct tree *t, uint32_t at, struct target_list *to)
{
	const struct tree_node *v = &t->v[at];
	int r = leads_nowhere(t, at) ? 0 : target_add(to, at);

	if (at == t->name || at == t->escaped)
		return r;
	if (r == 0 && v->star)
		r = reach(t, v->star, to);
	if (r == 0 && v->any)
		r = reach(t, v->any, to);
	return r;
}

/* One way on: a byte, a set, or any byte of a name (less `but`, where that is not 0). */
struct way_on {
	uint32_t to;
	uint8_t reads, byte, but;
	uint32_t set;
};

struct ways_on {
	struct way_on *v; /* owned */
	size_t n;
};

static int way_add(struct ways_on *w, struct way_on way)
{
	if (GROW(w->v, w->n) < 0)
		return -ENOMEM;
	w->v[w->n++] = way;
	return 0;
}

static int add_ways_of(const struct tree *t, uint32_t at, uint8_t but, struct ways_on *w)
{
	int r = 0;

	if (t->v[at].loop)
		r = way_add(w, (struct way_on){ .to = at, .reads = READS_ANY_BYTE, .but = but });
	for (uint32_t i = t->v[t->v[at].follow].first; i && r == 0; i = t->v[i].next) {
		const struct tree_node *v = &t->v[i];

		if (v->reads == READS_BYTE && v->byte == but)
			continue;
		r = way_add(w, (struct way_on){ i, v->reads, v->byte, but, v->set });
	}
	return r;
}

static int find_ways(const struct tree *t, uint32_t at, struct ways_on *w)
{
	uint8_t but = at == t->name ? '_' : 0;
	int r = 0;

	w->n = 0;
	if (but)
		r = way_add(w, (struct way_on){ t->escaped, READS_BYTE, but, 0, 0 });
	if (r == 0)
		r = add_ways_of(t, at, but, w);
	if (r == 0 && (at == t->name || at == t->escaped) && t->v[t->name].star)
		r = add_ways_of(t, t->v[t->name].star, but, w);
	return r;
}

/* Does this way take the byte?  byte 0: those that are not mentioned by any way. */
static bool way_takes(const struct tree *t, const struct way_on *w, unsigned byte)
{
	const struct byte_set *s;

	if (w->reads == READS_BYTE)
		return byte == w->byte;
	if (byte == '/' || (byte && byte == w->but))
		return false;
	if (w->reads == READS_ANY_BYTE)
		return true;
	s = &t->sets[w->set];
	return byte ? set_has(s, byte) : set_size(s) > 127;
}

/* The bytes that some way tells apart from the others. */
static struct byte_set mentioned_bytes(const struct tree *t, const struct ways_on *ways)
{
	struct byte_set m = { 0 };

	for (size_t i = 0; i < ways->n; i++) {
		const struct way_on *w = &ways->v[i];

		if (w->reads == READS_BYTE)
			m.bits[w->byte / 64] |= 1ull << w->byte % 64;
		if (w->but)
			m.bits[w->but / 64] |= 1ull << w->but % 64;
		if (w->reads != READS_SET)
			continue;
		for (size_t k = 0; k < ARRAY_SIZE(m.bits); k++)
			m.bits[k] |= set_size(&t->sets[w->set]) > 127 ? ~t->sets[w->set].bits[k]
								      : t->sets[w->set].bits[k];
	}
	m.bits[0] &= ~1ull; /* NUL ends a name */
	return m;
}

static int targets_of(const struct tree *t, const struct ways_on *ways, unsigned byte,
		      struct target_list *to)
{
	int r = 0;

	to->n = 0;
	for (size_t i = 0; i < ways->n && r == 0; i++)
		if (way_takes(t, &ways->v[i], byte))
			r = reach(t, ways->v[i].to, to);
	return r;
}

/* A node's elements: those of bytes, and its own for the other bytes and for what ends in it. */
struct node_plan {
	struct ways_on ways;
	struct target_list other, by_byte;
	struct byte_set edges; /* bytes that have one */
	bool has_own;
};

static void plan_clear(struct node_plan *p)
{
	free(p->ways.v);
	free(p->other.v);
	free(p->by_byte.v);
}

static bool same_targets(const struct target_list *a, const struct target_list *b)
{
	return a->n == b->n && (a->n == 0 || memcmp(a->v, b->v, a->n * sizeof(*a->v)) == 0);
}

static int plan_node(const struct tree *t, uint32_t at, struct node_plan *p)
{
	int r = find_ways(t, at, &p->ways);

	if (r == 0)
		r = targets_of(t, &p->ways, 0, &p->other);
	p->has_own = p->other.n || t->v[at].says;
	p->edges = mentioned_bytes(t, &p->ways);
	for (unsigned byte = 1; byte <= UINT8_MAX && r == 0; byte++) {
		if (!set_has(&p->edges, byte))
			continue;
		r = targets_of(t, &p->ways, byte, &p->by_byte);
		if (byte == '/' ? !p->by_byte.n : same_targets(&p->by_byte, &p->other))
			p->edges.bits[byte / 64] &= ~(1ull << byte % 64);
	}
	return r;
}

/* --- packing -----------------------------------------------------------------------------------
 */

/* Links that are equal are one: chains of further targets mostly end alike. */
struct known_link {
	struct sp_glob_link link;
	uint16_t index;
	UT_hash_handle hh;
};

struct packer {
	struct tree *tree;
	struct glob_table *table;
	struct known_link *known;
	/* Bits: elements that are used, and numbers that a node has. */
	uint64_t used[(SP_GLOB_NODES + 63) / 64], taken[(SP_GLOB_NODES + 63) / 64];
	uint32_t from[UINT8_MAX +
		      1]; /* elements below are used: for nodes whose first edge is this */
};

static bool bit_of(const uint64_t *bits, uint32_t i)
{
	return bits[i / 64] >> i % 64 & 1;
}

static void set_bit(uint64_t *bits, uint32_t i)
{
	bits[i / 64] |= 1ull << i % 64;
}

static int link_index(struct packer *p, const struct sp_glob_link *link, uint16_t *ret)
{
	struct known_link *k;

	HASH_FIND(hh, p->known, link, sizeof(*link), k);
	if (k) {
		*ret = k->index;
		return 0;
	}
	if (p->table->n_links >= SP_GLOB_LINKS)
		return -E2BIG;
	k = calloc(1, sizeof(*k));
	if (!k || GROW(p->table->links, p->table->n_links) < 0) {
		free(k);
		return -ENOMEM;
	}
	k->link = *link;
	k->index = (uint16_t)p->table->n_links;
	HASH_ADD(hh, p->known, link, sizeof(*link), k);
	if (!k->hh.tbl) {
		free(k);
		return -ENOMEM;
	}
	p->table->links[p->table->n_links++] = *link;
	*ret = k->index;
	return 0;
}

/* Does the node, where it stays, do more with a byte than to stay? */
static bool is_idle(const struct tree *t, uint32_t at)
{
	const struct tree_node *v = &t->v[at];

	if (!v->loop || v->star || v->any)
		return false;
	for (uint32_t i = t->v[v->follow].first; i; i = t->v[i].next)
		if (t->v[i].reads != READS_BYTE || t->v[i].byte != '/')
			return false;
	return true;
}

static struct sp_glob_link target_link(const struct packer *p, uint32_t node)
{
	const struct tree_node *v = &p->tree->v[node];
	unsigned flags = v->shared ? SP_GLOB_SHARED : 0;

	if (v->loop)
		flags |= SP_GLOB_STAYS;
	if (v->loop == LOOP_PATH)
		flags |= SP_GLOB_STAYS_SLASH;
	if (is_idle(p->tree, node))
		flags |= SP_GLOB_IDLE;
	if (v->says)
		flags |= SP_GLOB_SAYS;
	return (struct sp_glob_link){
		.what = (uint16_t)v->number,
		.first = (uint16_t)v->first_glob,
		.last = (uint16_t)v->last_glob,
		.flags = (uint8_t)flags,
	};
}

/* The chain of the targets but the first `skip`. */
static int chain_of(struct packer *p, const struct target_list *to, size_t skip, uint16_t *ret)
{
	uint16_t next = 0;
	int r = 0;

	for (size_t i = to->n; i > skip && r == 0; i--) {
		struct sp_glob_link link = target_link(p, to->v[i - 1]);

		link.next = next;
		r = link_index(p, &link, &next);
	}
	*ret = next;
	return r;
}

static int write_element(struct packer *p, uint32_t at, uint32_t from, const struct target_list *to)
{
	struct sp_glob_node *e = &p->table->nodes[at];
	struct sp_glob_link first;

	e->from = (uint16_t)from;
	if (!to->n)
		return 0;
	first = target_link(p, to->v[0]);
	e->to = first.what;
	e->first = first.first;
	e->last = first.last;
	e->flags = first.flags;
	return chain_of(p, to, 1, &e->more);
}

static int write_says(struct packer *p, const struct tree_node *v, uint16_t *ret)
{
	uint16_t next = 0;
	int r = 0;

	for (uint32_t i = v->says; i && r == 0; i = p->tree->says[i].next) {
		const struct tree_say *s = &p->tree->says[i];
		const struct sp_glob_link link = {
			.what = s->who, .next = next, .first = s->glob, .last = s->glob
		};

		r = link_index(p, &link, &next);
	}
	*ret = next;
	return r;
}

static int write_node(struct packer *p, uint32_t at, struct node_plan *plan)
{
	const struct tree_node *v = &p->tree->v[at];
	int r = plan_node(p->tree, at, plan);

	if (r == 0 && plan->has_own)
		r = write_element(p, v->number, v->number, &plan->other);
	if (r == 0 && v->says)
		r = write_says(p, v, &p->table->nodes[v->number].says);
	for (unsigned byte = 1; byte <= UINT8_MAX && r == 0; byte++) {
		if (!set_has(&plan->edges, byte))
			continue;
		r = targets_of(p->tree, &plan->ways, byte, &plan->by_byte);
		if (r == 0)
			r = write_element(p, v->number + byte, v->number, &plan->by_byte);
	}
	return r;
}

static bool fits(const struct packer *p, const struct node_plan *plan, uint32_t n)
{
	if (bit_of(p->taken, n) || (plan->has_own && bit_of(p->used, n)))
		return false;
	for (size_t k = 0; k < ARRAY_SIZE(plan->edges.bits); k++)
		for (uint64_t bits = plan->edges.bits[k]; bits; bits &= bits - 1)
			if (bit_of(p->used, n + (uint32_t)k * 64 + (uint32_t)__builtin_ctzll(bits)))
				return false;
	return true;
}

/* The node's lowest element, counted from its number. */
static unsigned lowest_element(const struct node_plan *plan)
{
	if (plan->has_own)
		return 0;
	for (unsigned k = 0; k < ARRAY_SIZE(plan->edges.bits); k++)
		if (plan->edges.bits[k])
			return k * 64 + (unsigned)__builtin_ctzll(plan->edges.bits[k]);
	return 0;
}

#define TRIES                                                                                      \
	512 /* places that a node with several elements tries before what is below is given up */

/* The first number at which the node's elements find room between those of others. */
static int find_number(struct packer *p, const struct node_plan *plan, uint32_t *ret)
{
	unsigned lowest = lowest_element(plan), tries = 0;
	uint32_t *from = &p->from[lowest], n = *from > lowest ? *from - lowest : 1;

	for (; n <= NUMBERS_MAX; n++) {
		if (bit_of(p->used, n + lowest) && n + lowest == *from)
			(*from)++;
		if (fits(p, plan, n))
			break;
		if (++tries == TRIES) {
			*from = n + lowest;
			tries = 0;
		}
	}
	if (n > NUMBERS_MAX)
		return -E2BIG;
	*ret = n;
	set_bit(p->taken, n);
	if (plan->has_own)
		set_bit(p->used, n);
	for (unsigned byte = 1; byte <= UINT8_MAX; byte++)
		if (set_has(&plan->edges, byte))
			set_bit(p->used, n + byte);
	return 0;
}

static int pack_nodes(struct packer *p)
{
	struct node_plan plan = { 0 };
	int r = 0;

	for (uint32_t i = 1; i < p->tree->n && r == 0; i++) {
		r = plan_node(p->tree, i, &plan);
		if (r == 0)
			r = find_number(p, &plan, &p->tree->v[i].number);
	}
	for (uint32_t i = 1; i < p->tree->n && r == 0; i++)
		r = write_node(p, i, &plan);
	plan_clear(&plan);
	return r;
}

/* Element 0: what is active before the first byte, and how many globs there are. */
static int write_begin(struct packer *p, uint16_t n_globs)
{
	struct target_list begin = { 0 };
	int r = reach(p->tree, p->tree->root, &begin);

	if (r == 0 && p->tree->has_units)
		r = reach(p->tree, p->tree->units, &begin);
	if (r == 0)
		r = chain_of(p, &begin, 0, &p->table->nodes[0].more);
	p->table->nodes[0].last = (uint16_t)(n_globs - 1);
	free(begin.v);
	return r;
}

static void packer_clear(struct packer *p)
{
	struct known_link *k, *following;

	HASH_ITER (hh, p->known, k, following) {
		HASH_DEL(p->known, k);
		free(k);
	}
}

static uint32_t last_used(const struct packer *p)
{
	uint32_t n = SP_GLOB_NODES;

	while (n > 1 && !bit_of(p->used, n - 1))
		n--;
	return n;
}

static void glob_table_clear(struct glob_table *t)
{
	free(t->nodes);
	free(t->links);
	*t = (struct glob_table){ 0 };
}

/* -E2BIG: it does not fit one table. */
static int pack_tree(struct tree *t, struct glob_table *ret)
{
	struct packer *p = calloc(1, sizeof(*p));
	struct glob_table table = { .n_links = 1 };
	uint16_t n_globs = 0;
	int r = -ENOMEM;

	number_globs(t, t->root, false, &n_globs);
	number_globs(t, t->units, false, &n_globs);
	widen_intervals(t);
	table.nodes = calloc(SP_GLOB_NODES, sizeof(*table.nodes));
	if (p && table.nodes && GROW(table.links, 0) == 0) {
		table.links[0] = (struct sp_glob_link){ 0 };
		p->tree = t;
		p->table = &table;
		set_bit(p->used, 0);
		set_bit(p->taken, 0);
		r = pack_nodes(p);
		if (r == 0)
			r = write_begin(p, n_globs);
		table.n_nodes = last_used(p);
		table.n_globs = n_globs;
		packer_clear(p);
	}
	free(p);
	if (r < 0) {
		glob_table_clear(&table);
		return r;
	}
	*ret = table;
	return 0;
}

/* --- tables ------------------------------------------------------------------------------------
 */

/* As many of the globs as fit one table. */
static int fill_table(const struct owned_glob *v, size_t n, size_t elements_max,
		      struct glob_table *ret, size_t *ret_n)
{
	struct tree t;
	size_t i = 0;
	int r = tree_init(&t);

	/* Each says at two nodes at most; numbers of globs have 16 bits. */
	for (; i < n && r == 0 && t.n_elements < elements_max && t.n_says < UINT16_MAX - 2; i++)
		r = add_glob(&t, &v[i]);
	if (r == 0)
		r = pack_tree(&t, ret);
	tree_clear(&t);
	*ret_n = i;
	return r;
}

static int fill_tables(const struct owned_glob *v, size_t n, struct glob_tables *to,
		       uint32_t *ret_n, size_t *ret_at)
{
	size_t at = 0;

	while (at < n) {
		uint32_t index = to->n_match + to->n_exclude + *ret_n;
		size_t taken = 0, room = ELEMENTS_MAX;
		int r = -E2BIG;

		*ret_at = at;
		if (index == SP_GLOB_TABLES_MAX)
			return -E2BIG;
		for (; r == -E2BIG && room > 256; room /= 2)
			r = fill_table(v + at, n - at, room, &to->v[index], &taken);
		if (r < 0)
			return r;
		at += taken;
		(*ret_n)++;
	}
	return 0;
}

/* --- how much of a glob can be active at once --------------------------------------------------
 */

#define PLACES_MAX 22 /* of a glob: a byte has two sets of nodes, this one's and the next's */

/* One element of a name: which bytes it reads. */
static struct byte_set element_bytes(const char **s)
{
	const char *begin = (*s)++;
	struct byte_set set = { 0 };

	if (*begin == '?')
		return (struct byte_set){ { ~0ull, ~0ull, ~0ull, ~0ull } };
	if (*begin == '[') {
		_cleanup_free_ char *text = NULL;

		*s = glob_bracket_end(begin) + 1;
		text = strndup(begin, (size_t)(*s - begin));
		return text ? bytes_of(text) : (struct byte_set){ { ~0ull, ~0ull, ~0ull, ~0ull } };
	}
	set.bits[(uint8_t)*begin / 64] |= 1ull << (uint8_t)*begin % 64;
	return set;
}

static bool overlap(const struct byte_set *a, const struct byte_set *b)
{
	return a->bits[0] & b->bits[0] || a->bits[1] & b->bits[1] || a->bits[2] & b->bits[2] ||
	       a->bits[3] & b->bits[3];
}

/* In how many places of a run, which may begin anywhere, can one be at once? */
static unsigned places_of_run(const struct byte_set *run, size_t n)
{
	unsigned most = 0;

	for (size_t end = 1; end <= n && most <= PLACES_MAX; end++) {
		unsigned places = 0;

		for (size_t length = 1; length <= end; length++) {
			size_t i = 0;

			while (i < length && overlap(&run[i], &run[end - length + i]))
				i++;
			places += i == length;
		}
		most = places > most ? places : most;
	}
	return most;
}

/* The same of a component: its runs lie between '*'. */
static unsigned places_of_component(const char *s)
{
	struct byte_set run[256];
	unsigned places = 1; /* before the first '*' */
	bool starred = false;
	size_t n = 0;

	while (true) {
		if (!*s || *s == '*' || n == ARRAY_SIZE(run)) {
			places += starred ? 1 + places_of_run(run, n) : 0;
			n = 0;
			if (!*s)
				return places;
			if (*s == '*') {
				starred = true;
				s++;
			}
			continue;
		}
		run[n++] = element_bytes(&s);
	}
}

/* Before a "**" one component is read at a time, behind it any of them. */
static unsigned places_of_glob(const struct glob *g)
{
	unsigned places = glob_kind(g) == GLOB_UNIT ? 4 : 0, most = 0;
	bool any = false;

	for (size_t i = 0; i < glob_n_components(g); i++) {
		const char *s = glob_component(g, i);

		if (streq(s, "**")) {
			any = true;
			places += 2;
		} else if (any) {
			places += places_of_component(s);
		} else {
			unsigned here = places_of_component(s);

			most = here > most ? here : most;
		}
	}
	return places + most;
}

static int refuse(char **ret_error, const char *format, const char *pattern)
{
	char *sentence;

	if (asprintf(&sentence, format, pattern) < 0)
		return -ENOMEM;
	*ret_error = sentence;
	return -E2BIG;
}

/* The globs of `match` or of `exclude`, of all policies. */
static int collect(const struct config *c, bool exclude, struct owned_glob **ret, size_t *ret_n,
		   char **ret_error, struct position *ret_at)
{
	for (size_t i = 0; i < c->n_policies; i++) {
		const struct patterns *p =
			exclude ? &c->policies[i].exclude : &c->policies[i].match;

		for (size_t k = 0; k < p->n; k++) {
			if (places_of_glob(p->v[k].glob) > PLACES_MAX) {
				*ret_at = p->v[k].at;
				return refuse(ret_error,
					      "'%s' could be at too many places of a name at once: "
					      "write it with fewer wildcards",
					      glob_pattern(p->v[k].glob));
			}
			if (GROW(*ret, *ret_n) < 0)
				return -ENOMEM;
			(*ret)[(*ret_n)++] = (struct owned_glob){ &p->v[k], (uint16_t)(i + 1) };
		}
	}
	return 0;
}

static int add_tables(const struct config *c, bool exclude, struct glob_tables *to,
		      char **ret_error, struct position *ret_at)
{
	_cleanup_free_ struct owned_glob *globs = NULL;
	size_t n = 0, at = 0;
	uint32_t n_tables = 0;
	int r = collect(c, exclude, &globs, &n, ret_error, ret_at);

	if (r == 0)
		r = fill_tables(globs, n, to, &n_tables, &at);
	if (r == -E2BIG && !*ret_error) {
		*ret_at = globs[at].pattern->at;
		r = refuse(ret_error, "from '%s' on there is no room for the patterns",
			   glob_pattern(globs[at].pattern->glob));
	}
	*(exclude ? &to->n_exclude : &to->n_match) = n_tables;
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
	for (size_t i = 0; i < ARRAY_SIZE(t->v); i++)
		glob_table_clear(&t->v[i]);
	t->n_match = t->n_exclude = 0;
}
