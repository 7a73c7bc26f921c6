/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* From an effective policy to what each hook does: which operations at which stage, under which
 * rules. */
#ifndef SOCKPOL_COMPILE_H
#define SOCKPOL_COMPILE_H

#include "compile/cascade.h"
#include "policy/stage.h"

/* What one block makes of an option at a stage. */
struct program_choice {
	const struct block *block;
	const struct setting *setting; /* NULL: nothing is set: `unset`, or not due at this stage */
	unsigned rule;		       /* bit of the rule, where it depends on the connection */
};

/* One option at one stage. */
struct program_op {
	const struct option *option;
	struct program_choice base; /* the last block that does not depend on the connection; block
				       NULL: there is none */
	struct program_choice *rules; /* owned; those after it that do, weakest first */
	size_t n_rules;
};

/* Who is credited at a stage: a policy (rule NULL), or one of its rules. */
struct program_credit {
	const struct policy *policy;
	const struct rule *rule;
	uint64_t rules; /* bits of rules: credited when one of these set something, */
	uint64_t held;	/* or when one of these holds, */
	bool by_base;	/* also when a base choice of it set something */
	bool whatever;	/* in any case */
};

struct program_stage {
	struct program_op *ops; /* owned; in option table order */
	size_t n_ops;
	uint64_t rules;			/* bits of all rules in it */
	struct program_credit *credits; /* owned; each contributor once per direction */
	size_t n_credits;
};

struct program {
	const struct effective *effective;
	struct program_stage stages[SP_STAGE_MAX];
};

/* Returns 0, -ENOMEM, or -E2BIG: more than SP_RULES_MAX rules. */
int program_compile(const struct effective *e, struct program *ret);
void program_clear(struct program *p);

/* The bit of a rule block of the effective policy: its place among the rules, in walk order. */
unsigned rule_bit(const struct effective *e, const struct block *block);

/* Can `block` hold at stage `s`, for some socket? */
bool block_may_hold(const struct block *block, enum sp_stage s);

/* Would `setting` of `block`, winning `option` in direction `d`, be set at stage `s`?  The one
 * place that knows it; what `explain` and lint say comes from here too. */
bool setting_due_at(const struct block *block, const struct option *option, enum direction d,
		    enum sp_stage s);
/* BIT(enum sp_stage) of all stages at which it is due in that direction. */
unsigned setting_stages(const struct block *block, const struct option *option, enum direction d);

/* Is the option decided when the kernel has chosen the local address (SP_STAGE_TCP_SYN), as one of
 * the connect rules that may win it (or IP_TOS, which it must follow) asks for that?  Otherwise at
 * SP_STAGE_TCP_CONNECT. */
bool decided_late(const struct effective *e, const struct option *option);

/* The form in which the hook gets a choice; source, rules and first_alternative are left 0. */
void op_encode(const struct option *option, const struct program_choice *choice, struct sp_op *ret);

#endif
