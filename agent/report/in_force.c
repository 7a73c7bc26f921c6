// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <errno.h>

#include "compile/compile.h"
#include "report/in_force.h"
#include "option/value.h"

#define READ_TRIES 8 /* reloads come from people: two during one reading are rare */

static void side_clear(struct in_force_side *s)
{
	free(s->value);
	free(s->policy);
	free(s->rule);
}

void in_force_clear(struct in_force *f)
{
	for (size_t i = 0; i < f->n; i++) {
		side_clear(&f->v[i].kernel);
		side_clear(&f->v[i].files);
	}
	free(f->v);
	free(f->why);
	*f = (struct in_force){ 0 };
}

int in_force_unknown(const char *why, struct in_force *ret)
{
	char *copy = strdup(why);

	if (!copy)
		return -ENOMEM;
	*ret = (struct in_force){ .why = copy };
	return 0;
}

/* An operation, and in whose name it is set. */
struct named_op {
	bool present;
	struct sp_op op;
	struct sp_source source; /* empty where it sets nothing */
};

/* One option at one stage. */
struct contest {
	struct named_op base;	/* wins where none of the rules holds; not present: nothing does */
	struct named_op *rules; /* weakest first */
	size_t n_rules;
};

/* All options of a stage, by enum option_id: of two spellings the first. */
struct contests {
	struct contest v[OPTION_MAX];
};

static void contests_clear(struct contests *c)
{
	for (size_t i = 0; i < OPTION_MAX; i++)
		free(c->v[i].rules);
	*c = (struct contests){ 0 };
}

static struct contest *contest_of(struct contests *c, size_t id)
{
	for (size_t other = 0; other < id; other++)
		if (options_rival(&option_table[other], &option_table[id]))
			return &c->v[other];
	return &c->v[id];
}

/* In the form in which the kernel has it. */
static int format_op(const struct sp_op *op, char **ret)
{
	const struct option *o = &option_table[op->option];
	struct sockopt value;
	char *text = NULL;
	int jiffies, r;

	if (!op->optlen)
		text = strdup("unset");
	if (op->optlen && o->result == RESULT_TICKS) {
		memcpy(&jiffies, op->value, sizeof(jiffies));
		if (asprintf(&text, "%d jiffies", jiffies) < 0)
			text = NULL;
	} else if (op->optlen) {
		r = sockopt_init(&value, o->level, o->optname, 0);
		if (r == 0)
			r = sockopt_set(&value, op->value, op->optlen);
		if (r < 0)
			return r;
		text = value_format(o, &value);
		sockopt_destroy(&value);
	}
	if (!text)
		return -ENOMEM;
	*ret = text;
	return 0;
}

static int fill_side(const struct named_op *from, struct in_force_side *to)
{
	int r;

	if (!from->present)
		return 0;
	r = format_op(&from->op, &to->value);
	if (r < 0 || !from->source.policy[0])
		return r;
	to->policy = strdup(from->source.policy);
	to->rule = from->source.rule[0] ? strdup(from->source.rule) : NULL;
	return to->policy && (to->rule || !from->source.rule[0]) ? 0 : -ENOMEM;
}

static bool same_source(const struct named_op *a, const struct named_op *b)
{
	return streq(a->source.policy, b->source.policy) && streq(a->source.rule, b->source.rule);
}

static bool same_value(const struct named_op *a, const struct named_op *b)
{
	return a->op.option == b->op.option && a->op.optlen == b->op.optlen &&
	       memcmp(a->op.value, b->op.value, sizeof(a->op.value)) == 0;
}

/* Without what a generation numbers as it comes: places in the maps and bits of rules. */
static struct sp_op without_numbers(const struct sp_op *op)
{
	struct sp_op bare = *op;

	bare.rules = 0;
	bare.source = 0;
	bare.first_alternative = 0;
	bare.block = 0;
	return bare;
}

static bool same_op(const struct named_op *a, const struct named_op *b)
{
	struct sp_op bare_a = without_numbers(&a->op), bare_b = without_numbers(&b->op);

	if (!a->present || !b->present)
		return a->present == b->present;
	return same_source(a, b) && memcmp(&bare_a, &bare_b, sizeof(bare_a)) == 0;
}

static int read_op(const struct pins *p, uint32_t index, struct named_op *ret)
{
	struct named_op op = { .present = true };
	int r = pins_op(p, index, &op.op);

	if (r < 0)
		return r;
	if (op.op.option >= OPTION_MAX || op.op.optlen > SP_VALUE_SIZE)
		return -EPROTO;
	if (op.op.optlen) {
		r = pins_source(p, op.op.source, &op.source);
		if (r < 0)
			return r;
	}
	op.source.policy[SP_NAME_SIZE - 1] = '\0';
	op.source.rule[SP_NAME_SIZE - 1] = '\0';
	*ret = op;
	return 0;
}

static int add_rule(struct contest *c, const struct named_op *rule)
{
	if (GROW(c->rules, c->n_rules) < 0)
		return -ENOMEM;
	c->rules[c->n_rules++] = *rule;
	return 0;
}

static int read_kernel_stage(const struct pins *p, const struct sp_stage_ops *stage,
			     struct contests *contests)
{
	for (uint32_t i = 0; i < stage->n_ops && i < SP_STAGE_OPS_MAX; i++) {
		struct named_op base, rule;
		struct contest *c;
		int r = read_op(p, stage->first_op + i, &base);

		if (r < 0)
			return r;
		c = contest_of(contests, base.op.option);
		base.present = base.op.optlen != 0;
		c->base = base;
		for (int n = 0; n < __builtin_popcountll(base.op.rules); n++) {
			r = read_op(p, base.op.first_alternative + (uint32_t)n, &rule);
			if (r == 0)
				r = add_rule(c, &rule);
			if (r < 0)
				return r;
		}
	}
	return 0;
}

/* As the agent would write it. */
static struct named_op encode(const struct option *option, const struct program_choice *choice)
{
	struct named_op op = { .present = true };

	op_encode(option, choice, &op.op);
	if (choice->setting) {
		snprintf(op.source.policy, SP_NAME_SIZE, "%s", choice->block->policy->name);
		if (choice->block->rule)
			snprintf(op.source.rule, SP_NAME_SIZE, "%s", choice->block->rule->name);
	}
	return op;
}

static int encode_files_stage(const struct program_stage *stage, struct contests *contests)
{
	for (size_t i = 0; i < stage->n_ops; i++) {
		const struct program_op *op = &stage->ops[i];
		struct contest *c = contest_of(contests, option_id(op->option));

		c->base = encode(op->option, &op->base);
		c->base.present = op->base.setting != NULL;
		for (size_t n = 0; n < op->n_rules; n++) {
			struct named_op rule = encode(op->option, &op->rules[n]);

			if (add_rule(c, &rule) < 0)
				return -ENOMEM;
		}
	}
	return 0;
}

static int add_difference(enum sp_stage s, const struct named_op *kernel,
			  const struct named_op *files, const char *also, struct in_force *f)
{
	const struct named_op *one = files->present ? files : kernel;
	struct in_force_difference *d;
	int r;

	if (GROW(f->v, f->n) < 0)
		return -ENOMEM;
	d = &f->v[f->n++];
	*d = (struct in_force_difference){
		.stage = s,
		.option = &option_table[one->op.option],
		.also = also,
	};
	r = fill_side(kernel, &d->kernel);
	return r < 0 ? r : fill_side(files, &d->files);
}

static int compare_ops(enum sp_stage s, const struct named_op *kernel, const struct named_op *files,
		       struct in_force *f)
{
	bool as_said;

	if (same_op(kernel, files))
		return 0;
	as_said = kernel->present && files->present && same_source(kernel, files) &&
		  same_value(kernel, files);
	return add_difference(s, kernel, files, as_said ? "condition" : NULL, f);
}

/* The kernel's rule of the same name that has no partner yet, or NULL. */
static struct named_op *find_partner(struct contest *kernel, const struct named_op *rule)
{
	for (size_t i = 0; i < kernel->n_rules; i++)
		if (kernel->rules[i].present && same_source(&kernel->rules[i], rule))
			return &kernel->rules[i];
	return NULL;
}

/* Rules by their names; what has found its partner is not present any more. */
static int compare_rules(enum sp_stage s, struct contest *kernel, const struct contest *files,
			 struct in_force *f)
{
	const struct named_op nothing = { 0 }, *last = NULL;
	int r = 0;

	for (size_t i = 0; i < files->n_rules && r == 0; i++) {
		const struct named_op *rule = &files->rules[i];
		struct named_op *partner = find_partner(kernel, rule);

		r = compare_ops(s, partner ? partner : &nothing, rule, f);
		if (r == 0 && partner && last && partner < last)
			r = add_difference(s, partner, rule, "order", f);
		if (partner) {
			partner->present = false;
			last = partner;
		}
	}
	for (size_t i = 0; i < kernel->n_rules && r == 0; i++)
		if (kernel->rules[i].present)
			r = add_difference(s, &kernel->rules[i], &nothing, NULL, f);
	return r;
}

static int compare_stage(const struct pins *p, enum sp_stage s, const struct sp_stage_ops *stage,
			 const struct program_stage *program, struct in_force *f)
{
	struct contests kernel = { 0 }, files = { 0 };
	int r = read_kernel_stage(p, stage, &kernel);

	if (r == 0)
		r = encode_files_stage(program, &files);
	for (size_t id = 0; id < OPTION_MAX && r == 0; id++) {
		r = compare_ops(s, &kernel.v[id].base, &files.v[id].base, f);
		if (r == 0)
			r = compare_rules(s, &kernel.v[id], &files.v[id], f);
	}
	contests_clear(&kernel);
	contests_clear(&files);
	return r;
}

static int compare_policy(const struct pins *p, uint32_t index, const struct program *files,
			  struct in_force *f)
{
	struct sp_policy policy = { 0 };
	int r = index ? pins_policy(p, index, &policy) : 0;

	for (int s = 0; s < SP_STAGE_MAX && r == 0; s++)
		r = compare_stage(p, (enum sp_stage)s, &policy.stage[s], &files->stages[s], f);
	return r;
}

static int compare_once(const struct pins *p, uint64_t cgroup_id, const struct program *files,
			struct in_force *f)
{
	uint32_t index;
	int r = pins_cgroup(p, cgroup_id, &index);

	return r < 0 ? r : compare_policy(p, index, files, f);
}

static int generation_of(const struct pins *p, uint64_t *ret)
{
	struct sp_state state;
	int r = pins_state(p, &state);

	if (r < 0)
		return r;
	*ret = state.generation;
	return 0;
}

/* -EAGAIN: a reload came between. */
static int compare_in_one_generation(const struct pins *p, uint64_t cgroup_id,
				     const struct program *files, struct in_force *ret)
{
	struct in_force f = { .known = true };
	uint64_t before, after;
	int compared, r;

	r = generation_of(p, &before);
	if (r < 0)
		return r;
	compared = compare_once(p, cgroup_id, files, &f);
	r = generation_of(p, &after);
	if (r == 0)
		r = before == after ? compared : -EAGAIN;
	if (r < 0) {
		in_force_clear(&f);
		return r;
	}
	*ret = f;
	return 0;
}

int in_force_compare(const struct pins *p, uint64_t cgroup_id, const struct effective *e,
		     struct in_force *ret)
{
	struct program files = { 0 };
	int r = e ? program_compile(e, &files) : 0;

	if (r < 0)
		return r;
	/* A reload under way may reuse what is being read: then read again. */
	r = -EAGAIN;
	for (int tries = 0; tries < READ_TRIES && r == -EAGAIN; tries++)
		r = compare_in_one_generation(p, cgroup_id, &files, ret);
	program_clear(&files);
	return r;
}

int in_force_compare_index(const struct pins *p, uint32_t index, const struct effective *e,
			   struct in_force *ret)
{
	struct in_force f = { .known = true };
	struct program files = { 0 };
	int r = e ? program_compile(e, &files) : 0;

	if (r < 0)
		return r;
	r = compare_policy(p, index, &files, &f);
	program_clear(&files);
	if (r < 0)
		in_force_clear(&f);
	else
		*ret = f;
	return r;
}
