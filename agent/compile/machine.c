// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <errno.h>

#include "compile/machine.h"
#include "compile/machine_children.h"
#include "compile/machine_fit.h"
#include "compile/machine_graph.h"

struct machine {
	bool *has; /* by the policy's place */
	size_t n_left_out;
	struct graph *graph;
	struct sp_glob_edge *edges;
	uint32_t n_edges;
	struct children *children;
};

int machine_new(const struct config *c, struct machine **ret)
{
	_cleanup_(machine_free) struct machine *m = calloc(1, sizeof(*m));
	int r;

	if (!m)
		return -ENOMEM;
	r = machine_fit(c, &m->has, &m->graph);
	if (r == 0)
		r = graph_pack(m->graph, &m->edges, &m->n_edges);
	if (r == 0)
		r = children_new(m, &m->children);
	if (r < 0)
		return r;
	for (size_t i = 0; i < c->n_policies; i++)
		m->n_left_out += !m->has[i];
	*ret = TAKE_PTR(m);
	return 0;
}

void machine_free(struct machine *m)
{
	if (!m)
		return;
	children_free(m->children);
	graph_free(m->graph);
	free(m->edges);
	free(m->has);
	free(m);
}

bool machine_has(const struct machine *m, size_t policy)
{
	return m->has[policy];
}

size_t machine_n_left_out(const struct machine *m)
{
	return m->n_left_out;
}

uint32_t machine_root(const struct machine *m)
{
	(void)m;
	return 1;
}

static uint32_t read_byte(const struct machine *m, uint32_t state, unsigned char byte)
{
	const struct sp_glob_state *s = &m->graph->states[state];
	const struct sp_glob_edge *e = &m->edges[s->first_edge + byte];

	return e->from == state ? e->to : s->otherwise;
}

static uint32_t read_text(const struct machine *m, uint32_t state, const char *text)
{
	for (; *text; text++)
		state = read_byte(m, state, (unsigned char)*text);
	return state;
}

uint32_t machine_future(const struct machine *m, uint32_t state)
{
	return read_byte(m, state, '/');
}

uint32_t machine_step(const struct machine *m, uint32_t state, const char *name)
{
	return read_text(m, machine_future(m, state), name);
}

uint32_t machine_walk(const struct machine *m, const char *path)
{
	return path[1] ? read_text(m, machine_root(m), path) : machine_root(m);
}

uint32_t machine_matches(const struct machine *m, uint32_t state)
{
	return m->graph->states[state].matches;
}

struct matched machine_matched(const struct machine *m, uint32_t matches)
{
	struct matched ret = { 0 };
	const uint32_t *v;
	size_t n;

	if (!matches)
		return ret;
	v = sequences_get(&m->graph->matched, matches, &n);
	ret.n_match = v[0];
	ret.match = v + 1;
	ret.exclude = ret.match + ret.n_match;
	ret.n_exclude = n - 1 - ret.n_match;
	return ret;
}

int machine_children(struct machine *m, uint32_t state, const struct machine_child **ret,
		     size_t *ret_n)
{
	return children_of(m->children, machine_future(m, state), ret, ret_n);
}

struct machine_tables machine_tables(const struct machine *m)
{
	return (struct machine_tables){
		.states = m->graph->states,
		.n_states = m->graph->n_states,
		.edges = m->edges,
		.n_edges = m->n_edges,
	};
}
