/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Addresses and ports: the prefixes and ranges that rules list, the ends of connections, and their
 * text. */
#ifndef SOCKPOL_ADDRESS_H
#define SOCKPOL_ADDRESS_H

#include <netinet/in.h>
#include <stdint.h>

#include "base/diag.h"

/* An entry of `remote` or `local`; an address is a prefix of full length. */
struct prefix {
	bool v4;		   /* a v4-mapped prefix (::ffff:a.b.c.d/96+n) is IPv4 */
	unsigned char address[16]; /* network byte order, no bits below the length; IPv4: first 4 */
	unsigned length;	   /* bits: 0-32 or 0-128 */
	struct position at;
};

struct prefixes {
	struct prefix *v;
	size_t n;
};

/* An entry of `remote_port` or `local_port`: host byte order, 1 <= first <= last. */
struct port_range {
	uint16_t first, last;
	struct position at;
};

struct port_ranges {
	struct port_range *v;
	size_t n;
};

/* One end of a connection.  What is not known of it lies in no prefix and in no range. */
struct endpoint {
	bool known;		   /* the address */
	bool v4;		   /* also if it is v4-mapped */
	unsigned char address[16]; /* network byte order; IPv4: first 4 */
	uint16_t port;		   /* host byte order; 0: not known */
};

/*
 * Parses an address or a prefix, without its position (.at).  Returns 0, -EINVAL or -ENOMEM; then
 * *ret is untouched and *ret_error is an owned sentence that names the offending text (NULL with
 * -ENOMEM).
 */
int prefix_parse(const char *text, struct prefix *ret, char **ret_error);
/* Parses a port or A-B; otherwise like prefix_parse(). */
int port_range_parse(const char *text, struct port_range *ret, char **ret_error);
/* Parses ADDR, ADDR:PORT, [V6]:PORT or :PORT; otherwise like prefix_parse(). */
int endpoint_parse(const char *text, struct endpoint *ret, char **ret_error);

/* Formats a prefix as one would write it: "10.0.0.0/8", "fd00::1" (full length). */
#define PREFIX_TEXT_SIZE sizeof("ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255/128")
const char *prefix_format(const struct prefix *p, char buf[static PREFIX_TEXT_SIZE]);
/* Formats an end in the form that endpoint_parse() takes; NULL: nothing is known. */
#define ENDPOINT_TEXT_SIZE (INET6_ADDRSTRLEN + sizeof("[]:65535"))
const char *endpoint_format(const struct endpoint *e, char buf[static ENDPOINT_TEXT_SIZE]);

bool prefix_holds(const struct prefix *p, const struct endpoint *e);
/* Does one of the entries hold for this end? */
bool prefixes_hold(const struct prefixes *list, const struct endpoint *e);
bool port_ranges_hold(const struct port_ranges *list, const struct endpoint *e);
/* Is the address known, and 0.0.0.0 or ::? */
bool endpoint_is_wildcard(const struct endpoint *e);

#endif
