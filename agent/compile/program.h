/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * From one policy to what each hook does for it: which options its base and its rules decide at
 * which stage, which operations that takes, and where sockets are counted.
 */
#ifndef SOCKPOL_PROGRAM_H
#define SOCKPOL_PROGRAM_H

#include "policy/policy.h"
#include "policy/stage.h"

/* One option that a block decides at a stage. */
struct program_choice {
	const struct option *option;
	const struct setting *setting; /* NULL: nothing is set: `unset`, or not due at this stage */
	const struct rule *rule;       /* the rule that says so; NULL: the base */
};

/* The base together with the rules that always hold at the stage, or one rule that may hold. */
struct program_block {
	const struct rule *rule;	/* NULL: the base */
	size_t bit;			/* of the rule */
	struct program_choice *choices; /* owned; in option table order */
	size_t n_choices;
};

struct program_stage {
	struct program_block base;
	struct program_block *rules; /* owned; by their bit, highest first */
	size_t n_rules;
	const struct rule **always; /* owned; rules that always hold here and are counted here */
	size_t n_always;
	/* As in struct sp_stage_of: */
	uint64_t looked_at, counted, before;
	uint8_t counts;
};

struct program {
	const struct policy *policy;
	const struct rule
		*rules[SP_RULES_MAX]; /* the rules that depend on the connection, by their bit */
	size_t n_rules;
	struct program_stage stages[SP_STAGE_MAX];
	uint64_t decided_late; /* 1 << enum option_id, also below */
};

/*
 * Compiles a policy.  Returns 0 or -ENOMEM.  set: the options that some policy sets at a stage; no
 * others are decided there.  decides_late: some policy of the configuration has decided_late, so
 * every policy has at SP_STAGE_TCP_SYN what it has at SP_STAGE_TCP_CONNECT.
 */
int program_compile(const struct policy *p, const uint64_t set[SP_STAGE_MAX], bool decides_late,
		    struct program *ret);
void program_clear(struct program *p);

/*
 * Finds the options that some policy sets at each stage, less those that every UDP socket has from
 * socket(2), which SP_STAGE_UDP_SEND does without.  Returns whether some policy has decided_late.
 */
bool program_survey(const struct config *c, uint64_t set[SP_STAGE_MAX]);

/* Returns the options that a connect rule of the policy with `local` may win, and SO_PRIORITY where
 * IP_TOS is among them. */
uint64_t program_decided_late(const struct policy *p);

/* Returns SP_OP_*: who has the last word about a setting, and what becomes of a failure. */
uint8_t program_flags(const struct setting *setting);

/*
 * Encodes a choice for the hook of a stage, without `counter`.  ret has room for two: an accepted
 * socket gets with IP_TOS the SO_PRIORITY that IP_TOS implies, since the kernel leaves it 0 where
 * the listener has the same IP_TOS.  The index of a device is that of now, in this network
 * namespace.  Returns how many operations there are.
 */
size_t program_encode_ops(const struct program_choice *choice, enum sp_stage s, struct sp_op *ret);

#endif
