// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <errno.h>

#include "command/commands.h"
#include "base/control_call.h"
#include "report/dry_run.h"
#include "policy/loader.h"
#include "base/log.h"
#include "kernel/attachments.h"
#include "kernel/pinned.h"

/* 100,000 prefixes and a large hierarchy take seconds. */
#define PATIENCE_SECONDS 60u

struct request {
	const char *runtime_dir, *pin_dir;
	const char **dirs;
	bool dry_run, verbose, json;
};

static const struct cli_option options[] = {
	{ "dry-run", NULL, "say what would change, and change nothing",
	  CLI_FLAG(struct request, dry_run) },
	{ "verbose", NULL, "name every cgroup", CLI_FLAG(struct request, verbose) },
	{ "json", NULL, "print JSON", CLI_FLAG(struct request, json) },
	{ "policy-dir", "DIR",
	  "read policies here, not where the agent does (may repeat, earlier\n"
	  "                        wins)",
	  CLI_LIST(struct request, dirs) },
	{ "pin-dir", "DIR", "the pins of what is in force (the agent's, or " DEFAULT_PIN_DIR ")",
	  CLI_TEXT(struct request, pin_dir) },
	{ "runtime-dir", "DIR", "the agent's (" DEFAULT_RUNTIME_DIR ")",
	  CLI_TEXT(struct request, runtime_dir) },
};

static int say_why_not(int r, const char *runtime_dir)
{
	if (r == -ENOENT || r == -ECONNREFUSED)
		log_error("No agent runs with the runtime directory %s", runtime_dir);
	else if (r == -ETIMEDOUT)
		log_error("The agent of %s has not answered in %u s; its log says what became of "
			  "the reload",
			  runtime_dir, PATIENCE_SECONDS);
	else
		log_error_errno(r, "Cannot talk to the agent of %s", runtime_dir);
	return EXIT_BAD;
}

static int ask_reload(const struct request *q)
{
	_cleanup_(json_decref) json_t *reply = NULL;
	const char *diagnostics, *message;
	int r = control_call(q->runtime_dir, "reload", PATIENCE_SECONDS, &reply, NULL);

	if (r < 0)
		return say_why_not(r, q->runtime_dir);
	diagnostics = json_string_value(json_object_get(reply, "diagnostics"));
	message = json_string_value(json_object_get(reply, "message"));
	if (!log_is_journal()) { /* the agent has put it all there */
		fputs(diagnostics ? diagnostics : "", stderr);
		puts(message ? message : "the agent did not say");
	}
	return json_is_true(json_object_get(reply, "ok")) ? EXIT_GOOD : EXIT_BAD;
}

/* Returns the directories in the agent's answer; the list is owned, the strings belong to the
 * answer. */
static const char **dirs_of_agent(const json_t *reply)
{
	const json_t *dirs = json_object_get(reply, "policy_dirs");
	const char **list = calloc(json_array_size(dirs) + 1, sizeof(*list));

	for (size_t i = 0; list && i < json_array_size(dirs); i++)
		list[i] = json_string_value(json_array_get(dirs, i));
	return list;
}

/* Are these the default directories, which need not exist? */
static bool are_default(const char *const *dirs)
{
	size_t i = 0;

	while (dirs[i] && loader_default_dirs[i] && streq(dirs[i], loader_default_dirs[i]))
		i++;
	return !dirs[i] && !loader_default_dirs[i];
}

/* Beside what the files change. */
static void say_what_is_attached_again(const char *pin_dir)
{
	_cleanup_(pinned_close) struct pinned *p = NULL;
	_cleanup_free_ char *names = NULL;
	struct sp_state state;

	if (pinned_open(pin_dir, &p) == 0 && pinned_state(p, &state) == 0 &&
	    attachments_name_lost(pin_dir, &state, &names) == 0 && names)
		log_warning("a reload attaches again what somebody detached: %s", names);
}

static int compare(const struct request *q, const char *const *dirs, const char *pin_dir)
{
	struct diags diags = { 0 };
	json_t *d = NULL;
	int r = dry_run_make(are_default(dirs) ? loader_default_dirs : dirs, pin_dir, &diags, &d);

	diags_sort(&diags);
	diags_print(&diags, stderr);
	if (r == -EBADMSG)
		log_error("a reload would be refused: %zu error%s", diags.n_errors,
			  plural(diags.n_errors));
	diags_clear(&diags);
	if (r == 0 && q->json)
		r = document_write(json_incref(d), stdout);
	else if (r == 0)
		dry_run_print(d, q->verbose, stdout);
	json_decref(d);
	if (r == 0)
		say_what_is_attached_again(pin_dir);
	return r < 0 ? EXIT_BAD : EXIT_GOOD;
}

/* Asks the agent for what the request leaves open.  Returns its answer, NULL where none runs. */
static int ask_agent(const struct request *q, json_t **ret)
{
	int r = control_call(q->runtime_dir, "status", PATIENCE_SECONDS, ret, NULL);

	if (r == -ENOENT || r == -ECONNREFUSED || (q->dirs[0] && q->pin_dir))
		return 0;
	if (r < 0)
		return log_error_errno(r, "Cannot ask the agent of %s for its directories",
				       q->runtime_dir);
	if (json_array_size(json_object_get(*ret, "policy_dirs")) || q->dirs[0])
		return 0;
	log_error("The agent of %s does not say where its policy files are: give --policy-dir",
		  q->runtime_dir);
	return -ENODATA;
}

static int dry_run(const struct request *q)
{
	_cleanup_(json_decref) json_t *reply = NULL;
	_cleanup_free_ const char **agents = NULL;
	const char *const *dirs = loader_default_dirs;
	const char *pin_dir = q->pin_dir;

	if (ask_agent(q, &reply) < 0)
		return EXIT_BAD;
	agents = dirs_of_agent(reply);
	if (!agents) {
		log_oom();
		return EXIT_BAD;
	}
	if (q->dirs[0])
		dirs = q->dirs;
	else if (agents[0])
		dirs = agents;
	if (!pin_dir)
		pin_dir = json_string_value(json_object_get(reply, "pin_dir"));
	return compare(q, dirs, pin_dir ? pin_dir : DEFAULT_PIN_DIR);
}

static int reload(const void *given, const char *const *arguments)
{
	const struct request *q = given;

	(void)arguments;
	if (q->dry_run)
		return dry_run(q);
	if (q->verbose || q->json || q->pin_dir || q->dirs[0]) {
		fprintf(stderr,
			"sockpol reload: --verbose, --json, --policy-dir and --pin-dir need "
			"--dry-run\n");
		return EXIT_USAGE;
	}
	return ask_reload(q);
}

const struct command cmd_reload = {
	.name = "reload",
	.summary = "make a running agent read its policy files again",
	.synopsis = "reload [--runtime-dir DIR]\n"
		    "       sockpol reload --dry-run [--verbose] [--json] [--policy-dir DIR]...\n"
		    "                      [--pin-dir DIR] [--runtime-dir DIR]",
	.description =
		"Makes the running agent read its policy files again, waits, and prints the verdict.\n"
		"Exit status: 0 the new configuration is in force, 1 it is not: what was in force stays.\n"
		"\n"
		"--dry-run changes nothing, and says which options of which live cgroups would change.\n"
		"It reads the files of the running agent, or without one those of the default\n"
		"directories, and compares them with what is in force in the kernel.\n"
		"Exit status: 0 good, whether or not anything would change, 1 a reload would be refused.",
	CLI_OPTIONS(options, struct request),
	.defaults = &(const struct request){ .runtime_dir = DEFAULT_RUNTIME_DIR },
	.run = reload,
};
