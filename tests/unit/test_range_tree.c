// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Does a key find the answer of the innermost span around it?  By the hooks' own walk. */
#include <errno.h>

#include "compile/range_tree.h"
#include "hook_twin.h"
#include "seeded.h"

#define OUTSIDE 1000000

static uint32_t look_up(const struct range_nodes *nodes, uint32_t answer, uint64_t key)
{
	static struct image image;
	uint32_t found;

	image.of[MAP_ID_range_nodes].values = nodes->v;
	image.of[MAP_ID_range_nodes].n = (uint32_t)nodes->n;
	twin_load(&image);
	found = look_up_key(answer, key, 0);
	assert_false(twin.failed);
	return found;
}

static uint32_t levels(uint32_t answer)
{
	return answer >> SP_ANSWER_LEVELS_SHIFT;
}

/* Where there is only one answer it takes no tree. */
static void test_one_answer(void **state)
{
	static const struct span all[] = { { 0, UINT64_MAX, 7 } };
	struct range_nodes nodes = { 0 };
	uint32_t answer;

	(void)state;
	assert_int_equal(range_tree_write(&nodes, NULL, 0, OUTSIDE, &answer), 0);
	assert_int_equal(answer, OUTSIDE);
	assert_int_equal(range_tree_write(&nodes, all, 1, OUTSIDE, &answer), 0);
	assert_int_equal(answer, 7);
	assert_int_equal(nodes.n, 0);
}

static void test_within(void **state)
{
	static const struct span spans[] = {
		{ 0, 99, 1 },
		{ 10, 49, 2 },
		{ 10, 10, 3 },
		{ 49, 49, 4 },
		{ UINT64_MAX, UINT64_MAX, 5 },
	};
	static const struct {
		uint64_t key;
		uint32_t answer;
	} cases[] = {
		{ 0, 1 },	   { 9, 1 },
		{ 10, 3 },	   { 11, 2 },
		{ 48, 2 },	   { 49, 4 },
		{ 50, 1 },	   { 99, 1 },
		{ 100, OUTSIDE },  { UINT64_MAX - 1, OUTSIDE },
		{ UINT64_MAX, 5 },
	};
	struct range_nodes nodes = { 0 };
	uint32_t answer;

	(void)state;
	assert_int_equal(range_tree_write(&nodes, spans, ARRAY_SIZE(spans), OUTSIDE, &answer), 0);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		assert_int_equal(look_up(&nodes, answer, cases[i].key), cases[i].answer);
	free(nodes.v);
}

/* n single keys, so 2 n + 1 ranges: at each number the tree is as low as can be, and right. */
static void test_heights(void **state)
{
	(void)state;
	for (uint32_t n = 1; n < 500; n++) {
		struct span *spans = calloc(n, sizeof(*spans));
		uint32_t answer, height = 1;
		struct range_nodes nodes = { 0 };

		assert_non_null(spans);
		for (uint32_t i = 0; i < n; i++)
			spans[i] = (struct span){ 10 * i + 5, 10 * i + 5, i };
		assert_int_equal(range_tree_write(&nodes, spans, n, OUTSIDE, &answer), 0);
		for (uint32_t room = SP_LEAF_RANGES; room < 2 * n + 1; room *= SP_NODE_CHILDREN)
			height++;
		assert_int_equal(levels(answer), height);
		for (uint32_t i = 0; i < n; i++) {
			assert_int_equal(look_up(&nodes, answer, 10 * i + 4), OUTSIDE);
			assert_int_equal(look_up(&nodes, answer, 10 * i + 5), i);
			assert_int_equal(look_up(&nodes, answer, 10 * i + 6), OUTSIDE);
		}
		free(nodes.v);
		free(spans);
	}
}

/* Aligned powers of two lie within each other or apart, as prefixes do. */
static struct span random_span(struct seeded *r, uint32_t answer)
{
	unsigned bits = random_below(r, 12);
	uint64_t first = (uint64_t)random_below(r, 4096) >> bits << bits;

	return (struct span){ first, first + ((1ull << bits) - 1), answer };
}

static int compare_spans(const void *a, const void *b)
{
	const struct span *x = a, *y = b;

	if (x->first != y->first)
		return x->first < y->first ? -1 : 1;
	return x->last > y->last ? -1 : x->last < y->last;
}

static void run_random(struct seeded *r)
{
	struct span spans[64];
	uint32_t n = 1 + random_below(r, ARRAY_SIZE(spans)), answer;
	struct range_nodes nodes = { 0 };

	for (uint32_t i = 0; i < n; i++)
		spans[i] = random_span(r, i);
	qsort(spans, n, sizeof(*spans), compare_spans);
	assert_int_equal(range_tree_write(&nodes, spans, n, OUTSIDE, &answer), 0);
	for (uint64_t key = 0; key < 4200; key++) {
		uint32_t expected = OUTSIDE, found = look_up(&nodes, answer, key);

		for (uint32_t i = 0; i < n; i++) /* the last one is within the others */
			if (spans[i].first <= key && key <= spans[i].last)
				expected = spans[i].answer;
		if (found != expected)
			SEEDED_FAIL(r, "key %llu: %u, not %u", (unsigned long long)key, found,
				    expected);
	}
	free(nodes.v);
}

static void test_random(void **state)
{
	(void)state;
	for_seeds(100, run_random);
}

/* Trees lie one after the other, and an answer may be a tree. */
static void test_several(void **state)
{
	static const struct span inner[] = { { 3, 3, 1 } };
	struct span outer[] = { { 8, 8, 0 } };
	struct range_nodes nodes = { 0 };
	uint32_t answer;

	(void)state;
	assert_int_equal(range_tree_write(&nodes, inner, 1, 2, &outer[0].answer), 0);
	assert_int_equal(range_tree_write(&nodes, outer, 1, OUTSIDE, &answer), 0);
	assert_int_equal(nodes.n, 2);
	assert_int_equal(look_up(&nodes, look_up(&nodes, answer, 8), 3), 1);
	assert_int_equal(look_up(&nodes, look_up(&nodes, answer, 8), 4), 2);
	assert_int_equal(look_up(&nodes, look_up(&nodes, answer, 9), 3), OUTSIDE);
	free(nodes.v);
}

/* More nodes than an answer has an index for (said to be there, as they would take 16 GB). */
static void test_too_many(void **state)
{
	static const struct span spans[] = { { 3, 3, 1 } };
	struct range_nodes nodes = { .n = (size_t)SP_ANSWER_INDEX + 1 };
	uint32_t answer = 77;

	(void)state;
	assert_int_equal(range_tree_write(&nodes, spans, 1, OUTSIDE, &answer), -E2BIG);
	assert_int_equal(answer, 77);
	assert_null(nodes.v);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_one_answer), cmocka_unit_test(test_within),
		cmocka_unit_test(test_heights),	   cmocka_unit_test(test_random),
		cmocka_unit_test(test_several),	   cmocka_unit_test(test_too_many),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
