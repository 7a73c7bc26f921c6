// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <errno.h>

#include "compile/compile.h"
#include "compile/map_half.h"
#include "compile/policy_maps.h"
#include "compile/sets.h"

/* Vectors for rules that begin with this bit, in the order of their writing. */
struct vectors {
	unsigned first_bit;
	uint32_t first; /* index into the map */
};

struct view {
	bool made;
	struct set_view set;
	struct vectors *vectors;
	size_t n_vectors;
};

/* An effective policy in the map. */
struct written {
	uint32_t index;	 /* 0: not written yet */
	uint32_t stages; /* BIT(enum sp_stage): where it has something due */
};

struct policy_maps {
	const struct config *config;
	struct sets *sets;
	struct map_half policies, ops, credits, tests, vectors;
	uint64_t stages;
	struct written *written; /* by effective->index */
	size_t n_written;
	/* By policy and property: made when first needed, so often without a set. */
	struct view (*views)[SP_PROPERTY_MAX];
	/* Ids of the policies and their rules: a policy's own first. */
	uint32_t *ids;
	uint32_t *first_id; /* by policy: index into ids */
};

static int look_up_ids(struct policy_maps *m, const struct sources *s)
{
	const struct config *c = m->config;
	uint32_t n = 0;

	m->ids = calloc(sources_needed(c), sizeof(*m->ids));
	m->first_id = calloc(c->n_policies + 1, sizeof(*m->first_id));
	if (!m->ids || !m->first_id)
		return -ENOMEM;
	for (size_t i = 0; i < c->n_policies; i++) {
		const struct policy *p = &c->policies[i];

		m->first_id[i] = n;
		m->ids[n++] = sources_id(s, p, NULL);
		for (size_t r = 0; r < p->n_rules; r++)
			m->ids[n++] = sources_id(s, p, &p->rules[r]);
	}
	return 0;
}

static uint32_t source_id(const struct policy_maps *m, const struct policy *p,
			  const struct rule *rule)
{
	uint32_t first = m->first_id[p - m->config->policies];

	return m->ids[rule ? first + 1 + (uint32_t)(rule - p->rules) : first];
}

static void init_halves(struct policy_maps *m, const struct kernel *k, unsigned half)
{
	const struct kernel_sizes *s = kernel_sizes_of(k);

	map_half_init(&m->policies, k, KERNEL_MAP_POLICIES, sizeof(struct sp_policy),
		      1 + half * s->policies, s->policies);
	map_half_init(&m->ops, k, KERNEL_MAP_OPS, sizeof(struct sp_op), half * s->ops, s->ops);
	map_half_init(&m->credits, k, KERNEL_MAP_CREDITS, sizeof(struct sp_credit),
		      half * s->credits, s->credits);
	map_half_init(&m->tests, k, KERNEL_MAP_TESTS, sizeof(struct sp_test), half * s->tests,
		      s->tests);
	map_half_init(&m->vectors, k, KERNEL_MAP_VECTORS, sizeof(uint64_t), half * s->vectors,
		      s->vectors);
}

int policy_maps_new(const struct kernel *k, const struct sources *s, const struct config *c,
		    unsigned half, struct policy_maps **ret)
{
	_cleanup_(policy_maps_free) struct policy_maps *m = calloc(1, sizeof(*m));
	int r;

	if (!m)
		return -ENOMEM;
	m->config = c;
	init_halves(m, k, half);
	m->views = calloc(c->n_policies + 1, sizeof(*m->views));
	r = m->views ? look_up_ids(m, s) : -ENOMEM;
	if (r == 0)
		r = sets_new(k, half, &m->sets);
	if (r == 0)
		*ret = TAKE_PTR(m);
	return r;
}

#define N_HALVES 5

/* In the order in which they may be written: what points elsewhere comes last. */
static void halves_of(struct policy_maps *m, struct map_half *ret[N_HALVES])
{
	struct map_half *const halves[N_HALVES] = { &m->vectors, &m->tests, &m->credits, &m->ops,
						    &m->policies };

	memcpy(ret, halves, sizeof(halves));
}

void policy_maps_free(struct policy_maps *m)
{
	struct map_half *halves[N_HALVES];

	for (size_t i = 0; m->views && i < m->config->n_policies; i++) {
		for (int property = 0; property < SP_PROPERTY_MAX; property++) {
			free(m->views[i][property].set.rules);
			free(m->views[i][property].vectors);
		}
	}
	free(m->views);
	if (m->sets)
		sets_free(m->sets);
	free(m->ids);
	free(m->first_id);
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
	sets_count(m->sets, count);
}

int policy_maps_flush(struct policy_maps *m, const char **ret_what)
{
	struct map_half *halves[N_HALVES];
	int r = sets_flush(m->sets, ret_what);

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
	ret->range_nodes = sets_needed(m->sets);
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
	uint32_t always_families[SP_STAGE_OPS_MAX]; /* which take something of that */
	unsigned n_always;
};

static unsigned always_bit(struct writing *w, const struct block *block)
{
	unsigned bit = 0;

	while (bit < w->n_always && w->always[bit] != block)
		bit++;
	if (bit == w->n_always) {
		w->always_families[bit] = 0;
		w->always[w->n_always++] = block;
	}
	return bit;
}

static void encode(struct writing *w, const struct option *option,
		   const struct program_choice *choice, struct sp_op *ret)
{
	op_encode(option, choice, ret);
	if (choice->setting)
		ret->source = source_id(w->m, choice->block->policy, choice->block->rule);
	mutate(ret);
}

/* First what the rules have, then what the stage's list has, so that the list lies in one piece. */
static int write_alternatives(struct writing *w, const struct program_op *op, struct sp_op *listed)
{
	struct sp_op alternatives[SP_RULES_MAX];

	for (size_t i = 0; i < op->n_rules; i++) {
		encode(w, op->option, &op->rules[i], &alternatives[i]);
		listed->rules |= 1ull << op->rules[i].rule;
	}
	return map_half_append_run(&w->m->ops, alternatives, (uint32_t)op->n_rules,
				   &listed->first_alternative, &w->what);
}

static int write_ops(struct writing *w, const struct program_stage *stage, struct sp_stage_ops *ret)
{
	struct sp_op listed[SP_STAGE_OPS_MAX];
	int r = 0;

	w->n_always = 0;
	for (size_t i = 0; i < stage->n_ops && r == 0; i++) {
		const struct program_op *op = &stage->ops[i];

		encode(w, op->option, &op->base, &listed[i]);
		if (op->base.setting) {
			listed[i].block = (uint8_t)always_bit(w, op->base.block);
			w->always_families[listed[i].block] |=
				listed[i].optlen ? listed[i].families : 0;
		}
		if (op->n_rules)
			r = write_alternatives(w, op, &listed[i]);
	}
	ret->n_ops = (uint32_t)stage->n_ops;
	return r < 0 ? r
		     : map_half_append_run(&w->m->ops, listed, ret->n_ops, &ret->first_op,
					   &w->what);
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

static struct sp_credit encode_credit(const struct writing *w, const struct program_credit *credit)
{
	return (struct sp_credit){
		.rules = credit->rules,
		.held = credit->held,
		.always = always_bits(w, credit),
		.source = source_id(w->m, credit->policy, credit->rule),
	};
}

/* Is something set for each family, where no rule holds? */
static bool is_always_due(const struct writing *w, uint64_t always)
{
	uint32_t families = 0;

	for (unsigned i = 0; i < w->n_always; i++)
		if (always & 1ull << i)
			families |= w->always_families[i];
	return always & CREDIT_WHATEVER || families == (SP_FAMILY_IPV4 | SP_FAMILY_IPV6);
}

static bool is_plain(const struct writing *w, const struct sp_stage_ops *due,
		     const struct sp_credit *credits)
{
	for (uint32_t i = 0; i < due->n_credits; i++)
		if (!is_always_due(w, credits[i].always))
			return false;
	return due->n_ops <= SP_PLAIN_OPS_MAX && due->n_credits <= SP_PLAIN_CREDITS_MAX;
}

/* The rule of which the hook knows by its bit whether there is something to credit; else 0. */
static uint64_t credited_rule(const struct program_credit *credit)
{
	return credit->rule && !credit->by_base && !credit->whatever ? credit->rules | credit->held
								     : 0;
}

/* First those that the hook looks through; then, in the order of their bits, the single rules. */
static int write_credits(struct writing *w, const struct program_stage *stage,
			 struct sp_stage_ops *ret)
{
	struct sp_credit credits[SP_STAGE_CREDITS_MAX];
	uint32_t n = 0;

	if (stage->n_credits > SP_STAGE_CREDITS_MAX) {
		w->what = "one stage's credits";
		return -E2BIG;
	}
	for (size_t i = 0; i < stage->n_credits; i++) {
		const struct program_credit *credit = &stage->credits[i];

		if (credited_rule(credit))
			ret->rule_credits |= credited_rule(credit);
		else
			credits[n++] = encode_credit(w, credit);
	}
	ret->n_credits = n;
	ret->plain = is_plain(w, ret, credits);
	ret->only_credit = n == 1 ? credits[0].source : 0;
	for (size_t i = 0; i < stage->n_credits; i++) {
		const struct program_credit *credit = &stage->credits[i];
		uint64_t rule = credited_rule(credit);

		if (rule)
			credits[n +
				(uint32_t)__builtin_popcountll(ret->rule_credits & (rule - 1))] =
				encode_credit(w, credit);
	}
	return map_half_append_run(&w->m->credits, credits, (uint32_t)stage->n_credits,
				   &ret->first_credit, &w->what);
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

/* It stays, even if the effective policy for which it was made finds no room. */
static int get_view(struct policy_maps *m, const struct policy *p, enum sp_property property,
		    struct view **ret, const char **ret_what)
{
	struct view *view = &m->views[p - m->config->policies][property];
	int r = view->made ? 0 : sets_get(m->sets, p, property, &view->set, ret_what);

	view->made = r == 0;
	*ret = view;
	return r;
}

int policy_maps_make_sets(struct policy_maps *m, const char **ret_what)
{
	for (size_t i = 0; i < m->config->n_policies; i++) {
		const struct policy *p = &m->config->policies[i];

		for (int property = 0; property < SP_PROPERTY_MAX; property++) {
			struct view *view;
			int r = policy_asks(p, property) ? get_view(m, p, property, &view, ret_what)
							 : 0;

			if (r < 0)
				return r;
		}
	}
	return 0;
}

/* A vector a class, in which the rules that do not ask all hold. */
static int write_vectors(struct policy_maps *m, const struct set_view *set, unsigned first_bit,
			 const char **ret_what)
{
	uint64_t others = ~(set->asking << first_bit);

	for (size_t k = 0; k < set->n_classes; k++) {
		uint64_t vector = others | set->rules[k] << first_bit;
		int r = map_half_append(&m->vectors, &vector, ret_what);

		if (r < 0)
			return r;
	}
	return 0;
}

/* They depend on the place of the policy's rules only, so few are enough for many. */
static int find_vectors(struct policy_maps *m, struct view *view, unsigned first_bit,
			uint32_t *ret_first, const char **ret_what)
{
	uint32_t first = map_half_next(&m->vectors);
	int r;

	for (size_t i = 0; i < view->n_vectors; i++) {
		if (view->vectors[i].first_bit == first_bit) {
			*ret_first = view->vectors[i].first;
			return 0;
		}
	}
	if (GROW(view->vectors, view->n_vectors) < 0)
		return -ENOMEM;
	r = write_vectors(m, &view->set, first_bit, ret_what);
	if (r < 0)
		return r;
	view->vectors[view->n_vectors++] = (struct vectors){ first_bit, first };
	*ret_first = first;
	return 0;
}

/* After map_half_cut(): those that are not there any more. */
static void forget_vectors(struct policy_maps *m, const struct effective *e)
{
	uint32_t end = map_half_next(&m->vectors);

	for (size_t i = 0; i < e->n_policies; i++) {
		for (int property = 0; property < SP_PROPERTY_MAX; property++) {
			struct view *view =
				&m->views[e->policies[i] - m->config->policies][property];

			while (view->n_vectors && view->vectors[view->n_vectors - 1].first >= end)
				view->n_vectors--;
		}
	}
}

static int make_test(struct writing *w, const struct policy *p, enum sp_property property,
		     struct sp_test *ret)
{
	uint32_t first = 0;
	struct view *view;
	int r;

	r = get_view(w->m, p, property, &view, &w->what);
	if (r == 0)
		r = find_vectors(w->m, view, first_bit_of(w->e, p), &first, &w->what);
	if (r < 0)
		return r;
	*ret = (struct sp_test){
		.property = property,
		.first_vector = first,
		.n_vectors = (uint32_t)view->set.n_classes,
		.tree4 = view->set.tree4,
		.tree6 = view->set.tree6,
	};
	return 0;
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

/* tests: with room for SP_STAGE_TESTS_MAX. */
static int make_policy_tests(struct writing *w, const struct program_stage *stage,
			     const struct policy *p, struct sp_test *tests, uint32_t *n_tests)
{
	for (int property = 0; property < SP_PROPERTY_MAX; property++) {
		int r;

		if (!(asking_rules(w, p, property) & stage->rules))
			continue;
		if (*n_tests == SP_STAGE_TESTS_MAX) {
			w->what = "one stage's tests";
			return -E2BIG;
		}
		r = make_test(w, p, property, &tests[*n_tests]);
		if (r < 0)
			return r;
		++*n_tests;
	}
	return 0;
}

static int write_tests(struct writing *w, const struct program_stage *stage,
		       struct sp_stage_ops *ret)
{
	struct sp_test tests[SP_STAGE_TESTS_MAX];
	int r = 0;

	for (size_t i = 0; i < w->e->n_policies && stage->rules && r == 0; i++)
		r = make_policy_tests(w, stage, w->e->policies[i], tests, &ret->n_tests);
	return r < 0 ? r
		     : map_half_append_run(&w->m->tests, tests, ret->n_tests, &ret->first_test,
					   &w->what);
}

static int write_stage(struct writing *w, enum sp_stage s)
{
	const struct program_stage *stage = &w->program->stages[s];
	struct sp_stage_ops *due = &w->policy.stage[s];
	int r = write_ops(w, stage, due);

	due->rules = stage->rules;
	if (r == 0)
		r = write_tests(w, stage, due);
	if (r == 0)
		r = write_credits(w, stage, due);
	if (stage->n_ops || stage->n_credits)
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
			.source = source_id(m, w->e->policies[i], NULL),
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

static void take_back(struct policy_maps *m, const struct effective *e,
		      const uint32_t before[N_HALVES])
{
	struct map_half *halves[N_HALVES];

	halves_of(m, halves);
	for (int i = 0; i < N_HALVES; i++)
		map_half_cut(halves[i], before[i]);
	forget_vectors(m, e);
}

/* What a failure leaves half written is written over by the next. */
static int write_effective(struct policy_maps *m, const struct effective *e, struct written *ret,
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
	for (int i = 0; i < N_HALVES; i++) {
		before[i] = halves[i]->n;
		if (r == 0)
			r = map_half_begin(halves[i], &w.what);
	}
	w.program = &program;
	if (r == 0)
		r = write_parts(&w);
	program_clear(&program);
	ret->index = map_half_next(&m->policies);
	ret->stages = (uint32_t)w.stages;
	if (r == 0)
		r = map_half_append(&m->policies, &w.policy, &w.what);
	if (r == 0)
		m->stages |= w.stages;
	else
		take_back(m, e, before);
	*ret_what = w.what;
	return r;
}

static int make_room(struct policy_maps *m, size_t index)
{
	size_t n = m->n_written ? m->n_written : 16;
	struct written *grown;

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
	if (!m->written[e->index].index) {
		struct written written;

		r = write_effective(m, e, &written, ret_what);
		if (r < 0)
			return r;
		m->written[e->index] = written;
	}
	*ret = m->written[e->index].index;
	return 0;
}

uint64_t policy_maps_stages(const struct policy_maps *m)
{
	return m->stages;
}

uint64_t policy_maps_stages_of(const struct policy_maps *m, const struct effective *e)
{
	return e && e->index < m->n_written ? m->written[e->index].stages : 0;
}
