// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <errno.h>
#include <inttypes.h>
#include <time.h>

#include "base/log.h"
#include "base/utf8.h"
#include "command/commands.h"
#include "command/status_json.h"
#include "host/cgroup.h"
#include "kernel/pin_dir.h"
#include "policy/stage.h"
#include "report/contest.h"
#include "report/governed.h"

static const char *errno_name(int error)
{
	const char *name = strerrorname_np(error);

	return name ? name : "?";
}

static void format_time(char *buf, size_t size, uint64_t usec)
{
	time_t t = (time_t)(usec / 1000000);
	struct tm tm;

	if (!localtime_r(&t, &tm) || !strftime(buf, size, "%F %T %z", &tm))
		snprintf(buf, size, "?");
}

static const char *json_text(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text ? text : "?";
}

/* Prints what policies ask for and this kernel lacks, as the agent reports it. */
static void print_unsupported(const struct overview *o)
{
	size_t i;
	json_t *one;

	json_array_foreach(o->unsupported, i, one)
	{
		const char *rule = json_string_value(json_object_get(one, "rule"));
		const char *since = json_string_value(json_object_get(one, "since"));

		printf("warning: this kernel has no %s%s%s%s: left out of policy %s%s%s\n",
		       json_text(one, "what"), since ? " (since " : "", since ? since : "",
		       since ? ")" : "", json_text(one, "policy"), rule ? ", rule " : "",
		       rule ? rule : "");
	}
}

/* Prints what this kernel lacks; without an agent, the missing hooks for which the maps in force
 * have something. */
static void print_missing(const struct overview *o)
{
	uint64_t missing = o->state.stages & o->state.missing_stages;

	if (o->unsupported) {
		print_unsupported(o);
		return;
	}
	for (int s = 0; s < SP_STAGE_MAX; s++)
		if (missing & BIT(s))
			printf("warning: this kernel has no hook for %s (%s)\n", stage_name(s),
			       stage_hooks(s));
}

static void print_whether_running(const struct overview *o)
{
	if (o->other_pins)
		printf("agent: none known for these pins (the one asked, pid %d, has its pins at "
		       "%s)\n",
		       (int)o->pid, o->other_pins);
	else if (!o->running)
		printf("agent: none runs; what is pinned stays in force\n");
	else if (!o->answers)
		printf("agent: running, pid %d, but does not answer; what is pinned stays in "
		       "force\n",
		       (int)o->pid);
	else
		printf("agent: running, pid %d; last load: %s%s\n", (int)o->pid,
		       o->verdict ? o->verdict : "?", o->degraded ? " (degraded)" : "");
}

/* Says where what is in force comes from, if not from files that the agent could read. */
static void print_source(const struct overview *o)
{
	_cleanup_free_ char *names = NULL;

	if (!o->degraded || !o->source || streq(o->source, "files"))
		return;
	names = overview_name_policies(o);
	if (o->source_dir)
		printf("degraded: in force from the last good files (%s): %s\n", o->source_dir,
		       names ? names : "?");
	else
		printf("degraded: in force from an earlier agent: %s\n", names ? names : "?");
}

static void print_lost(FILE *to, const struct overview *o)
{
	if (o->pins_lost)
		fprintf(to,
			"warning: %" PRIu64
			" pins of the agent, pid %d, are gone: without them policy ends "
			"when the agent does; `sockpol reload` pins it again\n",
			o->pins_lost, (int)o->pid);
}

static void print_counts(const struct overview *o)
{
	const struct {
		uint64_t n;
		const char *what;
	} rows[] = {
		{ o->state.cut,
		  "cgroups are so deep, or have such long names, that they have an ancestor's policies" },
		{ o->state.left_out, "cgroups are matched by more policies than can apply to one" },
		{ o->state.lists_lost, "sockets got no options, as other cgroups kept taking the "
				       "place of theirs in the cache" },
		{ o->state.failures_lost, "failures could not be counted (map full)" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		if (rows[i].n)
			printf("warning: %" PRIu64 " %s\n", rows[i].n, rows[i].what);
}

static void print_agent(const struct overview *o)
{
	const struct sp_generation *in_force = &o->state.of[o->state.generation & 1];
	char when[64];

	print_whether_running(o);
	print_source(o);
	format_time(when, sizeof(when), in_force->loaded_usec);
	printf("in force: generation %" PRIu64 " since %s, %u policies\n",
	       (uint64_t)o->state.generation, when, in_force->n_policies);
	printf("cgroups classified at a socket: %" PRIu64 "\n", (uint64_t)o->state.misses);
	if (o->has_cgroups)
		printf("cgroups governed: %" PRIu64 " of %" PRIu64 " that live\n", o->n_governed,
		       o->n_cgroups);
	print_counts(o);
	print_missing(o);
	print_lost(stdout, o);
}

static void print_links(const struct overview *o)
{
	printf("\nattachments:\n");
	for (size_t i = 0; i < o->n_links; i++) {
		const struct overview_link *l = &o->links[i];

		printf("  %-15s link %u, program %u, ", l->hook, l->link_id, l->program_id);
		if (l->cgroup_id)
			printf("cgroup id %" PRIu64 "\n", l->cgroup_id);
		else
			printf("its cgroup is gone, or somebody detached it\n");
	}
}

static void print_neighbour(const struct neighbour *n)
{
	_cleanup_free_ char *name = utf8_escape(n->name);
	_cleanup_free_ char *cgroup = n->cgroup ? utf8_escape(n->cgroup) : NULL;

	if (n->cgroup) {
		printf("warning: another sockpol is attached below, at %s, and runs before ours: what "
		       "both set, ours wins\n",
		       cgroup ? cgroup : "?");
		return;
	}
	printf("warning: at %s program %u (%s) of %s runs too, %s\n", n->hook, n->program_id,
	       name ? name : "?", n->is_sockpol ? "another sockpol" : "somebody else",
	       n->runs_after ? "after ours: what both set, it wins"
			     : "before ours: what both set, ours wins");
}

static void print_neighbours(const struct overview *o)
{
	for (size_t i = 0; i < o->n_neighbours; i++)
		print_neighbour(&o->neighbours[i]);
}

static void print_failures(const struct overview_policy *p)
{
	for (size_t i = 0; i < p->n_failed; i++) {
		const struct overview_failure *f = &p->failed[i];

		printf("    failed: %s%s%s %" PRIu64 " times: %s (%s)\n", f->option,
		       f->rule[0] ? " of rule " : "", f->rule, f->count, strerror(f->error),
		       errno_name(f->error));
	}
}

static void print_policy(const struct overview *o, const struct overview_policy *p)
{
	char cgroups[24] = "";

	if (o->has_cgroups)
		snprintf(cgroups, sizeof(cgroups), "%" PRIu64, p->n_cgroups);
	printf("%-32s %10s %12" PRIu64 "\n", p->name, cgroups, p->applied);
	if (p->is_overridden)
		printf("    overridden: in each of its %" PRIu64
		       " cgroups stronger policies set all that it sets\n",
		       p->n_cgroups);
	for (size_t j = 0; j < p->n_rules; j++)
		printf("  rule %-25s %10s %12" PRIu64 "\n", p->rules[j].name, "",
		       p->rules[j].applied);
	print_failures(p);
}

static void print_policies(const struct overview *o)
{
	printf("\n%-32s %10s %12s\n", "policy", o->has_cgroups ? "cgroups" : "", "applied");
	for (size_t i = 0; i < o->n_policies; i++)
		print_policy(o, &o->policies[i]);
}

static void print_contestant(const struct contestant *c, bool conditional, enum sp_stage s,
			     enum sp_stage *last)
{
	_cleanup_free_ char *value = NULL;

	if (!c->op || contestant_value(c, &value) < 0) /* it leaves the option alone */
		return;
	if (s != *last)
		printf("  %s (%s):\n", stage_name(s), stage_hooks(s));
	*last = s;
	printf("    %s = %s (policy %s%s%s%s)\n", c->option->name, value, c->who->policy,
	       c->who->rule[0] ? ", rule " : "", c->who->rule,
	       conditional ? ", when it holds" : "");
}

static int print_cgroup(struct generations *g, const char *path, uint64_t id)
{
	_cleanup_free_ char *escaped = utf8_escape(path);
	enum sp_stage last = SP_STAGE_MAX;
	struct glob_list list;
	int r = generations_list_in_force(g, path, &list);

	if (r < 0)
		return r;
	printf("cgroup %s (id %" PRIu64 "): %s\n", escaped ? escaped : "?", id,
	       list.n ? "governed" : "not governed");
	if (list.n)
		printf("  policies, weakest first:");
	for (uint32_t i = 0; i < list.n; i++)
		printf(" %s%s", generation_view_policy_name(&g->in_force, list.number[i]),
		       i + 1 < list.n ? "," : "\n");
	if (list.left_out)
		printf("  more match: only the first %d apply\n", SP_LIST_MAX);
	for (enum sp_stage s = 0; s < SP_STAGE_MAX; s++) {
		struct contests c;

		r = contests_read(&g->in_force, &list, s, &c);
		if (r < 0)
			return r;
		for (size_t k = 0; k < OPTION_MAX; k++) {
			print_contestant(&c.v[k].base, false, s, &last);
			for (size_t i = 0; i < c.v[k].n_rules; i++)
				print_contestant(&c.v[k].rules[i], true, s, &last);
		}
		contests_clear(&c);
	}
	return 0;
}

static int print_path(const char *path, uint64_t id, void *userdata)
{
	_cleanup_free_ char *escaped = utf8_escape(path);

	(void)id;
	(void)userdata;
	puts(escaped ? escaped : "?");
	return 0;
}

/* Prints the cgroups as they are found, however many there are. */
static int name_cgroups(const struct generations *g, const char *policy, bool as_json)
{
	uint32_t number = generation_view_find(&g->in_force, policy);

	if (!number) {
		log_error("No policy '%s' is in force", policy);
		return -ENODATA;
	}
	return as_json ? status_json_paths(g, number) : governed_each(g, number, print_path, NULL);
}

/* Explains missing pins: there is no agent, or somebody removed them. */
static void say_what_is_missing(const char *pin_dir, const char *runtime_dir)
{
	struct overview o = { 0 };

	overview_ask(&o, pin_dir, runtime_dir);
	if (o.pins_lost)
		print_lost(stderr, &o);
	else if (pin_dir_has_policy(pin_dir))
		log_error("The pins at %s are incomplete, as somebody removed some; the next agent "
			  "that starts replaces them",
			  pin_dir);
	else
		log_error("Nothing is in force: no agent has pinned anything at %s", pin_dir);
	overview_clear(&o);
}

static int say_why_not(int r, const char *pin_dir, const char *runtime_dir)
{
	if (r == -ENOENT)
		say_what_is_missing(pin_dir, runtime_dir);
	else
		overview_complain(r, pin_dir);
	return EXIT_BAD;
}

struct request {
	const char *cgroup, *pin_dir, *runtime_dir;
	bool cgroups, json;
};

static int show_all(const struct request *q, struct overview *o)
{
	int r = overview_count_cgroups(o, q->pin_dir, !q->cgroups);

	if (r < 0)
		return r;
	if (q->json)
		return status_json(o);
	print_agent(o);
	print_links(o);
	print_neighbours(o);
	print_policies(o);
	return 0;
}

static int show_cgroup(const struct request *q, struct generations *g)
{
	_cleanup_free_ char *path = NULL, *directory = NULL;
	uint64_t id = 0;
	int r = cgroup_normalize(g->mount, q->cgroup, &path);

	if (r == 0 && asprintf(&directory, "%s%s", g->mount, path) < 0) {
		directory = NULL;
		r = -ENOMEM;
	}
	if (r == 0)
		r = cgroup_id_of_dir(directory, &id);
	if (r < 0) {
		log_error_errno(r, "Cannot look at the cgroup %s", q->cgroup);
		return -ENODATA;
	}
	return q->json ? status_json_cgroup(g, path, id) : print_cgroup(g, path, id);
}

/* Answers questions about cgroups, for which no agent is needed. */
static int show_cgroups(const struct request *q, const char *policy)
{
	_cleanup_(generations_close) struct generations *g = NULL;
	int r = generations_open(q->pin_dir, NULL, &g, NULL, NULL);

	if (r == 0 && !g->are_pinned)
		r = -ENOENT;
	if (r < 0)
		return r;
	return policy ? name_cgroups(g, policy, q->json) : show_cgroup(q, g);
}

static int show_overview(const struct request *q)
{
	_cleanup_(pinned_close) struct pinned *p = NULL;
	struct overview o;
	int r = pinned_open(q->pin_dir, &p);

	if (r == 0)
		r = overview_read(q->pin_dir, q->runtime_dir, p, &o);
	if (r < 0)
		return r;
	r = show_all(q, &o);
	overview_clear(&o);
	return r;
}

static const struct cli_option options[] = {
	{ "cgroup", "PATH", "what is in force for this cgroup", CLI_TEXT(struct request, cgroup) },
	{ "cgroups", NULL,
	  "look at the live cgroups: how many each policy governs, or, with a\n"
	  "                        POLICY, which ones",
	  CLI_FLAG(struct request, cgroups) },
	{ "json", NULL, "print JSON", CLI_FLAG(struct request, json) },
	{ "pin-dir", "DIR", "the agent's (" DEFAULT_PIN_DIR ")",
	  CLI_TEXT(struct request, pin_dir) },
	{ "runtime-dir", "DIR", "the agent's (" DEFAULT_RUNTIME_DIR ")",
	  CLI_TEXT(struct request, runtime_dir) },
};

static int run(const void *given, const char *const *arguments)
{
	const struct request *q = given;
	const char *policy = arguments[0];
	int r;

	if ((policy && !q->cgroups) || (q->cgroup && q->cgroups)) {
		fprintf(stderr,
			"sockpol status: a POLICY goes only with --cgroups, and --cgroups does "
			"not go with --cgroup\n");
		return EXIT_USAGE;
	}
	r = policy || q->cgroup ? show_cgroups(q, policy) : show_overview(q);
	if (r == -ENODATA) /* reported already */
		return EXIT_BAD;
	return r < 0 ? say_why_not(r, q->pin_dir, q->runtime_dir) : EXIT_GOOD;
}

const struct command cmd_status = {
	.name = "status",
	.summary = "say what is in force in the kernel, with its counters",
	.synopsis = "status [--cgroup PATH | --cgroups [POLICY]] [OPTION]...",
	.description =
		"Says what is in force, from the kernel's maps: attachments, policies, counters.\n"
		"`applied` counts sockets for which a policy or a rule held, whichever policy won.\n"
		"Works with and without a running agent, as root.",
	CLI_OPTIONS(options, struct request),
	.defaults = &(const struct request){ .pin_dir = DEFAULT_PIN_DIR,
					     .runtime_dir = DEFAULT_RUNTIME_DIR },
	.arguments_max = 1,
	.run = run,
};
