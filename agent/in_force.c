// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <errno.h>

#include "compile.h"
#include "in_force.h"
#include "value.h"

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
	struct sp_source source;
};

static int fill_side(const struct option *o, const struct named_op *from, struct in_force_side *to)
{
	struct sockopt value;
	int r;

	if (!from->present)
		return 0;
	r = sockopt_init(&value, o->level, o->optname, 0);
	if (r < 0)
		return r;
	r = sockopt_set(&value, from->op.value, from->op.optlen);
	if (r == 0) {
		to->value = value_format(o, &value);
		to->policy = strdup(from->source.policy);
		to->rule = from->source.rule[0] ? strdup(from->source.rule) : NULL;
		if (!to->value || !to->policy || (from->source.rule[0] && !to->rule))
			r = -ENOMEM;
	}
	sockopt_destroy(&value);
	return r;
}

static bool same_op(const struct named_op *a, const struct named_op *b)
{
	if (!a->present || !b->present)
		return a->present == b->present;
	return a->op.optlen == b->op.optlen &&
	       memcmp(a->op.value, b->op.value, sizeof(a->op.value)) == 0 &&
	       streq(a->source.policy, b->source.policy) && streq(a->source.rule, b->source.rule);
}

/* ops: by enum option_id. */
static int read_kernel_stage(const struct pins *p, const struct sp_stage_ops *stage,
			     struct named_op *ops)
{
	for (uint32_t i = 0; i < stage->n_ops && i < SP_STAGE_OPS_MAX; i++) {
		struct named_op op = { .present = true };
		int r = pins_op(p, stage->first_op + i, &op.op);

		if (r < 0)
			return r;
		if (op.op.option >= OPTION_MAX || op.op.optlen > SP_VALUE_SIZE)
			return -EPROTO;
		r = pins_source(p, op.op.source, &op.source);
		if (r < 0)
			return r;
		op.source.policy[SP_NAME_SIZE - 1] = '\0';
		op.source.rule[SP_NAME_SIZE - 1] = '\0';
		ops[op.op.option] = op;
	}
	return 0;
}

static void encode_files_stage(const struct program_stage *stage, struct named_op *ops)
{
	for (size_t i = 0; i < stage->n_ops; i++) {
		const struct block *b = stage->ops[i].block;
		struct named_op *op = &ops[option_id(stage->ops[i].option)];

		op->present = true;
		op_encode(&stage->ops[i], &op->op);
		snprintf(op->source.policy, SP_NAME_SIZE, "%s", b->policy->name);
		if (b->rule)
			snprintf(op->source.rule, SP_NAME_SIZE, "%s", b->rule->name);
	}
}

static int compare_stage(enum sp_stage s, const struct named_op *kernel,
			 const struct named_op *files, struct in_force *f)
{
	for (size_t id = 0; id < OPTION_MAX; id++) {
		const struct option *o = &option_table[id];
		struct in_force_difference *d;
		int r;

		if (same_op(&kernel[id], &files[id]))
			continue;
		if (GROW(f->v, f->n) < 0)
			return -ENOMEM;
		d = &f->v[f->n++];
		*d = (struct in_force_difference){ .stage = s, .option = o };
		r = fill_side(o, &kernel[id], &d->kernel);
		if (r == 0)
			r = fill_side(o, &files[id], &d->files);
		if (r < 0)
			return r;
	}
	return 0;
}

static int compare_once(const struct pins *p, uint64_t cgroup_id, const struct program *files,
			struct in_force *f)
{
	struct sp_policy policy = { 0 };
	uint32_t index;
	int r = pins_cgroup(p, cgroup_id, &index);

	if (r == 0 && index) /* else: not governed */
		r = pins_policy(p, index, &policy);
	for (int s = 0; s < SP_STAGE_MAX && r == 0; s++) {
		struct named_op kernel[OPTION_MAX] = { 0 }, wanted[OPTION_MAX] = { 0 };

		r = read_kernel_stage(p, &policy.stage[s], kernel);
		if (r < 0)
			break;
		encode_files_stage(&files->stages[s], wanted);
		r = compare_stage((enum sp_stage)s, kernel, wanted, f);
	}
	return r;
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
