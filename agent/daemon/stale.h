/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Listeners keep what they got when they began to listen. */
#ifndef SOCKPOL_STALE_H
#define SOCKPOL_STALE_H

#include "compile/image.h"

/*
 * Names in the log the listeners for which a change from one generation to another (NULL: none)
 * comes too late (the first few, and how many more), only those of cgroups at or below root_path.
 * Whether a listener ever had what the old one gives is not known.  Returns what it logged, owned,
 * or NULL.  As a courtesy: what fails is logged, and changes nothing.
 */
char *stale_name_listeners(const char *mount, const char *root_path, const struct image *before,
			   const struct image *after);
/* Before a detach: those that keep what is pinned there. */
void stale_name_all(const char *pin_dir);

#endif
