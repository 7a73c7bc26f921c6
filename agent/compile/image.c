// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <assert.h>
#include <errno.h>

#include "base/digest.h"
#include "base/progress.h"
#include "compile/image.h"
#include "compile/program.h"
#include "compile/range_tree.h"
#include "policy/loader.h"

/* The elements of a map, as they grow. */
struct array {
	unsigned char *v; /* owned until the image has them */
	uint32_t n;
	uint32_t since; /* equal runs are searched for from here on */
};

struct building {
	const struct config *config;
	image_counter_fn *counter;
	void *userdata;
	uint64_t set[SP_STAGE_MAX]; /* options that any policy sets, by stage */
	bool tos_takes_care; /* IP_TOS, and what comes after it, is put off: see SP_OP_CARE */
	struct sp_generation generation;
	uint64_t asked; /* as in sp_policy, of the current policy */
	struct array of[MAP_ID_MAX];
	struct range_trees trees;
	char **ret_error;
	struct position *ret_at;
};

/* --- elements --------------------------------------------------------------------------------- */

/* Appends n consecutive elements, or reuses an equal run of the current policy. */
static int append(struct building *b, enum map_id id, const void *values, uint32_t n,
		  uint32_t *ret_first)
{
	struct array *a = &b->of[id];
	const size_t size = map_table[id].value_size;
	uint32_t first = a->since;

	if (!n)
		return 0;
	while (first + n <= a->n && memcmp(a->v + first * size, values, n * size) != 0)
		first++;
	*ret_first = first;
	if (first + n <= a->n)
		return 0;
	*ret_first = a->n;
	for (uint32_t i = 0; i < n; i++) {
		if (grow_array((void **)&a->v, a->n, size) < 0)
			return -ENOMEM;
		memcpy(a->v + a->n++ * size, (const unsigned char *)values + i * size, size);
	}
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

/* Notes what hooks besides the stage's own the operation takes. */
static void tell_generation(struct building *b, const struct option *o, const struct sp_op *op)
{
	struct sp_generation *g = &b->generation;

	if (op->flags & SP_OP_AFTERWARDS) {
		b->asked |= option_bits(o);
		g->asked |= option_bits(o);
		g->stages |= SP_DUE_AFTERWARDS;
	}
	if (op->flags & SP_OP_RESPECT) {
		g->respected |= option_bits(o);
		g->stages |= SP_DUE_RESPECT;
		g->flags |= SP_GENERATION_RESPECTS;
	}
	if (op->flags & SP_OP_RANGE && op->reads & SP_READS_OTHERWISE)
		g->respected |= option_bits(o); /* what is set is noted, as it is not shown */
	if (op->flags & SP_OP_CARE)
		g->stages |= SP_DUE_CARE;
	if (op->flags & SP_OP_APPLY)
		g->flags |= SP_GENERATION_APPLIES;
}

/* IP_TOS, and what comes after it, as it overwrites that. */
static bool is_about_tos(const struct option *o)
{
	return o->after_tos || o == &option_table[OPTION_IP_TOS];
}

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
		if (stage_table[s].is_socket &&
		    choice->setting->option == &option_table[OPTION_SO_BINDTODEVICE])
			b->generation.stages |= SP_DUE_DEVICE_NAME;
		for (n = program_encode_ops(choice, s, &ops[to->n_ops]); n; n--) {
			if (b->tos_takes_care && is_about_tos(choice->option))
				ops[to->n_ops].flags |= SP_OP_CARE;
			tell_generation(b, choice->option, &ops[to->n_ops]);
			ops[to->n_ops++].counter = counter_of(b, p, choice->rule);
		}
	}
	return append(b, MAP_ID_ops, ops, (to->n_ops + SP_OPS_CELL - 1u) / SP_OPS_CELL,
		      &to->first_cell);
}

static int write_rules(struct building *b, const struct program *program, enum sp_stage s,
		       const struct program_stage *from, struct sp_stage_of *to, bool *has_ops)
{
	struct sp_block blocks[SP_RULES_MAX] = { 0 };
	int r = 0;

	for (size_t i = 0; i < from->n_rules && r == 0; i++) {
		const struct program_block *rule = &from->rules[from->n_rules - 1 - i];

		to->acting |= 1ull << rule->bit;
		r = write_block(b, program->policy, s, rule, &blocks[i]);
		blocks[i].counter = counter_of(b, program->policy, rule->rule);
		*has_ops |= blocks[i].n_ops;
	}
	return r < 0 ? r
		     : append(b, MAP_ID_blocks, blocks, (uint32_t)from->n_rules, &to->first_block);
}

/* Returns BIT(enum sp_property): the properties that the rules ask for. */
static uint8_t properties_of(const struct program *program, uint64_t rules)
{
	uint8_t properties = 0;

	for (size_t bit = 0; bit < program->n_rules; bit++)
		for (int i = 0; rules >> bit & 1 && i < SP_PROPERTY_MAX; i++)
			if (when_ranges(&program->rules[bit]->when, (enum sp_property)i))
				properties |= (uint8_t)BIT(i);
	return properties;
}

static int write_stage(struct building *b, const struct program *program, enum sp_stage s,
		       struct sp_stage_of *to)
{
	const struct program_stage *from = &program->stages[s];
	uint64_t counters[SP_RULES_MAX];
	struct sp_block base = { 0 };
	bool has_ops = false;
	int r;

	to->rules = from->looked_at;
	to->counted = from->counted;
	to->before = from->before;
	to->counts = from->counts;
	/* at socket(2) a rule that asks for them may hold */
	if (!stage_table[s].is_socket)
		to->properties = properties_of(program, from->looked_at);
	r = write_block(b, program->policy, s, &from->base, &base);
	to->options = base.options;
	to->first_cell = base.first_cell;
	to->n_ops = base.n_ops;
	if (r == 0)
		r = write_rules(b, program, s, from, to, &has_ops);
	assert(from->n_always <= SP_RULES_MAX);
	for (size_t i = 0; i < from->n_always; i++)
		counters[i] = counter_of(b, program->policy, from->always[i]);
	to->n_always = (uint16_t)from->n_always;
	if (r == 0)
		r = append(b, MAP_ID_vectors, counters, to->n_always, &to->first_always);
	if (has_ops || to->n_ops || to->counts || to->counted || to->n_always)
		b->generation.stages |= BIT(s);
	return r;
}

/* Writes the tests: a vector for each class, in which all rules that do not ask hold. */
static int write_tests(struct building *b, const struct program *program, struct sp_policy *to)
{
	uint8_t properties = properties_of(program, UINT64_MAX);
	int r = 0;

	for (int i = 0; i < SP_PROPERTY_MAX && r == 0; i++) {
		struct sp_test *test = &to->tests[i];
		struct range_view view;

		if (!(properties & BIT(i)))
			continue;
		r = range_trees_get(&b->trees, program->rules, program->n_rules,
				    (enum sp_property)i, &view);
		if (r < 0)
			break;
		for (size_t k = 0; k < view.n_classes; k++)
			view.rules[k] |= ~view.asking;
		test->n_vectors = (uint32_t)view.n_classes;
		test->tree4 = view.tree4;
		test->tree6 = view.tree6;
		r = append(b, MAP_ID_vectors, view.rules, test->n_vectors, &test->first_vector);
		free(view.rules);
	}
	if (r != -E2BIG)
		return r;
	*b->ret_at = program->policy->at;
	return sentence(b->ret_error, r,
			"addresses and ports that rules ask for take more than the %u nodes that "
			"there is room for",
			SP_ANSWER_INDEX);
}

static void fill_families(const struct program *program, struct sp_policy *to)
{
	static_assert(BIT(SP_FAMILY_INDEX_IPV4) == SP_FAMILY_IPV4, "one bit a family");
	static_assert(BIT(SP_FAMILY_INDEX_IPV6) == SP_FAMILY_IPV6, "one bit a family");
	const unsigned ip = SP_FAMILY_IPV4 | SP_FAMILY_IPV6;

	for (size_t bit = 0; bit < program->n_rules; bit++) {
		const struct when *w = &program->rules[bit]->when;
		const unsigned families = (w->families & ~ip) | when_ip_families(w);

		for (int f = 0; f < SP_FAMILY_INDEX_MAX; f++)
			if (families & BIT(f))
				to->families[f] |= 1ull << bit;
	}
}

static int write_program(struct building *b, const struct program *program)
{
	struct sp_policy policy = {
		.decided_late = program->decided_late,
		.counter = counter_of(b, program->policy, NULL),
	};
	uint32_t number, at_socket = 0;
	int r;

	for (int id = 0; id < MAP_ID_MAX; id++)
		b->of[id].since = b->of[id].n;
	b->asked = 0;
	fill_families(program, &policy);
	if (stage_policy_gives_at_socket(program->policy))
		at_socket = b->counter(program->policy, SP_COUNTER_AT_SOCKET, b->userdata);
	r = write_tests(b, program, &policy);
	for (int s = 0; s < SP_STAGE_MAX && r == 0; s++) {
		policy.stage[s].counter = stage_table[s].is_socket ? at_socket : policy.counter;
		r = write_stage(b, program, (enum sp_stage)s, &policy.stage[s]);
	}
	policy.asked = b->asked;
	return r < 0 ? r : append(b, MAP_ID_policies, &policy, 1, &number);
}

static int write_policy(struct building *b, const struct policy *p)
{
	struct program program;
	int r = program_compile(p, b->set, b->generation.flags & SP_GENERATION_DECIDES_LATE,
				&program);

	if (r < 0)
		return r;
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

static_assert(LOADER_POLICIES_MAX <= SP_POLICY_NUMBERS_MAX, "a number for each policy");

/* Is some of that put off?  Then all of it is, so that the order stays. */
static bool tos_takes_care(const struct config *c)
{
	for (size_t i = 0; i < c->n_policies; i++) {
		const struct policy *p = &c->policies[i];

		for (size_t k = 0; k <= p->n_rules; k++) {
			const struct settings *block = k ? &p->rules[k - 1].options : &p->base;

			for (size_t n = 0; n < block->n; n++)
				if (is_about_tos(block->v[n].option) &&
				    program_flags(&block->v[n]) & SP_OP_CARE)
					return true;
		}
	}
	return false;
}

/* Collects what no policy knows alone. */
static void survey(struct building *b)
{
	const struct config *c = b->config;

	b->generation.n_policies = (uint32_t)c->n_policies;
	if (program_survey(c, b->set))
		b->generation.flags |= SP_GENERATION_DECIDES_LATE;
	b->generation.after_others = after_others(b);
	b->tos_takes_care = tos_takes_care(c);
}

static int build(struct building *b)
{
	static const struct sp_policy none;
	uint32_t number;
	int r = append(b, MAP_ID_policies, &none, 1, &number);

	survey(b);
	for (size_t i = 0; i < b->config->n_policies && r == 0; i++) {
		progress_made();
		r = write_policy(b, &b->config->policies[i]);
	}
	return r;
}

static uint64_t digest_image(const struct image *im)
{
	uint64_t digest = digest_large(DIGEST_START, &im->generation, sizeof(im->generation));

	for (int id = 0; id < MAP_ID_MAX; id++)
		if (im->of[id].values)
			digest = digest_large(digest, im->of[id].values,
					      (size_t)im->of[id].n * map_table[id].value_size);
	for (uint32_t t = 0; t < im->globs.n_match + im->globs.n_exclude; t++) {
		const struct glob_table *table = &im->globs.v[t];

		digest = digest_large(digest, table->nodes, table->n_nodes * sizeof(*table->nodes));
		digest = digest_large(digest, table->links, table->n_links * sizeof(*table->links));
	}
	return digest;
}

/* Hands the arrays to the image.  An empty one gets an element, as the kernel has no array
 * without. */
static int give_all(struct image *im, struct building *b)
{
	b->of[MAP_ID_range_nodes].v = (unsigned char *)TAKE_PTR(b->trees.v);
	b->of[MAP_ID_range_nodes].n = (uint32_t)b->trees.n;
	for (int id = 0; id < MAP_ID_MAX; id++) {
		if (map_table[id].shape != MAP_EXACT)
			continue;
		im->of[id].n = b->of[id].n ? b->of[id].n : 1;
		im->of[id].values =
			b->of[id].n ? TAKE_PTR(b->of[id].v) : calloc(1, map_table[id].value_size);
		if (!im->of[id].values)
			return -ENOMEM;
	}
	im->config = b->config;
	im->generation = b->generation;
	im->generation.n_match_tables = (uint16_t)im->globs.n_match;
	im->generation.n_exclude_tables = (uint16_t)im->globs.n_exclude;
	im->generation.digest = digest_image(im);
	return 0;
}

static void building_clear(struct building *b)
{
	for (int id = 0; id < MAP_ID_MAX; id++)
		free(b->of[id].v);
	range_trees_clear(&b->trees);
}

int image_new(const struct config *c, image_counter_fn *counter, void *userdata, struct image **ret,
	      char **ret_error, struct position *ret_at)
{
	__attribute__((cleanup(building_clear))) struct building b = {
		.config = c,
		.counter = counter,
		.userdata = userdata,
		.ret_error = ret_error,
		.ret_at = ret_at,
	};
	_cleanup_(image_free) struct image *im = calloc(1, sizeof(*im));
	int r = im ? build(&b) : -ENOMEM;

	if (r == 0)
		r = glob_tables_new(c, &im->globs, ret_error, ret_at);
	if (r == 0)
		r = give_all(im, &b);
	if (r == 0)
		*ret = TAKE_PTR(im);
	return r;
}

void image_ask(uint64_t asked, uint64_t respected, uint8_t ret[SP_ASKED_LEVELS][SP_ASKED_NAMES])
{
	memset(ret, 0, sizeof(*ret) * SP_ASKED_LEVELS);
	for (int i = 0; i < OPTION_MAX; i++) {
		const struct option *o = &option_table[i];
		const int names[] = { o->optname, o->other_optname };
		uint8_t what = (uint8_t)(1 + i);

		if (!(asked >> i & 1) || SP_ASKED_LEVEL(o->level) >= SP_ASKED_LEVELS)
			continue;
		if (respected >> i & 1)
			what |= SP_ASKED_RESPECT;
		for (size_t k = 0; k < ARRAY_SIZE(names); k++)
			if (names[k] && names[k] < SP_ASKED_NAMES)
				ret[SP_ASKED_LEVEL(o->level)][names[k]] = what;
	}
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
