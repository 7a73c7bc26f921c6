/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * All that belongs together in a pin directory, whichever version of sockpol pinned it: names may
 * be others in another version, but its programs all work on the map `state`.  Looking at programs
 * takes CAP_SYS_ADMIN; without, only what has a name of ours is found.
 */
#ifndef SOCKPOL_PIN_FAMILY_H
#define SOCKPOL_PIN_FAMILY_H

#include "base/util.h"

struct pin_family {
	char **paths; /* owned; links first */
	size_t n;
	char **foreign; /* owned: what else lies there */
	size_t n_foreign;
};

/* Returns 0 or a negative errno. */
int pin_family_read(const char *dir, struct pin_family *ret);
void pin_family_clear(struct pin_family *f);

#endif
