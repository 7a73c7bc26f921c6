/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Prometheus' text format, version 0.0.4: families of samples with labels. */
#ifndef SOCKPOL_EXPOSITION_H
#define SOCKPOL_EXPOSITION_H

#include <stdint.h>

#include "base/util.h"

#define EXPOSITION_LABELS_MAX 4

struct exposition_label {
	const char *name;
	const char *value; /* any text */
};

/* Begins a family; its samples follow.  type: "gauge" or "counter". */
void exposition_family(FILE *to, const char *name, const char *type, const char *help);
/* Writes a sample.  labels end at EXPOSITION_LABELS_MAX or with the first that has no name; NULL:
 * none. */
void exposition_sample(FILE *to, const char *name, const struct exposition_label *labels,
		       uint64_t value);
/* Writes a point in time, given in microseconds since the epoch, in seconds. */
void exposition_time(FILE *to, const char *name, uint64_t usec);

#endif
