/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Whose is it, what is pinned under a name of ours? */
#ifndef SOCKPOL_PIN_OWNER_H
#define SOCKPOL_PIN_OWNER_H

#include "kernel/kernel.h"

enum pin_owner {
	PIN_NOBODY, /* nothing is there */
	PIN_OURS,
	PIN_FOREIGN,
};

enum pin_kind {
	PIN_NOTHING, /* of these, or it cannot be opened */
	PIN_MAP,
	PIN_LINK,
	PIN_KIND_MAX,
};
/* *ret_id: of the map; of the link's program. */
enum pin_kind pin_kind_of(const char *path, uint32_t *ret_id);

/* What this version's maps look like. */
struct map_shape {
	uint32_t type, key_size, value_size;
	uint32_t max_entries; /* 0: any */
};
extern const struct map_shape map_shapes[KERNEL_MAP_MAX];

/*
 * The SP_ABI_VERSION of what a directory's `state` belongs to; SP_ABI_VERSION when there is none,
 * or when it is not ours.
 */
uint32_t pin_owner_abi(const char *dir);

/* path: a pin; abi: as of pin_owner_abi().  Returns enum pin_owner or a negative errno. */
int pin_owner_of_map(const char *path, enum kernel_map map, uint32_t abi);
int pin_owner_of_link(const char *path, const char *program);

/* A map of this version, for reading and writing.  -ENOENT: nothing is pinned there; -EPROTO: it is
 * of another version, or no map at all. */
int pin_owner_open_map(const char *dir, enum kernel_map map);

/* The names of maps that only earlier versions had; is a pin one of those? */
extern const char *const pin_retired_names[];
extern const size_t n_pin_retired_names;
bool pin_owner_is_retired(const char *path);

#endif
