/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The whole answer of `sockpol explain`: some cgroups explained, and perhaps a process's sockets.
 */
#ifndef SOCKPOL_EXPLAIN_REPORT_H
#define SOCKPOL_EXPLAIN_REPORT_H

#include "report/explanation.h"
#include "host/sock_diag.h"

struct explain_report {
	struct explanation *v; /* the cgroup asked for first */
	size_t n;
	const char *note; /* a sentence, or NULL */
	bool has_sockets;
	int sockets_error; /* why a process's sockets are not known, or 0 */
	struct sock_diag_list sockets;
};

/* Return 0 or a negative errno. */
int explain_report_print(const struct explain_report *r, FILE *to);
int explain_report_json(const struct explain_report *r, FILE *to);
void explain_report_clear(struct explain_report *r);

#endif
