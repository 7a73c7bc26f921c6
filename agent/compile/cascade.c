// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <errno.h>
#include <stdint.h>

#include "compile/cascade.h"

#define HASH_NONFATAL_OOM 1
#include <uthash.h>

#define WORD_BITS 32u

/* Bits of the policies, by their place in the configuration. */
typedef uint32_t word_t;

struct interned_effective {
	struct effective public;
	UT_hash_handle hh; /* key: public.policies, in their order */
};

struct cgroup_class {
	const struct effective *effective; /* NULL: no policy applies */
	size_t index;
	UT_hash_handle hh; /* key: the whole of v */
	size_t n_applied;
	/* First the bits of the policies that some cgroup up to here excluded, then the places of
	 * those that apply, in walk order. */
	uint32_t v[];
};

/* A policy by its name; its place is that in the array. */
struct named {
	UT_hash_handle hh;
};

struct cascade {
	const struct config *config;
	size_t n_words;
	struct cgroup_class *classes;
	struct interned_effective *effectives;
	struct interned_effective **by_index;
	size_t n_effectives;
	struct cgroup_class *nothing; /* nothing applies, nothing is excluded; not in `classes` */
	size_t n_classes;
	struct named *names; /* all of them; made when the first is looked up */
	struct named *by_name;
	/* Scratch: */
	word_t *applied;	   /* bits of the policies that apply to the parent */
	struct cgroup_class *next; /* with room for every policy */
	uint32_t *scratch;	   /* with room for every policy twice */
};

static void set_bit(word_t *bits, size_t n)
{
	bits[n / WORD_BITS] |= 1u << n % WORD_BITS;
}

static bool has_bit(const word_t *bits, size_t n)
{
	return bits[n / WORD_BITS] & 1u << n % WORD_BITS;
}

static size_t class_key_size(const struct cascade *c, const struct cgroup_class *k)
{
	return (c->n_words + k->n_applied) * sizeof(k->v[0]);
}

static struct cgroup_class *class_alloc(const struct cascade *c, size_t n_applied)
{
	return calloc(1, sizeof(struct cgroup_class) + (c->n_words + n_applied) * sizeof(uint32_t));
}

int cascade_new(const struct config *config, struct cascade **ret)
{
	_cleanup_(cascade_free) struct cascade *c = calloc(1, sizeof(*c));

	if (!c)
		return -ENOMEM;
	c->config = config;
	c->n_words = config->n_policies / WORD_BITS + 1;
	c->applied = calloc(c->n_words, sizeof(*c->applied));
	c->nothing = class_alloc(c, 0);
	c->next = class_alloc(c, config->n_policies);
	c->scratch = calloc(config->n_policies + 1, 2 * sizeof(*c->scratch));
	c->n_classes = 1; /* `nothing` */
	if (!c->applied || !c->nothing || !c->next || !c->scratch)
		return -ENOMEM;
	*ret = TAKE_PTR(c);
	return 0;
}

static void interned_effective_free(struct interned_effective *e)
{
	if (!e)
		return;
	free(e->public.policies);
	free(e->public.blocks);
	free(e);
}
DEFINE_CLEANUP(struct interned_effective *, interned_effective_free)

void cascade_free(struct cascade *c)
{
	struct cgroup_class *k, *following;

	if (!c)
		return;
	HASH_ITER (hh, c->classes, k, following) {
		HASH_DEL(c->classes, k);
		free(k);
	}
	HASH_CLEAR(hh, c->effectives);
	for (size_t i = 0; i < c->n_effectives; i++)
		interned_effective_free(c->by_index[i]);
	free(c->by_index);
	free(c->nothing);
	free(c->applied);
	free(c->next);
	free(c->scratch);
	HASH_CLEAR(hh, c->by_name);
	free(c->names);
	free(c);
}

/* The other spelling of the same option, or OPTION_MAX. */
static enum option_id other_spelling(enum option_id id)
{
	switch (id) {
	case OPTION_SO_BINDTODEVICE:
		return OPTION_SO_BINDTOIFINDEX;
	case OPTION_SO_BINDTOIFINDEX:
		return OPTION_SO_BINDTODEVICE;
	default:
		return OPTION_MAX;
	}
}

bool options_rival(const struct option *a, const struct option *b)
{
	return a == b || option_id(a) == other_spelling(option_id(b));
}

bool is_second_spelling(enum option_id id)
{
	enum option_id other = other_spelling(id);

	return other < id;
}

const struct setting *block_setting(const struct block *b, const struct option *option)
{
	for (size_t i = 0; i < b->options->n; i++)
		if (options_rival(b->options->v[i].option, option))
			return &b->options->v[i];
	return NULL;
}

static int fill_blocks(struct effective *e)
{
	size_t n = 0;

	for (size_t i = 0; i < e->n_policies; i++)
		n += 1 + e->policies[i]->n_rules;
	e->blocks = calloc(n, sizeof(*e->blocks));
	if (!e->blocks)
		return -ENOMEM;
	for (size_t i = 0; i < e->n_policies; i++) {
		const struct policy *p = e->policies[i];

		e->blocks[e->n_blocks++] = (struct block){ p, NULL, &p->base };
		for (size_t r = 0; r < p->n_rules; r++)
			e->blocks[e->n_blocks++] =
				(struct block){ p, &p->rules[r], &p->rules[r].options };
	}
	return 0;
}

/*
 * The policies that apply, in their order, decide everything else; so equal lists have the same
 * outcome, and losers that can be told in the right order.
 */
static int intern_effective(struct cascade *c, const uint32_t *applied, size_t n,
			    const struct effective **ret)
{
	_cleanup_(interned_effective_free) struct interned_effective *e = NULL;
	struct interned_effective *found;

	e = calloc(1, sizeof(*e));
	if (!e)
		return -ENOMEM;
	e->public.policies = calloc(n, sizeof(*e->public.policies));
	if (!e->public.policies)
		return -ENOMEM;
	e->public.n_policies = n;
	for (size_t i = 0; i < n; i++)
		e->public.policies[i] = &c->config->policies[applied[i]];

	HASH_FIND(hh, c->effectives, e->public.policies, n * sizeof(*e->public.policies), found);
	if (found) {
		*ret = &found->public;
		return 0;
	}
	if (fill_blocks(&e->public) < 0 || GROW(c->by_index, c->n_effectives) < 0)
		return -ENOMEM;
	HASH_ADD_KEYPTR(hh, c->effectives, e->public.policies, n * sizeof(*e->public.policies), e);
	if (!e->hh.tbl)
		return -ENOMEM;
	e->public.index = c->n_effectives;
	*ret = &e->public;
	c->by_index[c->n_effectives++] = TAKE_PTR(e);
	return 0;
}

/* The interned class with the key of c->next. */
static int intern_class(struct cascade *c, const struct cgroup_class **ret)
{
	_cleanup_free_ struct cgroup_class *k = NULL;
	const size_t size = class_key_size(c, c->next);
	struct cgroup_class *found;
	int r;

	HASH_FIND(hh, c->classes, c->next->v, size, found);
	if (found) {
		*ret = found;
		return 0;
	}
	k = class_alloc(c, c->next->n_applied);
	if (!k)
		return -ENOMEM;
	k->n_applied = c->next->n_applied;
	memcpy(k->v, c->next->v, size);
	if (k->n_applied) {
		r = intern_effective(c, k->v + c->n_words, k->n_applied, &k->effective);
		if (r < 0)
			return r;
	}
	HASH_ADD(hh, c->classes, v, size, k);
	if (!k->hh.tbl)
		return -ENOMEM;
	k->index = c->n_classes++;
	*ret = TAKE_PTR(k);
	return 0;
}

/* The policies of the parent that the new exclusions leave, in their order. */
static void keep_applied(const struct cascade *c, const struct cgroup_class *parent)
{
	struct cgroup_class *next = c->next;

	next->n_applied = 0;
	for (size_t i = 0; i < parent->n_applied; i++) {
		uint32_t p = parent->v[c->n_words + i];

		if (!has_bit(next->v, p))
			next->v[c->n_words + next->n_applied++] = p;
	}
}

/* Exclusions first, as they end what applies to the parent, and what matches here as well. */
static bool apply_exclusions(struct cascade *c, const struct cgroup_class *parent,
			     const struct matched *m)
{
	word_t *excluded = c->next->v;
	bool changed = false;

	memcpy(excluded, parent->v, c->n_words * sizeof(*excluded));
	for (size_t i = 0; i < m->n_exclude; i++) {
		changed |= !has_bit(excluded, m->exclude[i]);
		set_bit(excluded, m->exclude[i]);
	}
	return changed;
}

/* What matches here is deeper than all before: after it, in the configuration's order. */
static bool apply_matches(struct cascade *c, const struct cgroup_class *parent,
			  const struct matched *m)
{
	struct cgroup_class *next = c->next;
	bool changed = false;

	memset(c->applied, 0, c->n_words * sizeof(*c->applied));
	for (size_t i = 0; i < parent->n_applied; i++)
		set_bit(c->applied, parent->v[c->n_words + i]);
	for (size_t i = 0; i < m->n_match; i++) {
		if (has_bit(next->v, m->match[i]) || has_bit(c->applied, m->match[i]))
			continue;
		next->v[c->n_words + next->n_applied++] = m->match[i];
		changed = true;
	}
	return changed;
}

int cascade_apply(struct cascade *c, const struct cgroup_class *parent, const struct matched *m,
		  const struct cgroup_class **ret)
{
	bool changed;

	if (!parent)
		parent = c->nothing;
	changed = apply_exclusions(c, parent, m);
	keep_applied(c, parent);
	changed |= apply_matches(c, parent, m);
	if (!changed) {
		*ret = parent;
		return 0;
	}
	return intern_class(c, ret);
}

int cascade_step(struct cascade *c, const struct cgroup_class *parent, const char *path,
		 const struct cgroup_class **ret)
{
	uint32_t *match = c->scratch, *exclude = c->scratch + c->config->n_policies;
	struct matched m = { .match = match, .exclude = exclude };

	for (size_t i = 0; i < c->config->n_policies; i++) {
		const struct policy *p = &c->config->policies[i];

		if (parent && has_bit(parent->v, i))
			continue; /* excluded for good */
		if (patterns_match(&p->match, path))
			match[m.n_match++] = (uint32_t)i;
		if (p->exclude.n && patterns_match(&p->exclude, path))
			exclude[m.n_exclude++] = (uint32_t)i;
	}
	return cascade_apply(c, parent, &m, ret);
}

static int index_names(struct cascade *c)
{
	if (c->names || !c->config->n_policies)
		return 0;
	c->names = calloc(c->config->n_policies, sizeof(*c->names));
	if (!c->names)
		return -ENOMEM;
	for (size_t i = 0; i < c->config->n_policies; i++) {
		const char *name = c->config->policies[i].name;

		HASH_ADD_KEYPTR(hh, c->by_name, name, strlen(name), &c->names[i]);
		if (!c->names[i].hh.tbl)
			return -ENOMEM;
	}
	return 0;
}

int cascade_by_names(struct cascade *c, const char *const *names, size_t n,
		     const struct cgroup_class **ret)
{
	int r = index_names(c);

	if (r < 0)
		return r;
	c->next->n_applied = 0;
	memset(c->next->v, 0, c->n_words * sizeof(c->next->v[0]));
	memset(c->applied, 0, c->n_words * sizeof(*c->applied));
	for (size_t i = 0; i < n; i++) {
		const struct named *found;
		size_t place;

		HASH_FIND(hh, c->by_name, names[i], strlen(names[i]), found);
		if (!found)
			continue;
		place = (size_t)(found - c->names);
		if (has_bit(c->applied, place))
			continue;
		set_bit(c->applied, place);
		c->next->v[c->n_words + c->next->n_applied++] = (uint32_t)place;
	}
	if (c->next->n_applied)
		return intern_class(c, ret);
	*ret = c->nothing;
	return 0;
}

int cascade_walk(struct cascade *c, const char *path, const struct cgroup_class **ret)
{
	_cleanup_free_ char *prefix = strdup(path);
	const struct cgroup_class *k = NULL;
	int r;

	if (!prefix)
		return -ENOMEM;
	r = cascade_step(c, NULL, "/", &k);
	if (r < 0)
		return r;
	for (size_t at = 1; path[at];) {
		size_t end = at + strcspn(path + at, "/");

		prefix[end] = '\0';
		r = cascade_step(c, k, prefix, &k);
		if (r < 0)
			return r;
		prefix[end] = path[end];
		at = path[end] ? end + 1 : end;
	}
	*ret = k;
	return 0;
}

const struct effective *cascade_effective(const struct cgroup_class *k)
{
	return k->effective;
}

size_t cascade_class_index(const struct cgroup_class *k)
{
	return k->index;
}
