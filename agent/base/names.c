// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
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

int names_add(struct names *n, const char *name)
{
	return names_have(n, name) ? 0 : names_append(n, name);
}

static int by_name(const void *a, const void *b)
{
	return strverscmp(*(char *const *)a, *(char *const *)b);
}

void names_sort(struct names *n)
{
	if (n->n)
		qsort(n->v, n->n, sizeof(*n->v), by_name);
}

bool names_have(const struct names *n, const char *name)
{
	for (size_t i = 0; i < n->n; i++)
		if (streq(n->v[i], name))
			return true;
	return false;
}

void names_print(const struct names *n, const char *what, FILE *to)
{
	if (!n->n)
		return;
	fputs(what, to);
	for (size_t i = 0; i < n->n; i++)
		fprintf(to, "%s %s", i ? "," : "", n->v[i]);
	fputc('\n', to);
}

json_t *names_json(const struct names *n)
{
	json_t *array = json_array();

	for (size_t i = 0; i < n->n; i++)
		json_array_append_new(array, json_string(n->v[i]));
	return array;
}

void names_clear(struct names *n)
{
	for (size_t i = 0; i < n->n; i++)
		free(n->v[i]);
	free(n->v);
	*n = (struct names){ 0 };
}
