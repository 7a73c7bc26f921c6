/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Slots of arrays of maps, several of which change at once. */
#ifndef SOCKPOL_SLOTS_H
#define SOCKPOL_SLOTS_H

#include <assert.h>
#include <pthread.h>
#include <stdint.h>

#include "compile/maps.h"

#define SLOTS_MAX 128 /* of two generations, in all maps */
static_assert(2 * (MAP_ID_MAX + 2 * SP_GLOB_TABLES_MAX) <= SLOTS_MAX, "room for all slots");

struct slot {
	int outer; /* the array of maps; borrowed */
	enum map_id id;
	uint32_t slot;
	int inner; /* owned; -1: the slot becomes empty */
	int result;
	bool started;
	pthread_t thread;
};

struct slots {
	struct slot v[SLOTS_MAX];
	size_t n;
};

/* Fills or empties all of them.  Returns 0 or the last error, logged. */
int slots_fill(struct slots *all);
/* Closes the inner maps. */
void slots_close(struct slots *all);

#endif
