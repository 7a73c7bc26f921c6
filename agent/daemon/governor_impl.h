/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What a governor is made of, for the files that it is made of:
 *
 *   governor.c   its life: new or adopted, from one generation to the next
 *   placing.c    what a cgroup is in each half of the maps, and its entry
 *   following.c  cgroups come and go
 *   stale.c      listeners that keep old values
 *   gone_pinned.c  cgroups without a directory that only earlier pins know of
 */
#ifndef SOCKPOL_GOVERNOR_IMPL_H
#define SOCKPOL_GOVERNOR_IMPL_H

#include <limits.h>

#include "compile/generation.h"
#include "daemon/gone.h"
#include "daemon/governor.h"
#include "kernel/sources.h"
#include "host/tree.h"

struct governor {
	struct kernel *kernel;
	struct sources *sources;
	struct tree *tree;
	struct gone *gone;
	char *mount;	 /* of cgroup2 */
	char *directory; /* of the cgroup that the programs are attached to */
	/* By half of the maps.  Both are there only in the middle of governor_activate(). */
	struct generation *generations[2];
	/* What is in force is an earlier agent's: of its generation only the maps are known. */
	bool adopted;
	uint64_t adopted_stages; /* what it has due; then 0 */
	bool leftovers[2];	 /* the half may have steps that nobody knows of */
	bool unsettled;		 /* entries may have different halves */
	size_t n_untidy;	 /* entries that could not be settled */
	size_t n_governed;
	uint64_t n_given_up;	    /* cgroups that are not governed as they should be */
	uint64_t events_lost;	    /* as far as the tree was scanned for them */
	bool scan_again;	    /* a cgroup could not be kept track of */
	bool needs_room;	    /* see governor_needs_room() */
	size_t n_cut;		    /* policies with SP_SOURCE_CUT, at the last mark_policies() */
	struct kernel_sizes needed; /* see governor_needed() */
	const char *what;	    /* what ran out */
	char complaint[512];	    /* see governor_complaint() */
	char complaint_file[PATH_MAX];
	struct position complaint_at;
	bool warned; /* that a cgroup could not be governed */
};

unsigned half_in_force(const struct governor *g);
/* For messages. */
const char *path_of(const struct node *n);

struct gone_maps gone_maps_of(const struct kernel *k);

/* placing.c */

/* Before the switch, for tree_walk(): finds what the next generation makes of it; writes nothing.
 */
int place_next(struct node *n, void *userdata);
/* Writes what all halves make of it; then they are unsettled. */
int write_place(struct node *n, void *userdata);
/* After the switch, or in place of it when it was given up: both halves say what is in force. */
int settle_place(struct node *n, void *userdata);
/* A cgroup that no generation knows yet; for tree_scan() too. Failures are logged and counted. */
int place_new(struct node *n, void *userdata);
/* Of a cgroup that the kernel has released. */
void forget(struct governor *g, struct node *n);
bool directory_is_there(const struct governor *g, const struct node *n);
/* Says in the map `state` what the programs and `status` are to know of the generation in force. */
void mark_state(struct governor *g);
/* And of its policies. */
void mark_policies(struct governor *g);
/* The hooks look at state->stages or state->sock_ops first, and are attached only while a
 * generation needs them. */
int use_stages(struct governor *g);

/* following.c */

void on_cgroup_event(const struct sp_event *event, void *userdata);

/* stale.c */

/* Between the switch and settling: both generations are there to compare. */
void name_stale_listeners(struct governor *g);
/* Before a detach: whatever is in force goes. */
void name_all_listeners(struct governor *g);

#endif
