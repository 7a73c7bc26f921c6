/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* See kernel.h for the rest of what is done with a directory of pins. */
#ifndef SOCKPOL_PIN_DIR_H
#define SOCKPOL_PIN_DIR_H

#include "base/util.h"

/*
 * Opens and locks one, for the lifetime of the descriptor, whatever lies in it.  -EBUSY: an agent
 * has it, not logged; other errors are.
 */
int pin_dir_lock(const char *path);

/*
 * Is every pin that has one of our names ours, of whatever SP_ABI_VERSION?  pin_dir_open() asks
 * this before anything is replaced.  -EEXIST: one is not.  Errors are logged.
 */
int pin_dir_check(const char *path);

/* Removes what only earlier versions pinned.  Errors are logged. */
void pin_dir_clear_retired(const char *path);

/* Is something pinned under any of our names? */
bool pin_dir_has_some(const char *path);

#endif
