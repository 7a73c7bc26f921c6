// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <errno.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "kernel/generation.h"
#include "kernel/map_contents.h"
#include "kernel/pin.h"
#include "kernel/pinned.h"

struct pinned {
	char *dir; /* of the pins */
	int maps[MAP_ID_MAX];
	struct sp_state state; /* when it was opened */
};

/* What userspace believes of a map's layout must be so before it reads a value into a structure. */
static int open_map(const char *dir, const char *name, uint32_t key_size, uint32_t value_size,
		    uint32_t *ret_entries)
{
	_cleanup_close_ int fd = pin_get(dir, name, PIN_MAP);
	struct bpf_map_info info = { 0 };
	__u32 size = sizeof(info);

	if (fd < 0)
		return fd;
	if (bpf_obj_get_info_by_fd(fd, &info, &size) < 0)
		return -errno;
	if (info.key_size != key_size || info.value_size != value_size)
		return -EPROTO;
	*ret_entries = info.max_entries;
	return TAKE_FD(fd);
}

static int open_all(struct pinned *p)
{
	for (int i = 0; i < MAP_ID_MAX; i++) {
		const struct map *m = &map_table[i];
		bool outer = map_n_slots(i) > 0;
		uint32_t entries;

		p->maps[i] = open_map(p->dir, m->name, outer ? sizeof(uint32_t) : m->key_size,
				      outer ? sizeof(uint32_t) : m->value_size, &entries);
		if (p->maps[i] < 0)
			return p->maps[i];
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
	r = open_all(p);
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

bool pinned_is_outdated(const struct pinned *p)
{
	struct sp_state now;

	return pinned_state(p, &now) < 0 || now.generation != p->state.generation;
}

/* Where the agent could not pin, another generation's map may have the name still. */
static bool is_in_slot(const struct pinned *p, enum map_id id, uint32_t slot, int fd)
{
	struct bpf_map_info info = { 0 };
	__u32 size = sizeof(info);
	uint32_t there;

	return bpf_map_lookup_elem(p->maps[id], &slot, &there) == 0 &&
	       bpf_obj_get_info_by_fd(fd, &info, &size) == 0 && info.id == there;
}

static int open_inner(const struct pinned *p, enum map_id id, uint32_t slot, uint32_t *ret_entries)
{
	char name[GENERATION_PIN_NAME_SIZE];
	_cleanup_close_ int fd = -1;

	generation_pin_name(id, slot, name);
	fd = open_map(p->dir, name, map_table[id].key_size, map_table[id].value_size, ret_entries);
	if (fd < 0)
		return fd;
	return is_in_slot(p, id, slot, fd) ? TAKE_FD(fd) : -ENOENT;
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

int pinned_read(const struct pinned *p, enum map_id id, uint32_t table, void **ret, uint32_t *ret_n)
{
	_cleanup_close_ int fd = -1;
	void *values = NULL;
	uint32_t n = 0;
	int r;

	fd = open_inner(p, id, generation_slot(p->state.generation, table), &n);
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
		r = pinned_read(p, MAP_ID_glob_nodes, t, (void **)&g->v[t].nodes, &g->v[t].n_nodes);
		if (r == 0)
			r = pinned_read(p, MAP_ID_glob_links, t, (void **)&g->v[t].links,
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
			r = pinned_read(p, id, 0, &im->of[id].values, &im->of[id].n);
	if (r == 0)
		*ret = TAKE_PTR(im);
	return r;
}

/* The chunks of `applied`, opened as they are needed. */
struct chunks {
	int fd[SP_COUNTERS_CHUNKS];
	int n_cpus;
	sp_applied_t *counts; /* of all CPUs */
};

static int open_chunk(const struct pinned *p, uint32_t chunk)
{
	uint32_t entries;

	return open_inner(p, MAP_ID_applied, chunk, &entries);
}

static uint64_t sum_applied(const struct pinned *p, struct chunks *c, uint32_t index)
{
	uint32_t chunk = index / SP_COUNTERS_CHUNK, key = index % SP_COUNTERS_CHUNK;
	uint64_t sum = 0;

	if (chunk >= SP_COUNTERS_CHUNKS)
		return 0;
	if (c->fd[chunk] < 0)
		c->fd[chunk] = open_chunk(p, chunk);
	if (c->fd[chunk] < 0 || bpf_map_lookup_elem(c->fd[chunk], &key, c->counts) < 0)
		return 0;
	for (int cpu = 0; cpu < c->n_cpus; cpu++)
		sum += c->counts[cpu];
	return sum;
}

/* Whoever wrote it, it ends, and has only what a name can have, or is that of a counter beside the
 * rules'. */
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
	struct map_contents all = { 0 };
	struct sp_counter *counters;
	const uint32_t *indices;
	int r;

	if (chunks.n_cpus < 0)
		return chunks.n_cpus;
	memset(chunks.fd, -1, sizeof(chunks.fd));
	chunks.counts = calloc((size_t)chunks.n_cpus, sizeof(*chunks.counts));
	r = chunks.counts ? map_contents_read(p->maps[MAP_ID_counters], &all) : -ENOMEM;
	counters = all.values;
	indices = all.keys;
	for (size_t i = 0; r == 0 && i < all.n; i++) {
		clean_name(counters[i].policy);
		clean_name(counters[i].rule);
		r = fn(indices[i], &counters[i], sum_applied(p, &chunks, indices[i]), userdata);
	}
	map_contents_clear(&all);
	for (size_t i = 0; i < SP_COUNTERS_CHUNKS; i++)
		if (chunks.fd[i] >= 0)
			close(chunks.fd[i]);
	free(chunks.counts);
	return r;
}

int pinned_each_failure(const struct pinned *p, pinned_failure_fn *fn, void *userdata)
{
	struct map_contents all = { 0 };
	int r = map_contents_read(p->maps[MAP_ID_failures], &all);
	const struct sp_failure *failures = all.keys;
	const uint64_t *counts = all.values;

	for (size_t i = 0; r == 0 && i < all.n; i++)
		r = fn(&failures[i], counts[i], userdata);
	map_contents_clear(&all);
	return r;
}

/* From /proc/self/fdinfo: kernels before 6.4 say there what the map may take at most. */
static uint64_t bytes_of(int fd)
{
	char path[sizeof("/proc/self/fdinfo/") + 3 * sizeof(fd)], line[128];
	_cleanup_fclose_ FILE *f = NULL;
	uint64_t bytes = 0;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f))
		if (strncmp(line, "memlock:", strlen("memlock:")) == 0)
			bytes = strtoull(line + strlen("memlock:"), NULL, 10);
	return bytes;
}

int pinned_map_bytes(const struct pinned *p, enum map_id id, uint64_t *ret)
{
	uint64_t sum = bytes_of(p->maps[id]);

	for (uint32_t slot = 0; slot < map_n_slots(id); slot++) {
		uint32_t entries;
		_cleanup_close_ int fd = open_inner(p, id, slot, &entries);

		if (fd >= 0)
			sum += bytes_of(fd);
		else if (fd != -ENOENT)
			return fd;
	}
	*ret = sum;
	return 0;
}

uint32_t pinned_map_room(const struct pinned *p, enum map_id id)
{
	struct bpf_map_info info = { 0 };
	__u32 size = sizeof(info);

	return bpf_obj_get_info_by_fd(p->maps[id], &info, &size) < 0 ? 0 : info.max_entries;
}
