/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Names that have to be unique: keys of a mapping, rules of a policy, policies of everything. */
#ifndef SOCKPOL_DUPLICATES_H
#define SOCKPOL_DUPLICATES_H

#include "base/diag.h"

struct named {
	const char *name;
	const struct position *at;
	size_t place; /* in the order in which they were written */
};

/* Sorts `v`, and reports as "duplicate WHAT 'NAME'" each but the first of a name. */
void duplicates_report(struct named *v, size_t n, const char *what, struct diags *diags);

#endif
