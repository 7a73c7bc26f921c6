// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* sockpol run: the agent. */
#include <errno.h>

#include "daemon/agent.h"
#include "command/commands.h"
#include "policy/loader.h"

struct request {
	struct agent_options agent;
	const char **dirs;
};

static const struct cli_option options[] = {
	{ "policy-dir", "DIR", "read policies here (may repeat, earlier wins)",
	  CLI_LIST(struct request, dirs) },
	{ "cgroup-root", "CGROUP",
	  "govern this cgroup and those below it: a directory, or a path\n"
	  "                        below the cgroup2 mount (default: all)",
	  CLI_TEXT(struct request, agent.cgroup_root) },
	{ "pin-dir", "DIR", "pin programs and maps here (" DEFAULT_PIN_DIR ")",
	  CLI_TEXT(struct request, agent.pin_dir) },
	{ "runtime-dir", "DIR", "the control socket's directory (" DEFAULT_RUNTIME_DIR ")",
	  CLI_TEXT(struct request, agent.runtime_dir) },
	{ "state-dir", "DIR",
	  "keep the files that came in force last here (" DEFAULT_STATE_DIR ";\n"
	  "                        with --pin-dir: nowhere)",
	  CLI_TEXT(struct request, agent.state_dir) },
	{ "persist", NULL,
	  "when stopped, leave the policies in force (sockpol detach takes\n"
	  "                        them out)",
	  CLI_FLAG(struct request, agent.persist) },
	{ "metrics-file", "FILE", "keep this file fresh for node_exporter's textfile collector",
	  CLI_TEXT(struct request, agent.metrics_file) },
};

static int run(const void *given, const char *const *arguments)
{
	const struct request *q = given;
	struct agent_options o = q->agent;
	int r;

	(void)arguments;
	o.policy_dirs = q->dirs[0] ? q->dirs : loader_default_dirs;
	o.pin_dir_is_default = streq(o.pin_dir, DEFAULT_PIN_DIR);
	if (!o.state_dir && o.pin_dir_is_default)
		o.state_dir = DEFAULT_STATE_DIR;
	r = agent_run(&o);
	if (r == -EBADMSG)
		return EXIT_CONFIG;
	return r < 0 ? EXIT_BAD : EXIT_GOOD;
}

const struct command cmd_run = {
	.name = "run",
	.summary = "run the agent in the foreground",
	.synopsis = "run [OPTION]...",
	.description =
		"Governs sockets as the policy files say, in the foreground.  SIGHUP reads the "
		"files\nagain; SIGTERM and SIGINT take everything out of the kernel, unless --persist is "
		"given.  With errors in the files it starts with what an earlier agent left in force, or with\n"
		"the files that came in force last.\n"
		"Exit status: 78 when errors in the files keep it from starting, else as for all commands.",
	CLI_OPTIONS(options, struct request),
	.defaults = &(const struct request){ .agent = { .pin_dir = DEFAULT_PIN_DIR,
							.runtime_dir = DEFAULT_RUNTIME_DIR } },
	.run = run,
};
