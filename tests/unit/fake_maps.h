/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The agent's maps as plain memory, for tests of what is written to them.  Stands in for
 * agent/kernel/kernel.c and for the system calls: a test that includes this links neither.
 */
#ifndef SOCKPOL_FAKE_MAPS_H
#define SOCKPOL_FAKE_MAPS_H

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <bpf/bpf.h>
#include <uthash.h>

#include "kernel/kernel.h"
#include "kernel/map_contents.h"

/* An element of `steps`. */
struct fake_step {
	struct sp_step_key key;
	struct sp_step step;
	UT_hash_handle hh;
};

static struct {
	struct kernel_sizes sizes;
	struct fake_step *steps;
	unsigned char *arrays[KERNEL_MAP_MAX];
	size_t n_updates;
	size_t n_counters; /* of them, to `applied` */
	size_t fail_at;	   /* the update, counted from 1, that answers ENOSPC; 0: none */
} fake;

const char *const kernel_map_names[KERNEL_MAP_MAX] = {
	[KERNEL_MAP_CGROUPS] = "cgroups",	[KERNEL_MAP_GLOB_STATES] = "glob_states",
	[KERNEL_MAP_GLOB_EDGES] = "glob_edges", [KERNEL_MAP_STEPS] = "steps",
	[KERNEL_MAP_POLICIES] = "policies",	[KERNEL_MAP_OPS] = "ops",
	[KERNEL_MAP_CREDITS] = "credits",	[KERNEL_MAP_TESTS] = "tests",
	[KERNEL_MAP_VECTORS] = "vectors",	[KERNEL_MAP_RANGE_NODES] = "range_nodes",
	[KERNEL_MAP_SOURCES] = "sources",
};

/* Descriptors are the maps' numbers, and some more, as 0 is easily taken for one. */
#define FAKE_FD 1000

int kernel_map_fd(const struct kernel *k, enum kernel_map map)
{
	(void)k;
	return FAKE_FD + (int)map;
}

const struct kernel_sizes *kernel_sizes_of(const struct kernel *k)
{
	(void)k;
	return &fake.sizes;
}

/* Elements of an array, of both generations, as agent/kernel/kernel.c makes it. */
static uint32_t fake_array_room(int map)
{
	const uint32_t room[KERNEL_MAP_MAX] = {
		[KERNEL_MAP_GLOB_STATES] = 1 + 2 * fake.sizes.glob_states,
		[KERNEL_MAP_GLOB_EDGES] = 2 * fake.sizes.glob_edges,
		[KERNEL_MAP_POLICIES] = 1 + 2 * fake.sizes.policies,
		[KERNEL_MAP_OPS] = 2 * fake.sizes.ops,
		[KERNEL_MAP_CREDITS] = 2 * fake.sizes.credits,
		[KERNEL_MAP_TESTS] = 2 * fake.sizes.tests,
		[KERNEL_MAP_VECTORS] = 2 * fake.sizes.vectors,
		[KERNEL_MAP_RANGE_NODES] = 2 * fake.sizes.range_nodes,
		[KERNEL_MAP_SOURCES] = fake.sizes.sources,
	};

	return room[map];
}

static size_t fake_value_size(int map)
{
	const size_t size[KERNEL_MAP_MAX] = {
		[KERNEL_MAP_GLOB_STATES] = sizeof(struct sp_glob_state),
		[KERNEL_MAP_GLOB_EDGES] = sizeof(struct sp_glob_edge),
		[KERNEL_MAP_POLICIES] = sizeof(struct sp_policy),
		[KERNEL_MAP_OPS] = sizeof(struct sp_op),
		[KERNEL_MAP_CREDITS] = sizeof(struct sp_credit),
		[KERNEL_MAP_TESTS] = sizeof(struct sp_test),
		[KERNEL_MAP_VECTORS] = sizeof(uint64_t),
		[KERNEL_MAP_RANGE_NODES] = sizeof(union sp_range_node),
		[KERNEL_MAP_SOURCES] = sizeof(struct sp_source),
	};

	return size[map];
}

/* NULL beyond the array's end. */
static void *fake_array_at(int map, uint32_t index)
{
	uint32_t room = fake_array_room(map);

	if (!fake.arrays[map])
		fake.arrays[map] = calloc(room + 1, fake_value_size(map));
	assert_non_null(fake.arrays[map]);
	return index < room ? fake.arrays[map] + index * fake_value_size(map) : NULL;
}

static int fake_error(int error)
{
	errno = error;
	return -error;
}

static struct fake_step *fake_find_step(const void *key)
{
	struct fake_step *found;

	/* NOLINTNEXTLINE(clang-analyzer-core.UndefinedBinaryOperatorResult): two whole words */
	HASH_FIND(hh, fake.steps, key, sizeof(found->key), found);
	return found;
}

static int fake_update_step(const void *key, const void *value)
{
	struct fake_step *step = fake_find_step(key);

	if (!step && HASH_COUNT(fake.steps) == 2 * fake.sizes.steps)
		return fake_error(E2BIG);
	if (!step) {
		step = calloc(1, sizeof(*step));
		assert_non_null(step);
		memcpy(&step->key, key, sizeof(step->key));
		HASH_ADD(hh, fake.steps, key, sizeof(step->key), step);
	}
	memcpy(&step->step, value, sizeof(step->step));
	return 0;
}

int bpf_map_update_elem(int fd, const void *key, const void *value, __u64 flags)
{
	int map = fd - FAKE_FD;
	uint32_t index;
	void *to;

	assert_int_equal(flags, BPF_ANY);
	if (++fake.n_updates == fake.fail_at)
		return fake_error(ENOSPC);
	if (map == KERNEL_MAP_STEPS)
		return fake_update_step(key, value);
	if (map == KERNEL_MAP_APPLIED) { /* per CPU: of no interest here */
		fake.n_counters++;
		return 0;
	}
	assert_true(map >= 0 && map < KERNEL_MAP_MAX && fake_value_size(map));
	memcpy(&index, key, sizeof(index));
	to = fake_array_at(map, index);
	if (!to)
		return fake_error(E2BIG);
	memcpy(to, value, fake_value_size(map));
	return 0;
}

int bpf_map_update_batch(int fd, const void *keys, const void *values, __u32 *count,
			 const struct bpf_map_batch_opts *opts)
{
	int map = fd - FAKE_FD;
	size_t key_size = map == KERNEL_MAP_STEPS ? sizeof(struct sp_step_key) : sizeof(__u32);
	size_t value_size = map == KERNEL_MAP_STEPS ? sizeof(struct sp_step) : fake_value_size(map);
	__u32 n = *count;

	(void)opts;
	for (*count = 0; *count < n; (*count)++) {
		int r = bpf_map_update_elem(fd, (const char *)keys + *count * key_size,
					    (const char *)values + *count * value_size, BPF_ANY);

		if (r < 0)
			return r;
	}
	return 0;
}

static int fake_delete_step(const void *key)
{
	struct fake_step *step = fake_find_step(key);

	if (!step)
		return fake_error(ENOENT);
	HASH_DEL(fake.steps, step);
	free(step);
	return 0;
}

int bpf_map_delete_elem(int fd, const void *key)
{
	assert_int_equal(fd - FAKE_FD, KERNEL_MAP_STEPS);
	return fake_delete_step(key);
}

/* Of `failures`: there are none. */
int bpf_map_get_next_key(int fd, const void *key, void *next)
{
	(void)key;
	(void)next;
	assert_int_equal(fd - FAKE_FD, KERNEL_MAP_FAILURES);
	return fake_error(ENOENT);
}

static void fake_collect(struct map_contents *to, int map, const void *key, const void *value,
			 size_t value_size)
{
	size_t key_size = map == KERNEL_MAP_STEPS ? sizeof(struct sp_step_key) : sizeof(uint32_t);

	to->keys = realloc(to->keys, (to->n + 1) * key_size);
	to->values = realloc(to->values, (to->n + 1) * value_size);
	assert_non_null(to->keys);
	assert_non_null(to->values);
	memcpy((char *)to->keys + to->n * key_size, key, key_size);
	memcpy((char *)to->values + to->n * value_size, value, value_size);
	to->n++;
}

/* Stands in for agent/kernel/map_contents.c. */
int map_contents_read(int fd, struct map_contents *ret)
{
	int map = fd - FAKE_FD;
	struct fake_step *s, *next_step;

	*ret = (struct map_contents){ 0 };
	if (map == KERNEL_MAP_STEPS)
		HASH_ITER (hh, fake.steps, s, next_step)
			fake_collect(ret, map, &s->key, &s->step, sizeof(s->step));
	for (uint32_t i = 0; i < fake_array_room(map); i++)
		fake_collect(ret, map, &i, fake_array_at(map, i), fake_value_size(map));
	return 0;
}

void map_contents_clear(struct map_contents *c)
{
	free(c->keys);
	free(c->values);
	*c = (struct map_contents){ 0 };
}

/* Empties all maps. */
static void fake_reset(void)
{
	struct fake_step *s, *next_step;

	HASH_ITER (hh, fake.steps, s, next_step) {
		HASH_DEL(fake.steps, s);
		free(s);
	}
	for (int map = 0; map < KERNEL_MAP_MAX; map++)
		free(fake.arrays[map]);
	memset(&fake, 0, sizeof(fake));
}

#endif
