/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* See kernel.h for the rest of what is done with a directory of pins. */
#ifndef SOCKPOL_PIN_DIR_H
#define SOCKPOL_PIN_DIR_H

#include "util.h"

/*
 * Is every pin that has one of our names ours, of whatever SP_ABI_VERSION?  pin_dir_open() asks
 * this before anything is replaced.  -EEXIST: one is not.  Errors are logged.
 */
int pin_dir_check(const char *path);

#endif
