// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <dirent.h>
#include <errno.h>

#include <bpf/bpf.h>

#include "../include/abi.h"
#include "base/log.h"
#include "compile/maps.h"
#include "kernel/neighbours.h"
#include "kernel/pin_family.h"
#include "policy/hook.h"

#define ABI_PLAUSIBLE_MAX 10000 /* there will hardly be more versions */
#define PROGRAM_MAPS_MAX  64	/* that are looked at */

DEFINE_CLEANUP(DIR *, closedir)

/* What versions to SP_ABI_VERSION 5 pinned, besides what is called as a hook is. */
static const char *const flat_names[] = {
	"cgroup_mkdir", "cgroup_release", "cgroups", "cgroup_slots", "glob_states", "glob_edges",
	"steps",	"policies",	  "ops",     "credits",	     "tests",	    "vectors",
	"range_nodes",	"sources",	  "applied", "failures",     "state",	    "sockets",
	"events",	"sets4",	  "sets6",
};

static bool has_name(const char *pin, const char *name, bool flat)
{
	size_t n = strlen(name);

	/* They staged a pin beside its name. */
	return strncmp(pin, name, n) == 0 && (!pin[n] || (flat && streq(pin + n, "~")));
}

static bool is_flat_name(const char *pin)
{
	for (size_t i = 0; i < ARRAY_SIZE(flat_names); i++)
		if (has_name(pin, flat_names[i], true))
			return true;
	return false;
}

static bool is_hook_name(const char *pin, bool flat)
{
	for (int i = 0; i < HOOK_MAX; i++)
		if (has_name(pin, hook_table[i].name, flat))
			return true;
	return false;
}

/* What is in the values of every version's `state` at the same place. */
struct state_head {
	uint64_t generation;
	uint32_t abi;
};

static bool read_state(int fd, struct state_head *ret, uint64_t *ret_root)
{
	struct bpf_map_info info = { 0 };
	__u32 size = sizeof(info);
	_cleanup_free_ char *value = NULL;
	const __u32 zero = 0;
	uint32_t abi;

	if (bpf_obj_get_info_by_fd(fd, &info, &size) < 0 || info.type != BPF_MAP_TYPE_ARRAY ||
	    info.max_entries != 1 || !(info.map_flags & BPF_F_MMAPABLE) ||
	    info.value_size < offsetof(struct sp_state, abi_version) + sizeof(abi) ||
	    !streq(info.name, "state"))
		return false;
	value = calloc(1, info.value_size);
	if (!value || bpf_map_lookup_elem(fd, &zero, value) < 0)
		return false;
	memcpy(&abi, value + offsetof(struct sp_state, abi_version), sizeof(abi));
	if (!abi || abi > ABI_PLAUSIBLE_MAX)
		return false;
	ret->abi = abi;
	memcpy(&ret->generation, value, sizeof(ret->generation));
	if (abi == SP_ABI_VERSION && info.value_size == sizeof(struct sp_state))
		*ret_root = ((const struct sp_state *)(const void *)value)->cgroup_root_id;
	return true;
}

/* Does the program use the map?  -1: nobody tells us. */
static int program_uses(int fd, uint32_t map)
{
	uint32_t maps[PROGRAM_MAPS_MAX] = { 0 };
	struct bpf_prog_info info = { .nr_map_ids = PROGRAM_MAPS_MAX,
				      .map_ids = (__u64)(uintptr_t)maps };
	__u32 size = sizeof(info);

	if (fd < 0 || bpf_obj_get_info_by_fd(fd, &info, &size) < 0)
		return -1;
	for (uint32_t i = 0; i < info.nr_map_ids && i < PROGRAM_MAPS_MAX; i++)
		if (maps[i] == map)
			return 1;
	return 0;
}

static bool is_our_link(const struct pin_family *f, int fd, const char *name, bool flat)
{
	struct pin_link link;
	_cleanup_close_ int program = -1;
	int uses;

	pin_link_info(fd, &link);
	program = bpf_prog_get_fd_by_id(link.program_id); /* takes CAP_SYS_ADMIN */
	uses = f->state_id ? program_uses(program, f->state_id) : 0;
	if (uses > 0)
		return true;
	if (!(is_hook_name(name, flat) || (flat && is_flat_name(name))) ||
	    (link.type != BPF_LINK_TYPE_CGROUP && link.type != BPF_LINK_TYPE_TRACING &&
	     link.type != BPF_LINK_TYPE_RAW_TRACEPOINT)) /* tp_btf is this one */
		return false;
	/* An agent that was killed while it took over left it with the other's program. */
	return program < 0 ? f->state_id || !flat : neighbours_is_sockpol(link.program_id);
}

/* Below `current` and `next`, which we make, the name and the kind must do: an agent that was
 * killed, or somebody who removed some of the pins, may have left programs without their maps. */
static bool is_our_program(const char *pin, const char *name)
{
	size_t n = strlen(name);

	return is_hook_name(name, false) && strncmp(pin, name, n) == 0 &&
	       streq(pin + n, PIN_PROGRAM_SUFFIX);
}

/* "policies", or, of a generation's, "policies_1". */
static bool is_table_name(const char *pin)
{
	for (int i = 0; i < MAP_ID_MAX; i++) {
		size_t n = strlen(map_table[i].name);

		if (strncmp(pin, map_table[i].name, n) == 0 &&
		    (!pin[n] || (pin[n] == '_' && strspn(pin + n + 1, "0123456789"))))
			return true;
	}
	return false;
}

static bool is_our_map(const struct pin_family *f, const char *pin, const char *name, bool flat)
{
	size_t n = strlen(name);

	if (strncmp(pin, name, n) != 0 || (flat && !f->state_id))
		return false;
	if (flat)
		return is_flat_name(pin);
	if (pin[n] && n != BPF_OBJ_NAME_LEN - 1)
		return false;
	return f->state_id || is_table_name(pin); /* another version has others */
}

static void judge(struct pin_family *f, struct pin_entry *e, bool flat)
{
	struct bpf_map_info map = { 0 };
	struct bpf_prog_info program = { 0 };
	__u32 map_size = sizeof(map), program_size = sizeof(program);
	struct pin_link link;
	_cleanup_close_ int fd = -1;

	e->kind = pin_open(e->path, &fd);
	switch (e->kind) {
	case PIN_MAP:
		(void)bpf_obj_get_info_by_fd(fd, &map, &map_size);
		e->id = map.id;
		e->ours = is_our_map(f, e->name, map.name, flat);
		break;
	case PIN_LINK:
		pin_link_info(fd, &link);
		e->id = link.id;
		e->ours = is_our_link(f, fd, e->name, flat);
		break;
	case PIN_PROGRAM:
		(void)bpf_obj_get_info_by_fd(fd, &program, &program_size);
		e->id = program.id;
		e->ours = !flat && is_our_program(e->name, program.name);
		break;
	default:
		break;
	}
}

static int add_entry(struct pin_family *f, const char *dir, const char *name)
{
	char *path = pin_path(dir, name);

	if (!path || GROW(f->v, f->n) < 0) {
		free(path);
		return -ENOMEM;
	}
	f->v[f->n++] = (struct pin_entry){ .path = path, .name = path + strlen(dir) + 1 };
	return 0;
}

static int read_names(const char *path, struct pin_family *f)
{
	_cleanup_(closedir) DIR *d = opendir(path);
	const struct dirent *one;
	int r = 0;

	if (!d)
		return -errno;
	for (errno = 0; r == 0 && (one = readdir(d)); errno = 0)
		if (one->d_type != DT_DIR)
			r = add_entry(f, path, one->d_name);
	return r < 0 ? r : -errno;
}

static void find_state(struct pin_family *f, const char *dir)
{
	_cleanup_close_ int fd = pin_get(dir, "state", PIN_MAP);
	struct bpf_map_info info = { 0 };
	__u32 size = sizeof(info);
	struct state_head head;

	if (fd < 0 || !read_state(fd, &head, &f->cgroup_root_id) ||
	    bpf_obj_get_info_by_fd(fd, &info, &size) < 0)
		return;
	f->abi = head.abi;
	f->generation = head.generation;
	f->state_id = info.id;
}

int pin_family_read(const char *dir, bool flat, struct pin_family *ret)
{
	struct pin_family f = { 0 };
	int r = read_names(dir, &f);

	if (r < 0) {
		pin_family_clear(&f);
		return r;
	}
	find_state(&f, dir);
	for (size_t i = 0; i < f.n; i++)
		judge(&f, &f.v[i], flat);
	*ret = f;
	return 0;
}

void pin_family_clear(struct pin_family *f)
{
	for (size_t i = 0; i < f->n; i++)
		free(f->v[i].path);
	free(f->v);
	*f = (struct pin_family){ 0 };
}

static bool is_kept(const struct pin_entry *e, const uint32_t *keep, size_t n_keep)
{
	for (size_t i = 0; i < n_keep; i++)
		if (keep[i] == e->id)
			return true;
	return false;
}

static int remove_pin(const struct pin_entry *e, bool detach)
{
	_cleanup_close_ int fd = -1;

	/* Others may hold the link.  One to a tracepoint knows no such thing, and goes with its
	 * pin. */
	if (detach && pin_open(e->path, &fd) == PIN_LINK)
		(void)bpf_link_detach(fd);
	if (unlink(e->path) < 0 && errno != ENOENT)
		return log_error_errno(errno, "Cannot remove the pin %s", e->path);
	return 0;
}

/* Links first, so that no program runs over half of its maps' pins; `state` last: without it the
 * others would not be known for ours. */
int pin_family_remove(const struct pin_family *f, const uint32_t *keep, size_t n_keep)
{
	static const enum pin_kind order[] = { PIN_LINK, PIN_PROGRAM, PIN_MAP, PIN_MAP };
	int result = 0;

	for (size_t pass = 0; pass < ARRAY_SIZE(order); pass++)
		for (size_t i = 0; i < f->n; i++) {
			const struct pin_entry *e = &f->v[i];
			int r;

			if (!e->ours || e->kind != order[pass] ||
			    (e->kind == PIN_MAP && streq(e->name, "state") != (pass == 3)))
				continue;
			r = remove_pin(e, e->kind == PIN_LINK && !is_kept(e, keep, n_keep));
			result = r < 0 ? r : result;
		}
	return result;
}

size_t pin_family_n_ours(const struct pin_family *f)
{
	size_t n = 0;

	for (size_t i = 0; i < f->n; i++)
		n += f->v[i].ours;
	return n;
}
