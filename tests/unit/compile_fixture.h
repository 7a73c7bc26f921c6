/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What a policy is compiled to, in words that a test can compare. */
#ifndef SOCKPOL_COMPILE_FIXTURE_H
#define SOCKPOL_COMPILE_FIXTURE_H

#include "compile/program.h"
#include "policy_fixture.h"

#define CONNECT BIT(DIRECTION_CONNECT)
#define ACCEPT	BIT(DIRECTION_ACCEPT)
#define LISTEN	BIT(DIRECTION_LISTEN)

struct fixture {
	struct config *config;
	struct program program; /* of the first policy */
};

static struct fixture fixture_compile(const struct fixture_policy *policy, bool decides_late)
{
	struct fixture f = { .config = fixture_config(policy, 1) };
	uint64_t all[SP_STAGE_MAX];

	memset(all, 0xff, sizeof(all));
	assert_int_equal(program_compile(f.config->policies, all, decides_late, &f.program), 0);
	assert_ptr_equal(f.program.policy, f.config->policies);
	return f;
}

static void fixture_free(struct fixture *f)
{
	program_clear(&f->program);
	config_free(f->config);
}

#define PRINT_TO(to, ...) snprintf((to) + strlen(to), sizeof(to) - strlen(to), __VA_ARGS__)

static const char *fixture_value(const struct setting *s)
{
	static char text[32];
	int value;

	if (!s)
		return "-";
	assert_false(s->unset);
	if (s->option->type == OPTION_STRING)
		return sockopt_data(&s->value);
	assert_int_equal(sockopt_getint(&s->value, &value), 0);
	snprintf(text, sizeof(text), "%d", value);
	return text;
}

/*
 * Who decides what at a stage, base first: "OPTION=VALUE OPTION=VALUE@RULE; BIT RULE: OPTION=-".
 * "=-": nothing is set; "@RULE": that always holds.
 */
static void expect_blocks(const struct fixture *f, enum sp_stage s, const char *expected)
{
	const struct program_stage *stage = &f->program.stages[s];
	char text[2048] = "";

	for (size_t i = 0; i < stage->base.n_choices; i++) {
		const struct program_choice *c = &stage->base.choices[i];

		PRINT_TO(text, "%s%s=%s%s%s", i ? " " : "", c->option->name,
			 fixture_value(c->setting), c->rule ? "@" : "",
			 c->rule ? c->rule->name : "");
	}
	for (size_t i = stage->n_rules; i-- > 0;) {
		const struct program_block *b = &stage->rules[i];

		PRINT_TO(text, "%s%zu %s:", *text ? "; " : "", b->bit, b->rule->name);
		assert_ptr_equal(f->program.rules[b->bit], b->rule);
		for (size_t k = 0; k < b->n_choices; k++) {
			assert_ptr_equal(b->choices[k].rule, b->rule);
			PRINT_TO(text, " %s=%s", b->choices[k].option->name,
				 fixture_value(b->choices[k].setting));
		}
	}
	if (!streq(text, expected))
		fail_msg("stage %s has \"%s\", not \"%s\"", stage_name(s), text, expected);
}

/*
 * Who is counted at a stage: when the policy is ("never", "rule", "always"), the rules that are, by
 * their bit ("+0"), those that were before ("-0"), and those that always hold ("*NAME").
 */
static void expect_counts(const struct fixture *f, enum sp_stage s, const char *expected)
{
	static const char *const words[] = {
		[SP_COUNTS_NEVER] = "never",
		[SP_COUNTS_BY_RULE] = "rule",
		[SP_COUNTS_ALWAYS] = "always",
	};
	const struct program_stage *stage = &f->program.stages[s];
	char text[1024] = "";

	PRINT_TO(text, "%s", words[stage->counts]);
	for (int bit = 0; bit < 64; bit++)
		if (stage->counted >> bit & 1)
			PRINT_TO(text, " +%d", bit);
	for (int bit = 0; bit < 64; bit++)
		if (stage->before >> bit & 1)
			PRINT_TO(text, " -%d", bit);
	for (size_t i = 0; i < stage->n_always; i++)
		PRINT_TO(text, " *%s", stage->always[i]->name);
	if (!streq(text, expected))
		fail_msg("stage %s counts \"%s\", not \"%s\"", stage_name(s), text, expected);
	/* what it takes to know that, and that a rule which is counted has a block to say so */
	assert_true((stage->looked_at & (stage->counted | stage->before)) ==
		    (stage->counted | stage->before));
	for (size_t bit = 0; bit < 64; bit++) {
		bool has_block = false;

		for (size_t i = 0; i < stage->n_rules; i++)
			has_block |= stage->rules[i].bit == bit;
		assert_true(has_block || !(stage->counted >> bit & 1));
		assert_true(!has_block || stage->looked_at >> bit & 1);
		assert_true(has_block || stage->before >> bit & 1 ||
			    !(stage->looked_at >> bit & 1));
	}
}

#endif
