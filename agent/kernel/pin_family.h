/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What belongs together in a directory of pins, whichever version of sockpol pinned it: programs,
 * links and maps round one map `state`.  Some of it can only be seen with CAP_SYS_ADMIN; without,
 * names and kinds must do.
 */
#ifndef SOCKPOL_PIN_FAMILY_H
#define SOCKPOL_PIN_FAMILY_H

#include "kernel/pin.h"

struct pin_entry {
	char *path;	  /* owned */
	const char *name; /* the end of it */
	enum pin_kind kind;
	uint32_t id; /* of the map, link or program */
	bool ours;
};

struct pin_family {
	struct pin_entry *v; /* owned */
	size_t n;
	uint32_t abi;		 /* SP_ABI_VERSION of `state`; 0: there is none of ours */
	uint32_t state_id;	 /* of that map */
	uint64_t generation;	 /* of that state; 0: none is in force yet */
	uint64_t cgroup_root_id; /* of that state, where it is of this version */
};

/*
 * Directories in it are passed over.  flat: other things may lie there, so only what earlier
 * versions (to SP_ABI_VERSION 5) called so is ours.  Returns 0 or a negative errno; -ENOENT: there
 * is no such directory.
 */
int pin_family_read(const char *dir, bool flat, struct pin_family *ret);
void pin_family_clear(struct pin_family *f);

/*
 * Removes the pins of ours, and detaches links but those that have one of the ids in `keep`.  Each
 * failure is logged; returns the last of them, or 0.
 */
int pin_family_remove(const struct pin_family *f, const uint32_t *keep, size_t n_keep);

size_t pin_family_n_ours(const struct pin_family *f);

#endif
