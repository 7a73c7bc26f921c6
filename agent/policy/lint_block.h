/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Warnings about one block of options, and about the rule that has it. */
#ifndef SOCKPOL_LINT_BLOCK_H
#define SOCKPOL_LINT_BLOCK_H

#include "host/host.h"
#include "policy/stage.h"

struct lint {
	const struct host *host;
	struct diags *diags;
	/* By option: a setting that some listener passes on to what it accepts, or NULL. */
	const struct setting *carried[OPTION_MAX];
};

/* Can a block (r NULL: the base options) hold for some socket at a stage, given its addresses? */
bool lint_reaches(const struct rule *r, enum sp_stage s);

void lint_block(const struct lint *l, const struct rule *r, const struct settings *options);
void lint_rule(const struct lint *l, const struct rule *r);

#endif
