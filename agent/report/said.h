/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What a policy says of an option, in documents: `value` (null: a range alone), `application`
 * (null: nobody can have the last word), `min`, `max` (null: no such end).
 */
#ifndef SOCKPOL_SAID_H
#define SOCKPOL_SAID_H

#include "policy/policy.h"
#include "report/document.h"

/* Adds application, min and max; range.is_given false: there is none.  NULL when memory is out. */
json_t *said_add(json_t *to, const struct option *o, bool unset, enum application a,
		 struct value_range range);

bool said_is_unset(const json_t *said);
#define SAID_SIZE 128
/* Formats "64K to 4M", "at least 64K", "at most 4M"; "": there is no range. */
const char *said_range(const json_t *said, char buf[static SAID_SIZE]);
/* Formats the value, or the range where there is none. */
const char *said_value(const json_t *said, char buf[static SAID_SIZE]);
/* Returns `application` as it is written, "range" where one counts instead, or "": nobody. */
const char *said_last_word(const json_t *said);
/* Formats the value and what is not usual: "on (hold)", "1M (64K to 4M)". */
const char *said_all(const json_t *said, char buf[static SAID_SIZE]);

#endif
