/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * One generation: a configuration, and what the kernel has of it in one half of the maps: effective
 * policies, the globs' machine, and the steps of new cgroups.  Effective policies are compiled and
 * written when the first cgroup needs them, so that a new cgroup may bring a new one while the
 * generation is in force.
 */
#ifndef SOCKPOL_GENERATION_H
#define SOCKPOL_GENERATION_H

#include "compile/cascade.h"
#include "kernel/kernel.h"
#include "kernel/sources.h"
#include "host/tree.h"

struct generation;

/* Takes the configuration over, also on failure.  half: 0 or 1, of the maps. */
int generation_new(const struct kernel *k, const struct sources *s, struct config *c, unsigned half,
		   struct generation **ret);
/* No program may use it any more: its steps go.  A negative errno: there are some left, see
 * steps_clear_half(). */
int generation_erase(struct generation *g);
/* Leaves what is in the kernel. */
void generation_free(struct generation *g);
DEFINE_CLEANUP(struct generation *, generation_free)

/*
 * What a cgroup is in this generation, of whose parent (NULL: it is the tree's root) that is known
 * by this half.  Its effective policy is written if need be; see generation_flush().
 * -ENOSPC: no room in this half; *ret_what then names the map.  -E2BIG: too many rules; ret->class
 * and ret->glob are filled in all the same.
 */
int generation_place(struct generation *g, const struct node *n, struct place *ret,
		     const char **ret_what);
/* The same for one whose directory is gone, of which only the policies in force are known. */
int generation_place_by_names(struct generation *g, const char *const *names, size_t n,
			      struct place *ret, const char **ret_what);

/*
 * Writes the globs' machine, and the steps that cgroups below those placed so far can take, so that
 * the kernel classifies new cgroups.  There may be too many: then it writes the likelier ones and
 * generation_steps_cut() is true.  Until this, want of room is counted, not found: -ENOSPC comes
 * from here, when generation_needed() knows how much there must be.
 */
int generation_write_steps(struct generation *g, const char **ret_what);
bool generation_steps_cut(const struct generation *g);
/* The policy matches in steps that are not written, too. */
bool generation_cuts(const struct generation *g, const struct policy *p);
/* How many such policies there are; they only get more. */
size_t generation_n_cut(const struct generation *g);
/*
 * A step that the kernel did not know found no room: the agent resolves what takes it, until a new
 * generation has room for all.  *ret_what names the map.
 */
bool generation_wants_room(const struct generation *g, const char **ret_what);
/* What was placed, and the steps that came with it, is in the kernel only after this. */
int generation_flush(struct generation *g, const char **ret_what);
/* Elements of this half; 0 in what is no half. */
void generation_needed(const struct generation *g, struct kernel_sizes *ret);

const struct config *generation_config(const struct generation *g);
/* The policy's globs are not in the machine: see machine.h. */
bool generation_by_events(const struct generation *g, const struct policy *p);
/* Are there such policies? */
bool generation_needs_events(const struct generation *g);
/* BIT(enum sp_stage): where some policy written so far has something due. */
uint64_t generation_stages(const struct generation *g);
/* Where the policy of a cgroup that was placed has. */
uint64_t generation_stages_of(const struct generation *g, const struct place *place);

#endif
