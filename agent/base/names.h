/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A list of names, in the order in which they were added. */
#ifndef SOCKPOL_NAMES_H
#define SOCKPOL_NAMES_H

#include <jansson.h>

#include "base/util.h"

struct names {
	char **v; /* owned */
	size_t n;
};

/* Appends a copy.  Returns 0 or -ENOMEM. */
int names_append(struct names *n, const char *name);
/* Appends a copy, unless the name is in the list.  Returns 0 or -ENOMEM. */
int names_add(struct names *n, const char *name);
/* Sorts by version: "c2" comes before "c10". */
void names_sort(struct names *n);
bool names_have(const struct names *n, const char *name);
/* Prints "WHAT a, b" on a line, and nothing for an empty list. */
void names_print(const struct names *n, const char *what, FILE *to);
json_t *names_json(const struct names *n);
void names_clear(struct names *n);

#endif
