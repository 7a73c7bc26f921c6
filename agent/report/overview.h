/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What `sockpol status` knows: read from the pinned maps and links, then from the agent if one
 * runs. */
#ifndef SOCKPOL_OVERVIEW_H
#define SOCKPOL_OVERVIEW_H

#include <jansson.h>
#include <stdint.h>
#include <sys/types.h>

#include "kernel/neighbours.h"
#include "kernel/pinned.h"

/* A program at its hook. */
struct overview_link {
	const char *hook; /* the program's name */
	uint32_t link_id, program_id;
	uint32_t attach_type; /* enum bpf_attach_type, on a cgroup */
	uint64_t cgroup_id;   /* 0: that cgroup is gone, or somebody detached it */
};

struct overview_failure {
	const char *rule; /* "" for the policy's base options */
	const char *option;
	int error; /* positive errno */
	uint64_t count;
};

struct overview_rule {
	const char *name;
	uint64_t applied;
};

struct overview_policy {
	const char *name;
	uint64_t applied; /* sockets for which the policy held, once per direction */
	struct overview_rule *rules;
	size_t n_rules;
	struct overview_failure *failed;
	size_t n_failed;
	uint64_t n_cgroups; /* live cgroups to which the policy applies; see
			       overview_count_cgroups() */
	bool is_overridden; /* in each of these, stronger policies set all that it sets */
};

/* A counter and its names. */
struct overview_counter {
	uint32_t index;
	struct sp_counter whose;
	uint64_t applied;
};

struct overview {
	bool running;	  /* an agent for these pins has the control socket ... */
	bool answers;	  /* ... and is not stopped or stuck */
	pid_t pid;	  /* 0: not known */
	char *other_pins; /* where the agent at the control socket, if not ours, has its pins */
	char *verdict;	  /* on its last load */
	bool degraded;
	char *source, *source_dir; /* where what is in force comes from; NULL: not known */
	/* What policies ask for and this kernel lacks: objects with `policy`, `rule` (or null),
	 * `what`, `since`.  NULL: no agent answers. */
	json_t *unsupported;
	uint64_t pins_lost; /* pins of the agent that somebody removed */

	struct sp_state state;
	struct overview_link *links;
	size_t n_links;
	struct neighbour *neighbours; /* programs of others at the same hooks */
	size_t n_neighbours;
	struct overview_counter
		*counters; /* by policy: the names that the pointers here point to */
	size_t n_counters;
	struct overview_policy *policies; /* by name */
	size_t n_policies;
	bool has_cgroups;    /* they were counted */
	uint64_t n_cgroups;  /* that live below the root ... */
	uint64_t n_governed; /* ... and to which some policy applies */

	/* Elements and room of the maps that fill up. */
	uint64_t n_failures, room_failures, room_counters;
};

/*
 * Reads the overview.  p NULL: only the agent is asked; runtime_dir NULL: only the pins are read.
 * Returns 0 or a negative errno, those of pinned_open() among them.
 */
int overview_read(const char *pin_dir, const char *runtime_dir, const struct pinned *p,
		  struct overview *ret);
/* Counts the live cgroups of each policy.  only_overridden: only if some policy can be overridden.
 * Returns 0 or a negative errno. */
int overview_count_cgroups(struct overview *o, const char *pin_dir, bool only_overridden);
/* Returns the names of the policies, the first few of many; owned.  NULL: memory is out. */
char *overview_name_policies(const struct overview *o);
/* Asks only the agent, for when there is nothing to read. */
void overview_ask(struct overview *o, const char *pin_dir, const char *runtime_dir);
void overview_clear(struct overview *o);
/* Logs why there is no overview: an error of pinned_open() or overview_read(). */
void overview_complain(int err, const char *pin_dir);

#endif
