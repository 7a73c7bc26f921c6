/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The table of maps (include/map_table.h), as userspace sees it. */
#ifndef SOCKPOL_MAPS_H
#define SOCKPOL_MAPS_H

#include <stdint.h>

#include "../include/abi.h"
#include "base/util.h"

enum map_shape {
	MAP_EXACT,
	MAP_FIXED,
	MAP_TABLES,
	MAP_CHUNKS,
	MAP_HASH,
	MAP_STORAGE,
	MAP_INHERITED,
	MAP_VARIABLE,
};

/* MAP_ID_policies and the others. */
enum map_id {
#define MAP(name, ...) MAP_ID_##name,
#include "../include/map_table.h"
#undef MAP
	MAP_ID_MAX,
};

struct map {
	const char *name; /* of the map in the kernel, and of its pin */
	enum map_shape shape;
	uint32_t key_size, value_size; /* bytes; those of the inner maps of an array of maps */
	uint32_t entries;	       /* elements, likewise; EXACT: as many as are needed */
};

extern const struct map map_table[MAP_ID_MAX];

/* Returns the number of elements of the array of maps; 0: it is not an array of maps. */
uint32_t map_n_slots(enum map_id id);
/* Does each generation have a map of its own? */
bool map_is_of_generation(enum map_id id);
/* Does it hold what the hooks found out about cgroups, rather than what the agent wrote? */
bool map_is_cache(enum map_id id);

#endif
