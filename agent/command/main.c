// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <assert.h>

#include "base/log.h"
#include "command/commands.h"

static const struct command *const commands[] = { COMMANDS(COMMAND_POINTER) };
static_assert(ARRAY_SIZE(commands) <= CLI_NAMES_MAX, "room for the commands' names");

int main(int argc, char **argv)
{
	int status;

	log_setup();
	status = cli_main(commands, ARRAY_SIZE(commands), argc, argv);
	/* The output is incomplete, whatever the command returned. */
	if (fflush(stdout) == EOF || ferror(stdout)) {
		log_error("Cannot write the output");
		return EXIT_BAD;
	}
	return status;
}
