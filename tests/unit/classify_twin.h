/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The hooks' own code that finds out which policies apply to a cgroup (bpf/classify.h, bpf/cache.h)
 * as a part of a test, over memory instead of the kernel's maps and cgroups.
 */
#ifndef SOCKPOL_CLASSIFY_TWIN_H
#define SOCKPOL_CLASSIFY_TWIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* Instead of <bpf/bpf_helpers.h> and <bpf/bpf_core_read.h>: as much of them as is used. */
#define __BPF_HELPERS__
#define __BPF_CORE_READ_H__
#define SEC(name)
#define __uint(name, value)  int(*name)[value]
#define __type(name, type)   typeof(type) *name
#define __array(name, value) typeof(value) *name[]
#ifndef __always_inline
#define __always_inline inline
#endif
#undef __noinline
#define __noinline __attribute__((noinline))

static void *twin_lookup(const void *map, const void *key);
static uint32_t twin_random(void);
static long twin_read(void *to, size_t size, const void *from);
static long twin_read_str(char *to, size_t size, const char *from);

static long twin_loop(uint32_t n, long (*body)(uint32_t i, void *ctx), void *ctx)
{
	uint32_t i = 0;

	while (i < n && body(i, ctx) == 0)
		i++;
	return i;
}

#define BPF_CORE_READ_1(p, a)		   ((p)->a)
#define BPF_CORE_READ_2(p, a, b)	   ((p)->a->b)
#define BPF_CORE_READ_N(_1, _2, name, ...) name
#define BPF_CORE_READ(p, ...)                                                                      \
	BPF_CORE_READ_N(__VA_ARGS__, BPF_CORE_READ_2, BPF_CORE_READ_1)(p, __VA_ARGS__)
#define bpf_core_field_offset(type, field)	offsetof(type, field)
#define bpf_core_enum_value_exists(type, value) 0
#define bpf_core_type_id_kernel(type)		0
#define __ksym
#define __weak
#define bpf_core_read(to, n, from)	       twin_read(to, n, from)
#define bpf_probe_read_kernel(to, n, from)     twin_read(to, n, from)
#define bpf_probe_read_kernel_str(to, n, from) twin_read_str(to, n, from)
#define bpf_map_lookup_elem(map, key)	       twin_lookup(map, key)
#define bpf_get_prandom_u32()		       twin_random()
#define bpf_loop(n, body, ctx, flags)                                                              \
	twin_loop(n, (long (*)(uint32_t, void *))(void (*)(void))(body), ctx)
/* As global variables the maps would shadow others of their names. */
#define state	 map_state
#define policies map_policies
#define blocks	 map_blocks
#define ops	 map_ops
#define applied	 map_applied
#define sockets	 map_sockets
#define counters map_counters
#define failures map_failures
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunknown-pragmas"
#pragma GCC diagnostic ignored "-Wunused-function"
#pragma GCC diagnostic ignored "-Wunused-parameter"
#pragma GCC diagnostic ignored "-Wmissing-prototypes"
#include "../../bpf/classify.h"
#pragma GCC diagnostic pop
#undef state
#undef policies
#undef blocks
#undef ops
#undef applied
#undef sockets
#undef counters
#undef failures

#include "compile/glob_nodes.h"

/* A map of one of the arrays of maps. */
struct twin_map {
	const void *of; /* the array */
	uint32_t slot;
	char *elements;
	size_t size, n;
};

static struct {
	struct twin_map maps[3 + 2 * SP_GLOB_TABLES_MAX];
	size_t n_maps;
	uint64_t random;
	uint64_t reads; /* of kernel memory: how far did a walk go? */
} twin;

static void *twin_lookup(const void *map, const void *key)
{
	/* As numbers: gcc takes a pointer to an array of maps for one to that array alone. */
	const uintptr_t at = (uintptr_t)map, first = (uintptr_t)twin.maps;
	uint32_t index;

	memcpy(&index, key, sizeof(index));
	if (at >= first && at < first + sizeof(twin.maps)) {
		const struct twin_map *m = &twin.maps[(at - first) / sizeof(*m)];

		return index < m->n ? m->elements + m->size * index : NULL;
	}
	for (size_t i = 0; i < twin.n_maps; i++)
		if (twin.maps[i].of == map && twin.maps[i].slot == index)
			return &twin.maps[i];
	return NULL;
}

static uint32_t twin_random(void)
{
	twin.random = twin.random * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(twin.random >> 32);
}

static long twin_read(void *to, size_t size, const void *from)
{
	twin.reads++;
	memcpy(to, from, size);
	return 0;
}

static long twin_read_str(char *to, size_t size, const char *from)
{
	size_t n = strnlen(from, size - 1);

	twin.reads++;
	memcpy(to, from, n);
	to[n] = '\0';
	return (long)n + 1;
}

static void twin_add_map(const void *of, uint32_t slot, void *elements, size_t size, size_t n)
{
	twin.maps[twin.n_maps++] = (struct twin_map){ of, slot, elements, size, n };
}

/* Generation 0 has the tables; the caches are empty. */
static inline void twin_load(const struct glob_tables *t)
{
	static struct sp_cache_set sets[1u << SP_CACHE_BITS];
	static struct sp_list_cell cells[1u << SP_LIST_BITS];
	static struct sp_walk_state states[1u << SP_WALK_STATE_BITS];

	memset(sets, 0, sizeof(sets));
	memset(cells, 0, sizeof(cells));
	memset(states, 0, sizeof(states));
	memset(&map_state, 0, sizeof(map_state));
	twin.n_maps = 0;
	twin_add_map(&cgroup_cache, 0, sets, sizeof(*sets), ARRAY_SIZE(sets));
	twin_add_map(&policy_lists, 0, cells, sizeof(*cells), ARRAY_SIZE(cells));
	twin_add_map(&walk_states, 0, states, sizeof(*states), ARRAY_SIZE(states));
	for (uint32_t i = 0; i < t->n_match + t->n_exclude; i++) {
		twin_add_map(&glob_nodes, 2 * i, t->v[i].nodes, sizeof(*t->v[i].nodes),
			     SP_GLOB_NODES);
		twin_add_map(&glob_links, 2 * i, t->v[i].links, sizeof(*t->v[i].links),
			     t->v[i].n_links);
	}
	map_state.seed = 0x9e3779b97f4a7c15u;
	map_state.of[0].n_match_tables = (uint16_t)t->n_match;
	map_state.of[0].n_exclude_tables = (uint16_t)t->n_exclude;
}

/* The cgroups from the root down to the one at a path. */
struct twin_path {
	struct cgroup *v[2048];
	struct kernfs_node nodes[2048];
	char *names;
	int level;
	struct cgroup *cgroup;
};

/* An id that a path always has. */
static inline uint64_t twin_id(const char *path, size_t n)
{
	uint64_t id = 14695981039346656037u;

	for (size_t i = 0; i < n; i++)
		id = (id ^ (unsigned char)path[i]) * 1099511628211u;
	return (id ^ id >> 44) & 0xfffffffffffu;
}

static inline void twin_path_init(struct twin_path *p, const char *path)
{
	char *rest;

	memset(p, 0, sizeof(*p));
	p->names = strdup(path[1] ? path : "");
	rest = p->names;
	for (int level = 0; level == 0 || rest; level++) {
		char *name = strsep(&rest, "/");
		size_t end = (size_t)(name - p->names) + strlen(name);

		p->level = level;
		p->nodes[level] = (struct kernfs_node){ name, twin_id(path, end) };
		p->v[level] = calloc(1, sizeof(struct cgroup));
		p->v[level]->kn = &p->nodes[level];
		p->v[level]->level = level;
	}
	p->cgroup =
		calloc(1, sizeof(struct cgroup) + sizeof(struct cgroup *) * (size_t)(p->level + 1));
	p->cgroup->level = p->level;
	p->cgroup->kn = &p->nodes[p->level];
	memcpy(p->cgroup->ancestors, p->v, sizeof(struct cgroup *) * (size_t)(p->level + 1));
}

static inline void twin_path_clear(struct twin_path *p)
{
	for (int i = 0; i <= p->level; i++)
		free(p->v[i]);
	free(p->cgroup);
	free(p->names);
}

/* The level of the cgroup that is at the mount. */
static int twin_mount_level;

/* What a hook gets for a socket of the cgroup at the path. */
static inline struct policy_list twin_policies(const char *path)
{
	struct policy_list list = { 0 };
	struct twin_path p;
	uint64_t id;
	uint32_t what;

	twin_path_init(&p, path);
	id = p.cgroup->kn->id;
	map_state.mount_id = twin_mount_level <= p.level ? p.nodes[twin_mount_level].id : 0;
	if (!cache_recall(id, 0, &what))
		what = classify(id, (uint64_t)(uintptr_t)p.cgroup, 0);
	if (what == SP_WORD_IN_LISTS) {
		/* Another cgroup's list may have taken its place; but not since it is there again.
		 */
		if (!cache_recall_list(id, 0, &list)) {
			classify(id, (uint64_t)(uintptr_t)p.cgroup, 0);
			if (!cache_recall_list(id, 0, &list))
				abort();
		}
	} else if (what) {
		list.n = 1;
		list.number[0] = (uint16_t)what;
	}
	twin_path_clear(&p);
	return list;
}

#endif
