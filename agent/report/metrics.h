/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What monitoring sees of sockpol: the metrics, by their names.  These are stable: others have
 * dashboards and alerts that ask for them.  What labels they have is the administrator's or the
 * option table's: no cgroup, address or process is among them, so there are only so many.
 */
#ifndef SOCKPOL_METRICS_H
#define SOCKPOL_METRICS_H

#include "report/overview.h"

/* in_force: the overview has what the pins say, not only what the agent does. */
void metrics_print(const struct overview *o, bool in_force, FILE *to);

/*
 * From the pins, and from the agent in runtime_dir.  Without pins they say so, and that is no
 * failure.  Returns 0 or a negative errno (of pinned_open()), and then prints nothing.
 */
int metrics_read(const char *pin_dir, const char *runtime_dir, FILE *to);
/* The same as the agent says it of itself. */
int metrics_read_by_agent(const char *pin_dir, bool is_degraded, FILE *to);

#endif
