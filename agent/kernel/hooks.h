/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Where the programs are attached, and the pins of that.  An earlier agent's links to the same
 * cgroup get our programs in place, with no connection missed.
 */
#ifndef SOCKPOL_HOOKS_H
#define SOCKPOL_HOOKS_H

#include <stdint.h>

#include <bpf/libbpf.h>

#include "base/util.h"

/*
 * Which stages this kernel has no hook for (BIT(enum sp_stage)), by trying.  -EPERM: no privilege.
 */
int hooks_probe(uint64_t *ret_missing);

struct hooks;

/* Before the object is loaded: programs that this kernel has no hook for are left out. */
int hooks_new(struct bpf_object *object, struct hooks **ret);
/* What is pinned stays attached. */
void hooks_free(struct hooks *h);
DEFINE_CLEANUP(struct hooks *, hooks_free)

/* BIT(enum sp_stage): those that this kernel has no hook for. */
uint64_t hooks_missing_stages(const struct hooks *h);

/* Attaches those that see cgroups come and go.  -ENOTSUP: this kernel has nothing to attach them
 * to, or does not let us; not logged. */
int hooks_watch(struct hooks *h);

/*
 * hooks_prepare() attaches what was not attached yet, and pins it under names of its own: until
 * hooks_replace(), which gives earlier links our programs, nothing has changed that was there.
 * After it hooks_commit() pins under the right names and drops what no policy needs.
 *
 * When hooks_replace() fails, the programs of `from` are put back: those of a governor of this
 * agent, or NULL.  Another agent's cannot be had (to get a program by its id takes CAP_SYS_ADMIN):
 * then it fails only where nothing was replaced yet, else it goes on, and hooks_are_behind() tells
 * whether some programs are still the earlier agent's; hooks_use_stages() tries those again.
 */
int hooks_prepare(struct hooks *h, int cgroup_fd, uint64_t cgroup_id, const char *pin_dir);
int hooks_replace(struct hooks *h, const struct hooks *from);
bool hooks_are_behind(const struct hooks *h);
int hooks_commit(struct hooks *h);

/* See kernel_use_stages(). */
int hooks_use_stages(struct hooks *h, uint64_t stages);
uint64_t hooks_stages(const struct hooks *h);
/* See kernel_pins_lost(), kernel_pin_again(). */
size_t hooks_pins_lost(const struct hooks *h);
int hooks_pin_again(struct hooks *h);
/* Also where somebody else holds the links. */
void hooks_detach(struct hooks *h);

#endif
