/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The pin directory of an agent: its lock, and what lies in it, whichever version of sockpol pinned
 * it.  Some of that can only be seen with CAP_SYS_ADMIN; without, names and kinds must do.
 */
#ifndef SOCKPOL_PIN_DIR_H
#define SOCKPOL_PIN_DIR_H

#include "kernel/pin.h"

/*
 * Opens and locks one, for the lifetime of the descriptor, whatever lies in it.  Refuses one that
 * is not on a bpffs, or that others than root can write.  -EBUSY: an agent has it, not logged;
 * other errors are.
 */
int pin_dir_lock(const char *path);

/*
 * The same for an agent: makes it, 0700, where there is none; and refuses it
 * (-EEXIST) where something that is not sockpol's lies in the way.  All errors are logged.
 * -ENODEV: there is no bpffs.
 */
int pin_dir_open(const char *path);
/* Is the directory's parent on one? */
bool pin_dir_has_bpffs(const char *path);

struct pin_entry {
	char *path;	  /* owned */
	const char *name; /* the end of it */
	enum pin_kind kind;
	uint32_t link_id;
	bool ours;
};

/* The programs, links and maps that belong to one map `state`. */
struct pin_family {
	struct pin_entry *v; /* owned */
	size_t n;
	uint32_t abi;		 /* SP_ABI_VERSION of `state`; 0: there is none of ours */
	uint32_t state_id;	 /* of that map */
	uint64_t generation;	 /* of that state; 0: none is in force yet */
	uint64_t cgroup_root_id; /* of that state, where it is of this version */
};

/* Everything in a pin directory. */
struct pin_dir {
	union {
		struct {
			struct pin_family current, next;
			struct pin_family flat; /* of versions to SP_ABI_VERSION 5 */
		};
		struct pin_family all[3];
	};
};

/* A family that is not there is empty.  Returns 0 or a negative errno. */
int pin_dir_read(const char *path, struct pin_dir *ret);
void pin_dir_clear(struct pin_dir *d);
/* Returns the number of sockpol's pins in all three. */
size_t pin_dir_n_ours(const struct pin_dir *d);

/* Is there policy in force that an earlier agent left, of whatever version? */
bool pin_dir_has_policy(const char *path);

/*
 * Before anything else an agent has this done: what a killed one left in `next/` comes in force
 * where that had begun, and goes where it had not.  Errors are logged.
 */
int pin_dir_recover(const char *path);
/* Makes `next/` `current/` by one rename, and what was in force before goes.  Links that are pinned
 * in both stay attached.  Errors are logged. */
int pin_dir_commit(const char *path);
/* In place of a commit. */
void pin_dir_give_up_next(const char *path);

/* Removes everything of sockpol's, links first.  Errors are logged; returns the last, or 0. */
int pin_dir_remove(const char *path);

#endif
