// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <errno.h>

#include "option/value.h"
#include "report/contest.h"

/* --- conditions of rules ---------------------------------------------------------------------- */

/* For each rule of a policy a digest of its condition: of the keys at which the rule begins or ends
 * to hold, in ascending order.  0: it holds everywhere. */
struct rule_conditions {
	uint64_t digest[SP_PROPERTY_MAX][SP_RULES_MAX];
};

/* A pass over the ranges of a property. */
struct sweep {
	const struct generation_view *view;
	const struct sp_test *test;
	uint64_t *digest; /* of each of SP_RULES_MAX rules */
	uint64_t holding; /* rules that held in the range before */
	uint64_t domain;  /* tells IPv4, IPv6 and ports apart */
};

static uint64_t mixed(uint64_t digest, uint64_t with)
{
	digest = (digest ^ with) * 0x9e3779b97f4a7c15u;
	return digest ^ digest >> 29;
}

/* Notes that these rules hold from this key on. */
static void note_range(struct sweep *s, uint64_t high, uint64_t low, uint64_t holding)
{
	for (uint64_t flips = holding ^ s->holding; flips; flips &= flips - 1) {
		uint64_t *digest = &s->digest[__builtin_ctzll(flips)];

		*digest = mixed(mixed(mixed(*digest, s->domain), high), low);
	}
	s->holding = holding;
}

static int sweep_class(struct sweep *s, uint64_t high, uint64_t low, uint32_t class)
{
	const uint64_t *vector =
		generation_view_at(s->view, MAP_ID_vectors, s->test->first_vector + class);

	if (!vector || class >= s->test->n_vectors)
		return -EPROTO;
	note_range(s, high, low, *vector);
	return 0;
}

/* The keys of a tree: all of a property, or the lower halves of the IPv6 addresses with this upper
 * half. */
struct keys {
	bool are_lower;
	uint64_t upper;
};

static int sweep_tree(struct sweep *s, struct keys keys, uint32_t answer, uint64_t first,
		      uint64_t last);

static int sweep_leaf_range(struct sweep *s, struct keys keys, uint32_t answer, uint64_t first)
{
	if (keys.are_lower)
		return sweep_class(s, keys.upper, first, answer);
	if (answer <= SP_ANSWER_INDEX)
		return sweep_class(s, first, 0, answer);
	return sweep_tree(s, (struct keys){ true, first }, answer, 0, UINT64_MAX);
}

static int sweep_node(struct sweep *s, struct keys keys, uint32_t levels, uint32_t index,
		      uint64_t first, uint64_t last)
{
	const struct sp_range_node *node = generation_view_at(s->view, MAP_ID_range_nodes, index);
	const uint32_t n = levels > 1 ? SP_NODE_CHILDREN : SP_LEAF_RANGES;
	uint64_t end = 0;
	int r = node ? 0 : -EPROTO;

	for (uint32_t i = 0; i < n && r == 0 && first <= last; i++) {
		const __u64 *lasts = levels > 1 ? node->inner.last : node->leaf.last;

		end = i < n - 1 && lasts[i] < last ? lasts[i] : last;
		if (end < first) /* it goes back */
			return -EPROTO;
		r = levels > 1 ? sweep_node(s, keys, levels - 1, node->inner.first_child + i, first,
					    end)
			       : sweep_leaf_range(s, keys, node->leaf.answer[i], first);
		if (end == last)
			return r;
		first = end + 1;
	}
	return r;
}

static int sweep_tree(struct sweep *s, struct keys keys, uint32_t answer, uint64_t first,
		      uint64_t last)
{
	const uint32_t levels = answer >> SP_ANSWER_LEVELS_SHIFT;

	if (levels > SP_RANGE_LEVELS_MAX)
		return -EPROTO;
	if (!levels)
		return sweep_leaf_range(s, keys, answer, first);
	return sweep_node(s, keys, levels, answer & SP_ANSWER_INDEX, first, last);
}

/* Goes over all keys of a domain. */
static int sweep_domain(struct sweep *s, uint64_t domain, uint32_t answer, uint64_t last)
{
	s->domain = domain;
	return sweep_tree(s, (struct keys){ 0 }, answer, 0, last);
}

static int sweep_property(const struct generation_view *v, const struct sp_policy *p,
			  enum sp_property property, struct rule_conditions *to)
{
	const bool ports =
		property == SP_PROPERTY_REMOTE_PORT || property == SP_PROPERTY_LOCAL_PORT;
	struct sweep s = { v, &p->tests[property], to->digest[property], .holding = UINT64_MAX };
	int r;

	if (!s.test->n_vectors) /* no rule asks for it */
		return 0;
	s.domain = 1;
	r = sweep_class(&s, 0, 0, 0); /* where there is no such property */
	if (r == 0)
		r = sweep_domain(&s, 2, s.test->tree4, ports ? UINT16_MAX : UINT32_MAX);
	if (r == 0 && !ports)
		r = sweep_domain(&s, 3, s.test->tree6, UINT64_MAX);
	return r;
}

static int read_conditions(struct generation_view *v, uint32_t number,
			   const struct rule_conditions **ret)
{
	const struct sp_policy *p = generation_view_at(v, MAP_ID_policies, number);
	struct rule_conditions *c = v->conditions[number];
	int r = 0;

	*ret = c;
	if (c)
		return 0;
	c = calloc(1, sizeof(*c));
	if (!c)
		return -ENOMEM;
	for (enum sp_property i = 0; i < SP_PROPERTY_MAX && r == 0; i++)
		r = sweep_property(v, p, i, c);
	if (r < 0) {
		free(c);
		return r;
	}
	*ret = v->conditions[number] = c;
	return 0;
}

/* Returns a digest of what the hook at this stage checks before the rule with this bit holds. */
static uint64_t condition_at(const struct sp_policy *p, const struct sp_stage_of *stage,
			     const struct rule_conditions *c, int bit)
{
	uint64_t digest = 0;

	for (int i = 0; i < SP_PROPERTY_MAX; i++)
		digest = mixed(digest, (stage->properties & BIT(i)) ? c->digest[i][bit] : 0);
	for (int i = 0; i < SP_FAMILY_INDEX_MAX; i++)
		digest = mixed(digest, p->families[i] >> bit & 1);
	return digest;
}

/* --- contests --------------------------------------------------------------------------------- */

static struct contest *contest_of(struct contests *c, enum option_id id)
{
	for (enum option_id other = 0; other < id; other++)
		if (options_rival(&option_table[other], &option_table[id]))
			return &c->v[other];
	return &c->v[id];
}

/* Returns the options that, by some policy, are decided at another stage than this. */
static uint64_t other_stages(const struct generation_view *v, const struct glob_list *list,
			     enum sp_stage s)
{
	uint64_t late = 0;

	if (s != SP_STAGE_TCP_CONNECT && s != SP_STAGE_TCP_SYN)
		return 0;
	for (uint32_t i = 0; i < list->n; i++) {
		const struct sp_policy *p = generation_view_at(v, MAP_ID_policies, list->number[i]);

		late |= p ? p->decided_late : 0;
	}
	return s == SP_STAGE_TCP_CONNECT ? late : ~late;
}

/* A base or a rule at a stage. */
struct read_block {
	uint64_t options;
	uint32_t first_cell, n_ops;
	const struct sp_counter *rule; /* NULL: the base */
	uint64_t condition;
};

/* Finds the block's operation for the option in either spelling; NULL: there is none.  Returns 0 or
 * -EPROTO. */
static int find_op(const struct generation_view *v, const struct read_block *b,
		   const struct option *option, const struct sp_op **ret)
{
	*ret = NULL;
	if (b->n_ops > SP_BLOCK_OPS_MAX)
		return -EPROTO;
	for (uint32_t i = 0; i < b->n_ops; i++) {
		const struct sp_op_cell *cell =
			generation_view_at(v, MAP_ID_ops, b->first_cell + i / SP_OPS_CELL);
		const struct sp_op *op = cell ? &cell->op[i % SP_OPS_CELL] : NULL;

		if (!op || op->option >= OPTION_MAX || !op->optlen || op->optlen > SP_VALUE_SIZE)
			return -EPROTO;
		/* IP_TOS brings a second one, for SO_PRIORITY: see program_encode_ops() */
		if (options_rival(&option_table[op->option], option) &&
		    op->optname == option_table[op->option].optname)
			*ret = op;
	}
	return 0;
}

static int enter(const struct generation_view *v, const struct read_block *b, enum option_id id,
		 struct contest *contest)
{
	struct contestant c = { .option = &option_table[id], .condition = b->condition };
	int r = find_op(v, b, c.option, &c.op);

	if (r < 0)
		return r;
	if (c.op)
		c.option = &option_table[c.op->option];
	c.who = b->rule ? b->rule : c.op ? counters_at(v->counters, c.op->counter) : NULL;
	c.present = b->rule || c.op;
	if (c.op && !c.who)
		return -EPROTO;
	if (!b->rule) { /* the base beats all that come before it */
		contest->base = c;
		contest->n_rules = 0;
		return 0;
	}
	if (!c.op && !contest->base.present && !contest->n_rules) /* there is nothing to beat */
		return 0;
	return APPEND(contest->rules, contest->n_rules, c);
}

static int enter_block(const struct generation_view *v, const struct read_block *b, uint64_t but,
		       struct contests *to)
{
	int r = 0;

	for (enum option_id id = 0; id < OPTION_MAX && r == 0; id++) {
		struct contest *contest = contest_of(to, id);
		bool is_twice = contest != &to->v[id] && b->options >> (contest - to->v) & 1;

		if (b->options >> id & 1 && !(but >> id & 1) && !is_twice)
			r = enter(v, b, id, contest);
	}
	return r;
}

static int enter_rules(struct generation_view *v, uint32_t number, enum sp_stage s, uint64_t but,
		       struct contests *to)
{
	const struct sp_policy *p = generation_view_at(v, MAP_ID_policies, number);
	const struct sp_stage_of *stage = &p->stage[s];
	const struct rule_conditions *conditions;
	uint32_t index = stage->first_block;
	int r = stage->acting ? read_conditions(v, number, &conditions) : 0;

	for (uint64_t left = stage->acting; left && r == 0; left &= left - 1, index++) {
		const struct sp_block *block = generation_view_at(v, MAP_ID_blocks, index);
		const int bit = __builtin_ctzll(left);
		struct read_block b;

		if (!block)
			return -EPROTO;
		b = (struct read_block){ block->options, block->first_cell, block->n_ops,
					 counters_at(v->counters, block->counter),
					 condition_at(p, stage, conditions, bit) };
		if (!b.rule)
			return -EPROTO;
		if (stage->rules >> bit & 1) /* otherwise the hook does not look at it */
			r = enter_block(v, &b, but, to);
	}
	return r;
}

int contests_read(struct generation_view *v, const struct glob_list *list, enum sp_stage s,
		  struct contests *ret)
{
	const uint64_t but = other_stages(v, list, s);
	struct contests c = { 0 };
	int r = 0;

	for (uint32_t i = 0; i < list->n && r == 0; i++) {
		const struct sp_policy *p = generation_view_at(v, MAP_ID_policies, list->number[i]);
		const struct sp_stage_of *stage = p ? &p->stage[s] : NULL;
		struct read_block base;

		if (!p || !list->number[i]) {
			r = -EPROTO;
			break;
		}
		base = (struct read_block){ stage->options, stage->first_cell, stage->n_ops };
		r = enter_block(v, &base, but, &c);
		if (r == 0)
			r = enter_rules(v, list->number[i], s, but, &c);
	}
	if (r < 0)
		contests_clear(&c);
	else
		*ret = c;
	return r;
}

void contests_clear(struct contests *c)
{
	for (size_t i = 0; i < OPTION_MAX; i++)
		free(c->v[i].rules);
	*c = (struct contests){ 0 };
}

/* --- what an operation says ------------------------------------------------------------------- */

static enum application application_of(const struct sp_op *op)
{
	if (op->flags & SP_OP_DENY)
		return APPLICATION_DENY;
	if (op->flags & SP_OP_HOLD)
		return APPLICATION_HOLD;
	return op->flags & SP_OP_RESPECT ? APPLICATION_RESPECT : APPLICATION_OVERRIDE;
}

static struct value_range range_of(const struct sp_op *op)
{
	if (!(op->flags & SP_OP_RANGE))
		return (struct value_range){ 0 };
	return (struct value_range){ true, op->bounds.min, op->bounds.max };
}

/* Returns the value as text, owned; NULL: memory is out. */
static char *value_text(const struct contestant *c)
{
	const struct option *o = c->option;
	struct sockopt value = { .level = o->level, .name = o->optname };
	char *text = NULL;
	int jiffies;

	if (!c->op)
		return strdup("unset");
	if (o->result == RESULT_TICKS) {
		memcpy(&jiffies, c->op->value, sizeof(jiffies));
		return text_format("%d jiffies", jiffies);
	}
	if (sockopt_set(&value, c->op->value, c->op->optlen) < 0)
		return NULL;
	text = value_format(o, &value);
	sockopt_destroy(&value);
	return text;
}

json_t *contestant_add(json_t *to, const struct contestant *c)
{
	const bool has_value = !c->op || !(c->op->flags & SP_OP_NO_VALUE);
	_cleanup_free_ char *value = has_value ? value_text(c) : NULL;

	to = document_set(to, "value",
			  !has_value ? json_null()
			  : value    ? document_string(value)
				     : NULL);
	return document_add_word(to, c->option, !c->op,
				 c->op ? application_of(c->op) : APPLICATION_OVERRIDE,
				 c->op ? range_of(c->op) : (struct value_range){ 0 });
}

bool contestants_say_same(const struct contestant *a, const struct contestant *b)
{
	struct value_range x, y;

	if (!a->op || !b->op)
		return a->op == b->op;
	x = range_of(a->op);
	y = range_of(b->op);
	return a->option == b->option && a->op->optlen == b->op->optlen &&
	       !((a->op->flags ^ b->op->flags) & (SP_OP_AFTERWARDS | SP_OP_NO_VALUE)) &&
	       memcmp(a->op->value, b->op->value, a->op->optlen) == 0 && x.is_given == y.is_given &&
	       x.min == y.min && x.max == y.max;
}
