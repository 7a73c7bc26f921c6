// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <errno.h>

#include "compile.h"
#include "map_half.h"
#include "policy_maps.h"

struct policy_maps {
	const struct sources *sources;
	struct sets *sets;
	const struct config *config;
	struct map_half policies, ops, credits, tests, vectors;
	uint64_t stages;
	uint32_t *written; /* index into map `policies`, by effective->index; 0: not written yet */
	size_t n_written;
	/* By policy and property: made when first needed, so often without a set. */
	struct set_view (*views)[SP_PROPERTY_MAX];
};

int policy_maps_new(const struct kernel *k, const struct sources *s, struct sets *sets,
		    const struct config *c, unsigned half, struct policy_maps **ret)
{
	const struct kernel_sizes *sizes = kernel_sizes_of(k);
	struct policy_maps *m = calloc(1, sizeof(*m));

	if (!m)
		return -ENOMEM;
	m->sources = s;
	m->sets = sets;
	m->config = c;
	map_half_init(&m->policies, k, KERNEL_MAP_POLICIES, sizeof(struct sp_policy),
		      1 + half * sizes->policies, sizes->policies);
	map_half_init(&m->ops, k, KERNEL_MAP_OPS, sizeof(struct sp_op), half * sizes->ops,
		      sizes->ops);
	map_half_init(&m->credits, k, KERNEL_MAP_CREDITS, sizeof(struct sp_credit),
		      half * sizes->credits, sizes->credits);
	map_half_init(&m->tests, k, KERNEL_MAP_TESTS, sizeof(struct sp_test), half * sizes->tests,
		      sizes->tests);
	map_half_init(&m->vectors, k, KERNEL_MAP_VECTORS, sizeof(uint64_t), half * sizes->vectors,
		      sizes->vectors);
	m->views = calloc(c->n_policies + 1, sizeof(*m->views));
	if (!m->views) {
		free(m);
		return -ENOMEM;
	}
	*ret = m;
	return 0;
}

#define N_HALVES 5

/* In the order in which they may be written: what points elsewhere comes last. */
static void halves_of(struct policy_maps *m, struct map_half *ret[N_HALVES])
{
	struct map_half *const halves[N_HALVES] = { &m->vectors, &m->tests, &m->credits, &m->ops,
						    &m->policies };

	memcpy(ret, halves, sizeof(halves));
}

void policy_maps_erase(struct policy_maps *m)
{
	for (size_t i = 0; i < m->config->n_policies; i++)
		for (int property = 0; property < SP_PROPERTY_MAX; property++)
			sets_put(m->sets, &m->views[i][property]);
}

void policy_maps_free(struct policy_maps *m)
{
	struct map_half *halves[N_HALVES];

	for (size_t i = 0; i < m->config->n_policies; i++)
		for (int property = 0; property < SP_PROPERTY_MAX; property++)
			free(m->views[i][property].rules);
	free(m->views);
	halves_of(m, halves);
	for (int i = 0; i < N_HALVES; i++)
		map_half_clear(halves[i]);
	free(m->written);
	free(m);
}

void policy_maps_count(struct policy_maps *m, bool count)
{
	struct map_half *halves[N_HALVES];

	halves_of(m, halves);
	for (int i = 0; i < N_HALVES; i++)
		halves[i]->counts = count;
}

int policy_maps_flush(struct policy_maps *m, const char **ret_what)
{
	struct map_half *halves[N_HALVES];
	int r = 0;

	halves_of(m, halves);
	for (int i = 0; i < N_HALVES && r == 0; i++)
		r = map_half_flush(halves[i], ret_what);
	return r;
}

void policy_maps_needed(const struct policy_maps *m, struct kernel_sizes *ret)
{
	ret->policies = m->policies.n;
	ret->ops = m->ops.n;
	ret->credits = m->credits.n;
	ret->tests = m->tests.n;
	ret->vectors = m->vectors.n;
}

#ifdef SOCKPOL_MUTANTS
/* Only in the build for `make test-mutants`: the hook passes over one option, and a test must fail.
 */
static void mutate(struct sp_op *encoded)
{
	const char *skip = getenv("SOCKPOL_TEST_SKIP_OPTION");

	if (skip && streq(skip, option_table[encoded->option].name))
		encoded->optlen = 0;
}
#else
static void mutate(struct sp_op *encoded)
{
	(void)encoded;
}
#endif

/* Writing one effective policy: what its parts have in common. */
struct writing {
	struct policy_maps *m;
	const struct effective *e;
	const struct program *program;
	struct sp_policy policy;
	const char *what; /* that failed */
	uint64_t stages;  /* where something is due */
	/* Blocks that set something at the stage whatever the connection, by their bit there. */
	const struct block *always[SP_STAGE_OPS_MAX];
	unsigned n_always;
	/* By place of the policy in e->policies, and property: index into map `vectors`, and 1
	 * more; 0: not written yet.  They serve all stages. */
	uint32_t (*vectors)[SP_PROPERTY_MAX];
};

static unsigned always_bit(struct writing *w, const struct block *block)
{
	unsigned bit = 0;

	while (bit < w->n_always && w->always[bit] != block)
		bit++;
	if (bit == w->n_always)
		w->always[w->n_always++] = block;
	return bit;
}

static void encode(struct writing *w, const struct option *option,
		   const struct program_choice *choice, struct sp_op *ret)
{
	op_encode(option, choice, ret);
	if (choice->setting)
		ret->source = sources_id(w->m->sources, choice->block->policy, choice->block->rule);
	mutate(ret);
}

/* First what the rules have, then what the stage's list has, so that the list lies in one piece. */
static int write_alternatives(struct writing *w, const struct program_op *op, struct sp_op *listed)
{
	struct policy_maps *m = w->m;

	listed->first_alternative = map_half_next(&m->ops);
	for (size_t i = 0; i < op->n_rules; i++) {
		struct sp_op alternative;
		int r;

		encode(w, op->option, &op->rules[i], &alternative);
		listed->rules |= 1ull << op->rules[i].rule;
		r = map_half_append(&m->ops, &alternative, &w->what);
		if (r < 0)
			return r;
	}
	return 0;
}

static int write_ops(struct writing *w, const struct program_stage *stage, struct sp_stage_ops *ret)
{
	struct sp_op listed[SP_STAGE_OPS_MAX];
	struct policy_maps *m = w->m;
	int r = 0;

	w->n_always = 0;
	for (size_t i = 0; i < stage->n_ops && r == 0; i++) {
		const struct program_op *op = &stage->ops[i];

		encode(w, op->option, &op->base, &listed[i]);
		if (op->base.setting)
			listed[i].block = (uint8_t)always_bit(w, op->base.block);
		if (op->n_rules)
			r = write_alternatives(w, op, &listed[i]);
	}
	ret->first_op = map_half_next(&m->ops);
	ret->n_ops = (uint32_t)stage->n_ops;
	for (size_t i = 0; i < stage->n_ops && r == 0; i++)
		r = map_half_append(&m->ops, &listed[i], &w->what);
	return r;
}

#define CREDIT_WHATEVER (1ull << 63) /* the hooks' ANYBODY */

/* Bits of a contributor's blocks among those that set something here whatever the connection. */
static uint64_t always_bits(const struct writing *w, const struct program_credit *credit)
{
	uint64_t bits = credit->whatever ? CREDIT_WHATEVER : 0;

	for (unsigned i = 0; credit->by_base && i < w->n_always; i++)
		if (w->always[i]->policy == credit->policy &&
		    (!credit->rule || w->always[i]->rule == credit->rule))
			bits |= 1ull << i;
	return bits;
}

static int write_credits(struct writing *w, const struct program_stage *stage,
			 struct sp_stage_ops *ret)
{
	struct policy_maps *m = w->m;

	if (stage->n_credits > SP_STAGE_CREDITS_MAX) {
		w->what = "one stage's credits";
		return -E2BIG;
	}
	ret->first_credit = map_half_next(&m->credits);
	ret->n_credits = (uint32_t)stage->n_credits;
	for (size_t i = 0; i < stage->n_credits; i++) {
		const struct program_credit *credit = &stage->credits[i];
		struct sp_credit written = {
			.rules = credit->rules,
			.held = credit->held,
			.always = always_bits(w, credit),
			.source = sources_id(m->sources, credit->policy, credit->rule),
		};
		int r = map_half_append(&m->credits, &written, &w->what);

		if (r < 0)
			return r;
	}
	return 0;
}

/* Which of the policy's rules (by bit: place in the policy) the stage has, as bits of the
 * effective. */
static uint64_t first_bit_of(const struct effective *e, const struct policy *p)
{
	for (size_t i = 0; i < e->n_blocks; i++)
		if (e->blocks[i].policy == p)
			return rule_bit(e, &e->blocks[i]);
	return 0;
}

static int get_view(struct policy_maps *m, const struct policy *p, enum sp_property property,
		    const struct set_view **ret)
{
	struct set_view *view = &m->views[p - m->config->policies][property];

	if (!view->set) {
		int r = sets_get(m->sets, p, property, view);

		if (r < 0)
			return r;
	}
	*ret = view;
	return 0;
}

/* A vector a class, in which the rules that do not ask all hold. */
static int write_vectors(struct writing *w, const struct set_view *view, unsigned first_bit)
{
	struct policy_maps *m = w->m;
	uint64_t others = ~(view->asking << first_bit);

	for (size_t k = 0; k < view->n_classes; k++) {
		uint64_t vector = others | view->rules[k] << first_bit;
		int r = map_half_append(&m->vectors, &vector, &w->what);

		if (r < 0)
			return r;
	}
	return 0;
}

/* place: of the policy, in e->policies. */
static int write_test(struct writing *w, size_t place, enum sp_property property)
{
	const struct policy *p = w->e->policies[place];
	struct policy_maps *m = w->m;
	const struct set_view *view;
	struct sp_test test;
	int r;

	w->what = kernel_map_names[KERNEL_MAP_SETS4];
	r = get_view(m, p, property, &view);
	if (r < 0)
		return r;
	if (!w->vectors[place][property]) {
		uint32_t first = map_half_next(&m->vectors);

		r = write_vectors(w, view, first_bit_of(w->e, p));
		if (r < 0)
			return r;
		w->vectors[place][property] = first + 1;
	}
	test = (struct sp_test){
		.property = property,
		.set = view->id,
		.first_vector = w->vectors[place][property] - 1,
		.n_vectors = (uint32_t)view->n_classes,
	};
	return map_half_append(&m->tests, &test, &w->what);
}

/* Bits of the policy's rules that ask for the property. */
static uint64_t asking_rules(const struct writing *w, const struct policy *p,
			     enum sp_property property)
{
	unsigned first_bit = first_bit_of(w->e, p);
	uint64_t asking = 0;

	for (size_t i = 0; i < p->n_rules; i++)
		if (when_asks(&p->rules[i].when, property))
			asking |= 1ull << (first_bit + i);
	return asking;
}

static int write_policy_tests(struct writing *w, const struct program_stage *stage, size_t place,
			      uint32_t *n_tests)
{
	for (int property = 0; property < SP_PROPERTY_MAX; property++) {
		int r;

		if (!(asking_rules(w, w->e->policies[place], property) & stage->rules))
			continue;
		if (*n_tests == SP_STAGE_TESTS_MAX) {
			w->what = "one stage's tests";
			return -E2BIG;
		}
		r = write_test(w, place, property);
		if (r < 0)
			return r;
		++*n_tests;
	}
	return 0;
}

static int write_tests(struct writing *w, const struct program_stage *stage,
		       struct sp_stage_ops *ret)
{
	struct policy_maps *m = w->m;
	int r = 0;

	ret->first_test = map_half_next(&m->tests);
	if (!stage->rules)
		return 0;
	for (size_t i = 0; i < w->e->n_policies && r == 0; i++)
		r = write_policy_tests(w, stage, i, &ret->n_tests);
	return r;
}

static int write_stage(struct writing *w, enum sp_stage s)
{
	const struct program_stage *stage = &w->program->stages[s];
	struct sp_stage_ops *due = &w->policy.stage[s];
	int r = write_ops(w, stage, due);

	if (r == 0)
		r = write_tests(w, stage, due);
	if (r == 0)
		r = write_credits(w, stage, due);
	if (due->n_ops || due->n_credits)
		w->stages |= BIT(s);
	return r;
}

static int write_members(struct writing *w)
{
	struct policy_maps *m = w->m;

	w->policy.first_member = map_half_next(&m->credits);
	w->policy.n_members = (uint32_t)w->e->n_policies;
	for (size_t i = 0; i < w->e->n_policies; i++) {
		struct sp_credit member = {
			.source = sources_id(m->sources, w->e->policies[i], NULL),
		};
		int r = map_half_append(&m->credits, &member, &w->what);

		if (r < 0)
			return r;
	}
	return 0;
}

static void fill_families(struct writing *w)
{
	for (size_t i = 0; i < w->e->n_blocks; i++) {
		const struct block *b = &w->e->blocks[i];

		for (int f = 0; b->rule && f < SP_FAMILY_INDEX_MAX; f++)
			if (b->rule->when.families & BIT(f))
				w->policy.families[f] |= 1ull << rule_bit(w->e, b);
	}
}

static int write_parts(struct writing *w)
{
	int r = 0;

	fill_families(w);
	for (int s = 0; r == 0 && s < SP_STAGE_MAX; s++)
		r = write_stage(w, s);
	return r < 0 ? r : write_members(w);
}

/* What a failure leaves half written is written over by the next. */
static int write_effective(struct policy_maps *m, const struct effective *e, uint32_t *ret,
			   const char **ret_what)
{
	struct map_half *halves[N_HALVES];
	uint32_t before[N_HALVES];
	struct program program;
	struct writing w = { .m = m, .e = e, .what = "memory" };
	int r = program_compile(e, &program);

	*ret_what = w.what;
	if (r < 0)
		return r;
	halves_of(m, halves);
	for (int i = 0; i < N_HALVES; i++)
		before[i] = halves[i]->n;
	w.program = &program;
	w.vectors = calloc(e->n_policies, sizeof(*w.vectors));
	r = w.vectors ? write_parts(&w) : -ENOMEM;
	program_clear(&program);
	free(w.vectors);
	*ret = map_half_next(&m->policies);
	if (r == 0)
		r = map_half_append(&m->policies, &w.policy, &w.what);
	if (r == 0)
		m->stages |= w.stages;
	for (int i = 0; i < N_HALVES && r < 0; i++)
		map_half_cut(halves[i], before[i]);
	*ret_what = w.what;
	return r;
}

static int make_room(struct policy_maps *m, size_t index)
{
	size_t n = m->n_written ? m->n_written : 16;
	uint32_t *grown;

	if (index < m->n_written)
		return 0;
	while (n <= index)
		n *= 2;
	grown = realloc(m->written, n * sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	memset(grown + m->n_written, 0, (n - m->n_written) * sizeof(*grown));
	m->written = grown;
	m->n_written = n;
	return 0;
}

int policy_maps_index(struct policy_maps *m, const struct effective *e, uint32_t *ret,
		      const char **ret_what)
{
	int r;

	*ret_what = "memory";
	if (!e) {
		*ret = 0;
		return 0;
	}
	r = make_room(m, e->index);
	if (r < 0)
		return r;
	if (!m->written[e->index]) {
		uint32_t index;

		r = write_effective(m, e, &index, ret_what);
		if (r < 0)
			return r;
		m->written[e->index] = index;
	}
	*ret = m->written[e->index];
	return 0;
}

uint64_t policy_maps_stages(const struct policy_maps *m)
{
	return m->stages;
}
