/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Addresses and ports: the ranges that rules list, the ends of connections, and their
 * text. */
#ifndef SOCKPOL_ADDRESS_H
#define SOCKPOL_ADDRESS_H

#include <netinet/in.h>
#include <stdint.h>

#include "base/diag.h"

enum range_kind {
	RANGE_IPV4,
	RANGE_IPV6,
	RANGE_PORT,
};

/* An entry of a rule's lists: a prefix of addresses, or ports from one to another. */
struct range {
	enum range_kind kind; /* a v4-mapped prefix (::ffff:a.b.c.d/96+n) is IPv4 */
	/* The first 4, 16 or 2 bytes, in network byte order; then zero. */
	unsigned char first[16], last[16];
};

struct ranges {
	struct range *v;
	size_t n;
};

/* One end of a connection.  An unknown address or port lies in no prefix and in no range. */
struct endpoint {
	bool known;		   /* the address */
	bool v4;		   /* also if it is v4-mapped */
	unsigned char address[16]; /* network byte order; IPv4: first 4 */
	uint16_t port;		   /* host byte order; 0: not known */
};

/*
 * Parses an address or a prefix.  Returns 0, -EINVAL or -ENOMEM; then *ret is untouched and
 * *ret_error is an owned sentence that names the offending text (NULL with -ENOMEM).
 */
int prefix_parse(const char *text, struct range *ret, char **ret_error);
/* Parses a port (1 to 65535) or A-B; otherwise like prefix_parse(). */
int port_range_parse(const char *text, struct range *ret, char **ret_error);
/* Parses ADDR, ADDR:PORT, [V6]:PORT or :PORT; otherwise like prefix_parse(). */
int endpoint_parse(const char *text, struct endpoint *ret, char **ret_error);

/* Formats a range as one would write it: "10.0.0.0/8", "fd00::1" (a whole address), "80-90". */
#define RANGE_TEXT_SIZE sizeof("ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255/128")
const char *range_format(const struct range *r, char buf[static RANGE_TEXT_SIZE]);
/* Returns how many bytes of its keys count. */
size_t range_size(const struct range *r);
/* Formats an end in the form that endpoint_parse() takes; NULL: nothing is known. */
#define ENDPOINT_TEXT_SIZE (INET6_ADDRSTRLEN + sizeof("[]:65535"))
const char *endpoint_format(const struct endpoint *e, char buf[static ENDPOINT_TEXT_SIZE]);

/* Does one of the entries hold for this end? */
bool ranges_hold(const struct ranges *list, const struct endpoint *e);
/* Is the address known, and 0.0.0.0 or ::? */
bool endpoint_is_wildcard(const struct endpoint *e);

#endif
