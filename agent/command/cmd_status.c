// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <errno.h>
#include <inttypes.h>
#include <time.h>

#include <jansson.h>

#include "host/cgroup.h"
#include "command/commands.h"
#include "base/log.h"
#include "report/overview.h"
#include "kernel/pin_dir.h"
#include "option/value.h"
#include "policy/stage.h"
#include "base/utf8.h"

DEFINE_CLEANUP(json_t *, json_decref)

#define NAMES_SHOWN 8 /* of policies, where there may be thousands */

/* One cgroup, for --cgroup. */
struct cgroup_view {
	const char *path;
	uint64_t id;
	bool governed;
	struct sp_policy policy;
};

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

/* What policies ask for and this kernel lacks, as the agent has it. */
static void print_unsupported(const struct overview *o)
{
	size_t i;
	json_t *one;

	json_array_foreach(o->unsupported, i, one)
	{
		const char *rule = json_string_value(json_object_get(one, "rule"));

		printf("warning: this kernel has no %s (since %s): left out of policy %s%s%s\n",
		       json_text(one, "what"), json_text(one, "since"), json_text(one, "policy"),
		       rule ? ", rule " : "", rule ? rule : "");
	}
}

/* The same where no agent can be asked: hooks that the maps in force have something for. */
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

static void print_lost(FILE *to, const struct overview *o)
{
	if (o->pins_lost)
		fprintf(to,
			"warning: %" PRIu64
			" pins of the agent, pid %d, are gone: it governs, but what "
			"is not pinned ends with it; `sockpol reload` pins it again\n",
			o->pins_lost, (int)o->pid);
}

/* How a cgroup that is made now gets its policy. */
static const char *classification(const struct overview *o)
{
	return o->state.flags & SP_STATE_NO_TRACEPOINTS ? "directories" : "kernel";
}

static void print_by_events(const struct overview *o)
{
	const char *before = ", by events for policies: ";

	for (size_t i = 0; i < o->n_policies; i++) {
		if (!o->policies[i].by_events)
			continue;
		printf("%s%s", before, o->policies[i].name);
		before = ", ";
	}
}

static void print_cut(const struct overview *o)
{
	size_t n = 0;

	for (size_t i = 0; i < o->n_policies; i++)
		n += o->policies[i].cut;
	printf("warning: the policies combine in more ways than the kernel's maps hold: the rarer "
	       "ones are resolved by events, of %zu policies: ",
	       n);
	for (size_t i = 0, named = 0; i < o->n_policies && named < NAMES_SHOWN; i++)
		if (o->policies[i].cut)
			printf("%s%s", named++ ? ", " : "", o->policies[i].name);
	printf("%s\n", n > NAMES_SHOWN ? ", ..." : "");
}

static void print_classification(const struct overview *o)
{
	if (o->state.flags & SP_STATE_NO_TRACEPOINTS) {
		printf("new cgroups: classified by the agent, by looking at directories (this kernel "
		       "does not tell of them)\n");
		return;
	}
	printf("new cgroups: classified in the kernel");
	print_by_events(o);
	printf("\n");
	if (o->state.flags & SP_STATE_STEPS_CUT)
		print_cut(o);
	if (o->state.unresolved)
		printf("%" PRIu64 " new cgroups had their parent's policy until the agent looked\n",
		       (uint64_t)o->state.unresolved);
	if (o->state.events_lost)
		printf("%" PRIu64 " events of cgroups came too fast; the agent looked again\n",
		       (uint64_t)o->state.events_lost);
}

static void print_agent(const struct overview *o)
{
	char when[64];

	print_whether_running(o);
	format_time(when, sizeof(when), o->state.loaded_usec);
	printf("in force: generation %" PRIu64 " since %s, %u policies, %" PRIu64
	       " cgroups governed\n",
	       (uint64_t)o->state.generation, when, o->state.n_policies, o->n_governed);
	print_classification(o);
	if (o->state.no_room)
		printf("warning: %" PRIu64 " cgroups found no room in the maps\n",
		       (uint64_t)o->state.no_room);
	if (o->state.failures_lost)
		printf("warning: %" PRIu64 " failures could not be counted (map full)\n",
		       (uint64_t)o->state.failures_lost);
	print_missing(o);
	print_lost(stdout, o);
}

static void print_links(const struct overview *o)
{
	printf("\nattachments:\n");
	for (size_t i = 0; i < o->n_links; i++) {
		const struct overview_link *l = &o->links[i];

		printf("  %-15s link %u, program %u, ", l->hook, l->link_id, l->program_id);
		if (!l->on_cgroup)
			printf("tracepoint\n");
		else if (l->cgroup_id)
			printf("cgroup id %" PRIu64 "\n", l->cgroup_id);
		else
			printf("its cgroup is gone\n");
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

static void print_policies(const struct overview *o)
{
	printf("\n%-32s %10s %12s\n", "policy", "cgroups", "applied");
	for (size_t i = 0; i < o->n_policies; i++) {
		const struct overview_policy *p = &o->policies[i];

		printf("%-32s %10" PRIu64 " %12" PRIu64 "\n", p->name, p->cgroups, p->applied);
		for (size_t j = 0; j < p->n_rules; j++)
			printf("  rule %-25s %10s %12" PRIu64 "\n", p->rules[j].name, "",
			       p->rules[j].applied);
		print_failures(p);
	}
}

/* The value of an operation in force, as an administrator would write it; owned. */
static char *op_value(const struct sp_op *op)
{
	const struct option *o;
	struct sockopt value;
	char *text;

	if (op->option >= OPTION_MAX || op->optlen > SP_VALUE_SIZE)
		return NULL;
	o = &option_table[op->option];
	if (sockopt_init(&value, o->level, o->optname, 0) < 0)
		return NULL;
	text = sockopt_set(&value, op->value, op->optlen) == 0 ? value_format(o, &value) : NULL;
	sockopt_destroy(&value);
	return text;
}

/* An operation in force, with the names it needs. */
struct op_view {
	const char *option;
	char *value; /* owned */
	const char *policy, *rule;
	bool conditional; /* set when the rule holds for the connection */
};

typedef int op_view_fn(const struct op_view *v, enum sp_stage s, void *userdata);

static int view_op(const struct overview *o, const struct pins *pins, const struct sp_op *op,
		   enum sp_stage s, bool conditional, op_view_fn *fn, void *userdata)
{
	struct op_view v = { .conditional = conditional };
	int r;

	if (!op->optlen) /* leave it alone */
		return 0;
	if (op->source >= pins_n_sources(pins) || op->option >= OPTION_MAX)
		return -EPROTO;
	v.option = option_table[op->option].name;
	v.policy = o->sources[op->source].policy;
	v.rule = o->sources[op->source].rule;
	v.value = op_value(op);
	if (!v.value)
		return -ENOMEM;
	r = fn(&v, s, userdata);
	free(v.value);
	return r;
}

/* What a stage's list has, and then what the rules have, the strongest last. */
static int view_option(const struct overview *o, const struct pins *pins, uint32_t index,
		       enum sp_stage s, op_view_fn *fn, void *userdata)
{
	struct sp_op listed, alternative;
	int r = pins_op(pins, index, &listed);

	if (r == 0)
		r = view_op(o, pins, &listed, s, false, fn, userdata);
	for (int i = 0; r == 0 && i < __builtin_popcountll(listed.rules); i++) {
		r = pins_op(pins, listed.first_alternative + (uint32_t)i, &alternative);
		if (r == 0)
			r = view_op(o, pins, &alternative, s, true, fn, userdata);
	}
	return r;
}

static int view_cgroup(const struct overview *o, const struct pins *pins,
		       const struct cgroup_view *c, op_view_fn *fn, void *userdata)
{
	int r = 0;

	for (int s = 0; c->governed && s < SP_STAGE_MAX; s++) {
		const struct sp_stage_ops *due = &c->policy.stage[s];

		for (uint32_t i = 0; i < due->n_ops && r == 0; i++)
			r = view_option(o, pins, due->first_op + i, s, fn, userdata);
	}
	return r;
}

static int print_op(const struct op_view *v, enum sp_stage s, void *userdata)
{
	enum sp_stage *last = userdata;

	if (s != *last)
		printf("  %s (%s):\n", stage_name(s), stage_hooks(s));
	*last = s;
	printf("    %s = %s (policy %s%s%s%s)\n", v->option, v->value, v->policy,
	       v->rule[0] ? ", rule " : "", v->rule, v->conditional ? ", when it holds" : "");
	return 0;
}

static int print_cgroup(const struct overview *o, const struct pins *pins,
			const struct cgroup_view *c)
{
	enum sp_stage last = SP_STAGE_MAX;

	_cleanup_free_ char *path = utf8_escape(c->path);

	printf("cgroup %s (id %" PRIu64 "): %s\n", path ? path : "?", c->id,
	       c->governed ? "governed" : "not governed");
	return view_cgroup(o, pins, c, print_op, &last);
}

static json_t *json_links(const struct overview *o)
{
	json_t *links = json_array();

	for (size_t i = 0; i < o->n_links; i++) {
		const struct overview_link *l = &o->links[i];

		json_array_append_new(
			links, json_pack("{s:s, s:I, s:I, s:o}", "hook", l->hook, "link",
					 (json_int_t)l->link_id, "program",
					 (json_int_t)l->program_id, "cgroup",
					 l->on_cgroup ? json_integer((json_int_t)l->cgroup_id)
						      : json_null()));
	}
	return links;
}

static json_t *json_neighbours(const struct overview *o)
{
	json_t *neighbours = json_array();

	for (size_t i = 0; i < o->n_neighbours; i++) {
		const struct neighbour *n = &o->neighbours[i];
		_cleanup_free_ char *name = utf8_escape(n->name);
		_cleanup_free_ char *cgroup = n->cgroup ? utf8_escape(n->cgroup) : NULL;

		json_array_append_new(neighbours,
				      json_pack("{s:s, s:I, s:s?, s:b, s:b, s:s?}", "hook", n->hook,
						"program", (json_int_t)n->program_id, "name", name,
						"sockpol", n->is_sockpol, "runs_after",
						n->runs_after, "cgroup", cgroup));
	}
	return neighbours;
}

static json_t *json_policy(const struct overview_policy *p)
{
	json_t *rules = json_array(), *failed = json_array();

	for (size_t i = 0; i < p->n_rules; i++)
		json_array_append_new(rules, json_pack("{s:s, s:I}", "name", p->rules[i].name,
						       "applied", (json_int_t)p->rules[i].applied));
	for (size_t i = 0; i < p->n_failed; i++) {
		const struct overview_failure *f = &p->failed[i];

		json_array_append_new(
			failed, json_pack("{s:s, s:s, s:s, s:I, s:o}", "option", f->option, "errno",
					  errno_name(f->error), "message", strerror(f->error),
					  "count", (json_int_t)f->count, "rule",
					  f->rule[0] ? json_string(f->rule) : json_null()));
	}
	return json_pack("{s:s, s:I, s:I, s:b, s:b, s:o, s:o}", "name", p->name, "cgroups",
			 (json_int_t)p->cgroups, "applied", (json_int_t)p->applied, "by_events",
			 p->by_events, "cut", p->cut, "rules", rules, "failed", failed);
}

static json_t *json_classification(const struct overview *o)
{
	return json_pack("{s:s, s:b, s:I, s:I}", "by", classification(o), "cut",
			 (o->state.flags & SP_STATE_STEPS_CUT) != 0, "unresolved",
			 (json_int_t)o->state.unresolved, "no_room", (json_int_t)o->state.no_room);
}

static json_t *json_overview(const struct overview *o)
{
	json_t *policies = json_array();

	for (size_t i = 0; i < o->n_policies; i++)
		json_array_append_new(policies, json_policy(&o->policies[i]));
	return json_pack(
		"{s:{s:b, s:b, s:o, s:s?, s:s?, s:b, s:I}, s:I, s:I, s:I, s:I, s:o, s:I, s:I, s:I, s:o, s:o, s:o}",
		"agent", "running", o->running, "answers", o->answers, "pid",
		o->running && o->pid ? json_integer(o->pid) : json_null(), "other_pins",
		o->other_pins, "last_load", o->verdict, "degraded", o->degraded, "pins_lost",
		(json_int_t)o->pins_lost, "generation", (json_int_t)o->state.generation,
		"loaded_usec", (json_int_t)o->state.loaded_usec, "cgroups_governed",
		(json_int_t)o->n_governed, "cgroups_failed", (json_int_t)o->state.no_room,
		"new_cgroups", json_classification(o), "events_lost",
		(json_int_t)o->state.events_lost, "failures_lost",
		(json_int_t)o->state.failures_lost, "cgroup_root",
		(json_int_t)o->state.cgroup_root_id, "attachments", json_links(o), "neighbours",
		json_neighbours(o), "policies", policies);
}

static int json_op(const struct op_view *v, enum sp_stage s, void *userdata)
{
	return json_array_append_new(
		userdata,
		json_pack("{s:s, s:s, s:s, s:s, s:s, s:o, s:b}", "stage", stage_name(s), "hooks",
			  stage_hooks(s), "option", v->option, "value", v->value, "policy",
			  v->policy, "rule", v->rule[0] ? json_string(v->rule) : json_null(),
			  "conditional", v->conditional));
}

static json_t *json_cgroup(const struct overview *o, const struct pins *pins,
			   const struct cgroup_view *c)
{
	_cleanup_free_ char *escaped = utf8_escape(c->path);
	json_t *ops = json_array();

	if (view_cgroup(o, pins, c, json_op, ops) < 0)
		log_warning("Some of what is in force for %s cannot be read", c->path);
	return json_pack("{s:s, s:I, s:b, s:o}", "path", escaped, "id", (json_int_t)c->id,
			 "governed", c->governed, "options", ops);
}

static int find_cgroup(const struct pins *pins, const char *mount, const char *path,
		       struct cgroup_view *ret)
{
	_cleanup_free_ char *directory = NULL;
	uint32_t index;
	int r;

	if (asprintf(&directory, "%s%s", mount, path) < 0)
		return -ENOMEM;
	ret->path = path;
	r = cgroup_id_of_dir(directory, &ret->id);
	if (r < 0)
		return r;
	r = pins_cgroup(pins, ret->id, &index);
	if (r < 0 || !index)
		return r;
	ret->governed = true;
	return pins_policy(pins, index, &ret->policy);
}

static int show(const struct overview *o, const struct pins *pins, const struct cgroup_view *c,
		bool as_json)
{
	_cleanup_(json_decref) json_t *root = NULL;

	if (as_json) {
		root = json_overview(o);
		if (!root)
			return -ENOMEM;
		json_object_set_new(root, "unsupported",
				    o->unsupported ? json_incref(o->unsupported) : json_null());
		if (c)
			json_object_set_new(root, "cgroup", json_cgroup(o, pins, c));
		json_dumpf(root, stdout, JSON_INDENT(2));
		putchar('\n');
		return 0;
	}
	if (c)
		return print_cgroup(o, pins, c);
	print_agent(o);
	print_links(o);
	print_neighbours(o);
	print_policies(o);
	return 0;
}

/* Pins that are not there: because there is no agent, or because somebody removed them. */
static void say_what_is_missing(const char *pin_dir, const char *runtime_dir)
{
	struct overview o = { 0 };

	overview_ask(&o, pin_dir, runtime_dir);
	if (o.pins_lost)
		print_lost(stderr, &o);
	else if (pin_dir_has_some(pin_dir))
		log_error("What is pinned at %s is not complete: somebody removed pins; an agent "
			  "that starts makes it good",
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

static int status(const char *pin_dir, const char *runtime_dir, const char *path, bool as_json)
{
	_cleanup_(pins_close) struct pins *pins = NULL;
	_cleanup_free_ char *mount = NULL, *normal = NULL;
	struct cgroup_view cgroup = { 0 };
	struct overview o;
	int r = pins_open(pin_dir, &pins);

	if (r < 0)
		return say_why_not(r, pin_dir, runtime_dir);
	if (path) {
		r = cgroup_mount(&mount);
		if (r == 0)
			r = cgroup_normalize(mount, path, &normal);
		if (r == 0)
			r = find_cgroup(pins, mount, normal, &cgroup);
		if (r < 0) {
			log_error_errno(r, "Cannot look at the cgroup %s", path);
			return EXIT_BAD;
		}
	}
	r = overview_read(pin_dir, runtime_dir, pins, &o);
	if (r < 0)
		return say_why_not(r, pin_dir, runtime_dir);
	r = show(&o, pins, path ? &cgroup : NULL, as_json);
	overview_clear(&o);
	return r < 0 ? say_why_not(r, pin_dir, runtime_dir) : EXIT_GOOD;
}

struct request {
	const char *cgroup, *pin_dir, *runtime_dir;
	bool json;
};

static const struct cli_option options[] = {
	{ "cgroup", "PATH", "what is in force for this cgroup", CLI_TEXT(struct request, cgroup) },
	{ "json", NULL, "as JSON", CLI_FLAG(struct request, json) },
	{ "pin-dir", "DIR", "the agent's (" DEFAULT_PIN_DIR ")",
	  CLI_TEXT(struct request, pin_dir) },
	{ "runtime-dir", "DIR", "the agent's (" DEFAULT_RUNTIME_DIR ")",
	  CLI_TEXT(struct request, runtime_dir) },
};

static int run(const void *given, const char *const *arguments)
{
	const struct request *q = given;

	(void)arguments;
	return status(q->pin_dir, q->runtime_dir, q->cgroup, q->json);
}

const struct command cmd_status = {
	.name = "status",
	.summary = "say what is in force in the kernel, with its counters",
	.synopsis = "status [OPTION]...",
	.description =
		"Says what is in force, from the kernel's maps: attachments, policies, cgroups, "
		"counters.\nWorks with and without a running agent, as root.",
	CLI_OPTIONS(options, struct request),
	.defaults = &(const struct request){ .pin_dir = DEFAULT_PIN_DIR,
					     .runtime_dir = DEFAULT_RUNTIME_DIR },
	.run = run,
};
