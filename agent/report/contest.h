/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Who may win an option, by what a generation's maps have: the files' image, or what is in force.
 * Read as the hooks read it (bpf/apply.h), and without the indices that a generation numbers as it
 * comes, so that contests of two generations compare.
 */
#ifndef SOCKPOL_CONTEST_H
#define SOCKPOL_CONTEST_H

#include "compile/glob_walk.h"
#include "compile/image.h"
#include "option/option.h"
#include "report/counters.h"

/* A generation that is looked at.  The image and the names must outlive it. */
struct generation_view {
	const struct image *image;
	const struct counters *counters;
	struct conditions **conditions; /* owned, as they are; by the policy's number */
};

/* image NULL: nothing is in force.  Returns 0 or -ENOMEM. */
int generation_view_init(struct generation_view *v, const struct image *image,
			 const struct counters *counters);
void generation_view_clear(struct generation_view *v);

/* An element of the maps; NULL where there is none with this index. */
const void *generation_view_at(const struct generation_view *v, enum map_id map, uint32_t index);
/* Policies have the numbers from 1 to below this. */
uint32_t generation_view_n_policies(const struct generation_view *v);
/* "?" where the maps are not as they should be. */
const char *generation_view_policy_name(const struct generation_view *v, uint32_t number);

struct contestant {
	bool present;
	const struct option *option;  /* in its own spelling */
	const struct sp_op *op;	      /* NULL: leaves the option alone */
	const struct sp_counter *who; /* that says so */
	uint64_t condition;	      /* of a rule: the same number for the same condition */
};

/* One option at one stage. */
struct contest {
	struct contestant base;	  /* wins where none of the rules holds */
	struct contestant *rules; /* owned; weakest first */
	size_t n_rules;
};

/* All options of a stage, by enum option_id: of two spellings the first. */
struct contests {
	struct contest v[OPTION_MAX];
};

/* The stage in a cgroup with these policies.  Returns 0, -ENOMEM, or -EPROTO: the maps make no
 * sense. */
int contests_read(struct generation_view *v, const struct glob_list *list, enum sp_stage s,
		  struct contests *ret);
void contests_clear(struct contests *c);

/* The operation's value in the words of the option table; owned. */
int contestant_value(const struct contestant *c, char **ret);

#endif
