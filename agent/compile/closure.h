/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Which classes and policies cgroups can come to that do not live yet: breadth first from those
 * that do, over what can match further down, so that the kernel knows the step that a new cgroup
 * takes before there is one.  There may be very many; what is farther from the living is cut.
 */
#ifndef SOCKPOL_CLOSURE_H
#define SOCKPOL_CLOSURE_H

#include "compile/policy_maps.h"
#include "compile/steps.h"

struct closure;

/* All of these must outlive it. */
int closure_new(struct machine *m, struct cascade *c, struct policy_maps *policies,
		struct steps *steps, struct closure **ret);
void closure_free(struct closure *c);
DEFINE_CLEANUP(struct closure *, closure_free)

/* From a cgroup of this class, where the machine is in `state`. */
int closure_add(struct closure *c, uint32_t state, const struct cgroup_class *k);
/*
 * Writes all steps from what was added so far, as far as its own bounds go.  Any error is a real
 * one, after which it can be tried again; -ENOSPC: *ret_what names the map that is full.
 */
int closure_run(struct closure *c, const char **ret_what);
/* Writes one step.  Errors as of policy_maps_index(): there is none then. */
int closure_step(struct closure *c, const struct cgroup_class *parent, uint32_t matches,
		 const char **ret_what);
/* It could not follow everything. */
bool closure_is_cut(const struct closure *c);
/* Where it could not, this policy (its place in the configuration) can match. */
bool closure_cuts(const struct closure *c, size_t policy);
/* How many such policies there are; they only get more. */
size_t closure_n_cut(const struct closure *c);

#endif
