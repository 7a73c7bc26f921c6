// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Do names keep their indices? */
#include "policy_fixture.h"

#include <errno.h>

#include <bpf/bpf.h>

#include "kernel/counting.h"
#include "kernel/pinned.h"

static const struct fixture_policy policies[] = {
	{ "a", .rules = { { "one" }, { "two" } } },
	{ "b", .rules = { { "one" } } },
	{ "c", .rules = { { "one" } } },
};

/* What an earlier agent left in the map `counters`. */
static struct {
	uint32_t indices[8];
	struct sp_counter counters[8];
	size_t n;
} earlier;

static const struct kernel kernel = {
	.maps = { [MAP_ID_counters] = -2, [MAP_ID_failures] = -3, [MAP_ID_outcomes] = -4 }, /* no
		     descriptors */
	.dir = (char *)(uintptr_t) "/nonexistent",
};

int bpf_obj_get_info_by_fd(int fd, void *info, __u32 *size)
{
	const struct bpf_map_info map = { .key_size = sizeof(earlier.indices[0]),
					  .value_size = sizeof(earlier.counters[0]),
					  .max_entries = ARRAY_SIZE(earlier.indices) };

	(void)fd;
	assert_true(*size >= sizeof(map));
	memcpy(info, &map, sizeof(map));
	return 0;
}

int bpf_map_lookup_batch(int fd, void *in, void *out, void *keys, void *values, __u32 *count,
			 const struct bpf_map_batch_opts *opts)
{
	const size_t n = fd == kernel.maps[MAP_ID_counters] ? earlier.n : 0;

	(void)in;
	(void)out;
	(void)opts;
	assert_true(n <= *count);
	memcpy(keys, earlier.indices, n * sizeof(earlier.indices[0]));
	memcpy(values, earlier.counters, n * sizeof(earlier.counters[0]));
	*count = (__u32)n;
	errno = ENOENT;
	return -1;
}

static uint32_t index_of(struct counting *c, const struct config *config, size_t policy, int rule)
{
	const struct policy *p = &config->policies[policy];

	return counting_index(p, rule < 0 ? "" : p->rules[rule].name, c);
}

static void names_keep_their_indices(void **state)
{
	struct config *all = fixture_config(policies, 3), *fewer = fixture_config(policies, 2);
	uint32_t seen[SP_COUNTERS_CHUNK] = { 0 };
	struct counting *c;
	uint32_t a, one, gone;

	(void)state;
	assert_int_equal(counting_new(&c), 0);
	assert_int_equal(index_of(c, all, 0, -1), 0);
	assert_int_equal(counting_add_config(c, all), 0);
	for (size_t i = 0; i < 3; i++)
		for (int rule = -1; rule < (int)all->policies[i].n_rules; rule++) {
			uint32_t index = index_of(c, all, i, rule);

			assert_in_range(index, 1, SP_COUNTERS_CHUNK - 1);
			assert_int_equal(seen[index]++, 0);
		}
	a = index_of(c, all, 0, -1);
	one = index_of(c, all, 1, 0);
	gone = index_of(c, all, 2, -1);
	counting_keep_only(c, &kernel, fewer);
	assert_int_equal(index_of(c, fewer, 0, -1), a);
	assert_int_equal(index_of(c, fewer, 1, 0), one);
	assert_int_equal(index_of(c, all, 2, -1), 0);
	/* An index is used again, so that there need not be ever more of them. */
	assert_int_equal(counting_add_config(c, all), 0);
	assert_int_equal(index_of(c, all, 2, -1), gone);
	assert_int_equal(index_of(c, all, 0, -1), a);
	counting_keep_only(c, &kernel, NULL);
	assert_int_equal(index_of(c, all, 0, -1), 0);
	counting_free(c);
	config_free(all);
	config_free(fewer);
}

static void leave(uint32_t index, const char *policy, const char *rule)
{
	struct sp_counter *counter = &earlier.counters[earlier.n];

	strcpy(counter->policy, policy);
	strcpy(counter->rule, rule);
	earlier.indices[earlier.n++] = index;
}

static void an_earlier_agents_indices(void **state)
{
	struct config *all = fixture_config(policies, 3), *two = fixture_config(policies, 2);
	struct counting *c;

	(void)state;
	leave(7, "a", "");
	leave(3, "c", "one");
	leave(3, "b", "");		 /* the index has a name already */
	leave(0, "b", "");		 /* no index */
	leave(SP_COUNTERS_MAX, "b", ""); /* none either */
	leave(4, "", "one");		 /* no name */
	leave(5, "c", "one");		 /* a name that has an index */
	assert_int_equal(counting_new(&c), 0);
	assert_int_equal(counting_read(c, &kernel), 0);
	assert_int_equal(counting_add_config(c, all), 0);
	assert_int_equal(index_of(c, all, 0, -1), 7);
	assert_int_equal(index_of(c, all, 2, 0), 3);
	assert_int_not_equal(index_of(c, all, 1, -1), 0);
	assert_int_not_equal(index_of(c, all, 1, -1), 3);
	/* A configuration that was refused takes with it what it added. */
	counting_keep_only(c, &kernel, NULL);
	assert_int_equal(index_of(c, all, 0, -1), 7);
	assert_int_equal(index_of(c, all, 2, 0), 3);
	assert_int_equal(index_of(c, all, 1, -1), 0);
	counting_keep_only(c, &kernel, two);
	assert_int_equal(index_of(c, all, 0, -1), 7);
	assert_int_equal(index_of(c, all, 2, 0), 0);
	counting_free(c);
	config_free(all);
	config_free(two);
}

static void names_that_do_not_end(void **state)
{
	struct counting *c;

	(void)state;
	memset(&earlier, 0, sizeof(earlier));
	memset(&earlier.counters[0], 'x', sizeof(earlier.counters[0]));
	earlier.indices[0] = 1;
	earlier.n = 1;
	assert_int_equal(counting_new(&c), 0);
	assert_int_equal(counting_read(c, &kernel), 0);
	counting_free(c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names_keep_their_indices),
		cmocka_unit_test(an_earlier_agents_indices),
		cmocka_unit_test(names_that_do_not_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
