/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The words with which values are written, shared by parser and formatter. */
#ifndef SOCKPOL_VALUE_FORMAT_H
#define SOCKPOL_VALUE_FORMAT_H

#include "option/option.h"

/* One NAME is num/den of the type's base: bytes, bytes per second, microseconds. */
struct unit {
	const char *name; /* "": none is written */
	uint64_t num, den;
};

/* Returns the units of a type, smallest first; NULL where values have none. */
const struct unit *value_units(enum option_type type, size_t *ret_n);
/* Returns how much of the type's base the option's own unit is (OPTION_TIME: .unit_usec, else
 * 1). */
uint64_t value_own_unit(const struct option *o);
/* Returns what a number in the option's own unit counts: "bytes", "seconds", ... */
const char *value_own_unit_name(const struct option *o);

/* Returns a shorthand as an option of its own: its value is read by its own rules and becomes the
 * value of its options. */
struct option option_of_shorthand(const struct option_shorthand *s);

#define DSCP_NAMES "CS0-CS7, AF11-AF43, EF, VA, LE, DF"
/* Returns 0-63, or -ENOENT; case does not matter. */
int dscp_from_name(const char *name);
/* Returns NULL when the class has no name. */
const char *dscp_name(int dscp);

/* The SO_MAX_PACING_RATE that does not limit, and how it is written. */
#define RATE_UNLIMITED	    UINT32_MAX
#define RATE_UNLIMITED_NAME "unlimited"

/* Formats `value`, given in the type's base, in the shortest exact unit; owned, NULL: no memory. */
char *value_format_units(enum option_type type, uint64_t value);

#endif
