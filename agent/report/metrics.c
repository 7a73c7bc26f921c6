// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <errno.h>

#include "base/exposition.h"
#include "report/metrics.h"
#include "policy/stage.h"

/* When a family is printed. */
enum known {
	KNOWN_ALWAYS,
	KNOWN_BY_AGENT, /* while it answers */
	KNOWN_BY_PINS,
};

/* A metric.  It has a single sample without labels (`value`), or `print` writes its samples. */
struct family {
	const char *name, *type, *help;
	enum known known;
	uint64_t (*value)(const struct overview *o);
	void (*print)(const struct overview *o, const char *name, FILE *to);
};

#define LABELS(...) ((const struct exposition_label[EXPOSITION_LABELS_MAX]){ __VA_ARGS__ })

static void print_build(const struct overview *o, const char *name, FILE *to)
{
	char abi[16];

	(void)o;
	snprintf(abi, sizeof(abi), "%d", SP_ABI_VERSION);
	exposition_sample(to, name, LABELS({ "version", SOCKPOL_VERSION }, { "abi", abi }), 1);
}

static uint64_t agent_up(const struct overview *o)
{
	return o->answers;
}

static uint64_t degraded(const struct overview *o)
{
	return o->degraded;
}

static uint64_t generation(const struct overview *o)
{
	return o->state.generation;
}

static void print_last_load(const struct overview *o, const char *name, FILE *to)
{
	exposition_time(to, name, o->state.of[o->state.generation & 1].loaded_usec);
}

static uint64_t n_policies(const struct overview *o)
{
	return o->state.of[o->state.generation & 1].n_policies;
}

static void print_policy_sockets(const struct overview *o, const char *name, FILE *to)
{
	for (size_t i = 0; i < o->n_policies; i++)
		exposition_sample(to, name, LABELS({ "policy", o->policies[i].name }),
				  o->policies[i].applied);
}

static void print_rule_sockets(const struct overview *o, const char *name, FILE *to)
{
	for (size_t i = 0; i < o->n_policies; i++) {
		const struct overview_policy *p = &o->policies[i];

		for (size_t j = 0; j < p->n_rules; j++)
			exposition_sample(
				to, name,
				LABELS({ "policy", p->name }, { "rule", p->rules[j].name }),
				p->rules[j].applied);
	}
}

static void print_failures(const struct overview *o, const char *name, FILE *to)
{
	for (size_t i = 0; i < o->n_policies; i++) {
		const struct overview_policy *p = &o->policies[i];

		for (size_t j = 0; j < p->n_failed; j++) {
			const struct overview_failure *f = &p->failed[j];
			const char *error = strerrorname_np(f->error);
			char number[16];

			snprintf(number, sizeof(number), "%d", f->error);
			exposition_sample(to, name,
					  LABELS({ "policy", p->name }, { "rule", f->rule },
						 { "option", f->option },
						 { "errno", error ? error : number }),
					  f->count);
		}
	}
}

static uint64_t failures_lost(const struct overview *o)
{
	return o->state.failures_lost;
}

static uint64_t misses(const struct overview *o)
{
	return o->state.misses;
}

static uint64_t cut(const struct overview *o)
{
	return o->state.cut;
}

static uint64_t left_out(const struct overview *o)
{
	return o->state.left_out;
}

static uint64_t lists_lost(const struct overview *o)
{
	return o->state.lists_lost;
}

static uint64_t missing_hooks(const struct overview *o)
{
	return (uint64_t)__builtin_popcountll(o->state.missing_stages & o->state.stages);
}

static void print_stages(uint64_t stages, const char *name, FILE *to)
{
	for (int s = 0; s < SP_STAGE_MAX; s++)
		exposition_sample(to, name, LABELS({ "stage", stage_name(s) }), stages >> s & 1);
}

static void print_stage_available(const struct overview *o, const char *name, FILE *to)
{
	print_stages(~o->state.missing_stages, name, to);
}

static void print_stage_used(const struct overview *o, const char *name, FILE *to)
{
	print_stages(o->state.stages, name, to);
}

static void print_attached(const struct overview *o, const char *name, FILE *to)
{
	for (size_t i = 0; i < o->n_links; i++) {
		const struct attachment *a = &o->links[i];

		exposition_sample(to, name, LABELS({ "hook", hook_table[a->hook].name }),
				  a->is_attached);
	}
}

/* Counts the programs of others at a hook that run before ours, or after. */
static uint64_t count_neighbours(const struct overview *o, const char *hook, bool runs_after)
{
	uint64_t n = 0;

	for (size_t i = 0; i < o->n_neighbours; i++)
		n += o->neighbours[i].runs_after == runs_after &&
		     streq(o->neighbours[i].hook, hook);
	return n;
}

static void print_neighbours_at(const struct overview *o, const char *hook, const char *name,
				FILE *to)
{
	exposition_sample(to, name, LABELS({ "hook", hook }, { "runs", "before" }),
			  count_neighbours(o, hook, false));
	exposition_sample(to, name, LABELS({ "hook", hook }, { "runs", "after" }),
			  count_neighbours(o, hook, true));
}

/* Was the hook of this neighbour printed already? */
static bool is_printed(const struct overview *o, size_t neighbour)
{
	const char *hook = o->neighbours[neighbour].hook;

	for (size_t i = 0; i < o->n_links; i++)
		if (streq(hook_table[o->links[i].hook].name, hook))
			return true;
	for (size_t i = 0; i < neighbour; i++)
		if (streq(o->neighbours[i].hook, hook))
			return true;
	return false;
}

static void print_neighbours(const struct overview *o, const char *name, FILE *to)
{
	for (size_t i = 0; i < o->n_links; i++)
		print_neighbours_at(o, hook_table[o->links[i].hook].name, name, to);
	for (size_t i = 0; i < o->n_neighbours; i++)
		if (!is_printed(o, i))
			print_neighbours_at(o, o->neighbours[i].hook, name, to);
}

static void print_of_maps(uint64_t failures, uint64_t counters, const char *name, FILE *to)
{
	exposition_sample(to, name, LABELS({ "map", map_table[MAP_ID_failures].name }), failures);
	exposition_sample(to, name, LABELS({ "map", map_table[MAP_ID_counters].name }), counters);
}

static void print_map_entries(const struct overview *o, const char *name, FILE *to)
{
	print_of_maps(o->n_failures, o->n_counters, name, to);
}

static void print_map_room(const struct overview *o, const char *name, FILE *to)
{
	print_of_maps(o->room_failures, o->room_counters, name, to);
}

static const struct family families[] = {
	{ "sockpol_build_info", "gauge",
	  "The sockpol that writes this; abi is the layout of its maps in the kernel.",
	  .print = print_build },
	{ "sockpol_agent_up", "gauge",
	  "1: an agent runs for these pins and answers; 0: none does, and what is pinned stays in "
	  "force.",
	  .value = agent_up },
	{ "sockpol_degraded", "gauge",
	  "1: the agent's last load failed, so that what is in force is not what the files say.",
	  KNOWN_BY_AGENT, .value = degraded },
	{ "sockpol_generation", "gauge", "The configuration in force: raised by each reload.",
	  KNOWN_BY_PINS, .value = generation },
	{ "sockpol_last_load_timestamp_seconds", "gauge",
	  "When the configuration in force came in force, seconds since the epoch.", KNOWN_BY_PINS,
	  .print = print_last_load },
	{ "sockpol_policies", "gauge", "Policies in the configuration in force.", KNOWN_BY_PINS,
	  .value = n_policies },
	{ "sockpol_policy_applied_sockets_total", "counter",
	  "Sockets for which the policy had something to set, whichever policy won; once per direction.",
	  KNOWN_BY_PINS, .print = print_policy_sockets },
	{ "sockpol_rule_applied_sockets_total", "counter",
	  "Sockets for which the rule held, whichever policy won; once per direction.",
	  KNOWN_BY_PINS, .print = print_rule_sockets },
	{ "sockpol_failures_total", "counter",
	  "Options that the kernel refused to set, by errno; an empty rule is the policy's base "
	  "options.",
	  KNOWN_BY_PINS, .print = print_failures },
	{ "sockpol_failures_lost_total", "counter",
	  "Failures that found no room in the map that counts them.", KNOWN_BY_PINS,
	  .value = failures_lost },
	{ "sockpol_cgroups_classified_total", "counter",
	  "Cgroups for which a hook looked up which policies apply: at their first socket, and after "
	  "others took their place.",
	  KNOWN_BY_PINS, .value = misses },
	{ "sockpol_cgroups_too_deep_total", "counter",
	  "Of these, cgroups so deep, or with such long names, that they have an ancestor's policies.",
	  KNOWN_BY_PINS, .value = cut },
	{ "sockpol_cgroups_policies_left_out_total", "counter",
	  "Of these, cgroups that more policies match than apply to one.", KNOWN_BY_PINS,
	  .value = left_out },
	{ "sockpol_lists_lost_total", "counter",
	  "Sockets that got no options, as other cgroups took the place of theirs again and again.",
	  KNOWN_BY_PINS, .value = lists_lost },
	{ "sockpol_missing_hooks", "gauge",
	  "Stages at which policies have something to set and this kernel has no hook.",
	  KNOWN_BY_PINS, .value = missing_hooks },
	{ "sockpol_stage_available", "gauge", "1: this kernel has a hook for the stage.",
	  KNOWN_BY_PINS, .print = print_stage_available },
	{ "sockpol_stage_used", "gauge", "1: some policy has something to set at the stage.",
	  KNOWN_BY_PINS, .print = print_stage_used },
	{ "sockpol_hook_attached", "gauge",
	  "1: the program runs at its hook; 0: its cgroup is gone, or somebody detached it.  None: no "
	  "policy needs it.",
	  KNOWN_BY_PINS, .print = print_attached },
	{ "sockpol_neighbour_programs", "gauge",
	  "Programs of others at the same hook and cgroup; what runs after sockpol's wins.",
	  KNOWN_BY_PINS, .print = print_neighbours },
	{ "sockpol_map_entries", "gauge", "Entries in the maps that fill up.", KNOWN_BY_PINS,
	  .print = print_map_entries },
	{ "sockpol_map_entries_limit", "gauge", "Room for entries in the same maps.", KNOWN_BY_PINS,
	  .print = print_map_room },
};

static bool is_known(const struct overview *o, bool in_force, enum known known)
{
	switch (known) {
	case KNOWN_ALWAYS:
		return true;
	case KNOWN_BY_AGENT:
		return o->answers;
	case KNOWN_BY_PINS:
		return in_force;
	}
	return false;
}

void metrics_print(const struct overview *o, bool in_force, FILE *to)
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
		if (f->value)
			exposition_sample(to, f->name, NULL, f->value(o));
		else
			f->print(o, f->name, to);
	}
}

/* Reads the overview.  Pins that go meanwhile (a detach) count as none. */
static int read_overview(const char *pin_dir, const char *runtime_dir, struct overview *ret,
			 bool *ret_in_force)
{
	_cleanup_(pinned_close) struct pinned *pins = NULL;
	int r = pinned_open(pin_dir, &pins);

	if (r == 0)
		r = overview_read(pin_dir, runtime_dir, pins, ret);
	*ret_in_force = r == 0;
	return r == -ENOENT ? overview_read(pin_dir, runtime_dir, NULL, ret) : r;
}

int metrics_read(const char *pin_dir, const char *runtime_dir, FILE *to)
{
	struct overview o;
	bool in_force;
	int r = read_overview(pin_dir, runtime_dir, &o, &in_force);

	if (r < 0)
		return r;
	metrics_print(&o, in_force, to);
	overview_clear(&o);
	return 0;
}

int metrics_read_by_agent(const char *pin_dir, bool is_degraded, FILE *to)
{
	struct overview o;
	bool in_force;
	int r = read_overview(pin_dir, NULL, &o, &in_force);

	if (r < 0)
		return r;
	o.running = o.answers = true;
	o.degraded = is_degraded;
	metrics_print(&o, in_force, to);
	overview_clear(&o);
	return 0;
}
