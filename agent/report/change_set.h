/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The changes that a reload would make for a cgroup, in an administrator's terms: options and
 * directions rather than hooks. */
#ifndef SOCKPOL_CHANGE_SET_H
#define SOCKPOL_CHANGE_SET_H

#include "report/in_force.h"

/* One option that changes in the same way for all sockets in `where`. */
struct change {
	const struct option *option;
	unsigned where[DIRECTION_MAX];	       /* BIT(enum transport) */
	const struct in_force_side *from, *to; /* point into the set's in_force */
	const char *also; /* what changes beside the two sides: "condition", "order", "hook" (when
			     it is set); or NULL */
};

struct change_set {
	struct in_force in_force;
	struct change *v;
	size_t n;
};

/* Makes a set of changes.  Takes over *f, also on failure.  Returns 0 or -ENOMEM. */
int change_set_make(struct in_force *f, struct change_set *ret);
bool change_set_is_empty(const struct change_set *c);
void change_set_clear(struct change_set *c);

/* Prints indented lines, equal for sets with the same changes. */
void change_set_print(const struct change_set *c, FILE *to);
/* Returns a new reference, or NULL when memory is out. */
json_t *change_set_json(const struct change_set *c);

#endif
