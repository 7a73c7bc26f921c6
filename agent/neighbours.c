// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <errno.h>
#include <fcntl.h>

#include <bpf/bpf.h>

#include "cgroup.h"
#include "kernel.h"
#include "neighbours.h"
#include "tree.h"

_Static_assert(PROGRAM_NAME_SIZE == BPF_OBJ_NAME_LEN, "a program's name");

#define MAPS_MAX 32 /* that are looked at; a program of ours uses fewer */

/* One of the two that every program of ours uses. */
static bool is_map_of_ours(uint32_t id)
{
	static const enum kernel_map both[] = { KERNEL_MAP_CGROUPS, KERNEL_MAP_STATE };
	struct bpf_map_info info = { 0 };
	__u32 size = sizeof(info);
	_cleanup_close_ int fd = bpf_map_get_fd_by_id(id);

	if (fd < 0 || bpf_obj_get_info_by_fd(fd, &info, &size) < 0)
		return false;
	for (size_t i = 0; i < ARRAY_SIZE(both); i++)
		if (kernel_map_is_called(both[i], info.name))
			return true;
	return false;
}

/* A name alone says little: "connect4" is what many would call it. */
static bool is_sockpol(const char *name, const uint32_t *maps, uint32_t n_maps)
{
	uint32_t n_ours = 0;
	bool known = false;

	for (size_t i = 0; i < n_kernel_link_names; i++)
		known = known || streq(name, kernel_link_names[i]);
	for (uint32_t i = 0; known && i < n_maps && i < MAPS_MAX; i++)
		n_ours += is_map_of_ours(maps[i]);
	return n_ours == 2;
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

struct below {
	const char *mount;
	const struct own_program *own;
	size_t n_own;
	struct found *found;
};

/* The sockpols among the programs at one hook of a cgroup. */
static int add_sockpols(int cgroup_fd, const char *path, const struct own_program *own,
			struct found *found)
{
	_cleanup_free_ uint32_t *ids = NULL;
	uint32_t n_ids = 0;

	if (query(cgroup_fd, own->attach_type, 0, &ids, &n_ids) < 0)
		return 0;
	for (uint32_t i = 0; i < n_ids; i++) {
		struct neighbour neighbour = { .hook = own->hook, .program_id = ids[i] };

		describe(&neighbour);
		if (!neighbour.is_sockpol)
			continue;
		neighbour.cgroup = strdup(path);
		if (!neighbour.cgroup || GROW(found->v, found->n) < 0) {
			free(neighbour.cgroup);
			return -ENOMEM;
		}
		found->v[found->n++] = neighbour;
	}
	return 0;
}

/* The first hook says enough of a cgroup.  Cgroups that vanish meanwhile are passed over. */
static int look_at(struct node *n, void *userdata)
{
	const struct below *below = userdata;
	_cleanup_close_ int fd = n->parent ? open_cgroup(below->mount, n->path) : -1;
	size_t before = below->found->n;
	int r = 0;

	for (size_t i = 0; fd >= 0 && i < below->n_own && r == 0 && below->found->n == before; i++)
		r = add_sockpols(fd, n->path, &below->own[i], below->found);
	return r;
}

static int add_below(const char *mount, const char *path, const struct own_program *own,
		     size_t n_own, struct found *found)
{
	_cleanup_(tree_free) struct tree *tree = NULL;
	struct below below = { mount, own, n_own, found };
	int r = tree_new(mount, path, &tree);

	return r < 0 ? r : tree_scan(tree, look_at, &below);
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
	if (r >= 0)
		r = add_below(mount, path, own, n_own, &found);
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
