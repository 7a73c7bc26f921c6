/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* From an effective policy to what each hook does: which operations at which stage. */
#ifndef SOCKPOL_COMPILE_H
#define SOCKPOL_COMPILE_H

#include "cascade.h"

struct program_op {
	const struct option *option;
	const struct setting *setting; /* never .unset */
	const struct block *block;
};

/* Who is credited at a stage: a policy (rule NULL), or one of its rules. */
struct program_credit {
	const struct policy *policy;
	const struct rule *rule;
};

struct program_stage {
	struct program_op ops[OPTION_MAX]; /* in option table order */
	size_t n_ops;
	struct program_credit *credits; /* owned; each contributor once per direction */
	size_t n_credits;
};

struct program {
	const struct effective *effective;
	struct program_stage stages[SP_STAGE_MAX];
};

/* Returns 0 or -ENOMEM. */
int program_compile(const struct effective *e, struct program *ret);
void program_clear(struct program *p);

/* Would `setting` of `block`, winning `option` in direction `d`, be set at stage `s`?  The one
 * place that knows it; what `explain` and lint say comes from here too. */
bool setting_due_at(const struct block *block, const struct option *option, enum direction d,
		    enum sp_stage s);
/* BIT(enum sp_stage) of all stages at which it is due in that direction. */
unsigned setting_stages(const struct block *block, const struct option *option, enum direction d);

/* The form in which the hook gets an operation; source is left 0. */
void op_encode(const struct program_op *op, struct sp_op *ret);

#endif
