// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <errno.h>

#include "base/exposition.h"
#include "report/metrics.h"

/* When a family is printed. */
enum known {
	KNOWN_ALWAYS,
	KNOWN_BY_AGENT, /* while it answers */
	KNOWN_BY_PINS,
};

/* A metric: members of the overview, or `print` writes its samples. */
struct family {
	const char *name, *type, *help;
	enum known known;
	/* A list, each entry of which is a sample; for policies perhaps a list in each entry. NULL:
	 * a single sample without labels ... */
	const char *list, *sublist;
	const char *object; /* ... which is a member of this one; NULL: of the overview itself */
	const char *value;
	/* Labels of an entry, and the members that are their values; by `sublist` the policy's name
	 * comes first. */
	struct exposition_label labels[EXPOSITION_LABELS_MAX];
	void (*print)(const json_t *o, const char *name, FILE *to);
};

#define LABELS(...) ((const struct exposition_label[EXPOSITION_LABELS_MAX]){ __VA_ARGS__ })

static void print_build(const json_t *o, const char *name, FILE *to)
{
	char abi[16];

	(void)o;
	snprintf(abi, sizeof(abi), "%d", SP_ABI_VERSION);
	exposition_sample(to, name, LABELS({ "version", SOCKPOL_VERSION }, { "abi", abi }), 1);
}

static void print_last_load(const json_t *o, const char *name, FILE *to)
{
	exposition_time(to, name, (uint64_t)document_number(o, "loaded_usec"));
}

static void print_attached(const json_t *o, const char *name, FILE *to)
{
	const json_t *link;
	size_t i;

	json_array_foreach (json_object_get(o, "attachments"), i, link)
		exposition_sample(to, name, LABELS({ "hook", document_text(link, "hook") }),
				  document_number(link, "cgroup") != 0);
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

static void print_neighbours(const json_t *o, const char *name, FILE *to)
{
	const json_t *link;
	size_t i;

	json_array_foreach (json_object_get(o, "attachments"), i, link) {
		const char *hook = document_text(link, "hook");

		exposition_sample(to, name, LABELS({ "hook", hook }, { "runs", "before" }),
				  count_neighbours(o, hook, false));
		exposition_sample(to, name, LABELS({ "hook", hook }, { "runs", "after" }),
				  count_neighbours(o, hook, true));
	}
}

static const struct family families[] = {
	{ "sockpol_build_info", "gauge",
	  "The sockpol that writes this; abi is the layout of its maps in the kernel.",
	  .print = print_build },
	{ "sockpol_agent_up", "gauge",
	  "1: an agent runs for these pins and answers; 0: none does, and what is pinned stays in "
	  "force.",
	  .object = "agent", .value = "answers" },
	{ "sockpol_degraded", "gauge",
	  "1: the agent's last load failed, so that what is in force is not what the files say.",
	  KNOWN_BY_AGENT, .object = "agent", .value = "degraded" },
	{ "sockpol_generation", "gauge", "The configuration in force: raised by each reload.",
	  KNOWN_BY_PINS, .value = "generation" },
	{ "sockpol_last_load_timestamp_seconds", "gauge",
	  "When the configuration in force came in force, seconds since the epoch.", KNOWN_BY_PINS,
	  .print = print_last_load },
	{ "sockpol_policies", "gauge", "Policies in the configuration in force.", KNOWN_BY_PINS,
	  .value = "n_policies" },
	{ "sockpol_policy_applied_sockets_total", "counter",
	  "Sockets for which the policy had something to set, whichever policy won; once per direction.",
	  KNOWN_BY_PINS, .list = "policies", .value = "applied",
	  .labels = { { "policy", "name" } } },
	{ "sockpol_rule_applied_sockets_total", "counter",
	  "Sockets for which the rule held, whichever policy won; once per direction.",
	  KNOWN_BY_PINS, .list = "policies", .sublist = "rules", .value = "applied",
	  .labels = { { "rule", "name" } } },
	{ "sockpol_failures_total", "counter",
	  "Options that the kernel refused to set, by errno; an empty rule is the policy's base "
	  "options.",
	  KNOWN_BY_PINS, .list = "policies", .sublist = "failed", .value = "count",
	  .labels = { { "rule", "rule" }, { "option", "option" }, { "errno", "errno" } } },
	{ "sockpol_failures_lost_total", "counter",
	  "Failures that found no room in the map that counts them.", KNOWN_BY_PINS,
	  .object = "counts", .value = "failures_lost" },
	{ "sockpol_cgroups_classified_total", "counter",
	  "Cgroups for which a hook looked up which policies apply: at their first socket, and after "
	  "others took their place.",
	  KNOWN_BY_PINS, .object = "counts", .value = "classified" },
	{ "sockpol_cgroups_too_deep_total", "counter",
	  "Of these, cgroups so deep, or with such long names, that they have an ancestor's policies.",
	  KNOWN_BY_PINS, .object = "counts", .value = "cut" },
	{ "sockpol_cgroups_policies_left_out_total", "counter",
	  "Of these, cgroups that more policies match than apply to one.", KNOWN_BY_PINS,
	  .object = "counts", .value = "left_out" },
	{ "sockpol_lists_lost_total", "counter",
	  "Sockets that got no options, as other cgroups took the place of theirs again and again.",
	  KNOWN_BY_PINS, .object = "counts", .value = "lists_lost" },
	{ "sockpol_missing_hooks", "gauge",
	  "Stages at which policies have something to set and this kernel has no hook.",
	  KNOWN_BY_PINS, .value = "missing_hooks" },
	{ "sockpol_stage_available", "gauge", "1: this kernel has a hook for the stage.",
	  KNOWN_BY_PINS, .list = "stages", .value = "available",
	  .labels = { { "stage", "stage" } } },
	{ "sockpol_stage_used", "gauge", "1: some policy has something to set at the stage.",
	  KNOWN_BY_PINS, .list = "stages", .value = "used", .labels = { { "stage", "stage" } } },
	{ "sockpol_hook_attached", "gauge",
	  "1: the program runs at its hook; 0: its cgroup is gone, or somebody detached it.  None: no "
	  "policy needs it.",
	  KNOWN_BY_PINS, .print = print_attached },
	{ "sockpol_neighbour_programs", "gauge",
	  "Programs of others at the same hook and cgroup; what runs after sockpol's wins.",
	  KNOWN_BY_PINS, .print = print_neighbours },
	{ "sockpol_map_entries", "gauge", "Entries in the maps that fill up.", KNOWN_BY_PINS,
	  .list = "maps", .value = "entries", .labels = { { "map", "map" } } },
	{ "sockpol_map_entries_limit", "gauge", "Room for entries in the same maps.", KNOWN_BY_PINS,
	  .list = "maps", .value = "room", .labels = { { "map", "map" } } },
};

static bool is_known(const json_t *o, bool in_force, enum known known)
{
	switch (known) {
	case KNOWN_ALWAYS:
		return true;
	case KNOWN_BY_AGENT:
		return document_is(json_object_get(o, "agent"), "answers");
	case KNOWN_BY_PINS:
		return in_force;
	}
	return false;
}

static uint64_t value_of(const struct family *f, const json_t *object)
{
	return document_is(object, f->value) ? 1 : (uint64_t)document_number(object, f->value);
}

/* Prints the sample of an entry; policy: to which it belongs, or NULL. */
static void print_entry(const struct family *f, const json_t *policy, const json_t *entry, FILE *to)
{
	struct exposition_label labels[EXPOSITION_LABELS_MAX] = { 0 };
	size_t n = 0;

	if (policy)
		labels[n++] = (struct exposition_label){ "policy", document_text(policy, "name") };
	for (size_t i = 0; n < EXPOSITION_LABELS_MAX && f->labels[i].name; i++) {
		const char *text = document_text(entry, f->labels[i].value);

		labels[n++] = (struct exposition_label){ f->labels[i].name, text ? text : "" };
	}
	exposition_sample(to, f->name, labels, value_of(f, entry));
}

static void print_list(const struct family *f, const json_t *list, const json_t *policy, FILE *to)
{
	const json_t *entry;
	size_t i;

	json_array_foreach (list, i, entry)
		if (f->sublist && !policy)
			print_list(f, json_object_get(entry, f->sublist), entry, to);
		else
			print_entry(f, policy, entry, to);
}

void metrics_print(const json_t *o, bool in_force, FILE *to)
{
	exposition_family(to, "sockpol_up", "gauge",
			  "1: policies are in force, and the pins can be read; 0: nothing is "
			  "pinned.");
	exposition_sample(to, "sockpol_up", NULL, in_force);
	for (size_t i = 0; i < ARRAY_SIZE(families); i++) {
		const struct family *f = &families[i];

		if (!is_known(o, in_force, f->known))
			continue;
		exposition_family(to, f->name, f->type, f->help);
		if (f->print)
			f->print(o, f->name, to);
		else if (f->list)
			print_list(f, json_object_get(o, f->list), NULL, to);
		else
			exposition_sample(
				to, f->name, NULL,
				value_of(f, f->object ? json_object_get(o, f->object) : o));
	}
}

/* Reads the overview and prints it; agent NULL: asks the one in runtime_dir.  Pins that go
 * meanwhile (a detach) count as none. */
static int read_and_print(const char *pin_dir, const char *runtime_dir, json_t *agent, FILE *to)
{
	_cleanup_(pinned_close) struct pinned *pins = NULL;
	_cleanup_(json_decref) json_t *o = NULL;
	int r = pinned_open(pin_dir, &pins);
	bool in_force;

	if (r == 0)
		r = overview_read(pin_dir, runtime_dir, pins, &o);
	in_force = r == 0;
	if (r == -ENOENT)
		r = overview_read(pin_dir, runtime_dir, NULL, &o);
	if (r == 0 && agent && json_object_set(o, "agent", agent) < 0)
		r = -ENOMEM;
	if (r == 0)
		metrics_print(o, in_force, to);
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
