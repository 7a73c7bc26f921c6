/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* All of a hash map that programs change while it is read: each key at most once. */
#ifndef SOCKPOL_MAP_CONTENTS_H
#define SOCKPOL_MAP_CONTENTS_H

#include "base/util.h"

struct map_contents {
	void *keys;   /* n of the map's key_size; owned */
	void *values; /* n of its value_size; owned */
	size_t n;
};

/* What comes or goes meanwhile may be among them or not.  Returns 0 or a negative errno. */
int map_contents_read(int fd, struct map_contents *ret);
void map_contents_clear(struct map_contents *c);

#endif
