// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <errno.h>
#include <sys/stat.h>

#include <bpf/bpf.h>

#include "control.h"
#include "kernel.h"
#include "option.h"
#include "overview.h"

DEFINE_CLEANUP(json_t *, json_decref)

#define PATIENCE_SECONDS 2u /* the maps can be read without it */

/* A path may have several names, so the agent names the directory by its numbers, too. */
static bool same_pins(const json_t *reply, const char *pin_dir)
{
	const json_t *device = json_object_get(reply, "pin_dir_device"),
		     *inode = json_object_get(reply, "pin_dir_inode");
	struct stat st;

	return !device || !inode || stat(pin_dir, &st) < 0 ||
	       (json_integer_value(device) == (json_int_t)st.st_dev &&
		json_integer_value(inode) == (json_int_t)st.st_ino);
}

static void ask_agent(struct overview *o, const char *pin_dir, const char *runtime_dir)
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

static struct overview_policy *find_policy(const struct overview *o, const char *name)
{
	for (size_t i = 0; i < o->n_policies; i++)
		if (streq(o->policies[i].name, name))
			return &o->policies[i];
	return NULL;
}

static int add_source(struct overview *o, const struct pins *pins, uint32_t id)
{
	const struct sp_source *s = &o->sources[id];
	struct overview_policy *p = find_policy(o, s->policy);
	uint64_t applied;
	int r = pins_applied(pins, id, &applied);

	if (r < 0)
		return r;
	if (!p) {
		if (GROW(o->policies, o->n_policies) < 0)
			return -ENOMEM;
		p = &o->policies[o->n_policies++];
		*p = (struct overview_policy){ .name = s->policy };
	}
	if (!s->rule[0]) {
		p->applied = applied;
		p->by_events = s->flags & SP_SOURCE_BY_EVENTS;
		return 0;
	}
	if (GROW(p->rules, p->n_rules) < 0)
		return -ENOMEM;
	p->rules[p->n_rules++] = (struct overview_rule){ s->rule, applied };
	return 0;
}

static int by_name(const void *a, const void *b)
{
	const struct overview_policy *x = a, *y = b;

	return strcmp(x->name, y->name);
}

static int read_sources(struct overview *o, const struct pins *pins)
{
	uint32_t n = pins_n_sources(pins);

	o->sources = calloc(n, sizeof(*o->sources));
	if (!o->sources)
		return -ENOMEM;
	for (uint32_t id = 1; id < n; id++) {
		int r = pins_source(pins, id, &o->sources[id]);

		if (r == 0)
			r = add_source(o, pins, id);
		if (r < 0 && r != -ENOENT)
			return r;
	}
	if (o->n_policies)
		qsort(o->policies, o->n_policies, sizeof(*o->policies), by_name);
	return 0;
}

/* What goes over the maps' elements. */
struct reading {
	struct overview *o;
	const struct pins *pins;
};

static int add_failure(const struct sp_failure *failure, uint64_t count, void *userdata)
{
	const struct reading *reading = userdata;
	struct overview *o = reading->o;
	uint32_t n = pins_n_sources(reading->pins);
	const struct sp_source *s = failure->source < n ? &o->sources[failure->source] : NULL;
	struct overview_policy *p = s ? find_policy(o, s->policy) : NULL;

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

/* A cgroup counts for every policy that applies to it. */
static int count_cgroup(uint64_t id, uint32_t index, void *userdata)
{
	const struct reading *reading = userdata;
	struct overview *o = reading->o;
	struct sp_policy policy;
	struct sp_credit member;
	int r;

	(void)id;
	if (!index)
		return 0;
	o->n_governed++;
	r = pins_policy(reading->pins, index, &policy);
	for (uint32_t i = 0; r == 0 && i < policy.n_members; i++) {
		struct overview_policy *p;

		r = pins_credit(reading->pins, policy.first_member + i, &member);
		if (r < 0 || member.source >= pins_n_sources(reading->pins))
			break;
		p = find_policy(o, o->sources[member.source].policy);
		if (p)
			p->cgroups++;
	}
	return r;
}

int overview_read(const char *pin_dir, const char *runtime_dir, const struct pins *pins,
		  struct overview *ret)
{
	struct overview o = { 0 };
	struct reading reading = { &o, pins };
	int r;

	ask_agent(&o, pin_dir, runtime_dir);
	r = pins_state(pins, &o.state);
	if (r == 0)
		r = read_links(&o, pin_dir);
	if (r == 0)
		r = read_neighbours(&o);
	if (r == 0)
		r = read_sources(&o, pins);
	if (r == 0)
		r = pins_each_failure(pins, add_failure, &reading);
	if (r == 0)
		r = pins_each_cgroup(pins, count_cgroup, &reading);
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
	free(o->neighbours);
	free(o->verdict);
	free(o->other_pins);
	*o = (struct overview){ 0 };
}
