/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Listeners keep what they got when they began to listen. */
#ifndef SOCKPOL_STALE_H
#define SOCKPOL_STALE_H

#include "compile/image.h"

/*
 * Names in the log the listeners that keep old values (the first few, and how many more), after a
 * change from one generation to another (NULL: to none); only those of cgroups at or below
 * root_path.  As a courtesy: what fails is logged, and changes nothing.
 */
void stale_name_listeners(const char *mount, const char *root_path, const struct image *before,
			  const struct image *after);
/* Before a detach: those that keep what is pinned there. */
void stale_name_all(const char *pin_dir);

#endif
