/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A command line as data: commands, their options, and where the arguments go. */
#ifndef SOCKPOL_CLI_H
#define SOCKPOL_CLI_H

#include "base/util.h"

enum exit_status {
	EXIT_GOOD = 0,
	EXIT_BAD = 1,	/* errors in the configuration; the thing asked for failed */
	EXIT_USAGE = 2, /* the command line makes no sense */
	/* `run` has not started, because the policy files have errors.  It is EX_CONFIG of
	 * sysexits.h, so that systemctl shows "CONFIG"; the unit does not try again. */
	EXIT_CONFIG = 78,
};

#define DEFAULT_PIN_DIR	    "/sys/fs/bpf/sockpol"
#define DEFAULT_RUNTIME_DIR "/run/sockpol"
#define DEFAULT_STATE_DIR   "/var/lib/sockpol"

#define CLI_NAMES_MAX 32 /* commands; options of one */

enum cli_type {
	CLI_TYPE_FLAG,
	CLI_TYPE_TEXT,
	CLI_TYPE_LIST,
	CLI_TYPE_NUMBER,
	CLI_TYPE_WORD,
};

/* An option of a command; the last member is one of the CLI_* below. */
struct cli_option {
	const char *name;     /* without the dashes */
	const char *argument; /* "DIR", or NULL: a flag */
	const char *help;
	enum cli_type type;
	size_t field; /* offset in the command's struct */
	const char *const *words;
	size_t n_words;
	long min, max;
};

/* Gives the offset of a member that has this type. */
#define CLI_FIELD(of, member, type)                                                                \
	(offsetof(of, member) +                                                                    \
	 0 * sizeof(char[__builtin_types_compatible_p(typeof(((of *)0)->member), type) ? 1 : -1]))

/* bool: was it given? */
#define CLI_FLAG(of, member) .type = CLI_TYPE_FLAG, .field = CLI_FIELD(of, member, bool)
/* const char *: the last one given; points into argv. */
#define CLI_TEXT(of, member) .type = CLI_TYPE_TEXT, .field = CLI_FIELD(of, member, const char *)
/* const char **: all that are given, NULL-terminated, as long as the command runs; may repeat.  At
 * most one option of a command. */
#define CLI_LIST(of, member) .type = CLI_TYPE_LIST, .field = CLI_FIELD(of, member, const char **)
/* long: between the two, both included. */
#define CLI_NUMBER(of, member, least, most)                                                        \
	.type = CLI_TYPE_NUMBER, .field = CLI_FIELD(of, member, long), .min = (least), .max = (most)
/* unsigned: BIT() of the word's place in a list of words; 0: not given. */
#define CLI_WORD(of, member, list)                                                                 \
	.type = CLI_TYPE_WORD, .field = CLI_FIELD(of, member, unsigned), .words = (list),          \
	.n_words = ARRAY_SIZE(list)

struct command {
	const char *name;
	const char *summary;	 /* for the list of commands */
	const char *synopsis;	 /* the usage line after "sockpol " */
	const char *description; /* a paragraph */
	const struct cli_option *options;
	size_t n_options;     /* --help is added */
	size_t size;	      /* of the struct that the options go to */
	const void *defaults; /* what it begins as; NULL: zero */
	int arguments_max;    /* beside the options */
	/* Returns enum exit_status.  arguments: NULL-terminated. */
	int (*run)(const void *options, const char *const *arguments);
};

/* A command's options, and the struct that they go to. */
#define CLI_OPTIONS(list, of) .options = (list), .n_options = ARRAY_SIZE(list), .size = sizeof(of)

/* Finds the command that argv[1] names and runs it.  Returns enum exit_status. */
int cli_main(const struct command *const *commands, size_t n, int argc, char **argv);

#endif
