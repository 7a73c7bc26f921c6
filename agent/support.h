/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Does the running kernel have what a configuration asks for? */
#ifndef SOCKPOL_SUPPORT_H
#define SOCKPOL_SUPPORT_H

#include "host.h"
#include "policy.h"

/*
 * Has the kernel load the congestion controls that the configuration names, and tries each option
 * that it uses.  Takes options that this kernel's bpf_setsockopt lacks out of the configuration
 * with a warning; with `on_unsupported: refuse` that is an error, and so is a congestion control
 * that does not exist.  Returns 0, -EBADMSG (errors in diags) or another negative errno, logged.
 */
int support_prepare(struct config *c, struct diags *diags);
/* The same without loading anything: of congestion controls it believes what `host` says. */
int support_foresee(struct config *c, const struct host *host, struct diags *diags);

#endif
