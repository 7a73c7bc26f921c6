// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <errno.h>

#include "compile/image.h"
#include "compile/prefix_sets.h"
#include "compile/program.h"

/* The elements of a map, as they grow. */
struct array {
	unsigned char *v; /* owned until the image has them */
	size_t size;	  /* size of an element */
	uint32_t n;
	uint32_t since; /* equal runs are searched for from here on */
};

struct building {
	const struct config *config;
	image_counter_fn *counter;
	void *userdata;
	uint64_t set[SP_STAGE_MAX]; /* options that any policy sets, by stage */
	struct program_common common;
	struct sp_generation generation;
	struct array policies, blocks, ops, vectors;
	struct range_nodes nodes;
	struct prefix_sets *sets;
	char *error; /* owned */
	struct position at;
};

static int refuse(struct building *b, const struct position *at, const char *format, ...)
	PRINTF_LIKE(3, 4);

/* Makes the message.  Returns -E2BIG, or -ENOMEM. */
static int refuse(struct building *b, const struct position *at, const char *format, ...)
{
	va_list ap;
	int n;

	va_start(ap, format);
	n = vasprintf(&b->error, format, ap);
	va_end(ap);
	if (n < 0) {
		b->error = NULL;
		return -ENOMEM;
	}
	b->at = *at;
	return -E2BIG;
}

/* --- elements --------------------------------------------------------------------------------- */

static unsigned char *element(const struct array *a, uint32_t index)
{
	return a->v + index * a->size;
}

static int append(struct array *a, const void *value)
{
	if (grow_array((void **)&a->v, a->n, a->size) < 0)
		return -ENOMEM;
	memcpy(element(a, a->n++), value, a->size);
	return 0;
}

/* Appends n consecutive elements, or reuses an equal run of the current policy. */
static int append_run(struct array *a, const void *values, uint32_t n, uint32_t *ret_first)
{
	uint32_t first = a->since;

	if (!n)
		return 0;
	while (first + n <= a->n && memcmp(element(a, first), values, n * a->size) != 0)
		first++;
	if (first + n > a->n) {
		first = a->n;
		for (uint32_t i = 0; i < n; i++)
			if (append(a, (const unsigned char *)values + i * a->size) < 0)
				return -ENOMEM;
	}
	*ret_first = first;
	return 0;
}

/* --- one policy ------------------------------------------------------------------------------- */

static uint32_t counter_of(const struct building *b, const struct policy *p, const struct rule *r)
{
	return b->counter(p, r ? r->name : "", b->userdata);
}

#ifdef SOCKPOL_MUTANTS
/* Is the option left out in this build for `make test-mutants`?  It is then decided and not set, so
 * a test must fail. */
static bool is_left_out(const struct option *o)
{
	const char *skip = getenv("SOCKPOL_TEST_SKIP_OPTION");

	return skip && streq(skip, o->name);
}
#else
static bool is_left_out(const struct option *o)
{
	(void)o;
	return false;
}
#endif

/* Writes a block, of a rule or of a base.  to->counter and the like are left to the caller. */
static int write_block(struct building *b, const struct policy *p, enum sp_stage s,
		       const struct program_block *from, struct sp_block *to)
{
	struct sp_op ops[SP_BLOCK_OPS_MAX] = { 0 };

	for (size_t i = 0; i < from->n_choices; i++) {
		const struct program_choice *choice = &from->choices[i];
		size_t n;

		to->options |= option_bits(choice->option);
		if (!choice->setting || is_left_out(choice->setting->option))
			continue;
		for (n = program_encode_ops(choice, s, &ops[to->n_ops]); n; n--)
			ops[to->n_ops++].counter = counter_of(b, p, choice->rule);
	}
	return append_run(&b->ops, ops, (to->n_ops + SP_OPS_CELL - 1u) / SP_OPS_CELL,
			  &to->first_cell);
}

static int write_base(struct building *b, const struct policy *p, enum sp_stage s,
		      const struct program_block *from, struct sp_stage_of *to)
{
	struct sp_block block = { 0 };
	int r = write_block(b, p, s, from, &block);

	to->options = block.options;
	to->first_cell = block.first_cell;
	to->n_ops = block.n_ops;
	return r;
}

static uint64_t bit_of(const struct program *program, const struct rule *r)
{
	size_t bit = 0;

	while (program->rules[bit] != r)
		bit++;
	return 1ull << bit;
}

static int write_rules(struct building *b, const struct program *program, enum sp_stage s,
		       const struct program_stage *from, struct sp_stage_of *to, bool *has_ops)
{
	struct sp_block blocks[SP_RULES_MAX] = { 0 };
	int r = 0;

	for (size_t i = 0; i < from->n_rules && r == 0; i++) {
		const struct rule *rule = from->rules[i].rule;

		to->acting |= bit_of(program, rule);
		r = write_block(b, program->policy, s, &from->rules[i], &blocks[i]);
		blocks[i].counter = counter_of(b, program->policy, rule);
		*has_ops |= blocks[i].n_ops;
	}
	return r < 0 ? r
		     : append_run(&b->blocks, blocks, (uint32_t)from->n_rules, &to->first_block);
}

static int write_always(struct building *b, const struct program *program,
			const struct program_stage *from, struct sp_stage_of *to)
{
	uint64_t counters[SP_RULES_MAX];

	for (size_t i = 0; i < from->n_always; i++)
		counters[i] = counter_of(b, program->policy, from->always[i]);
	to->n_always = (uint16_t)from->n_always;
	return append_run(&b->vectors, counters, to->n_always, &to->first_always);
}

/* Returns BIT(enum sp_property): the properties that the rules ask for. */
static uint8_t properties_of(const struct program *program, uint64_t rules)
{
	uint8_t properties = 0;

	for (size_t bit = 0; bit < program->n_rules; bit++)
		for (int i = 0; rules >> bit & 1 && i < SP_PROPERTY_MAX; i++)
			if (when_asks(&program->rules[bit]->when, (enum sp_property)i))
				properties |= (uint8_t)BIT(i);
	return properties;
}

static int write_stage(struct building *b, const struct program *program, enum sp_stage s,
		       struct sp_stage_of *to)
{
	const struct program_stage *from = &program->stages[s];
	bool has_ops = false;
	int r;

	to->rules = from->looked_at;
	to->counted = from->counted;
	to->before = from->before;
	to->counts = from->counts;
	/* at socket(2) a rule that asks for them may hold */
	if (!stage_table[s].is_socket)
		to->properties = properties_of(program, from->looked_at);
	r = write_base(b, program->policy, s, &from->base, to);
	if (r == 0)
		r = write_rules(b, program, s, from, to, &has_ops);
	if (r == 0)
		r = write_always(b, program, from, to);
	if (has_ops || to->n_ops || to->counts || to->counted || to->n_always)
		b->generation.stages |= BIT(s);
	return r;
}

/* Writes a test: a vector for each class, in which all rules that do not ask hold. */
static int write_test(struct building *b, const struct prefix_view *view, struct sp_test *to)
{
	for (size_t i = 0; i < view->n_classes; i++)
		view->rules[i] |= ~view->asking;
	to->n_vectors = (uint32_t)view->n_classes;
	to->tree4 = view->tree4;
	to->tree6 = view->tree6;
	return append_run(&b->vectors, view->rules, to->n_vectors, &to->first_vector);
}

static int write_tests(struct building *b, const struct program *program, struct sp_policy *to)
{
	uint8_t properties = properties_of(program, UINT64_MAX);
	int r = 0;

	for (int i = 0; i < SP_PROPERTY_MAX && r == 0; i++) {
		struct prefix_view view;

		if (!(properties & BIT(i)))
			continue;
		r = prefix_sets_get(b->sets, program->rules, program->n_rules, (enum sp_property)i,
				    &view);
		if (r < 0)
			break;
		r = write_test(b, &view, &to->tests[i]);
		free(view.rules);
	}
	if (r == -E2BIG)
		return refuse(b, &program->policy->at,
			      "addresses and ports that rules ask for take more than the %u nodes "
			      "that there is room for",
			      SP_ANSWER_INDEX);
	return r;
}

static void fill_families(const struct program *program, struct sp_policy *to)
{
	for (size_t bit = 0; bit < program->n_rules; bit++)
		for (int f = 0; f < SP_FAMILY_INDEX_MAX; f++)
			if (program->rules[bit]->when.families & BIT(f))
				to->families[f] |= 1ull << bit;
}

static int write_program(struct building *b, const struct program *program)
{
	struct sp_policy policy = {
		.decided_late = program->decided_late,
		.counter = counter_of(b, program->policy, NULL),
	};
	int r;

	b->blocks.since = b->blocks.n;
	b->ops.since = b->ops.n;
	b->vectors.since = b->vectors.n;
	fill_families(program, &policy);
	if (stage_policy_gives_at_socket(program->policy))
		policy.counter_at_socket =
			b->counter(program->policy, SP_COUNTER_AT_SOCKET, b->userdata);
	r = write_tests(b, program, &policy);
	for (int s = 0; s < SP_STAGE_MAX && r == 0; s++)
		r = write_stage(b, program, (enum sp_stage)s, &policy.stage[s]);
	return r < 0 ? r : append(&b->policies, &policy);
}

static int refuse_rules(struct building *b, const struct policy *p, const struct rule *r)
{
	if (program_rule_bit(p, r) >= SP_RULES_MAX)
		return refuse(b, &r->at,
			      "policy '%s' has more than %d rules that depend on the connection",
			      p->name, SP_RULES_MAX);
	return refuse(b, &r->at, "policy '%s' has more than %d rules that always hold at one hook",
		      p->name, SP_RULES_MAX);
}

static int write_policy(struct building *b, const struct policy *p)
{
	const struct rule *too_many = NULL;
	struct program program;
	int r = program_compile(p, &b->common, &program, &too_many);

	if (r == -E2BIG)
		return refuse_rules(b, p, too_many);
	if (r < 0)
		return r;
	program_restrict(&program, b->set);
	r = write_program(b, &program);
	program_clear(&program);
	return r;
}

/* --- the configuration ------------------------------------------------------------------------ */

static uint64_t after_others(const struct building *b)
{
	uint64_t set = 0, after = 0;

	for (int s = 0; s < SP_STAGE_MAX; s++)
		set |= b->set[s];
	for (size_t id = 0; id < OPTION_MAX; id++)
		if (option_table[id].after_tos)
			after |= 1ull << id;
	return set >> OPTION_IP_TOS & 1 ? set & after : 0;
}

/* Collects what no policy knows alone. */
static int survey(struct building *b)
{
	const struct config *c = b->config;

	if (c->n_policies > SP_POLICY_NUMBERS_MAX)
		return refuse(b, &c->policies[SP_POLICY_NUMBERS_MAX].at, "more than %u policies",
			      SP_POLICY_NUMBERS_MAX);
	b->generation.n_policies = (uint32_t)c->n_policies;
	program_survey(c, b->set, &b->common);
	if (b->common.decides_late)
		b->generation.flags |= SP_GENERATION_DECIDES_LATE;
	b->generation.after_others = after_others(b);
	return 0;
}

static int build(struct building *b)
{
	static const struct sp_policy none;
	int r = survey(b);

	if (r == 0)
		r = prefix_sets_new(&b->nodes, &b->sets);
	if (r == 0)
		r = append(&b->policies, &none);
	for (size_t i = 0; i < b->config->n_policies && r == 0; i++)
		r = write_policy(b, &b->config->policies[i]);
	return r;
}

/* Hands an array to the image.  An empty one gets an element, as the kernel has no array
 * without. */
static int give(struct image *im, enum map_id id, void **values, size_t n)
{
	if (!n) {
		*values = calloc(1, map_table[id].value_size);
		n = 1;
	}
	im->of[id].values = TAKE_PTR(*values);
	im->of[id].n = (uint32_t)n;
	return im->of[id].values ? 0 : -ENOMEM;
}

static int give_all(struct image *im, struct building *b)
{
	const struct {
		enum map_id id;
		void **values;
		size_t n;
	} maps[] = {
		{ MAP_ID_policies, (void **)&b->policies.v, b->policies.n },
		{ MAP_ID_blocks, (void **)&b->blocks.v, b->blocks.n },
		{ MAP_ID_ops, (void **)&b->ops.v, b->ops.n },
		{ MAP_ID_vectors, (void **)&b->vectors.v, b->vectors.n },
		{ MAP_ID_range_nodes, (void **)&b->nodes.v, b->nodes.n },
	};
	int r = 0;

	for (size_t i = 0; i < ARRAY_SIZE(maps) && r == 0; i++)
		r = give(im, maps[i].id, maps[i].values, maps[i].n);
	im->config = b->config;
	im->generation = b->generation;
	im->generation.n_match_tables = (uint16_t)im->globs.n_match;
	im->generation.n_exclude_tables = (uint16_t)im->globs.n_exclude;
	return r;
}

static void building_clear(struct building *b)
{
	if (b->sets)
		prefix_sets_free(b->sets);
	free(b->policies.v);
	free(b->blocks.v);
	free(b->ops.v);
	free(b->vectors.v);
	free(b->nodes.v);
	free(b->error);
}

int image_new(const struct config *c, image_counter_fn *counter, void *userdata, struct image **ret,
	      char **ret_error, struct position *ret_at)
{
	__attribute__((cleanup(building_clear))) struct building b = {
		.config = c,
		.counter = counter,
		.userdata = userdata,
		.policies = { .size = sizeof(struct sp_policy) },
		.blocks = { .size = sizeof(struct sp_block) },
		.ops = { .size = sizeof(struct sp_op_cell) },
		.vectors = { .size = sizeof(uint64_t) },
	};
	_cleanup_(image_free) struct image *im = calloc(1, sizeof(*im));
	int r = im ? build(&b) : -ENOMEM;

	if (r == -E2BIG) {
		*ret_error = TAKE_PTR(b.error);
		*ret_at = b.at;
	}
	if (r == 0)
		r = glob_tables_new(c, &im->globs, ret_error, ret_at);
	if (r == 0)
		r = give_all(im, &b);
	if (r == 0)
		*ret = TAKE_PTR(im);
	return r;
}

void image_free(struct image *im)
{
	if (!im)
		return;
	for (int id = 0; id < MAP_ID_MAX; id++)
		free(im->of[id].values);
	glob_tables_clear(&im->globs);
	free(im);
}
