/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Everything to be said about one cgroup: which policies apply, which options they set, and why;
 * for one connection or for any.  The document is what `sockpol explain --json` prints of a cgroup.
 */
#ifndef SOCKPOL_EXPLANATION_H
#define SOCKPOL_EXPLANATION_H

#include "compile/cascade.h"
#include "host/host.h"
#include "report/asked.h"
#include "report/document.h"

/* Explains the cgroup to which these blocks apply.  Takes over in_force, from in_force_compare().
 * Returns NULL when memory is out. */
json_t *explanation_new(const char *cgroup, const struct effective *effective,
			const struct host *host, const struct asked *asked, json_t *in_force);
/* Do two choices of an option say the same, of whichever connections?  (Of a policy's rules each
 * has its own.) */
bool explanation_says_same(const json_t *a, const json_t *b);
/* Prints a table of one line an option; verbose: also where each is written, its hooks, and what it
 * beats.  Returns 0 or -ENOMEM. */
int explanation_print(const json_t *e, bool verbose, FILE *to);

#endif
