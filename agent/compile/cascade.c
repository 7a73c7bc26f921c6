// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <errno.h>

#include "../include/abi.h"
#include "compile/cascade.h"

/* A policy that matches, and the level at which it does. */
struct match {
	const struct policy *policy;
	size_t level;
	bool excluded; /* by `exclude`, at this level or any other */
};

const struct pattern *cascade_match(const struct patterns *patterns, char *path, size_t *ret_level,
				    size_t *ret_length)
{
	size_t end = 1;

	for (size_t level = 0; patterns->n && level <= SP_LEVELS_MAX; level++) {
		const struct pattern *pattern;
		char after = path[end];

		path[end] = '\0';
		pattern = patterns_match(patterns, path);
		path[end] = after;
		*ret_level = level;
		*ret_length = end;
		if (pattern || !after)
			return pattern;
		end += level > 0; /* the slash at which the path was cut */
		end += strcspn(path + end, "/");
	}
	return NULL;
}

static int find_matches(const struct config *c, char *path, struct match **ret, size_t *ret_n)
{
	struct match *v = NULL;
	size_t n = 0;

	for (size_t i = 0; i < c->n_policies; i++) {
		const struct policy *p = &c->policies[i];
		size_t level, other, length;

		if (!cascade_match(&p->match, path, &level, &length))
			continue;
		if (GROW(v, n) < 0) {
			free(v);
			return -ENOMEM;
		}
		v[n++] =
			(struct match){ p, level,
					cascade_match(&p->exclude, path, &other, &length) != NULL };
	}
	*ret = v;
	*ret_n = n;
	return 0;
}

/* Sorts shallow matches first; at one level in the order of the files. */
static int in_walk_order(const void *a, const void *b)
{
	const struct match *x = a, *y = b;

	if (x->level != y->level)
		return x->level < y->level ? -1 : 1;
	return (x->policy > y->policy) - (x->policy < y->policy);
}

static int add_blocks(const struct policy *p, struct effective *e)
{
	for (size_t i = 0; i <= p->n_rules; i++) {
		const struct rule *rule = i ? &p->rules[i - 1] : NULL;

		if (APPEND(e->blocks, e->n_blocks,
			   (struct block){ p, rule, rule ? &rule->options : &p->base }) < 0)
			return -ENOMEM;
	}
	return 0;
}

static int fill(const struct match *v, size_t n, struct effective *e)
{
	int r = 0;

	e->policies = calloc(n + 1, sizeof(struct policy *));
	e->left_out = calloc(n + 1, sizeof(struct policy *));
	if (!e->policies || !e->left_out)
		return -ENOMEM;
	for (size_t i = 0; i < n && r == 0; i++) {
		if (i >= SP_LIST_MAX) {
			e->left_out[e->n_left_out++] = v[i].policy;
		} else if (!v[i].excluded) {
			e->policies[e->n_policies++] = v[i].policy;
			r = add_blocks(v[i].policy, e);
		}
	}
	return r;
}

int cascade_walk(const struct config *c, const char *path, struct effective *ret)
{
	_cleanup_free_ char *copy = strdup(path);
	_cleanup_free_ struct match *v = NULL;
	struct effective e = { 0 };
	size_t n = 0;
	int r = copy ? find_matches(c, copy, &v, &n) : -ENOMEM;

	if (n)
		qsort(v, n, sizeof(*v), in_walk_order);
	if (r == 0)
		r = fill(v, n, &e);
	if (r < 0)
		effective_clear(&e);
	else
		*ret = e;
	return r;
}

void effective_clear(struct effective *e)
{
	free(e->policies);
	free(e->left_out);
	free(e->blocks);
	*e = (struct effective){ 0 };
}
