/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* UTF-8, read one character at a time. */
#ifndef SOCKPOL_UTF8_H
#define SOCKPOL_UTF8_H

#include <stdint.h>

#include "base/util.h"

/*
 * Reads the character at s (n bytes are left, at least one).  Returns the number of its bytes, or
 * -EINVAL when they are not UTF-8: cut short, overlong, a surrogate, beyond U+10FFFF.
 */
int utf8_decode(const char *s, size_t n, uint32_t *ret);

/* Is it harmless on a terminal and in a line of its own: no control, line-breaking or bidi
 * character? */
bool utf8_printable(uint32_t c);

/*
 * Returns a copy, owned by the caller, that is UTF-8 and printable: other bytes become \xNN. Used
 * for names that others choose (cgroups, files).  NULL when memory is out.
 */
char *utf8_escape(const char *s);

#endif
