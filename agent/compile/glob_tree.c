// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <errno.h>
#include <fnmatch.h>

#include "compile/glob_tree.h"

#define HASH_NONFATAL_OOM 1
#include <uthash.h>

/* A bracket expression, as it is written. */
struct named_set {
	char *text;
	uint32_t set;
	UT_hash_handle hh;
};

/* Between "[:" and ":]"; what else may be there, fnmatch(3) may end elsewhere than we think. */
static bool is_known_class(const char *s, size_t length)
{
	static const char *const names[] = {
		"alnum", "alpha", "blank", "cntrl", "digit", "graph",
		"lower", "print", "punct", "space", "upper", "xdigit"
	};

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (strlen(names[i]) == length && strncmp(names[i], s, length) == 0)
			return true;
	return false;
}

static bool is_plain_bracket(const char *s, const char *end)
{
	for (const char *at = s + 1; at < end; at++) {
		const char *close;

		if (*at != '[' || !strchr(":.=", at[1]))
			continue;
		close = at[1] == ':' && at[-1] != '-' ? strstr(at + 2, ":]") : NULL;
		if (!close || close > end || !is_known_class(at + 2, (size_t)(close - at - 2)))
			return false;
		at = close + 1;
	}
	return true;
}

bool glob_tree_can(const struct glob *g)
{
	for (size_t i = 0; i < glob_n_components(g); i++) {
		for (const char *s = glob_component(g, i); (s = strchr(s, '[')); s++) {
			const char *end = glob_bracket_end(s);

			if (!end || !is_plain_bracket(s, end))
				return false;
			s = end;
		}
	}
	return true;
}

static int new_node(struct glob_tree *t, struct glob_node like, uint32_t *ret)
{
	if (t->n >= GLOB_TREE_NODES_MAX)
		return -E2BIG;
	if (GROW(t->v, t->n) < 0)
		return -ENOMEM;
	like.follow = (uint32_t)t->n;
	t->v[t->n] = like;
	*ret = (uint32_t)t->n++;
	return 0;
}

/* The node after `at` that reads as `like` does, whether it is there already or not. */
static int read_on(struct glob_tree *t, uint32_t at, struct glob_node like, uint32_t *ret)
{
	uint32_t last = 0, child;
	int r;

	for (uint32_t i = t->v[at].first; i; i = t->v[i].next) {
		const struct glob_node *has = &t->v[i];

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

static int read_byte(struct glob_tree *t, uint32_t at, char byte, uint32_t *ret)
{
	const struct glob_node like = { .reads = READS_BYTE, .byte = (uint8_t)byte };

	return read_on(t, at, like, ret);
}

/* fnmatch(3) itself says which bytes a bracket expression has. */
static struct byte_set bytes_of(const char *bracket)
{
	struct byte_set set = { 0 };

	for (unsigned byte = 1; byte <= UINT8_MAX; byte++) {
		const char name[] = { (char)byte, '\0' };

		if (byte != '/' && fnmatch(bracket, name, FNM_NOESCAPE) == 0)
			byte_set_add(&set, byte);
	}
	return set;
}

static void named_set_free(struct named_set *s)
{
	free(s->text);
	free(s);
}

static int named_set_new(struct glob_tree *t, const char *s, size_t length, struct named_set **ret)
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

static int read_set(struct glob_tree *t, uint32_t at, const char *s, size_t length, uint32_t *ret)
{
	struct glob_node like = { .reads = READS_SET };
	struct named_set *found;
	int r = 0;

	HASH_FIND(hh, t->set_names, s, length, found);
	if (!found)
		r = named_set_new(t, s, length, &found);
	if (r < 0)
		return r;
	like.set = found->set;
	return read_on(t, at, like, ret);
}

static int add_star(struct glob_tree *t, uint32_t at, uint32_t *ret)
{
	int r = 0;

	if (!t->v[at].star) {
		uint32_t star;

		r = new_node(t, (struct glob_node){ .loop = LOOP_NAME }, &star);
		if (r == 0)
			t->v[at].star = star;
	}
	*ret = t->v[at].star;
	return r;
}

/*
 * Zero components more, or inside of one: the first in the list of what comes after zero, which is
 * its own, too, so that it goes on over '/'.
 */
static int add_any(struct glob_tree *t, uint32_t at, uint32_t *ret)
{
	static const struct glob_node like_inside = { .reads = READS_BYTE,
						      .byte = '/',
						      .loop = LOOP_PATH };
	uint32_t any, inside;
	int r;

	if (!t->v[at].any) {
		r = new_node(t, (struct glob_node){ 0 }, &any);
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

static int add_element(struct glob_tree *t, uint32_t at, const char **s, uint32_t *ret)
{
	static const struct glob_node like_any_byte = { .reads = READS_ANY_BYTE };
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

static int add_name(struct glob_tree *t, const char *s, uint32_t *at)
{
	int r = 0;

	while (r == 0 && *s) {
		r = add_element(t, *at, &s, at);
		t->v[*at].n_ends++;
	}
	return r;
}

static int add_say(struct glob_tree *t, uint32_t at, uint32_t who)
{
	if (GROW(t->says, t->n_says) < 0)
		return -ENOMEM;
	t->says[t->n_says] = (struct say){ who, t->v[at].says };
	t->v[at].says = (uint32_t)t->n_says++;
	return 0;
}

/* `any` may stand for no component, where the one before it ends; but never for the root. */
static int end_in_any(struct glob_tree *t, uint32_t before, uint32_t any, uint32_t who)
{
	int r = add_say(t, t->v[any].first, who);

	return r < 0 || before == t->root ? r : add_say(t, before, who);
}

static int add_cgroup(struct glob_tree *t, const struct glob *g, uint32_t who)
{
	uint32_t at = t->root, before = 0; /* of a "**" at the end */
	int r = 0;

	for (size_t i = 0; i < glob_n_components(g) && r == 0; i++) {
		const char *s = glob_component(g, i);

		if (streq(s, "**")) {
			if (before)
				continue; /* two of them say no more than one */
			before = at;
			r = add_any(t, at, &at);
			t->v[at].n_ends++;
			continue;
		}
		before = 0;
		r = read_byte(t, at, '/', &at);
		t->v[at].n_ends++;
		if (r == 0)
			r = add_name(t, s, &at);
	}
	if (r < 0)
		return r;
	return before ? end_in_any(t, before, at, who) : add_say(t, at, who);
}

static int add_glob(struct glob_tree *t, const struct glob *g, uint32_t who)
{
	uint32_t at = t->name;
	int r;

	if (glob_kind(g) == GLOB_CGROUP)
		return add_cgroup(t, g, who);
	t->v[t->units].n_ends++;
	r = add_name(t, glob_component(g, 0), &at);
	return r < 0 ? r : add_say(t, at, who);
}

/* A path of slices, and a name. */
static int add_units(struct glob_tree *t)
{
	static const struct glob_node like_slices = { .reads = READS_BYTE,
						      .byte = '/',
						      .loop = LOOP_NAME };
	uint32_t at;
	int r;

	r = new_node(t, (struct glob_node){ 0 }, &t->units);
	if (r == 0)
		r = read_byte(t, t->units, '/', &t->name);
	if (r == 0)
		r = new_node(t, (struct glob_node){ .reads = READS_BYTE, .byte = '_' },
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

static int add_globs(struct glob_tree *t, const struct patterns *from, uint32_t who)
{
	int r = 0;

	for (size_t i = 0; i < from->n && r == 0; i++)
		r = add_glob(t, from->v[i].glob, who);
	return r;
}

/*
 * Puts nodes in preorder, so that a loop and the chain that leads only to it are neighbours.
 * tops: the first of the chain that ends here, by loop.
 */
struct ordering {
	const struct glob_tree *from;
	uint32_t *number; /* new, by old */
	struct glob_node *to;
	uint32_t n;
};

struct chain {
	uint32_t top[LOOP_PATH + 1];
	uint32_t n_ends;
};

static void order(struct ordering *o, uint32_t old, struct chain c)
{
	const struct glob_node *p = &o->from->v[old];
	const bool reads_slash = p->reads == READS_BYTE && p->byte == '/';
	const uint32_t self = o->n++, n_ends = o->from->v[p->follow].n_ends;

	o->number[old] = self;
	o->to[self] = *p;
	if (!c.n_ends || n_ends != c.n_ends)
		c = (struct chain){ { self, self, self }, n_ends };
	else if (reads_slash)
		c.top[LOOP_NAME] = self;
	o->to[self].top = c.top[p->loop];
	if (p->star)
		order(o, p->star, c);
	if (p->any)
		order(o, p->any, c);
	for (uint32_t i = p->first; i; i = o->from->v[i].next)
		order(o, i, c);
	if (old == o->from->name)
		order(o, o->from->escaped, (struct chain){ 0 });
}

static int put_in_preorder(struct glob_tree *t)
{
	_cleanup_free_ uint32_t *number = calloc(t->n, sizeof(*number));
	struct ordering o = { t, number, calloc(t->n, sizeof(*o.to)), 1 };

	if (!number || !o.to) {
		free(o.to);
		return -ENOMEM;
	}
	/* Chains do not begin before the first byte was read. */
	order(&o, t->root, (struct chain){ 0 });
	order(&o, t->units, (struct chain){ 0 });
	for (uint32_t i = 1; i < o.n; i++) {
		struct glob_node *at = &o.to[i];

		at->next = number[at->next];
		at->first = number[at->first];
		at->follow = number[at->follow];
		at->star = number[at->star];
		at->any = number[at->any];
	}
	t->root = number[t->root];
	t->units = number[t->units];
	t->name = number[t->name];
	t->escaped = number[t->escaped];
	free(t->v);
	t->v = o.to;
	return 0;
}

int glob_tree_new(const struct config *c, const bool *included, struct glob_tree **ret)
{
	_cleanup_(glob_tree_free) struct glob_tree *t = calloc(1, sizeof(*t));
	uint32_t unused;
	int r;

	if (!t || GROW(t->says, 0) < 0)
		return -ENOMEM;
	t->n_says = 1;
	r = new_node(t, (struct glob_node){ 0 }, &unused);
	if (r == 0)
		r = new_node(t, (struct glob_node){ 0 }, &t->root);
	if (r == 0)
		r = add_units(t);
	for (size_t i = 0; i < c->n_policies && r == 0; i++) {
		if (!included[i])
			continue;
		r = add_globs(t, &c->policies[i].match, (uint32_t)i * 2);
		if (r == 0)
			r = add_globs(t, &c->policies[i].exclude, (uint32_t)i * 2 + 1);
	}
	if (r == 0)
		r = put_in_preorder(t);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(t);
	return 0;
}

void glob_tree_free(struct glob_tree *t)
{
	struct named_set *s, *following;

	if (!t)
		return;
	HASH_ITER (hh, t->set_names, s, following) {
		HASH_DEL(t->set_names, s);
		named_set_free(s);
	}
	free(t->v);
	free(t->says);
	free(t->sets);
	free(t);
}
