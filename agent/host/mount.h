/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What is mounted where, from proc_pid_mountinfo(5). */
#ifndef SOCKPOL_MOUNT_H
#define SOCKPOL_MOUNT_H

#include "base/util.h"

#define MOUNTINFO "/proc/self/mountinfo"

/* One line.  The strings point into it. */
struct mount {
	const char *root; /* the part of the file system that is mounted; "/": all of it */
	const char *point;
	const char *type; /* "cgroup2", "bpf" */
	char *line;	  /* owned */
	size_t size;
};

/* Reads the next line into *m, which is zero at first.  Returns 1; 0 at the end; or a negative
 * errno. */
int mount_next(FILE *mountinfo, struct mount *m);

static inline void cleanup_mount_clear(struct mount *m)
{
	free(m->line);
}

#endif
