/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* How many nodes of the hooks' automaton can one glob have active at once? */
#ifndef SOCKPOL_GLOB_ROOM_H
#define SOCKPOL_GLOB_ROOM_H

#include "policy/glob.h"

/*
 * At most; rather too many than too few.  While a byte is read, those that wait for it count as
 * well as those that come after it.
 */
size_t glob_room(const struct glob *g);

#endif
