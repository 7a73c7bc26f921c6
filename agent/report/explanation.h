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
/* asked: as it was explained. */
void explanation_print(const json_t *e, const struct asked *asked, FILE *to);

#endif
