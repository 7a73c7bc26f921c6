// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* What is in force against the files: with maps that the test makes up in place of pins.c's. */
#include <errno.h>

#include "compile.h"
#include "in_force.h"
#include "policy_fixture.h"

#define GOVERNED 42 /* the id of cgroup /a */
#define INDEX	 1  /* of its policy in the maps */

static struct {
	struct sp_state state;
	struct sp_policy policy;
	struct sp_op ops[32];
	uint32_t n_ops;
	struct sp_source source;
	unsigned reloads; /* that come in the midst of the readings to come */
} maps;

int pins_state(const struct pins *p, struct sp_state *ret)
{
	(void)p;
	if (maps.reloads) {
		maps.reloads--;
		maps.state.generation++;
	}
	*ret = maps.state;
	return 0;
}

int pins_cgroup(const struct pins *p, uint64_t cgroup_id, uint32_t *ret_index)
{
	(void)p;
	*ret_index = cgroup_id == GOVERNED ? INDEX : 0;
	return 0;
}

int pins_policy(const struct pins *p, uint32_t index, struct sp_policy *ret)
{
	(void)p;
	assert_int_equal(index, INDEX);
	*ret = maps.policy;
	return 0;
}

int pins_op(const struct pins *p, uint32_t index, struct sp_op *ret)
{
	(void)p;
	assert_true(index < maps.n_ops);
	*ret = maps.ops[index];
	return 0;
}

int pins_source(const struct pins *p, uint32_t id, struct sp_source *ret)
{
	(void)p;
	(void)id;
	*ret = maps.source;
	return 0;
}

struct fixture {
	struct config *config;
	struct cascade *cascade;
	const struct effective *effective;
};

static struct fixture fixture_new(const struct fixture_policy *policy)
{
	struct fixture f = { .config = fixture_config(policy, 1) };
	const struct cgroup_class *k;

	assert_int_equal(cascade_new(f.config, &f.cascade), 0);
	assert_int_equal(cascade_walk(f.cascade, "/a", &k), 0);
	f.effective = cascade_effective(k);
	return f;
}

static void fixture_free(struct fixture *f)
{
	cascade_free(f->cascade);
	config_free(f->config);
}

/* Puts a policy in force, as the agent would. */
static void enforce(const struct fixture_policy *policy)
{
	struct fixture f = fixture_new(policy);
	struct program program;

	memset(&maps, 0, sizeof(maps));
	assert_int_equal(program_compile(f.effective, &program), 0);
	for (int s = 0; s < SP_STAGE_MAX; s++) {
		maps.policy.stage[s].first_op = maps.n_ops;
		maps.policy.stage[s].n_ops = (uint32_t)program.stages[s].n_ops;
		for (size_t i = 0; i < program.stages[s].n_ops; i++) {
			assert_true(maps.n_ops < ARRAY_SIZE(maps.ops));
			op_encode(&program.stages[s].ops[i], &maps.ops[maps.n_ops++]);
		}
	}
	snprintf(maps.source.policy, sizeof(maps.source.policy), "%s", policy->name);
	program_clear(&program);
	fixture_free(&f);
}

static const struct fixture_policy iw20 = {
	"p", { "/a" }, .base = { { OPTION_TCP_BPF_IW, 20 }, { OPTION_TCP_SAVE_SYN, 1 } }
};

static void test_same(void **state)
{
	struct fixture f = fixture_new(&iw20);
	struct in_force result = { 0 };

	(void)state;
	enforce(&iw20);
	assert_int_equal(in_force_compare(NULL, GOVERNED, f.effective, &result), 0);
	assert_true(result.known);
	assert_int_equal(result.n, 0);
	in_force_clear(&result);
	fixture_free(&f);
}

static void test_other_value(void **state)
{
	static const struct fixture_policy iw30 = {
		"p", { "/a" }, .base = { { OPTION_TCP_BPF_IW, 30 }, { OPTION_TCP_SAVE_SYN, 1 } }
	};
	struct fixture f = fixture_new(&iw30);
	struct in_force result = { 0 };

	(void)state;
	enforce(&iw20);
	assert_int_equal(in_force_compare(NULL, GOVERNED, f.effective, &result), 0);
	assert_int_equal(result.n, 2);
	assert_int_equal(result.v[0].stage, SP_STAGE_TCP_ACTIVE_EST);
	assert_int_equal(result.v[1].stage, SP_STAGE_TCP_PASSIVE_EST);
	for (size_t i = 0; i < result.n; i++) {
		assert_ptr_equal(result.v[i].option, &option_table[OPTION_TCP_BPF_IW]);
		assert_string_equal(result.v[i].kernel.value, "20");
		assert_string_equal(result.v[i].files.value, "30");
		assert_string_equal(result.v[i].kernel.policy, "p");
		assert_null(result.v[i].kernel.rule);
	}
	in_force_clear(&result);
	fixture_free(&f);
}

/* The same value, but set by another policy. */
static void test_other_policy(void **state)
{
	static const struct fixture_policy q = { "q",
						 { "/a" },
						 .base = { { OPTION_TCP_SAVE_SYN, 1 } } };
	static const struct fixture_policy p = { "p",
						 { "/a" },
						 .base = { { OPTION_TCP_SAVE_SYN, 1 } } };
	struct fixture f = fixture_new(&q);
	struct in_force result = { 0 };

	(void)state;
	enforce(&p);
	assert_int_equal(in_force_compare(NULL, GOVERNED, f.effective, &result), 0);
	assert_int_equal(result.n, 1);
	assert_string_equal(result.v[0].kernel.policy, "p");
	assert_string_equal(result.v[0].files.policy, "q");
	in_force_clear(&result);
	fixture_free(&f);
}

static void test_only_one_side(void **state)
{
	struct fixture f = fixture_new(&iw20);
	struct in_force result = { 0 };

	(void)state;
	enforce(&iw20);
	/* governed, though the files have nothing for it (any more) */
	assert_int_equal(in_force_compare(NULL, GOVERNED, NULL, &result), 0);
	assert_int_equal(result.n, 3);
	assert_non_null(result.v[0].kernel.value);
	assert_null(result.v[0].files.value);
	in_force_clear(&result);
	/* not governed, though the files say so */
	assert_int_equal(in_force_compare(NULL, GOVERNED + 1, f.effective, &result), 0);
	assert_int_equal(result.n, 3);
	assert_null(result.v[0].kernel.value);
	assert_string_equal(result.v[0].files.value, "20");
	in_force_clear(&result);
	/* neither */
	assert_int_equal(in_force_compare(NULL, GOVERNED + 1, NULL, &result), 0);
	assert_int_equal(result.n, 0);
	fixture_free(&f);
}

static void test_reload_meanwhile(void **state)
{
	struct fixture f = fixture_new(&iw20);
	struct in_force result = { 0 };

	(void)state;
	enforce(&iw20);
	maps.reloads = 3;
	assert_int_equal(in_force_compare(NULL, GOVERNED, f.effective, &result), 0);
	assert_int_equal(maps.reloads, 0);
	in_force_clear(&result);
	maps.reloads = 1000;
	assert_int_equal(in_force_compare(NULL, GOVERNED, f.effective, &result), -EAGAIN);
	assert_false(result.known);
	fixture_free(&f);
}

/* An option that this build does not know: pinned by another one. */
static void test_unknown_option(void **state)
{
	struct fixture f = fixture_new(&iw20);
	struct in_force result = { 0 };

	(void)state;
	enforce(&iw20);
	maps.ops[0].option = OPTION_MAX;
	assert_int_equal(in_force_compare(NULL, GOVERNED, f.effective, &result), -EPROTO);
	assert_false(result.known);
	fixture_free(&f);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_same),
		cmocka_unit_test(test_other_value),
		cmocka_unit_test(test_other_policy),
		cmocka_unit_test(test_only_one_side),
		cmocka_unit_test(test_reload_meanwhile),
		cmocka_unit_test(test_unknown_option),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
