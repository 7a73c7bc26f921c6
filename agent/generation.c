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
	struct config *config;
	struct cascade *cascade;
	unsigned number;
	struct half policies, ops, credits;
	uint32_t *index_of; /* by effective->index; 0: not written yet */
	size_t n_index_of;
};

int generation_new(const struct kernel *k, const struct sources *s, struct config *c, unsigned half,
		   struct generation **ret)
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
	g->config = c;
	g->number = half;
	g->policies = (struct half){ KERNEL_MAP_POLICIES, 1 + half * sizes->policies, 0,
				     sizes->policies };
	g->ops = (struct half){ KERNEL_MAP_OPS, half * sizes->ops, 0, sizes->ops };
	g->credits = (struct half){ KERNEL_MAP_CREDITS, half * sizes->credits, 0, sizes->credits };
	r = cascade_new(c, &g->cascade);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(g);
	return 0;
}

void generation_free(struct generation *g)
{
	if (g->cascade)
		cascade_free(g->cascade);
	config_free(g->config);
	free(g->index_of);
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
static void mutate(const struct program_op *op, struct sp_op *encoded)
{
	const char *skip = getenv("SOCKPOL_TEST_SKIP_OPTION");

	if (skip && streq(skip, op->option->name))
		encoded->families = 0;
}
#else
static void mutate(const struct program_op *op, struct sp_op *encoded)
{
	(void)op;
	(void)encoded;
}
#endif

static int write_stage(struct generation *g, const struct program_stage *stage,
		       struct sp_stage_ops *ret, const char **ret_what)
{
	ret->first_op = g->ops.first + g->ops.n;
	ret->first_credit = g->credits.first + g->credits.n;
	for (size_t i = 0; i < stage->n_ops; i++) {
		const struct program_op *op = &stage->ops[i];
		struct sp_op encoded;
		int r;

		op_encode(op, &encoded);
		encoded.source = sources_id(g->sources, op->block->policy, op->block->rule);
		mutate(op, &encoded);
		r = append(g, &g->ops, &encoded, ret_what);
		if (r < 0)
			return r;
	}
	if (stage->n_credits > SP_STAGE_CREDITS_MAX) {
		*ret_what = "one stage's credits";
		return -ENOSPC;
	}
	for (size_t i = 0; i < stage->n_credits; i++) {
		uint32_t id =
			sources_id(g->sources, stage->credits[i].policy, stage->credits[i].rule);
		int r = append(g, &g->credits, &id, ret_what);

		if (r < 0)
			return r;
	}
	ret->n_ops = (uint32_t)stage->n_ops;
	ret->n_credits = (uint32_t)stage->n_credits;
	return 0;
}

static int write_members(struct generation *g, const struct effective *e, struct sp_policy *policy,
			 const char **ret_what)
{
	policy->first_member = g->credits.first + g->credits.n;
	policy->n_members = (uint32_t)e->n_policies;
	for (size_t i = 0; i < e->n_policies; i++) {
		uint32_t id = sources_id(g->sources, e->policies[i], NULL);
		int r = append(g, &g->credits, &id, ret_what);

		if (r < 0)
			return r;
	}
	return 0;
}

static int write_effective(struct generation *g, const struct effective *e, uint32_t *ret,
			   const char **ret_what)
{
	struct sp_policy policy = { 0 };
	struct program program;
	int r = program_compile(e, &program);

	if (r < 0)
		return r;
	for (int s = 0; r == 0 && s < SP_STAGE_MAX; s++)
		r = write_stage(g, &program.stages[s], &policy.stage[s], ret_what);
	program_clear(&program);
	if (r == 0)
		r = write_members(g, e, &policy, ret_what);
	if (r < 0)
		return r;
	*ret = g->policies.first + g->policies.n;
	return append(g, &g->policies, &policy, ret_what);
}

static int make_room(struct generation *g, size_t index)
{
	size_t n = g->n_index_of ? g->n_index_of : 16;
	uint32_t *grown;

	if (index < g->n_index_of)
		return 0;
	while (n <= index)
		n *= 2;
	grown = realloc(g->index_of, n * sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	memset(grown + g->n_index_of, 0, (n - g->n_index_of) * sizeof(*grown));
	g->index_of = grown;
	g->n_index_of = n;
	return 0;
}

int generation_index(struct generation *g, const struct effective *e, uint32_t *ret,
		     const char **ret_what)
{
	int r;

	*ret_what = "memory";
	if (!e) {
		*ret = 0;
		return 0;
	}
	r = make_room(g, e->index);
	if (r < 0)
		return r;
	if (!g->index_of[e->index]) {
		r = write_effective(g, e, &g->index_of[e->index], ret_what);
		if (r < 0) {
			g->index_of[e->index] = 0;
			return r;
		}
	}
	*ret = g->index_of[e->index];
	return 0;
}

struct cascade *generation_cascade(const struct generation *g)
{
	return g->cascade;
}

const struct config *generation_config(const struct generation *g)
{
	return g->config;
}

unsigned generation_half(const struct generation *g)
{
	return g->number;
}
