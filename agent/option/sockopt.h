/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The value of a socket option as a typed container, after NetBSD's sockopt(9): level, name and
 * size are fixed at init; integer-sized values lie inside, larger ones are allocated.
 *
 * Nothing in it points into itself, so it may be moved by assignment (and lie in an array that
 * grows).  Only one of two copies made by assignment may be destroyed.
 */
#ifndef SOCKPOL_SOCKOPT_H
#define SOCKPOL_SOCKOPT_H

#include <stdint.h>

#include "base/util.h"

struct sockopt {
	int level;
	int name;
	size_t size; /* bytes of the value; 0: unset, not yet given a size */
	union {
		unsigned char inside[8]; /* size is at most this */
		void *allocated;	 /* else: owned */
		int64_t align;
	};
};

/*
 * Makes a container for `size` bytes, all zero.  size 0 makes an unset one, whose first set gives
 * it its size.  To change what a container is for, destroy it and init it again.  Returns 0 or
 * -ENOMEM.
 */
int sockopt_init(struct sockopt *s, int level, int name, size_t size);
void sockopt_destroy(struct sockopt *s);

/* Copies the value out; -EINVAL when len is not the container's size (an unset one has no size). */
int sockopt_get(const struct sockopt *s, void *buf, size_t len);
int sockopt_getint(const struct sockopt *s, int *ret);

/* Copies a value in; -EINVAL when len is 0 or not the container's size; an unset one is allocated.
 * -ENOMEM leaves it unset. */
int sockopt_set(struct sockopt *s, const void *buf, size_t len);
int sockopt_setint(struct sockopt *s, int value);

/* Returns the value in place (valid until the container is moved, set or destroyed); NULL when
 * unset. */
const void *sockopt_data(const struct sockopt *s);

/* Makes a deep copy in an uninitialised *to. */
int sockopt_copy(struct sockopt *to, const struct sockopt *from);

#endif
