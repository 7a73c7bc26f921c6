// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <errno.h>

#include <bpf/bpf.h>

#include "control.h"
#include "kernel.h"
#include "option.h"
#include "overview.h"

DEFINE_CLEANUP(json_t *, json_decref)

static void ask_agent(struct overview *o, const char *runtime_dir)
{
	_cleanup_(json_decref) json_t *reply = NULL;
	const char *message;

	if (control_call(runtime_dir, "status", &reply, &o->pid) < 0)
		return;
	message = json_string_value(json_object_get(reply, "message"));
	o->running = true;
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
	if (ret->on_cgroup)
		ret->cgroup_id = info.cgroup.cgroup_id;
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

static int read_failures(struct overview *o, const struct pins *pins)
{
	uint32_t n = pins_n_sources(pins);
	struct sp_failure key, next;
	uint64_t count;
	int r = pins_next_failure(pins, NULL, &next, &count);

	for (; r == 0; r = pins_next_failure(pins, &key, &next, &count)) {
		const struct sp_source *s = next.source < n ? &o->sources[next.source] : NULL;
		struct overview_policy *p = s ? find_policy(o, s->policy) : NULL;

		key = next;
		if (!p)
			continue;
		if (GROW(p->failed, p->n_failed) < 0)
			return -ENOMEM;
		p->failed[p->n_failed++] = (struct overview_failure){
			.source = next.source,
			.rule = s->rule,
			.option = next.option < OPTION_MAX ? option_table[next.option].name : "?",
			.error = -next.error,
			.count = count,
		};
	}
	return r == -ENOENT ? 0 : r;
}

/* A cgroup counts for every policy that applies to it. */
static int count_cgroup(struct overview *o, const struct pins *pins, uint64_t id)
{
	struct sp_policy policy;
	uint32_t index, source;
	int r = pins_cgroup(pins, id, &index);

	if (r < 0 || !index)
		return r;
	o->n_governed++;
	r = pins_policy(pins, index, &policy);
	for (uint32_t i = 0; r == 0 && i < policy.n_members; i++) {
		struct overview_policy *p;

		r = pins_credit(pins, policy.first_member + i, &source);
		if (r < 0 || source >= pins_n_sources(pins))
			break;
		p = find_policy(o, o->sources[source].policy);
		if (p)
			p->cgroups++;
	}
	return r;
}

static int count_cgroups(struct overview *o, const struct pins *pins)
{
	uint64_t id, next;
	int r = pins_next_cgroup(pins, NULL, &next);

	while (r == 0) {
		id = next;
		r = count_cgroup(o, pins, id);
		if (r == 0)
			r = pins_next_cgroup(pins, &id, &next);
	}
	return r == -ENOENT ? 0 : r;
}

int overview_read(const char *pin_dir, const char *runtime_dir, const struct pins *pins,
		  struct overview *ret)
{
	struct overview o = { 0 };
	int r;

	ask_agent(&o, runtime_dir);
	r = pins_state(pins, &o.state);
	if (r == 0)
		r = read_links(&o, pin_dir);
	if (r == 0)
		r = read_sources(&o, pins);
	if (r == 0)
		r = read_failures(&o, pins);
	if (r == 0)
		r = count_cgroups(&o, pins);
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
	free(o->verdict);
	*o = (struct overview){ 0 };
}
