/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What `sockpol status --json` prints. */
#ifndef SOCKPOL_STATUS_JSON_H
#define SOCKPOL_STATUS_JSON_H

#include "report/generations.h"
#include "report/overview.h"

/* Print one object each.  Return 0 or a negative errno. */
int status_json(const struct overview *o);
int status_json_cgroup(struct generations *g, const char *path, uint64_t id);
/* Prints the cgroups that the policy with this number governs. */
int status_json_paths(const struct generations *g, uint32_t number);

#endif
