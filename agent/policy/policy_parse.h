/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Makes policies from the nodes of a policy file. */
#ifndef SOCKPOL_POLICY_PARSE_H
#define SOCKPOL_POLICY_PARSE_H

#include "policy/policy.h"
#include "policy/yaml_doc.h"

/*
 * Appends the policies of a file to `config`.  Errors are added to `diags`; policies with
 * errors are appended all the same, as far as they could be read: names may then be NULL.
 * Returns 0 or -ENOMEM.
 */
int policies_parse(const struct yaml_node *root, struct config *config, struct diags *diags);

#endif
