/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The table of commands. */
#ifndef SOCKPOL_COMMANDS_H
#define SOCKPOL_COMMANDS_H

#include "command/cli.h"
#include "kernel/support.h"

/* The commands, one a row, in the order of the list; cmd_NAME.c describes each. */
#define COMMANDS(ROW)                                                                              \
	ROW(run)                                                                                   \
	ROW(check)                                                                                 \
	ROW(explain)                                                                               \
	ROW(status)                                                                                \
	ROW(sockets)                                                                               \
	ROW(apply)                                                                                 \
	ROW(metrics)                                                                               \
	ROW(options)                                                                               \
	ROW(reload)                                                                                \
	ROW(detach)

#define COMMAND_DECLARE(name) extern const struct command cmd_##name;
COMMANDS(COMMAND_DECLARE)
#undef COMMAND_DECLARE

#define COMMAND_POINTER(name) &cmd_##name,

/* Prints what the running kernel lacks and which policies that concerns: `sockpol check --kernel`.
 * c: after support_apply(); NULL when the files are wrong. */
void cmd_check_print_kernel(const char *release, const struct kernel_support *k,
			    const struct config *c, FILE *to);

#endif
