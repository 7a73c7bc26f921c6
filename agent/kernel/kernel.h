/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The programs and maps in the kernel: load, watch, attach, detach.
 *
 *   kernel_load    programs verified, maps made; nothing runs yet
 *   kernel_watch   new and released cgroups are reported; the maps' owner starts to fill them
 *   kernel_attach  sockets are governed; everything is pinned
 *   kernel_detach  nothing of it is left
 *   kernel_free    closes the file descriptors: what is pinned works on
 */
#ifndef SOCKPOL_KERNEL_H
#define SOCKPOL_KERNEL_H

#include <stdint.h>

#include "../include/abi.h"
#include "base/util.h"

/* Room in the maps, in elements. */
struct kernel_sizes {
	uint32_t cgroups;
	uint32_t glob_states, glob_edges, steps; /* of one generation, too */
	/* Of one generation: the maps hold two. */
	uint32_t policies, ops, credits, tests, vectors, range_nodes;
	uint32_t sources;
	uint32_t failures;
};

enum kernel_map {
	KERNEL_MAP_CGROUPS,
	KERNEL_MAP_CGROUP_SLOTS,
	KERNEL_MAP_GLOB_STATES,
	KERNEL_MAP_GLOB_EDGES,
	KERNEL_MAP_STEPS,
	KERNEL_MAP_POLICIES,
	KERNEL_MAP_OPS,
	KERNEL_MAP_CREDITS,
	KERNEL_MAP_TESTS,
	KERNEL_MAP_VECTORS,
	KERNEL_MAP_RANGE_NODES,
	KERNEL_MAP_SOURCES,
	KERNEL_MAP_APPLIED,
	KERNEL_MAP_FAILURES,
	KERNEL_MAP_STATE,
	KERNEL_MAP_SOCKETS,
	KERNEL_MAP_EVENTS,
	KERNEL_MAP_MAX,
};
/* The name of a map in the kernel, under which it is pinned, too. */
extern const char *const kernel_map_names[KERNEL_MAP_MAX];
/* The names under which links are pinned (the programs' names); n of them. */
extern const char *const kernel_link_names[];
extern const size_t n_kernel_link_names;

struct kernel;

typedef void kernel_event_fn(const struct sp_event *event, void *userdata);

/* from: in whose place it is to come, or NULL: what is known of sockets is shared with it, and
 * generations go on counting. */
int kernel_load(const struct kernel_sizes *sizes, const struct kernel *from, struct kernel **ret);
/*
 * The same over the maps that an earlier agent pinned, with what they hold, in the sizes that they
 * have: its programs and ours then work on the same.  -ENOENT: nothing is pinned there; -EPROTO: it
 * is of another SP_ABI_VERSION, or not complete, or for another cgroup.
 */
int kernel_adopt(const char *pin_dir, uint64_t cgroup_root_id, struct kernel **ret);
int kernel_watch(struct kernel *k, kernel_event_fn *fn, void *userdata);
/*
 * pin_dir must pass pin_dir_open().  Programs of an earlier agent that are pinned there for the
 * same cgroup are replaced in place, with no connection missed; its maps' pins are replaced.
 * from: whose programs they are, to be put back on failure, or NULL: see hooks_replace().
 */
int kernel_attach(struct kernel *k, const struct kernel *from, int cgroup_fd, const char *pin_dir);
/* What of it is not pinned any more (somebody removed pins): how many; pins that again. */
size_t kernel_pins_lost(const struct kernel *k);
int kernel_pin_again(struct kernel *k);
void kernel_detach(struct kernel *k);
/*
 * Attaches the hooks at which policies have something due, and detaches the others.  stages:
 * BIT(enum sp_stage).  Before kernel_attach() it only remembers.
 */
int kernel_use_stages(struct kernel *k, uint64_t stages);
/* The stages of which the hooks are there: of the last kernel_use_stages() that succeeded. */
uint64_t kernel_hooked_stages(const struct kernel *k);
/* BIT(enum sp_stage): those that this kernel has no hook for. */
uint64_t kernel_missing_stages(const struct kernel *k);
void kernel_free(struct kernel *k);
DEFINE_CLEANUP(struct kernel *, kernel_free)

int kernel_map_fd(const struct kernel *k, enum kernel_map map);
const struct kernel_sizes *kernel_sizes_of(const struct kernel *k);
/* What decides on the size of a map; NULL: nothing, it is fixed. */
uint32_t *kernel_size_of_map(struct kernel_sizes *sizes, enum kernel_map map);
struct sp_state *kernel_state(struct kernel *k); /* the map itself, shared with the programs */
struct sp_cgroup_slot *kernel_slots(const struct kernel *k); /* the map itself, likewise */
int kernel_event_fd(const struct kernel *k);		     /* readable when events wait */
int kernel_consume_events(struct kernel *k);
/* Returns when no program that runs now has a value from before this call. */
int kernel_wait_for_programs(const struct kernel *k);

/*
 * Opens (and with `create` makes, 0700) a directory for pins and locks it for the caller's lifetime
 * of the descriptor.  Refuses one that is not on a bpffs, or that others than root can write.
 * -EBUSY: another agent has it.  Errors are logged.
 */
int pin_dir_open(const char *path, bool create);
/* Is anything of ours pinned there? */
bool pin_dir_has_pins(const char *path);
/* Removes every pin of ours, links first. */
void pin_dir_clear(const char *path);

#endif
