/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * One pin, made in two steps: what is staged lies beside its name until it is committed, so that
 * all that may fail comes before anything under the names changes.
 */
#ifndef SOCKPOL_PIN_H
#define SOCKPOL_PIN_H

#include "base/util.h"

#define PIN_STAGED_SUFFIX "~"

/* NULL: no memory.  Owned. */
char *pin_path(const char *dir, const char *name);

/* Errors are logged. */
int pin_stage(int fd, const char *dir, const char *name);
/* What an earlier agent had under the name goes by it. */
int pin_commit(const char *dir, const char *name);
void pin_unstage(const char *dir, const char *name);

/* A pinned link is detached, too, where that can be: others may hold it.  Returns 0, also where
 * nothing is there, or a negative errno. */
int pin_remove(const char *path);

/* Has somebody removed it? */
bool pin_is_lost(const char *dir, const char *name);
/* Then it is made again.  Errors are logged. */
int pin_renew(int fd, const char *dir, const char *name);

#endif
