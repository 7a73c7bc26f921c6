// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <errno.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "kernel/kernel.h"
#include "kernel/map_contents.h"
#include "kernel/pin_owner.h"
#include "kernel/pins.h"

struct pins {
	int maps[KERNEL_MAP_MAX];
	uint32_t sizes[KERNEL_MAP_MAX]; /* elements */
	uint64_t generation;
};

static int open_map(const char *pin_dir, enum kernel_map map)
{
	_cleanup_free_ char *path = NULL;
	int fd;

	if (asprintf(&path, "%s/%s", pin_dir, kernel_map_names[map]) < 0)
		return -ENOMEM;
	fd = bpf_obj_get(path);
	return fd < 0 ? -errno : fd;
}

/* What userspace believes of a map's layout must be so before it reads a value into a structure. */
static int check_map(int fd, enum kernel_map map, struct bpf_map_info *ret)
{
	__u32 size = sizeof(*ret);

	memset(ret, 0, sizeof(*ret));
	if (bpf_obj_get_info_by_fd(fd, ret, &size) < 0)
		return -errno;
	return ret->value_size == map_shapes[map].value_size ? 0 : -EPROTO;
}

static int pins_new(struct pins **ret)
{
	struct pins *p = calloc(1, sizeof(*p));

	if (!p)
		return -ENOMEM;
	memset(p->maps, -1, sizeof(p->maps));
	*ret = p;
	return 0;
}

static int add_map(struct pins *p, const char *pin_dir, enum kernel_map map)
{
	struct bpf_map_info info;
	int r;

	p->maps[map] = open_map(pin_dir, map);
	if (p->maps[map] < 0)
		return p->maps[map];
	r = check_map(p->maps[map], map, &info);
	p->sizes[map] = info.max_entries;
	return r;
}

int pins_open(const char *pin_dir, struct pins **ret)
{
	_cleanup_(pins_close) struct pins *p = NULL;
	struct sp_state state = { 0 };
	int r = pins_new(&p);

	for (int i = 0; i < KERNEL_MAP_MAX && r == 0; i++)
		r = add_map(p, pin_dir, i);
	if (r == 0)
		r = pins_state(p, &state);
	if (r < 0)
		return r;
	if (state.abi_version != SP_ABI_VERSION)
		return -EPROTO;
	p->generation = state.generation;
	*ret = TAKE_PTR(p);
	return 0;
}

int pins_open_counters(const char *pin_dir, struct pins **ret)
{
	static const enum kernel_map maps[] = { KERNEL_MAP_SOURCES, KERNEL_MAP_APPLIED,
						KERNEL_MAP_FAILURES };
	_cleanup_(pins_close) struct pins *p = NULL;
	int r = pins_new(&p);

	for (size_t i = 0; i < ARRAY_SIZE(maps) && r == 0; i++)
		r = add_map(p, pin_dir, maps[i]);
	if (r == 0)
		*ret = TAKE_PTR(p);
	return r;
}

void pins_close(struct pins *p)
{
	for (int i = 0; i < KERNEL_MAP_MAX; i++)
		if (p->maps[i] >= 0)
			close(p->maps[i]);
	free(p);
}

static int look_up(const struct pins *p, enum kernel_map map, const void *key, void *ret)
{
	return bpf_map_lookup_elem(p->maps[map], key, ret) < 0 ? -errno : 0;
}

int pins_state(const struct pins *p, struct sp_state *ret)
{
	uint32_t zero = 0;

	return look_up(p, KERNEL_MAP_STATE, &zero, ret);
}

int pins_cgroup(const struct pins *p, uint64_t cgroup_id, uint32_t *ret_index)
{
	struct sp_cgroup c;
	int r = look_up(p, KERNEL_MAP_CGROUPS, &cgroup_id, &c);

	if (r < 0 && r != -ENOENT)
		return r;
	*ret_index = r < 0 ? 0 : c.policy[p->generation & 1];
	return 0;
}

int pins_each_cgroup(const struct pins *p, pins_cgroup_fn *fn, void *userdata)
{
	struct map_contents all = { 0 };
	int r = map_contents_read(p->maps[KERNEL_MAP_CGROUPS], &all);
	const struct sp_cgroup *cgroups = all.values;
	const uint64_t *ids = all.keys;

	for (size_t i = 0; r == 0 && i < all.n; i++)
		r = fn(ids[i], cgroups[i].policy[p->generation & 1], userdata);
	map_contents_clear(&all);
	return r;
}

int pins_policy(const struct pins *p, uint32_t index, struct sp_policy *ret)
{
	return look_up(p, KERNEL_MAP_POLICIES, &index, ret);
}

int pins_op(const struct pins *p, uint32_t index, struct sp_op *ret)
{
	return look_up(p, KERNEL_MAP_OPS, &index, ret);
}

int pins_credit(const struct pins *p, uint32_t index, struct sp_credit *ret)
{
	return look_up(p, KERNEL_MAP_CREDITS, &index, ret);
}

static void terminate_names(struct sp_source *s)
{
	s->policy[sizeof(s->policy) - 1] = '\0';
	s->rule[sizeof(s->rule) - 1] = '\0';
}

int pins_source(const struct pins *p, uint32_t id, struct sp_source *ret)
{
	struct sp_source source;
	int r = look_up(p, KERNEL_MAP_SOURCES, &id, &source);

	if (r < 0)
		return r;
	if (!source.policy[0])
		return -ENOENT;
	terminate_names(&source);
	*ret = source;
	return 0;
}

int pins_each_source(const struct pins *p, pins_source_fn *fn, void *userdata)
{
	struct map_contents all = { 0 };
	int r = map_contents_read(p->maps[KERNEL_MAP_SOURCES], &all);
	struct sp_source *sources = all.values;
	const uint32_t *ids = all.keys;

	for (size_t i = 0; r == 0 && i < all.n; i++) {
		if (!sources[i].policy[0])
			continue;
		terminate_names(&sources[i]);
		r = fn(ids[i], &sources[i], userdata);
	}
	map_contents_clear(&all);
	return r;
}

uint32_t pins_n_sources(const struct pins *p)
{
	return pins_map_size(p, KERNEL_MAP_SOURCES);
}

uint32_t pins_map_size(const struct pins *p, enum kernel_map map)
{
	return p->sizes[map];
}

int pins_applied(const struct pins *p, uint32_t source, uint64_t *ret)
{
	int n = libbpf_num_possible_cpus();
	_cleanup_free_ sp_applied_t *counts = n > 0 ? calloc((size_t)n, sizeof(*counts)) : NULL;
	uint64_t sum = 0;
	int r;

	if (!counts)
		return n < 0 ? n : -ENOMEM;
	r = look_up(p, KERNEL_MAP_APPLIED, &source, counts);
	if (r < 0)
		return r;
	for (int i = 0; i < n; i++)
		sum += counts[i];
	*ret = sum;
	return 0;
}

int pins_each_failure(const struct pins *p, pins_failure_fn *fn, void *userdata)
{
	struct map_contents all = { 0 };
	int r = map_contents_read(p->maps[KERNEL_MAP_FAILURES], &all);
	const struct sp_failure *failures = all.keys;
	const uint64_t *counts = all.values;

	for (size_t i = 0; r == 0 && i < all.n; i++)
		r = fn(&failures[i], counts[i], userdata);
	map_contents_clear(&all);
	return r;
}
