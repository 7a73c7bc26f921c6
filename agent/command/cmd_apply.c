// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* sockpol apply: sets what policies say on sockets that are open already, or takes it back. */
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <pthread.h>
#include <time.h>

#include "base/log.h"
#include "command/commands.h"
#include "host/cgroup.h"
#include "host/namespaces.h"
#include "option/value.h"
#include "report/applied.h"
#include "report/generations.h"
#include "report/overview.h"

#define PROGRESS_NSEC 200000000

struct request {
	const char *cgroup, *namespace, *pin_dir;
	const char **by_hand;
	bool dry_run, reset, json;
};

struct applying {
	struct walker *walker;
	struct walk_request request;
	struct walk_totals totals;
	size_t n_namespaces;
};

/* --- what is asked for */

struct chosen {
	const char *const *policies;
	uint64_t *counters; /* bits */
	size_t n;	    /* found */
};

static int choose(uint32_t index, const struct sp_counter *counter, uint64_t applied,
		  void *userdata)
{
	struct chosen *c = userdata;

	(void)applied;
	for (const char *const *p = c->policies; *p; p++) {
		if (!streq(*p, counter->policy) || index >= SP_COUNTERS_MAX)
			continue;
		c->counters[index / 64] |= 1ull << (index & 63);
		c->n += !counter->rule[0];
	}
	return 0;
}

/* Finds the counters of these policies and their rules; owned. */
static int choose_policies(const char *pin_dir, const char *const *policies, uint64_t **ret)
{
	_cleanup_free_ uint64_t *bits = calloc(SP_COUNTERS_MAX / 64, sizeof(*bits));
	_cleanup_(pinned_close) struct pinned *p = NULL;
	int r = bits ? pinned_open(pin_dir, &p) : -ENOMEM;

	for (const char *const *name = policies; *name && r == 0; name++) {
		const char *const one[] = { *name, NULL };
		struct chosen c = { one, bits, 0 };

		r = pinned_each_counter(p, choose, &c);
		if (r == 0 && !c.n) {
			log_error("No policy '%s' is in force", *name);
			r = -ENODATA;
		}
	}
	if (r == 0)
		*ret = TAKE_PTR(bits);
	return r;
}

/* NULL text: whatever it has.  Returns 0 or -EINVAL, said. */
static int name_option(const struct option *o, const struct option *as, const char *text,
		       struct walk_option options[OPTION_MAX])
{
	struct walk_option *to = &options[option_id(o)];
	_cleanup_free_ char *error = NULL;
	struct sockopt value = { 0 };
	int r = text ? value_parse(as, text, &value, &error) : 0;

	if (r < 0) {
		fprintf(stderr, "sockpol apply: --option %s: %s\n", as->name,
			error ? error : strerror(-r));
		return -EINVAL;
	}
	if (o->level == SP_LEVEL_REPLY) {
		fprintf(stderr, "sockpol apply: --option %s: no socket keeps it\n", o->name);
		return -EINVAL;
	}
	to->by_hand = WALK_BY_HAND;
	if (text) {
		to->by_hand |= WALK_BY_HAND_VALUE;
		memcpy(to->by_hand_text, sockopt_data(&value), value.size);
		sockopt_destroy(&value);
	}
	return 0;
}

/* "NAME" or "NAME=VALUE". */
static int name_by_hand(const char *argument, struct walk_option options[OPTION_MAX])
{
	const char *equals = strchr(argument, '=');
	_cleanup_free_ char *name = strndup(argument, strcspn(argument, "="));
	const char *text = equals ? equals + 1 : NULL;
	const struct option_shorthand *s = name ? option_find_shorthand(name) : NULL;
	const struct option *o = name ? option_find(name) : NULL;
	int r = 0;

	if (o)
		return name_option(o, o, text, options);
	for (size_t i = 0; s && i < ARRAY_SIZE(s->expands_to) && r == 0; i++)
		r = name_option(s->expands_to[i], &s->as_option, text, options);
	if (!s) {
		fprintf(stderr, "sockpol apply: --option: there is no option '%s'\n",
			name ? name : argument);
		r = -EINVAL;
	}
	return r;
}

/* --- running */

static void *show_progress(void *p)
{
	const struct applying *a = p;
	const struct timespec pause = { .tv_nsec = PROGRESS_NSEC };

	pthread_setcanceltype(PTHREAD_CANCEL_DEFERRED, NULL);
	for (;;) {
		nanosleep(&pause, NULL); /* a cancellation point */
		fprintf(stderr, "\r%" PRIu64 " sockets, namespace %zu ",
			(uint64_t)a->totals.counts.sockets + walker_looked_at(a->walker),
			a->n_namespaces + 1);
	}
	return NULL;
}

static int apply_here(uint64_t inode, void *userdata)
{
	struct applying *a = userdata;
	int r;

	(void)inode;
	r = walker_run(a->walker, &a->request, &a->totals, NULL, NULL);
	a->n_namespaces++;
	return r;
}

static int apply_everywhere(const char *namespaces, struct applying *a)
{
	bool shows = isatty(STDERR_FILENO);
	pthread_t thread;
	int r;

	shows = shows && pthread_create(&thread, NULL, show_progress, a) == 0;
	r = namespaces_each(namespaces, apply_here, a);
	if (shows) {
		pthread_cancel(thread);
		pthread_join(thread, NULL);
		fputs("\r\033[K", stderr);
	}
	return r;
}

static int report(const struct request *q, const struct applying *a)
{
	json_t *document = applied_json(&a->totals, &a->request, a->n_namespaces);

	if (q->json || !document)
		return document_write(document, stdout);
	applied_print(document, stdout);
	json_decref(document);
	return 0;
}

static int apply(const struct request *q, const char *const *policies,
		 const struct walk_option *by_hand)
{
	_cleanup_(walker_close) struct walker *walker = NULL;
	_cleanup_free_ uint64_t *counters = NULL;
	struct applying a = { .request = { .mode = q->reset ? WALK_RESET : WALK_APPLY,
					   .is_dry = q->dry_run,
					   .by_hand = by_hand } };
	int r = q->cgroup ? cgroup_id_of_name(q->cgroup, &a.request.cgroup) : 0;

	if (r < 0)
		return log_error_errno(r, "Cannot look at the cgroup %s", q->cgroup);
	if (*policies)
		r = choose_policies(q->pin_dir, policies, &counters);
	if (r == 0)
		r = walker_open(q->pin_dir, &walker);
	if (r < 0)
		return r;
	if (q->reset && !by_hand && !walker_has_previous(walker)) {
		log_error("What was in force before is not known: nothing has changed since the "
			  "agent's first load; --option names an option by hand");
		return -ENODATA;
	}
	a.walker = walker;
	a.request.counters = counters;
	r = apply_everywhere(q->namespace, &a);
	if (r == 0)
		r = report(q, &a);
	walk_totals_clear(&a.totals);
	return r;
}

static const struct cli_option options[] = {
	{ "cgroup", "PATH", "only sockets that were made in this cgroup or below it",
	  CLI_TEXT(struct request, cgroup) },
	{ "namespace", "PATH|all",
	  "the network namespaces of all processes, or this one\n"
	  "                        (/proc/PID/ns/net, /run/netns/NAME)",
	  CLI_TEXT(struct request, namespace) },
	{ "dry-run", NULL, "count, and set nothing", CLI_FLAG(struct request, dry_run) },
	{ "reset", NULL,
	  "take back what the configuration before the last change gave, and\n"
	  "                        today's does not",
	  CLI_FLAG(struct request, reset) },
	{ "option", "NAME[=VALUE]",
	  "with --reset: this option, where it has this value (may repeat)",
	  CLI_LIST(struct request, by_hand) },
	{ "json", NULL, "print JSON", CLI_FLAG(struct request, json) },
	{ "pin-dir", "DIR", "the agent's (" DEFAULT_PIN_DIR ")",
	  CLI_TEXT(struct request, pin_dir) },
};

static int run(const void *given, const char *const *arguments)
{
	struct walk_option by_hand[OPTION_MAX] = { 0 };
	const struct request *q = given;
	bool any = false;
	int r;

	if ((q->by_hand && *q->by_hand && !q->reset) || (q->reset && *arguments)) {
		fprintf(stderr, "sockpol apply: --option goes only with --reset, and a POLICY does "
				"not go with it\n");
		return EXIT_USAGE;
	}
	for (const char **one = q->by_hand; one && *one; one++, any = true)
		if (name_by_hand(*one, by_hand) < 0)
			return EXIT_USAGE;
	r = apply(q, arguments, any ? by_hand : NULL);
	if (r < 0 && !log_has_erred())
		overview_complain(r, q->pin_dir);
	return r < 0 ? EXIT_BAD : EXIT_GOOD;
}

const struct command cmd_apply = {
	.name = "apply",
	.summary = "set what policies say on sockets that are open already",
	.synopsis =
		"apply [POLICY]... [--cgroup PATH] [--namespace PATH|all] [--dry-run] [OPTION]...\n"
		"       sockpol apply --reset [--option NAME[=VALUE]]... [OPTION]...",
	.description =
		"Sets what the policies in force give on TCP and AF_UNIX sockets that are open already, as\n"
		"if each came to its moment now; of all policies or of those that are named.  What has no\n"
		"effect on an open connection is counted as too late.\n"
		"With --reset: where a socket still has what the configuration before the last change gave\n"
		"it, it gets what today's policies give, else the host's default.\n"
		"As root, with and without a running agent.\n"
		"Exit status: 0 good, 1 nothing is in force or it failed, 2 usage.",
	CLI_OPTIONS(options, struct request),
	.defaults = &(const struct request){ .pin_dir = DEFAULT_PIN_DIR },
	.arguments_max = INT_MAX,
	.run = run,
};
