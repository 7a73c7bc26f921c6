// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <errno.h>

#include "cli.h"
#include "control.h"
#include "log.h"

/* Some 100,000 prefixes and a large hierarchy take seconds. */
#define PATIENCE_SECONDS 60u

DEFINE_CLEANUP(json_t *, json_decref)

int cmd_reload(int argc, char **argv)
{
	const char *runtime_dir = DEFAULT_RUNTIME_DIR;
	const struct cli_option options[] = {
		{ "runtime-dir", "DIR", "the agent's (" DEFAULT_RUNTIME_DIR ")",
		  .value = &runtime_dir },
	};
	const struct cli_syntax syntax = {
		.synopsis = "reload [--runtime-dir DIR]",
		.description =
			"Makes the running agent read its policy files again, waits, and prints the "
			"verdict.\nExit status: 0 the new configuration is in force, 1 it is not: what "
			"was in force stays.",
		.options = options,
		.n_options = ARRAY_SIZE(options),
	};
	_cleanup_(json_decref) json_t *reply = NULL;
	const char *diagnostics, *message;
	int status, r;

	if (cli_parse(argc, argv, &syntax, &status) < 0)
		return status;
	r = control_call(runtime_dir, "reload", PATIENCE_SECONDS, &reply, NULL);
	if (r == -ENOENT || r == -ECONNREFUSED) {
		log_error("No agent runs with the runtime directory %s", runtime_dir);
		return EXIT_BAD;
	}
	if (r == -ETIMEDOUT) {
		log_error("The agent of %s has not answered in %u s; its log says what became of "
			  "the reload",
			  runtime_dir, PATIENCE_SECONDS);
		return EXIT_BAD;
	}
	if (r < 0) {
		log_error_errno(r, "Cannot speak with the agent of %s", runtime_dir);
		return EXIT_BAD;
	}
	diagnostics = json_string_value(json_object_get(reply, "diagnostics"));
	message = json_string_value(json_object_get(reply, "message"));
	if (diagnostics && !log_is_journal()) /* there they are already, from the agent */
		fputs(diagnostics, stderr);
	puts(message ? message : "the agent did not say");
	return json_is_true(json_object_get(reply, "ok")) ? EXIT_GOOD : EXIT_BAD;
}
