// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* What is in force against the files: with maps that the test makes up in place of pins.c's. */
#include <errno.h>

#include "compile/compile.h"
#include "report/in_force.h"
#include "policy_fixture.h"

#define GOVERNED 42 /* the id of cgroup /a */
#define INDEX	 1  /* of its policy in the maps */

static struct {
	struct sp_state state;
	struct sp_policy policy;
	struct sp_op ops[64];
	uint32_t n_ops;
	struct sp_source sources[64]; /* 0 is never used */
	uint32_t n_sources;
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
	assert_true(id && id <= maps.n_sources);
	*ret = maps.sources[id];
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

static uint32_t source_of(const struct block *b)
{
	struct sp_source *source;

	assert_true(maps.n_sources + 1 < ARRAY_SIZE(maps.sources));
	source = &maps.sources[++maps.n_sources];
	snprintf(source->policy, sizeof(source->policy), "%s", b->policy->name);
	if (b->rule)
		snprintf(source->rule, sizeof(source->rule), "%s", b->rule->name);
	return maps.n_sources;
}

static struct sp_op encode(const struct option *option, const struct program_choice *choice)
{
	struct sp_op op;

	op_encode(option, choice, &op);
	if (choice->setting)
		op.source = source_of(choice->block);
	return op;
}

static void append(const struct sp_op *op)
{
	assert_true(maps.n_ops < ARRAY_SIZE(maps.ops));
	maps.ops[maps.n_ops++] = *op;
}

/* As the agent does it: the rules' operations first, then the list. */
static void enforce_stage(const struct program_stage *stage, struct sp_stage_ops *due)
{
	struct sp_op listed[OPTION_MAX];

	for (size_t i = 0; i < stage->n_ops; i++) {
		const struct program_op *op = &stage->ops[i];

		listed[i] = encode(op->option, &op->base);
		listed[i].block = (uint8_t)i;
		listed[i].first_alternative = maps.n_ops;
		for (size_t r = 0; r < op->n_rules; r++) {
			struct sp_op rule = encode(op->option, &op->rules[r]);

			listed[i].rules |= 1ull << op->rules[r].rule;
			append(&rule);
		}
	}
	due->first_op = maps.n_ops;
	due->n_ops = (uint32_t)stage->n_ops;
	for (size_t i = 0; i < stage->n_ops; i++)
		append(&listed[i]);
}

/* Puts a policy in force. */
static void enforce(const struct fixture_policy *policy)
{
	struct fixture f = fixture_new(policy);
	struct program program;

	memset(&maps, 0, sizeof(maps));
	assert_int_equal(program_compile(f.effective, &program), 0);
	for (int s = 0; s < SP_STAGE_MAX; s++)
		enforce_stage(&program.stages[s], &maps.policy.stage[s]);
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

static const struct fixture_policy with_rules = {
	"p",
	{ "/a" },
	.base = { { OPTION_TCP_BPF_IW, 20 } },
	.rules = { { "one", BIT(DIRECTION_CONNECT), .remote = { "10.0.0.0/8" },
		     .options = { { OPTION_TCP_BPF_IW, 30 } } },
		   { "two", BIT(DIRECTION_CONNECT), .remote_port = { { 80 } },
		     .options = { { OPTION_TCP_BPF_IW, 40 } } },
		   { "three", BIT(DIRECTION_CONNECT), .remote_port = { { 90 } },
		     .options = { { OPTION_TCP_BPF_IW, UNSET } } } },
};

/* The only difference between with_rules, in force, and the files' version of it. */
static struct in_force one_difference(const struct fixture_policy *files)
{
	struct fixture f = fixture_new(files);
	struct in_force result = { 0 };

	enforce(&with_rules);
	assert_int_equal(in_force_compare(NULL, GOVERNED, f.effective, &result), 0);
	assert_int_equal(result.n, 1);
	assert_int_equal(result.v[0].stage, SP_STAGE_TCP_ACTIVE_EST);
	assert_ptr_equal(result.v[0].option, &option_table[OPTION_TCP_BPF_IW]);
	fixture_free(&f);
	return result;
}

static void test_same_rules(void **state)
{
	struct fixture f = fixture_new(&with_rules);
	struct in_force result = { 0 };

	(void)state;
	enforce(&with_rules);
	assert_int_equal(in_force_compare(NULL, GOVERNED, f.effective, &result), 0);
	assert_int_equal(result.n, 0);
	in_force_clear(&result);
	fixture_free(&f);
}

static void test_other_value_in_rule(void **state)
{
	struct fixture_policy files = with_rules;
	struct in_force result;

	(void)state;
	files.rules[1].options[0].value = 41;
	result = one_difference(&files);
	assert_string_equal(result.v[0].kernel.value, "40");
	assert_string_equal(result.v[0].files.value, "41");
	assert_string_equal(result.v[0].kernel.rule, "two");
	assert_string_equal(result.v[0].files.rule, "two");
	assert_null(result.v[0].also);
	in_force_clear(&result);
}

/* A rule that is new, or gone, does not make the others differ, whatever their bits are then. */
static void test_rule_on_one_side(void **state)
{
	struct fixture_policy files = with_rules;
	struct fixture f = fixture_new(&with_rules);
	struct in_force result;

	(void)state;
	files.rules[0] = with_rules.rules[1];
	files.rules[1] = with_rules.rules[2];
	files.rules[2] = (struct fixture_rule){ 0 };
	result = one_difference(&files);
	assert_string_equal(result.v[0].kernel.rule, "one");
	assert_string_equal(result.v[0].kernel.value, "30");
	assert_null(result.v[0].files.value);
	in_force_clear(&result);

	enforce(&files);
	assert_int_equal(in_force_compare(NULL, GOVERNED, f.effective, &result), 0);
	assert_int_equal(result.n, 1);
	assert_null(result.v[0].kernel.value);
	assert_string_equal(result.v[0].files.rule, "one");
	in_force_clear(&result);
	fixture_free(&f);
}

/* `unset` in a rule: it has no name in the maps, but is there. */
static void test_unset_rule_gone(void **state)
{
	struct fixture_policy files = with_rules;
	struct in_force result;

	(void)state;
	files.rules[2] = (struct fixture_rule){ 0 };
	result = one_difference(&files);
	assert_string_equal(result.v[0].kernel.value, "unset");
	assert_null(result.v[0].kernel.policy);
	assert_null(result.v[0].files.value);
	in_force_clear(&result);
}

static void test_other_order(void **state)
{
	struct fixture_policy files = with_rules;
	struct in_force result;

	(void)state;
	files.rules[0] = with_rules.rules[1];
	files.rules[1] = with_rules.rules[0];
	result = one_difference(&files);
	assert_string_equal(result.v[0].also, "order");
	in_force_clear(&result);
}

/* All that op_encode() says of a rule counts, also what no value shows. */
static void test_other_condition(void **state)
{
	struct fixture f = fixture_new(&with_rules);
	struct in_force result = { 0 };
	uint32_t rule;

	(void)state;
	enforce(&with_rules);
	rule = maps.ops[maps.policy.stage[SP_STAGE_TCP_ACTIVE_EST].first_op].first_alternative;
	maps.ops[rule].families ^= SP_FAMILY_IPV4;
	assert_int_equal(in_force_compare(NULL, GOVERNED, f.effective, &result), 0);
	assert_int_equal(result.n, 1);
	assert_string_equal(result.v[0].also, "condition");
	assert_string_equal(result.v[0].kernel.value, "30");
	assert_string_equal(result.v[0].files.value, "30");
	in_force_clear(&result);
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
		cmocka_unit_test(test_same_rules),
		cmocka_unit_test(test_other_value_in_rule),
		cmocka_unit_test(test_rule_on_one_side),
		cmocka_unit_test(test_unset_rule_gone),
		cmocka_unit_test(test_other_order),
		cmocka_unit_test(test_other_condition),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
