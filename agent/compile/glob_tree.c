// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <errno.h>
#include <fnmatch.h>
#include <wctype.h>

#include "compile/glob_tree.h"

const struct byte_set byte_set_of_names = { { ~(1ull | 1ull << '/'), UINT64_MAX, UINT64_MAX,
					      UINT64_MAX } };

/* --- what nodes can follow -------------------------------------------------------------------- */

/* Is it a class that fnmatch(3) knows?  With another word between "[:" and ":]" it may find another
 * end than we do. */
static bool is_known_class(const char *s, size_t length)
{
	char name[sizeof("xdigit")] = "";

	if (length >= sizeof(name))
		return false;
	memcpy(name, s, length);
	return wctype(name) != 0;
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
	for (size_t i = 0; i < g->n; i++) {
		for (const char *s = g->v[i].text; (s = strchr(s, '[')); s++) {
			const char *end = glob_bracket_end(s);

			if (!end || !is_plain_bracket(s, end))
				return false;
			s = end;
		}
	}
	return true;
}

/* A bracket expression counts as any byte here. */
#define ANY_BYTE '?'

/* Runs longer than this are not examined: they count with their length. */
#define RUN_MAX 255

/* Can two places of a run be active together? */
static bool overlap(const char *run, size_t shorter, size_t longer)
{
	const char *shifted = run + longer - shorter;

	for (size_t i = 0; i < shorter; i++)
		if (run[i] != shifted[i] && run[i] != ANY_BYTE && shifted[i] != ANY_BYTE)
			return false;
	return true;
}

/*
 * Returns how many places of a run can be active at once behind a loop, where it begins anew with
 * each byte: such places overlap, each with the next longer one.
 */
static size_t longest_chain(const char *run, size_t n)
{
	size_t chain[RUN_MAX + 1], longest = 0;

	for (size_t longer = 1; longer <= n; longer++) {
		chain[longer] = 1;
		for (size_t shorter = 1; shorter < longer; shorter++)
			if (chain[shorter] >= chain[longer] && overlap(run, shorter, longer))
				chain[longer] = chain[shorter] + 1;
		if (chain[longer] > longest)
			longest = chain[longer];
	}
	return longest;
}

/* Counts one component; *ret_stars: its '*'. */
static size_t component_room(const char *s, size_t *ret_stars)
{
	char run[RUN_MAX];
	size_t room = 1, stars = 0, n = 0, longer = 0; /* a first run has one place at a time */

	for (;; s++) {
		if (*s && *s != '*') {
			if (n < RUN_MAX)
				run[n++] = (char)(*s == '[' ? ANY_BYTE : *s);
			else
				longer++;
			if (*s == '[')
				s = glob_bracket_end(s);
			continue;
		}
		if (stars)
			room += longest_chain(run, n) + longer;
		n = longer = 0;
		if (!*s)
			break;
		stars++;
	}
	*ret_stars = stars;
	return room + stars;
}

size_t glob_tree_room(const struct glob *g)
{
	size_t room = g->kind == GLOB_UNIT ? 8 : 2; /* nodes on the way there */
	size_t widest = 0;
	bool any = false;

	for (size_t i = 0; i < g->n; i++) {
		const char *s = g->v[i].text;
		size_t stars, n;

		if (g->v[i].any) {
			any = true;
			room += 6; /* itself and its loop, and four that come with them */
			continue;
		}
		n = component_room(s, &stars);
		n += 2 * stars; /* a loop leads to another node, and a node to a loop besides */
		if (any)	/* behind a "**" a name may be any of the components */
			room += n;
		else if (n > widest)
			widest = n;
	}
	return room + widest;
}

/* --- the tree --------------------------------------------------------------------------------- */

static const struct byte_set no_bytes, underscore = { { 0, 1ull << ('_' - 64) } };

/* Returns 0, which is no node but may be used like one, once memory is out; likewise below. */
static uint32_t new_node(struct glob_tree *t, const struct byte_set *reads, enum node_loop loop)
{
	unsigned n = byte_set_size(reads);

	if (t->failed || GROW(t->v, t->n) < 0) {
		t->failed = true;
		return 0;
	}
	t->v[t->n] = (struct glob_tree_node){
		.follow = (uint32_t)t->n,
		.reads = *reads,
		.loop = loop,
	};
	/* what reads most bytes takes an element for each that it does not read */
	t->n_edges += 1u + (loop != LOOP_NONE);
	if (n > 1)
		t->n_edges += n < BYTES / 2 ? n : BYTES - 2 - n;
	return (uint32_t)t->n++;
}

/* Finds or adds the node after `at` that reads such bytes. */
static uint32_t read_on(struct glob_tree *t, uint32_t at, const struct byte_set *reads,
			enum node_loop loop)
{
	uint32_t last = 0, child;

	for (uint32_t i = t->v[at].first; i; i = t->v[i].next) {
		if (t->v[i].loop == loop && !memcmp(&t->v[i].reads, reads, sizeof(*reads)))
			return i;
		last = i;
	}
	child = new_node(t, reads, loop);
	if (last)
		t->v[last].next = child;
	else
		t->v[at].first = child;
	return child;
}

static uint32_t read_byte(struct glob_tree *t, uint32_t at, char byte, enum node_loop loop)
{
	struct byte_set set = { 0 };

	byte_set_add(&set, (uint8_t)byte);
	return read_on(t, at, &set, loop);
}

/* Asks fnmatch(3) which bytes a bracket expression has. */
static struct byte_set bytes_of(const char *bracket)
{
	struct byte_set set = { 0 };

	for (unsigned byte = 1; byte < BYTES; byte++) {
		const char name[] = { (char)byte, '\0' };

		if (byte != '/' && fnmatch(bracket, name, FNM_NOESCAPE) == 0)
			byte_set_add(&set, byte);
	}
	return set;
}

static uint32_t read_bracket(struct glob_tree *t, uint32_t at, const char *s, size_t length)
{
	size_t i = 0;

	while (i < ARRAY_SIZE(t->brackets) && t->brackets[i].text &&
	       (strlen(t->brackets[i].text) != length ||
		memcmp(t->brackets[i].text, s, length) != 0))
		i++;
	if (i == ARRAY_SIZE(t->brackets) || !t->brackets[i].text) {
		i = t->n_brackets++ % ARRAY_SIZE(t->brackets);
		free(t->brackets[i].text);
		t->brackets[i].text = strndup(s, length);
		if (!t->brackets[i].text) {
			t->failed = true;
			return 0;
		}
		t->brackets[i].set = bytes_of(t->brackets[i].text);
	}
	return read_on(t, at, &t->brackets[i].set, LOOP_NONE);
}

static uint32_t add_star(struct glob_tree *t, uint32_t at)
{
	uint32_t star = t->v[at].star;

	if (!star)
		star = new_node(t, &no_bytes, LOOP_NAME);
	t->v[at].star = star;
	return star;
}

/*
 * Adds a "**": a node for no further component, and one inside of a component.  The latter is the
 * first in the list of the former and shares that list, so that it goes on over '/'.
 */
static uint32_t add_any(struct glob_tree *t, uint32_t at)
{
	uint32_t any = t->v[at].any, inside;

	if (any)
		return any;
	any = new_node(t, &no_bytes, LOOP_NONE);
	inside = read_byte(t, any, '/', LOOP_PATH);
	t->v[inside].follow = any;
	t->v[at].any = any;
	return any;
}

static uint32_t add_name(struct glob_tree *t, const char *s, uint32_t at)
{
	const char *end;

	for (; *s; s++) {
		switch (*s) {
		case '*':
			at = add_star(t, at);
			break;
		case '?':
			at = read_on(t, at, &byte_set_of_names, LOOP_NONE);
			break;
		case '[':
			end = glob_bracket_end(s);
			at = read_bracket(t, at, s, (size_t)(end + 1 - s));
			s = end;
			break;
		default:
			at = read_byte(t, at, *s, LOOP_NONE);
		}
	}
	return at;
}

/* Lets the glob that was added last end here. */
static void add_say(struct glob_tree *t, uint32_t at, uint32_t who)
{
	if (GROW(t->says, t->n_says) < 0) {
		t->failed = true;
		return;
	}
	t->n_edges += !t->v[at].says;
	t->says[t->n_says] = (struct glob_tree_say){ who, t->n_globs, t->v[at].says };
	t->v[at].says = (uint32_t)t->n_says++;
}

static void add_cgroup(struct glob_tree *t, const struct glob *g, uint32_t who)
{
	uint32_t at = t->root, before = 0; /* the node before a "**" at the end */

	for (size_t i = 0; i < g->n; i++) {
		if (!g->v[i].any) {
			before = 0;
			at = add_name(t, g->v[i].text, read_byte(t, at, '/', LOOP_NONE));
		} else if (!before) { /* a second "**" adds nothing */
			before = at;
			at = add_any(t, at);
		}
	}
	add_say(t, before ? t->v[at].first : at, who);
	/* "**" may stand for no component, but never for the root */
	if (before && before != t->root)
		add_say(t, before, who);
}

int glob_tree_add(struct glob_tree *t, const struct glob *g, uint32_t who)
{
	if (g->kind == GLOB_CGROUP)
		add_cgroup(t, g, who);
	else
		add_say(t, add_name(t, g->v[0].text, t->name), who);
	t->n_globs++;
	return t->failed ? -ENOMEM : 0;
}

int glob_tree_new(struct glob_tree **ret)
{
	_cleanup_(glob_tree_free) struct glob_tree *t = calloc(1, sizeof(*t));
	uint32_t at;

	if (!t || GROW(t->says, 0) < 0)
		return -ENOMEM;
	t->n_says = 1;
	new_node(t, &no_bytes, LOOP_NONE);
	if (t->failed)
		return -ENOMEM;
	t->root = new_node(t, &no_bytes, LOOP_NONE);
	/* the start of units: a path of slices, and a name */
	t->units = new_node(t, &no_bytes, LOOP_NONE);
	t->name = read_byte(t, t->units, '/', LOOP_NONE);
	t->escaped = new_node(t, &underscore, LOOP_NONE);
	at = add_name(t, ".slice", read_byte(t, t->units, '/', LOOP_NAME));
	t->v[t->escaped].follow = t->name;
	t->v[at].follow = t->units;
	t->last_slice = at;
	if (t->failed)
		return -ENOMEM;
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
	if (!t)
		return;
	free(t->v);
	free(t->says);
	for (size_t i = 0; i < ARRAY_SIZE(t->brackets); i++)
		free(t->brackets[i].text);
	free(t);
}
