/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What `sockpol apply` did, in exact numbers. */
#ifndef SOCKPOL_APPLIED_H
#define SOCKPOL_APPLIED_H

#include "kernel/walk.h"
#include "report/document.h"

/* Returns the document of `apply --json`; NULL: memory is out. */
json_t *applied_json(const struct walk_totals *t, const struct walk_request *request,
		     size_t n_namespaces);
void applied_print(const json_t *document, FILE *to);
/* Returns a sentence for the journal, owned: "set 12 options on 4 sockets, ..."; NULL: memory is
 * out. */
char *applied_sentence(const struct walk_totals *t);

#endif
