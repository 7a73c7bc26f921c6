/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * A file of metrics that is kept fresh, for node_exporter's textfile collector: replaced whole, by
 * rename, so that a reader sees the one before or the one after.
 */
#ifndef SOCKPOL_METRICS_FILE_H
#define SOCKPOL_METRICS_FILE_H

#include <systemd/sd-event.h>

#include "base/util.h"

#define METRICS_FILE_PERIOD_USEC (15 * 1000000ull)
#define METRICS_FILE_SLACK_USEC	 (3 * 1000000ull) /* it may come so much later */

struct metrics_file;

/* Writes the whole contents of the file; returns 0 or a negative errno. */
typedef int metrics_file_fn(FILE *to, void *userdata);

/*
 * From the first metrics_file_refresh() on the file is written anew every METRICS_FILE_PERIOD_USEC.
 * What goes wrong then is one warning, and another only when something else does.  -EINVAL: `path`
 * does not name a file (logged).  The path is borrowed.
 */
int metrics_file_new(const char *path, sd_event *event, metrics_file_fn *fn, void *userdata,
		     struct metrics_file **ret);
/* Now, and not again before the next period is over. */
void metrics_file_refresh(struct metrics_file *m);
/* Removes the file, as nobody keeps it fresh any more. */
void metrics_file_free(struct metrics_file *m);
DEFINE_CLEANUP(struct metrics_file *, metrics_file_free)

#endif
