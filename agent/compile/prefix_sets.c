// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <assert.h>
#include <endian.h>
#include <errno.h>

#include <uthash.h>

#include "compile/prefix_sets.h"

/* A prefix and its class, for addresses of which it is the longest prefix.  Zero-padded, since it
 * is hashed whole. */
struct entry {
	uint16_t v6;	 /* otherwise an IPv4 address, or a port: the last 16 of 32 bits */
	uint16_t length; /* bits */
	uint32_t class;
	uint8_t data[16]; /* network byte order */
};

struct set {
	struct entry *entries; /* the key; sorted */
	uint32_t tree4, tree6;
	UT_hash_handle hh;
};

struct prefix_sets {
	struct range_nodes *nodes;
	struct set *by_content;
};

/* The prefixes that the rules list, before classes are known. */
struct item {
	struct entry entry;
	uint64_t rules;
};

struct items {
	struct item *v;
	size_t n;
};

int prefix_sets_new(struct range_nodes *nodes, struct prefix_sets **ret)
{
	struct prefix_sets *s = calloc(1, sizeof(*s));

	if (!s)
		return -ENOMEM;
	s->nodes = nodes;
	*ret = s;
	return 0;
}

static void set_free(struct set *set)
{
	free(set->entries);
	free(set);
}

void prefix_sets_free(struct prefix_sets *s)
{
	struct set *set, *tmp;

	HASH_ITER (hh, s->by_content, set, tmp) {
		HASH_DEL(s->by_content, set);
		set_free(set);
	}
	free(s);
}

static int add_item(struct items *items, const struct entry *entry, uint64_t rule)
{
	if (GROW(items->v, items->n) < 0)
		return -ENOMEM;
	items->v[items->n++] = (struct item){ *entry, rule };
	return 0;
}

static int add_prefixes(struct items *items, const struct prefixes *prefixes, uint64_t rule)
{
	for (size_t i = 0; i < prefixes->n; i++) {
		const struct prefix *p = &prefixes->v[i];
		struct entry entry = { .v6 = !p->v4, .length = (uint16_t)p->length };

		memcpy(entry.data, p->address, p->v4 ? 4 : 16);
		if (add_item(items, &entry, rule) < 0)
			return -ENOMEM;
	}
	return 0;
}

/* Adds a range of ports as prefixes: the largest that fit, from below, so that any two are nested
 * or disjoint. */
static int add_range(struct items *items, const struct port_range *range, uint64_t rule)
{
	uint32_t first = range->first;

	while (first <= range->last) {
		unsigned free_bits = 0;
		struct entry entry = { 0 };

		while (free_bits < 16 && !(first & (1u << free_bits)) &&
		       first + (2u << free_bits) - 1 <= range->last)
			free_bits++;
		entry.length = (uint16_t)(32 - free_bits);
		entry.data[2] = (uint8_t)(first >> 8);
		entry.data[3] = (uint8_t)first;
		if (add_item(items, &entry, rule) < 0)
			return -ENOMEM;
		first += 1u << free_bits;
	}
	return 0;
}

static int collect_rule(struct items *items, const struct when *w, enum sp_property property,
			uint64_t rule)
{
	const struct port_ranges *ranges =
		property == SP_PROPERTY_REMOTE_PORT ? &w->remote_port : &w->local_port;
	int r = 0;

	switch (property) {
	case SP_PROPERTY_REMOTE:
		return add_prefixes(items, &w->remote, rule);
	case SP_PROPERTY_LOCAL:
		return add_prefixes(items, &w->local, rule);
	default:
		for (size_t i = 0; i < ranges->n && r == 0; i++)
			r = add_range(items, &ranges->v[i], rule);
		return r;
	}
}

/* Sorts a shorter prefix right before those that it contains. */
static int compare_entries(const struct entry *x, const struct entry *y)
{
	int r;

	if (x->v6 != y->v6)
		return x->v6 - y->v6;
	r = memcmp(x->data, y->data, sizeof(x->data));
	return r ? r : x->length - y->length;
}

static int compare_items(const void *a, const void *b)
{
	return compare_entries(&((const struct item *)a)->entry, &((const struct item *)b)->entry);
}

static void merge_equal(struct items *items)
{
	size_t kept = 0;

	for (size_t i = 0; i < items->n; i++) {
		if (kept && compare_items(&items->v[kept - 1], &items->v[i]) == 0)
			items->v[kept - 1].rules |= items->v[i].rules;
		else
			items->v[kept++] = items->v[i];
	}
	items->n = kept;
}

static bool contains(const struct entry *outer, const struct entry *inner)
{
	unsigned bytes = outer->length / 8, bits = outer->length % 8;

	if (outer->v6 != inner->v6 || outer->length > inner->length ||
	    memcmp(outer->data, inner->data, bytes) != 0)
		return false;
	return !bits || ((outer->data[bytes] ^ inner->data[bytes]) >> (8 - bits)) == 0;
}

/* Gives each prefix the rules of those around it, which are a stack in sorted order. */
static void inherit(struct items *items)
{
	size_t around[129]; /* at most one for each length */
	size_t depth = 0;

	for (size_t i = 0; i < items->n; i++) {
		struct item *item = &items->v[i];

		while (depth && !contains(&items->v[around[depth - 1]].entry, &item->entry))
			depth--;
		if (depth)
			item->rules |= items->v[around[depth - 1]].rules;
		around[depth++] = i;
	}
}

struct class
{
	uint64_t rules;
	uint32_t number;
	UT_hash_handle hh;
};

static int class_of(struct class **classes, uint64_t rules, struct prefix_view *view, uint32_t *ret)
{
	struct class *c;

	HASH_FIND(hh, *classes, &rules, sizeof(rules), c);
	if (!c) {
		if (GROW(view->rules, view->n_classes) < 0)
			return -ENOMEM;
		c = calloc(1, sizeof(*c));
		if (!c)
			return -ENOMEM;
		c->rules = rules;
		c->number = (uint32_t)view->n_classes;
		view->rules[view->n_classes++] = rules;
		HASH_ADD(hh, *classes, rules, sizeof(c->rules), c);
	}
	*ret = c->number;
	return 0;
}

static void free_classes(struct class **classes)
{
	struct class *c, *tmp;

	HASH_ITER (hh, *classes, c, tmp) {
		HASH_DEL(*classes, c);
		free(c);
	}
}

/* Numbers the classes and moves the entries out. */
static int classify(struct items *items, struct prefix_view *view, struct entry **ret)
{
	_cleanup_free_ struct entry *entries = calloc(items->n + 1, sizeof(*entries));
	struct class *classes = NULL;
	uint32_t none;
	int r = entries ? class_of(&classes, 0, view, &none) : -ENOMEM; /* class 0 */

	for (size_t i = 0; i < items->n && r == 0; i++) {
		entries[i] = items->v[i].entry;
		r = class_of(&classes, items->v[i].rules, view, &entries[i].class);
	}
	free_classes(&classes);
	if (r == 0)
		*ret = TAKE_PTR(entries);
	return r;
}

static uint64_t number_at(const uint8_t data[8])
{
	uint64_t big_endian;

	memcpy(&big_endian, data, sizeof(big_endian));
	return be64toh(big_endian);
}

static uint64_t first_half(const struct entry *e)
{
	return number_at(e->data);
}

/* Returns the span of keys that begin with the first `length` bits of a number; with 64 or more it
 * is that number. */
static struct span span_of(uint64_t first, unsigned length, uint32_t answer)
{
	uint64_t others = length < 64 ? UINT64_MAX >> length : 0;

	return (struct span){ first, first | others, answer };
}

static int write_tree4(struct prefix_sets *s, const struct entry *entries, size_t n, uint32_t *ret)
{
	_cleanup_free_ struct span *spans = calloc(n + 1, sizeof(*spans));

	if (!spans)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++)
		spans[i] = span_of(first_half(&entries[i]) >> 32, 32u + entries[i].length,
				   entries[i].class);
	return range_tree_write(s->nodes, spans, n, 0, ret);
}

/* Writes entries longer than 64 bits that share a first half. */
static int write_second_halves(struct prefix_sets *s, const struct entry *entries, size_t n,
			       uint32_t outside, uint32_t *ret)
{
	_cleanup_free_ struct span *spans = calloc(n, sizeof(*spans));

	if (!spans)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++)
		spans[i] = span_of(number_at(entries[i].data + 8), entries[i].length - 64u,
				   entries[i].class);
	return range_tree_write(s->nodes, spans, n, outside, ret);
}

/* Returns how many of the n entries from here on are longer than 64 bits and share a first half.
 * In sorted order no shorter one comes between. */
static size_t count_longer(const struct entry *entries, size_t n)
{
	size_t i = 0;

	while (i < n && entries[i].length > 64 && first_half(&entries[i]) == first_half(entries))
		i++;
	return i;
}

/* Writes a span for each entry of up to 64 bits, and one for each first half of the longer ones. */
static int write_tree6(struct prefix_sets *s, const struct entry *entries, size_t n, uint32_t *ret)
{
	_cleanup_free_ struct span *spans = calloc(n + 1, sizeof(*spans));
	const struct entry *around[65]; /* at most one for each length */
	size_t depth = 0, n_spans = 0;
	int r = spans ? 0 : -ENOMEM;

	for (size_t i = 0, taken; i < n && r == 0; i += taken) {
		const struct entry *e = &entries[i];
		struct span *span = &spans[n_spans++];

		while (depth && !contains(around[depth - 1], e))
			depth--;
		*span = span_of(first_half(e), e->length, e->class);
		taken = count_longer(e, n - i);
		if (taken) {
			r = write_second_halves(s, e, taken, depth ? around[depth - 1]->class : 0,
						&span->answer);
		} else {
			taken = 1;
			around[depth++] = e;
		}
	}
	return r < 0 ? r : range_tree_write(s->nodes, spans, n_spans, 0, ret);
}

static int write_trees(struct prefix_sets *s, struct set *set, size_t n)
{
	size_t n4 = 0;
	int r;

	while (n4 < n && !set->entries[n4].v6)
		n4++;
	r = write_tree4(s, set->entries, n4, &set->tree4);
	return r < 0 ? r : write_tree6(s, set->entries + n4, n - n4, &set->tree6);
}

/* Finds or makes the set with these entries, which it takes over if it makes one. */
static int intern(struct prefix_sets *s, struct entry **entries, size_t n, struct set **ret)
{
	struct set *set;
	int r;

	HASH_FIND(hh, s->by_content, *entries, n * sizeof(**entries), set);
	if (!set) {
		set = calloc(1, sizeof(*set));
		if (!set)
			return -ENOMEM;
		set->entries = TAKE_PTR(*entries);
		r = write_trees(s, set, n);
		if (r < 0) {
			set_free(set);
			return r;
		}
		HASH_ADD_KEYPTR(hh, s->by_content, set->entries, n * sizeof(*set->entries), set);
	}
	*ret = set;
	return 0;
}

static int collect(const struct rule *const *rules, size_t n, enum sp_property property,
		   struct items *items, uint64_t *asking)
{
	int r = 0;

	*asking = 0;
	for (size_t i = 0; i < n && r == 0; i++) {
		if (!when_asks(&rules[i]->when, property))
			continue;
		*asking |= 1ull << i;
		r = collect_rule(items, &rules[i]->when, property, 1ull << i);
	}
	return r;
}

int prefix_sets_get(struct prefix_sets *s, const struct rule *const *rules, size_t n,
		    enum sp_property property, struct prefix_view *ret)
{
	_cleanup_free_ struct entry *entries = NULL;
	struct prefix_view view = { 0 };
	struct items items = { 0 };
	struct set *set = NULL;
	int r = collect(rules, n, property, &items, &view.asking);

	if (r == 0 && items.n) {
		qsort(items.v, items.n, sizeof(*items.v), compare_items);
		merge_equal(&items);
		inherit(&items);
	}
	if (r == 0)
		r = classify(&items, &view, &entries);
	if (r == 0)
		r = intern(s, &entries, items.n, &set);
	free(items.v);
	if (r < 0) {
		free(view.rules);
		return r;
	}
	assert(set);
	view.tree4 = set->tree4;
	view.tree6 = set->tree6;
	*ret = view;
	return 0;
}
