// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <errno.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "kernel/generation.h"
#include "kernel/pin.h"
#include "kernel/pinned.h"

struct pinned {
	char *dir; /* of the pins */
	int maps[MAP_ID_MAX];
	struct sp_state state; /* when it was opened */
};

int pinned_open_map(const char *dir, const char *name, uint32_t key_size, uint32_t value_size,
		    uint32_t *ret_entries)
{
	_cleanup_close_ int fd = pin_get(dir, name, PIN_MAP);
	struct bpf_map_info info;
	int r = fd < 0 ? fd : pin_map_info(fd, &info);

	if (r < 0)
		return r;
	if (info.key_size != key_size || info.value_size != value_size)
		return -EPROTO;
	*ret_entries = info.max_entries;
	return TAKE_FD(fd);
}

int pinned_open_maps(const char *dir, int maps[MAP_ID_MAX])
{
	for (int i = 0; i < MAP_ID_MAX; i++) {
		const struct map *m = &map_table[i];
		uint32_t entries, n_slots = map_n_slots(i);

		maps[i] = pinned_open_map(dir, m->name, n_slots ? sizeof(uint32_t) : m->key_size,
					  n_slots ? sizeof(uint32_t) : m->value_size, &entries);
		if (maps[i] < 0)
			return maps[i];
		if (n_slots && entries != n_slots)
			return -EPROTO;
	}
	return 0;
}

/* Why there is no `current/` with our maps. */
static int explain_missing(const char *pin_dir, int r)
{
	/* To SP_ABI_VERSION 5 all lay in the directory itself. */
	if (r == -ENOENT && !pin_is_lost(pin_dir, map_table[MAP_ID_state].name))
		return -EPROTO;
	return r;
}

int pinned_open(const char *pin_dir, struct pinned **ret)
{
	_cleanup_(pinned_close) struct pinned *p = calloc(1, sizeof(*p));
	int r;

	if (!p)
		return -ENOMEM;
	memset(p->maps, -1, sizeof(p->maps));
	p->dir = pin_path(pin_dir, PIN_CURRENT);
	if (!p->dir)
		return -ENOMEM;
	r = pinned_open_maps(p->dir, p->maps);
	if (r == 0)
		r = pinned_state(p, &p->state);
	if (r < 0)
		return explain_missing(pin_dir, r);
	if (p->state.abi_version != SP_ABI_VERSION)
		return -EPROTO;
	*ret = TAKE_PTR(p);
	return 0;
}

void pinned_close(struct pinned *p)
{
	for (int i = 0; i < MAP_ID_MAX; i++)
		if (p->maps[i] >= 0)
			close(p->maps[i]);
	free(p->dir);
	free(p);
}

int pinned_state(const struct pinned *p, struct sp_state *ret)
{
	const uint32_t zero = 0;

	return bpf_map_lookup_elem(p->maps[MAP_ID_state], &zero, ret) < 0 ? -errno : 0;
}

const struct sp_generation *pinned_generation(const struct pinned *p)
{
	return &p->state.of[p->state.generation & 1];
}

int pinned_map(const struct pinned *p, enum map_id id)
{
	return p->maps[id];
}

bool pinned_is_outdated(const struct pinned *p)
{
	struct sp_state now;

	return pinned_state(p, &now) < 0 || now.generation != p->state.generation;
}

int pinned_open_inner(const struct pinned *p, enum map_id id, uint32_t slot, uint32_t *ret_entries)
{
	char name[GENERATION_PIN_NAME_SIZE];
	_cleanup_close_ int fd = -1;
	struct bpf_map_info info;
	uint32_t there;

	generation_pin_name(id, slot, name);
	fd = pinned_open_map(p->dir, name, map_table[id].key_size, map_table[id].value_size,
			     ret_entries);
	if (fd < 0)
		return fd;
	/* If the agent could not pin, another generation's map may still have the name. */
	if (bpf_map_lookup_elem(p->maps[id], &slot, &there) < 0 || pin_map_info(fd, &info) < 0 ||
	    info.id != there)
		return -ENOENT;
	return TAKE_FD(fd);
}

/* Room for one element more than there are, so that an empty map has memory, too. */
static int read_array(int fd, uint32_t n, size_t value_size, void **ret)
{
	_cleanup_free_ uint32_t *keys = calloc((size_t)n + 1, sizeof(*keys));
	_cleanup_free_ char *values = calloc((size_t)n + 1, value_size);
	uint32_t at = 0, batch = 0;

	if (!keys || !values)
		return -ENOMEM;
	while (at < n) {
		uint32_t count = n - at;
		int r = bpf_map_lookup_batch(fd, at ? &batch : NULL, &batch, keys + at,
					     values + at * value_size, &count, NULL);

		if (r < 0 && errno != ENOENT)
			return -errno;
		if (!count)
			return -EIO;
		at += count;
	}
	*ret = TAKE_PTR(values);
	return 0;
}

/* Tables have all the same size, however little is in them. */
static uint32_t n_used(const struct pinned *p, enum map_id id, uint32_t n)
{
	const struct sp_generation *g = pinned_generation(p);
	uint32_t used = id == MAP_ID_glob_nodes	  ? g->n_glob_nodes
			: id == MAP_ID_glob_links ? g->n_glob_links
						  : n;

	return used < n ? used : n;
}

/*
 * The elements of a map of the generation in force, without those at the end of a table of globs
 * that are 0; table: of globs, 0 for the other maps.  *ret: owned, *ret_n elements of
 * map_table[id].value_size.
 */
static int read_map(const struct pinned *p, enum map_id id, uint32_t table, void **ret,
		    uint32_t *ret_n)
{
	_cleanup_close_ int fd = -1;
	void *values = NULL;
	uint32_t n = 0;
	int r;

	fd = pinned_open_inner(p, id, generation_slot(p->state.generation, table), &n);
	n = n_used(p, id, n);
	r = fd < 0 ? fd : read_array(fd, n, map_table[id].value_size, &values);
	if (pinned_is_outdated(p)) {
		free(values);
		return -ESTALE;
	}
	if (r < 0)
		return r;
	*ret = values;
	*ret_n = n;
	return 0;
}

static int read_globs(const struct pinned *p, struct glob_tables *g)
{
	int r = 0;

	g->n_match = pinned_generation(p)->n_match_tables;
	g->n_exclude = pinned_generation(p)->n_exclude_tables;
	if (g->n_match > SP_GLOB_TABLES_MAX || g->n_exclude > SP_GLOB_TABLES_MAX - g->n_match)
		return -EPROTO;
	for (uint32_t t = 0; t < g->n_match + g->n_exclude && r == 0; t++) {
		r = read_map(p, MAP_ID_glob_nodes, t, (void **)&g->v[t].nodes, &g->v[t].n_nodes);
		if (r == 0)
			r = read_map(p, MAP_ID_glob_links, t, (void **)&g->v[t].links,
				     &g->v[t].n_links);
	}
	return r == 0 && !glob_tables_are_sound(g) ? -EPROTO : r;
}

int pinned_image(const struct pinned *p, struct image **ret)
{
	_cleanup_(image_free) struct image *im = calloc(1, sizeof(*im));
	int r = im ? read_globs(p, &im->globs) : -ENOMEM;

	if (r < 0)
		return r;
	im->generation = *pinned_generation(p);
	for (int id = 0; id < MAP_ID_MAX && r == 0; id++)
		if (map_table[id].shape == MAP_EXACT)
			r = read_map(p, id, 0, &im->of[id].values, &im->of[id].n);
	if (r == 0)
		*ret = TAKE_PTR(im);
	return r;
}

/* Bucket by bucket, each under its lock, so that no key comes twice. */
static int read_batches(int fd, const struct bpf_map_info *map, struct pinned_contents *c)
{
	__u32 bucket, *from = NULL; /* where the kernel goes on */
	int r = 0;

	while (r == 0 && c->n < map->max_entries) {
		__u32 n = map->max_entries - (__u32)c->n;

		r = bpf_map_lookup_batch(fd, from, &bucket, (char *)c->keys + c->n * map->key_size,
					 (char *)c->values + c->n * map->value_size, &n, NULL);
		if (r < 0)
			r = -errno;
		if (r == 0 || r == -ENOENT)
			c->n += n;
		from = &bucket;
	}
	/* No room for the rest of a bucket: more came than the map holds at a time. */
	return r == -ENOENT || (r == -ENOSPC && c->n) ? 0 : r;
}

int pinned_contents_read(int fd, struct pinned_contents *ret)
{
	struct pinned_contents c = { 0 };
	struct bpf_map_info map;
	int r = pin_map_info(fd, &map);

	if (r < 0)
		return r;
	c.keys = calloc(map.max_entries, map.key_size);
	c.values = calloc(map.max_entries, map.value_size);
	r = c.keys && c.values ? read_batches(fd, &map, &c) : -ENOMEM;
	if (r < 0)
		pinned_contents_clear(&c);
	else
		*ret = c;
	return r;
}

void pinned_contents_clear(struct pinned_contents *c)
{
	free(c->keys);
	free(c->values);
	*c = (struct pinned_contents){ 0 };
}

/* The chunks of `applied`, opened as they are needed. */
struct chunks {
	int fd[SP_COUNTERS_CHUNKS];
	int n_cpus;
	sp_applied_t *counts; /* of all CPUs */
};

static uint64_t sum_applied(const struct pinned *p, struct chunks *c, uint32_t index)
{
	uint32_t chunk = index / SP_COUNTERS_CHUNK, key = index % SP_COUNTERS_CHUNK;
	uint64_t sum = 0;
	uint32_t entries;

	if (chunk >= SP_COUNTERS_CHUNKS)
		return 0;
	if (c->fd[chunk] < 0)
		c->fd[chunk] = pinned_open_inner(p, MAP_ID_applied, chunk, &entries);
	if (c->fd[chunk] < 0 || bpf_map_lookup_elem(c->fd[chunk], &key, c->counts) < 0)
		return 0;
	for (int cpu = 0; cpu < c->n_cpus; cpu++)
		sum += c->counts[cpu];
	return sum;
}

/* Makes it a string of the characters that names have, whoever wrote the map; a counter beside the
 * rules' keeps its name. */
static void clean_name(char name[SP_NAME_SIZE])
{
	name[SP_NAME_SIZE - 1] = '\0';
	if (streq(name, SP_COUNTER_AT_SOCKET))
		return;
	for (char *c = name; *c; c++)
		if ((*c < 'a' || *c > 'z') && (*c < '0' || *c > '9') && !strchr("._-", *c))
			*c = '?';
}

int pinned_each_counter(const struct pinned *p, pinned_counter_fn *fn, void *userdata)
{
	struct chunks chunks = { .n_cpus = libbpf_num_possible_cpus() };
	struct pinned_contents all = { 0 };
	struct sp_counter *counters;
	const uint32_t *indices;
	int r;

	if (chunks.n_cpus < 0)
		return chunks.n_cpus;
	memset(chunks.fd, -1, sizeof(chunks.fd));
	chunks.counts = calloc((size_t)chunks.n_cpus, sizeof(*chunks.counts));
	r = chunks.counts ? pinned_contents_read(p->maps[MAP_ID_counters], &all) : -ENOMEM;
	counters = all.values;
	indices = all.keys;
	for (size_t i = 0; r == 0 && i < all.n; i++) {
		clean_name(counters[i].policy);
		clean_name(counters[i].rule);
		r = fn(indices[i], &counters[i], sum_applied(p, &chunks, indices[i]), userdata);
	}
	pinned_contents_clear(&all);
	for (size_t i = 0; i < SP_COUNTERS_CHUNKS; i++)
		if (chunks.fd[i] >= 0)
			close(chunks.fd[i]);
	free(chunks.counts);
	return r;
}

int pinned_each_failure(const struct pinned *p, pinned_failure_fn *fn, void *userdata)
{
	struct pinned_contents all = { 0 };
	int r = pinned_contents_read(p->maps[MAP_ID_failures], &all);
	const struct sp_failure *failures = all.keys;
	const uint64_t *counts = all.values;

	for (size_t i = 0; r == 0 && i < all.n; i++)
		r = fn(&failures[i], counts[i], userdata);
	pinned_contents_clear(&all);
	return r;
}

int pinned_each_outcome(const struct pinned *p, pinned_outcome_fn *fn, void *userdata)
{
	struct pinned_contents all = { 0 };
	int r = pinned_contents_read(p->maps[MAP_ID_outcomes], &all);
	const struct sp_outcome *outcomes = all.keys;
	const uint64_t *counts = all.values;

	for (size_t i = 0; r == 0 && i < all.n; i++)
		r = fn(&outcomes[i], counts[i], userdata);
	pinned_contents_clear(&all);
	return r;
}

uint32_t pinned_map_room(const struct pinned *p, enum map_id id)
{
	struct bpf_map_info info;

	return pin_map_info(p->maps[id], &info) < 0 ? 0 : info.max_entries;
}
