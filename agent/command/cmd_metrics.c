// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* sockpol metrics: what is in force and what it has counted, for Prometheus. */
#include "command/commands.h"
#include "report/metrics.h"
#include "report/overview.h"

struct request {
	const char *pin_dir, *runtime_dir;
};

static const struct cli_option options[] = {
	{ "pin-dir", "DIR", "the agent's (" DEFAULT_PIN_DIR ")",
	  CLI_TEXT(struct request, pin_dir) },
	{ "runtime-dir", "DIR", "the agent's (" DEFAULT_RUNTIME_DIR ")",
	  CLI_TEXT(struct request, runtime_dir) },
};

static int metrics(const void *given, const char *const *arguments)
{
	const struct request *q = given;
	int r = metrics_read(q->pin_dir, q->runtime_dir, stdout);

	(void)arguments;
	if (r == 0)
		return EXIT_GOOD;
	overview_complain(r, q->pin_dir);
	return EXIT_BAD;
}

const struct command cmd_metrics = {
	.name = "metrics",
	.summary = "print what is in force, with its counters, for Prometheus",
	.synopsis = "metrics [OPTION]...",
	.description =
		"Prints what is in force, and what it has counted, in Prometheus' text format: from "
		"the\nkernel's maps and the agent, if one runs, as root.\n"
		"Exit status: 0 good, also where nothing is in force (sockpol_up is 0 then); 1 the "
		"maps\ncannot be read, and nothing is printed.",
	CLI_OPTIONS(options, struct request),
	.defaults = &(const struct request){ DEFAULT_PIN_DIR, DEFAULT_RUNTIME_DIR },
	.run = metrics,
};
