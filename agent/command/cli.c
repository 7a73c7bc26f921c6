// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <assert.h>
#include <errno.h>
#include <getopt.h>

#include "base/diag.h"
#include "base/log.h"
#include "base/names.h"
#include "command/cli.h"

#define HELP_OPTION 'h'
#define FIRST_LONG  256 /* getopt values of `options`, beyond any character */

static void print_help(FILE *to, const struct command *c)
{
	fprintf(to, "Usage: sockpol %s\n\n%s\n\nOptions:\n", c->synopsis, c->description);
	for (size_t i = 0; i < c->n_options; i++) {
		const struct cli_option *o = &c->options[i];
		int width = fprintf(to, "  --%s%s%s", o->name, o->argument ? " " : "",
				    o->argument ? o->argument : "");

		fprintf(to, "%*s%s\n", width < 24 ? 24 - width : 1, "", o->help);
	}
	fprintf(to, "  --help                print this and exit\n");
}

/* Fills in what getopt_long() takes.  longs: room for two more than there are options. */
static void fill_long_options(const struct command *c, struct option *longs)
{
	for (size_t i = 0; i < c->n_options; i++) {
		const struct cli_option *o = &c->options[i];

		longs[i] = (struct option){
			.name = o->name,
			.has_arg = o->argument ? required_argument : no_argument,
			.val = FIRST_LONG + (int)i,
		};
	}
	longs[c->n_options] = (struct option){ .name = "help", .val = HELP_OPTION };
	longs[c->n_options + 1] = (struct option){ 0 };
}

static int take_number(const struct command *c, const struct cli_option *o, const char *text,
		       long *ret)
{
	const char *digits = *text == '-' ? text + 1 : text;
	char *end;
	long n;

	errno = 0;
	n = strtol(text, &end, 10);
	if (errno || *end || *digits < '0' || *digits > '9' || n < o->min || n > o->max) {
		fprintf(stderr, "sockpol %s: --%s takes a number from %ld to %ld, not '%s'\n",
			c->name, o->name, o->min, o->max, EXCERPT(text));
		return -EINVAL;
	}
	*ret = n;
	return 0;
}

static int take_word(const struct command *c, const struct cli_option *o, const char *text,
		     unsigned *ret)
{
	const char *near;

	for (size_t i = 0; i < o->n_words; i++) {
		if (streq(o->words[i], text)) {
			*ret = BIT(i);
			return 0;
		}
	}
	fprintf(stderr, "sockpol %s: --%s takes ", c->name, o->name);
	for (size_t i = 0; i < o->n_words; i++)
		fprintf(stderr, "%s%s", !i ? "" : i + 1 < o->n_words ? ", " : " or ", o->words[i]);
	near = suggest(text, o->words, o->n_words);
	fprintf(stderr, ", not '%s'%s%s%s\n", EXCERPT(text), near ? "; did you mean '" : "",
		near ? near : "", near ? "'?" : "");
	return -EINVAL;
}

static void take_entry(const char **list, const char *text)
{
	while (*list)
		list++;
	list[0] = text;
	list[1] = NULL;
}

/* Takes one option.  Returns 0, or -EINVAL, reported on stderr. */
static int take_option(const struct command *c, const struct cli_option *o, void *options)
{
	void *field = (char *)options + o->field;

	switch (o->type) {
	case CLI_TYPE_FLAG:
		*(bool *)field = true;
		return 0;
	case CLI_TYPE_TEXT:
		*(const char **)field = optarg;
		return 0;
	case CLI_TYPE_LIST:
		take_entry(*(const char ***)field, optarg);
		return 0;
	case CLI_TYPE_NUMBER:
		return take_number(c, o, optarg, field);
	case CLI_TYPE_WORD:
		return take_word(c, o, optarg, field);
	}
	return -EINVAL;
}

/* Explains the usage after getopt_long() has said what is wrong with this argument. */
static void explain_usage(const struct command *c, const char *argument)
{
	_cleanup_free_ char *name = strndup(argument, strcspn(argument, "="));
	const char *names[CLI_NAMES_MAX], *near;

	for (size_t i = 0; i < c->n_options; i++)
		names[i] = c->options[i].name;
	/* if the option exists, its argument is wrong */
	near = name && !strncmp(name, "--", 2) ? suggest(name + 2, names, c->n_options) : NULL;
	if (near && !streq(near, name + 2))
		fprintf(stderr, "Did you mean --%s?\n", near);
	fprintf(stderr, "Usage: sockpol %s\n", c->synopsis);
}

/* Parses the options.  Returns the index of the first other argument; or -1: *ret_status is the
 * exit status. */
static int parse(const struct command *c, int argc, char **argv, void *options, int *ret_status)
{
	struct option longs[CLI_NAMES_MAX + 2];
	int found;

	assert(c->n_options <= CLI_NAMES_MAX);
	fill_long_options(c, longs);
	*ret_status = EXIT_USAGE;
	optind = 0; /* glibc: start over, and permute anew */
	while ((found = getopt_long(argc, argv, "h", longs, NULL)) != -1) {
		if (found == HELP_OPTION) {
			print_help(stdout, c);
			*ret_status = EXIT_GOOD;
			return -1;
		}
		if (found < FIRST_LONG) {
			explain_usage(c, argv[optind - 1]);
			return -1;
		}
		if (take_option(c, &c->options[found - FIRST_LONG], options) < 0)
			return -1;
	}
	if (argc - optind > c->arguments_max) {
		fprintf(stderr, "sockpol %s: unexpected argument '%s'\n", c->name,
			argv[optind + c->arguments_max]);
		return -1;
	}
	return optind;
}

/* Makes room in each list for all words of the command line. */
static int make_lists(const struct command *c, int argc, void *options)
{
	for (size_t i = 0; i < c->n_options; i++) {
		const char ***list = (void *)((char *)options + c->options[i].field);

		if (c->options[i].type != CLI_TYPE_LIST)
			continue;
		*list = calloc((size_t)argc + 1, sizeof(**list));
		if (!*list)
			return log_oom();
	}
	return 0;
}

static void free_lists(const struct command *c, void *options)
{
	for (size_t i = 0; i < c->n_options; i++)
		if (c->options[i].type == CLI_TYPE_LIST)
			free(*(const char ***)(void *)((char *)options + c->options[i].field));
}

/* Runs a command.  argv[0] is its name. */
static int run(const struct command *c, int argc, char **argv)
{
	_cleanup_free_ void *options = calloc(1, c->size + 1);
	int first = -1, status = EXIT_BAD;

	if (!options) {
		log_oom();
		return EXIT_BAD;
	}
	if (c->defaults)
		memcpy(options, c->defaults, c->size);
	if (make_lists(c, argc, options) == 0)
		first = parse(c, argc, argv, options, &status);
	if (first >= 0)
		status = c->run(options, (const char *const *)argv + first);
	free_lists(c, options);
	return status;
}

static void print_commands(FILE *to, const struct command *const *commands, size_t n)
{
	fprintf(to,
		"Usage: sockpol COMMAND [OPTION]...\n\n"
		"Gives every socket of a service its socket options, from outside the service.\n\n"
		"Commands:\n");
	for (size_t i = 0; i < n; i++)
		fprintf(to, "  %-10s %s\n", commands[i]->name, commands[i]->summary);
	fprintf(to, "\nsockpol COMMAND --help says more; sockpol --version prints the version.\n"
		    "Exit status: 0 good, 1 errors, 2 the command line makes no sense.\n");
}

int cli_main(const struct command *const *commands, size_t n, int argc, char **argv)
{
	const char *names[CLI_NAMES_MAX], *near;

	assert(n <= CLI_NAMES_MAX);
	if (argc < 2) {
		print_commands(stderr, commands, n);
		return EXIT_USAGE;
	}
	if (streq(argv[1], "--help") || streq(argv[1], "-h") || streq(argv[1], "help")) {
		print_commands(stdout, commands, n);
		return EXIT_GOOD;
	}
	if (streq(argv[1], "--version")) {
		printf("sockpol %s\n", SOCKPOL_VERSION);
		return EXIT_GOOD;
	}
	for (size_t i = 0; i < n; i++) {
		if (streq(argv[1], commands[i]->name))
			return run(commands[i], argc - 1, argv + 1);
		names[i] = commands[i]->name;
	}
	near = suggest(argv[1], names, n);
	fprintf(stderr, "sockpol: there is no command '%s'; %s%s%s\n", EXCERPT(argv[1]),
		near ? "did you mean '" : "sockpol --help lists them", near ? near : "",
		near ? "'?" : "");
	return EXIT_USAGE;
}
