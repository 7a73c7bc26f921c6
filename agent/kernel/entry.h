/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * A cgroup's entry in the map `cgroups`, of which a node knows what it is to be, and with it what
 * `cgroup_slots` says of it.
 */
#ifndef SOCKPOL_ENTRY_H
#define SOCKPOL_ENTRY_H

#include "kernel/kernel.h"
#include "host/tree.h"

/* -ENOENT: it has none. */
int entry_read(const struct kernel *k, uint64_t cgroup_id, struct sp_cgroup *ret);
/*
 * Writes n->places.  Where n->written says that there was an entry and there is none any more, the
 * kernel has released the cgroup, and no new one is made: 0 all the same.
 */
int entry_write(const struct kernel *k, struct node *n);
int entry_delete(const struct kernel *k, struct node *n);
/* Of an entry that an agent wrote that was killed before it wrote the slot. */
void entry_write_slot(const struct kernel *k, const struct sp_cgroup *entry);

/* What an entry says, in a node; the class is not known. */
struct place entry_place(const struct sp_cgroup *entry, unsigned half);
/* Is it what the node says? */
bool entry_is(const struct sp_cgroup *entry, const struct node *n);
/* Do both halves of the node say the same? */
bool entry_is_settled(const struct node *n);

#endif
