// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <errno.h>

#include "compile/compile.h"
#include "host/host.h"

_Static_assert(OPTION_MAX <= SP_STAGE_OPS_MAX, "too many options for a stage");

/*
 * The stages that one socket passes in one direction, in their order: who contributes to it is
 * credited at the earliest.
 */
static const struct passage {
	enum sp_stage stages[3];
	size_t n;
	/* BIT(enum sp_stage): credited at stages[0] as well.  At bind(2) it is not known yet what a
	 * TCP socket becomes; once it listens, what was set at its bind has shaped a listener. */
	unsigned credited_too;
} passages[] = {
	{ { SP_STAGE_TCP_CONNECT, SP_STAGE_TCP_SYN, SP_STAGE_TCP_ACTIVE_EST },
	  3,
	  BIT(SP_STAGE_REPLY_ACTIVE) },
	{ { SP_STAGE_TCP_PASSIVE_EST }, 1, BIT(SP_STAGE_REPLY_PASSIVE) },
	{ { SP_STAGE_TCP_LISTEN }, 1, BIT(SP_STAGE_TCP_BIND) },
	{ { SP_STAGE_UDP_BIND }, 1, 0 },
	{ { SP_STAGE_UDP_CONNECT }, 1, 0 },
	{ { SP_STAGE_UDP_SEND }, 1, 0 },
	{ { SP_STAGE_UNIX_CONNECT }, 1, 0 },
	{ { SP_STAGE_UNIX_SEND }, 1, 0 },
};

static bool names_direction(const struct block *b, enum direction d)
{
	return b->rule && b->rule->when.has_direction && b->rule->when.directions & BIT(d);
}

bool setting_due_at(const struct block *block, const struct option *option, enum direction d,
		    enum sp_stage s)
{
	enum sp_stage as = s == SP_STAGE_TCP_SYN ? SP_STAGE_TCP_CONNECT : s;

	if (!(option->stages[d] & BIT(as)))
		return false;
	if (s == SP_STAGE_TCP_LISTEN)
		return option->carried || names_direction(block, DIRECTION_LISTEN);
	return true;
}

unsigned setting_stages(const struct block *block, const struct option *option, enum direction d)
{
	unsigned stages = 0;

	for (int s = 0; s < SP_STAGE_MAX; s++)
		if (s != SP_STAGE_TCP_SYN && setting_due_at(block, option, d, (enum sp_stage)s))
			stages |= BIT(s);
	return stages;
}

bool block_may_hold(const struct block *block, enum sp_stage s)
{
	const struct stage *stage = &stage_table[s];

	if (!block->rule) /* AF_UNIX sockets are governed by rules that say so only */
		return stage->transport != TRANSPORT_UNIX;
	return when_may_hold(&block->rule->when, stage);
}

static bool block_depends(const struct block *block, enum sp_stage s)
{
	return block->rule && when_depends(&block->rule->when, &stage_table[s]);
}

unsigned rule_bit(const struct effective *e, const struct block *block)
{
	unsigned bit = 0;

	for (const struct block *b = e->blocks; b < block; b++)
		bit += b->rule != NULL;
	return bit;
}

static void op_clear(struct program_op *op)
{
	free(op->rules);
	*op = (struct program_op){ 0 };
}

static struct program_choice choose(const struct effective *e, const struct block *b,
				    const struct setting *setting, enum sp_stage s)
{
	enum direction d = stage_table[s].direction;
	bool due = !setting->unset && setting_due_at(b, setting->option, d, s);

	return (struct program_choice){
		.block = b,
		.setting = due ? setting : NULL,
		.rule = b->rule ? rule_bit(e, b) : 0,
	};
}

/*
 * Who may win an option at a stage.  A block that holds whatever the connection beats all that came
 * before it, so only the last of those counts, and the rules after it.
 */
static int contend(const struct effective *e, const struct option *option, enum sp_stage s,
		   struct program_op *ret)
{
	struct program_op op = { .option = option };

	for (size_t i = 0; i < e->n_blocks; i++) {
		const struct block *b = &e->blocks[i];
		const struct setting *setting = block_setting(b, option);
		struct program_choice choice;

		if (!setting || !block_may_hold(b, s))
			continue;
		choice = choose(e, b, setting, s);
		if (!block_depends(b, s)) {
			op_clear(&op);
			op.option = option;
			op.base = choice;
			continue;
		}
		if (GROW(op.rules, op.n_rules) < 0) {
			op_clear(&op);
			return -ENOMEM;
		}
		op.rules[op.n_rules++] = choice;
	}
	*ret = op;
	return 0;
}

static bool sets_something(const struct program_op *op)
{
	if (op->base.setting)
		return true;
	for (size_t i = 0; i < op->n_rules; i++)
		if (op->rules[i].setting)
			return true;
	return false;
}

static bool asks_for_local(const struct program_op *op)
{
	for (size_t i = 0; i < op->n_rules; i++) {
		const struct when *w = &op->rules[i].block->rule->when;

		if (w->has_local || w->has_local_port)
			return true;
	}
	return false;
}

bool decided_late(const struct effective *e, const struct option *option)
{
	struct program_op op;
	bool late;

	if (option->after_tos && decided_late(e, &option_table[OPTION_IP_TOS]))
		return true;
	if (contend(e, option, SP_STAGE_TCP_SYN, &op) < 0)
		return false;
	late = asks_for_local(&op);
	op_clear(&op);
	return late;
}

static int add_op(struct program *p, const struct option *option, enum sp_stage s)
{
	struct program_stage *stage = &p->stages[s];
	struct program_op op;
	int r;

	if ((s == SP_STAGE_TCP_CONNECT || s == SP_STAGE_TCP_SYN) &&
	    decided_late(p->effective, option) != (s == SP_STAGE_TCP_SYN))
		return 0;
	r = contend(p->effective, option, s, &op);
	if (r < 0)
		return r;
	if (!sets_something(&op)) {
		op_clear(&op);
		return 0;
	}
	if (GROW(stage->ops, stage->n_ops) < 0) {
		op_clear(&op);
		return -ENOMEM;
	}
	for (size_t i = 0; i < op.n_rules; i++)
		stage->rules |= 1ull << op.rules[i].rule;
	stage->ops[stage->n_ops++] = op;
	return 0;
}

static struct program_credit *find_credit(const struct program_stage *s,
					  const struct program_credit *c)
{
	for (size_t i = 0; i < s->n_credits; i++)
		if (s->credits[i].policy == c->policy && s->credits[i].rule == c->rule)
			return &s->credits[i];
	return NULL;
}

/*
 * A part of this contributor is at a stage before already, and a socket is counted once: so it is
 * there that it is credited, also where it holds and is about to set something later.
 */
static void credit_before(struct program_stage *s, struct program_credit *there,
			  const struct program_credit *credit)
{
	uint64_t held = credit->rules | credit->held;

	there->held |= held;
	there->whatever |= credit->by_base || credit->whatever;
	s->rules |= held; /* whether it holds must be found out there too */
}

/* Credits at stages[at] of the passage, or at the stage before that has this contributor. */
static int add_credit(struct program *p, const struct passage *passage, size_t at,
		      struct program_credit credit)
{
	struct program_stage *s = &p->stages[passage->stages[at]];
	struct program_credit *there = find_credit(s, &credit);

	if (there) {
		there->rules |= credit.rules;
		there->held |= credit.held;
		there->by_base |= credit.by_base;
		there->whatever |= credit.whatever;
		return 0;
	}
	for (size_t i = 0; i < at; i++) {
		struct program_stage *before = &p->stages[passage->stages[i]];

		there = find_credit(before, &credit);
		if (there) {
			credit_before(before, there, &credit);
			return 0;
		}
	}
	if (GROW(s->credits, s->n_credits) < 0)
		return -ENOMEM;
	s->credits[s->n_credits++] = credit;
	return 0;
}

/* `elsewhere`: the choice is made at another stage than the one that credits. */
static int add_credits_of_choice(struct program *p, const struct passage *passage, size_t at,
				 const struct program_choice *choice, bool is_base, bool elsewhere)
{
	struct program_credit credit = { 0 };
	int r;

	if (!choice->setting)
		return 0;
	credit.policy = choice->block->policy;
	credit.by_base = is_base && !elsewhere;
	credit.whatever = is_base && elsewhere;
	if (!is_base && elsewhere) { /* whether it holds must be found out at this stage too */
		credit.held = 1ull << choice->rule;
		p->stages[passage->stages[at]].rules |= credit.held;
	} else if (!is_base) {
		credit.rules = 1ull << choice->rule;
	}
	r = add_credit(p, passage, at, credit);
	if (r < 0 || !choice->block->rule)
		return r;
	credit.rule = choice->block->rule;
	return add_credit(p, passage, at, credit);
}

/* Credits at stages[at] of the passage those who have an operation at stage `from`. */
static int add_credits_of(struct program *p, const struct passage *passage, size_t at,
			  enum sp_stage from)
{
	const struct program_stage *s = &p->stages[from];
	bool elsewhere = from != passage->stages[at];
	int r = 0;

	for (size_t i = 0; i < s->n_ops && r == 0; i++) {
		const struct program_op *op = &s->ops[i];

		r = add_credits_of_choice(p, passage, at, &op->base, true, elsewhere);
		for (size_t j = 0; j < op->n_rules && r == 0; j++)
			r = add_credits_of_choice(p, passage, at, &op->rules[j], false, elsewhere);
	}
	return r;
}

static int add_credits(struct program *p, const struct passage *passage)
{
	int r = 0;

	/* What is credited at the first stage comes first: later ones look whether it is there. */
	for (int s = 0; s < SP_STAGE_MAX && r == 0; s++)
		if (passage->credited_too & BIT(s))
			r = add_credits_of(p, passage, 0, (enum sp_stage)s);
	for (size_t at = 0; at < passage->n && r == 0; at++)
		r = add_credits_of(p, passage, at, passage->stages[at]);
	return r;
}

static size_t count_rules(const struct effective *e)
{
	size_t n = 0;

	for (size_t i = 0; i < e->n_blocks; i++)
		n += e->blocks[i].rule != NULL;
	return n;
}

int program_compile(const struct effective *e, struct program *ret)
{
	struct program p = { .effective = e };
	int r = 0;

	if (count_rules(e) > SP_RULES_MAX)
		return -E2BIG;
	/* Options outermost, so that each stage has its operations in the table's order. */
	for (size_t id = 0; id < OPTION_MAX && r == 0; id++) {
		if (is_second_spelling((enum option_id)id))
			continue;
		for (int s = 0; s < SP_STAGE_MAX && r == 0; s++)
			r = add_op(&p, &option_table[id], (enum sp_stage)s);
	}
	for (size_t i = 0; i < ARRAY_SIZE(passages) && r == 0; i++)
		r = add_credits(&p, &passages[i]);
	if (r < 0) {
		program_clear(&p);
		return r;
	}
	*ret = p;
	return 0;
}

void program_clear(struct program *p)
{
	for (int s = 0; s < SP_STAGE_MAX; s++) {
		for (size_t i = 0; i < p->stages[s].n_ops; i++)
			op_clear(&p->stages[s].ops[i]);
		free(p->stages[s].ops);
		free(p->stages[s].credits);
	}
	*p = (struct program){ 0 };
}

/* TIMEOUT_INIT is answered in jiffies, whatever the kernel's HZ is. */
static void encode_reply(const struct option *option, struct sp_op *op)
{
	int value;

	if (option != &option_table[OPTION_TIMEOUT_INIT])
		return;
	memcpy(&value, op->value, sizeof(value));
	value = host_jiffies((int64_t)value * option->unit_usec);
	memcpy(op->value, &value, sizeof(value));
}

void op_encode(const struct option *option, const struct program_choice *choice, struct sp_op *ret)
{
	const struct setting *setting = choice->setting;
	const struct option *set = setting ? setting->option : option;

	*ret = (struct sp_op){
		.level = (__u16)set->level,
		.optname = (__u16)set->optname,
		.option = (__u16)option_id(set),
		.families = (__u8)option_families(set),
	};
	if (choice->block && choice->block->rule)
		ret->condition = choice->block->rule->condition;
	if (!setting || setting->value.size > sizeof(ret->value))
		return; /* optlen 0: leave it alone */
	ret->optlen = (__u8)setting->value.size;
	(void)sockopt_get(&setting->value, ret->value, setting->value.size);
	if (set->level == SP_LEVEL_REPLY)
		encode_reply(set, ret);
}
