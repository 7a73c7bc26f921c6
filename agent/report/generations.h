/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Two configurations as maps hold them: the one in force, and the one that the files would put in
 * force. */
#ifndef SOCKPOL_GENERATIONS_H
#define SOCKPOL_GENERATIONS_H

#include "compile/glob_walk.h"
#include "compile/image.h"
#include "kernel/pinned.h"

/* The names behind counters' indices, of both. */
struct counters;

/* Reads the names in force.  p NULL: nothing is in force.  Returns 0 or a negative errno. */
int counters_read(const struct pinned *p, struct counters **ret);
void counters_free(struct counters *c);
DEFINE_CLEANUP(struct counters *, counters_free)

/* Returns the names for an index; NULL: the index is unused. */
const struct sp_counter *counters_at(const struct counters *c, uint32_t index);

/* An image_counter_fn; userdata: struct counters.  Gives a policy or rule without an index a new
 * one; 0: memory is out. */
uint32_t counters_index(const struct policy *p, const char *rule, void *userdata);

/* One of the two configurations. */
struct generation_view {
	struct image *image;		     /* owned; NULL: nothing is in force */
	struct glob_walker *walker;	     /* owned; over the image's globs */
	const struct counters *counters;     /* the names of the image's counters */
	struct rule_conditions **conditions; /* owned, each as well; by the policy's number */
};

/* Sets up a view, of which only the image may be set.  `counters` must outlive it.  Returns 0 or
 * -ENOMEM. */
int generation_view_init(struct generation_view *v, const struct counters *counters);
void generation_view_clear(struct generation_view *v);

/* Returns an element of a map; NULL where the index is beyond it. */
const void *generation_view_at(const struct generation_view *v, enum map_id map, uint32_t index);
/* Returns the number above those of all policies, which begin with 1. */
uint32_t generation_view_n_policies(const struct generation_view *v);
/* Returns the name of a policy; "?" where the maps make no sense. */
const char *generation_view_policy_name(const struct generation_view *v, uint32_t number);
/* Returns the number of the policy with this name; 0: there is none. */
uint32_t generation_view_find(const struct generation_view *v, const char *name);

struct generations {
	bool are_pinned; /* something is in force */
	struct sp_state state;
	char *mount, *root; /* where the programs are attached; root NULL: that cgroup is gone */
	struct counters *counters;
	struct generation_view in_force, files;
};

/*
 * Reads both.  config: of the files; NULL: only what is in force is of interest.  Nothing in force
 * is no failure.  Returns 0; -E2BIG: the files do not fit the maps, *ret_error and *ret_at as from
 * image_new(); or a negative errno: those of pinned_open() and cgroup_mount(), -ESTALE: reloads
 * came again and again.
 */
int generations_open(const char *pin_dir, const struct config *config, struct generations **ret,
		     char **ret_error, struct position *ret_at);
void generations_close(struct generations *g);
DEFINE_CLEANUP(struct generations *, generations_close)

/* Lists the policies in force for the cgroup at this path; none outside of the root.  Returns 0 or
 * -ENOMEM. */
int generations_list_in_force(const struct generations *g, const char *path, struct glob_list *ret);
/* Lists the policies of the files for the cgroup at this path. */
int generations_list_of_files(const struct generations *g, const char *path, struct glob_list *ret);

#endif
