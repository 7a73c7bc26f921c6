/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Routes that bring a congestion control (`congctl` in ip-route(8)), in our network namespace. */
#ifndef SOCKPOL_ROUTE_H
#define SOCKPOL_ROUTE_H

#include <stdbool.h>
#include <stdint.h>

struct route {
	int family;
	unsigned char first[16], last[16]; /* its prefix: the first 4 or 16 bytes count */
	uint32_t table;
	char congestion[17]; /* "": none */
	bool locked;	     /* `congctl lock`: sockets cannot change it */
};

typedef int route_fn(const struct route *r, void *userdata);

/* Calls fn for each route with a congestion control, of all tables, until it returns something
 * other than 0.  Returns what fn returned, 0, or a negative errno. */
int route_each(route_fn *fn, void *userdata);
/* Finds the route to an address for a socket with this mark; *ret stays as it is if that route has
 * no congestion control.  -ENETUNREACH and the like: there is none. */
int route_to(int family, const void *address, uint32_t mark, struct route *ret);

#endif
