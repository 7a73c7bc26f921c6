// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <errno.h>

#include <bpf/bpf.h>
#include <uthash.h>

#include "map_contents.h"
#include "sets.h"

/* A prefix of either trie, and the class of what it is the longest for.  Zero-padded: hashed whole.
 */
struct entry {
	uint16_t v6; /* which trie */
	uint16_t length;
	uint32_t class;
	uint8_t data[16];
};

struct set {
	uint32_t id;
	size_t references;
	struct entry *entries; /* the key; sorted */
	size_t n;
	bool found; /* has a reference for what an earlier agent left */
	UT_hash_handle hh, hh_id;
};

struct sets {
	const struct kernel *kernel;
	struct set *by_content;
	struct set *by_id;
	uint32_t last_id;
};

/* What the rules list, before classes are known. */
struct item {
	struct entry entry;
	uint64_t rules;
};

struct items {
	struct item *v;
	size_t n;
};

int sets_new(const struct kernel *k, struct sets **ret)
{
	struct sets *s = calloc(1, sizeof(*s));

	if (!s)
		return -ENOMEM;
	s->kernel = k;
	*ret = s;
	return 0;
}

static void set_free(struct set *set)
{
	free(set->entries);
	free(set);
}

void sets_free(struct sets *s)
{
	struct set *set, *tmp;

	HASH_CLEAR(hh_id, s->by_id);
	HASH_ITER (hh, s->by_content, set, tmp) {
		HASH_DEL(s->by_content, set);
		set_free(set);
	}
	free(s);
}

bool when_asks(const struct when *w, enum sp_property property)
{
	const bool asks[SP_PROPERTY_MAX] = {
		[SP_PROPERTY_REMOTE] = w->has_remote,
		[SP_PROPERTY_LOCAL] = w->has_local,
		[SP_PROPERTY_REMOTE_PORT] = w->has_remote_port,
		[SP_PROPERTY_LOCAL_PORT] = w->has_local_port,
	};

	return asks[property];
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

/* A range of ports as prefixes of 16 bits: the largest that fit, from below. */
static int add_range(struct items *items, const struct port_range *range, uint64_t rule)
{
	uint32_t first = range->first;

	while (first <= range->last) {
		unsigned free_bits = 0;
		struct entry entry = { 0 };

		while (free_bits < 16 && !(first & (1u << free_bits)) &&
		       first + (2u << free_bits) - 1 <= range->last)
			free_bits++;
		entry.length = (uint16_t)(16 - free_bits);
		entry.data[0] = (uint8_t)(first >> 8);
		entry.data[1] = (uint8_t)first;
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

/* Shorter prefixes come right before those that they contain. */
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

/* What holds for a prefix holds for each within: in sorted order those around one are a stack. */
static void inherit(struct items *items)
{
	size_t around[129]; /* one a length at most */
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

static int class_of(struct class **classes, uint64_t rules, struct set_view *view, uint32_t *ret)
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

/* Numbers the classes, and moves the entries out. */
static int classify(struct items *items, struct set_view *view, struct entry **ret)
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

static int write_entry(const struct sets *s, uint32_t id, const struct entry *e, bool remove)
{
	struct sp_set_key4 key4 = { .prefixlen = SP_SET_BITS + e->length, .set = id };
	struct sp_set_key6 key6 = { .prefixlen = SP_SET_BITS + e->length, .set = id };
	int fd = kernel_map_fd(s->kernel, e->v6 ? KERNEL_MAP_SETS6 : KERNEL_MAP_SETS4);
	const void *key = e->v6 ? (const void *)&key6 : (const void *)&key4;
	int r;

	memcpy(key4.data, e->data, sizeof(key4.data));
	memcpy(key6.data, e->data, sizeof(key6.data));
	r = remove ? bpf_map_delete_elem(fd, key)
		   : bpf_map_update_elem(fd, key, &e->class, BPF_ANY);
	return r < 0 ? -errno : 0;
}

static void remove_entries(const struct sets *s, const struct set *set, size_t n)
{
	for (size_t i = 0; i < n; i++)
		write_entry(s, set->id, &set->entries[i], true);
}

/* One that no set has, also not one of an earlier agent. */
static uint32_t free_id(struct sets *s)
{
	const struct set *taken;

	do {
		s->last_id++;
		HASH_FIND(hh_id, s->by_id, &s->last_id, sizeof(s->last_id), taken);
	} while (!s->last_id || taken);
	return s->last_id;
}

/* With its entries, and of no other content than any. */
static void keep(struct sets *s, struct set *set)
{
	HASH_ADD_KEYPTR(hh, s->by_content, set->entries, set->n * sizeof(*set->entries), set);
	HASH_ADD(hh_id, s->by_id, id, sizeof(set->id), set);
}

/* Takes the entries when it makes a new set of them. */
static int intern(struct sets *s, struct entry **entries, size_t n, struct set **ret)
{
	struct set *set;
	int r = 0;

	HASH_FIND(hh, s->by_content, *entries, n * sizeof(**entries), set);
	if (set) {
		*ret = set;
		return 0;
	}
	set = calloc(1, sizeof(*set));
	if (!set)
		return -ENOMEM;
	set->id = free_id(s);
	set->entries = TAKE_PTR(*entries);
	set->n = n;
	for (size_t i = 0; i < n && r == 0; i++) {
		r = write_entry(s, set->id, &set->entries[i], false);
		if (r < 0)
			remove_entries(s, set, i);
	}
	if (r < 0) {
		set_free(set);
		return r;
	}
	keep(s, set);
	*ret = set;
	return 0;
}

static int collect(const struct policy *p, enum sp_property property, struct items *items,
		   uint64_t *asking)
{
	int r = 0;

	*asking = 0;
	for (size_t i = 0; i < p->n_rules && i < SP_RULES_MAX && r == 0; i++) {
		if (!when_asks(&p->rules[i].when, property))
			continue;
		*asking |= 1ull << i;
		r = collect_rule(items, &p->rules[i].when, property, 1ull << i);
	}
	return r;
}

int sets_get(struct sets *s, const struct policy *p, enum sp_property property,
	     struct set_view *ret)
{
	_cleanup_free_ struct entry *entries = NULL;
	struct set_view view = { 0 };
	struct items items = { 0 };
	int r = collect(p, property, &items, &view.asking);

	if (r == 0 && items.n) {
		qsort(items.v, items.n, sizeof(*items.v), compare_items);
		merge_equal(&items);
		inherit(&items);
	}
	if (r == 0)
		r = classify(&items, &view, &entries);
	if (r == 0)
		r = intern(s, &entries, items.n, &view.set);
	free(items.v);
	if (r < 0) {
		free(view.rules);
		return r;
	}
	view.set->references++;
	view.id = view.set->id;
	*ret = view;
	return 0;
}

static void put(struct sets *s, struct set *set)
{
	if (--set->references)
		return;
	remove_entries(s, set, set->n);
	HASH_DELETE(hh_id, s->by_id, set);
	HASH_DEL(s->by_content, set);
	set_free(set);
}

void sets_put(struct sets *s, struct set_view *v)
{
	struct set *set = v->set;

	free(v->rules);
	*v = (struct set_view){ 0 };
	if (set)
		put(s, set);
}

/* A prefix as an earlier agent left it. */
struct found {
	uint32_t set;
	struct entry entry;
};

struct found_list {
	struct found *v;
	size_t n;
};

static int list_trie(const struct sets *s, enum kernel_map map, struct found_list *to)
{
	struct map_contents all = { 0 };
	int r = map_contents_read(kernel_map_fd(s->kernel, map), &all);
	bool v6 = map == KERNEL_MAP_SETS6;
	const struct sp_set_key4 *keys4 = all.keys;
	const struct sp_set_key6 *keys6 = all.keys;
	const uint32_t *classes = all.values;

	for (size_t i = 0; i < all.n && r == 0; i++) {
		uint32_t prefixlen = v6 ? keys6[i].prefixlen : keys4[i].prefixlen;
		struct found found = {
			.set = v6 ? keys6[i].set : keys4[i].set,
			.entry = { .v6 = v6,
				   .length = (uint16_t)(prefixlen - SP_SET_BITS),
				   .class = classes[i] },
		};

		memcpy(found.entry.data, v6 ? keys6[i].data : keys4[i].data, v6 ? 16 : 4);
		r = GROW(to->v, to->n);
		if (r == 0)
			to->v[to->n++] = found;
	}
	map_contents_clear(&all);
	return r;
}

static int compare_found(const void *a, const void *b)
{
	const struct found *x = a, *y = b;

	if (x->set != y->set)
		return x->set < y->set ? -1 : 1;
	return compare_entries(&x->entry, &y->entry);
}

static int keep_found(struct sets *s, const struct found *v, size_t n)
{
	struct set *set = calloc(1, sizeof(*set));

	if (!set)
		return -ENOMEM;
	set->entries = calloc(n, sizeof(*set->entries));
	if (!set->entries) {
		free(set);
		return -ENOMEM;
	}
	set->id = v->set;
	set->found = true;
	set->references = 1;
	for (size_t i = 0; i < n; i++)
		set->entries[set->n++] = v[i].entry;
	keep(s, set);
	if (set->id > s->last_id)
		s->last_id = set->id;
	return 0;
}

int sets_read(struct sets *s)
{
	struct found_list all = { 0 };
	int r = list_trie(s, KERNEL_MAP_SETS4, &all);

	if (r == 0)
		r = list_trie(s, KERNEL_MAP_SETS6, &all);
	if (r == 0 && all.n)
		qsort(all.v, all.n, sizeof(*all.v), compare_found);
	for (size_t i = 0, end; i < all.n && r == 0; i = end) {
		for (end = i + 1; end < all.n && all.v[end].set == all.v[i].set;)
			end++;
		r = keep_found(s, &all.v[i], end - i);
	}
	free(all.v);
	return r;
}

void sets_forget_found(struct sets *s)
{
	struct set *set, *tmp;

	HASH_ITER (hh, s->by_content, set, tmp) {
		if (!set->found)
			continue;
		set->found = false;
		put(s, set);
	}
}
