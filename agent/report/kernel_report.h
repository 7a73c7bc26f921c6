/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What the running kernel lacks, and which policies that concerns: `sockpol check --kernel`. */
#ifndef SOCKPOL_KERNEL_REPORT_H
#define SOCKPOL_KERNEL_REPORT_H

#include "kernel/support.h"

/* c: after support_apply(); NULL when there is none, as the files are wrong. */
void kernel_report_print(const char *release, const struct kernel_support *k,
			 const struct config *c, FILE *to);

#endif
