/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* How many nodes of the hooks' automaton one glob can have active at once. */
#ifndef SOCKPOL_GLOB_ROOM_H
#define SOCKPOL_GLOB_ROOM_H

#include "policy/glob.h"

/*
 * Returns an upper bound, rather too high than too low.  While a byte is read, nodes that wait for
 * it count as well as those that come after it.
 */
size_t glob_room(const struct glob *g);

#endif
