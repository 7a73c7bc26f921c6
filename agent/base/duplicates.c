// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include "base/duplicates.h"

static int compare_names(const void *a, const void *b)
{
	const struct named *x = a, *y = b;
	int c = strcmp(x->name, y->name);

	return c ? c : (x->place > y->place) - (x->place < y->place);
}

void duplicates_report(struct named *v, size_t n, const char *what, struct diags *diags)
{
	const struct named *first = v;

	if (n < 2)
		return;
	qsort(v, n, sizeof(*v), compare_names);
	for (size_t i = 1; i < n; i++) {
		if (!streq(v[i].name, first->name)) {
			first = &v[i];
			continue;
		}
		diag_error(diags, v[i].at, "duplicate %s '%s', first at %s:%u:%u", what,
			   EXCERPT(v[i].name), first->at->file, first->at->line, first->at->column);
	}
}
