/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The capabilities of this process. */
#ifndef SOCKPOL_CAPABILITIES_H
#define SOCKPOL_CAPABILITIES_H

/* Does the process have what an agent needs: CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON?  Returns 0, or
 * -EPERM, logged. */
int capabilities_check(void);

#endif
