// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <errno.h>

#include <bpf/bpf.h>

#include "compile.h"
#include "generation.h"

/* The part of a map that this generation fills, from `first` on. */
struct half {
	enum kernel_map map;
	uint32_t first, n, room;
};

struct generation {
	const struct kernel *kernel;
	const struct sources *sources;
	struct sets *sets;
	struct config *config;
	struct cascade *cascade;
	struct half policies, ops, credits, tests, vectors;
	uint64_t stages;
	struct written {
		uint32_t index;	 /* into map `policies`; 0: not written yet */
		uint32_t listen; /* digest of what it sets on listeners; 0: nothing */
	} * written;		 /* by effective->index */
	size_t n_written;
	/* By policy and property: made when first needed, so often without a set. */
	struct set_view (*views)[SP_PROPERTY_MAX];
};

int generation_new(const struct kernel *k, const struct sources *s, struct sets *sets,
		   struct config *c, unsigned half, struct generation **ret)
{
	const struct kernel_sizes *sizes = kernel_sizes_of(k);
	_cleanup_(generation_free) struct generation *g = calloc(1, sizeof(*g));
	int r;

	if (!g) {
		config_free(c);
		return -ENOMEM;
	}
	g->kernel = k;
	g->sources = s;
	g->sets = sets;
	g->config = c;
	g->policies = (struct half){ KERNEL_MAP_POLICIES, 1 + half * sizes->policies, 0,
				     sizes->policies };
	g->ops = (struct half){ KERNEL_MAP_OPS, half * sizes->ops, 0, sizes->ops };
	g->credits = (struct half){ KERNEL_MAP_CREDITS, half * sizes->credits, 0, sizes->credits };
	g->tests = (struct half){ KERNEL_MAP_TESTS, half * sizes->tests, 0, sizes->tests };
	g->vectors = (struct half){ KERNEL_MAP_VECTORS, half * sizes->vectors, 0, sizes->vectors };
	g->views = calloc(c->n_policies + 1, sizeof(*g->views));
	if (!g->views)
		return -ENOMEM;
	r = cascade_new(c, &g->cascade);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(g);
	return 0;
}

void generation_free(struct generation *g)
{
	for (size_t i = 0; g->views && i < g->config->n_policies; i++)
		for (int property = 0; property < SP_PROPERTY_MAX; property++)
			sets_put(g->sets, &g->views[i][property]);
	free(g->views);
	if (g->cascade)
		cascade_free(g->cascade);
	config_free(g->config);
	free(g->written);
	free(g);
}

static int append(struct generation *g, struct half *h, const void *value, const char **ret_what)
{
	uint32_t key = h->first + h->n;

	if (h->n == h->room) {
		*ret_what = kernel_map_names[h->map];
		return -ENOSPC;
	}
	if (bpf_map_update_elem(kernel_map_fd(g->kernel, h->map), &key, value, BPF_ANY) < 0) {
		*ret_what = kernel_map_names[h->map];
		return -errno;
	}
	h->n++;
	return 0;
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
	struct generation *g;
	const struct effective *e;
	const struct program *program;
	struct sp_policy policy;
	const char *what; /* that failed */
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
		ret->source = sources_id(w->g->sources, choice->block->policy, choice->block->rule);
	mutate(ret);
}

/* First what the rules have, then what the stage's list has, so that the list lies in one piece. */
static int write_alternatives(struct writing *w, const struct program_op *op, struct sp_op *listed)
{
	struct generation *g = w->g;

	listed->first_alternative = g->ops.first + g->ops.n;
	for (size_t i = 0; i < op->n_rules; i++) {
		struct sp_op alternative;
		int r;

		encode(w, op->option, &op->rules[i], &alternative);
		listed->rules |= 1ull << op->rules[i].rule;
		r = append(g, &g->ops, &alternative, &w->what);
		if (r < 0)
			return r;
	}
	return 0;
}

static int write_ops(struct writing *w, const struct program_stage *stage, struct sp_stage_ops *ret)
{
	struct sp_op listed[SP_STAGE_OPS_MAX];
	struct generation *g = w->g;
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
	ret->first_op = g->ops.first + g->ops.n;
	ret->n_ops = (uint32_t)stage->n_ops;
	for (size_t i = 0; i < stage->n_ops && r == 0; i++)
		r = append(g, &g->ops, &listed[i], &w->what);
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
	struct generation *g = w->g;

	if (stage->n_credits > SP_STAGE_CREDITS_MAX) {
		w->what = "one stage's credits";
		return -E2BIG;
	}
	ret->first_credit = g->credits.first + g->credits.n;
	ret->n_credits = (uint32_t)stage->n_credits;
	for (size_t i = 0; i < stage->n_credits; i++) {
		const struct program_credit *credit = &stage->credits[i];
		struct sp_credit written = {
			.rules = credit->rules,
			.held = credit->held,
			.always = always_bits(w, credit),
			.source = sources_id(g->sources, credit->policy, credit->rule),
		};
		int r = append(g, &g->credits, &written, &w->what);

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

static int get_view(struct generation *g, const struct policy *p, enum sp_property property,
		    const struct set_view **ret)
{
	struct set_view *view = &g->views[p - g->config->policies][property];

	if (!view->set) {
		int r = sets_get(g->sets, p, property, view);

		if (r < 0)
			return r;
	}
	*ret = view;
	return 0;
}

/* A vector a class, in which the rules that do not ask all hold. */
static int write_vectors(struct writing *w, const struct set_view *view, unsigned first_bit)
{
	struct generation *g = w->g;
	uint64_t others = ~(view->asking << first_bit);

	for (size_t k = 0; k < view->n_classes; k++) {
		uint64_t vector = others | view->rules[k] << first_bit;
		int r = append(g, &g->vectors, &vector, &w->what);

		if (r < 0)
			return r;
	}
	return 0;
}

/* place: of the policy, in e->policies. */
static int write_test(struct writing *w, size_t place, enum sp_property property)
{
	const struct policy *p = w->e->policies[place];
	struct generation *g = w->g;
	const struct set_view *view;
	struct sp_test test;
	int r;

	w->what = kernel_map_names[KERNEL_MAP_SETS4];
	r = get_view(g, p, property, &view);
	if (r < 0)
		return r;
	if (!w->vectors[place][property]) {
		uint32_t first = g->vectors.first + g->vectors.n;

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
	return append(g, &g->tests, &test, &w->what);
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
	struct generation *g = w->g;
	int r = 0;

	ret->first_test = g->tests.first + g->tests.n;
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
		w->g->stages |= BIT(s);
	return r;
}

static int write_members(struct writing *w)
{
	struct generation *g = w->g;

	w->policy.first_member = g->credits.first + g->credits.n;
	w->policy.n_members = (uint32_t)w->e->n_policies;
	for (size_t i = 0; i < w->e->n_policies; i++) {
		struct sp_credit member = {
			.source = sources_id(g->sources, w->e->policies[i], NULL),
		};
		int r = append(g, &g->credits, &member, &w->what);

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

/* FNV-1a */
static uint32_t digest_bytes(uint32_t digest, const void *bytes, size_t n)
{
	for (size_t i = 0; i < n; i++)
		digest = (digest ^ ((const unsigned char *)bytes)[i]) * 16777619u;
	return digest;
}

/* Of what is set, and under which conditions; not of who set it. */
static uint32_t digest_stage(const struct program_stage *stage)
{
	uint32_t digest = 2166136261u;

	if (!stage->n_ops)
		return 0;
	for (size_t i = 0; i < stage->n_ops; i++) {
		const struct program_op *op = &stage->ops[i];
		struct sp_op encoded;

		op_encode(op->option, &op->base, &encoded);
		digest = digest_bytes(digest, &encoded, sizeof(encoded));
		for (size_t j = 0; j < op->n_rules; j++) {
			op_encode(op->option, &op->rules[j], &encoded);
			digest = digest_bytes(digest, &encoded, sizeof(encoded));
		}
	}
	return digest ? digest : 1;
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
static int write_effective(struct generation *g, const struct effective *e, struct written *ret,
			   const char **ret_what)
{
	const struct half before[] = { g->ops, g->credits, g->tests, g->vectors };
	struct program program;
	struct writing w = { .g = g, .e = e, .program = &program, .what = "memory" };
	int r = program_compile(e, &program);

	*ret_what = w.what;
	if (r < 0)
		return r;
	w.vectors = calloc(e->n_policies, sizeof(*w.vectors));
	r = w.vectors ? write_parts(&w) : -ENOMEM;
	ret->index = g->policies.first + g->policies.n;
	ret->listen = digest_stage(&program.stages[SP_STAGE_TCP_LISTEN]);
	program_clear(&program);
	free(w.vectors);
	if (r == 0)
		r = append(g, &g->policies, &w.policy, &w.what);
	if (r < 0) {
		g->ops = before[0];
		g->credits = before[1];
		g->tests = before[2];
		g->vectors = before[3];
	}
	*ret_what = w.what;
	return r;
}

static int make_room(struct generation *g, size_t index)
{
	size_t n = g->n_written ? g->n_written : 16;
	struct written *grown;

	if (index < g->n_written)
		return 0;
	while (n <= index)
		n *= 2;
	grown = realloc(g->written, n * sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	memset(grown + g->n_written, 0, (n - g->n_written) * sizeof(*grown));
	g->written = grown;
	g->n_written = n;
	return 0;
}

int generation_index(struct generation *g, const struct effective *e, uint32_t *ret,
		     const char **ret_what)
{
	struct written written = { 0 };
	int r;

	*ret_what = "memory";
	if (!e) {
		*ret = 0;
		return 0;
	}
	r = make_room(g, e->index);
	if (r < 0)
		return r;
	if (!g->written[e->index].index) {
		r = write_effective(g, e, &written, ret_what);
		if (r < 0)
			return r;
		g->written[e->index] = written;
	}
	*ret = g->written[e->index].index;
	return 0;
}

uint32_t generation_listen_digest(const struct generation *g, const struct effective *e)
{
	return e && e->index < g->n_written ? g->written[e->index].listen : 0;
}

struct cascade *generation_cascade(const struct generation *g)
{
	return g->cascade;
}

const struct config *generation_config(const struct generation *g)
{
	return g->config;
}

uint64_t generation_stages(const struct generation *g)
{
	return g->stages;
}
