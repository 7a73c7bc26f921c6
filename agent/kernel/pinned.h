/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What is in force, read from the pinned maps: with an agent or without one. */
#ifndef SOCKPOL_PINNED_H
#define SOCKPOL_PINNED_H

#include "compile/image.h"
#include "compile/maps.h"

struct pinned; /* file descriptors of the maps that are in force */

/*
 * Opens the maps for reading.  Returns 0; -ENOENT: nothing is pinned there; -EACCES or -EPERM: no
 * privilege; -EPROTO: pinned by an agent of another SP_ABI_VERSION; another negative errno.
 */
int pinned_open(const char *pin_dir, struct pinned **ret);
void pinned_close(struct pinned *p);
DEFINE_CLEANUP(struct pinned *, pinned_close)

/* A map in a directory of pins.  -EPROTO: its layout is not the one that userspace
 * reads its values by. */
int pinned_open_map(const char *dir, const char *name, uint32_t key_size, uint32_t value_size,
		    uint32_t *ret_entries);
/* All of them.  maps: -1 or, also on failure, the caller's descriptors.  -ENOENT: one is not there.
 */
int pinned_open_maps(const char *dir, int maps[MAP_ID_MAX]);

/* As it is now. */
int pinned_state(const struct pinned *p, struct sp_state *ret);
/* The generation in force when the maps were opened: what pinned_image() reads. */
const struct sp_generation *pinned_generation(const struct pinned *p);
/* Has a reload come since, so that what was read means nothing? */
bool pinned_is_outdated(const struct pinned *p);

/* The map; borrowed. */
int pinned_map(const struct pinned *p, enum map_id id);
/* Opens the map in a slot of an array of maps.  -ENOENT: there is none. */
int pinned_open_inner(const struct pinned *p, enum map_id id, uint32_t slot, uint32_t *ret_entries);

/* The whole generation in force; `config` of the image is NULL.  -ESTALE: a reload has
 * come between; -EPROTO: its globs make no sense. */
int pinned_image(const struct pinned *p, struct image **ret);

/* All of a hash map that programs change while it is read: each key at most once. */
struct pinned_contents {
	void *keys;   /* n of the map's key_size; owned */
	void *values; /* n of its value_size; owned */
	size_t n;
};
/* Elements that come or go meanwhile may or may not be among them.  Returns 0 or a negative errno.
 */
int pinned_contents_read(int fd, struct pinned_contents *ret);
void pinned_contents_clear(struct pinned_contents *c);

/* Every counter that has a name, by index, with what was counted on all CPUs; until fn returns not
 * 0. */
typedef int pinned_counter_fn(uint32_t index, const struct sp_counter *counter, uint64_t applied,
			      void *userdata);
int pinned_each_counter(const struct pinned *p, pinned_counter_fn *fn, void *userdata);
/* Every counted failure, or outcome, once; until fn returns not 0. */
typedef int pinned_failure_fn(const struct sp_failure *failure, uint64_t count, void *userdata);
int pinned_each_failure(const struct pinned *p, pinned_failure_fn *fn, void *userdata);
typedef int pinned_outcome_fn(const struct sp_outcome *outcome, uint64_t count, void *userdata);
int pinned_each_outcome(const struct pinned *p, pinned_outcome_fn *fn, void *userdata);

/* How many elements fit the map: of the hashes. */
uint32_t pinned_map_room(const struct pinned *p, enum map_id id);

#endif
