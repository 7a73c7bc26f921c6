// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <assert.h>
#include <errno.h>
#include <net/if.h>

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
	{ { SP_STAGE_UNIX }, 1 },
	{ { SP_STAGE_LOCAL_SOCKET }, 1 },
	{ { SP_STAGE_TCP_SOCKET }, 1 },
	{ { SP_STAGE_UDP_SOCKET }, 1 },
	{ { SP_STAGE_OTHER_SOCKET }, 1 },
};

static const struct settings *settings_of(const struct policy *p, const struct rule *r)
{
	return r ? &r->options : &p->base;
}

/* Is an option that the block names with a value set at the stage? */
static bool is_due(const struct rule *r, const struct setting *setting, enum sp_stage s)
{
	return !setting->unset && !stage_rule_is_open(r, s) &&
	       stage_setting_due(r, setting->option, stage_table[s].direction, s);
}

/* Can the option be set at the stage at all? */
static bool is_of_stage(const struct option *o, enum sp_stage s)
{
	enum sp_stage as = s == SP_STAGE_TCP_SYN ? SP_STAGE_TCP_CONNECT : s;

	return stage_table[s].is_socket ? o->at_socket
					: o->stages[stage_table[s].direction] & BIT(as);
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

/* Adds the options that the policy sets at each stage. */
static void add_set(const struct policy *p, uint64_t set[SP_STAGE_MAX])
{
	for (size_t i = 0; i <= p->n_rules; i++)
		for (int s = 0; s < SP_STAGE_MAX; s++)
			set[s] |= due_at(p, i ? &p->rules[i - 1] : NULL, (enum sp_stage)s);
}

/* Returns the options that a rule leaves to the stages after socket(2), or for which a sender's
 * first datagram may say something else: an IPv6 socket may send to IPv4. */
static uint64_t left_open(const struct policy *p)
{
	uint64_t open = 0;

	for (size_t i = 0; i < p->n_rules; i++)
		if (stage_rule_may_hold(&p->rules[i], SP_STAGE_UDP_SOCKET) &&
		    (stage_rule_is_open(&p->rules[i], SP_STAGE_UDP_SOCKET) ||
		     stage_rule_depends(&p->rules[i], SP_STAGE_UDP_SOCKET)))
			open |= named_at(&p->rules[i].options, SP_STAGE_UDP_SOCKET);
	return open;
}

static bool names_device(const struct policy *p)
{
	for (size_t i = 0; i <= p->n_rules; i++) {
		const struct settings *settings = settings_of(p, i ? &p->rules[i - 1] : NULL);

		for (size_t k = 0; k < settings->n; k++)
			if (settings->v[k].option == &option_table[OPTION_SO_BINDTODEVICE])
				return true;
	}
	return false;
}

/*
 * Sends do without what socket(2) has given to every socket, unless they set IP_TOS, which
 * overwrites SO_PRIORITY.  A device's name is given at socket(2) in one network namespace only.
 */
static uint64_t not_at_send(const struct config *c, const uint64_t set[SP_STAGE_MAX])
{
	uint64_t given = set[SP_STAGE_UDP_SOCKET];

	for (size_t i = 0; i < c->n_policies; i++) {
		given &= ~left_open(&c->policies[i]);
		if (names_device(&c->policies[i]))
			given &= ~option_bits(&option_table[OPTION_SO_BINDTODEVICE]);
	}
	for (size_t id = 0; id < OPTION_MAX; id++)
		if (option_table[id].after_tos && set[SP_STAGE_UDP_SEND] >> OPTION_IP_TOS & 1)
			given &= ~(1ull << id);
	return given;
}

bool program_survey(const struct config *c, uint64_t set[SP_STAGE_MAX])
{
	bool decides_late = false;

	memset(set, 0, SP_STAGE_MAX * sizeof(*set));
	for (size_t i = 0; i < c->n_policies; i++) {
		add_set(&c->policies[i], set);
		decides_late |= program_decided_late(&c->policies[i]) != 0;
	}
	set[SP_STAGE_UDP_SEND] &= ~not_at_send(c, set);
	return decides_late;
}

/* --- what each block decides ------------------------------------------------------------------ */

static const struct option *first_spelling(const struct option *o)
{
	return &option_table[__builtin_ctzll(option_bits(o))];
}

/* Adds what a rule or the base of a policy says of the options in `of`; without may_hold it leaves
 * them alone. */
static int add_choices(struct program_block *to, const struct policy *p, const struct rule *r,
		       enum sp_stage s, bool may_hold, uint64_t of)
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
			.setting = may_hold && is_due(r, setting, s) ? setting : NULL,
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
 * A device that bind(2) brings cannot be taken back by a rule for connect(2), as the application
 * may lack CAP_NET_RAW.  So where such a rule names one, bind(2) leaves the device alone.
 *
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
		bool may_hold = stage_rule_may_hold(r, s);

		if (bit && p->rules[bit - 1] == r)
			bit--;
		if (!may_hold) {
			if (s != SP_STAGE_TCP_BIND || !stage_rule_may_hold(r, SP_STAGE_TCP_SYN))
				continue;
			named &= option_bits(&option_table[OPTION_SO_BINDTODEVICE]);
		}
		if (!may_hold || !stage_rule_depends(r, s)) {
			ret = add_choices(&to->base, p->policy, r, s, may_hold, named);
			set &= ~named;
		} else if (named || to->counted >> bit & 1) {
			if (GROW(to->rules, to->n_rules) < 0)
				return -ENOMEM;
			to->rules[to->n_rules] = (struct program_block){ .rule = r, .bit = bit };
			to->looked_at |= 1ull << bit;
			ret = add_choices(&to->rules[to->n_rules++], p->policy, r, s, true, named);
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
static size_t first_due(const struct policy *p, const struct rule *r, const uint64_t *set,
			const struct passage *passage)
{
	size_t i = 0;

	while (i < passage->n && !(due_at(p, r, passage->stages[i]) & set[passage->stages[i]]))
		i++;
	if (i == passage->n && passage->has_other && due_at(p, r, passage->other))
		i--;
	return i;
}

/* Decides which rules are counted where. */
static int count_rules(struct program *p, const uint64_t *set, const struct passage *passage)
{
	size_t bit = 0;

	for (size_t i = 0; i < p->policy->n_rules; i++) {
		const struct rule *r = &p->policy->rules[i];
		size_t first = first_due(p->policy, r, set, passage);
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

static int count(struct program *p, const uint64_t *set, const struct passage *passage)
{
	size_t base = first_due(p->policy, NULL, set, passage);
	bool is_counted = false; /* for every connection */
	uint64_t before = 0;
	int ret = count_rules(p, set, passage);

	for (size_t i = 0; i < passage->n && ret == 0 && !is_counted; i++) {
		struct program_stage *stage = &p->stages[passage->stages[i]];

		is_counted = base == i || stage->n_always;
		if (is_counted)
			stage->counts = SP_COUNTS_ALWAYS;
		else if (stage->counted)
			stage->counts = SP_COUNTS_BY_RULE;
		stage->before = stage->counts ? before : 0;
		before |= stage->counted;
		if (stage_table[passage->stages[i]].is_socket)
			stage->n_always = 0; /* rules are not counted there, see bpf/apply.h */
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
		r = count(&program, set, &passages[i]);
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

/*
 * A device is given by its index at socket(2), and later only to a socket that has none, as the
 * kernel lets no process without CAP_NET_RAW have another one.  "" and 0, which unbind, are given
 * in any case.  An index of 0 at socket(2): there is no such device.
 */
static void encode_device(const struct setting *setting, bool is_socket, struct sp_op *op)
{
	if (!is_socket && op->bounds.value) /* the number, or the beginning of the name */
		op->families = SP_FAMILY_UNBOUND;
	if (is_socket && setting->option->type == OPTION_STRING)
		op->index = if_nametoindex((const char *)op->value);
	else if (is_socket)
		memcpy(&op->index, op->value, sizeof(op->index));
}

/* Returns rt_tos2priority(): the table ip_tos2prio of net/ipv4/route.c. */
static uint32_t priority_of_tos(uint8_t tos)
{
	static const uint8_t by_tos[] = { 0, 2, 6, 4 };

	return by_tos[tos >> 3 & 3];
}

uint8_t program_flags(const struct setting *setting)
{
	static const uint8_t by_application[APPLICATION_MAX] = {
		[APPLICATION_HOLD] = SP_OP_HOLD,
		[APPLICATION_DENY] = SP_OP_DENY,
		[APPLICATION_RESPECT] = SP_OP_RESPECT,
	};
	uint8_t flags = by_application[setting->application];

	flags |= setting->range.is_given ? SP_OP_RANGE : 0;
	flags |= setting->is_range_alone ? SP_OP_NO_VALUE : 0;
	flags |= setting->refuse ? SP_OP_REFUSE : 0;
	flags |= setting->apply ? SP_OP_APPLY : 0;
	if (flags & (SP_OP_RESPECT | SP_OP_RANGE | SP_OP_REFUSE))
		flags |= SP_OP_CARE;
	return flags;
}

static uint32_t reads_of(const struct option *o)
{
	switch (o->result) {
	case RESULT_DOUBLED_RMEM:
	case RESULT_DOUBLED_WMEM:
		return SP_READS_DOUBLED;
	case RESULT_ECN_MASKED:
		return SP_READS_WITHOUT_ECN;
	case RESULT_AS_IS:
		return o->hidden || o->min < 0 ? SP_READS_OTHERWISE : 0; /* -1: the host's */
	default:
		return SP_READS_OTHERWISE;
	}
}

/* Returns what a socket has on which nobody set the option; 0 where that cannot be told. */
static uint32_t fresh_of(const struct option *o)
{
	int64_t fresh = o->fresh.kind == FRESH_SYSCTL ? host_sysctl_number(o->fresh.sysctl)
						      : o->fresh.number;

	return fresh < 0 ? 0 : (uint32_t)fresh;
}

/* What the hooks must know where they do not set the value blindly. */
static void encode_bounds(const struct setting *setting, struct sp_op *op)
{
	const struct option *o = setting->option;
	const struct value_range *range = &setting->range;
	bool is_text = o->type == OPTION_STRING;

	op->reads = reads_of(o);
	op->reads |= is_text ? SP_READS_TEXT : 0;
	op->reads |= o->type == OPTION_BOOL ? SP_READS_BOOL : 0;
	op->reads |= o->zero_is_none ? SP_ZERO_IS_NONE : 0;
	op->reads |= o->route ? SP_FRESH_IS_UNSET : 0;
	if (is_text)
		return;
	if (range->is_given) {
		op->bounds.min = range->min;
		op->bounds.max = range->max;
	} else { /* what the kernel takes: of sizes all */
		bool is_size = o->type == OPTION_SIZE;

		op->bounds.min = (uint32_t)(is_size ? INT32_MIN : o->min);
		op->bounds.max = (uint32_t)(is_size ? INT32_MAX : o->max);
	}
	op->bounds.fresh = fresh_of(o);
}

static void encode_op(const struct program_choice *choice, enum sp_stage s, struct sp_op *ret)
{
	const struct setting *setting = choice->setting;
	const struct option *option = setting->option;

	*ret = (struct sp_op){
		.level = (__u16)option->level,
		.optname = (__u16)option->optname,
		.option = (__u8)option_id(option),
		.optlen = (__u8)setting->value.size,
		.families = (__u8)option_families(option),
		.flags = program_flags(setting),
	};
	(void)sockopt_get(&setting->value, ret->value, setting->value.size);
	if (option->level == SP_LEVEL_REPLY)
		encode_reply(option, ret);
	if (options_rival(option, &option_table[OPTION_SO_BINDTODEVICE]))
		encode_device(setting, stage_table[s].is_socket, ret);
	if (ret->flags & (SP_OP_RANGE | SP_OP_RESPECT) && !stage_table[s].is_socket)
		encode_bounds(setting, ret);
}

size_t program_encode_ops(const struct program_choice *choice, enum sp_stage s, struct sp_op *ret)
{
	uint32_t priority;

	encode_op(choice, s, &ret[0]);
	if (choice->setting->option != &option_table[OPTION_IP_TOS] ||
	    s != SP_STAGE_TCP_PASSIVE_EST)
		return 1;
	ret[1] = ret[0];
	ret[1].level = SOL_SOCKET;
	ret[1].optname = SO_PRIORITY;
	ret[1].optlen = sizeof(priority);
	priority = priority_of_tos(ret[0].value[0]);
	memset(ret[1].value, 0, sizeof(ret[1].value));
	memcpy(ret[1].value, &priority, sizeof(priority));
	return 2;
}
