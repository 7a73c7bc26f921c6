/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Live sockets beside what is in force: `sockpol sockets`.  There may be hundreds of thousands, so
 * each is printed as it is found.
 */
#ifndef SOCKPOL_OPEN_SOCKETS_H
#define SOCKPOL_OPEN_SOCKETS_H

#include "host/descriptors.h"
#include "kernel/walk.h"

struct open_sockets_request {
	bool json, differs;
	const char *policy; /* only sockets of which it decides something; NULL: all */
	pid_t pid;	    /* only those that it has open; 0: all */
	bool processes;	    /* name the processes */
};

struct open_sockets;

/* to: NULL: they are only counted.  Returns 0 or a negative errno: those of pinned_open(), and of
 * descriptors_read() about the process. */
int open_sockets_new(const char *pin_dir, const struct open_sockets_request *q, FILE *to,
		     struct open_sockets **ret);
void open_sockets_free(struct open_sockets *s);
DEFINE_CLEANUP(struct open_sockets *, open_sockets_free)

/* Walks over the network namespace that this thread is in, which has this number. */
int open_sockets_walk(struct open_sockets *s, struct walker *w, uint64_t cgroup, uint64_t inode);

/* Prints what comes behind the sockets. */
void open_sockets_end(struct open_sockets *s);

/* How many were found, and how many of them have something else than policies say. */
uint64_t open_sockets_found(const struct open_sockets *s);
uint64_t open_sockets_differ(const struct open_sockets *s);

#endif
