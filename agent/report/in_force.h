/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Compares what the kernel does for a cgroup with what the files say.  The document is `in_force`
 * of `explain --json`; a side of a difference is what the kernel or the files say about an option
 * at a stage, for every socket or by a rule where it holds, and null where it has no say.
 */
#ifndef SOCKPOL_IN_FORCE_H
#define SOCKPOL_IN_FORCE_H

#include "policy/stage.h"
#include "report/contest.h"
#include "report/document.h"

/* Compares two generations for a cgroup to which these policies apply.  Returns 0, -ENOMEM, or
 * -EPROTO: the maps make no sense. */
int in_force_compare(struct generation_view *kernel, const struct glob_list *in_force,
		     struct generation_view *files, const struct glob_list *by_files, json_t **ret);
/* Returns a comparison that is not known, and why; NULL when memory is out. */
json_t *in_force_unknown(const char *why);

void in_force_print(const json_t *f, FILE *to);

/*
 * Returns the changes that a reload would make for the cgroup, in an administrator's terms: options
 * and directions rather than hooks; equal for equal changes.  The document is a group of `reload
 * --dry-run --json`: `come`, `go`, `other_order`, `changes`.  NULL: memory is out.
 */
json_t *in_force_changes(const json_t *f);
/* Prints indented lines. */
void in_force_print_changes(const json_t *changes, FILE *to);

#endif
