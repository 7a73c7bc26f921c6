/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Suggests what a misspelt word was meant to be. */
#ifndef SOCKPOL_SUGGEST_H
#define SOCKPOL_SUGGEST_H

#include <stddef.h>

/*
 * Returns the candidate nearest to `word` (Damerau-Levenshtein, case ignored), or NULL when none is
 * near enough.  The result points into candidates.
 */
const char *suggest(const char *word, const char *const *candidates, size_t n);

#endif
