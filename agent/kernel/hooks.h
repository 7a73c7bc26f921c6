/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The programs and links of one version of the state: each hook is attached only while some policy
 * has something due there, as every connection and every send on the host pays for one that is.
 */
#ifndef SOCKPOL_HOOKS_H
#define SOCKPOL_HOOKS_H

#include <stdint.h>

#include "compile/maps.h"
#include "policy/hook.h"

/* Which stages this kernel has no hook for (BIT(enum sp_stage)), by trying.  -EPERM: no privilege.
 */
int hooks_probe(uint64_t *ret_missing);

struct hooks;

/* maps: of the kernel side, borrowed; programs_load() sets those that are -1.  cgroup_fd: likewise
 * borrowed. */
int hooks_new(int maps[MAP_ID_MAX], int cgroup_fd, uint64_t cgroup_id, struct hooks **ret);
/* What is pinned stays attached. */
void hooks_free(struct hooks *h);
DEFINE_CLEANUP(struct hooks *, hooks_free)

/* BIT(enum sp_stage): those that this kernel has no hook for. */
uint64_t hooks_missing_stages(const struct hooks *h);

/*
 * A new version of the state.  hooks_load() loads the programs that these stages need, and makes
 * the maps.  hooks_attach() pins links and programs in `dir`: the links that one of the `earlier`
 * directories of pins has to the same cgroup, still with their programs, and new ones.  Then
 * hooks_take_over() gives the earlier links our programs, with no connection missed.  Where that
 * fails at the first of them nothing has changed; else it goes on, hooks_are_behind() tells, and
 * hooks_use_stages() tries those again.
 */
int hooks_load(struct hooks *h, uint64_t stages);
int hooks_attach(struct hooks *h, const char *dir, const char *const *earlier);
int hooks_take_over(struct hooks *h);
bool hooks_are_behind(const struct hooks *h);
/* The pins are elsewhere now: the directory was renamed. */
int hooks_moved(struct hooks *h, const char *dir);

/*
 * An earlier agent's links and programs over the same maps: those that are as they should be stay,
 * the others get their programs anew.  same_programs: the earlier agent's were built from the same
 * object.
 */
int hooks_adopt(struct hooks *h, const char *dir, uint64_t stages, bool same_programs);

/* Attaches and pins the hooks that these stages need, and detaches the others. */
int hooks_use_stages(struct hooks *h, uint64_t stages);
/* Whoever else holds the links; the pins stay. */
void hooks_detach(struct hooks *h);

/* See kernel_n_lost(), kernel_mend(). */
size_t hooks_n_lost(const struct hooks *h, size_t *ret_n_detached);
int hooks_mend(struct hooks *h);

#endif
