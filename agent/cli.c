// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <getopt.h>

#include "cli.h"

#define HELP_OPTION 'h'
#define FIRST_LONG  256 /* getopt values of `options`, beyond any character */

static void print_help(FILE *to, const char *synopsis, const char *description,
		       const struct cli_option *options, size_t n)
{
	fprintf(to, "Usage: sockpol %s\n\n%s\n\nOptions:\n", synopsis, description);
	for (size_t i = 0; i < n; i++) {
		const struct cli_option *o = &options[i];
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

int cli_parse(int argc, char **argv, const char *synopsis, const char *description,
	      const struct cli_option *options, size_t n, int *ret_status)
{
	_cleanup_free_ struct option *longs = NULL;
	int c;

	*ret_status = EXIT_BAD;
	longs = calloc(n + 2, sizeof(*longs));
	if (!longs)
		return -1;
	for (size_t i = 0; i < n; i++) {
		longs[i].name = options[i].name;
		longs[i].has_arg = options[i].argument ? required_argument : no_argument;
		longs[i].val = FIRST_LONG + (int)i;
	}
	longs[n].name = "help";
	longs[n].val = HELP_OPTION;

	optind = 0; /* glibc: start over, and permute anew */
	while ((c = getopt_long(argc, argv, "h", longs, NULL)) != -1) {
		const struct cli_option *o;

		if (c == HELP_OPTION) {
			print_help(stdout, synopsis, description, options, n);
			*ret_status = EXIT_GOOD;
			return -1;
		}
		if (c < FIRST_LONG) { /* getopt_long has said what is wrong */
			fprintf(stderr, "Usage: sockpol %s\n", synopsis);
			*ret_status = EXIT_USAGE;
			return -1;
		}
		o = &options[c - FIRST_LONG];
		if (o->flag)
			*o->flag = true;
		if (o->value)
			*o->value = optarg;
		if (o->list)
			list_append(o->list, optarg);
	}
	return optind;
}
