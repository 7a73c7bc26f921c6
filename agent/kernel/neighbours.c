// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <errno.h>
#include <fcntl.h>

#include <bpf/bpf.h>

#include "host/cgroup.h"
#include "kernel/neighbours.h"
#include "kernel/pin.h"
#include "policy/hook.h"

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
static bool is_sockpol(const struct pin_program *program)
{
	bool known = own_hook(program->name) != NULL, has_state = false, has_cgroups = false;

	for (uint32_t i = 0; known && i < program->n_maps; i++) {
		_cleanup_close_ int fd = bpf_map_get_fd_by_id(program->maps[i]);
		struct bpf_map_info map;

		if (fd < 0 || pin_map_info(fd, &map) < 0)
			continue;
		has_state |= streq(map.name, "state");
		has_cgroups |= streq(map.name, "cgroup_cache") || streq(map.name, "cgroups");
	}
	return has_state && has_cgroups;
}

static struct neighbour describe(uint32_t program_id)
{
	struct neighbour n = { .program_id = program_id };
	_cleanup_close_ int fd = bpf_prog_get_fd_by_id(program_id);
	struct pin_program program;

	if (fd < 0 || pin_program_info(fd, &program) < 0)
		return n;
	memcpy(n.name, program.name, sizeof(n.name));
	n.is_sockpol = is_sockpol(&program);
	return n;
}

bool neighbours_is_sockpol(uint32_t program_id)
{
	return describe(program_id).is_sockpol;
}

/* The programs of a hook that run for sockets in the cgroup, in their order; *ret: owned. */
static int query(int cgroup_fd, uint32_t attach_type, uint32_t **ret, uint32_t *ret_n)
{
	_cleanup_free_ uint32_t *ids = NULL;
	uint32_t room = 64;

	for (;;) {
		uint32_t n = room, *more = reallocarray(ids, room, sizeof(*ids));

		if (!more)
			return -ENOMEM;
		ids = more;
		if (bpf_prog_query(cgroup_fd, (enum bpf_attach_type)attach_type,
				   BPF_F_QUERY_EFFECTIVE, NULL, ids, &n) == 0) {
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

static int add(struct found *found, const struct neighbour *n)
{
	if (GROW(found->v, found->n) < 0)
		return -ENOMEM;
	found->v[found->n++] = *n;
	return 0;
}

static int add_at_hook(int cgroup_fd, const struct own_program *own, struct found *found)
{
	_cleanup_free_ uint32_t *ids = NULL;
	bool after = false;
	uint32_t n = 0;
	int r = query(cgroup_fd, own->attach_type, &ids, &n);

	for (uint32_t i = 0; r == 0 && i < n; i++) {
		struct neighbour neighbour;

		if (ids[i] == own->id) {
			after = true;
			continue;
		}
		neighbour = describe(ids[i]);
		neighbour.hook = own->hook;
		neighbour.runs_after = after;
		r = add(found, &neighbour);
	}
	return r;
}

static bool is_below(const char *path, const char *root)
{
	size_t n = streq(root, "/") ? 0 : strlen(root);

	return strncmp(path, root, n) == 0 && path[n] == '/' && path[n + 1];
}

static bool is_among(uint64_t id, const uint64_t *ids, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (ids[i] == id)
			return true;
	return false;
}

/*
 * Other sockpols, one program of each cgroup that they are attached to; *ret_cgroups: owned, as
 * many. By their links, as there may be very many cgroups.  To list those takes CAP_SYS_ADMIN.
 */
static int find_others(uint64_t own_cgroup, struct found *ret, uint64_t **ret_cgroups)
{
	uint32_t id = 0;

	while (bpf_link_get_next_id(id, &id) == 0) {
		_cleanup_close_ int fd = bpf_link_get_fd_by_id(id);
		struct pin_link link = { 0 };
		struct neighbour n;

		if (fd >= 0)
			pin_link_info(fd, &link);
		if (!link.cgroup_id || link.cgroup_id == own_cgroup ||
		    is_among(link.cgroup_id, *ret_cgroups, ret->n))
			continue;
		n = describe(link.program_id);
		if (!n.is_sockpol)
			continue;
		n.hook = own_hook(n.name);
		if (GROW(*ret_cgroups, ret->n) < 0 || add(ret, &n) < 0)
			return -ENOMEM;
		(*ret_cgroups)[ret->n - 1] = link.cgroup_id;
	}
	return 0;
}

static int add_below(const char *mount, const char *root, uint64_t own_cgroup, struct found *found)
{
	_cleanup_free_ uint64_t *cgroups = NULL;
	_cleanup_free_ char **paths = NULL;
	struct found others = { 0 };
	int r = find_others(own_cgroup, &others, &cgroups);

	if (r == 0 && others.n) {
		paths = calloc(others.n, sizeof(*paths));
		r = paths ? cgroup_paths_of_ids(mount, cgroups, others.n, paths) : -ENOMEM;
	}
	for (size_t i = 0; paths && i < others.n; i++) {
		if (r == 0 && paths[i] && is_below(paths[i], root)) {
			others.v[i].cgroup = paths[i];
			r = add(found, &others.v[i]);
			paths[i] = r == 0 ? NULL : paths[i];
		}
		free(paths[i]);
	}
	free(others.v);
	return r;
}

int neighbours_read(uint64_t cgroup_id, const struct own_program *own, size_t n_own,
		    struct neighbour **ret, size_t *ret_n)
{
	_cleanup_free_ char *mount = NULL, *path = NULL, *directory = NULL;
	_cleanup_close_ int fd = -1;
	struct found found = { 0 };
	int r = cgroup_mount(&mount);

	if (r == 0)
		r = cgroup_path_of_id(mount, cgroup_id, &path);
	if (r < 0 || !path)
		return r;
	if (asprintf(&directory, "%s%s", mount, path) < 0) {
		directory = NULL;
		return -ENOMEM;
	}
	fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	r = fd < 0 ? -errno : 0;
	for (size_t i = 0; i < n_own && r == 0; i++)
		r = add_at_hook(fd, &own[i], &found);
	if (r == 0)
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
