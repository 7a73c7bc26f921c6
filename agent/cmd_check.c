// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* sockpol check: are these policies good? */
#include <errno.h>
#include <limits.h>

#include "cli.h"
#include "loader.h"
#include "log.h"

#define SYNOPSIS "check [--policy-dir DIR]... [--strict] [FILE]..."
#define DESCRIPTION                                                                                 \
	"Checks policy files: those of the policy directories, then the FILEs; FILEs without\n"     \
	"--policy-dir are checked alone.  Needs no privilege.  Errors and warnings go to stderr.\n" \
	"Exit status: 0 good, 1 errors (with --strict also warnings), 2 usage."

static const char *plural(size_t n)
{
	return n == 1 ? "" : "s";
}

static void print_count(size_t n, const char *what)
{
	if (n)
		printf("%zu %s%s", n, what, plural(n));
	else
		printf("no %ss", what);
}

static void print_summary(const struct config *config, const struct diags *diags)
{
	if (config)
		printf("%zu file%s, %zu polic%s: ", config->n_files, plural(config->n_files),
		       config->n_policies, config->n_policies == 1 ? "y" : "ies");
	print_count(diags->n_errors, "error");
	printf(", ");
	print_count(diags->n_warnings, "warning");
	printf("\n");
}

static int check(const char *const *dirs, const char *const *files, bool strict)
{
	_cleanup_(config_free) struct config *config = NULL;
	static const char *const no_dirs[] = { NULL };
	struct diags diags = { 0 };
	struct host host;
	bool good;
	int r;

	if (!*dirs)
		dirs = *files ? no_dirs : loader_default_dirs;
	host_read(&host);
	r = config_load(dirs, files, &host, &diags, &config);
	host_clear(&host);
	good = r == 0 && !(strict && diags.n_warnings);
	if (r == -ENOMEM) {
		log_oom();
	} else {
		diags_log(&diags);
		print_summary(config, &diags);
	}
	diags_clear(&diags);
	return good ? EXIT_GOOD : EXIT_BAD;
}

int cmd_check(int argc, char **argv)
{
	_cleanup_free_ const char **dirs = calloc((size_t)argc + 1, sizeof(*dirs));
	bool strict = false;
	const struct cli_option options[] = {
		{ .name = "policy-dir",
		  .argument = "DIR",
		  .help = "read policies here instead; may repeat, earlier wins",
		  .list = dirs },
		{ .name = "strict", .help = "warnings count as errors", .flag = &strict },
	};
	const struct cli_syntax syntax = {
		.synopsis = SYNOPSIS,
		.description = DESCRIPTION,
		.options = options,
		.n_options = ARRAY_SIZE(options),
		.arguments_max = INT_MAX,
	};
	int first, status;

	if (!dirs) {
		log_oom();
		return EXIT_BAD;
	}
	first = cli_parse(argc, argv, &syntax, &status);
	if (first < 0)
		return status;
	return check(dirs, (const char *const *)argv + first, strict);
}
