/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Warnings about what is legal in a configuration, but surely not meant. */
#ifndef SOCKPOL_LINT_H
#define SOCKPOL_LINT_H

#include "host/host.h"
#include "policy/policy.h"

void lint_config(const struct config *c, const struct host *host, struct diags *diags);

#endif
