// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <errno.h>

#include <bpf/bpf.h>

#include "kernel/pin.h"
#include "kernel/pin_owner.h"

#define ABI_PLAUSIBLE_MAX 10000 /* there will hardly be more versions */

const struct map_shape map_shapes[KERNEL_MAP_MAX] = {
	[KERNEL_MAP_CGROUPS] = { BPF_MAP_TYPE_HASH, sizeof(__u64), sizeof(struct sp_cgroup) },
	[KERNEL_MAP_CGROUP_SLOTS] = { BPF_MAP_TYPE_ARRAY, sizeof(__u32),
				      sizeof(struct sp_cgroup_slot), SP_CGROUP_SLOTS },
	[KERNEL_MAP_POLICIES] = { BPF_MAP_TYPE_ARRAY, sizeof(__u32), sizeof(struct sp_policy) },
	[KERNEL_MAP_OPS] = { BPF_MAP_TYPE_ARRAY, sizeof(__u32), sizeof(struct sp_op) },
	[KERNEL_MAP_CREDITS] = { BPF_MAP_TYPE_ARRAY, sizeof(__u32), sizeof(struct sp_credit) },
	[KERNEL_MAP_TESTS] = { BPF_MAP_TYPE_ARRAY, sizeof(__u32), sizeof(struct sp_test) },
	[KERNEL_MAP_VECTORS] = { BPF_MAP_TYPE_ARRAY, sizeof(__u32), sizeof(__u64) },
	[KERNEL_MAP_RANGE_NODES] = { BPF_MAP_TYPE_ARRAY, sizeof(__u32),
				     sizeof(union sp_range_node) },
	[KERNEL_MAP_SOURCES] = { BPF_MAP_TYPE_ARRAY, sizeof(__u32), sizeof(struct sp_source) },
	[KERNEL_MAP_APPLIED] = { BPF_MAP_TYPE_PERCPU_ARRAY, sizeof(__u32), sizeof(sp_applied_t) },
	[KERNEL_MAP_FAILURES] = { BPF_MAP_TYPE_HASH, sizeof(struct sp_failure), sizeof(__u64) },
	[KERNEL_MAP_STATE] = { BPF_MAP_TYPE_ARRAY, sizeof(__u32), sizeof(struct sp_state) },
	[KERNEL_MAP_GLOB_STATES] = { BPF_MAP_TYPE_ARRAY, sizeof(__u32),
				     sizeof(struct sp_glob_state) },
	[KERNEL_MAP_GLOB_EDGES] = { BPF_MAP_TYPE_ARRAY, sizeof(__u32),
				    sizeof(struct sp_glob_edge) },
	[KERNEL_MAP_STEPS] = { BPF_MAP_TYPE_HASH, sizeof(struct sp_step_key),
			       sizeof(struct sp_step) },
	[KERNEL_MAP_SOCKETS] = { BPF_MAP_TYPE_SK_STORAGE, sizeof(int), sizeof(struct sp_socket) },
	[KERNEL_MAP_EVENTS] = { BPF_MAP_TYPE_RINGBUF, 0, 0 },
};

const char *const pin_retired_names[] = { "sets4", "sets6" }; /* to SP_ABI_VERSION 4 */
const size_t n_pin_retired_names = ARRAY_SIZE(pin_retired_names);
static const struct map_shape retired_shapes[ARRAY_SIZE(pin_retired_names)] = {
	{ BPF_MAP_TYPE_LPM_TRIE, 12, sizeof(__u32) },
	{ BPF_MAP_TYPE_LPM_TRIE, 24, sizeof(__u32) },
};

/* "map_id" or "link_id": nothing else tells descriptors of maps, links and programs apart. */
static bool is_kind(int fd, const char *id)
{
	char path[sizeof("/proc/self/fdinfo/") + 3 * sizeof(fd)], line[128];
	_cleanup_fclose_ FILE *f = NULL;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f))
		if (strncmp(line, id, strlen(id)) == 0 && line[strlen(id)] == ':')
			return true;
	return false;
}

enum pin_kind pin_kind_of(const char *path, uint32_t *ret_id)
{
	_cleanup_close_ int fd = bpf_obj_get(path);
	struct bpf_map_info map = { 0 };
	struct bpf_link_info link = { 0 };
	__u32 map_size = sizeof(map), link_size = sizeof(link);

	if (fd < 0)
		return PIN_NOTHING;
	if (is_kind(fd, "map_id") && bpf_obj_get_info_by_fd(fd, &map, &map_size) == 0) {
		*ret_id = map.id;
		return PIN_MAP;
	}
	if (is_kind(fd, "link_id") && bpf_obj_get_info_by_fd(fd, &link, &link_size) == 0) {
		*ret_id = link.prog_id;
		return PIN_LINK;
	}
	return PIN_NOTHING;
}

/* Returns PIN_OURS with a descriptor, another owner, or a negative errno. */
static int open_pin(const char *path, const char *id, int *ret_fd)
{
	_cleanup_close_ int fd = bpf_obj_get(path);

	if (fd < 0 && errno == ENOENT)
		return PIN_NOBODY;
	if (fd < 0 && errno == EACCES) /* what is no pin at all says so, too */
		return PIN_FOREIGN;
	if (fd < 0)
		return -errno;
	if (!is_kind(fd, id))
		return PIN_FOREIGN;
	*ret_fd = TAKE_FD(fd);
	return PIN_OURS;
}

static int open_map(const char *path, int *ret_fd, struct bpf_map_info *ret)
{
	__u32 size = sizeof(*ret);
	int r = open_pin(path, "map_id", ret_fd);

	memset(ret, 0, sizeof(*ret));
	if (r == PIN_OURS && bpf_obj_get_info_by_fd(*ret_fd, ret, &size) < 0)
		return -errno;
	return r;
}

static bool has_shape(const struct bpf_map_info *info, const struct map_shape *s, bool any_size)
{
	return info->type == s->type &&
	       (any_size || (info->key_size == s->key_size && info->value_size == s->value_size));
}

/* abi_version keeps its place: that is what it is for. */
static bool is_state(int fd, const struct bpf_map_info *info, uint32_t *ret_abi)
{
	const struct map_shape *s = &map_shapes[KERNEL_MAP_STATE];
	_cleanup_free_ char *value = NULL;
	const __u32 zero = 0;
	__u32 abi;

	if (!has_shape(info, s, true) || info->key_size != s->key_size || info->max_entries != 1 ||
	    !(info->map_flags & BPF_F_MMAPABLE) ||
	    info->value_size < offsetof(struct sp_state, abi_version) + sizeof(abi))
		return false;
	value = calloc(1, info->value_size);
	if (!value || bpf_map_lookup_elem(fd, &zero, value) < 0)
		return false;
	memcpy(&abi, value + offsetof(struct sp_state, abi_version), sizeof(abi));
	if (!abi || abi > ABI_PLAUSIBLE_MAX ||
	    (abi == SP_ABI_VERSION && info->value_size != s->value_size))
		return false;
	*ret_abi = abi;
	return true;
}

uint32_t pin_owner_abi(const char *dir)
{
	_cleanup_free_ char *path = NULL;
	_cleanup_close_ int fd = -1;
	struct bpf_map_info info;
	uint32_t abi;

	if (asprintf(&path, "%s/%s", dir, kernel_map_names[KERNEL_MAP_STATE]) >= 0 &&
	    open_map(path, &fd, &info) == PIN_OURS && is_state(fd, &info, &abi))
		return abi;
	return SP_ABI_VERSION;
}

int pin_owner_of_map(const char *path, enum kernel_map map, uint32_t abi)
{
	_cleanup_close_ int fd = -1;
	struct bpf_map_info info;
	uint32_t its_abi;
	bool ours;
	int r = open_map(path, &fd, &info);

	if (r != PIN_OURS)
		return r;
	if (map == KERNEL_MAP_STATE)
		ours = is_state(fd, &info, &its_abi);
	else
		ours = has_shape(&info, &map_shapes[map], abi != SP_ABI_VERSION);
	return ours && streq(info.name, kernel_map_names[map]) ? PIN_OURS : PIN_FOREIGN;
}

bool pin_owner_is_retired(const char *path)
{
	_cleanup_close_ int fd = -1;
	struct bpf_map_info info;

	if (open_map(path, &fd, &info) != PIN_OURS)
		return false;
	for (size_t i = 0; i < n_pin_retired_names; i++)
		if (streq(info.name, pin_retired_names[i]))
			return has_shape(&info, &retired_shapes[i], false);
	return false;
}

int pin_owner_open_map(const char *dir, enum kernel_map map)
{
	_cleanup_free_ char *path = pin_path(dir, kernel_map_names[map]);
	_cleanup_close_ int fd = -1;
	struct bpf_map_info info;
	int r;

	if (!path)
		return -ENOMEM;
	r = open_map(path, &fd, &info);
	if (r < 0)
		return r;
	if (r != PIN_OURS)
		return r == PIN_NOBODY ? -ENOENT : -EPROTO;
	if (map_shapes[map].max_entries && info.max_entries != map_shapes[map].max_entries)
		return -EPROTO;
	return has_shape(&info, &map_shapes[map], false) ? TAKE_FD(fd) : -EPROTO;
}

int pin_owner_of_link(const char *path, const char *program)
{
	_cleanup_close_ int fd = -1, program_fd = -1;
	struct bpf_link_info link = { 0 };
	struct bpf_prog_info info = { 0 };
	__u32 size = sizeof(link);
	int r = open_pin(path, "link_id", &fd);

	if (r != PIN_OURS)
		return r;
	if (bpf_obj_get_info_by_fd(fd, &link, &size) < 0)
		return -errno;
	if (link.type != BPF_LINK_TYPE_CGROUP && link.type != BPF_LINK_TYPE_TRACING &&
	    link.type != BPF_LINK_TYPE_RAW_TRACEPOINT) /* tp_btf is this one */
		return PIN_FOREIGN;
	program_fd = bpf_prog_get_fd_by_id(link.prog_id);
	if (program_fd < 0 && errno == EPERM) /* takes CAP_SYS_ADMIN: the kind must do */
		return PIN_OURS;
	size = sizeof(info);
	if (program_fd < 0 || bpf_obj_get_info_by_fd(program_fd, &info, &size) < 0)
		return -errno;
	return streq(info.name, program) ? PIN_OURS : PIN_FOREIGN;
}
