/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Lists of names, and what a misspelt one was meant to be. */
#ifndef SOCKPOL_NAMES_H
#define SOCKPOL_NAMES_H

#include "base/util.h"

/* In the order in which they were added. */
struct names {
	char **v; /* owned */
	size_t n;
};

/* Appends a copy.  Returns 0 or -ENOMEM. */
int names_append(struct names *n, const char *name);
bool names_have(const struct names *n, const char *name);
void names_clear(struct names *n);

/*
 * Returns the candidate nearest to `word` (Damerau-Levenshtein, case ignored), or NULL when none is
 * near enough.  The result points into candidates.
 */
const char *suggest(const char *word, const char *const *candidates, size_t n);

#endif
