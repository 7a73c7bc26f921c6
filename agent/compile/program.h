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
	struct program_choice *choices; /* owned; in option table order */
	size_t n_choices;
};

struct program_stage {
	struct program_block base;
	struct program_block *rules; /* owned; by their bit, lowest first */
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
	uint64_t decided_late, not_at_send; /* 1 << enum option_id, also below */
};

/* What no policy knows alone. */
struct program_common {
	bool decides_late;    /* some policy has decided_late, so every policy has at
				 SP_STAGE_TCP_SYN what it has at SP_STAGE_TCP_CONNECT */
	uint64_t not_at_send; /* options that every UDP socket has from socket(2), so that
				 SP_STAGE_UDP_SEND does without */
};

/* Finds out what no policy knows alone, and the options that some policy sets at each stage. */
void program_survey(const struct config *c, uint64_t set[SP_STAGE_MAX], struct program_common *ret);

/*
 * Compiles a policy.  Returns 0, -ENOMEM, or -E2BIG: more than SP_RULES_MAX rules depend on the
 * connection, or so many always hold at one stage; *ret_rule is then the first one too many.
 */
int program_compile(const struct policy *p, const struct program_common *common,
		    struct program *ret, const struct rule **ret_rule);
void program_clear(struct program *p);

/* Removes what the policy decides at a stage and no policy sets there.  set: the options that are
 * set. */
void program_restrict(struct program *p, const uint64_t set[SP_STAGE_MAX]);

/* Returns the options that a connect rule of the policy with `local` may win, and SO_PRIORITY where
 * IP_TOS is among them. */
uint64_t program_decided_late(const struct policy *p);

/* Returns the bit of a rule among those of its policy that depend on the connection; -1: it has
 * none. */
int program_rule_bit(const struct policy *p, const struct rule *r);

/*
 * Encodes a choice for the hook of a stage, without `counter`.  ret has room for two: an accepted
 * socket gets with IP_TOS the SO_PRIORITY that IP_TOS implies, since the kernel leaves it 0 where
 * the listener has the same IP_TOS.  The index of a device is that of now, in this network
 * namespace.  Returns how many operations there are.
 */
size_t program_encode_ops(const struct program_choice *choice, enum sp_stage s, struct sp_op *ret);

#endif
