/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What the subcommands share of a command line. */
#ifndef SOCKPOL_CLI_H
#define SOCKPOL_CLI_H

#include "base/util.h"

enum exit_status {
	EXIT_GOOD = 0,
	EXIT_BAD = 1,	/* errors in the configuration; the thing asked for failed */
	EXIT_USAGE = 2, /* the command line makes no sense */
	/* `run` has not started, as the policy files have errors.  sysexits.h's EX_CONFIG, so that
	 * systemctl shows "CONFIG"; the unit does not try again. */
	EXIT_CONFIG = 78,
};

#define DEFAULT_PIN_DIR	    "/sys/fs/bpf/sockpol"
#define DEFAULT_RUNTIME_DIR "/run/sockpol"

/* A subcommand: cmd_*.c has one each.  argv[0] is its name. */
struct command {
	const char *name;
	const char *summary;
	int (*run)(int argc, char **argv); /* returns enum exit_status */
};
int cmd_run(int argc, char **argv);
int cmd_check(int argc, char **argv);
int cmd_explain(int argc, char **argv);
int cmd_status(int argc, char **argv);
int cmd_metrics(int argc, char **argv);
int cmd_options(int argc, char **argv);
int cmd_reload(int argc, char **argv);
int cmd_detach(int argc, char **argv);

/* One option of a subcommand, for getopt_long and for --help. */
struct cli_option {
	const char *name;     /* without the dashes */
	const char *argument; /* "DIR", or NULL: a flag */
	const char *help;
	bool *flag;	    /* set to true (flags) */
	const char **value; /* the last one given (with an argument; points into argv) */
	const char **list;  /* room for argc + 1 pointers, kept NULL-terminated: may repeat */
};

struct cli_syntax {
	const char *synopsis;	 /* the usage line after "sockpol " */
	const char *description; /* a paragraph */
	const struct cli_option *options;
	size_t n_options;  /* --help is added */
	int arguments_max; /* beside the options */
};

/*
 * Returns the index of the first positional argument, or -1 after --help (printed to stdout;
 * *ret_status is EXIT_GOOD) or after a usage error (printed to stderr; EXIT_USAGE).
 */
int cli_parse(int argc, char **argv, const struct cli_syntax *syntax, int *ret_status);

#endif
