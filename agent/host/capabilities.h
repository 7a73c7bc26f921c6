/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What the kernel lets this process do. */
#ifndef SOCKPOL_CAPABILITIES_H
#define SOCKPOL_CAPABILITIES_H

/* Has it what an agent needs: CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON?  -EPERM: not; logged. */
int capabilities_check(void);

#endif
