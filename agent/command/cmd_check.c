// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* sockpol check: are these policies good? */
#include <errno.h>
#include <limits.h>
#include <sys/utsname.h>

#include "command/cli.h"
#include "report/kernel_report.h"
#include "policy/loader.h"
#include "base/log.h"

#define SYNOPSIS "check [--policy-dir DIR]... [--strict] [--kernel] [FILE]..."
#define DESCRIPTION                                                                                \
	"Checks policy files: those of the policy directories, then the FILEs; FILEs without\n"    \
	"--policy-dir are checked alone.  Needs no privilege, but --kernel root, and then says\n"  \
	"also what the running kernel lacks.  Errors and warnings go to stderr.\n"                 \
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

/* Asks the running kernel, as the agent would.  c: NULL when the files are wrong. */
static int check_kernel(struct config *c, const struct host *host, struct diags *diags)
{
	const struct kernel_support *k;
	struct utsname u = { 0 };
	int r = support_probe(&k);

	if (r == -EPERM || r == -EACCES)
		return log_error_errno(r, "--kernel needs root (CAP_BPF, CAP_NET_ADMIN and "
					  "CAP_PERFMON): the kernel was not asked");
	if (r < 0)
		return log_error_errno(r, "Cannot try which options and hooks this kernel has");
	r = c ? support_foresee(c, host, diags) : 0;
	uname(&u);
	kernel_report_print(u.release, k, c, stdout);
	return r;
}

static int check(const char *const *dirs, const char *const *files, bool strict, bool kernel)
{
	_cleanup_(config_free) struct config *config = NULL;
	static const char *const no_dirs[] = { NULL };
	struct diags diags = { 0 };
	struct host host;
	bool good;
	int r, asked = 0;

	if (!*dirs)
		dirs = *files ? no_dirs : loader_default_dirs;
	host_read(&host);
	r = config_load(dirs, files, &host, &diags, &config);
	if (kernel && r != -ENOMEM)
		asked = check_kernel(config, &host, &diags);
	host_clear(&host);
	good = r == 0 && asked == 0 && !(strict && diags.n_warnings);
	if (r == -ENOMEM) {
		log_oom();
	} else {
		diags_sort(&diags);
		diags_log(&diags);
		print_summary(config, &diags);
	}
	diags_clear(&diags);
	return good ? EXIT_GOOD : EXIT_BAD;
}

int cmd_check(int argc, char **argv)
{
	_cleanup_free_ const char **dirs = calloc((size_t)argc + 1, sizeof(*dirs));
	bool strict = false, kernel = false;
	const struct cli_option options[] = {
		{ .name = "policy-dir",
		  .argument = "DIR",
		  .help = "read policies here instead; may repeat, earlier wins",
		  .list = dirs },
		{ .name = "strict", .help = "warnings count as errors", .flag = &strict },
		{ .name = "kernel",
		  .help = "say what the running kernel lacks, and whom that concerns (root)",
		  .flag = &kernel },
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
	return check(dirs, (const char *const *)argv + first, strict, kernel);
}
