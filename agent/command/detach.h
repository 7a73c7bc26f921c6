/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Takes what agents left pinned out of the kernel, of whatever version they were, without an agent,
 * and nothing else.  All is said on stdout and in the log.
 */
#ifndef SOCKPOL_DETACH_H
#define SOCKPOL_DETACH_H

#include "base/util.h"

/*
 * Returns how many pins went; -EBUSY: an agent runs there, and what it has stays; or another
 * negative errno.
 */
int detach_pin_dir(const char *path);
/* Every pin directory on every bpffs that is mounted.  Returns 0, or the last error of one. */
int detach_all(void);

#endif
