/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The commands: cmd_NAME.c has each, main.c their table. */
#ifndef SOCKPOL_COMMANDS_H
#define SOCKPOL_COMMANDS_H

#include "command/cli.h"
#include "kernel/support.h"

/* In the order in which they are listed. */
enum command_id {
	COMMAND_RUN,
	COMMAND_CHECK,
	COMMAND_EXPLAIN,
	COMMAND_STATUS,
	COMMAND_METRICS,
	COMMAND_OPTIONS,
	COMMAND_RELOAD,
	COMMAND_DETACH,
	COMMAND_MAX,
};

extern const struct command cmd_run, cmd_check, cmd_explain, cmd_status, cmd_metrics, cmd_options,
	cmd_reload, cmd_detach;

/* What the running kernel lacks, and which policies that concerns: `sockpol check --kernel`.
 * c: after support_apply(); NULL when there is none, as the files are wrong. */
void cmd_check_print_kernel(const char *release, const struct kernel_support *k,
			    const struct config *c, FILE *to);

#endif
