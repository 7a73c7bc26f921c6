// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <linux/magic.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>

#include <bpf/bpf.h>

#include "../include/abi.h"
#include "base/log.h"
#include "compile/maps.h"
#include "kernel/neighbours.h"
#include "kernel/pin_dir.h"
#include "policy/hook.h"

#define ABI_PLAUSIBLE_MAX 10000 /* there will hardly be more versions */

DEFINE_CLEANUP(DIR *, closedir)

/* --- whose pins they are */

/* Names that versions to SP_ABI_VERSION 5 pinned, besides those of hooks. */
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

static bool is_hook_name(const char *pin, bool flat)
{
	for (int i = 0; i < HOOK_MAX; i++)
		if (has_name(pin, hook_table[i].name, flat))
			return true;
	return false;
}

static bool is_flat_name(const char *pin)
{
	for (size_t i = 0; i < ARRAY_SIZE(flat_names); i++)
		if (has_name(pin, flat_names[i], true))
			return true;
	return is_hook_name(pin, true);
}

static bool is_our_link(const struct pin_family *f, const struct pin_link *link, const char *name,
			bool flat)
{
	_cleanup_close_ int fd = bpf_prog_get_fd_by_id(link->program_id); /* takes CAP_SYS_ADMIN */
	struct pin_program program;

	if (f->state_id && fd >= 0 && pin_program_info(fd, &program) == 0 &&
	    pin_program_uses(&program, f->state_id))
		return true;
	if (!(flat ? is_flat_name(name) : is_hook_name(name, false)) ||
	    (link->type != BPF_LINK_TYPE_CGROUP && link->type != BPF_LINK_TYPE_TRACING &&
	     link->type != BPF_LINK_TYPE_RAW_TRACEPOINT)) /* tp_btf is this one */
		return false;
	/* An agent that was killed while it took over left it with the other's program. */
	return fd < 0 ? f->state_id || !flat : neighbours_is_sockpol(link->program_id);
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
	struct pin_program program;
	struct bpf_map_info map;
	struct pin_link link;
	_cleanup_close_ int fd = -1;

	e->kind = pin_open(e->path, &fd);
	switch (e->kind) {
	case PIN_MAP:
		(void)pin_map_info(fd, &map);
		e->ours = is_our_map(f, e->name, map.name, flat);
		break;
	case PIN_LINK:
		pin_link_info(fd, &link);
		e->link_id = link.id;
		e->ours = is_our_link(f, &link, e->name, flat);
		break;
	case PIN_PROGRAM:
		(void)pin_program_info(fd, &program);
		e->ours = !flat && is_our_program(e->name, program.name);
		break;
	default:
		break;
	}
}

/* Reads members that have the same place in every version's `state`. */
static void find_state(struct pin_family *f, const char *dir)
{
	_cleanup_close_ int fd = pin_get(dir, "state", PIN_MAP);
	_cleanup_free_ char *value = NULL;
	struct bpf_map_info info;
	const __u32 zero = 0;
	uint32_t abi;

	if (fd < 0 || pin_map_info(fd, &info) < 0 || info.type != BPF_MAP_TYPE_ARRAY ||
	    info.max_entries != 1 || !(info.map_flags & BPF_F_MMAPABLE) ||
	    info.value_size < offsetof(struct sp_state, abi_version) + sizeof(abi) ||
	    !streq(info.name, "state"))
		return;
	value = calloc(1, info.value_size);
	if (!value || bpf_map_lookup_elem(fd, &zero, value) < 0)
		return;
	memcpy(&abi, value + offsetof(struct sp_state, abi_version), sizeof(abi));
	if (!abi || abi > ABI_PLAUSIBLE_MAX)
		return;
	f->abi = abi;
	f->state_id = info.id;
	memcpy(&f->generation, value + offsetof(struct sp_state, generation),
	       sizeof(f->generation));
	if (abi == SP_ABI_VERSION && info.value_size == sizeof(struct sp_state))
		f->cgroup_root_id = ((const struct sp_state *)(const void *)value)->cgroup_root_id;
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

static void clear_family(struct pin_family *f)
{
	for (size_t i = 0; i < f->n; i++)
		free(f->v[i].path);
	free(f->v);
	*f = (struct pin_family){ 0 };
}

/* Directories in it are passed over.  flat: other things may lie there, so only what earlier
 * versions (to SP_ABI_VERSION 5) called so is ours.  -ENOENT: there is no such directory. */
static int read_family(const char *dir, bool flat, struct pin_family *ret)
{
	struct pin_family f = { 0 };
	int r = read_names(dir, &f);

	if (r < 0) {
		clear_family(&f);
		return r;
	}
	find_state(&f, dir);
	for (size_t i = 0; i < f.n; i++)
		judge(&f, &f.v[i], flat);
	*ret = f;
	return 0;
}

static int read_below(const char *path, const char *name, struct pin_family *ret)
{
	_cleanup_free_ char *dir = pin_path(path, name);
	int r = dir ? read_family(dir, false, ret) : -ENOMEM;

	return r == -ENOENT || r == -ENOTDIR ? 0 : r;
}

int pin_dir_read(const char *path, struct pin_dir *ret)
{
	struct pin_dir d = { 0 };
	int r = read_family(path, true, &d.flat);

	if (r == 0)
		r = read_below(path, PIN_CURRENT, &d.current);
	if (r == 0)
		r = read_below(path, PIN_NEXT, &d.next);
	if (r < 0)
		pin_dir_clear(&d);
	else
		*ret = d;
	return r;
}

void pin_dir_clear(struct pin_dir *d)
{
	for (size_t i = 0; i < ARRAY_SIZE(d->all); i++)
		clear_family(&d->all[i]);
}

size_t pin_dir_n_ours(const struct pin_dir *d)
{
	size_t n = 0;

	for (size_t i = 0; i < ARRAY_SIZE(d->all); i++)
		for (size_t j = 0; j < d->all[i].n; j++)
			n += d->all[i].v[j].ours;
	return n;
}

bool pin_dir_has_policy(const char *path)
{
	struct pin_dir d = { 0 };
	bool has = pin_dir_read(path, &d) == 0 && (d.current.abi || d.next.abi || d.flat.abi);

	pin_dir_clear(&d);
	return has;
}

/* --- opening one */

static int not_on_bpffs(const char *path)
{
	log_error("%s is not on a bpffs (mount -t bpf bpf /sys/fs/bpf), so nothing can be "
		  "pinned there",
		  path);
	return -ENODEV;
}

static int refuse_read_only(const char *path)
{
	return log_error_errno(EROFS,
			       "%s is read-only, so nothing can be pinned there (in a unit's "
			       "sandbox: ReadWritePaths=)",
			       path);
}

bool pin_dir_has_bpffs(const char *path)
{
	_cleanup_free_ char *copy = strdup(path);
	struct statfs fs;

	/* If that cannot be told, a later step reports the error. */
	return !copy || statfs(dirname(copy), &fs) < 0 || fs.f_type == BPF_FS_MAGIC;
}

/* Below something else than a bpffs mkdir() has any error, and none that helps. */
static int cannot_make(const char *path, int err)
{
	_cleanup_free_ char *copy = strdup(path);
	const char *name = strrchr(path, '/');

	if (!copy)
		return log_oom();
	if (!pin_dir_has_bpffs(path))
		return not_on_bpffs(path);
	if (err == EROFS)
		return refuse_read_only(dirname(copy));
	if (err == EPERM && strchr(name ? name : path, '.'))
		log_error("A name on a bpffs has no dots"); /* bpf_lookup() */
	return log_error_errno(err, "Cannot make the pin directory %s", path);
}

static int check_dir(int fd, const char *path)
{
	struct statvfs mount;
	struct statfs fs;
	struct stat st;

	if (fstatfs(fd, &fs) < 0 || fstatvfs(fd, &mount) < 0 || fstat(fd, &st) < 0)
		return log_error_errno(errno, "Cannot look at %s", path);
	if (fs.f_type != BPF_FS_MAGIC)
		return not_on_bpffs(path);
	if ((st.st_uid != 0 && st.st_uid != geteuid()) || (st.st_mode & (S_IWGRP | S_IWOTH))) {
		log_error("%s can be written by others than root: refused", path);
		return -EPERM;
	}
	return (mount.f_flag & ST_RDONLY) ? refuse_read_only(path) : 0;
}

int pin_dir_lock(const char *path)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	const int err = errno;
	struct stat st;
	int r;

	if (fd < 0 && err == ENOTDIR && lstat(path, &st) == 0 && S_ISLNK(st.st_mode)) {
		log_error("%s is a symbolic link: refused as a pin directory", path);
		return -ELOOP;
	}
	if (fd < 0)
		return log_error_errno(err, "Cannot open the pin directory %s", path);
	r = check_dir(fd, path);
	if (r < 0)
		return r;
	if (flock(fd, LOCK_EX | LOCK_NB) == 0)
		return TAKE_FD(fd);
	return errno == EWOULDBLOCK ? -EBUSY : log_error_errno(errno, "Cannot lock %s", path);
}

/* Before anything is replaced. */
static int check_contents(const char *path)
{
	struct pin_dir d = { 0 };
	int r = pin_dir_read(path, &d);

	if (r < 0)
		return log_error_errno(r, "Cannot look into the pin directory %s", path);
	for (size_t i = 0; i < ARRAY_SIZE(d.all); i++)
		for (size_t j = 0; j < d.all[i].n; j++) {
			const struct pin_entry *e = &d.all[i].v[j];

			if (e->ours || (&d.all[i] == &d.flat && !streq(e->name, PIN_CURRENT) &&
					!streq(e->name, PIN_NEXT)))
				continue;
			log_error("%s is not a pin of sockpol: move it away, or choose another pin "
				  "directory",
				  e->path);
			r = -EEXIST;
		}
	pin_dir_clear(&d);
	return r;
}

int pin_dir_open(const char *path)
{
	const bool created = mkdir(path, 0700) == 0;
	_cleanup_close_ int fd = -1;
	int r;

	if (!created && errno != EEXIST)
		return cannot_make(path, errno);
	fd = pin_dir_lock(path);
	if (fd == -EBUSY)
		return log_error_errno(EBUSY, "Another sockpol runs with the pin directory %s",
				       path);
	/* Another agent that was faster to lock what we made has it, and no pin there yet. */
	if (fd < 0 && created)
		rmdir(path);
	if (fd < 0)
		return fd;
	r = check_contents(path);
	return r < 0 ? r : TAKE_FD(fd);
}

/* --- what changes there */

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

/* Has another family the link, too? */
static bool is_elsewhere(const struct pin_dir *d, const struct pin_family *f, uint32_t link_id)
{
	for (size_t i = 0; i < ARRAY_SIZE(d->all); i++)
		for (size_t j = 0; &d->all[i] != f && j < d->all[i].n; j++)
			if (d->all[i].v[j].kind == PIN_LINK && d->all[i].v[j].link_id == link_id)
				return true;
	return false;
}

/*
 * Removes the pins of ours, and detaches their links, but those that another family has, too. Links
 * first, so that no program runs over half of its maps' pins; `state` last: without it the others
 * would not be known for ours.  Each failure is logged; returns the last of them, or 0.
 */
static int remove_family(struct pin_dir *d, struct pin_family *f)
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
			r = remove_pin(e, e->kind == PIN_LINK && !is_elsewhere(d, f, e->link_id));
			result = r < 0 ? r : result;
		}
	clear_family(f);
	return result;
}

static int remove_dir(const char *path, const char *name)
{
	_cleanup_free_ char *dir = pin_path(path, name);

	if (!dir)
		return log_oom();
	if (rmdir(dir) < 0 && errno != ENOENT)
		return log_error_errno(errno, "Cannot remove the directory %s", dir);
	return 0;
}

static int remove_next(const char *path, struct pin_dir *d)
{
	int r = remove_family(d, &d->next);

	return r < 0 ? r : remove_dir(path, PIN_NEXT);
}

static int exchange(const char *path)
{
	_cleanup_free_ char *next = pin_path(path, PIN_NEXT),
			    *current = pin_path(path, PIN_CURRENT);

	if (!next || !current)
		return log_oom();
	if (renameat2(AT_FDCWD, next, AT_FDCWD, current, RENAME_EXCHANGE) == 0 ||
	    (errno == ENOENT && rename(next, current) == 0))
		return 0;
	return log_error_errno(errno, "Cannot rename %s", next);
}

/*
 * Generations go on counting from one version of the state to the next, and of one that is not in
 * force yet it is 0.  So `next/` is either what a killed agent was about to put in force, or what
 * it had taken out of force and was about to remove.
 */
int pin_dir_recover(const char *path)
{
	struct pin_dir d = { 0 };
	int r = pin_dir_read(path, &d);

	if (r < 0)
		return log_error_errno(r, "Cannot look into the pin directory %s", path);
	if (d.next.generation > d.current.generation) {
		log_notice("An earlier agent ended while it took over at %s: finishing that", path);
		r = pin_dir_commit(path);
	} else {
		r = remove_next(path, &d);
		/* Likewise of an earlier version's pins. */
		if (r == 0 && d.current.generation)
			r = remove_family(&d, &d.flat);
	}
	pin_dir_clear(&d);
	return r;
}

int pin_dir_commit(const char *path)
{
	struct pin_dir d = { 0 };
	int r = exchange(path);

	if (r == 0)
		r = pin_dir_read(path, &d);
	if (r < 0)
		return r;
	if (remove_next(path, &d) < 0 || remove_family(&d, &d.flat) < 0)
		log_warning("Not all of what was in force before is out of %s, ignoring", path);
	pin_dir_clear(&d);
	return 0;
}

void pin_dir_give_up_next(const char *path)
{
	struct pin_dir d = { 0 };

	if (pin_dir_read(path, &d) == 0)
		(void)remove_next(path, &d);
	pin_dir_clear(&d);
}

int pin_dir_remove(const char *path)
{
	struct statvfs mount;
	struct pin_dir d = { 0 };
	int r, result = 0;

	if (statvfs(path, &mount) == 0 && mount.f_flag & ST_RDONLY) {
		log_error("%s is read-only: the pins there cannot be removed", path);
		return -EROFS;
	}
	r = pin_dir_read(path, &d);
	if (r < 0)
		return log_error_errno(r, "Cannot look into the pin directory %s", path);
	for (size_t i = 0; i < ARRAY_SIZE(d.all); i++) {
		r = remove_family(&d, &d.all[i]);
		result = r < 0 ? r : result;
	}
	if (result == 0)
		result = remove_dir(path, PIN_CURRENT);
	return result < 0 ? result : remove_dir(path, PIN_NEXT);
}
