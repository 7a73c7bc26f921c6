// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include "compile/glob_room.h"

/* A bracket expression counts as any byte here. */
#define ANY_BYTE '?'

/* Runs longer than this are not examined: they count with their length. */
#define RUN_MAX 255

/* Can two places of a run be active together? */
static bool overlap(const char *run, size_t shorter, size_t longer)
{
	const char *shifted = run + longer - shorter;

	for (size_t i = 0; i < shorter; i++)
		if (run[i] != shifted[i] && run[i] != ANY_BYTE && shifted[i] != ANY_BYTE)
			return false;
	return true;
}

/*
 * Returns how many places of a run can be active at once behind a loop, where it begins anew with
 * each byte: such places overlap, each with the next longer one.
 */
static size_t longest_chain(const char *run, size_t n)
{
	size_t chain[RUN_MAX + 1], longest = 0;

	for (size_t longer = 1; longer <= n; longer++) {
		chain[longer] = 1;
		for (size_t shorter = 1; shorter < longer; shorter++)
			if (chain[shorter] >= chain[longer] && overlap(run, shorter, longer))
				chain[longer] = chain[shorter] + 1;
		if (chain[longer] > longest)
			longest = chain[longer];
	}
	return longest;
}

/* Counts one component; *ret_stars: its '*'. */
static size_t component_room(const char *s, size_t *ret_stars)
{
	char run[RUN_MAX];
	size_t room = 1, stars = 0, n = 0, longer = 0; /* a first run has one place at a time */

	for (;; s++) {
		if (*s && *s != '*') {
			if (n < RUN_MAX)
				run[n++] = (char)(*s == '[' ? ANY_BYTE : *s);
			else
				longer++;
			if (*s == '[')
				s = glob_bracket_end(s);
			continue;
		}
		if (stars)
			room += longest_chain(run, n) + longer;
		n = longer = 0;
		if (!*s)
			break;
		stars++;
	}
	*ret_stars = stars;
	return room + stars;
}

size_t glob_room(const struct glob *g)
{
	size_t room = glob_kind(g) == GLOB_UNIT ? 8 : 2; /* nodes on the way there */
	size_t widest = 0;
	bool any = false;

	for (size_t i = 0; i < glob_n_components(g); i++) {
		const char *s = glob_component(g, i);
		size_t stars, n;

		if (streq(s, "**")) {
			any = true;
			room += 6; /* itself and its loop, and four that come with them */
			continue;
		}
		n = component_room(s, &stars);
		n += 2 * stars; /* a loop leads to another node, and a node to a loop besides */
		if (any)	/* behind a "**" a name may be any of the components */
			room += n;
		else if (n > widest)
			widest = n;
	}
	return room + widest;
}
