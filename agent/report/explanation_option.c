// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Decides who wins an option, and what becomes of it. */
#include <errno.h>

#include "compile/program.h"
#include "policy/stage.h"
#include "report/explanation.h"

#define UNIX BIT(SP_FAMILY_INDEX_UNIX)

/* The facts from which an option is explained. */
struct inquiry {
	const struct effective *effective;
	const struct host *host;
	const struct asked *asked;
	enum direction direction;
};

static char *format_setting(const struct setting *s)
{
	return s->unset ? strdup("unset") : value_format(s->option, &s->value);
}

static void choice_clear(struct explained_choice *c)
{
	free(c->value);
	free(c->result.text);
	free(c->when);
}

void explained_option_clear(struct explained_option *o)
{
	for (size_t i = 0; i < o->n_rules; i++)
		choice_clear(&o->rules[i]);
	for (size_t i = 0; i < o->n_losers; i++)
		free(o->losers[i].value);
	choice_clear(&o->winner);
	free(o->rules);
	free(o->losers);
	*o = (struct explained_option){ 0 };
}

/* May the block hold where an option that is due at stage `s` is decided? */
static bool may_decide_at(const struct block *b, enum sp_stage s)
{
	return stage_rule_may_hold(b->rule, s) ||
	       (s == SP_STAGE_TCP_CONNECT && stage_rule_may_hold(b->rule, SP_STAGE_TCP_SYN));
}

/* Does the block have a say for some of the sockets in question in this direction? */
static bool may_hold(const struct inquiry *q, const struct block *b)
{
	if (q->asked->connection)
		return b->rule ? asked_fails(q->asked, &b->rule->when) == WHEN_KEY_MAX
			       : q->asked->families != UNIX;
	for (int s = 0; s < SP_STAGE_MAX; s++)
		if (stage_table[s].direction == q->direction &&
		    stage_rule_may_hold(b->rule, (enum sp_stage)s))
			return true;
	return false;
}

/* Is the option decided at SP_STAGE_TCP_SYN, because a rule of some policy asks for `local`? */
static bool is_decided_late(const struct effective *e, const struct option *option)
{
	for (size_t i = 0; i < e->n_policies; i++)
		if (program_decided_late(e->policies[i]) >> option_id(option) & 1)
			return true;
	return false;
}

static unsigned stages_of(const struct inquiry *q, const struct block *b,
			  const struct setting *setting, bool only_unix)
{
	unsigned due = stage_settings(b->rule, setting->option, q->direction), stages = 0;

	for (int s = 0; s < SP_STAGE_MAX; s++) {
		if (!(due & BIT(s)) || !may_decide_at(b, (enum sp_stage)s) ||
		    !asked_passes(q->asked, (enum sp_stage)s) ||
		    (only_unix && stage_table[s].transport != TRANSPORT_UNIX))
			continue;
		stages |= BIT(s);
	}
	if (stages & BIT(SP_STAGE_TCP_CONNECT) && is_decided_late(q->effective, setting->option)) {
		stages &= ~BIT(SP_STAGE_TCP_CONNECT);
		stages |= BIT(SP_STAGE_TCP_SYN);
	}
	if (q->asked->connection && !(option_families(setting->option) & asked_speaks(q->asked)))
		stages = 0;
	return stages;
}

static const char *why_nowhere(const struct inquiry *q, const struct setting *setting)
{
	const struct option *o = setting->option;

	if (!o->stages[q->direction])
		return "no hook makes it effective in this direction";
	if (q->asked->connection && !(option_families(o) & asked_speaks(q->asked)))
		return "it is an option of the other IP family";
	if (o->stages[q->direction] & BIT(SP_STAGE_TCP_LISTEN) &&
	    asked_passes(q->asked, SP_STAGE_TCP_LISTEN))
		return "a listener gets it only from a rule that says 'direction: listen'";
	return "no hook makes it effective on such a socket";
}

/* Fills in a choice.  only_unix: it counts for AF_UNIX sockets only. */
static int fill_choice(const struct inquiry *q, const struct block *b,
		       const struct setting *setting, bool only_unix, struct explained_choice *ret)
{
	*ret = (struct explained_choice){
		.block = b,
		.setting = setting,
		.value = format_setting(setting),
	};
	if (!ret->value)
		return -ENOMEM;
	if (setting->unset)
		return 0;
	ret->stages = stages_of(q, b, setting, only_unix);
	if (!ret->stages)
		ret->why_nowhere = why_nowhere(q, setting);
	return value_result(setting->option, &setting->value, q->host, &ret->result);
}

/* Adds a rule that wins where it holds. */
static int add_rule(const struct inquiry *q, const struct block *b, const struct setting *setting,
		    bool only_unix, struct explained_option *o)
{
	struct explained_choice *choice;
	struct when when = b->rule->when;
	int r;

	if (GROW(o->rules, o->n_rules) < 0)
		return -ENOMEM;
	choice = &o->rules[o->n_rules++];
	r = fill_choice(q, b, setting, only_unix, choice);
	if (r < 0)
		return r;
	if (only_unix)
		when.families = UNIX;
	choice->when = when_text(&when);
	return choice->when ? 0 : -ENOMEM;
}

static int add_loser(const struct block *b, const struct setting *setting,
		     struct explained_option *o)
{
	struct explained_loser *loser;

	if (GROW(o->losers, o->n_losers) < 0)
		return -ENOMEM;
	loser = &o->losers[o->n_losers++];
	*loser = (struct explained_loser){
		.block = b,
		.setting = setting,
		.value = format_setting(setting),
	};
	return loser->value ? 0 : -ENOMEM;
}

static unsigned families_of(const struct block *b)
{
	if (b->rule)
		return b->rule->when.families;
	return BIT(SP_FAMILY_INDEX_IPV4) | BIT(SP_FAMILY_INDEX_IPV6);
}

/* Adds a block.  The strongest come first. */
static int add_block(const struct inquiry *q, const struct block *b, const struct setting *setting,
		     struct explained_option *o)
{
	const struct block *winner = o->winner.block;
	unsigned left; /* families for which the block may still win */
	int r;

	if (q->asked->connection)
		return winner ? add_loser(b, setting, o)
			      : fill_choice(q, b, setting, false, &o->winner);
	if (!winner) {
		if (b->rule && !when_is_empty(&b->rule->when))
			return add_rule(q, b, setting, false, o);
		return fill_choice(q, b, setting, false, &o->winner);
	}
	/* A winner beats a block for AF_UNIX sockets only if it is for them as well. */
	left = families_of(b) & ~families_of(winner);
	r = left ? add_rule(q, b, setting, true, o) : 0;
	return r == 0 && families_of(b) != left ? add_loser(b, setting, o) : r;
}

int explanation_add_option(struct explanation *e, const struct host *host, enum direction d,
			   const struct option *option)
{
	const struct effective *effective = &e->effective;
	const struct inquiry q = { effective, host, &e->asked, d };
	struct explained_option o = { .direction = d, .option = option };
	int r = 0;

	for (size_t i = effective->n_blocks; i-- > 0 && r == 0;) {
		const struct block *b = &effective->blocks[i];
		const struct setting *setting = settings_find_rival(b->options, option);

		if (setting && may_hold(&q, b))
			r = add_block(&q, b, setting, &o);
	}
	if (r == 0 && (o.winner.block || o.n_rules)) {
		const struct explained_choice *first = o.winner.block ? &o.winner : &o.rules[0];

		o.option = first->setting->option;
		r = GROW(e->options, e->n_options);
		if (r == 0) {
			e->options[e->n_options++] = o;
			return 0;
		}
	}
	explained_option_clear(&o);
	return r;
}
