// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <assert.h>
#include <errno.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <uthash.h>

#include "base/log.h"
#include "base/progress.h"
#include "kernel/counting.h"
#include "kernel/generation.h"
#include "kernel/pin.h"
#include "kernel/pinned.h"
#include "policy/stage.h"

struct entry {
	struct sp_counter name; /* the key: zero-padded */
	uint32_t index;
	bool written; /* in the map `counters` */
	bool wanted;
	bool found; /* an earlier agent's, and no configuration came since */
	UT_hash_handle hh;
};

struct counting {
	struct entry *by_name;
	bool used[SP_COUNTERS_MAX];	/* by index */
	uint32_t next;			/* no index below is free */
	int chunks[SP_COUNTERS_CHUNKS]; /* of `applied`; -1: not made yet */
};

int counting_new(struct counting **ret)
{
	struct counting *c = calloc(1, sizeof(*c));

	if (!c)
		return log_oom();
	memset(c->chunks, -1, sizeof(c->chunks));
	c->used[0] = true;
	c->next = 1;
	*ret = c;
	return 0;
}

void counting_free(struct counting *c)
{
	struct entry *e, *tmp;

	HASH_ITER (hh, c->by_name, e, tmp) {
		HASH_DEL(c->by_name, e);
		free(e);
	}
	for (size_t i = 0; i < SP_COUNTERS_CHUNKS; i++)
		if (c->chunks[i] >= 0)
			close(c->chunks[i]);
	free(c);
}

/* Cuts names to their size, as anybody may have written the map. */
static void copy_name(struct sp_counter *ret, const char *policy, const char *rule)
{
	memset(ret, 0, sizeof(*ret));
	memcpy(ret->policy, policy, strnlen(policy, sizeof(ret->policy) - 1));
	memcpy(ret->rule, rule, strnlen(rule, sizeof(ret->rule) - 1));
}

static struct entry *find(const struct counting *c, const struct sp_counter *name)
{
	struct entry *found;

	HASH_FIND(hh, c->by_name, name, sizeof(*name), found);
	return found;
}

static struct entry *keep(struct counting *c, uint32_t index, const struct sp_counter *name)
{
	struct entry *e = calloc(1, sizeof(*e));

	if (!e)
		return NULL;
	e->name = *name;
	e->index = index;
	c->used[index] = true;
	HASH_ADD(hh, c->by_name, name, sizeof(e->name), e);
	return e;
}

/* The lowest, so that few chunks are needed; 0: there is none. */
static uint32_t free_index(struct counting *c)
{
	while (c->next < SP_COUNTERS_MAX && c->used[c->next])
		c->next++;
	return c->next < SP_COUNTERS_MAX ? c->next : 0;
}

static int add(struct counting *c, const struct policy *p, const char *rule)
{
	struct sp_counter name;
	struct entry *e;
	uint32_t index;

	copy_name(&name, p->name, rule);
	e = find(c, &name);
	if (!e) {
		index = free_index(c);
		if (!index)
			return -ENOSPC;
		e = keep(c, index, &name);
		if (!e)
			return -ENOMEM;
	}
	e->wanted = true;
	return 0;
}

int counting_add_config(struct counting *c, const struct config *config)
{
	int r = 0;

	for (size_t i = 0; i < config->n_policies && r == 0; i++) {
		const struct policy *p = &config->policies[i];

		progress_made();
		r = add(c, p, "");
		if (r == 0 && stage_policy_gives_at_socket(p))
			r = add(c, p, SP_COUNTER_AT_SOCKET);
		for (size_t j = 0; r == 0 && j < p->n_rules; j++)
			r = add(c, p, p->rules[j].name);
	}
	return r;
}

uint32_t counting_index(const struct policy *p, const char *rule, void *counters)
{
	struct sp_counter name;
	const struct entry *e;

	copy_name(&name, p->name, rule);
	e = find(counters, &name);
	return e ? e->index : 0;
}

/* A chunk of `applied`; a negative number: there is none. */
static int open_chunk(const char *dir, uint32_t chunk)
{
	char name[GENERATION_PIN_NAME_SIZE];

	generation_pin_name(MAP_ID_applied, chunk, name);
	return pin_get(dir, name, PIN_MAP);
}

int counting_read(struct counting *c, const struct kernel *k)
{
	struct pinned_contents all = { 0 };
	int r = pinned_contents_read(k->maps[MAP_ID_counters], &all);
	const struct sp_counter *values = all.values;
	const uint32_t *indices = all.keys;

	for (size_t i = 0; i < all.n && r == 0; i++) {
		struct sp_counter name;
		struct entry *e;

		copy_name(&name, values[i].policy, values[i].rule);
		if (!indices[i] || indices[i] >= SP_COUNTERS_MAX || !*name.policy ||
		    c->used[indices[i]] || find(c, &name))
			continue;
		e = keep(c, indices[i], &name);
		if (!e)
			r = -ENOMEM;
		else
			e->found = e->written = true;
	}
	pinned_contents_clear(&all);
	/* Without its pin nobody could read one: then it is made anew. */
	for (uint32_t chunk = 0; chunk < SP_COUNTERS_CHUNKS; chunk++)
		c->chunks[chunk] = open_chunk(k->dir, chunk);
	return r;
}

static int make_chunk(const struct kernel *k, uint32_t chunk)
{
	const struct map *m = &map_table[MAP_ID_applied];
	_cleanup_close_ int fd = -1;
	char name[GENERATION_PIN_NAME_SIZE];

	generation_pin_name(MAP_ID_applied, chunk, name);
	fd = bpf_map_create(BPF_MAP_TYPE_PERCPU_ARRAY, name, m->key_size, m->value_size, m->entries,
			    NULL);
	if (fd < 0)
		return log_error_errno(fd, "Cannot make the map %s", name);
	if (bpf_map_update_elem(k->maps[MAP_ID_applied], &chunk, &fd, BPF_ANY) < 0)
		return log_error_errno(errno, "Cannot use the map %s", name);
	return TAKE_FD(fd);
}

/* *ret_unpinned: why it has no pin, where it has none. */
static int need_chunk(struct counting *c, const struct kernel *k, uint32_t chunk, int *ret_unpinned)
{
	char name[GENERATION_PIN_NAME_SIZE];
	int r;

	if (c->chunks[chunk] < 0)
		c->chunks[chunk] = make_chunk(k, chunk);
	if (c->chunks[chunk] < 0)
		return c->chunks[chunk];
	generation_pin_name(MAP_ID_applied, chunk, name);
	r = pin_is_lost(k->dir, name) ? pin_set(c->chunks[chunk], k->dir, name) : 0;
	*ret_unpinned = r < 0 ? r : *ret_unpinned;
	return 0;
}

int counting_write(struct counting *c, const struct kernel *k)
{
	bool needed[SP_COUNTERS_CHUNKS] = { 0 };
	int fd = k->maps[MAP_ID_counters], r = 0, unpinned = 0;
	struct entry *e, *tmp;

	HASH_ITER (hh, c->by_name, e, tmp) {
		needed[e->index / SP_COUNTERS_CHUNK] = true;
		if (e->written)
			continue;
		if (bpf_map_update_elem(fd, &e->index, &e->name, BPF_ANY) < 0)
			return log_error_errno(errno, "Cannot write the map `counters`");
		e->written = true;
	}
	for (uint32_t chunk = 0; chunk < SP_COUNTERS_CHUNKS && r == 0; chunk++)
		r = needed[chunk] ? need_chunk(c, k, chunk, &unpinned) : 0;
	if (unpinned < 0)
		log_warning_errno(unpinned, "Cannot pin %s/%s_*, ignoring", k->dir,
				  map_table[MAP_ID_applied].name);
	return r;
}

/* Returns room for the counts of all CPUs, which the caller frees; NULL: no memory. */
static sp_applied_t *per_cpu(int *ret_n)
{
	*ret_n = libbpf_num_possible_cpus();
	return *ret_n > 0 ? calloc((size_t)*ret_n, sizeof(sp_applied_t)) : NULL;
}

static void zero_applied(const struct counting *c, uint32_t index)
{
	int fd = c->chunks[index / SP_COUNTERS_CHUNK];
	const uint32_t key = index % SP_COUNTERS_CHUNK;
	int n;
	_cleanup_free_ sp_applied_t *zero = per_cpu(&n);

	if (fd < 0 || !zero || bpf_map_update_elem(fd, &key, zero, BPF_ANY) < 0)
		log_warning("Cannot reset the counter %u, ignoring", index);
}

/* The maps whose keys begin with a counter. */
static const enum map_id by_counter[] = { MAP_ID_failures, MAP_ID_outcomes };
static_assert(sizeof(struct sp_failure) == sizeof(struct sp_outcome) &&
		      offsetof(struct sp_failure, counter) == offsetof(struct sp_outcome, counter),
	      "either is read as a failure");

/* Drops what was counted for counters that have no name any more. */
static void drop_counted(const struct counting *c, const struct kernel *k, enum map_id id)
{
	struct pinned_contents all = { 0 };
	int fd = k->maps[id];
	int r = pinned_contents_read(fd, &all);
	const struct sp_failure *keys = all.keys;

	for (size_t i = 0; r == 0 && i < all.n; i++)
		if (keys[i].counter >= SP_COUNTERS_MAX || !c->used[keys[i].counter])
			(void)bpf_map_delete_elem(fd, &keys[i]);
	if (r < 0)
		log_warning_errno(r, "Cannot read the map `%s`, ignoring", map_table[id].name);
	pinned_contents_clear(&all);
}

static void drop(struct counting *c, const struct kernel *k, struct entry *e)
{
	if (e->written) {
		if (bpf_map_delete_elem(k->maps[MAP_ID_counters], &e->index) < 0)
			log_warning("Cannot clear the counter %u, ignoring", e->index);
		zero_applied(c, e->index);
	}
	c->used[e->index] = false;
	if (e->index < c->next)
		c->next = e->index;
	HASH_DEL(c->by_name, e);
	free(e);
}

void counting_keep_only(struct counting *c, const struct kernel *k, const struct config *config)
{
	struct entry *e, *tmp;
	bool dropped = false;

	HASH_ITER (hh, c->by_name, e, tmp) {
		e->wanted = false;
		e->found &= !config;
	}
	if (config) /* they all have their indices: it only marks them */
		(void)counting_add_config(c, config);
	HASH_ITER (hh, c->by_name, e, tmp) {
		if (e->wanted || e->found)
			continue;
		dropped |= e->written;
		drop(c, k, e);
	}
	for (size_t i = 0; dropped && i < ARRAY_SIZE(by_counter); i++)
		drop_counted(c, k, by_counter[i]);
}

/* --- what an earlier agent counted ---------------------------------------------------------------
 */

/* To SP_ABI_VERSION 5: value of array `sources`. */
struct source {
	char policy[SP_NAME_SIZE]; /* empty: this id is free */
	char rule[SP_NAME_SIZE];
	uint32_t flags, reserved;
};

static_assert(offsetof(struct source, rule) == offsetof(struct sp_counter, rule) &&
		      sizeof(struct source) >= sizeof(struct sp_counter),
	      "it begins with what a counter is");

struct earlier {
	const char *dir;
	int names; /* `counters`, or `sources` */
};

/* Our index for what has `index` there; 0: we have no such policy or rule. */
static uint32_t same_name(const struct counting *c, const struct earlier *from, uint32_t index)
{
	struct source source = { 0 };
	struct sp_counter name;
	const struct entry *ours;

	if (bpf_map_lookup_elem(from->names, &index, &source) < 0)
		return 0;
	copy_name(&name, source.policy, source.rule);
	ours = *name.policy ? find(c, &name) : NULL;
	return ours ? ours->index : 0;
}

static void carry_counted(const struct counting *c, const struct kernel *k,
			  const struct earlier *from, enum map_id id)
{
	uint32_t entries;
	_cleanup_close_ int fd =
		pinned_open_map(from->dir, map_table[id].name, map_table[id].key_size,
				map_table[id].value_size, &entries);
	int to = k->maps[id];
	struct pinned_contents all = { 0 };
	const struct sp_failure *keys;
	const uint64_t *counts;

	if (fd < 0 || pinned_contents_read(fd, &all) < 0)
		return;
	keys = all.keys;
	counts = all.values;
	for (size_t i = 0; i < all.n; i++) {
		struct sp_failure key = keys[i];
		uint64_t count = 0;

		key.counter = same_name(c, from, key.counter);
		if (!key.counter)
			continue;
		(void)bpf_map_lookup_elem(to, &key, &count);
		count += counts[i];
		if (bpf_map_update_elem(to, &key, &count, BPF_ANY) < 0)
			log_warning("Cannot carry the `%s` of counter %u over, ignoring",
				    map_table[id].name, key.counter);
	}
	pinned_contents_clear(&all);
}

static void carry_applied(const struct counting *c, const struct earlier *from)
{
	struct pinned_contents all = { 0 };
	const uint32_t *indices;
	int n;
	_cleanup_free_ sp_applied_t *theirs = per_cpu(&n), *ours = per_cpu(&n);

	if (!theirs || !ours || pinned_contents_read(from->names, &all) < 0)
		return;
	indices = all.keys;
	for (size_t i = 0; i < all.n; i++) {
		uint32_t index = same_name(c, from, indices[i]);
		const uint32_t their_key = indices[i] % SP_COUNTERS_CHUNK,
			       our_key = index % SP_COUNTERS_CHUNK;
		_cleanup_close_ int their_fd =
			open_chunk(from->dir, indices[i] / SP_COUNTERS_CHUNK);
		int our_fd = index ? c->chunks[index / SP_COUNTERS_CHUNK] : -1;

		if (their_fd < 0 || our_fd < 0 ||
		    bpf_map_lookup_elem(their_fd, &their_key, theirs) < 0 ||
		    bpf_map_lookup_elem(our_fd, &our_key, ours) < 0)
			continue;
		for (int cpu = 0; cpu < n; cpu++)
			ours[cpu] += theirs[cpu];
		(void)bpf_map_update_elem(our_fd, &our_key, ours, BPF_ANY);
	}
	pinned_contents_clear(&all);
}

void counting_carry(const struct counting *c, const struct kernel *k, const char *pin_dir)
{
	_cleanup_free_ char *current = pin_path(pin_dir, PIN_CURRENT);
	const bool is_flat = current && pin_is_lost(current, map_table[MAP_ID_state].name);
	struct earlier from = { .dir = is_flat ? pin_dir : current };
	_cleanup_close_ int names = -1;
	uint32_t n;

	if (!current)
		return;
	names = pinned_open_map(from.dir, is_flat ? "sources" : "counters", sizeof(uint32_t),
				is_flat ? sizeof(struct source) : sizeof(struct sp_counter), &n);
	if (names < 0)
		return;
	from.names = names;
	if (!is_flat)
		carry_applied(c, &from);
	for (size_t i = 0; i < ARRAY_SIZE(by_counter); i++)
		carry_counted(c, k, &from, by_counter[i]);
}
