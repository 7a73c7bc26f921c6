// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <errno.h>

#include "compile/reach.h"

#define BYTES 256u

static uint32_t next_state(const struct machine_tables *t, uint32_t state, unsigned byte)
{
	const struct sp_glob_state *s = &t->states[state];
	const struct sp_glob_edge *e = &t->edges[s->first_edge + byte];

	return e->from == state ? e->to : s->otherwise;
}

static int make_room(struct reach *r, size_t policy)
{
	size_t room = r->room_policies ? r->room_policies : 64;
	bool *grown;

	if (policy < r->room_policies)
		return 0;
	while (room <= policy)
		room *= 2;
	grown = realloc(r->policies, room * sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	memset(grown + r->room_policies, 0, (room - r->room_policies) * sizeof(*grown));
	r->policies = grown;
	r->room_policies = room;
	return 0;
}

static int add_policies(struct reach *r, const uint32_t *places, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (make_room(r, places[i]) < 0)
			return -ENOMEM;
		r->n += !r->policies[places[i]];
		r->policies[places[i]] = true;
	}
	return 0;
}

int reach_matches(struct reach *r, uint32_t matches)
{
	struct matched matched = machine_matched(r->machine, matches);
	int added = matches ? pair_set_add(&r->matches, matches, 1) : 0;

	if (added <= 0)
		return added;
	added = add_policies(r, matched.match, matched.n_match);
	return added < 0 ? added : add_policies(r, matched.exclude, matched.n_exclude);
}

static void push(struct reach *r, uint32_t state, size_t *n)
{
	if (r->states[state])
		return;
	r->states[state] = true;
	r->stack[(*n)++] = state;
}

/* A state in the middle of a name counts too: the name may end there. */
int reach_below(struct reach *r, uint32_t state)
{
	const struct machine_tables t = machine_tables(r->machine);
	size_t n = 0;
	int e = 0;

	if (!r->states)
		r->states = calloc(t.n_states, sizeof(*r->states));
	if (!r->stack)
		r->stack = calloc(t.n_states, sizeof(*r->stack));
	if (!r->states || !r->stack)
		return -ENOMEM;
	push(r, machine_future(r->machine, state), &n);
	while (n && e == 0) {
		state = r->stack[--n];
		e = reach_matches(r, machine_matches(r->machine, state));
		for (unsigned byte = 1; byte < BYTES; byte++)
			push(r, next_state(&t, state, byte), &n);
	}
	return e;
}

bool reach_has(const struct reach *r, size_t policy)
{
	return policy < r->room_policies && r->policies[policy];
}

size_t reach_n(const struct reach *r)
{
	return r->n;
}

void reach_clear(struct reach *r)
{
	free(r->states);
	free(r->stack);
	pair_set_clear(&r->matches);
	free(r->policies);
	*r = (struct reach){ .machine = r->machine };
}
