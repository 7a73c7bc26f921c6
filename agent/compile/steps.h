/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What the kernel classifies new cgroups with, of one generation: the globs' machine in one half of
 * the maps `glob_states` and `glob_edges`, and its entries of the map `steps`.
 */
#ifndef SOCKPOL_STEPS_H
#define SOCKPOL_STEPS_H

#include "compile/cascade.h"
#include "kernel/kernel.h"
#include "compile/machine.h"

#define STEPS_MAX 16384u

struct steps;

/* The machine must outlive it.  half: 0 or 1. */
int steps_new(const struct kernel *k, const struct machine *m, unsigned half, struct steps **ret);
/* Takes its entries out of the map: no program may look for them any more. */
int steps_erase(struct steps *s);
/* Leaves what is in the kernel. */
void steps_free(struct steps *s);
DEFINE_CLEANUP(struct steps *, steps_free)

/* Numbers in the kernel, and back; 0 for NULL. */
uint32_t steps_class_number(const struct steps *s, const struct cgroup_class *k);
uint32_t steps_glob(const struct steps *s, uint32_t state);
uint32_t steps_state(const struct steps *s, uint32_t glob);

/* -ENOSPC: *ret_what names the map that is too small. */
int steps_write_machine(struct steps *s, const char **ret_what);
bool steps_has(const struct steps *s, const struct cgroup_class *parent, uint32_t matches);
/* -ENOSPC: no room; *ret_what then names the map. */
int steps_add(struct steps *s, const struct cgroup_class *parent, uint32_t matches,
	      const struct cgroup_class *class, uint32_t policy, const char **ret_what);
/* What was added is in the kernel only after this, and after what it points to must be. */
int steps_flush(struct steps *s, const char **ret_what);

/* As policy_maps_count() and policy_maps_needed(). */
void steps_count(struct steps *s, bool count);
void steps_needed(const struct steps *s, struct kernel_sizes *ret);

/* Takes out what an agent before us left of a half's entries. */
int steps_clear_half(const struct kernel *k, unsigned half);

#endif
