// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <errno.h>

#include "daemon/agent.h"
#include "command/cli.h"
#include "base/log.h"
#include "policy/loader.h"

int cmd_run(int argc, char **argv)
{
	_cleanup_free_ const char **dirs = calloc((size_t)argc + 1, sizeof(*dirs));
	struct agent_options o = { .pin_dir = DEFAULT_PIN_DIR, .runtime_dir = DEFAULT_RUNTIME_DIR };
	const struct cli_option options[] = {
		{ "policy-dir", "DIR", "read policies here (may repeat, earlier wins)",
		  .list = dirs },
		{ "cgroup-root", "CGROUP",
		  "govern this cgroup and those below it: a directory, or a path\n"
		  "                        below the cgroup2 mount (default: all)",
		  .value = &o.cgroup_root },
		{ "pin-dir", "DIR", "pin programs and maps here (" DEFAULT_PIN_DIR ")",
		  .value = &o.pin_dir },
		{ "runtime-dir", "DIR", "the control socket's directory (" DEFAULT_RUNTIME_DIR ")",
		  .value = &o.runtime_dir },
		{ "persist", NULL,
		  "when stopped, leave the policies in force (sockpol detach takes\n"
		  "                        them out)",
		  .flag = &o.persist },
		{ "metrics-file", "FILE",
		  "keep this file fresh for node_exporter's textfile collector",
		  .value = &o.metrics_file },
	};
	const struct cli_syntax syntax = {
		.synopsis = "run [OPTION]...",
		.description =
			"Governs sockets as the policy files say, in the foreground.  SIGHUP reads the "
			"files\nagain; SIGTERM and SIGINT take everything out of the kernel, unless --persist is "
			"given.\nExit status: 78 when it cannot start for errors in the files, else as for all commands.",
		.options = options,
		.n_options = ARRAY_SIZE(options),
	};
	int status, r;

	if (!dirs) {
		log_oom();
		return EXIT_BAD;
	}
	if (cli_parse(argc, argv, &syntax, &status) < 0)
		return status;
	o.policy_dirs = dirs[0] ? dirs : loader_default_dirs;
	r = agent_run(&o);
	if (r == -EBADMSG)
		return EXIT_CONFIG;
	return r < 0 ? EXIT_BAD : EXIT_GOOD;
}
