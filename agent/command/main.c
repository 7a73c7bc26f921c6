// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* The table of commands. */
#include <assert.h>

#include "base/log.h"
#include "command/commands.h"

static const struct command *const commands[] = {
	[COMMAND_RUN] = &cmd_run,	  [COMMAND_CHECK] = &cmd_check,
	[COMMAND_EXPLAIN] = &cmd_explain, [COMMAND_STATUS] = &cmd_status,
	[COMMAND_METRICS] = &cmd_metrics, [COMMAND_OPTIONS] = &cmd_options,
	[COMMAND_RELOAD] = &cmd_reload,	  [COMMAND_DETACH] = &cmd_detach,
};
static_assert(ARRAY_SIZE(commands) == COMMAND_MAX, "a row for each command");

int main(int argc, char **argv)
{
	int status;

	log_setup();
	status = cli_main(commands, ARRAY_SIZE(commands), argc, argv);
	/* What was asked for has not arrived, whatever the command thinks. */
	if (fflush(stdout) == EOF || ferror(stdout)) {
		log_error("Cannot write the output");
		return EXIT_BAD;
	}
	return status;
}
