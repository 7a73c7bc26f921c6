// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <errno.h>

#include "compile.h"

/* At the worst every option of a stage is by another rule of another policy. */
_Static_assert(OPTION_MAX <= SP_STAGE_OPS_MAX, "too many options for a stage");
_Static_assert(2 * OPTION_MAX <= SP_STAGE_CREDITS_MAX, "too many contributors for a stage");

/*
 * The stages that one socket passes in one direction, in their order: who contributes to it is
 * credited at the earliest.
 */
static const struct passage {
	enum sp_stage stages[2];
	size_t n;
	/* BIT(enum sp_stage): credited at stages[0] as well.  At bind(2) it is not known yet what a
	 * TCP socket becomes; once it listens, what was set at its bind has shaped a listener. */
	unsigned credited_too;
} passages[] = {
	{ { SP_STAGE_TCP_CONNECT, SP_STAGE_TCP_ACTIVE_EST }, 2, 0 },
	{ { SP_STAGE_UDP_CONNECT }, 1, 0 },
	{ { SP_STAGE_TCP_PASSIVE_EST }, 1, 0 },
	{ { SP_STAGE_TCP_LISTEN }, 1, BIT(SP_STAGE_TCP_BIND) },
	{ { SP_STAGE_UDP_BIND }, 1, 0 },
};

static bool names_direction(const struct block *b, enum direction d)
{
	return b->rule && b->rule->when.has_direction && b->rule->when.directions & BIT(d);
}

bool setting_due_at(const struct block *block, const struct option *option, enum direction d,
		    enum sp_stage s)
{
	if (!(option->stages[d] & BIT(s)))
		return false;
	if (s == SP_STAGE_TCP_LISTEN)
		return option->carried || names_direction(block, DIRECTION_LISTEN);
	return true;
}

unsigned setting_stages(const struct block *block, const struct option *option, enum direction d)
{
	unsigned stages = 0;

	for (int s = 0; s < SP_STAGE_MAX; s++)
		if (setting_due_at(block, option, d, (enum sp_stage)s))
			stages |= BIT(s);
	return stages;
}

static void add_ops(struct program *p, const struct winner *w, enum direction d)
{
	for (int s = 0; s < SP_STAGE_MAX; s++) {
		struct program_stage *stage = &p->stages[s];

		if (setting_due_at(w->block, w->setting->option, d, (enum sp_stage)s))
			stage->ops[stage->n_ops++] = (struct program_op){
				.option = w->setting->option,
				.setting = w->setting,
				.block = w->block,
			};
	}
}

static bool is_credited(const struct program_stage *s, const struct program_credit *c)
{
	for (size_t i = 0; i < s->n_credits; i++)
		if (s->credits[i].policy == c->policy && s->credits[i].rule == c->rule)
			return true;
	return false;
}

/* Credits at stages[at] of the passage, unless it has been at a stage before. */
static int add_credit(struct program *p, const struct passage *passage, size_t at,
		      struct program_credit credit)
{
	struct program_stage *s = &p->stages[passage->stages[at]];

	for (size_t i = 0; i <= at; i++)
		if (is_credited(&p->stages[passage->stages[i]], &credit))
			return 0;
	if (GROW(s->credits, s->n_credits) < 0)
		return -ENOMEM;
	s->credits[s->n_credits++] = credit;
	return 0;
}

/* Credits at stages[at] of the passage those who have an operation at stage `from`. */
static int add_credits_of(struct program *p, const struct passage *passage, size_t at,
			  enum sp_stage from)
{
	const struct program_stage *s = &p->stages[from];
	int r = 0;

	for (size_t i = 0; i < s->n_ops && r == 0; i++) {
		const struct block *b = s->ops[i].block;

		r = add_credit(p, passage, at, (struct program_credit){ b->policy, NULL });
		if (r == 0 && b->rule)
			r = add_credit(p, passage, at,
				       (struct program_credit){ b->policy, b->rule });
	}
	return r;
}

static int add_credits(struct program *p, const struct passage *passage)
{
	int r = 0;

	for (size_t at = 0; at < passage->n && r == 0; at++)
		r = add_credits_of(p, passage, at, passage->stages[at]);
	for (int s = 0; s < SP_STAGE_MAX && r == 0; s++)
		if (passage->credited_too & BIT(s))
			r = add_credits_of(p, passage, 0, (enum sp_stage)s);
	return r;
}

int program_compile(const struct effective *e, struct program *ret)
{
	struct program p = { .effective = e };
	int r = 0;

	/* Options outermost, so that each stage has its operations in the table's order. */
	for (size_t id = 0; id < OPTION_MAX; id++) {
		for (int d = 0; d < DIRECTION_MAX; d++) {
			const struct winner *w = &e->winners[d][id];

			if (w->block && !w->setting->unset)
				add_ops(&p, w, (enum direction)d);
		}
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
	for (int s = 0; s < SP_STAGE_MAX; s++)
		free(p->stages[s].credits);
	*p = (struct program){ 0 };
}

void op_encode(const struct program_op *op, struct sp_op *ret)
{
	const struct sockopt *value = &op->setting->value;

	*ret = (struct sp_op){
		.level = (__u16)op->option->level,
		.optname = (__u16)op->option->optname,
		.option = (__u16)option_id(op->option),
		.optlen = (__u8)value->size,
		.families = (__u8)option_families(op->option),
	};
	/* Fits, as the option table allows no larger value (see test_compile.c). */
	if (value->size <= sizeof(ret->value))
		(void)sockopt_get(value, ret->value, value->size);
}
