/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* One connection, as rules see it, and whether a rule's `when` holds for it: what the hook does
 * with bit vectors, told in userspace for `explain`. */
#ifndef SOCKPOL_CONNECTION_H
#define SOCKPOL_CONNECTION_H

#include "policy/policy.h"

/* One end.  A property that the socket does not have does not hold in any rule. */
struct endpoint {
	bool known;
	bool v4;		   /* v4-mapped too */
	unsigned char address[16]; /* network byte order; IPv4: first 4 */
	uint16_t port;		   /* host byte order; 0: not known */
};

struct connection {
	enum direction direction;
	enum protocol protocol; /* of no meaning where family is unix */
	enum sp_family family;
	struct endpoint remote, local;
};

bool prefix_holds(const struct prefix *p, const struct endpoint *e);
bool when_holds(const struct when *w, const struct connection *c);
/* The first key of `when` that does not hold ("remote_port"), or NULL: all do.  "family" also where
 * the connection is AF_UNIX and the rule does not ask for that. */
const char *when_fails(const struct when *w, const struct connection *c);

#endif
