// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <assert.h>
#include <errno.h>
#include <sys/stat.h>

#include "base/control_call.h"
#include "base/log.h"
#include "kernel/attachments.h"
#include "kernel/neighbours.h"
#include "host/living.h"
#include "option/option.h"
#include "policy/hook.h"
#include "policy/stage.h"
#include "report/contest.h"
#include "report/overview.h"

#define NAMED_MAX	 16 /* policies */
#define PATIENCE_SECONDS 2u /* the maps can be read without the agent */

/* Are these the agent's pins?  A path may have several names, so the agent also gives the
 * directory's device and inode. */
static bool same_pins(const json_t *reply, const char *pin_dir)
{
	const json_t *device = json_object_get(reply, "pin_dir_device"),
		     *inode = json_object_get(reply, "pin_dir_inode");
	const char *name = json_string_value(json_object_get(reply, "pin_dir"));
	struct stat st;

	if (stat(pin_dir, &st) < 0) /* somebody removed it, or nobody made it */
		return name && streq(name, pin_dir);
	return !device || !inode ||
	       (json_integer_value(device) == (json_int_t)st.st_dev &&
		json_integer_value(inode) == (json_int_t)st.st_ino);
}

/* Asks the agent. */
static json_t *ask(const char *pin_dir, const char *runtime_dir)
{
	_cleanup_(json_decref) json_t *reply = NULL;
	pid_t pid = 0;
	const int r = control_call(runtime_dir, "status", PATIENCE_SECONDS, &reply, &pid);
	const bool ok = r == 0 && document_is(reply, "ok"), ours = !ok || same_pins(reply, pin_dir),
		   answers = ok && ours,
		   running = (r == 0 || r == -ETIMEDOUT || r == -EBADMSG) && ours;
	const char *pins = document_text(reply, "pin_dir");
	_cleanup_(json_decref) json_t *number = pid ? json_integer(pid) : json_null();

	return json_pack("{s:{s:b, s:b, s:O?, s:s?, s:O?, s:s?, s:b, s:s?, s:s?, s:I}, s:O?}",
			 "agent", "running", running, "answers", answers, "pid",
			 running ? number : NULL, "other_pins", ours ? NULL : (pins ? pins : "?"),
			 "other_pid", ours ? NULL : number, "last_load",
			 answers ? document_text(reply, "message") : NULL, "degraded",
			 answers && document_is(reply, "degraded"), "source",
			 answers ? document_text(reply, "source") : NULL, "source_dir",
			 answers ? document_text(reply, "source_dir") : NULL, "pins_lost",
			 answers ? document_number(reply, "pins_lost") : 0, "unsupported",
			 answers ? json_object_get(reply, "unsupported") : NULL);
}

static json_t *links_json(const struct attachment *v, size_t n)
{
	json_t *links = json_array();

	for (size_t i = 0; i < n; i++)
		links = document_append(links,
					json_pack("{s:s, s:I, s:I, s:I, s:b, s:b}", "hook",
						  hook_table[v[i].hook].name, "link",
						  (json_int_t)v[i].link_id, "program",
						  (json_int_t)v[i].program_id, "cgroup",
						  (json_int_t)v[i].cgroup_id, "due", v[i].is_due,
						  "attached", v[i].is_attached));
	return links;
}

static json_t *neighbours_json(const struct neighbour *v, size_t n)
{
	json_t *neighbours = json_array();

	for (size_t i = 0; i < n; i++)
		neighbours = document_append(
			neighbours,
			json_pack("{s:s, s:I, s:o, s:b, s:b, s:s, s:o}", "hook", v[i].hook,
				  "program", (json_int_t)v[i].program_id, "name",
				  document_string(v[i].name), "sockpol", v[i].is_sockpol,
				  "runs_after", v[i].runs_after, "effect", neighbour_effect(&v[i]),
				  "cgroup", document_string(v[i].cgroup)));
	return neighbours;
}

/* Reads the programs at their hooks, and what runs beside them. */
static int read_programs(const char *pin_dir, const struct sp_state *state, json_t **ret_links,
			 json_t **ret_neighbours)
{
	struct attachment own[HOOK_MAX];
	struct neighbour *v = NULL;
	size_t n_own, n = 0;
	int r = attachments_read(pin_dir, state, own, &n_own);

	if (r < 0)
		return r;
	r = neighbours_read(state, own, n_own, &v, &n);
	if (r < 0 && r != -ENOENT) /* the cgroup is gone: nothing runs there at all */
		return r;
	*ret_links = links_json(own, n_own);
	*ret_neighbours = neighbours_json(v, n);
	neighbours_free(v, n);
	return 0;
}

/* A counter and its names. */
struct counter {
	uint32_t index;
	struct sp_counter whose;
	uint64_t applied;
	json_t *policy; /* its entry in the document, which owns it */
};

struct counter_list {
	struct counter *v;
	size_t n, n_failures, n_outcomes;
};

static int by_policy_then_index(const void *a, const void *b)
{
	const struct counter *x = a, *y = b;
	int order = strcmp(x->whose.policy, y->whose.policy);

	return order ? order : (x->index > y->index) - (x->index < y->index);
}

static int keep_counter(uint32_t index, const struct sp_counter *whose, uint64_t applied,
			void *userdata)
{
	struct counter_list *c = userdata;

	return APPEND(c->v, c->n, (struct counter){ index, *whose, applied });
}

/* Returns the policies by name, each with its rules. */
static json_t *policies_json(struct counter_list *c)
{
	json_t *policies = json_array(), *policy = NULL;
	int error = 0;

	for (size_t i = 0; i < c->n; i++) {
		struct counter *one = &c->v[i];
		const json_int_t applied = (json_int_t)one->applied;
		const char *rule;

		if (!i || !streq(one->whose.policy, one[-1].whose.policy)) {
			policy = json_pack("{s:s, s:i, s:i, s:b, s:[], s:[], s:[]}", "name",
					   one->whose.policy, "applied", 0, "at_socket", 0,
					   "overridden", 0, "rules", "failed", "outcomes");
			error |= json_array_append_new(policies, policy);
		}
		if (error)
			break;
		one->policy = policy;
		rule = one->whose.rule;
		if (!rule[0])
			error = json_object_set_new(policy, "applied", json_integer(applied));
		else if (streq(rule, SP_COUNTER_AT_SOCKET))
			error = json_object_set_new(policy, "at_socket", json_integer(applied));
		else
			error = json_array_append_new(
				json_object_get(policy, "rules"),
				json_pack("{s:s, s:I}", "name", rule, "applied", applied));
	}
	if (!error)
		return policies;
	json_decref(policies);
	return NULL;
}

static const struct counter *find_counter(const struct counter_list *all, uint32_t index)
{
	for (size_t i = 0; i < all->n; i++)
		if (all->v[i].index == index)
			return &all->v[i];
	return NULL;
}

static const char *option_name_at(uint16_t row)
{
	return row < OPTION_MAX ? option_table[row].name : "?";
}

/* Appends an entry to one of the policy's lists, and says of which rule it is. */
static int append_of(const struct counter *whose, const char *list, json_t *entry)
{
	const char *rule = whose->whose.rule;
	json_t *name = rule[0] ? json_string(rule) : json_null();

	return json_object_set_new(entry, "rule", name) < 0 ||
			       json_array_append(json_object_get(whose->policy, list), entry) < 0
		       ? -ENOMEM
		       : 0;
}

static int add_failure(const struct sp_failure *failure, uint64_t count, void *userdata)
{
	const char *name = strerrorname_np(-failure->error);
	struct counter_list *all = userdata;
	const struct counter *whose = find_counter(all, failure->counter);
	_cleanup_(json_decref) json_t *entry = NULL;
	char number[16];

	all->n_failures++;
	if (!whose)
		return 0;
	snprintf(number, sizeof(number), "%d", -failure->error);
	entry = json_pack("{s:s, s:s, s:s, s:I}", "option", option_name_at(failure->option),
			  "errno", name ? name : number, "message", strerror(-failure->error),
			  "count", (json_int_t)count);
	return append_of(whose, "failed", entry);
}

/* The words of the metrics and of `status`. */
static const char *const outcome_words[] = {
	[SP_OUTCOME_HELD] = "held",	  [SP_OUTCOME_DENIED] = "denied",
	[SP_OUTCOME_CLAMPED] = "clamped", [SP_OUTCOME_RESPECTED] = "respected",
	[SP_OUTCOME_REFUSED] = "refused", [SP_OUTCOME_NOT_REFUSED] = "not_refused",
	[SP_OUTCOME_UNTOLD] = "untold",
};
static_assert(ARRAY_SIZE(outcome_words) == SP_OUTCOME_MAX, "a word for each");

static int add_outcome(const struct sp_outcome *outcome, uint64_t count, void *userdata)
{
	struct counter_list *all = userdata;
	const struct counter *whose = find_counter(all, outcome->counter);
	_cleanup_(json_decref) json_t *entry = NULL;

	all->n_outcomes++;
	if (!whose || outcome->kind >= SP_OUTCOME_MAX)
		return 0;
	entry = json_pack("{s:s, s:s, s:I}", "option", option_name_at(outcome->option), "kind",
			  outcome_words[outcome->kind], "count", (json_int_t)count);
	return append_of(whose, "outcomes", entry);
}

static json_t *map_json(const struct pinned *p, enum map_id id, size_t entries)
{
	return json_pack("{s:s, s:I, s:I}", "map", map_table[id].name, "entries",
			 (json_int_t)entries, "room", (json_int_t)pinned_map_room(p, id));
}

static int read_policies(const struct pinned *p, json_t **ret_policies, json_t **ret_maps)
{
	struct counter_list c = { 0 };
	int r = pinned_each_counter(p, keep_counter, &c);

	if (c.n)
		qsort(c.v, c.n, sizeof(*c.v), by_policy_then_index);
	*ret_policies = r == 0 ? policies_json(&c) : NULL;
	if (r == 0 && !*ret_policies)
		r = -ENOMEM;
	if (r == 0)
		r = pinned_each_failure(p, add_failure, &c);
	if (r == 0)
		r = pinned_each_outcome(p, add_outcome, &c);
	*ret_maps = json_pack("[o, o, o]", map_json(p, MAP_ID_failures, c.n_failures),
			      map_json(p, MAP_ID_outcomes, c.n_outcomes),
			      map_json(p, MAP_ID_counters, c.n));
	free(c.v);
	return r;
}

static json_t *stages_json(const struct sp_state *state)
{
	json_t *stages = json_array();

	for (enum sp_stage s = 0; s < SP_STAGE_MAX; s++)
		stages = document_append(stages,
					 json_pack("{s:s, s:b, s:b}", "stage", stage_name(s),
						   "available", !(state->missing_stages >> s & 1),
						   "used", (int)(state->stages >> s & 1)));
	return stages;
}

static int read_pinned(const char *pin_dir, const struct pinned *p, json_t *o)
{
	json_t *links = NULL, *neighbours = NULL, *policies = NULL, *maps = NULL;
	_cleanup_(json_decref) json_t *members = NULL;
	const struct sp_generation *in_force;
	struct sp_state state = { 0 };
	int r = pinned_state(p, &state);

	if (r == 0)
		r = read_programs(pin_dir, &state, &links, &neighbours);
	if (r == 0)
		r = read_policies(p, &policies, &maps);
	in_force = &state.of[state.generation & 1];
	members = json_pack(
		"{s:I, s:I, s:I, s:I, s:{s:I, s:I, s:I, s:I, s:I}, s:o, s:o, s:o, s:o, s:I, s:o}",
		"generation", (json_int_t)state.generation, "loaded_usec",
		(json_int_t)in_force->loaded_usec, "n_policies", (json_int_t)in_force->n_policies,
		"cgroup_root", (json_int_t)state.cgroup_root_id, "counts", "classified",
		(json_int_t)state.misses, "cut", (json_int_t)state.cut, "left_out",
		(json_int_t)state.left_out, "lists_lost", (json_int_t)state.lists_lost,
		"failures_lost", (json_int_t)state.failures_lost, "attachments", links,
		"neighbours", neighbours, "policies", policies, "stages", stages_json(&state),
		"missing_hooks",
		(json_int_t)__builtin_popcountll(state.missing_stages & state.stages), "maps",
		maps);
	if (r == 0 && (!members || json_object_update(o, members) < 0))
		r = -ENOMEM;
	return r;
}

int overview_read(const char *pin_dir, const char *runtime_dir, const struct pinned *p,
		  json_t **ret)
{
	json_t *o = runtime_dir ? ask(pin_dir, runtime_dir) : json_object();
	int r = o ? 0 : -ENOMEM;

	if (r == 0 && p)
		r = read_pinned(pin_dir, p, o);
	if (r < 0)
		json_decref(o);
	else
		*ret = o;
	return r;
}

char *overview_name_policies(const json_t *o)
{
	const json_t *policies = json_object_get(o, "policies"), *policy;
	size_t size, i, n = json_array_size(policies);
	char *text = NULL;
	FILE *to = open_memstream(&text, &size);

	if (!to)
		return NULL;
	json_array_foreach (policies, i, policy)
		if (i < NAMED_MAX)
			fprintf(to, "%s%s", i ? ", " : "", document_text(policy, "name"));
	if (n > NAMED_MAX)
		fprintf(to, " and %zu more", n - NAMED_MAX);
	else if (!n)
		fprintf(to, "no policy");
	if (fclose(to) == 0)
		return text;
	free(text);
	return NULL;
}

/* A policy in force.  Options are BIT(enum option_id), by stage. */
struct counted_policy {
	uint64_t any[SP_STAGE_MAX];    /* decided by its base or by a rule */
	uint64_t always[SP_STAGE_MAX]; /* decided for every socket */
	bool sets_something;
	uint64_t n_cgroups; /* to which it applies */
	bool is_effective;  /* in one of these it sets what no stronger policy sets anyway */
};

struct count {
	const struct generations *generations;
	struct counted_policy *v; /* by the policy's number */
	uint32_t n;
	uint64_t n_cgroups, n_governed;
};

static void read_sets(const struct generation_view *v, uint32_t number, struct counted_policy *ret)
{
	const struct sp_policy *p = generation_view_at(v, MAP_ID_policies, number);

	for (int s = 0; s < SP_STAGE_MAX; s++) {
		const struct sp_stage_of *stage = &p->stage[s];
		uint64_t any = stage->options;

		for (uint32_t i = 0; i < (uint32_t)__builtin_popcountll(stage->acting); i++) {
			const struct sp_block *b =
				generation_view_at(v, MAP_ID_blocks, stage->first_block + i);

			any |= b ? b->options : 0;
		}
		ret->any[s] = any;
		ret->always[s] = stage->options;
		ret->sets_something |= any != 0;
	}
}

static int count_cgroup(const char *path, uint64_t id, void *userdata)
{
	uint64_t decided[SP_STAGE_MAX] = { 0 };
	struct count *c = userdata;
	struct glob_list list;
	int r = generations_list_in_force(c->generations, path, &list);

	(void)id;
	if (r < 0)
		return r;
	c->n_cgroups++;
	c->n_governed += list.n != 0;
	/* From the strongest policy down: does anything remain for the next to decide? */
	for (uint32_t i = list.n; i-- > 0;) {
		const uint32_t number = list.number[i];
		struct counted_policy *p = number < c->n ? &c->v[number] : NULL;

		if (!p)
			return -EPROTO;
		p->n_cgroups++;
		for (int s = 0; s < SP_STAGE_MAX; s++) {
			p->is_effective |= (p->any[s] & ~decided[s]) != 0;
			decided[s] |= p->always[s];
		}
	}
	return 0;
}

/* Can stronger policies set all that a policy sets, where both apply?  If not, looking at cgroups
 * finds none. */
static bool may_be_overridden(const struct count *c)
{
	uint64_t once[SP_STAGE_MAX] = { 0 }, twice[SP_STAGE_MAX] = { 0 }; /* by so many policies */

	for (uint32_t i = 1; i < c->n; i++) {
		for (int s = 0; s < SP_STAGE_MAX; s++) {
			twice[s] |= once[s] & c->v[i].always[s];
			once[s] |= c->v[i].always[s];
		}
	}
	for (uint32_t i = 1; i < c->n; i++) {
		const struct counted_policy *p = &c->v[i];
		bool is_within = p->sets_something;

		for (int s = 0; s < SP_STAGE_MAX; s++)
			is_within &= !(p->any[s] & ~(twice[s] | (once[s] & ~p->always[s])));
		if (is_within)
			return true;
	}
	return false;
}

static int set_counts(json_t *o, const struct count *c, bool only_overridden)
{
	_cleanup_(json_decref) json_t *by_name = json_object();
	json_t *policy;
	int error = 0;
	size_t i;

	json_array_foreach (json_object_get(o, "policies"), i, policy)
		error |= json_object_set(by_name, document_text(policy, "name"), policy);
	for (uint32_t k = 1; k < c->n && !error; k++) {
		const struct counted_policy *p = &c->v[k];
		const bool overridden = p->n_cgroups && p->sets_something && !p->is_effective;

		policy = json_object_get(by_name,
					 generation_view_policy_name(&c->generations->in_force, k));
		if (!policy) /* it came meanwhile */
			continue;
		if (!only_overridden || overridden)
			error |= json_object_set_new(policy, "cgroups",
						     json_integer((json_int_t)p->n_cgroups));
		error |= json_object_set_new(policy, "overridden", json_boolean(overridden));
	}
	if (!only_overridden)
		error |= json_object_set_new(o, "cgroups",
					     json_pack("{s:I, s:I}", "living",
						       (json_int_t)c->n_cgroups, "governed",
						       (json_int_t)c->n_governed));
	return error ? -ENOMEM : 0;
}

int overview_count_cgroups(json_t *o, const char *pin_dir, bool only_overridden)
{
	_cleanup_(generations_close) struct generations *g = NULL;
	_cleanup_free_ struct counted_policy *v = NULL;
	struct count c = { 0 };
	int r = generations_open(pin_dir, NULL, &g, NULL, NULL);

	if (r < 0)
		return r;
	c.generations = g;
	c.n = generation_view_n_policies(&g->in_force);
	c.v = v = calloc(c.n + 1, sizeof(*v));
	if (!v)
		return -ENOMEM;
	for (uint32_t i = 1; i < c.n; i++)
		read_sets(&g->in_force, i, &v[i]);
	if (only_overridden && !may_be_overridden(&c))
		return 0;
	r = g->root ? living_each(g->mount, g->root, count_cgroup, &c) : 0;
	return r < 0 ? r : set_counts(o, &c, only_overridden);
}

static json_t *append_contestant(json_t *to, const struct contestant *c, bool conditional,
				 enum sp_stage s)
{
	json_t *o;

	if (!c->op) /* it leaves the option alone */
		return to;
	o = json_pack("{s:s, s:s, s:s, s:s, s:s?, s:b}", "stage", stage_name(s), "hooks",
		      stage_hooks(s), "option", c->option->name, "policy", c->who->policy, "rule",
		      c->who->rule[0] ? c->who->rule : NULL, "conditional", conditional);
	return document_append(to, contestant_add(o, c));
}

static int read_options(struct generations *g, const struct glob_list *list, json_t **options)
{
	for (enum sp_stage s = 0; s < SP_STAGE_MAX; s++) {
		struct contests c;
		int r = contests_read(&g->in_force, list, s, &c);

		if (r < 0)
			return r;
		for (size_t id = 0; id < OPTION_MAX; id++) {
			*options = append_contestant(*options, &c.v[id].base, false, s);
			for (size_t i = 0; i < c.v[id].n_rules; i++)
				*options = append_contestant(*options, &c.v[id].rules[i], true, s);
		}
		contests_clear(&c);
	}
	return 0;
}

int overview_read_cgroup(struct generations *g, const char *path, uint64_t id, json_t **ret)
{
	json_t *policies = json_array(), *options = json_array(), *o;
	struct glob_list list = { 0 };
	int r = generations_list_in_force(g, path, &list);

	for (uint32_t i = 0; i < list.n; i++)
		policies = document_append(policies, json_string(generation_view_policy_name(
							     &g->in_force, list.number[i])));
	if (r == 0)
		r = read_options(g, &list, &options);
	o = json_pack("{s:{s:o, s:I, s:b, s:b, s:o, s:o}}", "cgroup", "path", document_string(path),
		      "id", (json_int_t)id, "governed", list.n != 0, "left_out", list.left_out,
		      "policies", policies, "options", options);
	if (r == 0 && !o)
		r = -ENOMEM;
	if (r < 0)
		json_decref(o);
	else
		*ret = o;
	return r;
}

void overview_complain(int err, const char *pin_dir)
{
	if (err == -EACCES || err == -EPERM)
		log_error_errno(err, "Reading the kernel's maps needs root");
	else if (err == -EPROTO)
		log_error("What is pinned at %s is of another version of sockpol", pin_dir);
	else
		log_error_errno(err, "Cannot read what is in force at %s", pin_dir);
}
