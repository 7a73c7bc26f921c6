// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* What lies where in the maps of a generation.  That the hooks read it right is test_rules.c's. */
#include <errno.h>
#include <time.h>

#include "compile/image.h"
#include "policy_fixture.h"

#define CONNECT BIT(DIRECTION_CONNECT)

static uint32_t counter_of(const struct policy *p, const char *rule, void *userdata)
{
	const struct config *c = userdata;

	return 100 * (1 + (uint32_t)(p - c->policies)) + fixture_counter(p, rule);
}

static struct image *compile(struct config *c)
{
	struct position at = { 0 };
	char *error = NULL;
	struct image *im;

	assert_int_equal(image_new(c, counter_of, c, &im, &error, &at), 0);
	assert_null(error);
	assert_ptr_equal(im->config, c);
	return im;
}

static const struct sp_policy *policy_of(const struct image *im, uint32_t number)
{
	assert_true(number < im->of[MAP_ID_policies].n);
	return (const struct sp_policy *)im->of[MAP_ID_policies].values + number;
}

static const struct sp_op *op_of(const struct image *im, uint32_t cell, uint32_t i)
{
	cell += i / SP_OPS_CELL;
	assert_true(cell < im->of[MAP_ID_ops].n);
	return &((const struct sp_op_cell *)im->of[MAP_ID_ops].values + cell)->op[i % SP_OPS_CELL];
}

static const struct sp_block *block_of(const struct image *im, uint32_t index)
{
	assert_true(index < im->of[MAP_ID_blocks].n);
	return (const struct sp_block *)im->of[MAP_ID_blocks].values + index;
}

static uint64_t vector_of(const struct image *im, uint32_t index)
{
	assert_true(index < im->of[MAP_ID_vectors].n);
	return ((const uint64_t *)im->of[MAP_ID_vectors].values)[index];
}

/* The kernel has no array without elements. */
static void test_nothing(void **state)
{
	struct config *c = config_new();
	struct image *im;

	(void)state;
	assert_non_null(c);
	im = compile(c);
	for (int id = 0; id < MAP_ID_MAX; id++)
		assert_int_equal(im->of[id].n, map_table[id].shape == MAP_EXACT ? 1 : 0);
	assert_int_equal(im->generation.n_policies, 0);
	assert_true(im->generation.stages == 0);
	assert_int_equal(im->generation.flags, 0);
	image_free(im);
	config_free(c);
}

/* Blocks of the same operations are one, within a policy. */
static void test_sharing(void **state)
{
	static const struct fixture_policy policies[] = {
		{ "p",
		  { "/a" },
		  .base = { { OPTION_SO_MARK, 1 } },
		  .rules = { { "net",
			       CONNECT,
			       { { OPTION_SO_MARK, 2 } },
			       .remote = { "10.0.0.0/8" } } } },
		{ "q", { "/a" }, .base = { { OPTION_SO_MARK, 1 } } },
	};
	struct config *c = fixture_config(policies, 2);
	struct image *im = compile(c);
	const struct sp_policy *p = policy_of(im, 1), *q = policy_of(im, 2);
	const struct sp_stage_of *tcp = &p->stage[SP_STAGE_TCP_CONNECT],
				 *udp = &p->stage[SP_STAGE_UDP_CONNECT];

	(void)state;
	assert_int_equal(im->generation.n_policies, 2);
	assert_int_equal(im->of[MAP_ID_policies].n, 3);
	assert_int_equal(im->of[MAP_ID_ops].n, 3);
	assert_int_equal(im->of[MAP_ID_blocks].n, 1);
	assert_int_equal(image_policy_number(im, &c->policies[1]), 2);

	assert_int_equal(p->counter, 100);
	assert_int_equal(q->counter, 200);
	assert_int_equal(tcp->n_ops, 1);
	assert_true(tcp->options == 1ull << OPTION_SO_MARK);
	assert_int_equal(op_of(im, tcp->first_cell, 0)->counter, 100);
	assert_int_equal(op_of(im, tcp->first_cell, 0)->option, OPTION_SO_MARK);
	assert_int_equal(udp->first_cell, tcp->first_cell);
	assert_int_equal(udp->first_block, tcp->first_block);
	assert_int_equal(op_of(im, q->stage[SP_STAGE_TCP_CONNECT].first_cell, 0)->counter, 200);

	assert_true(tcp->rules == 1 && tcp->acting == 1 && tcp->counted == 1 && tcp->before == 0);
	assert_int_equal(tcp->counts, SP_COUNTS_ALWAYS);
	assert_int_equal(tcp->properties, BIT(SP_PROPERTY_REMOTE));
	assert_int_equal(block_of(im, tcp->first_block)->counter, 101);
	assert_int_equal(block_of(im, tcp->first_block)->n_ops, 1);
	assert_int_equal(op_of(im, block_of(im, tcp->first_block)->first_cell, 0)->counter, 101);
	assert_true(p->stage[SP_STAGE_TCP_LISTEN].rules == 0);
	assert_int_equal(p->stage[SP_STAGE_TCP_LISTEN].properties, 0);
	image_free(im);
	config_free(c);
}

/* More operations than a cell has. */
static void test_cells(void **state)
{
	static const struct fixture_policy policy = {
		"p",
		{ "/a" },
		.base = { { OPTION_SO_MARK, 1 },
			  { OPTION_SO_RCVBUF, 1 },
			  { OPTION_SO_SNDBUF, 1 },
			  { OPTION_TCP_NODELAY, 1 },
			  { OPTION_TCP_MAXSEG, UNSET },
			  { OPTION_TCP_SYNCNT, 1 },
			  { OPTION_TCP_USER_TIMEOUT, 1 },
			  { OPTION_TCP_KEEPCNT, 1 },
			  { OPTION_SO_KEEPALIVE, 1 },
			  { OPTION_SO_PRIORITY, 1 } },
		.rules = { { "set",
			     CONNECT,
			     { { OPTION_TCP_MAXSEG, 1000 } },
			     .remote_port = { { 80 } } } },
	};
	struct config *c = fixture_config(&policy, 1);
	struct image *im = compile(c);
	const struct sp_stage_of *stage = &policy_of(im, 1)->stage[SP_STAGE_TCP_CONNECT];

	(void)state;
	assert_int_equal(stage->n_ops, 9);
	assert_int_equal(__builtin_popcountll(stage->options), 10);
	assert_int_equal(op_of(im, stage->first_cell, 0)->option, OPTION_SO_MARK);
	assert_int_equal(op_of(im, stage->first_cell, 7)->option, OPTION_SO_KEEPALIVE);
	assert_int_equal(op_of(im, stage->first_cell, 8)->option, OPTION_SO_PRIORITY);
	assert_int_equal(op_of(im, stage->first_cell, 9)->optlen, 0);
	image_free(im);
	config_free(c);
}

static void test_tests(void **state)
{
	static const struct fixture_policy policies[] = {
		{ "p",
		  { "/a" },
		  .rules = { { "always", CONNECT, { { OPTION_SO_MARK, 1 } } },
			     { "net", 0, { { OPTION_SO_MARK, 2 } }, .remote = { "10.0.0.0/8" } },
			     { "four",
			       0,
			       { { OPTION_SO_MARK, 3 } },
			       .families = BIT(SP_FAMILY_INDEX_IPV4) } } },
		{ "q",
		  { "/a" },
		  .rules = { { "net", 0, { { OPTION_SO_MARK, 2 } }, .local = { "10.0.0.0/8" } } } },
	};
	struct config *c = fixture_config(policies, 2);
	struct image *im = compile(c);
	const struct sp_policy *p = policy_of(im, 1), *q = policy_of(im, 2);
	const struct sp_test *remote = &p->tests[SP_PROPERTY_REMOTE];
	const struct sp_stage_of *stage = &p->stage[SP_STAGE_TCP_CONNECT];

	(void)state;
	/* class 0 is what no rule lists: only `four` is left, which does not ask */
	assert_int_equal(remote->n_vectors, 2);
	assert_true((vector_of(im, remote->first_vector) & 3) == 2);
	assert_true((vector_of(im, remote->first_vector + 1) & 3) == 3);
	assert_int_equal(p->tests[SP_PROPERTY_LOCAL].n_vectors, 0);
	assert_true(p->families[SP_FAMILY_INDEX_IPV4] == 3);
	assert_true(p->families[SP_FAMILY_INDEX_IPV6] == 0); /* which has none of these addresses */
	assert_true(p->families[SP_FAMILY_INDEX_UNIX] == 0);
	/* rules that ask for nothing are counted by a list of counters */
	assert_int_equal(stage->n_always, 1);
	assert_true(vector_of(im, stage->first_always) == 101);
	/* equal sets of different policies share a tree */
	assert_int_equal(q->tests[SP_PROPERTY_LOCAL].tree4, remote->tree4);
	assert_int_equal(im->of[MAP_ID_range_nodes].n, 1);
	image_free(im);
	config_free(c);
}

static void test_decided_late(void **state)
{
	static const struct fixture_policy policies[] = {
		{ "p", { "/a" }, .base = { { OPTION_SO_MARK, 1 }, { OPTION_SO_SNDBUF, 1 } } },
		{ "q",
		  { "/a" },
		  .rules = { { "own", 0, { { OPTION_SO_MARK, 2 } }, .local_port = { { 9 } } } } },
	};
	struct config *c = fixture_config(policies, 1);
	struct image *im = compile(c);
	const struct sp_policy *p;

	(void)state;
	assert_int_equal(im->generation.flags, 0);
	assert_false(im->generation.stages & BIT(SP_STAGE_TCP_SYN));
	assert_int_equal(policy_of(im, 1)->stage[SP_STAGE_TCP_SYN].n_ops, 0);
	image_free(im);
	config_free(c);

	c = fixture_config(policies, 2);
	im = compile(c);
	p = policy_of(im, 1);
	assert_int_equal(im->generation.flags, SP_GENERATION_DECIDES_LATE);
	assert_true(im->generation.stages & BIT(SP_STAGE_TCP_SYN));
	assert_true(p->decided_late == 0);
	assert_true(policy_of(im, 2)->decided_late == 1ull << OPTION_SO_MARK);
	assert_int_equal(p->stage[SP_STAGE_TCP_SYN].n_ops, 2);
	assert_int_equal(p->stage[SP_STAGE_TCP_SYN].first_cell,
			 p->stage[SP_STAGE_TCP_CONNECT].first_cell);
	image_free(im);
	config_free(c);
}

/* Equal configurations have equal digests, and others have others. */
static void test_digest(void **state)
{
	static const struct fixture_policy policies[] = {
		{ "p", { "/a" }, .base = { { OPTION_SO_PRIORITY, 1 } } },
		{ "p", { "/a" }, .base = { { OPTION_SO_PRIORITY, 1 } } },
		{ "p", { "/a" }, .base = { { OPTION_SO_PRIORITY, 2 } } },
		{ "p", { "/b" }, .base = { { OPTION_SO_PRIORITY, 1 } } },
		{ "p", { "/a" }, .base = { { OPTION_SO_MARK, 1 } } },
		{ "p",
		  { "/a" },
		  .base = { { OPTION_SO_PRIORITY, 1 } },
		  .rules = { { "r", 0, { { OPTION_SO_MARK, 2 } }, .local_port = { { 9 } } } } },
	};
	uint64_t digests[ARRAY_SIZE(policies)];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(policies); i++) {
		struct config *c = fixture_config(&policies[i], 1);
		struct image *im = compile(c);

		digests[i] = im->generation.digest;
		image_free(im);
		config_free(c);
	}
	assert_true(digests[0] == digests[1]);
	for (size_t i = 1; i < ARRAY_SIZE(policies); i++)
		for (size_t k = i + 1; k < ARRAY_SIZE(policies); k++)
			assert_true(digests[i] != digests[k]);
}

/* SO_PRIORITY waits for IP_TOS where both are used, by whatever policies. */
static void test_after_others(void **state)
{
	static const struct fixture_policy policies[] = {
		{ "p", { "/a" }, .base = { { OPTION_SO_PRIORITY, 1 } } },
		{ "q", { "/a" }, .base = { { OPTION_IP_TOS, UNSET } } },
		{ "r", { "/a" }, .base = { { OPTION_IP_TOS, 8 } } },
	};

	(void)state;
	for (size_t n = 1; n <= 3; n++) {
		struct config *c = fixture_config(policies, n);
		struct image *im = compile(c);

		assert_true(im->generation.after_others ==
			    (n == 3 ? 1ull << OPTION_SO_PRIORITY : 0));
		image_free(im);
		config_free(c);
	}
}

/* Where something is set, and where somebody is counted only. */
static void test_stages(void **state)
{
	static const struct fixture_policy policies[] = {
		{ "bind", { "/a" }, .base = { { OPTION_SO_REUSEADDR, 1 } } },
		{ "reply", { "/a" }, .rules = { { "out", CONNECT, { { OPTION_NEEDS_ECN, 1 } } } } },
		{ "unset", { "/a" }, .base = { { OPTION_SO_SNDBUF, UNSET } } },
	};
	struct config *c = fixture_config(policies, 3);
	struct image *im = compile(c);
	const struct sp_policy *unset = policy_of(im, 3);

	(void)state;
	assert_true(im->generation.stages ==
		    (BIT(SP_STAGE_TCP_BIND) | BIT(SP_STAGE_TCP_LISTEN) | BIT(SP_STAGE_UDP_BIND) |
		     BIT(SP_STAGE_REPLY_ACTIVE) | BIT(SP_STAGE_TCP_ACTIVE_EST)));
	/* nobody sets what it leaves alone */
	for (int s = 0; s < SP_STAGE_MAX; s++)
		assert_true(unset->stage[s].options == 0);
	assert_int_equal(im->generation.n_match_tables, im->globs.n_match);
	assert_int_equal(im->generation.n_exclude_tables, im->globs.n_exclude);
	image_free(im);
	config_free(c);
}

/* n policies of ten prefixes each, no two alike. */
static void run_scale(unsigned n)
{
	static const struct fixture_policy policy = {
		"p",
		.base = { { OPTION_SO_MARK, 1 },
			  { OPTION_TCP_NODELAY, 1 },
			  { OPTION_SO_SNDBUF, 9 } },
		.rules = { { "a", .options = { { OPTION_SO_MARK, 2 } },
			     .remote = { "10.0.0.0/8" } },
			   { "b", .options = { { OPTION_SO_MARK, 3 } }, .remote_port = { { 80 } } },
			   { "c", CONNECT, { { OPTION_TCP_KEEPCNT, 3 } } } },
	};
	struct config *c = config_new();
	struct timespec begin, end;
	struct image *im;
	double ms, size = 0;

	assert_non_null(c);
	for (unsigned i = 0; i < n; i++) {
		fixture_add(c, &policy);
		for (unsigned k = 0; k < 9; k++) {
			struct ranges *to = &c->policies[i].rules[0].when.remote;
			struct range p = { .kind = RANGE_IPV4 };
			uint32_t address = htonl((9 * i + k) * 2654435761u);

			memcpy(p.first, &address, sizeof(address));
			memcpy(p.last, &address, sizeof(address));
			assert_int_equal(GROW(to->v, to->n), 0);
			to->v[to->n++] = p;
		}
	}
	clock_gettime(CLOCK_MONOTONIC, &begin);
	im = compile(c);
	clock_gettime(CLOCK_MONOTONIC, &end);
	ms = (double)(end.tv_sec - begin.tv_sec) * 1e3 +
	     (double)(end.tv_nsec - begin.tv_nsec) / 1e6;
	for (int id = 0; id < MAP_ID_MAX; id++)
		size += (double)im->of[id].n * map_table[id].value_size;
	print_message("%u policies, %u prefixes: %.0f ms, %.1f MB\n", n, 10 * n, ms, size / 1e6);
	assert_true(ms < 10000); /* generous: sanitizers, a busy machine */
	assert_true(size < 4096.0 * n);
	image_free(im);
	config_free(c);
}

static void test_scale(void **state)
{
	(void)state;
	run_scale(1000);
	run_scale(10000);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_digest),	     cmocka_unit_test(test_nothing),
		cmocka_unit_test(test_sharing),	     cmocka_unit_test(test_cells),
		cmocka_unit_test(test_tests),	     cmocka_unit_test(test_decided_late),
		cmocka_unit_test(test_after_others), cmocka_unit_test(test_stages),
		cmocka_unit_test(test_scale),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
