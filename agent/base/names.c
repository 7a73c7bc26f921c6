// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <ctype.h>
#include <errno.h>

#include "base/names.h"

int names_append(struct names *n, const char *name)
{
	if (GROW(n->v, n->n) < 0)
		return -ENOMEM;
	n->v[n->n] = strdup(name);
	if (!n->v[n->n])
		return -ENOMEM;
	n->n++;
	return 0;
}

bool names_have(const struct names *n, const char *name)
{
	for (size_t i = 0; i < n->n; i++)
		if (streq(n->v[i], name))
			return true;
	return false;
}

void names_clear(struct names *n)
{
	for (size_t i = 0; i < n->n; i++)
		free(n->v[i]);
	free(n->v);
	*n = (struct names){ 0 };
}

#define WORD_MAX 64

/* Returns the Damerau-Levenshtein distance (optimal string alignment), case ignored.  Both words
 * have at most WORD_MAX characters. */
static size_t distance(const char *a, const char *b)
{
	size_t rows[3][WORD_MAX + 1];
	size_t *before = rows[0], *last = rows[1], *now = rows[2];
	size_t na = strlen(a), nb = strlen(b);

	for (size_t j = 0; j <= nb; j++)
		last[j] = j;
	for (size_t i = 1; i <= na; i++) {
		size_t *oldest = before;
		int ca = tolower((unsigned char)a[i - 1]);

		now[0] = i;
		for (size_t j = 1; j <= nb; j++) {
			int cb = tolower((unsigned char)b[j - 1]);
			size_t best = last[j - 1] + (ca != cb);

			if (last[j] + 1 < best)
				best = last[j] + 1;
			if (now[j - 1] + 1 < best)
				best = now[j - 1] + 1;
			if (i > 1 && j > 1 && ca == tolower((unsigned char)b[j - 2]) &&
			    cb == tolower((unsigned char)a[i - 2]) && before[j - 2] + 1 < best)
				best = before[j - 2] + 1;
			now[j] = best;
		}
		before = last;
		last = now;
		now = oldest;
	}
	return last[nb];
}

const char *suggest(const char *word, const char *const *candidates, size_t n)
{
	const char *nearest = NULL;
	size_t len = strlen(word);
	size_t limit = len / 3 ? len / 3 : 1; /* a third of the letters may be wrong */

	if (!len || len > WORD_MAX)
		return NULL;
	for (size_t i = 0; i < n; i++) {
		size_t d;

		if (strlen(candidates[i]) > WORD_MAX)
			continue;
		d = distance(word, candidates[i]);
		if (d > limit || (nearest && d >= distance(word, nearest)))
			continue;
		nearest = candidates[i];
	}
	/* A short word may differ in every letter: "x" does not mean "a". */
	return nearest && distance(word, nearest) < len ? nearest : NULL;
}
