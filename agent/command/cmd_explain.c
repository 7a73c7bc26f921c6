// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* sockpol explain: which options do the sockets of a cgroup get, and why? */
#include <errno.h>
#include <limits.h>

#include "host/cgroup.h"
#include "command/commands.h"
#include "report/explain_report.h"
#include "report/explanation.h"
#include "report/generations.h"
#include "policy/loader.h"
#include "base/log.h"
#include "kernel/support.h"
#include "report/unit.h"

struct request {
	const char *cgroup, *unit;
	long pid; /* 0: not given */
	struct asked_words words;
	const char **dirs;
	const char *pin_dir;
	bool json;
};

static const struct cli_option options[] = {
	{ "cgroup", "PATH", "this cgroup, below the cgroup2 mount",
	  CLI_TEXT(struct request, cgroup) },
	{ "unit", "NAME", "the cgroups of this systemd unit", CLI_TEXT(struct request, unit) },
	{ "pid", "PID", "the cgroup of this process, and its sockets'",
	  CLI_NUMBER(struct request, pid, 1, INT_MAX) },
	{ "direction", "D",
	  "only connect, accept or listen; of one connection: listen if only\n"
	  "                        --local is given, else connect",
	  CLI_WORD(struct request, words.directions, direction_words) },
	{ "remote", "ADDR[:PORT]", "the peer: 192.0.2.1:443, [2001:db8::1]:443, or without port",
	  CLI_TEXT(struct request, words.remote) },
	{ "local", "ADDR[:PORT]", "this end, as far as it is bound; :PORT is the port alone",
	  CLI_TEXT(struct request, words.local) },
	{ "protocol", "P", "tcp or udp",
	  CLI_WORD(struct request, words.protocols, protocol_words) },
	{ "family", "F", "ipv4, ipv6 or unix; an address says it, a v4-mapped one is ipv4",
	  CLI_WORD(struct request, words.families, family_words) },
	{ "policy-dir", "DIR", "read policies here (may repeat, earlier wins)",
	  CLI_LIST(struct request, dirs) },
	{ "pin-dir", "DIR", "the agent's pins (" DEFAULT_PIN_DIR ")",
	  CLI_TEXT(struct request, pin_dir) },
	{ "json", NULL, "print JSON", CLI_FLAG(struct request, json) },
};

/* The sources of the answers. */
struct inputs {
	char *mount; /* NULL: no cgroup2 here */
	struct host host;
	struct config *config;
	struct generations *generations; /* NULL: what is in force is not known ... */
	char *why_not_known;		 /* owned; ... because */
};

static void inputs_clear(struct inputs *s)
{
	generations_close(s->generations);
	free(s->why_not_known);
	config_free(s->config);
	host_clear(&s->host);
	free(s->mount);
}

/* Leaves out what `run` leaves out here.  Without the privilege to ask the kernel nothing is left
 * out. */
static int leave_out_unsupported(struct config *c, const struct host *host, struct diags *diags)
{
	const struct kernel_support *k;

	return support_probe(&k) < 0 ? 0 : support_apply(k, host, c, diags);
}

static int load_policies(const struct request *q, struct inputs *s)
{
	const char *const *dirs = q->dirs[0] ? q->dirs : loader_default_dirs;
	struct diags diags = { 0 };
	int r;

	host_read(&s->host);
	r = config_load(dirs, NULL, &s->host, &diags, &s->config);
	if (r == 0)
		r = leave_out_unsupported(s->config, &s->host, &diags);
	diags_sort(&diags);
	diags_log(&diags);
	diags_clear(&diags);
	return r;
}

static const char *not_known_because(int error)
{
	switch (error) {
	case -EACCES:
	case -EPERM:
		return "not known (needs root)";
	case -ENOENT:
		return "not known (no agent's pins)";
	case -EPROTO:
		return "not known (pinned by an agent of another version)";
	default:
		return "not known (the pins cannot be read)";
	}
}

/* Opens what is in force, if permitted: the rest of the answer does not need it. */
static int open_generations(const struct request *q, struct inputs *s)
{
	_cleanup_free_ char *error = NULL;
	struct position at;
	int r = generations_open(q->pin_dir, s->config, &s->generations, &error, &at);

	if (r == 0 && !s->generations->are_pinned) {
		generations_close(TAKE_PTR(s->generations));
		r = -ENOENT;
	}
	if (r == 0 || r == -ENOMEM)
		return r;
	if (r != -E2BIG)
		s->why_not_known = strdup(not_known_because(r));
	else if (asprintf(&s->why_not_known, "not known (the files would be refused: %s)", error) <
		 0)
		s->why_not_known = NULL;
	return s->why_not_known ? 0 : -ENOMEM;
}

static int inputs_open(const struct request *q, struct inputs *s)
{
	int r = load_policies(q, s);

	if (r < 0)
		return r;
	r = cgroup_mount(&s->mount);
	if (r < 0 && r != -ENOENT)
		return log_error_errno(r, "cannot find the cgroup2 mount");
	return open_generations(q, s);
}

/* Compares.  The files' side is what was explained, by the patterns alone. */
static int compare(const struct inputs *s, const struct explanation *e, struct in_force *ret)
{
	struct generations *g = s->generations;
	struct glob_list in_force, by_files = { 0 };
	int r;

	if (!g)
		return in_force_unknown(s->why_not_known, ret);
	for (size_t i = 0; i < e->effective.n_policies; i++)
		by_files.number[by_files.n++] =
			(uint16_t)image_policy_number(g->built, e->effective.policies[i]);
	r = generations_list_in_force(g, e->cgroup, &in_force);
	if (r == 0)
		r = in_force_compare(&g->in_force, &in_force, &g->files, &by_files, ret);
	return r == -EPROTO ? in_force_unknown(not_known_because(r), ret) : r;
}

/* Explains the cgroup, unless that was done already. */
static int explain_cgroup(const struct inputs *s, const char *cgroup, const struct asked *asked,
			  struct explain_report *report)
{
	struct explanation *e;
	int r;

	for (size_t i = 0; i < report->n; i++)
		if (streq(report->v[i].cgroup, cgroup))
			return 0;
	r = GROW(report->v, report->n);
	if (r < 0)
		return r;
	e = &report->v[report->n];
	r = explanation_make(s->config, &s->host, cgroup, asked, e);
	if (r < 0)
		return r;
	report->n++;
	return compare(s, e, &e->in_force);
}

static int explain_path(const struct inputs *s, const struct request *q, const struct asked *asked,
			struct explain_report *report)
{
	_cleanup_free_ char *cgroup = NULL;
	int r = cgroup_normalize(s->mount, q->cgroup, &cgroup);

	if (r == -EINVAL)
		log_error("a cgroup's path has no '..': %s", q->cgroup);
	return r < 0 ? r : explain_cgroup(s, cgroup, asked, report);
}

static int explain_unit(const struct inputs *s, const struct request *q, const struct asked *asked,
			struct explain_report *report)
{
	struct unit_cgroups cgroups = { 0 };
	_cleanup_free_ char *why = NULL;
	int r = unit_cgroups_find(s->mount, q->unit, &cgroups, &why);

	if (r < 0) {
		if (why)
			log_error("%s", why);
		return r;
	}
	if (cgroups.assumed)
		report->note = "the unit has no cgroup now; assuming where systemd would put it";
	for (size_t i = 0; i < cgroups.n && r == 0; i++)
		r = explain_cgroup(s, cgroups.v[i], asked, report);
	unit_cgroups_clear(&cgroups);
	return r;
}

/* Explains the other cgroups in which sockets of the process were created. */
static int explain_sockets(const struct inputs *s, pid_t pid, const struct asked *asked,
			   struct explain_report *report)
{
	int r = sock_diag_of_pid(pid, &report->sockets);

	if (r == -ENOMEM)
		return r;
	report->has_sockets = r == 0;
	report->sockets_error = r;
	if (r < 0)
		return 0;
	r = s->mount ? cgroup_of_sockets(s->mount, &report->sockets) : 0;
	for (size_t i = 0; i < report->sockets.n && r != -ENOMEM; i++)
		if (report->sockets.v[i].cgroup)
			r = explain_cgroup(s, report->sockets.v[i].cgroup, asked, report);
	return r == -ENOMEM ? r : 0;
}

static int explain_process(const struct inputs *s, pid_t pid, const struct asked *asked,
			   struct explain_report *report)
{
	_cleanup_free_ char *cgroup = NULL;
	int r = cgroup_of_pid(pid, &cgroup);

	if (r < 0)
		return log_error_errno(r, "cannot tell the cgroup of process %d", (int)pid);
	r = explain_cgroup(s, cgroup, asked, report);
	return r < 0 ? r : explain_sockets(s, pid, asked, report);
}

/* Checks for exactly one of the three, and for a possible connection. */
static int check_usage(const struct request *q, struct asked *ret_asked)
{
	_cleanup_free_ char *error = NULL;
	int r;

	if (!!q->cgroup + !!q->unit + !!q->pid != 1) {
		fprintf(stderr, "sockpol explain: give one of --cgroup, --unit and --pid\n");
		return -EINVAL;
	}
	r = asked_parse(&q->words, ret_asked, &error);
	if (r == -ENOMEM)
		log_oom();
	else if (r < 0)
		fprintf(stderr, "sockpol explain: %s\n", error);
	return r;
}

/* Answers the request.  -EINVAL: it makes no sense. */
static int explain_request(const struct request *q, const struct asked *asked)
{
	struct explain_report report = { 0 };
	struct inputs s = { 0 };
	int r = inputs_open(q, &s);

	if (r == 0) {
		if (q->cgroup)
			r = explain_path(&s, q, asked, &report);
		else if (q->unit)
			r = explain_unit(&s, q, asked, &report);
		else
			r = explain_process(&s, (pid_t)q->pid, asked, &report);
	}
	if (r == 0)
		r = q->json ? explain_report_json(&report, stdout)
			    : explain_report_print(&report, stdout);
	if (r == -ENOMEM)
		log_oom();
	explain_report_clear(&report);
	inputs_clear(&s);
	return r;
}

static int explain(const void *given, const char *const *arguments)
{
	const struct request *q = given;
	struct asked asked;
	int r = check_usage(q, &asked);

	(void)arguments;
	if (r < 0)
		return r == -ENOMEM ? EXIT_BAD : EXIT_USAGE;
	r = explain_request(q, &asked);
	if (r == -EINVAL)
		return EXIT_USAGE;
	return r < 0 ? EXIT_BAD : EXIT_GOOD;
}

const struct command cmd_explain = {
	.name = "explain",
	.summary = "say which options a cgroup's sockets get, and why",
	.synopsis = "explain --cgroup PATH | --unit NAME | --pid PID [--direction D]\n"
		    "                       [--remote ADDR[:PORT]] [--local ADDR[:PORT]]\n"
		    "                       [--protocol P] [--family F]\n"
		    "                       [--policy-dir DIR]... [--pin-dir DIR] [--json]",
	.description =
		"Says which options the new sockets of a cgroup, a systemd unit or a process get by the\n"
		"policy files, which policy, rule and line set each, and what that beat: for every\n"
		"connection, with the conditions of the rules, or for the one that --remote, --local,\n"
		"--protocol and --family describe.  A rule that asks for more than these give does not hold.\n"
		"Needs no privilege; as root it also says where what is in force differs from the files,\n"
		"and leaves out what the running kernel lacks.\n"
		"Exit status: 0 good, 1 errors in the files or no such process or unit, 2 usage.",
	CLI_OPTIONS(options, struct request),
	.defaults = &(const struct request){ .pin_dir = DEFAULT_PIN_DIR },
	.run = explain,
};
