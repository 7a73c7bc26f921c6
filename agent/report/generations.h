/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What is in force, and what files would put in force: two configurations as maps have them. */
#ifndef SOCKPOL_GENERATIONS_H
#define SOCKPOL_GENERATIONS_H

#include "compile/glob_walk.h"
#include "compile/image.h"
#include "report/counters.h"

/* One of the two. */
struct generation_view {
	const struct image *image;	     /* NULL: nothing is in force */
	const struct counters *counters;     /* whose the image's counters are */
	struct rule_conditions **conditions; /* owned, as they are; by the policy's number */
};

/* Both must outlive the view.  Returns 0 or -ENOMEM. */
int generation_view_init(struct generation_view *v, const struct image *image,
			 const struct counters *counters);
void generation_view_clear(struct generation_view *v);

/* An element of the maps; NULL where there is none with this index. */
const void *generation_view_at(const struct generation_view *v, enum map_id map, uint32_t index);
/* Policies have the numbers from 1 to below this. */
uint32_t generation_view_n_policies(const struct generation_view *v);
/* "?" where the maps are not as they should be. */
const char *generation_view_policy_name(const struct generation_view *v, uint32_t number);
/* The number of the policy with this name; 0: there is none. */
uint32_t generation_view_find(const struct generation_view *v, const char *name);

struct generations {
	bool are_pinned; /* something is in force */
	struct sp_state state;
	char *mount, *root; /* where the programs are attached; root NULL: that cgroup is gone */
	struct counters *counters;
	struct image *pinned, *built;
	struct glob_walker *walk_pinned, *walk_built;
	struct generation_view in_force, files;
};

/*
 * config: of the files; NULL: only what is in force is of interest.  Nothing in force is no
 * failure. Returns 0; -E2BIG: the files do not fit the maps, *ret_error and *ret_at as image_new()
 * has them; or a negative errno: those of pinned_open() and cgroup_mount(), -ESTALE: reloads came
 * again and again.
 */
int generations_open(const char *pin_dir, const struct config *config, struct generations **ret,
		     char **ret_error, struct position *ret_at);
void generations_close(struct generations *g);
DEFINE_CLEANUP(struct generations *, generations_close)

/* The policies in force for the cgroup at this path: none outside of the root.  Returns 0 or
 * -ENOMEM. */
int generations_list_in_force(const struct generations *g, const char *path, struct glob_list *ret);
/* Those of the files. */
int generations_list_of_files(const struct generations *g, const char *path, struct glob_list *ret);

#endif
