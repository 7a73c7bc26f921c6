/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The metrics of sockpol, by name.  Names are stable, since dashboards and alerts depend on them.
 * Labels are names from the policy files and the option table; no cgroup, address or process is
 * among them, so the number of series is bounded.
 */
#ifndef SOCKPOL_METRICS_H
#define SOCKPOL_METRICS_H

#include "report/overview.h"

/* Prints the metrics of an overview. */
void metrics_print(const json_t *o, FILE *to);

/*
 * Prints the metrics, from the pins and from the agent in runtime_dir.  Missing pins are reported
 * as such, and are no failure.  Returns 0, or a negative errno (of pinned_open()) and then prints
 * nothing.
 */
int metrics_read(const char *pin_dir, const char *runtime_dir, FILE *to);
/* Prints the metrics for the agent itself. */
int metrics_read_by_agent(const char *pin_dir, bool is_degraded, FILE *to);

#endif
