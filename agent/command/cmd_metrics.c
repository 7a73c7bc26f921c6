// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* sockpol metrics: what is in force and what it has counted, for Prometheus. */
#include "command/cli.h"
#include "report/metrics.h"
#include "report/overview.h"

int cmd_metrics(int argc, char **argv)
{
	const char *pin_dir = DEFAULT_PIN_DIR, *runtime_dir = DEFAULT_RUNTIME_DIR;
	const struct cli_option options[] = {
		{ "pin-dir", "DIR", "the agent's (" DEFAULT_PIN_DIR ")", .value = &pin_dir },
		{ "runtime-dir", "DIR", "the agent's (" DEFAULT_RUNTIME_DIR ")",
		  .value = &runtime_dir },
	};
	const struct cli_syntax syntax = {
		.synopsis = "metrics [OPTION]...",
		.description =
			"Prints what is in force, and what it has counted, in Prometheus' text format: from "
			"the\nkernel's maps and the agent, if one runs, as root.\n"
			"Exit status: 0 good, also where nothing is in force (sockpol_up is 0 then); 1 the "
			"maps\ncannot be read, and nothing is printed.",
		.options = options,
		.n_options = ARRAY_SIZE(options),
	};
	int status, r;

	if (cli_parse(argc, argv, &syntax, &status) < 0)
		return status;
	r = metrics_read(pin_dir, runtime_dir, stdout);
	if (r == 0)
		return EXIT_GOOD;
	overview_complain(r, pin_dir);
	return EXIT_BAD;
}
