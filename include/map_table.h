/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The table of maps.  MAP(name, shape, key, value, entries), included with MAP defined; bpf/maps.h
 * declares the maps from it, agent/compile/maps.c describes them.  A new map is a new row here and
 * its value's layout in include/abi.h.
 *
 * Shapes:
 *   EXACT     of a generation: an array of two maps, arrays as large as the generation needs
 *             (BPF_F_INNER_MAP: look-ups are not inlined)
 *   FIXED     of a generation: an array of two maps, arrays of `entries` elements
 *   TABLES    the same, but 2 * SP_GLOB_TABLES_MAX maps
 *   CHUNKS    an array of SP_COUNTERS_CHUNKS maps, per-CPU arrays of `entries` elements
 *   HASH      a hash that takes memory only for the elements it has
 *   STORAGE   local storage of sockets
 *   INHERITED the same, of which an accepted socket gets a copy of its listener's
 *   VARIABLE  an array of one element, to the programs a variable
 */
MAP(cgroup_cache, FIXED, __u32, struct sp_cache_set, 1u << SP_CACHE_BITS)
MAP(policy_lists, FIXED, __u32, struct sp_list_cell, 1u << SP_LIST_BITS)
MAP(walk_states, FIXED, __u32, struct sp_walk_state, 1u << SP_WALK_STATE_BITS)
MAP(glob_nodes, TABLES, __u32, struct sp_glob_node, SP_GLOB_NODES)
MAP(glob_links, TABLES, __u32, struct sp_glob_link, SP_GLOB_LINKS)
MAP(policies, EXACT, __u32, struct sp_policy, 1)
MAP(blocks, EXACT, __u32, struct sp_block, 1)
MAP(ops, EXACT, __u32, struct sp_op_cell, 1)
MAP(vectors, EXACT, __u32, __u64, 1)
MAP(range_nodes, EXACT, __u32, struct sp_range_node, 1)
MAP(applied, CHUNKS, __u32, sp_applied_t, SP_COUNTERS_CHUNK)
MAP(counters, HASH, __u32, struct sp_counter, SP_COUNTERS_MAX)
MAP(failures, HASH, struct sp_failure, __u64, 65536)
MAP(outcomes, HASH, struct sp_outcome, __u64, 65536)
MAP(sockets, STORAGE, int, struct sp_socket, 0)
MAP(own_sets, INHERITED, int, struct sp_own_sets, 0)
MAP(state, VARIABLE, __u32, struct sp_state, 1)
