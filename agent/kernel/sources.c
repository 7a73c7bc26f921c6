// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <errno.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <uthash.h>

#include "base/log.h"
#include "kernel/map_contents.h"
#include "kernel/sources.h"

struct source {
	struct sp_source name; /* the key: zero-padded; without flags */
	uint32_t flags;
	uint32_t id;
	bool wanted;
	bool found; /* in the map that an earlier agent left, and no configuration came since */
	UT_hash_handle hh;
};

struct sources {
	const struct kernel *kernel;
	struct source *by_name;
	struct source **by_id;
	uint32_t n;    /* room in the map */
	uint32_t next; /* where to look for a free id first */
};

int sources_new(const struct kernel *k, struct sources **ret)
{
	_cleanup_(sources_free) struct sources *s = calloc(1, sizeof(*s));

	if (!s)
		return -ENOMEM;
	s->kernel = k;
	s->n = kernel_sizes_of(k)->sources;
	s->next = 1;
	s->by_id = calloc(s->n, sizeof(*s->by_id));
	if (!s->by_id)
		return -ENOMEM;
	*ret = TAKE_PTR(s);
	return 0;
}

void sources_free(struct sources *s)
{
	HASH_CLEAR(hh, s->by_name);
	for (uint32_t i = 0; s->by_id && i < s->n; i++)
		free(s->by_id[i]);
	free(s->by_id);
	free(s);
}

static void make_name(struct sp_source *ret, const struct policy *p, const struct rule *r)
{
	memset(ret, 0, sizeof(*ret));
	strncpy(ret->policy, p->name, sizeof(ret->policy) - 1);
	if (r)
		strncpy(ret->rule, r->name, sizeof(ret->rule) - 1);
}

static struct source *find(const struct sources *s, const struct sp_source *name)
{
	struct source *found;

	HASH_FIND(hh, s->by_name, name, sizeof(*name), found);
	return found;
}

static uint32_t free_id(const struct sources *s)
{
	for (uint32_t i = 0; i < s->n - 1; i++) {
		uint32_t id = 1 + (s->next - 1 + i) % (s->n - 1);

		if (!s->by_id[id])
			return id;
	}
	return 0;
}

static int write_source(const struct sources *s, uint32_t id, const struct sp_source *value)
{
	int fd = kernel_map_fd(s->kernel, KERNEL_MAP_SOURCES);

	return bpf_map_update_elem(fd, &id, value, BPF_ANY) < 0 ? -errno : 0;
}

static struct source *keep(struct sources *s, uint32_t id, const struct sp_source *name)
{
	struct source *source = calloc(1, sizeof(*source));

	if (!source)
		return NULL;
	source->name = *name;
	source->id = id;
	s->by_id[id] = source;
	HASH_ADD(hh, s->by_name, name, sizeof(source->name), source);
	return source;
}

static int add(struct sources *s, const struct policy *p, const struct rule *r)
{
	struct source *source;
	struct sp_source name;
	uint32_t id;
	int err;

	make_name(&name, p, r);
	source = find(s, &name);
	if (source) {
		source->wanted = true;
		return 0;
	}
	id = free_id(s);
	err = id ? write_source(s, id, &name) : -ENOSPC;
	if (err < 0)
		return err;
	source = keep(s, id, &name);
	if (!source)
		return -ENOMEM;
	source->wanted = true;
	s->next = id;
	return 0;
}

/* An id as an earlier agent gave it. */
static int find_again(struct sources *s, uint32_t id, const struct sp_source *value)
{
	struct sp_source name = { 0 };
	struct source *source;

	memcpy(name.policy, value->policy, sizeof(name.policy) - 1);
	memcpy(name.rule, value->rule, sizeof(name.rule) - 1);
	if (!id || id >= s->n || !*name.policy || find(s, &name))
		return 0;
	source = keep(s, id, &name);
	if (!source)
		return -ENOMEM;
	source->flags = value->flags;
	source->found = true;
	return 0;
}

int sources_read(struct sources *s)
{
	struct map_contents all = { 0 };
	int r = map_contents_read(kernel_map_fd(s->kernel, KERNEL_MAP_SOURCES), &all);
	const struct sp_source *values = all.values;
	const uint32_t *ids = all.keys;

	for (size_t i = 0; i < all.n && r == 0; i++)
		r = find_again(s, ids[i], &values[i]);
	map_contents_clear(&all);
	return r;
}

int sources_add_config(struct sources *s, const struct config *c)
{
	for (size_t i = 0; i < c->n_policies; i++) {
		const struct policy *p = &c->policies[i];
		int r = add(s, p, NULL);

		for (size_t j = 0; r == 0 && j < p->n_rules; j++)
			r = add(s, p, &p->rules[j]);
		if (r < 0)
			return r;
	}
	return 0;
}

uint32_t sources_needed(const struct config *c)
{
	size_t n = 1; /* 0 is no id */

	for (size_t i = 0; i < c->n_policies; i++)
		n += 1 + c->policies[i].n_rules;
	return (uint32_t)n;
}

uint32_t sources_id(const struct sources *s, const struct policy *p, const struct rule *r)
{
	struct sp_source name;
	const struct source *found;

	make_name(&name, p, r);
	found = find(s, &name);
	return found ? found->id : 0;
}

static void carry_applied(const struct sources *s, uint32_t id, uint64_t count)
{
	int fd = kernel_map_fd(s->kernel, KERNEL_MAP_APPLIED), n = libbpf_num_possible_cpus();
	_cleanup_free_ sp_applied_t *counts = n > 0 ? calloc((size_t)n, sizeof(*counts)) : NULL;

	if (!count || !counts || bpf_map_lookup_elem(fd, &id, counts) < 0)
		return;
	counts[0] += count;
	if (bpf_map_update_elem(fd, &id, counts, BPF_ANY) < 0)
		log_warning("Cannot carry the counter of source %u over, ignoring", id);
}

static void carry_failure(const struct sources *s, struct sp_failure key, uint32_t id,
			  uint64_t count)
{
	int fd = kernel_map_fd(s->kernel, KERNEL_MAP_FAILURES);
	uint64_t ours = 0;

	key.source = id;
	(void)bpf_map_lookup_elem(fd, &key, &ours);
	ours += count;
	if (bpf_map_update_elem(fd, &key, &ours, BPF_ANY) < 0)
		log_warning("Cannot carry the failures of source %u over, ignoring", id);
}

/* Our id for what has `id` in another agent's maps; 0: we have no such policy or rule. */
static uint32_t same_source(const struct sources *s, const struct pins *from, uint32_t id)
{
	struct sp_source name;
	const struct source *ours;

	if (pins_source(from, id, &name) < 0)
		return 0;
	ours = find(s, &name);
	return ours ? ours->id : 0;
}

struct carrying {
	const struct sources *to;
	const struct pins *from;
};

static int carry_one_failure(const struct sp_failure *failure, uint64_t count, void *userdata)
{
	const struct carrying *carrying = userdata;
	uint32_t ours = same_source(carrying->to, carrying->from, failure->source);

	if (ours)
		carry_failure(carrying->to, *failure, ours, count);
	return 0;
}

void sources_carry_counters(const struct sources *s, const struct pins *from)
{
	struct carrying carrying = { s, from };
	uint64_t count;
	int r;

	for (uint32_t id = 1; id < pins_n_sources(from); id++) {
		uint32_t ours = same_source(s, from, id);

		if (ours && pins_applied(from, id, &count) == 0)
			carry_applied(s, ours, count);
	}
	r = pins_each_failure(from, carry_one_failure, &carrying);
	if (r < 0)
		log_warning_errno(r, "Cannot read the failures counted so far, ignoring");
}

static void zero_applied(const struct sources *s, uint32_t id)
{
	int n = libbpf_num_possible_cpus();
	_cleanup_free_ sp_applied_t *zero = n > 0 ? calloc((size_t)n, sizeof(*zero)) : NULL;

	if (!zero || bpf_map_update_elem(kernel_map_fd(s->kernel, KERNEL_MAP_APPLIED), &id, zero,
					 BPF_ANY) < 0)
		log_warning("Cannot reset the counter of source %u, ignoring", id);
}

/* Failures of sources that have no name any more. */
static void drop_failures(const struct sources *s)
{
	int fd = kernel_map_fd(s->kernel, KERNEL_MAP_FAILURES);
	struct sp_failure key, next;
	bool more = bpf_map_get_next_key(fd, NULL, &next) == 0;

	while (more) {
		key = next;
		more = bpf_map_get_next_key(fd, &key, &next) == 0;
		if (key.source >= s->n || !s->by_id[key.source])
			bpf_map_delete_elem(fd, &key);
	}
}

static void drop(struct sources *s, struct source *source)
{
	static const struct sp_source none;

	if (write_source(s, source->id, &none) < 0)
		log_warning("Cannot clear source %u, ignoring", source->id);
	zero_applied(s, source->id);
	s->by_id[source->id] = NULL;
	HASH_DEL(s->by_name, source);
	free(source);
}

void sources_keep_only(struct sources *s, const struct config *c)
{
	struct source *source, *tmp;
	bool dropped = false;

	HASH_ITER (hh, s->by_name, source, tmp) {
		source->wanted = false;
		source->found &= !c;
	}
	if (c) /* they all have their ids: it only marks them */
		(void)sources_add_config(s, c);
	HASH_ITER (hh, s->by_name, source, tmp) {
		if (source->wanted || source->found)
			continue;
		drop(s, source);
		dropped = true;
	}
	if (dropped)
		drop_failures(s);
}

void sources_set_flags(struct sources *s, const struct policy *p, uint32_t flags)
{
	struct sp_source value;
	struct source *source;

	make_name(&value, p, NULL);
	source = find(s, &value);
	if (!source || source->flags == flags)
		return;
	value.flags = flags;
	if (write_source(s, source->id, &value) < 0)
		log_warning("Cannot mark policy %s, ignoring", p->name);
	else
		source->flags = flags;
}
