// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <errno.h>

#include <bpf/bpf.h>

#include "kernel/pin.h"

char *pin_path(const char *dir, const char *name)
{
	return text_format("%s/%s", dir, name);
}

/* One that is not there is removed also where the file system is read-only. */
static int remove_path(const char *path)
{
	if (access(path, F_OK) < 0 && errno == ENOENT)
		return 0;
	return unlink(path) < 0 ? -errno : 0;
}

int pin_set(int fd, const char *dir, const char *name)
{
	_cleanup_free_ char *path = pin_path(dir, name);
	int r = path ? remove_path(path) : -ENOMEM;

	if (r < 0)
		return r;
	return bpf_obj_pin(fd, path) < 0 ? -errno : 0;
}

/* As bpftool does it: nothing else tells descriptors of maps, links and programs apart. */
static enum pin_kind kind_of(int fd)
{
	static const char *const names[PIN_KIND_MAX] = {
		[PIN_MAP] = "bpf-map", [PIN_LINK] = "bpf-link", [PIN_PROGRAM] = "bpf-prog"
	};
	char path[sizeof("/proc/self/fd/") + 3 * sizeof(fd)], target[64] = "";

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (readlink(path, target, sizeof(target) - 1) < 0)
		return PIN_NOTHING;
	for (int k = 0; k < PIN_KIND_MAX; k++)
		if (names[k] && strstr(target, names[k]))
			return (enum pin_kind)k;
	return PIN_NOTHING;
}

enum pin_kind pin_open(const char *path, int *ret_fd)
{
	_cleanup_close_ int fd = bpf_obj_get(path);
	enum pin_kind kind = fd < 0 ? PIN_NOTHING : kind_of(fd);

	if (kind != PIN_NOTHING)
		*ret_fd = TAKE_FD(fd);
	return kind;
}

int pin_get(const char *dir, const char *name, enum pin_kind kind)
{
	_cleanup_free_ char *path = pin_path(dir, name);
	_cleanup_close_ int fd = -1;

	if (!path)
		return -ENOMEM;
	fd = bpf_obj_get(path);
	if (fd < 0)
		return -errno;
	return kind_of(fd) == kind ? TAKE_FD(fd) : -EPROTO;
}

int pin_unset(const char *dir, const char *name)
{
	_cleanup_free_ char *path = pin_path(dir, name);

	return path ? remove_path(path) : -ENOMEM;
}

bool pin_is_lost(const char *dir, const char *name)
{
	_cleanup_free_ char *path = pin_path(dir, name);

	return path && access(path, F_OK) < 0 && errno == ENOENT;
}

int pin_map_info(int fd, struct bpf_map_info *ret)
{
	__u32 size = sizeof(*ret);

	memset(ret, 0, sizeof(*ret));
	return bpf_obj_get_info_by_fd(fd, ret, &size) < 0 ? -errno : 0;
}

void pin_link_info(int fd, struct pin_link *ret)
{
	struct bpf_link_info info = { 0 };
	__u32 size = sizeof(info);

	*ret = (struct pin_link){ 0 };
	if (bpf_obj_get_info_by_fd(fd, &info, &size) < 0)
		return;
	ret->id = info.id;
	ret->program_id = info.prog_id;
	ret->type = info.type;
	if (info.type == BPF_LINK_TYPE_CGROUP) {
		ret->cgroup_id = info.cgroup.cgroup_id;
		ret->attach_type = info.cgroup.attach_type;
	}
}

int pin_program_info(int fd, struct pin_program *ret)
{
	struct bpf_prog_info info = { .nr_map_ids = ARRAY_SIZE(ret->maps),
				      .map_ids = (__u64)(uintptr_t)ret->maps };
	__u32 size = sizeof(info);

	*ret = (struct pin_program){ 0 };
	if (bpf_obj_get_info_by_fd(fd, &info, &size) < 0)
		return -errno;
	ret->id = info.id;
	ret->function = info.attach_btf_id;
	memcpy(ret->name, info.name, sizeof(ret->name));
	ret->n_maps =
		info.nr_map_ids < ARRAY_SIZE(ret->maps) ? info.nr_map_ids : ARRAY_SIZE(ret->maps);
	return 0;
}

bool pin_program_uses(const struct pin_program *p, uint32_t map)
{
	for (uint32_t i = 0; i < p->n_maps; i++)
		if (p->maps[i] == map)
			return true;
	return false;
}
