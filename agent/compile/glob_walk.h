/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The walk of bpf/classify.h for userspace: finds which policies apply to the cgroup at a path, by
 * the same tables, without bounds on what is active at once.  `status --cgroups` and the dry run
 * use it; the differential test compares the two.
 */
#ifndef SOCKPOL_GLOB_WALK_H
#define SOCKPOL_GLOB_WALK_H

#include "base/util.h"
#include "compile/glob_nodes.h"

struct glob_list {
	uint16_t number[SP_LIST_MAX]; /* numbers of policies, weakest first */
	uint32_t n;
	bool left_out; /* there were more than SP_LIST_MAX */
};

/*
 * Remembers the way to the last path and goes on from the part that the next path shares with it.
 * A whole hierarchy, parents first, so costs each name once, however deep it is nested.  The tables
 * must outlive the walker.
 */
struct glob_walker;
int glob_walker_new(const struct glob_tables *t, struct glob_walker **ret);
void glob_walker_free(struct glob_walker *w);
DEFINE_CLEANUP(struct glob_walker *, glob_walker_free)

/* Finds the policies for a path, as for glob_match().  Returns 0 or -ENOMEM. */
int glob_walker_walk(struct glob_walker *w, const char *path, struct glob_list *ret);

/* Finds the policies for a single path. */
int glob_walk(const struct glob_tables *t, const char *path, struct glob_list *ret);

#endif
