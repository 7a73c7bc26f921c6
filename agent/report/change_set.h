/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The changes that a reload would make for a cgroup, in an administrator's terms: options and
 * directions rather than hooks.  The document is a group of `reload --dry-run --json`: `come`,
 * `go`, `other_order`, `changes`.
 */
#ifndef SOCKPOL_CHANGE_SET_H
#define SOCKPOL_CHANGE_SET_H

#include "report/in_force.h"

/* Makes the document, equal for equal changes, from a comparison.  NULL: memory is out. */
json_t *change_set_new(const json_t *in_force);
/* Prints indented lines. */
void change_set_print(const json_t *set, FILE *to);

#endif
