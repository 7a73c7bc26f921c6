// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <errno.h>
#include <fcntl.h>

#include <bpf/bpf.h>

#include "host/cgroup.h"
#include "kernel/neighbours.h"
#include "policy/hook.h"

_Static_assert(PROGRAM_NAME_SIZE == BPF_OBJ_NAME_LEN, "a program's name");

#define MAPS_MAX 32 /* that are looked at; a program of ours uses fewer */

static bool is_map_called(uint32_t id, const char *const *names, size_t n_names)
{
	struct bpf_map_info info = { 0 };
	__u32 size = sizeof(info);
	_cleanup_close_ int fd = bpf_map_get_fd_by_id(id);

	if (fd < 0 || bpf_obj_get_info_by_fd(fd, &info, &size) < 0)
		return false;
	for (size_t i = 0; i < n_names; i++)
		if (streq(info.name, names[i]))
			return true;
	return false;
}

/* Our hook by this name, or NULL. */
static const char *own_hook(const char *name)
{
	for (int i = 0; i < HOOK_MAX; i++)
		if (streq(name, hook_table[i].name))
			return hook_table[i].name;
	return NULL;
}

/*
 * A name alone says little: "connect4" is what many would call it.  But every program of ours, of
 * whatever version, uses two maps: what is known of cgroups, and the state.
 */
static bool is_sockpol(const char *name, const uint32_t *maps, uint32_t n_maps)
{
	static const char *const state[] = { "state" };
	static const char *const cgroups[] = { "cgroup_cache", "cgroups" };
	bool known = own_hook(name) != NULL, has_state = false, has_cgroups = false;

	for (uint32_t i = 0; known && i < n_maps && i < MAPS_MAX; i++) {
		has_state |= is_map_called(maps[i], state, ARRAY_SIZE(state));
		has_cgroups |= is_map_called(maps[i], cgroups, ARRAY_SIZE(cgroups));
	}
	return has_state && has_cgroups;
}

static void describe(struct neighbour *n)
{
	uint32_t maps[MAPS_MAX] = { 0 };
	struct bpf_prog_info info = { .nr_map_ids = MAPS_MAX, .map_ids = (__u64)(uintptr_t)maps };
	__u32 size = sizeof(info);
	_cleanup_close_ int fd = bpf_prog_get_fd_by_id(n->program_id);

	if (fd < 0 || bpf_obj_get_info_by_fd(fd, &info, &size) < 0)
		return;
	snprintf(n->name, sizeof(n->name), "%s", info.name);
	n->is_sockpol = is_sockpol(info.name, maps, info.nr_map_ids);
}

bool neighbours_is_sockpol(uint32_t program_id)
{
	struct neighbour n = { .program_id = program_id };

	describe(&n);
	return n.is_sockpol;
}

/* The programs of a hook, in their order; *ret: owned.  flags 0: those attached to the cgroup;
 * BPF_F_QUERY_EFFECTIVE: those that run for sockets in it. */
static int query(int cgroup_fd, uint32_t attach_type, uint32_t flags, uint32_t **ret,
		 uint32_t *ret_n)
{
	_cleanup_free_ uint32_t *ids = NULL;
	uint32_t room = 64;

	for (;;) {
		uint32_t n = room, *more = reallocarray(ids, room, sizeof(*ids));

		if (!more)
			return -ENOMEM;
		ids = more;
		if (bpf_prog_query(cgroup_fd, (enum bpf_attach_type)attach_type, flags, NULL, ids,
				   &n) == 0) {
			*ret = TAKE_PTR(ids);
			*ret_n = n;
			return 0;
		}
		if (errno != ENOSPC)
			return -errno;
		room *= 2;
	}
}

struct found {
	struct neighbour *v; /* owned */
	size_t n;
};

static int add_at_hook(int cgroup_fd, const struct own_program *own, struct found *found)
{
	_cleanup_free_ uint32_t *ids = NULL;
	bool after = false;
	uint32_t n = 0;
	int r = query(cgroup_fd, own->attach_type, BPF_F_QUERY_EFFECTIVE, &ids, &n);

	for (uint32_t i = 0; r == 0 && i < n; i++) {
		struct neighbour *neighbour;

		if (ids[i] == own->id) {
			after = true;
			continue;
		}
		r = GROW(found->v, found->n);
		if (r < 0)
			break;
		neighbour = &found->v[found->n++];
		*neighbour = (struct neighbour){ .hook = own->hook,
						 .program_id = ids[i],
						 .runs_after = after };
		describe(neighbour);
	}
	return r;
}

static int open_cgroup(const char *mount, const char *path)
{
	_cleanup_free_ char *directory = NULL;
	int fd;

	if (asprintf(&directory, "%s%s", mount, path) < 0)
		return -ENOMEM;
	fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

/* Where a link to a cgroup is, and whose; -ENOENT: it is none. */
static int read_link(uint32_t id, uint64_t *ret_cgroup, uint32_t *ret_program)
{
	struct bpf_link_info info = { 0 };
	__u32 size = sizeof(info);
	_cleanup_close_ int fd = bpf_link_get_fd_by_id(id);

	if (fd < 0 || bpf_obj_get_info_by_fd(fd, &info, &size) < 0)
		return -errno;
	if (info.type != BPF_LINK_TYPE_CGROUP)
		return -ENOENT;
	*ret_cgroup = info.cgroup.cgroup_id;
	*ret_program = info.prog_id;
	return 0;
}

static bool is_below(const char *path, const char *root)
{
	size_t n = streq(root, "/") ? 0 : strlen(root);

	return strncmp(path, root, n) == 0 && path[n] == '/' && path[n + 1];
}

/* Other sockpols, one program of each cgroup that they are attached to. */
struct others {
	struct neighbour *v; /* owned */
	uint64_t *cgroups;   /* owned; as many */
	size_t n;
};

static bool is_known(const struct others *o, uint64_t cgroup_id)
{
	for (size_t i = 0; i < o->n; i++)
		if (o->cgroups[i] == cgroup_id)
			return true;
	return false;
}

static int add_other(struct others *o, uint64_t cgroup_id, uint32_t program_id)
{
	struct neighbour n = { .program_id = program_id };

	describe(&n);
	if (!n.is_sockpol)
		return 0;
	n.hook = own_hook(n.name);
	if (GROW(o->v, o->n) < 0 || GROW(o->cgroups, o->n) < 0)
		return -ENOMEM;
	o->v[o->n] = n;
	o->cgroups[o->n++] = cgroup_id;
	return 0;
}

/* By their links, as there may be very many cgroups.  To list those takes CAP_SYS_ADMIN. */
static int find_others(uint64_t own_cgroup, struct others *ret)
{
	uint32_t id = 0, program_id = 0;
	uint64_t cgroup_id = 0;
	int r = 0;

	while (r == 0 && bpf_link_get_next_id(id, &id) == 0)
		if (read_link(id, &cgroup_id, &program_id) == 0 && cgroup_id != own_cgroup &&
		    !is_known(ret, cgroup_id))
			r = add_other(ret, cgroup_id, program_id);
	return r;
}

static int add_below(const char *mount, const char *root, uint64_t own_cgroup, struct found *found)
{
	struct others others = { 0 };
	_cleanup_free_ char **paths = NULL;
	int r = find_others(own_cgroup, &others);

	if (r == 0 && others.n) {
		paths = calloc(others.n, sizeof(*paths));
		r = paths ? cgroup_paths_of_ids(mount, others.cgroups, others.n, paths) : -ENOMEM;
	}
	for (size_t i = 0; r == 0 && i < others.n; i++) {
		if (!paths[i] || !is_below(paths[i], root))
			continue;
		r = GROW(found->v, found->n);
		if (r < 0)
			break;
		others.v[i].cgroup = TAKE_PTR(paths[i]);
		found->v[found->n++] = others.v[i];
	}
	for (size_t i = 0; paths && i < others.n; i++)
		free(paths[i]);
	free(others.v);
	free(others.cgroups);
	return r;
}

int neighbours_read(uint64_t cgroup_id, const struct own_program *own, size_t n_own,
		    struct neighbour **ret, size_t *ret_n)
{
	_cleanup_free_ char *mount = NULL, *path = NULL;
	_cleanup_close_ int fd = -1;
	struct found found = { 0 };
	int r = cgroup_mount(&mount);

	if (r == 0)
		r = cgroup_path_of_id(mount, cgroup_id, &path);
	if (r == 0)
		r = fd = open_cgroup(mount, path);
	for (size_t i = 0; i < n_own && r >= 0; i++)
		r = add_at_hook(fd, &own[i], &found);
	if (r >= 0 && path)
		r = add_below(mount, path, cgroup_id, &found);
	if (r < 0) {
		neighbours_free(found.v, found.n);
		return r;
	}
	*ret = found.v;
	*ret_n = found.n;
	return 0;
}

void neighbours_free(struct neighbour *v, size_t n)
{
	for (size_t i = 0; i < n; i++)
		free(v[i].cgroup);
	free(v);
}
