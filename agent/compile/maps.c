// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <assert.h>

#include "compile/maps.h"

#define MAP(name_, shape_, key, value, entries_)                                                   \
	[MAP_ID_##name_] = { #name_, MAP_##shape_, sizeof(key), sizeof(value), entries_ },
const struct map map_table[MAP_ID_MAX] = {
#include "../include/map_table.h"
};
#undef MAP

/* The kernel cuts off longer names. */
#define MAP(name, ...) static_assert(sizeof(#name) <= 16, #name);
#include "../include/map_table.h"
#undef MAP

uint32_t map_n_slots(enum map_id id)
{
	switch (map_table[id].shape) {
	case MAP_EXACT:
	case MAP_FIXED:
		return 2;
	case MAP_TABLES:
		return 2 * SP_GLOB_TABLES_MAX;
	case MAP_CHUNKS:
		return SP_COUNTERS_CHUNKS;
	default:
		return 0;
	}
}

bool map_is_of_generation(enum map_id id)
{
	return map_n_slots(id) && map_table[id].shape != MAP_CHUNKS;
}

bool map_is_cache(enum map_id id)
{
	return map_table[id].shape == MAP_FIXED;
}
