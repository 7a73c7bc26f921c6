/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The part of an array in the kernel that one generation fills, from its first element on; written
 * in batches, so what was appended is there only after map_half_flush().
 */
#ifndef SOCKPOL_MAP_HALF_H
#define SOCKPOL_MAP_HALF_H

#include "kernel/kernel.h"

struct map_half {
	const struct kernel *kernel;
	enum kernel_map map;
	size_t value_size;
	uint32_t first, room;
	uint32_t n;		/* appended */
	uint32_t since;		/* of map_half_begin() */
	uint32_t written;	/* of those, in the kernel */
	unsigned char *waiting; /* the others; owned */
	size_t waiting_room;	/* elements */
	/*
	 * Count beyond the room instead of failing, and write nothing then: so that it is known
	 * how much room is needed.  map_half_flush() says -ENOSPC.
	 */
	bool counts;
};

void map_half_init(struct map_half *h, const struct kernel *k, enum kernel_map map,
		   size_t value_size, uint32_t first, uint32_t room);
void map_half_clear(struct map_half *h);

/* The index that the next element will have. */
static inline uint32_t map_half_next(const struct map_half *h)
{
	return h->first + h->n;
}

static inline bool map_half_is_too_small(const struct map_half *h)
{
	return h->n > h->room;
}

/* -ENOSPC: no room; -ENOMEM; or what the kernel says.  *ret_what is then the map's name. */
int map_half_append(struct map_half *h, const void *value, const char **ret_what);
/*
 * n elements that are to lie one after the other, at *ret_first; where the same lie there already
 * among those appended since map_half_begin(), they are those.
 */
int map_half_append_run(struct map_half *h, const void *values, uint32_t n, uint32_t *ret_first,
			const char **ret_what);
int map_half_begin(struct map_half *h, const char **ret_what);
int map_half_flush(struct map_half *h, const char **ret_what);
/* Takes back all but the first n elements. */
void map_half_cut(struct map_half *h, uint32_t n);

#endif
