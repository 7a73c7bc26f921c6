// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* sockpol sockets: live sockets beside what is in force. */
#include <errno.h>
#include <limits.h>
#include <time.h>

#include "base/log.h"
#include "command/commands.h"
#include "host/cgroup.h"
#include "host/namespaces.h"
#include "report/open_sockets.h"
#include "report/overview.h"

#define WATCH_SECONDS 2

struct request {
	const char *cgroup, *policy, *namespace, *pin_dir;
	long pid;
	bool differs, processes, watch, json;
};

struct showing {
	struct walker *walker;
	struct open_sockets *sockets;
	uint64_t cgroup;
};

static int show_namespace(uint64_t inode, void *userdata)
{
	struct showing *s = userdata;

	return open_sockets_walk(s->sockets, s->walker, s->cgroup, inode);
}

static int show(const struct request *q, uint64_t cgroup)
{
	const struct open_sockets_request asked = {
		.json = q->json,
		.differs = q->differs,
		.policy = q->policy,
		.pid = (pid_t)q->pid,
		.processes = q->processes,
	};
	_cleanup_(open_sockets_free) struct open_sockets *sockets = NULL;
	_cleanup_(walker_close) struct walker *walker = NULL;
	struct showing s;
	int r = walker_open(q->pin_dir, &walker);

	if (r == 0)
		r = open_sockets_new(q->pin_dir, &asked, stdout, &sockets);
	if (r < 0)
		return r;
	s = (struct showing){ walker, sockets, cgroup };
	r = namespaces_each(q->namespace, show_namespace, &s);
	if (r == 0)
		open_sockets_end(sockets);
	return r;
}

static const struct cli_option options[] = {
	{ "cgroup", "PATH", "only sockets that were made in this cgroup or below it",
	  CLI_TEXT(struct request, cgroup) },
	{ "policy", "POLICY", "only sockets of which this policy decides something",
	  CLI_TEXT(struct request, policy) },
	{ "pid", "PID", "only sockets that this process has open",
	  CLI_NUMBER(struct request, pid, 1, INT_MAX) },
	{ "differs", NULL, "only sockets that do not have all that policies say",
	  CLI_FLAG(struct request, differs) },
	{ "processes", NULL, "name the processes that have them open",
	  CLI_FLAG(struct request, processes) },
	{ "namespace", "PATH|all",
	  "the network namespaces of all processes, or this one\n"
	  "                        (/proc/PID/ns/net, /run/netns/NAME)",
	  CLI_TEXT(struct request, namespace) },
	{ "watch", NULL, "print them again every two seconds", CLI_FLAG(struct request, watch) },
	{ "json", NULL, "print JSON", CLI_FLAG(struct request, json) },
	{ "pin-dir", "DIR", "the agent's (" DEFAULT_PIN_DIR ")",
	  CLI_TEXT(struct request, pin_dir) },
};

static int run(const void *given, const char *const *arguments)
{
	const struct timespec pause = { .tv_sec = WATCH_SECONDS };
	const struct request *q = given;
	static char buffer[1 << 16];
	uint64_t cgroup = 0;
	int r = q->cgroup ? cgroup_id_of_name(q->cgroup, &cgroup) : 0;

	(void)arguments;
	if (r < 0)
		log_error_errno(r, "Cannot look at the cgroup %s", q->cgroup);
	setvbuf(stdout, buffer, _IOFBF, sizeof(buffer));
	while (r == 0) {
		r = show(q, cgroup);
		if (!q->watch || r < 0 || fflush(stdout) == EOF)
			break;
		nanosleep(&pause, NULL);
	}
	if (r == -ESRCH)
		log_error("no such process: %ld", q->pid);
	else if (r < 0 && !log_has_erred())
		overview_complain(r, q->pin_dir);
	return r < 0 ? EXIT_BAD : EXIT_GOOD;
}

const struct command cmd_sockets = {
	.name = "sockets",
	.summary = "show live sockets that do or do not have what policies say",
	.synopsis = "sockets [--cgroup PATH] [--policy POLICY] [--pid PID] [--differs] [OPTION]...",
	.description =
		"Shows the live TCP and AF_UNIX sockets of which some policy in force decides something:\n"
		"cgroup, peer, policies and rules, and each option that is not what they say, with why as\n"
		"far as it can be known.\n"
		"As root, with and without a running agent.\n"
		"Exit status: 0 good, 1 nothing is in force or it failed, 2 usage.",
	CLI_OPTIONS(options, struct request),
	.defaults = &(const struct request){ .pin_dir = DEFAULT_PIN_DIR },
	.run = run,
};
