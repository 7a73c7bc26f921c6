/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Generations: what one load writes into the maps, beside the one in force, and the switch from one
 * to the other.
 */
#ifndef SOCKPOL_GENERATION_H
#define SOCKPOL_GENERATION_H

#include "compile/image.h"
#include "kernel/kernel.h"

/* The name of the pin of a slot's map; of any generation, or of a chunk of `applied`. */
#define GENERATION_PIN_NAME_SIZE 32
static inline void generation_pin_name(enum map_id id, uint32_t slot,
				       char ret[GENERATION_PIN_NAME_SIZE])
{
	snprintf(ret, GENERATION_PIN_NAME_SIZE, "%s_%u", map_table[id].name, slot);
}
/* The slot of a table (of globs; else 0) of a generation. */
static inline uint32_t generation_slot(uint64_t generation, uint32_t table)
{
	return (uint32_t)(generation & 1) + 2 * table;
}

/*
 * Writes the maps of the next generation, which no program uses yet.  On failure, which is logged,
 * nothing of it is left.
 */
int generation_write(struct kernel *k, const struct image *im);
/* Puts it in force by one store; hooks for its stages must be there.  Programs that run now may
 * still use the one before. */
void generation_switch(struct kernel *k, const struct image *im);
/* Is what the image says in force, and pinned, so that writing it would change nothing? */
bool generation_is_in_force(const struct kernel *k, const struct image *im);
/* Waits for such programs, and frees what is not in force, after a switch or in place of it: all
 * but the policies of the generation before, which stay until the next generation_write(). */
void generation_free_others(struct kernel *k);
/* Removes what a reload left behind in which an earlier agent was killed. */
void generation_settle(struct kernel *k);

/* Returns when no program that runs now has anything that it read before this call. */
int generation_wait_for_programs(const struct kernel *k);

#endif
