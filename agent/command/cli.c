// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <errno.h>
#include <getopt.h>

#include "command/cli.h"
#include "base/log.h"

#define HELP_OPTION 'h'
#define FIRST_LONG  256 /* getopt values of `options`, beyond any character */

static void print_help(FILE *to, const struct cli_syntax *syntax)
{
	fprintf(to, "Usage: sockpol %s\n\n%s\n\nOptions:\n", syntax->synopsis, syntax->description);
	for (size_t i = 0; i < syntax->n_options; i++) {
		const struct cli_option *o = &syntax->options[i];
		int width = fprintf(to, "  --%s%s%s", o->name, o->argument ? " " : "",
				    o->argument ? o->argument : "");

		fprintf(to, "%*s%s\n", width < 24 ? 24 - width : 1, "", o->help);
	}
	fprintf(to, "  --help                print this and exit\n");
}

static void list_append(const char **list, const char *value)
{
	while (*list)
		list++;
	list[0] = value;
	list[1] = NULL;
}

static struct option *long_options(const struct cli_syntax *syntax)
{
	struct option *longs = calloc(syntax->n_options + 2, sizeof(*longs));

	if (!longs) {
		log_oom();
		return NULL;
	}
	for (size_t i = 0; i < syntax->n_options; i++) {
		const struct cli_option *o = &syntax->options[i];

		longs[i].name = o->name;
		longs[i].has_arg = o->argument ? required_argument : no_argument;
		longs[i].val = FIRST_LONG + (int)i;
	}
	longs[syntax->n_options].name = "help";
	longs[syntax->n_options].val = HELP_OPTION;
	return longs;
}

static void take_option(const struct cli_option *o)
{
	if (o->flag)
		*o->flag = true;
	if (o->value)
		*o->value = optarg;
	if (o->list)
		list_append(o->list, optarg);
}

int cli_parse(int argc, char **argv, const struct cli_syntax *syntax, int *ret_status)
{
	_cleanup_free_ struct option *longs = long_options(syntax);
	int c;

	*ret_status = EXIT_BAD;
	if (!longs)
		return -1;
	optind = 0; /* glibc: start over, and permute anew */
	while ((c = getopt_long(argc, argv, "h", longs, NULL)) != -1) {
		if (c == HELP_OPTION) {
			print_help(stdout, syntax);
			*ret_status = EXIT_GOOD;
			return -1;
		}
		if (c < FIRST_LONG) { /* getopt_long has said what is wrong */
			fprintf(stderr, "Usage: sockpol %s\n", syntax->synopsis);
			*ret_status = EXIT_USAGE;
			return -1;
		}
		take_option(&syntax->options[c - FIRST_LONG]);
	}
	if (argc - optind > syntax->arguments_max) {
		fprintf(stderr, "sockpol %s: unexpected argument '%s'\n", argv[0],
			argv[optind + syntax->arguments_max]);
		*ret_status = EXIT_USAGE;
		return -1;
	}
	return optind;
}
