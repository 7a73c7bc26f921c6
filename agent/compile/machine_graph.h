/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Inside of the machine (machine.h): its states and the ways between them, first as lists, then
 * packed as the kernel wants them.
 */
#ifndef SOCKPOL_MACHINE_GRAPH_H
#define SOCKPOL_MACHINE_GRAPH_H

#include "../include/abi.h"
#include "compile/glob_tree.h"
#include "base/sequences.h"

struct way {
	uint32_t to;
	uint8_t byte;
};

struct graph {
	/* 0 is unused, 1 is the root.  first_edge: where in `ways` the state's begin, ascending by
	 * byte; they end where the next state's begin. */
	struct sp_glob_state *states;
	uint32_t n_states;
	struct way *ways;
	uint32_t n_ways;
	struct sequences matched; /* by sp_glob_state.matches: how many match, they, they exclude */
	size_t work;		  /* what it took */
};

/*
 * Makes single states of the sets of nodes that can be reached together.  -E2BIG: there are
 * too many of them, or it would take too long.  *ret_work: what it took, also then.
 */
int graph_new(const struct glob_tree *p, struct graph **ret, size_t *ret_work);
void graph_free(struct graph *g);
DEFINE_CLEANUP(struct graph *, graph_free)

/*
 * Lays the states' ways over each other so that few elements stay free, and puts in the states'
 * first_edge where they begin.  The ways are gone then.
 */
int graph_pack(struct graph *g, struct sp_glob_edge **ret, uint32_t *ret_n);

#endif
