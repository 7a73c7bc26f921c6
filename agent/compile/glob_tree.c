// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <errno.h>
#include <fnmatch.h>

#include "compile/glob_tree.h"

#define HASH_NONFATAL_OOM 1
#include <uthash.h>

/* A bracket expression as it is written. */
struct named_set {
	char *text;
	uint32_t set;
	UT_hash_handle hh;
};

/* Is it a class that fnmatch(3) knows?  With another word between "[:" and ":]" it may find another
 * end than we do. */
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

static int new_node(struct glob_tree *t, struct glob_tree_node like, uint32_t *ret)
{
	if (GROW(t->v, t->n) < 0)
		return -ENOMEM;
	like.follow = (uint32_t)t->n;
	t->v[t->n] = like;
	t->n_edges += 1 + (like.loop != LOOP_NONE);
	if (like.reads == READS_SET) {
		unsigned n = t->sets[like.set].n;

		t->n_edges += n < UINT8_MAX - n ? n : UINT8_MAX - n;
	}
	*ret = (uint32_t)t->n++;
	return 0;
}

/* Finds or adds the node after `at` that reads like `like`. */
static int read_on(struct glob_tree *t, uint32_t at, struct glob_tree_node like, uint32_t *ret)
{
	uint32_t last = 0, child;
	int r;

	for (uint32_t i = t->v[at].first; i; i = t->v[i].next) {
		const struct glob_tree_node *has = &t->v[i];

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
	const struct glob_tree_node like = { .reads = READS_BYTE, .byte = (uint8_t)byte };

	return read_on(t, at, like, ret);
}

/* Asks fnmatch(3) which bytes a bracket expression has. */
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
	struct glob_tree_node like = { .reads = READS_SET };
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

		r = new_node(t, (struct glob_tree_node){ .loop = LOOP_NAME }, &star);
		if (r == 0)
			t->v[at].star = star;
	}
	*ret = t->v[at].star;
	return r;
}

/*
 * Adds a "**": a node for no further component, and one inside of a component.  The latter is the
 * first in the list of the former and shares that list, so that it goes on over '/'.
 */
static int add_any(struct glob_tree *t, uint32_t at, uint32_t *ret)
{
	static const struct glob_tree_node like_inside = { .reads = READS_BYTE,
							   .byte = '/',
							   .loop = LOOP_PATH };
	uint32_t any, inside;
	int r;

	if (!t->v[at].any) {
		r = new_node(t, (struct glob_tree_node){ 0 }, &any);
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
	static const struct glob_tree_node like_any_byte = { .reads = READS_ANY_BYTE };
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

	while (r == 0 && *s)
		r = add_element(t, *at, &s, at);
	return r;
}

/* Lets the glob that was added last end here. */
static int add_say(struct glob_tree *t, uint32_t at, uint32_t who)
{
	if (GROW(t->says, t->n_says) < 0)
		return -ENOMEM;
	t->n_edges += !t->v[at].says;
	t->says[t->n_says] = (struct glob_tree_say){ who, t->n_globs, t->v[at].says };
	t->v[at].says = (uint32_t)t->n_says++;
	return 0;
}

/* Ends a glob in `any`, which may stand for no component, where the one before it ends, but never
 * for the root. */
static int end_in_any(struct glob_tree *t, uint32_t before, uint32_t any, uint32_t who)
{
	int r = add_say(t, t->v[any].first, who);

	return r < 0 || before == t->root ? r : add_say(t, before, who);
}

static int add_cgroup(struct glob_tree *t, const struct glob *g, uint32_t who)
{
	uint32_t at = t->root, before = 0; /* the node before a "**" at the end */
	int r = 0;

	for (size_t i = 0; i < glob_n_components(g) && r == 0; i++) {
		const char *s = glob_component(g, i);

		if (streq(s, "**")) {
			if (before)
				continue; /* a second "**" adds nothing */
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

int glob_tree_add(struct glob_tree *t, const struct glob *g, uint32_t who)
{
	uint32_t at = t->name;
	int r;

	if (glob_kind(g) == GLOB_CGROUP) {
		r = add_cgroup(t, g, who);
	} else {
		r = add_name(t, glob_component(g, 0), &at);
		if (r == 0)
			r = add_say(t, at, who);
	}
	t->n_globs++;
	return r;
}

/* Adds the start of units: a path of slices, and a name. */
static int add_units(struct glob_tree *t)
{
	static const struct glob_tree_node like_slices = { .reads = READS_BYTE,
							   .byte = '/',
							   .loop = LOOP_NAME };
	uint32_t at;
	int r;

	r = new_node(t, (struct glob_tree_node){ 0 }, &t->units);
	if (r == 0)
		r = read_byte(t, t->units, '/', &t->name);
	if (r == 0)
		r = new_node(t, (struct glob_tree_node){ .reads = READS_BYTE, .byte = '_' },
			     &t->escaped);
	if (r == 0)
		r = read_on(t, t->units, like_slices, &at);
	for (const char *s = ".slice"; r == 0 && *s; s++)
		r = read_byte(t, at, *s, &at);
	if (r < 0)
		return r;
	t->v[t->escaped].follow = t->name;
	t->v[at].follow = t->units;
	t->last_slice = at;
	return 0;
}

int glob_tree_new(struct glob_tree **ret)
{
	_cleanup_(glob_tree_free) struct glob_tree *t = calloc(1, sizeof(*t));
	uint32_t unused;
	int r;

	if (!t || GROW(t->says, 0) < 0)
		return -ENOMEM;
	t->n_says = 1;
	r = new_node(t, (struct glob_tree_node){ 0 }, &unused);
	if (r == 0)
		r = new_node(t, (struct glob_tree_node){ 0 }, &t->root);
	if (r == 0)
		r = add_units(t);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(t);
	return 0;
}

struct numbering {
	struct glob_tree *tree;
	uint32_t *number; /* by order of addition; UINT32_MAX: none yet */
	uint32_t n;
};

/* Numbers what is behind the node first: a glob that ends in two nodes ends last in the one
 * behind. */
static void number_node(struct numbering *n, uint32_t at)
{
	struct glob_tree_node *node = &n->tree->v[at];

	node->first_glob = n->n;
	if (node->star)
		number_node(n, node->star);
	if (node->any)
		number_node(n, node->any);
	for (uint32_t i = node->first; i; i = n->tree->v[i].next)
		number_node(n, i);
	for (uint32_t i = node->says; i; i = n->tree->says[i].next) {
		uint32_t *number = &n->number[n->tree->says[i].glob];

		if (*number == UINT32_MAX)
			*number = n->n++;
		n->tree->says[i].glob = *number;
	}
	node->n_globs = n->n - node->first_glob;
}

static void take_globs(struct glob_tree *t, uint32_t at, uint32_t from)
{
	t->v[at].first_glob = t->v[from].first_glob;
	t->v[at].n_globs = t->v[from].n_globs;
}

int glob_tree_number(struct glob_tree *t)
{
	_cleanup_free_ uint32_t *number = malloc(sizeof(*number) * (t->n_globs + 1));
	struct numbering n = { t, number, 0 };

	if (!number)
		return -ENOMEM;
	memset(number, 0xff, sizeof(*number) * (t->n_globs + 1));
	number_node(&n, t->root);
	number_node(&n, t->units);
	/* What leads from slice to slice leads to all units. */
	for (uint32_t i = t->units; i <= t->last_slice; i++)
		take_globs(t, i, t->units);
	for (uint32_t i = 1; i < t->n; i++)
		take_globs(t, i, t->v[i].follow);
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
