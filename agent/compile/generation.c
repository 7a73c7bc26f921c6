// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <errno.h>

#include "compile/closure.h"
#include "compile/generation.h"
#include "compile/machine.h"
#include "compile/policy_maps.h"
#include "compile/steps.h"

struct generation {
	struct config *config;
	unsigned half;
	struct machine *machine;
	struct cascade *cascade;
	struct policy_maps *policies;
	struct steps *steps;
	struct closure *closure;
	bool followed;	   /* the closure is written: what comes now is added to it */
	const char *wants; /* the map in which what was learnt found no room; NULL: none */
	/* Policies that the machine left out, by place in the configuration. */
	uint32_t *left_out;
	size_t n_left_out;
	/* Scratch: places of all policies that a path matches. */
	uint32_t *match, *exclude;
};

static int list_left_out(struct generation *g)
{
	const struct config *c = g->config;

	g->left_out = calloc(machine_n_left_out(g->machine) + 1, sizeof(*g->left_out));
	g->match = calloc(c->n_policies + 1, sizeof(*g->match));
	g->exclude = calloc(c->n_policies + 1, sizeof(*g->exclude));
	if (!g->left_out || !g->match || !g->exclude)
		return -ENOMEM;
	for (size_t i = 0; i < c->n_policies; i++)
		if (!machine_has(g->machine, i))
			g->left_out[g->n_left_out++] = (uint32_t)i;
	return 0;
}

int generation_new(const struct kernel *k, const struct sources *s, struct config *c, unsigned half,
		   struct generation **ret)
{
	_cleanup_(generation_free) struct generation *g = calloc(1, sizeof(*g));
	int r;

	if (!g) {
		config_free(c);
		return -ENOMEM;
	}
	g->config = c;
	g->half = half;
	r = machine_new(c, &g->machine);
	if (r == 0)
		r = list_left_out(g);
	if (r == 0)
		r = cascade_new(c, &g->cascade);
	if (r == 0)
		r = policy_maps_new(k, s, c, half, &g->policies);
	if (r == 0)
		r = steps_new(k, g->machine, half, &g->steps);
	if (r == 0)
		r = closure_new(g->machine, g->cascade, g->policies, g->steps, &g->closure);
	if (r < 0)
		return r;
	policy_maps_count(g->policies, true);
	steps_count(g->steps, true);
	*ret = TAKE_PTR(g);
	return 0;
}

int generation_erase(struct generation *g)
{
	return steps_erase(g->steps);
}

void generation_free(struct generation *g)
{
	if (g->closure)
		closure_free(g->closure);
	if (g->steps)
		steps_free(g->steps);
	if (g->policies)
		policy_maps_free(g->policies);
	if (g->cascade)
		cascade_free(g->cascade);
	if (g->machine)
		machine_free(g->machine);
	config_free(g->config);
	free(g->left_out);
	free(g->match);
	free(g->exclude);
	free(g);
}

/* Both ascending; returns how many there are in all. */
static size_t merge(uint32_t *to, const uint32_t *a, size_t n_a, const uint32_t *b, size_t n_b)
{
	size_t i = 0, j = 0;

	while (i < n_a || j < n_b) {
		bool first = j == n_b || (i < n_a && a[i] < b[j]);

		to[i + j] = first ? a[i] : b[j];
		if (first)
			i++;
		else
			j++;
	}
	return n_a + n_b;
}

/* What the machine says, and what glob_match() says of the policies that it left out. */
static int match_all(struct generation *g, const char *path, uint32_t state, struct matched *ret)
{
	_cleanup_free_ uint32_t *more = NULL;
	size_t n_match = 0, n_exclude = 0;

	*ret = machine_matched(g->machine, machine_matches(g->machine, state));
	if (!g->n_left_out)
		return 0;
	more = calloc(2 * g->n_left_out, sizeof(*more));
	if (!more)
		return -ENOMEM;
	for (size_t i = 0; i < g->n_left_out; i++) {
		const struct policy *p = &g->config->policies[g->left_out[i]];

		if (patterns_match(&p->match, path))
			more[n_match++] = g->left_out[i];
		if (patterns_match(&p->exclude, path))
			more[g->n_left_out + n_exclude++] = g->left_out[i];
	}
	*ret = (struct matched){
		.n_match = merge(g->match, ret->match, ret->n_match, more, n_match),
		.n_exclude = merge(g->exclude, ret->exclude, ret->n_exclude, more + g->n_left_out,
				   n_exclude),
		.match = g->match,
		.exclude = g->exclude,
	};
	return 0;
}

static int apply(struct generation *g, const char *path, uint32_t state,
		 const struct cgroup_class *parent, const struct cgroup_class **ret)
{
	struct matched matched;
	int r = match_all(g, path, state, &matched);

	return r < 0 ? r : cascade_apply(g->cascade, parent, &matched, ret);
}

/* From the hierarchy's root down to a cgroup of whose parent nothing is known. */
static int walk(struct generation *g, const char *path, uint32_t *ret_state,
		const struct cgroup_class **ret)
{
	_cleanup_free_ char *prefix = strdup(path);
	uint32_t state = machine_root(g->machine);
	const struct cgroup_class *k = NULL;
	int r = prefix ? apply(g, "/", state, NULL, &k) : -ENOMEM;

	for (size_t at = 1; r == 0 && path[at];) {
		size_t end = at + strcspn(path + at, "/");

		prefix[end] = '\0';
		state = machine_step(g->machine, state, prefix + at);
		r = apply(g, prefix, state, k, &k);
		prefix[end] = path[end];
		at = path[end] ? end + 1 : end;
	}
	*ret_state = state;
	*ret = k;
	return r;
}

static int classify(struct generation *g, const struct node *n, uint32_t *ret_state,
		    const struct cgroup_class **ret)
{
	const struct place *above = n->parent ? &n->parent->places[g->half] : NULL;

	if (!above || !above->class)
		return walk(g, n->path, ret_state, ret);
	*ret_state = machine_step(g->machine, steps_state(g->steps, above->glob), n->name);
	return apply(g, n->path, *ret_state, above->class, ret);
}

/*
 * What the kernel did not know when a cgroup came, and what follows from it, for the next of its
 * kind.  What does not work out, the agent goes on resolving.
 */
static void learn(struct generation *g, const struct node *n, uint32_t state,
		  const struct cgroup_class *k)
{
	const struct cgroup_class *parent = n->parent ? n->parent->places[g->half].class : NULL;
	uint32_t matches = machine_matches(g->machine, state);
	const char *what;
	int r = 0;

	if (parent && matches)
		r = closure_step(g->closure, parent, matches, &what);
	if (r != -ENOSPC && closure_add(g->closure, state, k) == 0)
		r = closure_run(g->closure, &what);
	/* Where it is cut there are always more than there is room for. */
	if (r == -ENOSPC && !closure_is_cut(g->closure))
		g->wants = what;
}

int generation_place(struct generation *g, const struct node *n, struct place *ret,
		     const char **ret_what)
{
	struct place place = { 0 };
	uint32_t state;
	int r;

	*ret_what = "memory";
	r = classify(g, n, &state, &place.class);
	if (r < 0)
		return r;
	place.glob = steps_glob(g->steps, state);
	*ret = place;
	r = policy_maps_index(g->policies, cascade_effective(place.class), &place.policy, ret_what);
	if (r < 0)
		return r;
	place.class_number = steps_class_number(g->steps, place.class);
	*ret = place;
	if (!g->followed)
		return closure_add(g->closure, state, place.class);
	learn(g, n, state, place.class);
	return 0;
}

int generation_place_by_names(struct generation *g, const char *const *names, size_t n,
			      struct place *ret, const char **ret_what)
{
	struct place place = { 0 };
	int r;

	*ret_what = "memory";
	r = cascade_by_names(g->cascade, names, n, &place.class);
	if (r == 0)
		r = policy_maps_index(g->policies, cascade_effective(place.class), &place.policy,
				      ret_what);
	if (r == 0)
		*ret = place;
	return r;
}

int generation_flush(struct generation *g, const char **ret_what)
{
	int r = policy_maps_flush(g->policies, ret_what);

	return r < 0 ? r : steps_flush(g->steps, ret_what);
}

int generation_write_steps(struct generation *g, const char **ret_what)
{
	int r = closure_run(g->closure, ret_what);

	if (r == 0)
		r = policy_maps_make_sets(g->policies, ret_what);
	if (r == 0)
		r = generation_flush(g, ret_what);
	if (r == 0)
		r = steps_write_machine(g->steps, ret_what);
	if (r < 0)
		return r;
	policy_maps_count(g->policies, false);
	steps_count(g->steps, false);
	g->followed = true;
	return 0;
}

bool generation_steps_cut(const struct generation *g)
{
	return closure_is_cut(g->closure);
}

bool generation_cuts(const struct generation *g, const struct policy *p)
{
	return closure_cuts(g->closure, (size_t)(p - g->config->policies));
}

size_t generation_n_cut(const struct generation *g)
{
	return closure_n_cut(g->closure);
}

bool generation_wants_room(const struct generation *g, const char **ret_what)
{
	if (g->wants)
		*ret_what = g->wants;
	return g->wants;
}

void generation_needed(const struct generation *g, struct kernel_sizes *ret)
{
	*ret = (struct kernel_sizes){ 0 };
	policy_maps_needed(g->policies, ret);
	steps_needed(g->steps, ret);
}

const struct config *generation_config(const struct generation *g)
{
	return g->config;
}

bool generation_by_events(const struct generation *g, const struct policy *p)
{
	return !machine_has(g->machine, (size_t)(p - g->config->policies));
}

bool generation_needs_events(const struct generation *g)
{
	return g->n_left_out;
}

uint64_t generation_stages(const struct generation *g)
{
	return policy_maps_stages(g->policies);
}

uint64_t generation_stages_of(const struct generation *g, const struct place *place)
{
	return policy_maps_stages_of(g->policies,
				     place->class ? cascade_effective(place->class) : NULL);
}
