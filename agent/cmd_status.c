// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <errno.h>
#include <inttypes.h>
#include <time.h>

#include <jansson.h>

#include "cgroup.h"
#include "cli.h"
#include "log.h"
#include "overview.h"
#include "value.h"

DEFINE_CLEANUP(json_t *, json_decref)

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

static void print_agent(const struct overview *o)
{
	char when[64];

	if (o->running)
		printf("agent: running, pid %d; last load: %s%s\n", (int)o->pid,
		       o->verdict ? o->verdict : "?", o->degraded ? " (degraded)" : "");
	else
		printf("agent: none runs; what is pinned stays in force\n");
	format_time(when, sizeof(when), o->state.loaded_usec);
	printf("in force: generation %" PRIu64 " since %s, %u policies, %" PRIu64
	       " cgroups governed\n",
	       (uint64_t)o->state.generation, when, o->state.n_policies, o->n_governed);
	if (o->state.inherit_failed)
		printf("warning: %" PRIu64 " cgroups could not be governed (maps full)\n",
		       (uint64_t)o->state.inherit_failed);
	if (o->state.failures_lost)
		printf("warning: %" PRIu64 " failures could not be counted (map full)\n",
		       (uint64_t)o->state.failures_lost);
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
};

static int view_op(const struct overview *o, const struct pins *pins, uint32_t index,
		   struct op_view *ret)
{
	struct sp_op op;
	int r = pins_op(pins, index, &op);

	if (r < 0)
		return r;
	if (op.source >= pins_n_sources(pins) || op.option >= OPTION_MAX)
		return -EPROTO;
	ret->option = option_table[op.option].name;
	ret->policy = o->sources[op.source].policy;
	ret->rule = o->sources[op.source].rule;
	ret->value = op_value(&op);
	return ret->value ? 0 : -ENOMEM;
}

static int print_cgroup(const struct overview *o, const struct pins *pins,
			const struct cgroup_view *c)
{
	printf("cgroup %s (id %" PRIu64 "): %s\n", c->path, c->id,
	       c->governed ? "governed" : "not governed");
	for (int s = 0; c->governed && s < SP_STAGE_MAX; s++) {
		const struct sp_stage_ops *due = &c->policy.stage[s];

		if (due->n_ops)
			printf("  at %s:\n", stage_hooks(s));
		for (uint32_t i = 0; i < due->n_ops; i++) {
			struct op_view v;
			int r = view_op(o, pins, due->first_op + i, &v);

			if (r < 0)
				return r;
			printf("    %s = %s (policy %s%s%s)\n", v.option, v.value, v.policy,
			       v.rule[0] ? ", rule " : "", v.rule);
			free(v.value);
		}
	}
	return 0;
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
	return json_pack("{s:s, s:I, s:I, s:o, s:o}", "name", p->name, "cgroups",
			 (json_int_t)p->cgroups, "applied", (json_int_t)p->applied, "rules", rules,
			 "failed", failed);
}

static json_t *json_overview(const struct overview *o)
{
	json_t *policies = json_array();

	for (size_t i = 0; i < o->n_policies; i++)
		json_array_append_new(policies, json_policy(&o->policies[i]));
	return json_pack("{s:{s:b, s:o, s:s?, s:b}, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:o, s:o}",
			 "agent", "running", o->running, "pid",
			 o->running ? json_integer(o->pid) : json_null(), "last_load", o->verdict,
			 "degraded", o->degraded, "generation", (json_int_t)o->state.generation,
			 "loaded_usec", (json_int_t)o->state.loaded_usec, "cgroups_governed",
			 (json_int_t)o->n_governed, "cgroups_failed",
			 (json_int_t)o->state.inherit_failed, "events_lost",
			 (json_int_t)o->state.events_lost, "failures_lost",
			 (json_int_t)o->state.failures_lost, "cgroup_root",
			 (json_int_t)o->state.cgroup_root_id, "attachments", json_links(o),
			 "policies", policies);
}

static json_t *json_cgroup(const struct overview *o, const struct pins *pins,
			   const struct cgroup_view *c)
{
	json_t *ops = json_array();

	for (int s = 0; c->governed && s < SP_STAGE_MAX; s++) {
		for (uint32_t i = 0; i < c->policy.stage[s].n_ops; i++) {
			struct op_view v;

			if (view_op(o, pins, c->policy.stage[s].first_op + i, &v) < 0)
				continue;
			json_array_append_new(
				ops,
				json_pack("{s:s, s:s, s:s, s:s, s:s, s:o}", "stage", stage_name(s),
					  "hooks", stage_hooks(s), "option", v.option, "value",
					  v.value, "policy", v.policy, "rule",
					  v.rule[0] ? json_string(v.rule) : json_null()));
			free(v.value);
		}
	}
	return json_pack("{s:s, s:I, s:b, s:o}", "path", c->path, "id", (json_int_t)c->id,
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
	print_policies(o);
	return 0;
}

static int say_why_not(int r, const char *pin_dir)
{
	if (r == -ENOENT)
		log_error("Nothing is in force: no agent has pinned anything at %s", pin_dir);
	else if (r == -EACCES || r == -EPERM)
		log_error_errno(r, "Reading the kernel's maps needs root");
	else if (r == -EPROTO)
		log_error("What is pinned at %s is of another version of sockpol", pin_dir);
	else
		log_error_errno(r, "Cannot read what is in force at %s", pin_dir);
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
		return say_why_not(r, pin_dir);
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
		return say_why_not(r, pin_dir);
	r = show(&o, pins, path ? &cgroup : NULL, as_json);
	overview_clear(&o);
	return r < 0 ? say_why_not(r, pin_dir) : EXIT_GOOD;
}

int cmd_status(int argc, char **argv)
{
	const char *pin_dir = DEFAULT_PIN_DIR, *runtime_dir = DEFAULT_RUNTIME_DIR, *path = NULL;
	bool as_json = false;
	const struct cli_option options[] = {
		{ "cgroup", "PATH", "what is in force for this cgroup", .value = &path },
		{ "json", NULL, "as JSON", .flag = &as_json },
		{ "pin-dir", "DIR", "the agent's (" DEFAULT_PIN_DIR ")", .value = &pin_dir },
		{ "runtime-dir", "DIR", "the agent's (" DEFAULT_RUNTIME_DIR ")",
		  .value = &runtime_dir },
	};
	int exit_status, first;

	first = cli_parse(
		argc, argv, "status [OPTION]...",
		"Says what is in force, from the kernel's maps: attachments, policies, cgroups, "
		"counters.\nWorks with and without a running agent, as root.",
		options, ARRAY_SIZE(options), &exit_status);
	if (first < 0)
		return exit_status;
	if (first < argc) {
		fprintf(stderr, "sockpol status: unexpected argument '%s'\n", argv[first]);
		return EXIT_USAGE;
	}
	return status(pin_dir, runtime_dir, path, as_json);
}
