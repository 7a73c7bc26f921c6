// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <errno.h>
#include <sys/stat.h>

#include "base/control_call.h"
#include "base/log.h"
#include "kernel/pin.h"
#include "option/option.h"
#include "policy/hook.h"
#include "report/governed.h"
#include "report/overview.h"

DEFINE_CLEANUP(json_t *, json_decref)

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

static char *text_of(const json_t *reply, const char *key)
{
	const char *text = json_string_value(json_object_get(reply, key));

	return text ? strdup(text) : NULL;
}

void overview_ask(struct overview *o, const char *pin_dir, const char *runtime_dir)
{
	_cleanup_(json_decref) json_t *reply = NULL;
	int r = control_call(runtime_dir, "status", PATIENCE_SECONDS, &reply, &o->pid);
	const char *pins;

	o->running = r == 0 || r == -ETIMEDOUT || r == -EBADMSG;
	if (r < 0 || !json_is_true(json_object_get(reply, "ok")))
		return;
	if (!same_pins(reply, pin_dir)) {
		pins = json_string_value(json_object_get(reply, "pin_dir"));
		o->running = false;
		o->other_pins = strdup(pins ? pins : "?");
		return;
	}
	o->answers = true;
	o->verdict = text_of(reply, "message");
	o->source = text_of(reply, "source");
	o->source_dir = text_of(reply, "source_dir");
	o->degraded = json_is_true(json_object_get(reply, "degraded"));
	o->unsupported = json_incref(json_object_get(reply, "unsupported"));
	o->pins_lost = (uint64_t)json_integer_value(json_object_get(reply, "pins_lost"));
}

static int read_link(const char *dir, const struct hook *hook, struct overview_link *ret)
{
	_cleanup_close_ int fd = pin_get(dir, hook->name, PIN_LINK);
	struct pin_link info;

	if (fd < 0)
		return fd;
	pin_link_info(fd, &info);
	*ret = (struct overview_link){
		.hook = hook->name,
		.link_id = info.id,
		.program_id = info.program_id,
		.attach_type = hook->attach_type,
		.cgroup_id = info.cgroup_id,
	};
	return 0;
}

static int read_links(struct overview *o, const char *pin_dir)
{
	_cleanup_free_ char *dir = pin_path(pin_dir, PIN_CURRENT);

	o->links = calloc(HOOK_MAX, sizeof(*o->links));
	if (!dir || !o->links)
		return -ENOMEM;
	for (size_t i = 0; i < HOOK_MAX; i++) {
		int r = read_link(dir, &hook_table[i], &o->links[o->n_links]);

		if (r == 0)
			o->n_links++;
		else if (r != -ENOENT)
			return r;
	}
	return 0;
}

static int read_neighbours(struct overview *o)
{
	struct own_program own[HOOK_MAX];
	size_t n = 0;
	int r;

	for (size_t i = 0; i < o->n_links; i++) {
		const struct overview_link *l = &o->links[i];

		if (l->cgroup_id)
			own[n++] = (struct own_program){ l->hook, l->attach_type, l->program_id };
	}
	r = n ? neighbours_read(o->state.cgroup_root_id, own, n, &o->neighbours, &o->n_neighbours)
	      : 0;
	return r == -ENOENT ? 0 : r; /* the cgroup is gone: nothing runs there at all */
}

static int by_name(const void *name, const void *policy)
{
	return strcmp(name, ((const struct overview_policy *)policy)->name);
}

static struct overview_policy *find_policy(const struct overview *o, const char *name)
{
	if (!o->n_policies)
		return NULL;
	return bsearch(name, o->policies, o->n_policies, sizeof(*o->policies), by_name);
}

/* Adds a counter.  They come sorted by the names of their policies. */
static int add_named(struct overview *o, const struct overview_counter *c)
{
	struct overview_policy *p = o->n_policies ? &o->policies[o->n_policies - 1] : NULL;

	if (!p || !streq(p->name, c->whose.policy)) {
		if (GROW(o->policies, o->n_policies) < 0)
			return -ENOMEM;
		p = &o->policies[o->n_policies++];
		*p = (struct overview_policy){ .name = c->whose.policy };
	}
	if (!c->whose.rule[0]) {
		p->applied = c->applied;
		return 0;
	}
	if (GROW(p->rules, p->n_rules) < 0)
		return -ENOMEM;
	p->rules[p->n_rules++] = (struct overview_rule){ c->whose.rule, c->applied };
	return 0;
}

static int by_policy_then_index(const void *a, const void *b)
{
	const struct overview_counter *x = a, *y = b;
	int order = strcmp(x->whose.policy, y->whose.policy);

	return order ? order : (x->index > y->index) - (x->index < y->index);
}

static int keep_counter(uint32_t index, const struct sp_counter *whose, uint64_t applied,
			void *userdata)
{
	struct overview *o = userdata;

	if (GROW(o->counters, o->n_counters) < 0)
		return -ENOMEM;
	o->counters[o->n_counters++] = (struct overview_counter){ index, *whose, applied };
	return 0;
}

static int read_counters(struct overview *o, const struct pinned *p)
{
	int r = pinned_each_counter(p, keep_counter, o);

	if (o->n_counters)
		qsort(o->counters, o->n_counters, sizeof(*o->counters), by_policy_then_index);
	for (size_t i = 0; i < o->n_counters && r == 0; i++)
		r = add_named(o, &o->counters[i]);
	return r;
}

static int add_failure(const struct sp_failure *failure, uint64_t count, void *userdata)
{
	struct overview *o = userdata;
	const struct overview_counter *c;
	struct overview_policy *p;
	size_t i = 0;

	o->n_failures++;
	while (i < o->n_counters && o->counters[i].index != failure->counter)
		i++;
	if (i == o->n_counters)
		return 0;
	c = &o->counters[i];
	p = find_policy(o, c->whose.policy);
	if (GROW(p->failed, p->n_failed) < 0)
		return -ENOMEM;
	p->failed[p->n_failed++] = (struct overview_failure){
		.rule = c->whose.rule,
		.option = failure->option < OPTION_MAX ? option_table[failure->option].name : "?",
		.error = -failure->error,
		.count = count,
	};
	return 0;
}

static int read_pinned(struct overview *o, const char *pin_dir, const struct pinned *p)
{
	int r = pinned_state(p, &o->state);

	if (r == 0)
		r = read_links(o, pin_dir);
	if (r == 0)
		r = read_neighbours(o);
	if (r == 0)
		r = read_counters(o, p);
	if (r == 0)
		r = pinned_each_failure(p, add_failure, o);
	o->room_failures = pinned_map_room(p, MAP_ID_failures);
	o->room_counters = pinned_map_room(p, MAP_ID_counters);
	return r;
}

int overview_count_cgroups(struct overview *o, const char *pin_dir, bool only_overridden)
{
	_cleanup_(generations_close) struct generations *g = NULL;
	struct governed governed;
	int r = generations_open(pin_dir, NULL, &g, NULL, NULL);

	if (r < 0 || (only_overridden && !governed_may_be_overridden(g)))
		return r;
	r = governed_read(g, &governed);
	if (r < 0)
		return r;
	for (uint32_t i = 1; i < governed.n; i++) {
		struct overview_policy *p =
			find_policy(o, generation_view_policy_name(&g->in_force, i));

		if (!p) /* it came meanwhile */
			continue;
		p->n_cgroups = governed.v[i].n_cgroups;
		p->is_overridden = governed_is_overridden(&governed.v[i]);
	}
	o->has_cgroups = !only_overridden;
	o->n_cgroups = governed.n_cgroups;
	o->n_governed = governed.n_governed;
	governed_clear(&governed);
	return 0;
}

int overview_read(const char *pin_dir, const char *runtime_dir, const struct pinned *p,
		  struct overview *ret)
{
	struct overview o = { 0 };
	int r = 0;

	if (runtime_dir)
		overview_ask(&o, pin_dir, runtime_dir);
	if (p)
		r = read_pinned(&o, pin_dir, p);
	if (r < 0)
		overview_clear(&o);
	else
		*ret = o;
	return r;
}

char *overview_name_policies(const struct overview *o)
{
	const size_t more = o->n_policies > NAMED_MAX ? o->n_policies - NAMED_MAX : 0;
	size_t size;
	char *text = NULL;
	FILE *to = open_memstream(&text, &size);

	if (!to)
		return NULL;
	for (size_t i = 0; i < o->n_policies - more; i++)
		fprintf(to, "%s%s", i ? ", " : "", o->policies[i].name);
	if (more)
		fprintf(to, " and %zu more", more);
	if (o->n_policies == 0)
		fprintf(to, "no policy");
	if (fclose(to) == 0)
		return text;
	free(text);
	return NULL;
}

void overview_clear(struct overview *o)
{
	for (size_t i = 0; i < o->n_policies; i++) {
		free(o->policies[i].rules);
		free(o->policies[i].failed);
	}
	free(o->policies);
	free(o->counters);
	free(o->links);
	neighbours_free(o->neighbours, o->n_neighbours);
	json_decref(o->unsupported);
	free(o->verdict);
	free(o->source);
	free(o->source_dir);
	free(o->other_pins);
	*o = (struct overview){ 0 };
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
