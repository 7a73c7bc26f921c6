// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <assert.h>
#include <errno.h>

#include "compile/program.h"
#include "host/host.h"

/*
 * Counting.  sockpol.policy(5) says that a socket is counted once a direction.
 *
 *   - A socket passes the stages of one direction in their order: that is a passage.
 *   - A block has something due at a stage where it may hold and names an option that is set there.
 *     Whether another block wins the option does not matter.
 *   - What is due at bind(2) of a TCP socket is due when it listens, and a reply when the
 *     connection is established: before, it is not known what the socket becomes, or the kernel
 *     asks several times.
 *   - A rule is counted at the first stage of a passage at which it has something due, if it holds.
 *   - A policy is counted where the first of its blocks is: at the first stage at which its base
 *     or a rule that always holds has something due, whatever the connection; and before that
 *     with a rule that is counted.
 *   - So at a later stage no rule may hold that was counted before.
 */
static const struct passage {
	enum sp_stage stages[3];
	size_t n;
	bool has_other; /* what is due at another stage counts at the last one */
	enum sp_stage other;
} passages[] = {
	{ { SP_STAGE_TCP_CONNECT, SP_STAGE_TCP_SYN, SP_STAGE_TCP_ACTIVE_EST },
	  3,
	  true,
	  SP_STAGE_REPLY_ACTIVE },
	{ { SP_STAGE_TCP_PASSIVE_EST }, 1, true, SP_STAGE_REPLY_PASSIVE },
	{ { SP_STAGE_TCP_LISTEN }, 1, true, SP_STAGE_TCP_BIND },
	{ { SP_STAGE_UDP_BIND }, 1 },
	{ { SP_STAGE_UDP_CONNECT }, 1 },
	{ { SP_STAGE_UDP_SEND }, 1 },
	{ { SP_STAGE_UNIX_CONNECT }, 1 },
	{ { SP_STAGE_UNIX_SEND }, 1 },
};

static const struct settings *settings_of(const struct policy *p, const struct rule *r)
{
	return r ? &r->options : &p->base;
}

/* Is an option that the block names with a value set at the stage? */
static bool is_due(const struct rule *r, const struct setting *setting, enum sp_stage s)
{
	return !setting->unset &&
	       stage_setting_due(r, setting->option, stage_table[s].direction, s);
}

/* Can the option be set at the stage at all? */
static bool is_of_stage(const struct option *o, enum sp_stage s)
{
	enum sp_stage as = s == SP_STAGE_TCP_SYN ? SP_STAGE_TCP_CONNECT : s;

	return o->stages[stage_table[s].direction] & BIT(as);
}

static uint64_t named_at(const struct settings *settings, enum sp_stage s)
{
	uint64_t named = 0;

	for (size_t i = 0; i < settings->n; i++)
		if (is_of_stage(settings->v[i].option, s))
			named |= option_bits(settings->v[i].option);
	return named;
}

/* Returns the options that the block sets at the stage. */
static uint64_t due_at(const struct policy *p, const struct rule *r, enum sp_stage s)
{
	const struct settings *settings = settings_of(p, r);
	uint64_t due = 0;

	for (size_t i = 0; i < settings->n; i++)
		if (is_due(r, &settings->v[i], s))
			due |= option_bits(settings->v[i].option);
	return stage_rule_may_hold(r, s) ? due : 0;
}

static bool asks_for_local(const struct rule *r)
{
	return when_ranges(&r->when, SP_PROPERTY_LOCAL) ||
	       when_ranges(&r->when, SP_PROPERTY_LOCAL_PORT);
}

uint64_t program_decided_late(const struct policy *p)
{
	uint64_t late = 0, beaten = 0;

	for (size_t i = p->n_rules; i-- > 0;) {
		const struct rule *r = &p->rules[i];
		uint64_t named = named_at(&r->options, SP_STAGE_TCP_SYN);

		if (!stage_rule_may_hold(r, SP_STAGE_TCP_SYN))
			continue;
		if (!stage_rule_depends(r, SP_STAGE_TCP_SYN))
			beaten |= named;
		else if (asks_for_local(r))
			late |= named & ~beaten;
	}
	for (size_t id = 0; late >> OPTION_IP_TOS & 1 && id < OPTION_MAX; id++)
		if (option_table[id].after_tos)
			late |= 1ull << id;
	return late;
}

void program_add_set(const struct policy *p, uint64_t set[SP_STAGE_MAX])
{
	for (size_t i = 0; i <= p->n_rules; i++)
		for (int s = 0; s < SP_STAGE_MAX; s++)
			set[s] |= due_at(p, i ? &p->rules[i - 1] : NULL, (enum sp_stage)s);
}

/* --- what each block decides ------------------------------------------------------------------ */

static const struct option *first_spelling(const struct option *o)
{
	return &option_table[__builtin_ctzll(option_bits(o))];
}

/* Adds what a rule or the base of a policy says of the options in `of`. */
static int add_choices(struct program_block *to, const struct policy *p, const struct rule *r,
		       enum sp_stage s, uint64_t of)
{
	const struct settings *settings = settings_of(p, r);

	for (size_t i = 0; i < settings->n; i++) {
		const struct setting *setting = &settings->v[i];

		if (!(of & option_bits(setting->option)))
			continue;
		if (GROW(to->choices, to->n_choices) < 0)
			return -ENOMEM;
		to->choices[to->n_choices++] = (struct program_choice){
			.option = first_spelling(setting->option),
			.setting = is_due(r, setting, s) ? setting : NULL,
			.rule = r,
		};
	}
	return 0;
}

static int in_table_order(const void *a, const void *b)
{
	const struct program_choice *x = a, *y = b;

	return (x->option > y->option) - (x->option < y->option);
}

/*
 * Decides from the last rule to the base: a block that always holds beats all before it.  A rule
 * that neither decides something nor is counted is left out.  set: the options to decide.
 */
static int decide(struct program *p, enum sp_stage s, uint64_t set)
{
	struct program_stage *to = &p->stages[s];
	size_t bit = p->n_rules;
	int ret = 0;

	to->looked_at = to->before;
	for (size_t i = p->policy->n_rules + 1; i-- > 0 && ret == 0;) {
		const struct rule *r = i ? &p->policy->rules[i - 1] : NULL;
		uint64_t named = named_at(settings_of(p->policy, r), s) & set;

		if (bit && p->rules[bit - 1] == r)
			bit--;
		if (!stage_rule_may_hold(r, s))
			continue;
		if (!stage_rule_depends(r, s)) {
			ret = add_choices(&to->base, p->policy, r, s, named);
			set &= ~named;
		} else if (named || to->counted >> bit & 1) {
			if (GROW(to->rules, to->n_rules) < 0)
				return -ENOMEM;
			to->rules[to->n_rules] = (struct program_block){ .rule = r, .bit = bit };
			to->looked_at |= 1ull << bit;
			ret = add_choices(&to->rules[to->n_rules++], p->policy, r, s, named);
		}
	}
	if (to->base.n_choices)
		qsort(to->base.choices, to->base.n_choices, sizeof(*to->base.choices),
		      in_table_order);
	return ret;
}

/* --- counting --------------------------------------------------------------------------------- */

/* Returns the index of the first stage at which the block has something due; the passage's n:
 * none. */
static size_t first_due(const struct policy *p, const struct rule *r, const struct passage *passage)
{
	size_t i = 0;

	while (i < passage->n && !due_at(p, r, passage->stages[i]))
		i++;
	if (i == passage->n && passage->has_other && due_at(p, r, passage->other))
		i--;
	return i;
}

/* Decides which rules are counted where. */
static int count_rules(struct program *p, const struct passage *passage)
{
	size_t bit = 0;

	for (size_t i = 0; i < p->policy->n_rules; i++) {
		const struct rule *r = &p->policy->rules[i];
		size_t first = first_due(p->policy, r, passage);
		bool has_bit = bit < p->n_rules && p->rules[bit] == r;

		if (first < passage->n) {
			struct program_stage *stage = &p->stages[passage->stages[first]];

			if (stage_rule_depends(r, passage->stages[first]))
				stage->counted |= 1ull << bit;
			else if (GROW(stage->always, stage->n_always) < 0)
				return -ENOMEM;
			else
				stage->always[stage->n_always++] = r;
		}
		bit += has_bit;
	}
	return 0;
}

static int count(struct program *p, const struct passage *passage)
{
	size_t base = first_due(p->policy, NULL, passage);
	bool is_counted = false; /* for every connection */
	uint64_t before = 0;
	int ret = count_rules(p, passage);

	for (size_t i = 0; i < passage->n && ret == 0 && !is_counted; i++) {
		struct program_stage *stage = &p->stages[passage->stages[i]];

		is_counted = base == i || stage->n_always;
		if (is_counted)
			stage->counts = SP_COUNTS_ALWAYS;
		else if (stage->counted)
			stage->counts = SP_COUNTS_BY_RULE;
		stage->before = stage->counts ? before : 0;
		before |= stage->counted;
	}
	return ret;
}

/* --- the whole -------------------------------------------------------------------------------- */

int program_compile(const struct policy *p, const uint64_t set[SP_STAGE_MAX], bool decides_late,
		    struct program *ret)
{
	struct program program = { .policy = p, .decided_late = program_decided_late(p) };
	int r = 0;

	for (size_t i = 0; i < p->n_rules; i++) {
		if (!stage_rule_has_bit(&p->rules[i]))
			continue;
		assert(program.n_rules < SP_RULES_MAX);
		program.rules[program.n_rules++] = &p->rules[i];
	}
	for (size_t i = 0; i < ARRAY_SIZE(passages) && r == 0; i++)
		r = count(&program, &passages[i]);
	for (int s = 0; s < SP_STAGE_MAX && r == 0; s++)
		r = decide(&program, (enum sp_stage)s,
			   s != SP_STAGE_TCP_SYN || decides_late ? set[s] : 0);
	if (r < 0)
		program_clear(&program);
	else
		*ret = program;
	return r;
}

void program_clear(struct program *p)
{
	for (int s = 0; s < SP_STAGE_MAX; s++) {
		struct program_stage *stage = &p->stages[s];

		for (size_t i = 0; i < stage->n_rules; i++)
			free(stage->rules[i].choices);
		free(stage->rules);
		free(stage->base.choices);
		free(stage->always);
	}
	*p = (struct program){ 0 };
}

/* Encodes a reply.  TIMEOUT_INIT is answered in jiffies, whatever the kernel's HZ is. */
static void encode_reply(const struct option *option, struct sp_op *op)
{
	int value;

	if (option != &option_table[OPTION_TIMEOUT_INIT])
		return;
	memcpy(&value, op->value, sizeof(value));
	value = host_jiffies((int64_t)value * option->unit_usec);
	memcpy(op->value, &value, sizeof(value));
}

void program_encode_op(const struct program_choice *choice, struct sp_op *ret)
{
	const struct setting *setting = choice->setting;
	const struct option *option = setting->option;

	*ret = (struct sp_op){
		.level = (__u16)option->level,
		.optname = (__u16)option->optname,
		.option = (__u8)option_id(option),
		.optlen = (__u8)setting->value.size,
		.families = (__u8)option_families(option),
	};
	(void)sockopt_get(&setting->value, ret->value, setting->value.size);
	if (option->level == SP_LEVEL_REPLY)
		encode_reply(option, ret);
}
