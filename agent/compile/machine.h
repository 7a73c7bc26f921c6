/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * All globs of a configuration as one machine: a deterministic automaton that reads the path of a
 * cgroup byte by byte and knows at its end which policies match.  A child's state follows from its
 * parent's and its own name, so the kernel runs it inside mkdir(2), and userspace over the whole
 * hierarchy in one pass.  What it says is what glob_match() says.
 *
 * Globs can make an automaton grow exponentially.  The policies whose globs do are left out: for
 * them the agent asks glob_match(), when it hears of a new cgroup.
 */
#ifndef SOCKPOL_MACHINE_H
#define SOCKPOL_MACHINE_H

#include "../include/abi.h"
#include "compile/cascade.h"

#define MACHINE_STATES_MAX 131072u

struct machine;

/* The configuration must outlive it.  Returns 0 or -ENOMEM. */
int machine_new(const struct config *c, struct machine **ret);
void machine_free(struct machine *m);
DEFINE_CLEANUP(struct machine *, machine_free)

/* Is the policy (its place in the configuration) in the machine? */
bool machine_has(const struct machine *m, size_t policy);
size_t machine_n_left_out(const struct machine *m);

/* States are 1, 2, ...; this is that of the root, "/". */
uint32_t machine_root(const struct machine *m);
/* The state of the child called `name` of a cgroup in `state`. */
uint32_t machine_step(const struct machine *m, uint32_t state, const char *name);
/* The same for a whole path ("/" or "/a/b"). */
uint32_t machine_walk(const struct machine *m, const char *path);

/* What matches a path that ends in the state, as a number: 1, 2, ...; 0: nothing. */
uint32_t machine_matches(const struct machine *m, uint32_t state);
/* And as policies; valid as long as the machine.  matches 0: all empty. */
struct matched machine_matched(const struct machine *m, uint32_t matches);

/*
 * What a cgroup's children can be: for each way that a name can lead from `state`, what matches at
 * the child (0 too), and some state that stands for all children from which everything goes on
 * alike.  No two entries are equal.  Valid as long as the machine.
 */
struct machine_child {
	uint32_t matches;
	uint32_t state;
};
/* Returns 0, -ENOMEM, or -ENOSPC: it has been asked for too much in all. */
int machine_children(struct machine *m, uint32_t state, const struct machine_child **ret,
		     size_t *ret_n);
/* Equal for two states from which everything goes on alike (that they match may differ). */
uint32_t machine_future(const struct machine *m, uint32_t state);

/* The tables for the kernel; index 0 of states is unused; edges from state s with first_edge. */
struct machine_tables {
	const struct sp_glob_state *states;
	uint32_t n_states; /* index 0 included */
	const struct sp_glob_edge *edges;
	uint32_t n_edges; /* room for first_edge + 255 of every state */
};
struct machine_tables machine_tables(const struct machine *m);

#endif
