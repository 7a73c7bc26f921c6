/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The files of the configuration that came in force last, for a start with files that are wrong:
 * below STATE-DIR/last-good, a link to one of two directories, which changes by one rename.
 */
#ifndef SOCKPOL_LAST_GOOD_H
#define SOCKPOL_LAST_GOOD_H

#include "policy/policy.h"

#define LAST_GOOD_LINK "last-good"

/*
 * Keeps the texts of the configuration's files, all of them or, where that fails, those before.
 * Files that are kept already are not written again.  A failure is a warning, logged.
 */
void last_good_keep(const char *state_dir, const struct config *c);

/*
 * Finds the directory that has them; *ret is owned.  Returns 0; -ENOENT: none are kept; or another
 * negative errno, logged (-EPERM: others can write there).
 */
int last_good_find(const char *state_dir, char **ret);

#endif
