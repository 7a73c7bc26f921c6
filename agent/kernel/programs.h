/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The BPF object: from its bytes in this executable to programs in the kernel. */
#ifndef SOCKPOL_PROGRAMS_H
#define SOCKPOL_PROGRAMS_H

#include <stdint.h>

#include "compile/maps.h"
#include "policy/hook.h"

/* The first version of Linux that has all helpers that the programs call. */
#define PROGRAMS_KERNEL_FLOOR "5.17"

/* Tells builds with different programs apart; never 0. */
uint64_t programs_digest(void);

/*
 * Can programs that classify cgroups run here, as far as the kernel's age and its lockdown go?
 * Returns 0, or a negative errno, logged with what is missing.
 */
int programs_check_kernel(void);

/* The stages for which this kernel has no hook (BIT(enum sp_stage)), by trying.  -EPERM: no
 * privilege.  stages: those that are due; it takes milliseconds to try BPF LSM, so until its hook
 * is due it counts as missing. */
int programs_probe_hooks(uint64_t stages, uint64_t *ret_missing_stages);

/*
 * Loads the programs of some hooks (BIT(enum hook_id)), side by side, over the maps whose
 * descriptors are there; those that are -1 are made, and are then the caller's, also on failure.
 * programs: by enum hook_id; those of `hooks` are set.  Errors are logged.
 */
int programs_load(uint32_t hooks, int maps[MAP_ID_MAX], int programs[HOOK_MAX]);

#endif
