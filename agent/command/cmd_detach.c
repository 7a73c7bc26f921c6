// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include "command/cli.h"
#include "command/detach.h"

int cmd_detach(int argc, char **argv)
{
	const char *pin_dir = DEFAULT_PIN_DIR;
	bool all = false;
	const struct cli_option options[] = {
		{ "all", NULL, "every pin directory on every bpffs that is mounted", .flag = &all },
		{ "pin-dir", "DIR", "the agent's (" DEFAULT_PIN_DIR ")", .value = &pin_dir },
	};
	const struct cli_syntax syntax = {
		.synopsis = "detach [--all | --pin-dir DIR]",
		.description =
			"Takes out of the kernel what an agent that is gone left in force, of whatever "
			"version;\nnothing is governed by it from then on.  What is not sockpol's stays. "
			"Where an agent runs,\nits policies stay: stop it.\nExit status: 0 nothing is left "
			"there, 1 something is.",
		.options = options,
		.n_options = ARRAY_SIZE(options),
	};
	int status, r;

	if (cli_parse(argc, argv, &syntax, &status) < 0)
		return status;
	r = all ? detach_all() : detach_pin_dir(pin_dir);
	return r < 0 ? EXIT_BAD : EXIT_GOOD;
}
