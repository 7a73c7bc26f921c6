// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <errno.h>
#include <time.h>

#include "base/log.h"
#include "command/commands.h"
#include "host/cgroup.h"
#include "host/living.h"
#include "kernel/pin_dir.h"
#include "policy/hook.h"
#include "policy/stage.h"
#include "report/open_sockets.h"
#include "report/overview.h"

/* Prints "INTRODUCTION TEXT", and nothing for NULL. */
static void print_with(const char *introduction, const char *text)
{
	if (text)
		printf("%s%s", introduction, text);
}

/* Prints what policies ask for and this kernel lacks, as the agent reports it; without one, the
 * missing hooks for which the maps in force have something. */
static void print_missing(const json_t *o)
{
	const json_t *unsupported = json_object_get(o, "unsupported"), *one;
	size_t i;

	json_array_foreach (unsupported, i, one) {
		const char *since = document_text(one, "since");

		printf("warning: this kernel has no %s", document_text(one, "what"));
		if (since)
			printf(" (since %s)", since);
		printf(document_is(one, "refused") ? ": calls that need it are refused by policy %s"
						   : ": left out of policy %s",
		       document_text(one, "policy"));
		print_with(", rule ", document_text(one, "rule"));
		putchar('\n');
	}
	if (!json_is_null(unsupported))
		return;
	json_array_foreach (json_object_get(o, "stages"), i, one)
		if (document_is(one, "used") && !document_is(one, "available"))
			printf("warning: this kernel has no hook for %s (%s)\n",
			       document_text(one, "stage"), stage_hooks((enum sp_stage)i));
}

static void print_whether_running(const json_t *agent)
{
	const char *other_pins = document_text(agent, "other_pins"),
		   *verdict = document_text(agent, "last_load");
	const json_int_t pid = document_number(agent, "pid");

	if (other_pins)
		printf("agent: none known for these pins (the one asked, pid %lld, has its pins at "
		       "%s)\n",
		       document_number(agent, "other_pid"), other_pins);
	else if (!document_is(agent, "running"))
		printf("agent: none runs; what is pinned stays in force\n");
	else if (!document_is(agent, "answers"))
		printf("agent: running, pid %lld, but does not answer; what is pinned stays in "
		       "force\n",
		       pid);
	else
		printf("agent: running, pid %lld; last load: %s%s\n", pid, verdict ? verdict : "?",
		       document_is(agent, "degraded") ? " (degraded)" : "");
}

/* Says where what is in force comes from, if not from files that the agent could read. */
static void print_source(const json_t *o)
{
	const json_t *agent = json_object_get(o, "agent");
	const char *source = document_text(agent, "source"),
		   *dir = document_text(agent, "source_dir");
	_cleanup_free_ char *names = NULL;

	if (!document_is(agent, "degraded") || !source || streq(source, "files"))
		return;
	names = overview_name_policies(o);
	if (dir)
		printf("degraded: in force from the last good files (%s): %s\n", dir,
		       names ? names : "?");
	else
		printf("degraded: in force from an earlier agent: %s\n", names ? names : "?");
}

static void print_lost(const json_t *agent, FILE *to)
{
	const json_int_t lost = document_number(agent, "pins_lost");

	if (lost)
		fprintf(to,
			"warning: %lld pin%s of the agent, pid %lld, %s gone: policy now ends when "
			"the agent does; `sockpol reload` pins it again\n",
			lost, plural(lost), document_number(agent, "pid"),
			lost == 1 ? "is" : "are");
}

/* Prints what was counted since the maps were made.  No warnings: the numbers stay when their cause
 * is gone. */
static void print_counts(const json_t *counts)
{
	static const struct {
		const char *key, *what;
	} rows[] = {
		{ "cut",
		  "cgroups so deep, or with such long names, that they got an ancestor's policies" },
		{ "left_out", "cgroups matched by more policies than can apply to one" },
		{ "lists_lost",
		  "sockets that got no options, as other cgroups kept taking the place of "
		  "theirs in the cache" },
		{ "failures_lost", "failures and outcomes that could not be counted (map full)" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		if (document_number(counts, rows[i].key))
			printf("%s: %lld\n", rows[i].what, document_number(counts, rows[i].key));
}

static void print_agent(const json_t *o)
{
	const json_t *agent = json_object_get(o, "agent"), *counts = json_object_get(o, "counts"),
		     *cgroups = json_object_get(o, "cgroups"),
		     *sockets = json_object_get(o, "sockets");
	const time_t loaded = (time_t)(document_number(o, "loaded_usec") / 1000000);
	char when[64] = "?";
	struct tm tm;

	if (localtime_r(&loaded, &tm))
		strftime(when, sizeof(when), "%F %T %z", &tm);
	print_whether_running(agent);
	print_source(o);
	printf("in force: generation %lld since %s, %lld polic%s\n",
	       document_number(o, "generation"), when, document_number(o, "n_policies"),
	       document_number(o, "n_policies") == 1 ? "y" : "ies");
	printf("cgroups classified at a socket: %lld\n", document_number(counts, "classified"));
	if (cgroups)
		printf("cgroups governed: %lld of %lld that live\n",
		       document_number(cgroups, "governed"), document_number(cgroups, "living"));
	if (sockets)
		printf("live sockets of which policies decide something: %lld; without all of it: "
		       "%lld (sockpol sockets --differs)\n",
		       document_number(sockets, "governed"), document_number(sockets, "differ"));
	print_counts(counts);
	print_missing(o);
	print_lost(agent, stdout);
}

static void print_links(const json_t *links)
{
	const json_t *one;
	size_t i;

	printf("\nattachments:\n");
	json_array_foreach (links, i, one) {
		printf("  %-15s link %lld, program %lld, ", document_text(one, "hook"),
		       document_number(one, "link"), document_number(one, "program"));
		if (!document_is(one, "attached"))
			printf("not attached\n");
		else if (!document_number(one, "link"))
			printf("attached, but its pin is gone\n");
		else
			printf("cgroup id %lld\n", document_number(one, "cgroup"));
	}
}

/* Returns -ENODATA where somebody took away what the agent attached or pinned. */
static int print_not_attached(const json_t *o)
{
	char names[32 * HOOK_MAX] = "";
	const json_t *one;
	size_t i, n = 0;

	json_array_foreach (json_object_get(o, "attachments"), i, one)
		if (document_is(one, "due") && !document_is(one, "attached"))
			n += (size_t)snprintf(names + n, sizeof(names) - n, "%s%s", n ? ", " : "",
					      document_text(one, "hook"));
	if (n)
		log_error(
			"Not attached, though policies have something to set there: %s; somebody "
			"detached that, or the cgroup is gone; `sockpol reload` attaches it again",
			names);
	return n || document_number(json_object_get(o, "agent"), "pins_lost") ? -ENODATA : 0;
}

static void print_neighbours(const json_t *neighbours)
{
	const json_t *one;
	size_t i;

	json_array_foreach (neighbours, i, one) {
		const char *cgroup = document_text(one, "cgroup");
		const bool is_sockpol = document_is(one, "sockpol");

		if (cgroup && is_sockpol) {
			printf("warning: another sockpol is attached below, at %s, and runs before "
			       "ours: what both set, ours wins\n",
			       cgroup);
			continue;
		}
		printf("warning: at %s", document_text(one, "hook"));
		print_with(" of ", cgroup);
		printf(" program %lld (%s) of %s runs too, %s\n", document_number(one, "program"),
		       document_text(one, "name"), is_sockpol ? "another sockpol" : "somebody else",
		       document_text(one, "effect"));
	}
}

/* Returns a kind of outcome as a line says it; most are words of their own. */
static const char *outcome_phrase(const char *kind)
{
	if (streq(kind, "not_refused"))
		return "failed without a call to refuse";
	if (streq(kind, "untold"))
		return "not held, as nobody knows whether the socket was accepted";
	return streq(kind, "refused") ? "calls refused" : kind;
}

static void print_policy(const json_t *p, bool with_cgroups)
{
	const json_int_t n_cgroups = document_number(p, "cgroups");
	char cgroups[24] = "";
	const json_t *one;
	size_t i;

	if (with_cgroups)
		snprintf(cgroups, sizeof(cgroups), "%lld", n_cgroups);
	printf("%-32s %10s %12lld\n", document_text(p, "name"), cgroups,
	       document_number(p, "applied"));
	if (document_is(p, "overridden"))
		printf("    overridden: in its %lld cgroup%s stronger policies set all that it sets\n",
		       n_cgroups, plural(n_cgroups));
	if (document_number(p, "at_socket"))
		printf("  %-30s %10s %12lld\n", "at socket(2)", "",
		       document_number(p, "at_socket"));
	json_array_foreach (json_object_get(p, "rules"), i, one)
		printf("  rule %-25s %10s %12lld\n", document_text(one, "name"), "",
		       document_number(one, "applied"));
	json_array_foreach (json_object_get(p, "failed"), i, one) {
		printf("    failed: %s", document_text(one, "option"));
		print_with(" of rule ", document_text(one, "rule"));
		printf(" %lld time%s: %s (%s)\n", document_number(one, "count"),
		       plural(document_number(one, "count")), document_text(one, "message"),
		       document_text(one, "errno"));
	}
	json_array_foreach (json_object_get(p, "outcomes"), i, one) {
		printf("    %s: %s", outcome_phrase(document_text(one, "kind")),
		       document_text(one, "option"));
		print_with(" of rule ", document_text(one, "rule"));
		printf(" %lld time%s\n", document_number(one, "count"),
		       plural(document_number(one, "count")));
	}
}

static void print_policies(const json_t *o)
{
	const bool with_cgroups = json_object_get(o, "cgroups");
	const json_t *policy;
	size_t i;

	printf("\n%-32s %10s %12s\n", "policy", with_cgroups ? "cgroups" : "", "applied");
	json_array_foreach (json_object_get(o, "policies"), i, policy)
		print_policy(policy, with_cgroups);
}

static void print_cgroup(const json_t *c)
{
	const bool governed = document_is(c, "governed");
	const char *stage, *last = "";
	const json_t *one;
	size_t i;

	printf("cgroup %s (id %lld): %s\n", document_text(c, "path"), document_number(c, "id"),
	       governed ? "governed" : "not governed");
	document_print_names(json_object_get(c, "policies"), "  policies, weakest first:", stdout);
	if (document_is(c, "left_out"))
		printf("  more match: only the first %d apply\n", SP_LIST_MAX);
	json_array_foreach (json_object_get(c, "options"), i, one) {
		stage = document_text(one, "stage");
		if (!streq(stage, last))
			printf("  %s (%s):\n", stage, document_text(one, "hooks"));
		last = stage;
		printf("    %s = %s (policy %s", document_text(one, "option"),
		       document_value_and_word(one, (char[DOCUMENT_VALUE_SIZE]){ 0 }),
		       document_text(one, "policy"));
		print_with(", rule ", document_text(one, "rule"));
		printf("%s)\n", document_is(one, "conditional") ? ", when it holds" : "");
	}
}

/* Cgroups that are named as they are found, however many there are. */
struct naming {
	const struct generations *generations;
	uint32_t policy;
	bool as_json;
	size_t n;
};

static int name_cgroup(const char *path, uint64_t id, void *userdata)
{
	struct naming *n = userdata;
	_cleanup_(json_decref) json_t *text = NULL;
	struct glob_list list;
	int r = generations_list_in_force(n->generations, path, &list);
	uint32_t i = 0;

	(void)id;
	while (r == 0 && i < list.n && list.number[i] != n->policy)
		i++;
	if (r < 0 || i == list.n)
		return r;
	text = document_string(path);
	if (!text)
		return -ENOMEM;
	if (n->as_json) {
		fputs(n->n ? ",\n    " : "\n    ", stdout);
		json_dumpf(text, stdout, JSON_ENCODE_ANY);
	} else {
		puts(json_string_value(text));
	}
	n->n++;
	return 0;
}

static int name_cgroups(const struct generations *g, const char *policy, bool as_json)
{
	struct naming n = { g, generation_view_find(&g->in_force, policy), as_json };
	int r;

	if (!n.policy) {
		log_error("No policy '%s' is in force", policy);
		return -ENODATA;
	}
	if (as_json)
		printf("{\n  \"policy\": \"%s\",\n  \"cgroups\": [", policy);
	r = g->root ? living_each(g->mount, g->root, name_cgroup, &n) : 0;
	if (as_json)
		printf("%s]\n}\n", n.n ? "\n  " : "");
	return r;
}

/* Explains missing pins: there is no agent, or somebody removed them. */
static void say_what_is_missing(const char *pin_dir, const char *runtime_dir)
{
	_cleanup_(json_decref) json_t *o = NULL;
	const json_t *agent;

	if (overview_read(pin_dir, runtime_dir, NULL, &o) < 0)
		return;
	agent = json_object_get(o, "agent");
	if (document_number(agent, "pins_lost"))
		print_lost(agent, stderr);
	else if (pin_dir_has_policy(pin_dir))
		log_error("The pins at %s are incomplete, as somebody removed some; the next agent "
			  "that starts replaces them",
			  pin_dir);
	else
		log_error("Nothing is in force: no agent has pinned anything at %s", pin_dir);
}

struct request {
	const char *cgroup, *pin_dir, *runtime_dir;
	bool cgroups, sockets, json;
};

static int show_cgroup(const struct request *q, struct generations *g)
{
	_cleanup_free_ char *path = NULL, *directory = NULL;
	_cleanup_(json_decref) json_t *o = NULL;
	uint64_t id = 0;
	int r = cgroup_normalize(g->mount, q->cgroup, &path);

	if (r == 0)
		r = sentence(&directory, 0, "%s%s", g->mount, path);
	if (r == 0)
		r = cgroup_id_of_dir(directory, &id);
	if (r < 0) {
		log_error_errno(r, "Cannot look at the cgroup %s", q->cgroup);
		return -ENODATA;
	}
	r = overview_read_cgroup(g, path, id, &o);
	if (r == 0 && q->json)
		return document_write(TAKE_PTR(o), stdout);
	if (r == 0)
		print_cgroup(json_object_get(o, "cgroup"));
	return r;
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

/* Counts the live sockets of this network namespace. */
static int count_sockets(json_t *o, const char *pin_dir)
{
	_cleanup_(open_sockets_free) struct open_sockets *sockets = NULL;
	_cleanup_(walker_close) struct walker *walker = NULL;
	int r = walker_open(pin_dir, &walker);

	if (r == 0)
		r = open_sockets_new(pin_dir, &(struct open_sockets_request){ 0 }, NULL, &sockets);
	if (r == 0)
		r = open_sockets_walk(sockets, walker, 0, 0);
	if (r < 0)
		return r;
	return json_object_set_new(o, "sockets",
				   json_pack("{s:I, s:I}", "governed",
					     (json_int_t)open_sockets_found(sockets), "differ",
					     (json_int_t)open_sockets_differ(sockets)));
}

static int show_overview(const struct request *q)
{
	_cleanup_(pinned_close) struct pinned *p = NULL;
	_cleanup_(json_decref) json_t *o = NULL;
	int r = pinned_open(q->pin_dir, &p);

	if (r == 0)
		r = overview_read(q->pin_dir, q->runtime_dir, p, &o);
	if (r == 0)
		r = overview_count_cgroups(o, q->pin_dir, !q->cgroups);
	if (r == 0 && q->sockets)
		r = count_sockets(o, q->pin_dir);
	if (r < 0)
		return r;
	if (q->json) {
		r = document_write(json_incref(o), stdout);
		return r < 0 ? r : print_not_attached(o);
	}
	print_agent(o);
	print_links(json_object_get(o, "attachments"));
	print_neighbours(json_object_get(o, "neighbours"));
	print_policies(o);
	return print_not_attached(o);
}

static const struct cli_option options[] = {
	{ "cgroup", "PATH", "what is in force for this cgroup", CLI_TEXT(struct request, cgroup) },
	{ "cgroups", NULL,
	  "look at the live cgroups: how many each policy governs, or, with a\n"
	  "                        POLICY, which ones",
	  CLI_FLAG(struct request, cgroups) },
	{ "sockets", NULL,
	  "count the live sockets of this network namespace that do, or do not, have\n"
	  "                        what policies say",
	  CLI_FLAG(struct request, sockets) },
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

	if ((policy && !q->cgroups) || (q->cgroup && q->cgroups) ||
	    (q->sockets && (policy || q->cgroup))) {
		fprintf(stderr,
			"sockpol status: a POLICY goes only with --cgroups, and --cgroup and a "
			"POLICY with nothing else\n");
		return EXIT_USAGE;
	}
	r = policy || q->cgroup ? show_cgroups(q, policy) : show_overview(q);
	if (r == -ENOENT)
		say_what_is_missing(q->pin_dir, q->runtime_dir);
	else if (r < 0 && r != -ENODATA) /* not reported already */
		overview_complain(r, q->pin_dir);
	return r < 0 ? EXIT_BAD : EXIT_GOOD;
}

const struct command cmd_status = {
	.name = "status",
	.summary = "say what is in force in the kernel, with its counters",
	.synopsis = "status [--cgroup PATH | --cgroups [POLICY]] [OPTION]...",
	.description =
		"Says what is in force, from the kernel's maps: attachments, policies, counters.\n"
		"`applied` counts sockets for which a policy or a rule held, whichever policy won.\n"
		"Works with and without a running agent, as root.\n"
		"Exit status: 0 good, 1 nothing is in force, or somebody took an attachment or a pin\n"
		"away, 2 usage.",
	CLI_OPTIONS(options, struct request),
	.defaults = &(const struct request){ .pin_dir = DEFAULT_PIN_DIR,
					     .runtime_dir = DEFAULT_RUNTIME_DIR },
	.arguments_max = 1,
	.run = run,
};
