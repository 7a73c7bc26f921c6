// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* sockpol check: are these policies good? */
#include <errno.h>
#include <limits.h>
#include <sys/utsname.h>

#include "command/commands.h"
#include "compile/image.h"
#include "policy/loader.h"
#include "base/log.h"
#include "host/cgroup.h"
#include "kernel/support.h"
#include "report/document.h"
#include "report/on_host.h"

struct request {
	const char **dirs;
	bool strict, kernel, host, json;
};

static const struct cli_option options[] = {
	{ "policy-dir", "DIR", "read policies here instead; may repeat, earlier wins",
	  CLI_LIST(struct request, dirs) },
	{ "strict", NULL, "warnings count as errors", CLI_FLAG(struct request, strict) },
	{ "kernel", NULL, "say what the running kernel lacks, and what asks for it (root)",
	  CLI_FLAG(struct request, kernel) },
	{ "host", NULL, "say also what this host does not have: units, cgroups, devices",
	  CLI_FLAG(struct request, host) },
	{ "json", NULL, "print everything as JSON, on stdout", CLI_FLAG(struct request, json) },
};

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

static void append_diag(const struct diag *d, void *list)
{
	json_t **to = list;

	*to = document_append(*to,
			      json_pack("{s:s, s:s, s:o, s:o, s:s}", "severity",
					diag_level_name(d->level), "file", d->file, "line",
					d->line ? json_integer(d->line) : json_null(), "column",
					d->line ? json_integer(d->column) : json_null(), "message",
					d->message));
}

/* with_kernel: the kernel was asked what it lacks */
static int print_json(const struct config *c, bool with_kernel, const struct diags *diags)
{
	json_t *list = json_array();

	diags_each(diags, append_diag, &list);
	return document_write(
		json_pack("{s:o, s:I, s:I, s:o, s:o, s:o}", "diagnostics", list, "errors",
			  (json_int_t)diags->n_errors, "warnings", (json_int_t)diags->n_warnings,
			  "files", c ? json_integer((json_int_t)c->n_files) : json_null(),
			  "policies", c ? json_integer((json_int_t)c->n_policies) : json_null(),
			  "unsupported", c && with_kernel ? document_unsupported(c) : json_null()),
		stdout);
}

/* --- the running kernel ----------------------------------------------------------------------- */

/* Prints the policies and rules that ask for it. */
static void print_concerned(const struct config *c, const char *what, FILE *to)
{
	size_t n = 0;

	for (size_t i = 0; i < c->n_unsupported; i++) {
		const struct unsupported *u = &c->unsupported[i];

		if (!streq(u->what, what))
			continue;
		fprintf(to, "%spolicy %s%s%s%s", n++ ? "; " : "", u->policy,
			u->rule ? ", rule " : "", u->rule ? u->rule : "",
			u->is_refused ? " (refuses calls)" : "");
	}
	if (!n)
		fprintf(to, "no policy asks for it");
}

static void print_lack(const struct config *c, const char *what, const char *since, FILE *to)
{
	fprintf(to, since ? "  lacks %s (since %s)" : "  lacks %s", what, since);
	if (c) {
		fprintf(to, ": ");
		print_concerned(c, what, to);
	}
	fprintf(to, "\n");
}

/* Modules that policies name.  Returns how many the kernel lacks. */
static size_t print_modules(const struct config *c, FILE *to)
{
	size_t n = 0;

	for (size_t i = 0; c && i < c->n_unsupported; i++) {
		const struct unsupported *u = &c->unsupported[i];
		size_t first = 0;

		while (!streq(c->unsupported[first].what, u->what))
			first++;
		if (u->since || first < i)
			continue;
		print_lack(c, u->what, NULL, to);
		n++;
	}
	return n;
}

void cmd_check_print_kernel(const char *release, const struct kernel_support *k,
			    const struct config *c, FILE *to)
{
	size_t n = 0;

	fprintf(to, "kernel %s:\n", release);
	for (int i = 0; i < OPTION_MAX; i++) {
		const struct option *o = &option_table[i];

		if (k->options[i] == SUPPORT_UNKNOWN)
			fprintf(to, "  cannot tell whether it has %s: no socket to try it on\n",
				o->name);
		else if (!support_has_option(k, (enum option_id)i))
			print_lack(c, o->name, o->since, to);
		n += k->options[i] != 0;
	}
	for (size_t i = 0; i < n_missing_hooks; i++) {
		if (!(k->missing_stages & BIT(missing_hooks[i].stage)))
			continue;
		print_lack(c, missing_hooks[i].what, missing_hooks[i].since, to);
		n++;
	}
	n += print_modules(c, to);
	if (!n)
		fprintf(to, "  has every option and every hook\n");
}

/* Asks the running kernel, like the agent.  c: NULL when the files are wrong. */
static int check_kernel(struct config *c, const struct host *host, bool json, struct diags *diags)
{
	const struct kernel_support *k;
	struct utsname u = { 0 };
	int r = support_probe(NULL, &k);

	if ((r == -EPERM || r == -EACCES) && !host_is_privileged())
		return log_error_errno(r, "--kernel needs root (CAP_BPF, CAP_NET_ADMIN and "
					  "CAP_PERFMON): the kernel was not asked");
	if (r < 0)
		return log_error_errno(r, "Cannot try which options and hooks this kernel has");
	r = c ? support_foresee(c, host, diags) : 0;
	uname(&u);
	if (!json)
		cmd_check_print_kernel(u.release, k, c, stdout);
	return r;
}

static uint32_t no_counter(const struct policy *p, const char *rule, void *userdata)
{
	(void)p;
	(void)rule;
	(void)userdata;
	return 0;
}

/* Compiles what was read, as a load does: what does not fit the maps is an error. */
static int compile(const struct config *c, struct diags *diags)
{
	_cleanup_(image_free) struct image *image = NULL;
	_cleanup_free_ char *error = NULL;
	struct position at;
	int r = image_new(c, no_counter, NULL, &image, &error, &at);

	if (r == -E2BIG)
		diag_error(diags, &at, "%s", error);
	return r;
}

static int check_host(const struct config *c, struct diags *diags)
{
	_cleanup_free_ char *mount = NULL;
	int r = cgroup_mount(&mount);

	return r == -ENOMEM ? r : on_host_lint(c, mount, diags);
}

static int check(const void *given, const char *const *files)
{
	_cleanup_(config_free) struct config *config = NULL;
	static const char *const no_dirs[] = { NULL };
	const struct request *q = given;
	const char *const *dirs = q->dirs;
	struct diags diags = { 0 };
	struct host host;
	bool good;
	int r, asked = 0;

	if (!*dirs)
		dirs = *files ? no_dirs : loader_default_dirs;
	host_read(&host);
	r = config_load(dirs, files, &host, &diags, &config);
	if (r == 0)
		r = compile(config, &diags);
	if (q->host && r == 0)
		r = check_host(config, &diags);
	if (q->kernel && r != -ENOMEM)
		asked = check_kernel(config, &host, q->json, &diags);
	host_clear(&host);
	good = r == 0 && asked == 0 && !(q->strict && diags.n_warnings);
	diags_sort(&diags);
	if (r != -ENOMEM && q->json) {
		r = print_json(config, q->kernel && asked == 0, &diags);
		good = good && r == 0;
	} else if (r != -ENOMEM) {
		diags_log(&diags);
		print_summary(config, &diags);
	}
	if (r == -ENOMEM)
		log_oom();
	diags_clear(&diags);
	return good ? EXIT_GOOD : EXIT_BAD;
}

const struct command cmd_check = {
	.name = "check",
	.summary = "check policy files",
	.synopsis = "check [--policy-dir DIR]... [--strict] [--kernel] [--host]\n"
		    "                     [--json] [FILE]...",
	.description =
		"Checks policy files: those of the policy directories, then the FILEs; FILEs without\n"
		"--policy-dir are checked alone.  Needs no privilege; with --kernel, as root, also says what\n"
		"the running kernel lacks; with --host, what this host does not have.  Errors and warnings go to stderr, with --json all goes to stdout.\n"
		"Exit status: 0 good, 1 errors (with --strict also warnings), 2 usage.",
	CLI_OPTIONS(options, struct request),
	.arguments_max = INT_MAX,
	.run = check,
};
