// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <errno.h>
#include <sys/stat.h>

#include <bpf/bpf.h>

#include "daemon/control.h"
#include "kernel/kernel.h"
#include "base/log.h"
#include "option/option.h"
#include "report/overview.h"

DEFINE_CLEANUP(json_t *, json_decref)

#define PATIENCE_SECONDS 2u /* the maps can be read without it */

/* A path may have several names, so the agent names the directory by its numbers, too. */
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

void overview_ask(struct overview *o, const char *pin_dir, const char *runtime_dir)
{
	_cleanup_(json_decref) json_t *reply = NULL;
	int r = control_call(runtime_dir, "status", PATIENCE_SECONDS, &reply, &o->pid);
	const char *message, *pins;

	o->running = r == 0 || r == -ETIMEDOUT;
	if (r < 0 || !json_is_true(json_object_get(reply, "ok")))
		return;
	if (!same_pins(reply, pin_dir)) {
		pins = json_string_value(json_object_get(reply, "pin_dir"));
		o->running = false;
		o->other_pins = strdup(pins ? pins : "?");
		return;
	}
	message = json_string_value(json_object_get(reply, "message"));
	o->answers = true;
	o->verdict = message ? strdup(message) : NULL;
	o->degraded = json_is_true(json_object_get(reply, "degraded"));
	o->unsupported = json_incref(json_object_get(reply, "unsupported"));
	o->pins_lost = (uint64_t)json_integer_value(json_object_get(reply, "pins_lost"));
}

static int read_link(const char *pin_dir, const char *name, struct overview_link *ret)
{
	_cleanup_free_ char *path = NULL;
	_cleanup_close_ int fd = -1;
	struct bpf_link_info info = { 0 };
	__u32 size = sizeof(info);

	if (asprintf(&path, "%s/%s", pin_dir, name) < 0)
		return -ENOMEM;
	fd = bpf_obj_get(path);
	if (fd < 0 || bpf_obj_get_info_by_fd(fd, &info, &size) < 0)
		return -errno;
	*ret = (struct overview_link){ .hook = name,
				       .link_id = info.id,
				       .program_id = info.prog_id };
	ret->on_cgroup = info.type == BPF_LINK_TYPE_CGROUP;
	if (ret->on_cgroup) {
		ret->cgroup_id = info.cgroup.cgroup_id;
		ret->attach_type = info.cgroup.attach_type;
	}
	return 0;
}

static int read_links(struct overview *o, const char *pin_dir)
{
	o->links = calloc(n_kernel_link_names, sizeof(*o->links));
	if (!o->links)
		return -ENOMEM;
	for (size_t i = 0; i < n_kernel_link_names; i++) {
		int r = read_link(pin_dir, kernel_link_names[i], &o->links[o->n_links]);

		if (r == 0)
			o->n_links++;
		else if (r != -ENOENT)
			return r;
	}
	return 0;
}

static int read_neighbours(struct overview *o)
{
	_cleanup_free_ struct own_program *own = calloc(n_kernel_link_names, sizeof(*own));
	size_t n = 0;
	int r;

	if (!own)
		return -ENOMEM;
	for (size_t i = 0; i < o->n_links; i++) {
		const struct overview_link *l = &o->links[i];

		if (l->on_cgroup && l->cgroup_id)
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

/* Sources come by the names of their policies. */
static int add_source(struct overview *o, const struct pins *pins, uint32_t id)
{
	const struct sp_source *s = &o->sources[id];
	struct overview_policy *p = o->n_policies ? &o->policies[o->n_policies - 1] : NULL;
	uint64_t applied;
	int r = pins_applied(pins, id, &applied);

	if (r < 0)
		return r;
	if (!p || !streq(p->name, s->policy)) {
		if (GROW(o->policies, o->n_policies) < 0)
			return -ENOMEM;
		p = &o->policies[o->n_policies++];
		*p = (struct overview_policy){ .name = s->policy };
	}
	if (!s->rule[0]) {
		p->applied = applied;
		p->by_events = s->flags & SP_SOURCE_BY_EVENTS;
		p->cut = s->flags & SP_SOURCE_CUT;
		return 0;
	}
	if (GROW(p->rules, p->n_rules) < 0)
		return -ENOMEM;
	p->rules[p->n_rules++] = (struct overview_rule){ s->rule, applied };
	return 0;
}

static int by_policy_then_id(const void *a, const void *b, void *sources)
{
	const uint32_t *x = a, *y = b;
	const struct sp_source *s = sources;
	int order = strcmp(s[*x].policy, s[*y].policy);

	return order ? order : (*x > *y) - (*x < *y);
}

static int keep_source(uint32_t id, const struct sp_source *source, void *userdata)
{
	struct overview *o = userdata;

	o->sources[id] = *source;
	o->n_sources++;
	return 0;
}

static int read_sources(struct overview *o, const struct pins *pins)
{
	uint32_t n = pins_n_sources(pins);
	_cleanup_free_ uint32_t *ids = calloc(n, sizeof(*ids));
	size_t n_ids = 0;
	int r;

	o->sources = calloc(n, sizeof(*o->sources));
	if (!o->sources || !ids)
		return -ENOMEM;
	r = pins_each_source(pins, keep_source, o);
	for (uint32_t id = 1; id < n; id++)
		if (o->sources[id].policy[0])
			ids[n_ids++] = id;
	if (n_ids)
		qsort_r(ids, n_ids, sizeof(*ids), by_policy_then_id, o->sources);
	for (size_t i = 0; i < n_ids && r == 0; i++)
		r = add_source(o, pins, ids[i]);
	return r;
}

/* What goes over the maps' elements. */
struct reading {
	struct overview *o;
	const struct pins *pins;
	uint64_t *cgroups; /* by policy index: those that it governs */
	uint32_t n_indices;
};

static int add_failure(const struct sp_failure *failure, uint64_t count, void *userdata)
{
	const struct reading *reading = userdata;
	struct overview *o = reading->o;
	uint32_t n = pins_n_sources(reading->pins);
	const struct sp_source *s = failure->source < n ? &o->sources[failure->source] : NULL;
	struct overview_policy *p = s ? find_policy(o, s->policy) : NULL;

	o->n_failures++;
	if (!p)
		return 0;
	if (GROW(p->failed, p->n_failed) < 0)
		return -ENOMEM;
	p->failed[p->n_failed++] = (struct overview_failure){
		.source = failure->source,
		.rule = s->rule,
		.option = failure->option < OPTION_MAX ? option_table[failure->option].name : "?",
		.error = -failure->error,
		.count = count,
	};
	return 0;
}

static int count_cgroup(uint64_t id, uint32_t index, void *userdata)
{
	const struct reading *reading = userdata;

	(void)id;
	reading->o->n_entries++;
	if (!index || index >= reading->n_indices)
		return 0;
	reading->o->n_governed++;
	reading->cgroups[index]++;
	return 0;
}

/* A cgroup counts for every policy that applies to it. */
static int credit_policies(const struct reading *reading, uint32_t index)
{
	const struct overview *o = reading->o;
	struct sp_policy policy;
	struct sp_credit member;
	int r = pins_policy(reading->pins, index, &policy);

	for (uint32_t i = 0; r == 0 && i < policy.n_members; i++) {
		struct overview_policy *p;

		r = pins_credit(reading->pins, policy.first_member + i, &member);
		if (r < 0 || member.source >= pins_n_sources(reading->pins))
			break;
		p = find_policy(o, o->sources[member.source].policy);
		if (p)
			p->cgroups += reading->cgroups[index];
	}
	return r;
}

/* Many cgroups share an effective policy: each of those is looked at once. */
static int count_cgroups(struct overview *o, const struct pins *pins)
{
	uint32_t n = pins_map_size(pins, KERNEL_MAP_POLICIES);
	_cleanup_free_ uint64_t *cgroups = calloc(n, sizeof(*cgroups));
	struct reading reading = { o, pins, cgroups, n };
	int r = cgroups ? pins_each_cgroup(pins, count_cgroup, &reading) : -ENOMEM;

	for (uint32_t index = 1; r == 0 && index < n; index++)
		if (cgroups[index])
			r = credit_policies(&reading, index);
	return r;
}

static int read_pins(struct overview *o, const char *pin_dir, const struct pins *pins)
{
	struct reading reading = { .o = o, .pins = pins };
	int r = pins_state(pins, &o->state);

	if (r == 0)
		r = read_links(o, pin_dir);
	if (r == 0)
		r = read_neighbours(o);
	if (r == 0)
		r = read_sources(o, pins);
	if (r == 0)
		r = pins_each_failure(pins, add_failure, &reading);
	if (r < 0)
		return r;
	o->room_cgroups = pins_map_size(pins, KERNEL_MAP_CGROUPS);
	o->room_failures = pins_map_size(pins, KERNEL_MAP_FAILURES);
	o->room_sources = pins_map_size(pins, KERNEL_MAP_SOURCES) - 1; /* 0 is never used */
	return count_cgroups(o, pins);
}

int overview_read(const char *pin_dir, const char *runtime_dir, const struct pins *pins,
		  struct overview *ret)
{
	struct overview o = { 0 };
	int r = 0;

	if (runtime_dir)
		overview_ask(&o, pin_dir, runtime_dir);
	if (pins)
		r = read_pins(&o, pin_dir, pins);
	if (r < 0)
		overview_clear(&o);
	else
		*ret = o;
	return r;
}

void overview_clear(struct overview *o)
{
	for (size_t i = 0; i < o->n_policies; i++) {
		free(o->policies[i].rules);
		free(o->policies[i].failed);
	}
	free(o->policies);
	free(o->sources);
	free(o->links);
	neighbours_free(o->neighbours, o->n_neighbours);
	json_decref(o->unsupported);
	free(o->verdict);
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
