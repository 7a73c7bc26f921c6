// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* sockpol explain: which options do the sockets of a cgroup get, and why? */
#include <errno.h>
#include <limits.h>

#include "cgroup.h"
#include "cli.h"
#include "explain_report.h"
#include "explanation.h"
#include "loader.h"
#include "log.h"
#include "unit.h"

#define SYNOPSIS                                                                                   \
	"explain --cgroup PATH | --unit NAME | --pid PID [--direction D]\n"                        \
	"                       [--policy-dir DIR]... [--pin-dir DIR] [--json]"
#define DESCRIPTION                                                                                \
	"Says which options the new sockets of a cgroup, a systemd unit or a process get by the\n" \
	"policy files, which policy, rule and line set each, and what that beat.  Needs no\n"      \
	"privilege; as root it says also when what is in force differs from the files.\n"          \
	"Exit status: 0 good, 1 errors in the files or no such process or unit, 2 usage."

struct request {
	const char *cgroup, *unit, *pid, *direction;
	const char **dirs;
	const char *pin_dir;
	bool json;
};

/* What the answers come from. */
struct inputs {
	char *mount; /* NULL: no cgroup2 here */
	struct host host;
	struct config *config;
	struct cascade *cascade;
	struct pins *pins;   /* NULL: not known what is in force ... */
	const char *no_pins; /* ... because */
};

static void inputs_clear(struct inputs *s)
{
	if (s->pins)
		pins_close(s->pins);
	cascade_free(s->cascade);
	config_free(s->config);
	host_clear(&s->host);
	free(s->mount);
}

static int load_policies(const struct request *q, struct inputs *s)
{
	const char *const *dirs = q->dirs[0] ? q->dirs : loader_default_dirs;
	struct diags diags = { 0 };
	int r;

	host_read(&s->host);
	r = config_load(dirs, NULL, &s->host, &diags, &s->config);
	diags_sort(&diags);
	diags_print(&diags, stderr);
	diags_clear(&diags);
	return r < 0 ? r : cascade_new(s->config, &s->cascade);
}

static const char *no_pins_because(int error)
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

static int inputs_open(const struct request *q, struct inputs *s)
{
	int r = load_policies(q, s);

	if (r < 0)
		return r;
	r = cgroup_mount(&s->mount);
	if (r < 0 && r != -ENOENT)
		return log_error_errno(r, "cannot find the cgroup2 mount");
	r = pins_open(q->pin_dir, &s->pins);
	if (r < 0)
		s->no_pins = no_pins_because(r);
	return 0;
}

static int ask_kernel(const struct inputs *s, const char *cgroup, struct in_force *ret)
{
	_cleanup_free_ char *directory = NULL;
	const struct cgroup_class *k;
	uint64_t id;
	int r;

	if (!s->pins)
		return in_force_unknown(s->no_pins, ret);
	if (asprintf(&directory, "%s%s", s->mount ? s->mount : "", cgroup) < 0) {
		directory = NULL;
		return -ENOMEM;
	}
	r = s->mount ? cgroup_id_of_dir(directory, &id) : -ENOENT;
	if (r < 0)
		return in_force_unknown("not known (there is no such cgroup now)", ret);
	r = cascade_walk(s->cascade, cgroup, &k);
	if (r == 0)
		r = in_force_compare(s->pins, id, cascade_effective(k), ret);
	if (r < 0 && r != -ENOMEM)
		return in_force_unknown(no_pins_because(r), ret);
	return r;
}

/* Adds the cgroup to what is explained, unless it is there. */
static int explain_cgroup(const struct inputs *s, const char *cgroup, unsigned directions,
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
	r = explanation_make(s->cascade, &s->host, cgroup, directions, e);
	if (r < 0)
		return r;
	report->n++;
	return ask_kernel(s, cgroup, &e->in_force);
}

static int explain_path(const struct inputs *s, const struct request *q, unsigned directions,
			struct explain_report *report)
{
	_cleanup_free_ char *cgroup = NULL;
	int r = cgroup_normalize(s->mount, q->cgroup, &cgroup);

	if (r == -EINVAL)
		log_error("a cgroup's path has no '..': %s", q->cgroup);
	return r < 0 ? r : explain_cgroup(s, cgroup, directions, report);
}

static int explain_unit(const struct inputs *s, const struct request *q, unsigned directions,
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
		r = explain_cgroup(s, cgroups.v[i], directions, report);
	unit_cgroups_clear(&cgroups);
	return r;
}

/* Sockets that were made in another cgroup than where the process is now follow that one. */
static int explain_sockets(const struct inputs *s, pid_t pid, unsigned directions,
			   struct explain_report *report)
{
	int r = process_sockets_read(pid, &report->sockets);

	if (r == -ENOMEM)
		return r;
	report->has_sockets = r == 0;
	report->sockets_error = r;
	if (r < 0)
		return 0;
	report->socket_cgroups = calloc(report->sockets.n + 1, sizeof(*report->socket_cgroups));
	if (!report->socket_cgroups)
		return -ENOMEM;
	for (size_t i = 0; i < report->sockets.n && s->mount; i++) {
		uint64_t id = report->sockets.v[i].cgroup_id;

		r = id ? cgroup_path_of_id(s->mount, id, &report->socket_cgroups[i]) : -ENOENT;
		if (r == 0)
			r = explain_cgroup(s, report->socket_cgroups[i], directions, report);
		if (r == -ENOMEM)
			return r;
	}
	return 0;
}

static int explain_process(const struct inputs *s, pid_t pid, unsigned directions,
			   struct explain_report *report)
{
	_cleanup_free_ char *cgroup = NULL;
	int r = cgroup_of_pid(pid, &cgroup);

	if (r < 0)
		return log_error_errno(r, "cannot tell the cgroup of process %d", (int)pid);
	r = explain_cgroup(s, cgroup, directions, report);
	return r < 0 ? r : explain_sockets(s, pid, directions, report);
}

static int parse_pid(const char *text, pid_t *ret)
{
	char *end;
	long n;

	errno = 0;
	n = strtol(text, &end, 10);
	if (errno || end == text || *end || n <= 0 || n > INT_MAX || *text < '0' || *text > '9')
		return -EINVAL;
	*ret = (pid_t)n;
	return 0;
}

/* Exactly one of the three, and values that mean something. */
static int check_usage(int argc, char **argv, int first, const struct request *q, pid_t *ret_pid,
		       unsigned *ret_directions)
{
	if (first < argc) {
		fprintf(stderr, "sockpol explain: unexpected argument '%s'\n", argv[first]);
		return -EINVAL;
	}
	if (!!q->cgroup + !!q->unit + !!q->pid != 1) {
		fprintf(stderr, "sockpol explain: give one of --cgroup, --unit and --pid\n");
		return -EINVAL;
	}
	if (q->pid && parse_pid(q->pid, ret_pid) < 0) {
		fprintf(stderr, "sockpol explain: '%s' is not a process id\n", q->pid);
		return -EINVAL;
	}
	*ret_directions = BIT(DIRECTION_MAX) - 1;
	if (q->direction) {
		enum direction d = direction_from_name(q->direction);

		if (d == DIRECTION_INVALID) {
			fprintf(stderr,
				"sockpol explain: '%s' is not a direction: connect, accept "
				"or listen\n",
				q->direction);
			return -EINVAL;
		}
		*ret_directions = BIT(d);
	}
	return 0;
}

/* -EINVAL: what was asked for makes no sense. */
static int explain(const struct request *q, pid_t pid, unsigned directions)
{
	struct explain_report report = { 0 };
	struct inputs s = { 0 };
	int r = inputs_open(q, &s);

	if (r == 0) {
		if (q->cgroup)
			r = explain_path(&s, q, directions, &report);
		else if (q->unit)
			r = explain_unit(&s, q, directions, &report);
		else
			r = explain_process(&s, pid, directions, &report);
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

int cmd_explain(int argc, char **argv)
{
	_cleanup_free_ const char **dirs = calloc((size_t)argc + 1, sizeof(*dirs));
	struct request q = { .dirs = dirs, .pin_dir = DEFAULT_PIN_DIR };
	const struct cli_option options[] = {
		{ "cgroup", "PATH", "this cgroup, below the cgroup2 mount", .value = &q.cgroup },
		{ "unit", "NAME", "the cgroups of this systemd unit", .value = &q.unit },
		{ "pid", "PID", "the cgroup of this process, and its sockets'", .value = &q.pid },
		{ "direction", "D", "only connect, accept or listen", .value = &q.direction },
		{ "policy-dir", "DIR", "read policies here (may repeat, earlier wins)",
		  .list = dirs },
		{ "pin-dir", "DIR", "the agent's pins (" DEFAULT_PIN_DIR ")", .value = &q.pin_dir },
		{ "json", NULL, "print JSON", .flag = &q.json },
	};
	unsigned directions;
	int status, first, r;
	pid_t pid = 0;

	if (!dirs)
		return EXIT_BAD;
	first = cli_parse(argc, argv, SYNOPSIS, DESCRIPTION, options, ARRAY_SIZE(options), &status);
	if (first < 0)
		return status;
	if (check_usage(argc, argv, first, &q, &pid, &directions) < 0)
		return EXIT_USAGE;
	r = explain(&q, pid, directions);
	if (r == -EINVAL)
		return EXIT_USAGE;
	return r < 0 ? EXIT_BAD : EXIT_GOOD;
}
