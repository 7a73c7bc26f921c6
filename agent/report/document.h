/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * A report is a JSON document; the text for people is printed from the same document.
 *
 * The "o" of json_pack() takes a reference over, and a NULL makes the whole json_pack() fail.  The
 * functions here treat NULL likewise, so that a document can be built without further checks: it is
 * NULL in the end when memory was out.
 */
#ifndef SOCKPOL_DOCUMENT_H
#define SOCKPOL_DOCUMENT_H

#include <jansson.h>

#include "policy/policy.h"

DEFINE_CLEANUP(json_t *, json_decref)

/* Returns a string in which what is not printable UTF-8 is escaped; JSON's null for NULL. */
json_t *document_string(const char *text);
/* Takes over both.  Returns the array, or NULL when either is NULL or memory is out. */
json_t *document_append(json_t *array, json_t *item);
/* As document_append(), for a member of an object. */
json_t *document_set(json_t *object, const char *key, json_t *member);

/* Lists the names of stages (BIT(enum sp_stage)). */
json_t *document_stages(unsigned stages);
/* Lists the features that the configuration asks for and this kernel lacks. */
json_t *document_unsupported(const struct config *c);

/* Returns a member's text, which belongs to the object; NULL: it is null or missing. */
const char *document_text(const json_t *object, const char *key);
/* Have both the same text there, or neither one? */
bool document_same(const json_t *a, const json_t *b, const char *key);
json_int_t document_number(const json_t *object, const char *key);
bool document_is(const json_t *object, const char *key);
/* Prints "WHAT a, b" on a line, and nothing for an empty array. */
void document_print_names(const json_t *array, const char *what, FILE *to);

/* Writes the document; drops the reference.  Returns 0, -ENOMEM (it is NULL), or -EIO. */
int document_write(json_t *root, FILE *to);

/*
 * What a policy says of an option: `value` (null: a range alone), `application` (null: nobody can
 * have the last word), `min`, `max` (null: no such end).
 */

/* Adds application, min and max; range.is_given false: there is none.  NULL when memory is out. */
json_t *document_add_word(json_t *to, const struct option *o, bool unset, enum application a,
			  struct value_range range);

bool document_is_unset(const json_t *said);
#define DOCUMENT_VALUE_SIZE 128
/* Formats "64K to 4M", "at least 64K", "at most 4M"; "": there is no range. */
const char *document_range(const json_t *said, char buf[static DOCUMENT_VALUE_SIZE]);
/* Formats the value, or the range where there is none. */
const char *document_value(const json_t *said, char buf[static DOCUMENT_VALUE_SIZE]);
/* Returns `application` as it is written, "range" where one counts instead, or "": nobody. */
const char *document_last_word(const json_t *said);
/* Formats the value and what is not usual: "on (hold)", "1M (64K to 4M)". */
const char *document_value_and_word(const json_t *said, char buf[static DOCUMENT_VALUE_SIZE]);

#endif
