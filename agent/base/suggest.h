/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What was meant by a misspelt word. */
#ifndef SOCKPOL_SUGGEST_H
#define SOCKPOL_SUGGEST_H

#include <stddef.h>

/*
 * The candidate nearest to `word` (Damerau-Levenshtein, case ignored), or NULL when none is near
 * enough to be meant.  The result points into candidates.
 */
const char *suggest(const char *word, const char *const *candidates, size_t n);

#endif
