// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Whole hash maps, read in batches.  The system calls are this file's own. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <bpf/bpf.h>

#include "kernel/pinned.h"

#define ENTRIES 16 /* the map's max_entries */

static struct {
	uint64_t keys[ENTRIES]; /* 0: none; the value of a key is ten times that */
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

static void fill(size_t n)
{
	memset(&fake, 0, sizeof(fake));
	for (size_t i = 0; i < n; i++)
		fake.keys[i] = 100 + i;
}

/* Each of the n keys once, with its value. */
static void read_once(size_t n)
{
	struct pinned_contents c = { 0 };
	bool seen[ENTRIES] = { false };

	assert_int_equal(pinned_contents_read(0, &c), 0);
	assert_int_equal(c.n, n);
	for (size_t i = 0; i < c.n; i++) {
		uint64_t key = ((uint64_t *)c.keys)[i];
		size_t place = find(key);

		assert_true(place < n);
		assert_false(seen[place]);
		seen[place] = true;
		assert_int_equal(((uint64_t *)c.values)[i], 10 * key);
	}
	pinned_contents_clear(&c);
}

static void test_batches(void **state)
{
	(void)state;
	for (size_t n = 0; n <= ENTRIES; n++) {
		fill(n);
		read_once(n);
	}
}

/* Buckets with nothing in them are not the end. */
static void test_batches_with_gaps(void **state)
{
	struct pinned_contents c = { 0 };

	(void)state;
	fill(ENTRIES);
	memset(fake.keys, 0, (ENTRIES - 4) * sizeof(fake.keys[0]));
	assert_int_equal(pinned_contents_read(0, &c), 0);
	assert_int_equal(c.n, 4);
	pinned_contents_clear(&c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_batches),
		cmocka_unit_test(test_batches_with_gaps),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
