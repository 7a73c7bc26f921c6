/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Which policies apply to a cgroup, by the sentences of sockpol.policy(5) alone. */
#ifndef SOCKPOL_GLOB_MODEL_H
#define SOCKPOL_GLOB_MODEL_H

#include "compile/glob_walk.h"

static bool model_matches(const struct patterns *patterns, const char *prefix)
{
	for (size_t i = 0; i < patterns->n; i++)
		if (glob_match(patterns->v[i].glob, prefix))
			return true;
	return false;
}

/* levels_max: further down nothing is looked at. */
static struct glob_list model_list(const struct config *c, const char *path, unsigned levels_max)
{
	char *prefix = calloc(1, strlen(path) + 1);
	bool *found = calloc(c->n_policies + 1, sizeof(*found));
	bool *excluded = calloc(c->n_policies + 1, sizeof(*excluded));
	struct glob_list kept = { 0 }, list = { 0 };
	const char *end = path + 1;

	for (unsigned level = 0; level <= levels_max; level++) {
		memcpy(prefix, path, (size_t)(end - path));
		prefix[end - path] = '\0';
		for (size_t i = 0; i < c->n_policies; i++) {
			excluded[i] |= model_matches(&c->policies[i].exclude, prefix);
			if (found[i] || !model_matches(&c->policies[i].match, prefix))
				continue;
			found[i] = true;
			if (kept.n < SP_LIST_MAX)
				kept.number[kept.n++] = (uint16_t)(i + 1);
			else
				list.left_out = true;
		}
		if (!*end)
			break;
		end = strchrnul(end == path + 1 ? end : end + 1, '/');
	}
	for (uint32_t i = 0; i < kept.n; i++)
		if (!excluded[kept.number[i] - 1])
			list.number[list.n++] = kept.number[i];
	free(prefix);
	free(found);
	free(excluded);
	return list;
}

static bool lists_equal(const struct glob_list *a, const struct glob_list *b)
{
	return a->n == b->n && !memcmp(a->number, b->number, sizeof(*a->number) * a->n);
}

#endif
