// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <errno.h>
#include <fcntl.h>

#include <bpf/bpf.h>

#include "host/cgroup.h"
#include "kernel/attachments.h"
#include "kernel/pin.h"

int attachments_open_cgroup(uint64_t id, char **ret_mount, char **ret_path)
{
	_cleanup_free_ char *mount = NULL, *path = NULL, *directory = NULL;
	int r = cgroup_mount(&mount);

	if (r == 0)
		r = cgroup_path_of_id(mount, id, &path);
	if (r < 0 || !path)
		return r;
	directory = text_format("%s%s", mount, path);
	if (!directory)
		return -ENOMEM;
	r = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (r < 0)
		return -errno;
	if (ret_mount)
		*ret_mount = TAKE_PTR(mount);
	if (ret_path)
		*ret_path = TAKE_PTR(path);
	return r;
}

int attachments_query(int cgroup_fd, uint32_t attach_type, uint32_t **ret, uint32_t *ret_n)
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

/* Returns 1: something is pinned for the hook; 0: nothing is; or a negative errno. */
static int read_pins(const char *dir, struct attachment *a)
{
	_cleanup_close_ int link = pin_get(dir, hook_table[a->hook].name, PIN_LINK), program = -1;
	struct pin_program known;
	struct pin_link info;
	char name[64];

	if (link < 0 && link != -ENOENT)
		return link;
	if (link >= 0) {
		pin_link_info(link, &info);
		a->link_id = info.id;
		a->program_id = info.program_id;
		a->cgroup_id = info.cgroup_id;
		return 1;
	}
	snprintf(name, sizeof(name), "%s" PIN_PROGRAM_SUFFIX, hook_table[a->hook].name);
	program = pin_get(dir, name, PIN_PROGRAM);
	if (program >= 0 && pin_program_info(program, &known) == 0)
		a->program_id = known.id;
	return program >= 0;
}

/* Is the program one over our maps?  To look takes CAP_SYS_ADMIN. */
static bool uses_map(uint32_t program_id, uint32_t map_id)
{
	_cleanup_close_ int fd = bpf_prog_get_fd_by_id(program_id);
	struct pin_program program;

	return fd >= 0 && pin_program_info(fd, &program) == 0 && pin_program_uses(&program, map_id);
}

/* A program without a pin, which an agent holds, is found by its map. */
static bool runs_there(int cgroup_fd, struct attachment *a, uint32_t state_id)
{
	_cleanup_free_ uint32_t *ids = NULL;
	uint32_t n = 0;

	if (attachments_query(cgroup_fd, hook_table[a->hook].attach_type, &ids, &n) < 0)
		return a->cgroup_id != 0;
	for (uint32_t i = 0; i < n; i++) {
		if (!a->program_id && uses_map(ids[i], state_id))
			a->program_id = ids[i];
		if (ids[i] == a->program_id)
			return true;
	}
	return false;
}

static uint32_t map_id(const char *dir, const char *name)
{
	_cleanup_close_ int fd = pin_get(dir, name, PIN_MAP);
	struct bpf_map_info info;

	return fd >= 0 && pin_map_info(fd, &info) == 0 ? info.id : 0;
}

int attachments_read(const char *pin_dir, const struct sp_state *state,
		     struct attachment ret[HOOK_MAX], size_t *ret_n)
{
	_cleanup_close_ int cgroup = attachments_open_cgroup(state->cgroup_root_id, NULL, NULL);
	const uint32_t due =
		hook_set_there(state->of[state->generation & 1].stages, state->missing_stages);
	_cleanup_free_ char *dir = pin_path(pin_dir, PIN_CURRENT);
	uint32_t state_id;
	size_t n = 0;

	if (!dir)
		return -ENOMEM;
	if (cgroup < 0 && cgroup != -ENOENT)
		return cgroup;
	state_id = map_id(dir, "state");
	for (enum hook_id i = 0; i < HOOK_MAX; i++) {
		struct attachment a = { .hook = i, .is_due = due & BIT(i) };
		const int r = read_pins(dir, &a);

		if (r < 0)
			return r;
		if (!r && !a.is_due)
			continue;
		a.is_attached = cgroup >= 0 && runs_there(cgroup, &a, state_id);
		ret[n++] = a;
	}
	*ret_n = n;
	return 0;
}

int attachments_name_lost(const char *pin_dir, const struct sp_state *state, char **ret)
{
	struct attachment v[HOOK_MAX];
	uint32_t lost = 0;
	size_t n;
	int r = attachments_read(pin_dir, state, v, &n);

	for (size_t i = 0; r == 0 && i < n; i++)
		if (v[i].is_due && !v[i].is_attached)
			lost |= BIT(v[i].hook);
	if (r < 0 || !lost)
		return r;
	*ret = hook_names(lost);
	return *ret ? 0 : -ENOMEM;
}
