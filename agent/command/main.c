// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Finds the subcommand, and hands over. */
#include "command/cli.h"
#include "base/log.h"

static const struct command commands[] = {
	{ "run", "run the agent in the foreground", cmd_run },
	{ "check", "check policy files", cmd_check },
	{ "explain", "say which options a cgroup's sockets get, and why", cmd_explain },
	{ "status", "say what is in force in the kernel, with its counters", cmd_status },
	{ "metrics", "print what is in force, with its counters, for Prometheus", cmd_metrics },
	{ "options", "list the socket options that policies can set", cmd_options },
	{ "reload", "make a running agent read its policy files again", cmd_reload },
	{ "detach", "take out of the kernel what an agent left in force", cmd_detach },
};

static void usage(FILE *to)
{
	fprintf(to,
		"Usage: sockpol COMMAND [OPTION]...\n\n"
		"Gives every socket of a service its socket options, from outside the service.\n\n"
		"Commands:\n");
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		fprintf(to, "  %-10s %s\n", commands[i].name, commands[i].summary);
	fprintf(to, "\nsockpol COMMAND --help says more; sockpol --version prints the version.\n"
		    "Exit status: 0 good, 1 errors, 2 the command line makes no sense.\n");
}

static int dispatch(int argc, char **argv)
{
	if (argc < 2) {
		usage(stderr);
		return EXIT_USAGE;
	}
	if (streq(argv[1], "--help") || streq(argv[1], "-h") || streq(argv[1], "help")) {
		usage(stdout);
		return EXIT_GOOD;
	}
	if (streq(argv[1], "--version")) {
		printf("sockpol %s\n", SOCKPOL_VERSION);
		return EXIT_GOOD;
	}
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		if (streq(argv[1], commands[i].name))
			return commands[i].run(argc - 1, argv + 1);
	fprintf(stderr, "sockpol: there is no command '%s'; sockpol --help lists them\n", argv[1]);
	return EXIT_USAGE;
}

int main(int argc, char **argv)
{
	int status;

	log_setup();
	status = dispatch(argc, argv);
	/* What was asked for has not arrived, whatever the command thinks. */
	if (fflush(stdout) == EOF || ferror(stdout)) {
		log_error("Cannot write the output");
		return EXIT_BAD;
	}
	return status;
}
