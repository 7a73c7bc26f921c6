// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <errno.h>

#include "host/cgroup.h"
#include "compile/machine.h"
#include "compile/sets.h"
#include "daemon/sizes.h"
#include "kernel/sources.h"
#include "compile/steps.h"

#define SIZE_MAX_ANY (1u << 22) /* no map grows beyond this many elements */

_Static_assert(2ull * SIZE_MAX_ANY + 1 <= 1ull << SP_SLOT_POLICY_BITS, "an index into policies");

/* A quarter more than asked for, and at least so many. */
static uint32_t with_room(size_t n, uint32_t least)
{
	n += n / 4;
	if (n > SIZE_MAX_ANY)
		return SIZE_MAX_ANY;
	return n < least ? least : (uint32_t)n;
}

/* What effective policies of one policy each would take. */
static void count_policies(const struct config *c, struct kernel_sizes *ret)
{
	size_t n_ops = 0, n_credits = 0, n_tests = 0, n_vectors = 0;

	for (size_t i = 0; i < c->n_policies; i++) {
		const struct policy *p = &c->policies[i];
		size_t n_settings = p->base.n;

		for (size_t r = 0; r < p->n_rules; r++)
			n_settings += p->rules[r].options.n;
		/* An option is due at some three stages; who is credited, at some six. */
		n_ops += 3 * n_settings;
		n_credits += 1 + 6 * (1 + p->n_rules);
		n_tests += p->n_rules ? 12 : 0;
		n_vectors += p->n_rules ? 4 * (2 + 2 * p->n_rules) : 0;
	}
	/* Most cgroups have one more that applies to many. */
	ret->policies = with_room(2 * c->n_policies, 64);
	ret->ops = with_room(3 * n_ops, 1024);
	ret->credits = with_room(3 * n_credits, 1024);
	ret->tests = with_room(2 * n_tests, 256);
	ret->vectors = with_room(2 * n_vectors, 1024);
}

int sizes_for(const struct config *c, size_t n_cgroups, struct kernel_sizes *ret)
{
	_cleanup_(machine_free) struct machine *machine = NULL;
	struct machine_tables tables;
	uint32_t n_nodes;
	int r = machine_new(c, &machine);

	if (r < 0)
		return r;
	tables = machine_tables(machine);
	r = sets_needed_for(c, &n_nodes);
	if (r < 0)
		return r;
	*ret = (struct kernel_sizes){
		/* Hashes take memory as they fill, some for each slot too. */
		.cgroups = with_room(2 * n_cgroups, 4096),
		.steps = with_room(4 * c->n_policies, 1024),
		.failures = 4096,
		.glob_states = with_room(tables.n_states, 256),
		.glob_edges = with_room(tables.n_edges, 1024),
		.sources = with_room(sources_needed(c), 256),
		.range_nodes = with_room(n_nodes, 64),
	};
	count_policies(c, ret);
	return 0;
}

void sizes_raise_cgroups(struct kernel_sizes *s, const char *directory)
{
	uint32_t n = with_room(2 * (1 + cgroup_n_descendants(directory)), 0);

	if (n > s->cgroups)
		s->cgroups = n;
}

struct member {
	enum kernel_map map;
	uint32_t *size;
	uint32_t needed;
};

static bool grow_member(const struct member *m, bool ran_out)
{
	uint32_t needed = with_room(m->needed, 0);

	if (ran_out && needed < 2 * *m->size)
		needed = 2 * *m->size;
	if (needed <= *m->size)
		return true;
	if (*m->size >= SIZE_MAX_ANY)
		return false;
	*m->size = needed < SIZE_MAX_ANY ? needed : SIZE_MAX_ANY;
	return true;
}

bool sizes_grow(struct kernel_sizes *s, const struct governor *failed, int error, const char *what)
{
	const struct kernel_sizes *n = governor_needed(failed);
	const struct member members[] = {
		{ KERNEL_MAP_CGROUPS, &s->cgroups, 2 * n->cgroups },
		{ KERNEL_MAP_GLOB_STATES, &s->glob_states, n->glob_states },
		{ KERNEL_MAP_GLOB_EDGES, &s->glob_edges, n->glob_edges },
		{ KERNEL_MAP_STEPS, &s->steps, n->steps },
		{ KERNEL_MAP_POLICIES, &s->policies, n->policies },
		{ KERNEL_MAP_OPS, &s->ops, n->ops },
		{ KERNEL_MAP_CREDITS, &s->credits, n->credits },
		{ KERNEL_MAP_TESTS, &s->tests, n->tests },
		{ KERNEL_MAP_VECTORS, &s->vectors, n->vectors },
		{ KERNEL_MAP_RANGE_NODES, &s->range_nodes, n->range_nodes },
		{ KERNEL_MAP_SOURCES, &s->sources, n->sources },
	};
	bool is_map = false;

	if (error != -ENOSPC && error != -E2BIG)
		return false;
	for (size_t i = 0; i < ARRAY_SIZE(members); i++) {
		bool ran_out = streq(what, kernel_map_names[members[i].map]);

		is_map |= ran_out;
		if (!grow_member(&members[i], ran_out))
			return false;
	}
	return is_map;
}
