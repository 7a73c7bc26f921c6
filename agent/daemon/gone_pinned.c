// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <errno.h>
#include <unistd.h>

#include <bpf/bpf.h>

#include "host/cgroup.h"
#include "daemon/governor_impl.h"
#include "base/log.h"
#include "kernel/map_contents.h"
#include "kernel/pin.h"
#include "kernel/pin_dir.h"
#include "kernel/pin_owner.h"

/* Entries that an earlier agent pinned. */
struct pinned {
	struct gone_maps names; /* descriptors */
	int cgroups;		/* one more */
	struct map_contents entries;
	unsigned half; /* in force */
};

static void pinned_clear(struct pinned *p)
{
	const int maps[] = { p->names.policies, p->names.credits, p->names.sources, p->cgroups };

	for (size_t i = 0; i < ARRAY_SIZE(maps); i++)
		if (maps[i] >= 0)
			close(maps[i]);
	map_contents_clear(&p->entries);
}

/* A map as it is, of whatever version. */
static int open_any(const char *dir, enum kernel_map map, struct bpf_map_info *ret)
{
	_cleanup_free_ char *path = pin_path(dir, kernel_map_names[map]);
	_cleanup_close_ int fd = -1;
	__u32 size = sizeof(*ret);
	int r;

	if (!path)
		return -ENOMEM;
	r = pin_owner_of_map(path, map, pin_owner_abi(dir));
	if (r < 0)
		return r;
	if (r != PIN_OURS)
		return -EPROTO;
	fd = bpf_obj_get(path);
	if (fd < 0)
		return -errno;
	memset(ret, 0, sizeof(*ret));
	return bpf_obj_get_info_by_fd(fd, ret, &size) < 0 ? -errno : TAKE_FD(fd);
}

/* Outside of a reload both halves say the same, so that without a state either does. */
static int read_state(struct pinned *p, const char *dir, uint64_t cgroup_root_id)
{
	struct bpf_map_info info = { 0 };
	_cleanup_close_ int fd = open_any(dir, KERNEL_MAP_STATE, &info);
	_cleanup_free_ char *value = NULL;
	struct sp_state state = { 0 };
	const uint32_t zero = 0;

	if (fd < 0 || !info.value_size)
		return fd == -ENOMEM ? fd : 0;
	value = calloc(1, info.value_size);
	if (!value)
		return -ENOMEM;
	if (bpf_map_lookup_elem(fd, &zero, value) < 0)
		return -errno;
	/* is_state() saw that there is as much. */
	memcpy(&state, value, offsetof(struct sp_state, abi_version) + sizeof(state.abi_version));
	p->half = state.generation & 1;
	if (state.cgroup_root_id == cgroup_root_id)
		return 0;
	/* Another version may have something else in that place. */
	return state.abi_version == SP_ABI_VERSION ? -ENOENT : -EPROTO;
}

static int read_entries(struct pinned *p, const char *dir)
{
	struct bpf_map_info info = { 0 };

	p->cgroups = open_any(dir, KERNEL_MAP_CGROUPS, &info);
	if (p->cgroups < 0)
		return p->cgroups;
	if (info.key_size != sizeof(uint64_t) || info.value_size != sizeof(struct sp_cgroup))
		return -EPROTO;
	return map_contents_read(p->cgroups, &p->entries);
}

static int open_names(struct pinned *p, const char *dir)
{
	p->names.policies = pin_owner_open_map(dir, KERNEL_MAP_POLICIES);
	if (p->names.policies < 0)
		return p->names.policies;
	p->names.credits = pin_owner_open_map(dir, KERNEL_MAP_CREDITS);
	if (p->names.credits < 0)
		return p->names.credits;
	p->names.sources = pin_owner_open_map(dir, KERNEL_MAP_SOURCES);
	return p->names.sources < 0 ? p->names.sources : 0;
}

static uint32_t policy_of(const struct pinned *p, size_t i)
{
	const struct sp_cgroup *entries = p->entries.values;

	return entries[i].policy[p->half];
}

static bool is_released(const struct pinned *p, uint64_t id)
{
	struct sp_cgroup value;

	return bpf_map_lookup_elem(p->cgroups, &id, &value) < 0;
}

/* Of what is governed: ids that have no directory, wherever; 0 in the place of others. */
static int find_gone(const struct governor *g, const struct pinned *p, uint64_t *ids)
{
	size_t n = p->entries.n;
	const uint64_t *all = p->entries.keys;
	_cleanup_free_ char **paths = calloc(n + 1, sizeof(*paths));
	bool any = false;
	int r = 0;

	if (!paths)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++) {
		ids[i] = policy_of(p, i) && !tree_find(g->tree, all[i]) ? all[i] : 0;
		any |= ids[i] != 0;
	}
	if (any)
		r = cgroup_paths_of_ids(g->mount, ids, n, paths);
	for (size_t i = 0; i < n; i++) {
		if (paths[i] || is_released(p, all[i]))
			ids[i] = 0;
		free(paths[i]);
	}
	return r;
}

/* -ENOMEM: the tree has no room for it; other failures: its policies cannot be told. */
static int take_one(struct governor *g, const struct pinned *p, size_t i)
{
	const uint64_t *ids = p->entries.keys;
	struct node *n;
	int r = gone_add(&g->gone, ids[i], &p->names, policy_of(p, i));

	if (r == 0)
		r = tree_add_gone(g->tree, ids[i], &n);
	return r;
}

/* Without that program entries may be left of cgroups that the kernel has released. */
static bool is_watched(const char *dir)
{
	_cleanup_free_ char *path = pin_path(dir, "cgroup_release");

	return path && access(path, F_OK) == 0;
}

static int take_all(struct governor *g, const struct pinned *p, bool can_be)
{
	_cleanup_free_ uint64_t *ids = calloc(p->entries.n + 1, sizeof(*ids));
	size_t n_lost = 0;
	int r = ids ? find_gone(g, p, ids) : -ENOMEM;

	for (size_t i = 0; i < p->entries.n && r == 0; i++)
		n_lost += ids[i] && (!can_be || take_one(g, p, i) < 0);
	if (n_lost)
		log_warning("%zu removed cgroups may have sockets still, which nothing governs any "
			    "more: what is pinned does not tell which policies applied to them",
			    n_lost);
	return r;
}

/* What is made or released from here on, our own programs tell. */
static int catch_up(struct governor *g)
{
	int r = kernel_wait_for_programs(g->kernel);

	return r < 0 ? r : governor_process_events(g);
}

/* -ENOENT: nothing there governs anything below our root. */
static int take(struct governor *g, struct pinned *p, const char *dir)
{
	int r = read_state(p, dir, tree_root(g->tree)->id);

	if (r == 0)
		r = read_entries(p, dir);
	if (r == 0)
		r = catch_up(g);
	return r < 0 ? r : take_all(g, p, is_watched(dir) && open_names(p, dir) == 0);
}

int governor_take_gone_pinned(struct governor *g, const char *pin_dir)
{
	struct pinned p = { .names = { -1, -1, -1 }, .cgroups = -1 };
	int r = pin_dir_has_some(pin_dir) ? take(g, &p, pin_dir) : -ENOENT;

	pinned_clear(&p);
	if (r == -ENOMEM) /* what is pinned stays in force */
		return log_oom();
	if (r < 0 && r != -ENOENT)
		log_warning_errno(r,
				  "Cannot tell which removed cgroups have sockets still: nothing "
				  "governs those any more");
	return 0;
}
