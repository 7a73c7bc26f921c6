/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The globs of a configuration as the automaton that the hooks walk at a cgroup's first socket
 * (include/abi.h: glob_nodes, glob_links; bpf/classify.h).  Globs that begin alike share nodes; the
 * automaton is never determinized, so it cannot grow beyond the globs' bytes.
 */
#ifndef SOCKPOL_GLOB_NODES_H
#define SOCKPOL_GLOB_NODES_H

#include <stdint.h>

#include "../include/abi.h"
#include "policy/policy.h"

struct glob_table {
	struct sp_glob_node *nodes; /* owned; SP_GLOB_NODES at most; what is beyond is zero */
	uint32_t n_nodes;
	struct sp_glob_link *links; /* owned; index 0 is unused */
	uint32_t n_links;
	uint32_t n_globs;
};

/* First the tables of `match`, then those of `exclude`. */
struct glob_tables {
	struct glob_table v[SP_GLOB_TABLES_MAX];
	uint32_t n_match, n_exclude;
};

/*
 * The policy at place i of the configuration has the number 1 + i.  Returns 0, -ENOMEM, or -E2BIG:
 * the globs do not fit the tables, or a walk cannot follow one of them; *ret_error is then an owned
 * sentence and *ret_at where the glob stands in the files.
 */
int glob_tables_new(const struct config *c, struct glob_tables *ret, char **ret_error,
		    struct position *ret_at);
void glob_tables_clear(struct glob_tables *t);
/*
 * Can the tables be walked, whoever wrote them?  Every chain of links stays within its table and
 * ends: a link's next one is nearer to the beginning.
 */
bool glob_tables_are_sound(const struct glob_tables *t);

#endif
