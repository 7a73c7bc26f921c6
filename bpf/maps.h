/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The maps, declared from include/map_table.h; include/abi.h says what they hold.
 *
 * An inner map is declared by the sizes of key and value, since clang 14 leaves only forward
 * declarations of their types in the BTF of an array of maps.
 */
#ifndef SOCKPOL_BPF_MAPS_H
#define SOCKPOL_BPF_MAPS_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "abi.h"

/* An array of `slots` maps. */
#define MAP_OF_MAPS(name, slots, type_, flags, key_, value_, entries)                              \
	struct inner_##name {                                                                      \
		__uint(type, type_);                                                               \
		__uint(map_flags, flags);                                                          \
		__uint(max_entries, entries);                                                      \
		__uint(key_size, sizeof(key_));                                                    \
		__uint(value_size, sizeof(value_));                                                \
	};                                                                                         \
	struct {                                                                                   \
		__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);                                          \
		__uint(max_entries, slots);                                                        \
		__type(key, __u32);                                                                \
		__array(values, struct inner_##name);                                              \
	} name SEC(".maps");
#define MAP_EXACT(name, key, value, entries)                                                       \
	MAP_OF_MAPS(name, 2, BPF_MAP_TYPE_ARRAY, BPF_F_INNER_MAP, key, value, entries)
#define MAP_FIXED(name, key, value, entries)                                                       \
	MAP_OF_MAPS(name, 2, BPF_MAP_TYPE_ARRAY, 0, key, value, entries)
#define MAP_TABLES(name, key, value, entries)                                                      \
	MAP_OF_MAPS(name, 2 * SP_GLOB_TABLES_MAX, BPF_MAP_TYPE_ARRAY, 0, key, value, entries)
#define MAP_CHUNKS(name, key, value, entries)                                                      \
	MAP_OF_MAPS(name, SP_COUNTERS_CHUNKS, BPF_MAP_TYPE_PERCPU_ARRAY, 0, key, value, entries)
#define MAP_HASH(name, key_, value_, entries)                                                      \
	struct {                                                                                   \
		__uint(type, BPF_MAP_TYPE_HASH);                                                   \
		__uint(map_flags, BPF_F_NO_PREALLOC);                                              \
		__uint(max_entries, entries);                                                      \
		__type(key, key_);                                                                 \
		__type(value, value_);                                                             \
	} name SEC(".maps");
#define MAP_OF_SOCKETS(name, key_, value_, flags)                                                  \
	struct {                                                                                   \
		__uint(type, BPF_MAP_TYPE_SK_STORAGE);                                             \
		__uint(map_flags, BPF_F_NO_PREALLOC | (flags));                                    \
		__type(key, key_);                                                                 \
		__type(value, value_);                                                             \
	} name SEC(".maps");
#define MAP_STORAGE(name, key, value, entries)	 MAP_OF_SOCKETS(name, key, value, 0)
#define MAP_INHERITED(name, key, value, entries) MAP_OF_SOCKETS(name, key, value, BPF_F_CLONE)
/*
 * A map as a variable, since a look-up takes longer than most runs of sock_ops.  Behind it is an
 * array of one element, which the agent makes and maps, so the switch to a new generation is one
 * store.
 */
#define MAP_VARIABLE(name, key, value, entries) value name SEC(".data.state");

#define MAP(name, shape, key, value, entries) MAP_##shape(name, key, value, entries)
#include "map_table.h"
#undef MAP

static __always_inline void *map_in_slot(void *maps, __u32 slot)
{
	return bpf_map_lookup_elem(maps, &slot);
}

/* Gives the map at a place of an array of maps, or NULL. */
#define MAP_IN(name, slot) map_in_slot(&name, slot)
/* Gives the element of that map, or NULL; key: a pointer. */
#define MAP_LOOK(name, slot, key)                                                                  \
	({                                                                                         \
		void *in_slot_ = MAP_IN(name, slot);                                               \
		in_slot_ ? bpf_map_lookup_elem(in_slot_, key) : NULL;                              \
	})

#endif
