/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * A walk over the sockets of a network namespace that are open already, by bpf/walk.bpf.c: it shows
 * what they have beside what is in force, sets that, or takes back what is not in force any more.
 */
#ifndef SOCKPOL_WALK_H
#define SOCKPOL_WALK_H

#include "../include/walk_abi.h"
#include "host/host.h"
#include "option/option.h"

struct walker;

/*
 * Loads the programs, over the generation that is in force and the one before, if that is there.
 * Attaches nothing.  Returns 0; those of pinned_open(); -ESTALE: reloads came again and again; or
 * another negative errno, logged.
 */
int walker_open(const char *pin_dir, struct walker **ret);
void walker_close(struct walker *w);
DEFINE_CLEANUP(struct walker *, walker_close)

/* The state when it was opened. */
const struct sp_state *walker_state(const struct walker *w);
bool walker_has_previous(const struct walker *w);
/* How many sockets the pass that runs now has looked at; from any thread. */
uint64_t walker_looked_at(const struct walker *w);
/* The rows of the option table, as the last run took them. */
const struct walk_option *walker_options(const struct walker *w);

/* What a run is asked; the other members of struct walk_run the walker fills in. */
struct walk_request {
	enum walk_mode mode;
	bool is_dry, only_applying;
	uint64_t cgroup;	  /* 0: all */
	const uint64_t *counters; /* bits of SP_COUNTERS_MAX: whose options; NULL: everybody's */
	/* --option: by row, with WALK_BY_HAND_* and a value; NULL: none. */
	const struct walk_option *by_hand;
};

/* Takes a record; items: socket->n_items.  Until it returns something other than 0. */
typedef int walk_socket_fn(const struct walk_socket *socket, const struct walk_item *items,
			   void *userdata);

/* What runs counted. */
struct walk_totals {
	struct walk_counts counts;
	struct walk_refusal *refusals; /* owned; which errno, and ... */
	uint64_t *n_refused;	       /* ... how often; owned */
	size_t n_refusals;
};
void walk_totals_clear(struct walk_totals *t);

/*
 * Walks over the network namespace that this thread is in, adding to *totals.  Where sockets come
 * and go, older kernels may pass over some: so a run that sets goes on until nothing is left to
 * set. fn: of WALK_SHOW.  Returns 0, what fn returned, or a negative errno, logged.
 */
int walker_run(struct walker *w, const struct walk_request *request, struct walk_totals *totals,
	       walk_socket_fn *fn, void *userdata);

/* Describes an option for sockets in a network namespace.  fresh: the text of its sysctl, or NULL:
 * it cannot be read.  h: of that namespace. */
void walk_option_describe(const struct option *o, const struct host *h, const char *fresh,
			  struct walk_option *ret);

#endif
