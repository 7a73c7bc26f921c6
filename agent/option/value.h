/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The text of an option's value, and back. */
#ifndef SOCKPOL_VALUE_H
#define SOCKPOL_VALUE_H

#include "host/host.h"
#include "option/option.h"
#include "option/sockopt.h"

/*
 * Parses `text` (a NUL-terminated scalar) as a value of `o` into an uninitialised *ret, which the
 * caller then owns: an int (4 bytes, host byte order; unsigned 32-bit values by their bits), or for
 * OPTION_STRING the characters and a NUL.  (OPTION_DSCP becomes the byte, the DSCP shifted left.)
 * Returns 0, -EINVAL (not a value of this type), -ERANGE (out of range, or does not convert
 * exactly), -ENOMEM; then *ret is untouched and *ret_error is an owned sentence that names the
 * offending text and says what is accepted (NULL with -ENOMEM).
 */
int value_parse(const struct option *o, const char *text, struct sockopt *ret, char **ret_error);

/* Makes a value of the number that setsockopt(2) takes, into an uninitialised *ret, which the
 * caller then owns.  The option is no string.  Returns 0 or -ENOMEM. */
int value_from_number(const struct option *o, uint32_t number, struct sockopt *ret);

/*
 * Formats a value as an administrator would write it, in its shortest exact form ("60s", "4M",
 * "AF41", "on", "200MB/s", "0x10"), which parses back to the same value.  Owned by the caller;
 * NULL: out of memory.
 */
char *value_format(const struct option *o, const struct sockopt *value);
/* The same of the number that setsockopt(2) takes. */
char *value_format_number(const struct option *o, uint32_t number);
/* Formats `value`, given in bytes, bytes per second or microseconds, in the shortest exact unit;
 * owned, NULL: no memory. */
char *value_format_units(enum option_type type, uint64_t value);
/* Returns the number that getsockopt(2) deals in (bytes, ms, ...); 0 for strings. */
int64_t value_number(const struct option *o, const struct sockopt *value);

/* The least that the kernel makes of a buffer or a clamp, in bytes; include/net/sock.h, on 64-bit
 * machines. */
#define VALUE_RCVBUF_MIN       2304
#define VALUE_SNDBUF_MIN       4608
#define VALUE_WINDOW_CLAMP_MIN (VALUE_RCVBUF_MIN / 2)

/* Returns the value that the kernel will have of it on this host. */
struct value_result {
	char *text;  /* owned: "8388608 bytes", "12ms", ...; what getsockopt(2) then shows, in words
			where that differs from what was asked; NULL when it is just the value */
	bool capped; /* comes out as less than what was asked for */
	bool refused;  /* this kernel will answer EINVAL */
	int64_t shown; /* what getsockopt(2) then shows, as a number; -1: nothing, or that depends
			*/
};
int value_result(const struct option *o, const struct sockopt *value, const struct host *h,
		 struct value_result *ret);

/* Spells out which text is accepted, for messages, `sockpol options` and the manual: "bytes, or
 * with K, M, G; 1 to 2147483647".  Owned by the caller. */
char *value_syntax(const struct option *o);
/* Returns what a number in the option's own unit counts: "bytes", "seconds", ... */
const char *value_own_unit_name(const struct option *o);

#endif
