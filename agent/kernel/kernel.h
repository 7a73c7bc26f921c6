/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The programs and maps in the kernel.
 *
 *   kernel_load       new maps, programs verified and attached; nothing is due anywhere yet
 *   kernel_adopt      or those that an earlier agent left pinned
 *   kernel_take_over  earlier links get our programs
 *   kernel_commit     what was loaded takes the place of what an earlier agent left pinned
 *   kernel_detach     nothing of it is left
 *   kernel_free       closes the file descriptors: what is pinned works on
 *
 * generation.h says what the maps hold.
 */
#ifndef SOCKPOL_KERNEL_H
#define SOCKPOL_KERNEL_H

#include <stdint.h>

#include "../include/abi.h"
#include "base/util.h"
#include "compile/maps.h"
#include "policy/hook.h"

/* A hook is attached only while some policy has something due there, as every connection and every
 * send on the host pays for one that is. */
struct attached {
	int program; /* -1: not loaded */
	int link;    /* -1: not attached */
	bool behind; /* the link has an earlier agent's program */
};

struct kernel {
	int maps[MAP_ID_MAX];
	int cgroup_fd;
	uint64_t cgroup_id;
	uint64_t missing_stages; /* BIT(enum sp_stage): those that it has no hook for */
	struct attached hooks[HOOK_MAX];
	struct sp_state *state; /* the map itself, shared with the programs */
	uint64_t earlier;	/* the generation that an earlier agent has in force; 0: none */
	const char *pin_dir;	/* borrowed */
	char *dir;		/* below it: of the pins, `next/` or `current/` */
	bool in_place;
};

/* The cgroup at which programs are attached, and the directory of their pins. */
struct kernel_place {
	const char *directory; /* of the cgroup */
	uint64_t cgroup_id;
	uint64_t mount_id;   /* the cgroup at the mount */
	const char *pin_dir; /* locked by pin_dir_open(), and pin_dir_recover() was called;
			      * borrowed */
};

/*
 * Makes `next/` in the pin directory, with hooks for these stages (BIT(enum sp_stage)).  Links that
 * an earlier agent has to the same cgroup keep its programs until kernel_take_over().
 */
int kernel_load(const struct kernel_place *place, uint64_t stages, struct kernel **ret);
/* When a generation is in force in the maps.  On failure what an earlier agent left is as it was;
 * afterwards there is no way back. */
int kernel_take_over(struct kernel *k);
/* Its pins come in force, and what was there goes.  Errors are logged, and change nothing. */
void kernel_commit(struct kernel *k);
/*
 * What `current/` has, with what it holds in force.  -ENOENT: nothing is pinned there; -EPROTO: it
 * is of another SP_ABI_VERSION, or not complete, or for another cgroup; neither is logged.
 */
int kernel_adopt(const struct kernel_place *place, struct kernel **ret);
/* Gives up what kernel_take_over() has not put in force. */
void kernel_free(struct kernel *k);
DEFINE_CLEANUP(struct kernel *, kernel_free)

/* Attaches the hooks at which policies have something due, and detaches the others. */
int kernel_use_stages(struct kernel *k, uint64_t stages);
void kernel_detach(struct kernel *k);

/* How many pins somebody else removed and links somebody detached; mends that.  pin_dir
 * may have been made again.  *ret_attached: hooks (BIT(enum hook_id)) attached again.  Errors are
 * logged. */
size_t kernel_n_lost(const struct kernel *k);
int kernel_mend(struct kernel *k, uint32_t *ret_attached);

/* The next generation's number: they go on counting from one version of the state to the next. */
uint64_t kernel_next_generation(const struct kernel *k);

#endif
