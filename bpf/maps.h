/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The maps, as include/map_table.h lists them; what they hold is in include/abi.h. */
#ifndef SOCKPOL_BPF_MAPS_H
#define SOCKPOL_BPF_MAPS_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "abi.h"

/* Inner maps are declared by sizes: of types clang 14 leaves only forward declarations in the BTF.
 */
#define INNER(name, map_type, flags, value, entries)                                               \
	struct inner_##name {                                                                      \
		__uint(type, map_type);                                                            \
		__uint(map_flags, flags);                                                          \
		__uint(max_entries, entries);                                                      \
		__uint(key_size, sizeof(__u32));                                                   \
		__uint(value_size, sizeof(value));                                                 \
	}
#define OUTER(name, slots)                                                                         \
	struct {                                                                                   \
		__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);                                          \
		__uint(max_entries, slots);                                                        \
		__type(key, __u32);                                                                \
		__array(values, struct inner_##name);                                              \
	} name SEC(".maps")

#define DECLARE_EXACT(name, key_, value_, entries)                                                 \
	INNER(name, BPF_MAP_TYPE_ARRAY, BPF_F_INNER_MAP, value_, entries);                         \
	OUTER(name, 2);
#define DECLARE_FIXED(name, key_, value_, entries)                                                 \
	INNER(name, BPF_MAP_TYPE_ARRAY, 0, value_, entries);                                       \
	OUTER(name, 2);
#define DECLARE_TABLES(name, key_, value_, entries)                                                \
	INNER(name, BPF_MAP_TYPE_ARRAY, 0, value_, entries);                                       \
	OUTER(name, 2 * SP_GLOB_TABLES_MAX);
#define DECLARE_CHUNKS(name, key_, value_, entries)                                                \
	INNER(name, BPF_MAP_TYPE_PERCPU_ARRAY, 0, value_, entries);                                \
	OUTER(name, SP_COUNTERS_CHUNKS);
#define DECLARE_HASH(name, key_, value_, entries)                                                  \
	struct {                                                                                   \
		__uint(type, BPF_MAP_TYPE_HASH);                                                   \
		__uint(map_flags, BPF_F_NO_PREALLOC);                                              \
		__uint(max_entries, entries);                                                      \
		__type(key, key_);                                                                 \
		__type(value, value_);                                                             \
	} name SEC(".maps");
#define DECLARE_STORAGE(name, key_, value_, entries)                                               \
	struct {                                                                                   \
		__uint(type, BPF_MAP_TYPE_SK_STORAGE);                                             \
		__uint(map_flags, BPF_F_NO_PREALLOC);                                              \
		__type(key, key_);                                                                 \
		__type(value, value_);                                                             \
	} name SEC(".maps");
/* A look-up would take longer than most runs of sock_ops.  The agent makes the map behind the
 * variable, and maps it: so the switch to a new generation is one store. */
#define DECLARE_VARIABLE(name, key_, value_, entries) value_ name SEC(".data." #name);

#define MAP(name, shape, key, value, entries) DECLARE_##shape(name, key, value, entries)
#include "map_table.h"
#undef MAP

static __always_inline void *slot_of(void *outer, __u32 slot)
{
	return bpf_map_lookup_elem(outer, &slot);
}

/* The generation's own map, NULL if there is none. */
#define MAP_OF(name, generation) slot_of(&(name), (generation)&1)

/* An element of the generation's own map, NULL if there is none. */
#define LOOK_UP(name, generation, key)                                                             \
	({                                                                                         \
		void *map_ = MAP_OF(name, generation);                                             \
		map_ ? bpf_map_lookup_elem(map_, key) : NULL;                                      \
	})

#endif
