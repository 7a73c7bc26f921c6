/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What policies are compiled to, in words that a test can compare. */
#ifndef SOCKPOL_COMPILE_FIXTURE_H
#define SOCKPOL_COMPILE_FIXTURE_H

#include "compile/compile.h"
#include "policy_fixture.h"

#define CONNECT BIT(DIRECTION_CONNECT)
#define ACCEPT	BIT(DIRECTION_ACCEPT)
#define LISTEN	BIT(DIRECTION_LISTEN)

struct fixture {
	struct config *config;
	struct cascade *cascade;
	struct program program;
};

/* The program of cgroup /a. */
static struct fixture fixture_new(const struct fixture_policy *policies, size_t n)
{
	struct fixture f = { .config = fixture_config(policies, n) };
	const struct cgroup_class *k;

	assert_int_equal(cascade_new(f.config, &f.cascade), 0);
	assert_int_equal(cascade_walk(f.cascade, "/a", &k), 0);
	assert_non_null(cascade_effective(k));
	assert_int_equal(program_compile(cascade_effective(k), &f.program), 0);
	assert_ptr_equal(f.program.effective, cascade_effective(k));
	return f;
}

static void fixture_free(struct fixture *f)
{
	program_clear(&f->program);
	cascade_free(f->cascade);
	config_free(f->config);
}

/* "OPTION OPTION ...", in their order. */
static void expect_ops(const struct fixture *f, enum sp_stage s, const char *expected)
{
	const struct program_stage *stage = &f->program.stages[s];
	char names[1024] = "";

	for (size_t i = 0; i < stage->n_ops; i++) {
		if (i)
			strcat(names, " ");
		strcat(names, stage->ops[i].option->name);
	}
	if (!streq(names, expected))
		fail_msg("stage %s sets \"%s\", not \"%s\"", stage_name(s), names, expected);
}

static const struct program_op *find_op(const struct fixture *f, enum sp_stage s,
					enum option_id option)
{
	const struct program_stage *stage = &f->program.stages[s];

	for (size_t i = 0; i < stage->n_ops; i++)
		if (stage->ops[i].option == &option_table[option])
			return &stage->ops[i];
	fail_msg("stage %s does not set %s", stage_name(s), option_table[option].name);
	return NULL;
}

/* " policy/rule=VALUE"; "=-": sets nothing. */
static void append_choice(char *to, size_t size, const struct program_choice *c)
{
	size_t n = strlen(to);
	int value;

	n += (size_t)snprintf(to + n, size - n, "%s%s%s%s=", n ? " " : "", c->block->policy->name,
			      c->block->rule ? "/" : "",
			      c->block->rule ? c->block->rule->name : "");
	if (!c->setting) {
		snprintf(to + n, size - n, "-");
		return;
	}
	assert_false(c->setting->unset);
	if (c->setting->option->type == OPTION_STRING) {
		snprintf(to + n, size - n, "%s", (const char *)sockopt_data(&c->setting->value));
		return;
	}
	assert_int_equal(sockopt_getint(&c->setting->value, &value), 0);
	snprintf(to + n, size - n, "%d", value);
}

/* "BASE, BIT RULE, BIT RULE ...": who may win an option at a stage, weakest first. */
static void expect_choices(const struct fixture *f, enum sp_stage s, enum option_id option,
			   const char *expected)
{
	const struct program_op *op = find_op(f, s, option);
	const struct program_stage *stage = &f->program.stages[s];
	char who[1024] = "";

	if (op->base.block)
		append_choice(who, sizeof(who), &op->base);
	for (size_t i = 0; i < op->n_rules; i++) {
		const struct program_choice *c = &op->rules[i];
		size_t n = strlen(who);

		assert_true(stage->rules & 1ull << c->rule);
		assert_int_equal(c->rule, rule_bit(f->program.effective, c->block));
		snprintf(who + n, sizeof(who) - n, ", %u", c->rule);
		append_choice(who, sizeof(who), c);
	}
	if (!streq(who, expected))
		fail_msg("stage %s has %s from \"%s\", not \"%s\"", stage_name(s),
			 option_table[option].name, who, expected);
}

static inline const struct program_credit *find_credit(const struct fixture *f, enum sp_stage s,
						       const char *policy, const char *rule)
{
	const struct program_stage *stage = &f->program.stages[s];

	for (size_t i = 0; i < stage->n_credits; i++) {
		const struct program_credit *c = &stage->credits[i];

		if (streq(c->policy->name, policy) && !c->rule == !rule &&
		    (!rule || streq(c->rule->name, rule)))
			return c;
	}
	fail_msg("stage %s does not credit %s/%s", stage_name(s), policy, rule ? rule : "");
	return NULL;
}

/* "policy policy/rule ...", in their order. */
static void expect_credits(const struct fixture *f, enum sp_stage s, const char *expected)
{
	const struct program_stage *stage = &f->program.stages[s];
	char names[1024] = "";

	for (size_t i = 0; i < stage->n_credits; i++) {
		const struct program_credit *c = &stage->credits[i];

		if (i)
			strcat(names, " ");
		strcat(names, c->policy->name);
		if (c->rule)
			strcat(strcat(names, "/"), c->rule->name);
	}
	if (!streq(names, expected))
		fail_msg("stage %s credits \"%s\", not \"%s\"", stage_name(s), names, expected);
}

#endif
