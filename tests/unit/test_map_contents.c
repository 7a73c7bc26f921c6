// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Hash maps of which elements go while they are read.  The system calls are this file's own. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <bpf/bpf.h>

#include "kernel/map_contents.h"

#define ENTRIES 16 /* the map's max_entries */

static struct {
	uint64_t keys[ENTRIES]; /* 0: none; the value of a key is ten times that */
	bool batches;		/* the kernel has them */
	size_t n_steps, forget_every;
} fake;

int bpf_obj_get_info_by_fd(int fd, void *info, __u32 *size)
{
	const struct bpf_map_info map = { .key_size = sizeof(uint64_t),
					  .value_size = sizeof(uint64_t),
					  .max_entries = ENTRIES };

	(void)fd;
	assert_true(*size >= sizeof(map));
	memcpy(info, &map, sizeof(map));
	*size = sizeof(map);
	return 0;
}

/* Four places at a time, if there is room for what they hold. */
int bpf_map_lookup_batch(int fd, void *in, void *out, void *keys, void *values, __u32 *count,
			 const struct bpf_map_batch_opts *opts)
{
	uint32_t place = in ? *(uint32_t *)in : 0, end = place + 4, n = 0;

	(void)fd;
	(void)opts;
	if (!fake.batches) {
		errno = EINVAL;
		return -1;
	}
	for (; place < end; place++) {
		if (!fake.keys[place])
			continue;
		assert_true(n < *count);
		((uint64_t *)keys)[n] = fake.keys[place];
		((uint64_t *)values)[n++] = 10 * fake.keys[place];
	}
	*count = n;
	*(uint32_t *)out = place;
	errno = ENOENT;
	return place < ENTRIES ? 0 : -1;
}

static size_t find(uint64_t key)
{
	size_t i = 0;

	while (i < ENTRIES && fake.keys[i] != key)
		i++;
	return i;
}

/* As the kernel has it: after a key that is gone comes the first. */
int bpf_map_get_next_key(int fd, const void *key, void *next)
{
	size_t i = key ? find(*(const uint64_t *)key) : ENTRIES;

	(void)fd;
	fake.n_steps++;
	i = i == ENTRIES ? 0 : i + 1;
	if (fake.forget_every && fake.n_steps % fake.forget_every == 0)
		i = 0;
	while (i < ENTRIES && !fake.keys[i])
		i++;
	if (i == ENTRIES) {
		errno = ENOENT;
		return -1;
	}
	*(uint64_t *)next = fake.keys[i];
	return 0;
}

int bpf_map_lookup_elem(int fd, const void *key, void *value)
{
	(void)fd;
	if (find(*(const uint64_t *)key) == ENTRIES) {
		errno = ENOENT;
		return -1;
	}
	*(uint64_t *)value = 10 * *(const uint64_t *)key;
	return 0;
}

static void fill(bool batches, size_t n, size_t forget_every)
{
	memset(&fake, 0, sizeof(fake));
	fake.batches = batches;
	fake.forget_every = forget_every;
	for (size_t i = 0; i < n; i++)
		fake.keys[i] = 100 + i;
}

/* Each of the n keys once, or (whole: no) some of them, with its value. */
static void read_once(size_t n, bool whole)
{
	struct map_contents c = { 0 };
	bool seen[ENTRIES] = { false };

	assert_int_equal(map_contents_read(0, &c), 0);
	if (whole)
		assert_int_equal(c.n, n);
	for (size_t i = 0; i < c.n; i++) {
		uint64_t key = ((uint64_t *)c.keys)[i];
		size_t place = find(key);

		assert_true(place < n);
		assert_false(seen[place]);
		seen[place] = true;
		assert_int_equal(((uint64_t *)c.values)[i], 10 * key);
	}
	map_contents_clear(&c);
}

static void test_batches(void **state)
{
	(void)state;
	for (size_t n = 0; n <= ENTRIES; n++) {
		fill(true, n, 0);
		read_once(n, true);
		assert_int_equal(fake.n_steps, 0);
	}
}

/* Buckets with nothing in them are not the end. */
static void test_batches_with_gaps(void **state)
{
	struct map_contents c = { 0 };

	(void)state;
	fill(true, ENTRIES, 0);
	memset(fake.keys, 0, (ENTRIES - 4) * sizeof(fake.keys[0]));
	assert_int_equal(map_contents_read(0, &c), 0);
	assert_int_equal(c.n, 4);
	map_contents_clear(&c);
}

static void test_walk(void **state)
{
	(void)state;
	for (size_t n = 0; n <= ENTRIES; n++) {
		fill(false, n, 0);
		read_once(n, true);
	}
}

static void test_walk_that_starts_over(void **state)
{
	(void)state;
	for (size_t every = 1; every <= ENTRIES; every++) {
		fill(false, 10, every);
		read_once(10, false);
		assert_true(fake.n_steps <= ENTRIES);
	}
	fill(false, 4, 4); /* once over is time enough to see all */
	read_once(4, false);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_batches),
		cmocka_unit_test(test_batches_with_gaps),
		cmocka_unit_test(test_walk),
		cmocka_unit_test(test_walk_that_starts_over),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
