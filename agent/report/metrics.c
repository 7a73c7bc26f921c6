// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <errno.h>

#include "base/exposition.h"
#include "report/metrics.h"

/* A metric: members of the overview, or `print` writes its samples.  Left out where the overview
 * has no such member, as it does without an agent or without pins. */
struct family {
	const char *name, *type, *help;
	const char *of;	  /* an object, a sample without labels; or a list, a sample for each entry;
			     NULL: the overview itself */
	const char *list; /* in each policy: a sample for each entry of this list */
	const char *value; /* a number, or a bool */
	const char *kind;  /* only entries of this kind */
	/* Labels, and the members that are their values; by `list` the policy's name comes first.
	 */
	struct exposition_label labels[EXPOSITION_LABELS_MAX];
	bool is_time;  /* microseconds since the epoch */
	bool by_agent; /* left out unless it answers */
	void (*print)(const json_t *o, const char *name, FILE *to);
};

#define LABELS(...) ((const struct exposition_label[EXPOSITION_LABELS_MAX]){ __VA_ARGS__ })

static void print_up(const json_t *o, const char *name, FILE *to)
{
	exposition_sample(to, name, NULL, json_object_get(o, "generation") != NULL);
}

static void print_build(const json_t *o, const char *name, FILE *to)
{
	char abi[16];

	(void)o;
	snprintf(abi, sizeof(abi), "%d", SP_ABI_VERSION);
	exposition_sample(to, name, LABELS({ "version", SOCKPOL_VERSION }, { "abi", abi }), 1);
}

/* Counts the programs of others at a hook that run before ours, or after. */
static uint64_t count_neighbours(const json_t *o, const char *hook, bool runs_after)
{
	const json_t *neighbour;
	uint64_t n = 0;
	size_t i;

	json_array_foreach (json_object_get(o, "neighbours"), i, neighbour)
		n += document_is(neighbour, "runs_after") == runs_after &&
		     streq(document_text(neighbour, "hook"), hook);
	return n;
}

/* At our hooks, and at others' where a neighbour runs; each hook once. */
static void print_neighbours(const json_t *o, const char *name, FILE *to)
{
	static const char *const lists[] = { "attachments", "neighbours" };
	_cleanup_(json_decref) json_t *done = json_object();
	const json_t *one;
	size_t i;

	for (size_t k = 0; k < ARRAY_SIZE(lists); k++) {
		json_array_foreach (json_object_get(o, lists[k]), i, one) {
			const char *hook = document_text(one, "hook");

			if (json_object_get(done, hook) ||
			    json_object_set_new(done, hook, json_true()) < 0)
				continue;
			exposition_sample(to, name, LABELS({ "hook", hook }, { "runs", "before" }),
					  count_neighbours(o, hook, false));
			exposition_sample(to, name, LABELS({ "hook", hook }, { "runs", "after" }),
					  count_neighbours(o, hook, true));
		}
	}
}

/* What became of what applications set, or of a value that could not be set. */
#define OUTCOMES(name_, kind_, help_)                                                              \
	{                                                                                          \
		name_, "counter", help_, .of = "policies", .list = "outcomes", .value = "count",   \
					 .kind = kind_,                                            \
					 .labels = { { "rule", "rule" }, { "option", "option" } }, \
	}

static const struct family families[] = {
	{ "sockpol_up", "gauge",
	  "1: policies are in force, and the pins can be read; 0: nothing is pinned.",
	  .print = print_up },
	{ "sockpol_build_info", "gauge",
	  "The sockpol that writes this; abi is the layout of its maps in the kernel.",
	  .print = print_build },
	{ "sockpol_agent_up", "gauge",
	  "1: an agent runs for these pins and answers; 0: none does, and what is pinned stays in "
	  "force.",
	  .of = "agent", .value = "answers" },
	{ "sockpol_degraded", "gauge",
	  "1: the agent's last load failed, so that what is in force is not what the files say.",
	  .of = "agent", .value = "degraded", .by_agent = true },
	{ "sockpol_generation", "gauge", "The configuration in force: raised by each reload.",
	  .value = "generation" },
	{ "sockpol_last_load_timestamp_seconds", "gauge",
	  "When the configuration in force came in force, seconds since the epoch.",
	  .value = "loaded_usec", .is_time = true },
	{ "sockpol_policies", "gauge", "Policies in the configuration in force.",
	  .value = "n_policies" },
	{ "sockpol_policy_applied_sockets_total", "counter",
	  "Sockets for which the policy had something to set, whichever policy won; once per direction.",
	  .of = "policies", .value = "applied", .labels = { { "policy", "name" } } },
	{ "sockpol_policy_at_socket_sockets_total", "counter",
	  "Sockets that socket(2) gave something of the policy; once a socket.", .of = "policies",
	  .value = "at_socket", .labels = { { "policy", "name" } } },
	{ "sockpol_rule_applied_sockets_total", "counter",
	  "Sockets for which the rule held, whichever policy won; once per direction.",
	  .of = "policies", .list = "rules", .value = "applied", .labels = { { "rule", "name" } } },
	{ "sockpol_failures_total", "counter",
	  "Options that the kernel refused to set, by errno; an empty rule is the policy's base "
	  "options.",
	  .of = "policies", .list = "failed", .value = "count",
	  .labels = { { "rule", "rule" }, { "option", "option" }, { "errno", "errno" } } },
	OUTCOMES("sockpol_sets_held_total", "held",
		 "What applications set, and what became the policy's value instead."),
	OUTCOMES("sockpol_sets_denied_total", "denied",
		 "What applications set, and what failed with EPERM (application: deny)."),
	OUTCOMES("sockpol_sets_clamped_total", "clamped",
		 "What applications set, and what was brought into the policy's range."),
	OUTCOMES("sockpol_sets_respected_total", "respected",
		 "Options of sockets that kept what their application had set."),
	OUTCOMES(
		"sockpol_sets_untold_total", "untold",
		"What applications set on sockets of which nobody knows whether they were accepted: it stays."),
	OUTCOMES("sockpol_calls_refused_total", "refused",
		 "Calls refused because an option could not be set (on_failure: refuse)."),
	OUTCOMES("sockpol_calls_not_refused_total", "not_refused",
		 "Options that could not be set where there was no call to refuse."),
	{ "sockpol_failures_lost_total", "counter",
	  "Failures and outcomes that found no room in the maps that count them.", .of = "counts",
	  .value = "failures_lost" },
	{ "sockpol_cgroups_classified_total", "counter",
	  "Cgroups for which a hook looked up which policies apply: at their first socket, and after "
	  "others took their place.",
	  .of = "counts", .value = "classified" },
	{ "sockpol_cgroups_too_deep_total", "counter",
	  "Of these, cgroups so deep, or with such long names, that they have an ancestor's policies.",
	  .of = "counts", .value = "cut" },
	{ "sockpol_cgroups_policies_left_out_total", "counter",
	  "Of these, cgroups that more policies match than apply to one.", .of = "counts",
	  .value = "left_out" },
	{ "sockpol_lists_lost_total", "counter",
	  "Sockets that got no options, as other cgroups took the place of theirs again and again.",
	  .of = "counts", .value = "lists_lost" },
	{ "sockpol_missing_hooks", "gauge",
	  "Stages at which policies have something to set and this kernel has no hook.",
	  .value = "missing_hooks" },
	{ "sockpol_stage_available", "gauge",
	  "1: this kernel has a hook for the stage; that of local-socket is looked for where it is used.",
	  .of = "stages", .value = "available", .labels = { { "stage", "stage" } } },
	{ "sockpol_stage_used", "gauge", "1: some policy has something to set at the stage.",
	  .of = "stages", .value = "used", .labels = { { "stage", "stage" } } },
	{ "sockpol_hook_attached", "gauge",
	  "1: the program runs at its hook; 0: its cgroup is gone, or somebody detached it.  None: no "
	  "policy needs it.",
	  .of = "attachments", .value = "attached", .labels = { { "hook", "hook" } } },
	{ "sockpol_neighbour_programs", "gauge",
	  "Programs of others that set options of the same sockets; what runs after sockpol's wins.",
	  .of = "attachments", .print = print_neighbours },
	{ "sockpol_map_entries", "gauge", "Entries in the maps that fill up.", .of = "maps",
	  .value = "entries", .labels = { { "map", "map" } } },
	{ "sockpol_map_entries_limit", "gauge", "Room for entries in the same maps.", .of = "maps",
	  .value = "room", .labels = { { "map", "map" } } },
};

/* Prints the sample of an entry, or those of a list; policy: to which they belong, or NULL. */
static void print_samples(const struct family *f, const json_t *policy, const json_t *from,
			  FILE *to)
{
	struct exposition_label labels[EXPOSITION_LABELS_MAX] = { 0 };
	const json_t *value = json_object_get(from, f->value), *entry;
	size_t i, n = 0;

	json_array_foreach (from, i, entry)
		if (f->list && !policy)
			print_samples(f, entry, json_object_get(entry, f->list), to);
		else
			print_samples(f, policy, entry, to);
	if (!from || json_is_array(from) ||
	    (f->kind && !streq(f->kind, document_text(from, "kind"))))
		return;
	if (policy)
		labels[n++] = (struct exposition_label){ "policy", document_text(policy, "name") };
	for (i = 0; n < EXPOSITION_LABELS_MAX && f->labels[i].name; i++) {
		const char *text = document_text(from, f->labels[i].value);

		labels[n++] = (struct exposition_label){ f->labels[i].name, text ? text : "" };
	}
	if (f->is_time)
		exposition_time(to, f->name, (uint64_t)json_integer_value(value));
	else
		exposition_sample(to, f->name, labels,
				  json_is_true(value) ? 1 : (uint64_t)json_integer_value(value));
}

void metrics_print(const json_t *o, FILE *to)
{
	for (size_t i = 0; i < ARRAY_SIZE(families); i++) {
		const struct family *f = &families[i];
		const json_t *from = f->of ? json_object_get(o, f->of) : o;

		if (!from || (f->by_agent && !document_is(from, "answers")) ||
		    (f->value && json_is_object(from) && !json_object_get(from, f->value)))
			continue;
		exposition_family(to, f->name, f->type, f->help);
		if (f->print)
			f->print(o, f->name, to);
		else
			print_samples(f, NULL, from, to);
	}
}

/* Reads the overview and prints it; agent NULL: asks the one in runtime_dir.  Pins that go
 * meanwhile (a detach) count as none. */
static int read_and_print(const char *pin_dir, const char *runtime_dir, json_t *agent, FILE *to)
{
	_cleanup_(pinned_close) struct pinned *pins = NULL;
	_cleanup_(json_decref) json_t *o = NULL;
	int r = pinned_open(pin_dir, &pins);

	if (r == 0)
		r = overview_read(pin_dir, runtime_dir, pins, &o);
	if (r == -ENOENT)
		r = overview_read(pin_dir, runtime_dir, NULL, &o);
	if (r == 0 && agent && json_object_set(o, "agent", agent) < 0)
		r = -ENOMEM;
	if (r == 0)
		metrics_print(o, to);
	return r;
}

int metrics_read(const char *pin_dir, const char *runtime_dir, FILE *to)
{
	return read_and_print(pin_dir, runtime_dir, NULL, to);
}

int metrics_read_by_agent(const char *pin_dir, bool is_degraded, FILE *to)
{
	_cleanup_(json_decref) json_t *agent =
		json_pack("{s:b, s:b}", "answers", 1, "degraded", is_degraded);

	return agent ? read_and_print(pin_dir, NULL, agent, to) : -ENOMEM;
}
