// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <dirent.h>
#include <errno.h>
#include <stdint.h>

#include <bpf/bpf.h>

#include "kernel/kernel.h"
#include "kernel/neighbours.h"
#include "kernel/pin.h"
#include "kernel/pin_family.h"
#include "kernel/pin_owner.h"

#define MAPS_MAX 64 /* of a program that are looked at */

DEFINE_CLEANUP(DIR *, closedir)

struct entry {
	char *path; /* owned */
	enum pin_kind kind;
	uint32_t id; /* of the map; of the link's program */
	const char *name;
	bool ours;
};

struct entries {
	struct entry *v; /* owned */
	size_t n;
	uint32_t abi;
	uint32_t state; /* id of the map; 0: it is not there, or not ours */
};

static int add_entry(struct entries *all, const char *dir, const char *name)
{
	struct entry e = { .path = pin_path(dir, name) };

	if (!e.path || GROW(all->v, all->n) < 0) {
		free(e.path);
		return -ENOMEM;
	}
	e.name = strrchr(e.path, '/') + 1;
	e.kind = pin_kind_of(e.path, &e.id);
	all->v[all->n++] = e;
	return 0;
}

static int read_dir(const char *path, struct entries *all)
{
	_cleanup_(closedir) DIR *d = opendir(path);
	const struct dirent *one;
	int r = 0;

	if (!d)
		return -errno;
	for (errno = 0; r == 0 && (one = readdir(d)); errno = 0)
		if (!streq(one->d_name, ".") && !streq(one->d_name, ".."))
			r = add_entry(all, path, one->d_name);
	return r < 0 ? r : -errno;
}

/* The name that a pin has, or will have once it is committed, is one of ours: which? */
static bool has_name(const struct entry *e, const char *name)
{
	size_t length = strlen(name);

	return strncmp(e->name, name, length) == 0 &&
	       (!e->name[length] || streq(e->name + length, PIN_STAGED_SUFFIX));
}

static int find_map_name(const struct entry *e)
{
	for (int i = 0; i < KERNEL_MAP_MAX; i++)
		if (has_name(e, kernel_map_names[i]))
			return i;
	return -1;
}

static const char *find_link_name(const struct entry *e)
{
	for (size_t i = 0; i < n_kernel_link_names; i++)
		if (has_name(e, kernel_link_names[i]))
			return kernel_link_names[i];
	return NULL;
}

/* Does the program use the map?  -1: nobody tells us. */
static int uses(uint32_t program, uint32_t map)
{
	uint32_t maps[MAPS_MAX] = { 0 };
	struct bpf_prog_info info = { .nr_map_ids = MAPS_MAX, .map_ids = (__u64)(uintptr_t)maps };
	__u32 size = sizeof(info);
	_cleanup_close_ int fd = bpf_prog_get_fd_by_id(program);

	if (fd < 0 || bpf_obj_get_info_by_fd(fd, &info, &size) < 0)
		return -1;
	for (uint32_t i = 0; i < info.nr_map_ids && i < MAPS_MAX; i++)
		if (maps[i] == map)
			return 1;
	return 0;
}

static bool is_our_link(const struct entries *all, const struct entry *e)
{
	const char *name = find_link_name(e);
	int with_state = all->state ? uses(e->id, all->state) : 0;

	if (with_state > 0)
		return true;
	if (!name || pin_owner_of_link(e->path, name) != PIN_OURS)
		return false;
	return with_state < 0 || neighbours_is_sockpol(e->id);
}

/* One that a program of ours uses, or, beside our `state`, one with a name and shape of ours. */
static bool is_our_map(const struct entries *all, const struct entry *e)
{
	int map = find_map_name(e);

	for (size_t i = 0; i < all->n; i++)
		if (all->v[i].ours && all->v[i].kind == PIN_LINK && uses(all->v[i].id, e->id) > 0)
			return true;
	if (pin_owner_is_retired(e->path))
		return all->state;
	return map >= 0 && (all->state || map == KERNEL_MAP_STATE) &&
	       pin_owner_of_map(e->path, map, all->abi) == PIN_OURS;
}

static void find_state(struct entries *all, const char *dir)
{
	all->abi = pin_owner_abi(dir);
	for (size_t i = 0; i < all->n; i++) {
		const struct entry *e = &all->v[i];

		if (e->kind == PIN_MAP && streq(e->name, kernel_map_names[KERNEL_MAP_STATE]) &&
		    pin_owner_of_map(e->path, KERNEL_MAP_STATE, all->abi) == PIN_OURS)
			all->state = e->id;
	}
}

static void judge(struct entries *all)
{
	for (size_t i = 0; i < all->n; i++)
		if (all->v[i].kind == PIN_LINK)
			all->v[i].ours = is_our_link(all, &all->v[i]);
	for (size_t i = 0; i < all->n; i++)
		if (all->v[i].kind == PIN_MAP)
			all->v[i].ours = is_our_map(all, &all->v[i]);
}

/* Hands on the paths of the entries of one kind. */
static void take(struct entries *all, bool ours, enum pin_kind kind, char **to, size_t *n)
{
	for (size_t i = 0; i < all->n; i++) {
		struct entry *e = &all->v[i];

		if (e->path && e->ours == ours && e->kind == kind)
			to[(*n)++] = TAKE_PTR(e->path);
	}
}

static int sort_out(struct entries *all, struct pin_family *ret)
{
	struct pin_family f = { .paths = calloc(all->n + 1, sizeof(*f.paths)),
				.foreign = calloc(all->n + 1, sizeof(*f.foreign)) };

	if (!f.paths || !f.foreign) {
		pin_family_clear(&f);
		return -ENOMEM;
	}
	take(all, true, PIN_LINK, f.paths, &f.n);
	take(all, true, PIN_MAP, f.paths, &f.n);
	for (int kind = 0; kind < PIN_KIND_MAX; kind++)
		take(all, false, kind, f.foreign, &f.n_foreign);
	*ret = f;
	return 0;
}

int pin_family_read(const char *dir, struct pin_family *ret)
{
	struct entries all = { 0 };
	int r = read_dir(dir, &all);

	if (r == 0) {
		find_state(&all, dir);
		judge(&all);
		r = sort_out(&all, ret);
	}
	for (size_t i = 0; i < all.n; i++)
		free(all.v[i].path);
	free(all.v);
	return r;
}

void pin_family_clear(struct pin_family *f)
{
	for (size_t i = 0; i < f->n; i++)
		free(f->paths[i]);
	for (size_t i = 0; i < f->n_foreign; i++)
		free(f->foreign[i]);
	free(f->paths);
	free(f->foreign);
	*f = (struct pin_family){ 0 };
}
