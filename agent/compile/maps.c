// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <assert.h>

#include "compile/maps.h"

const struct map map_table[] = {
#define MAP(name_, shape_, key_, value_, entries_)                                                 \
	[MAP_ID_##name_] = {                                                                       \
		.name = #name_,                                                                    \
		.shape = MAP_##shape_,                                                             \
		.key_size = sizeof(key_),                                                          \
		.value_size = sizeof(value_),                                                      \
		.entries = (entries_),                                                             \
	},
#include "../include/map_table.h"
#undef MAP
};
static_assert(ARRAY_SIZE(map_table) == MAP_ID_MAX, "a row for each map");

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
	case MAP_HASH:
	case MAP_STORAGE:
	case MAP_VARIABLE:
		return 0;
	}
	return 0;
}

bool map_is_of_generation(enum map_id id)
{
	const enum map_shape shape = map_table[id].shape;

	return shape == MAP_EXACT || shape == MAP_FIXED || shape == MAP_TABLES;
}
