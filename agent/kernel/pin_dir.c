// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>

#include "kernel/kernel.h"
#include "base/log.h"
#include "kernel/pin.h"
#include "kernel/pin_dir.h"
#include "kernel/pin_owner.h"

static int not_on_bpffs(const char *path)
{
	log_error("%s is not on a bpffs (mount -t bpf bpf /sys/fs/bpf), so nothing can be "
		  "pinned there",
		  path);
	return -EINVAL;
}

static int refuse_read_only(const char *path)
{
	return log_error_errno(EROFS,
			       "%s is read-only, so nothing can be pinned there (in a unit's "
			       "sandbox: ReadWritePaths=)",
			       path);
}

/* Below something else than a bpffs mkdir() has any error, and none that helps. */
static int cannot_make(const char *path, int err)
{
	_cleanup_free_ char *parent = strdup(path);
	char *name = parent ? strrchr(parent, '/') : NULL;
	struct statfs fs;

	if (!parent)
		return log_oom();
	if (name && name != parent)
		*name = '\0';
	if (name && statfs(parent, &fs) == 0 && fs.f_type != BPF_FS_MAGIC)
		return not_on_bpffs(path);
	if (err == EROFS)
		return refuse_read_only(name && name != parent ? parent : "/");
	if (err == EPERM && strchr(name ? name + 1 : path, '.'))
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

static int explain_open_failure(int err, const char *path)
{
	struct stat st;

	if (err == ENOTDIR && lstat(path, &st) == 0 && S_ISLNK(st.st_mode)) {
		log_error("%s is a symbolic link: refused as a pin directory", path);
		return -ELOOP;
	}
	return log_error_errno(err, "Cannot open the pin directory %s", path);
}

int pin_dir_lock(const char *path)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	int r;

	if (fd < 0)
		return explain_open_failure(errno, path);
	r = check_dir(fd, path);
	if (r < 0)
		return r;
	if (flock(fd, LOCK_EX | LOCK_NB) < 0)
		return errno == EWOULDBLOCK ? -EBUSY
					    : log_error_errno(errno, "Cannot lock %s", path);
	return TAKE_FD(fd);
}

int pin_dir_open(const char *path, bool create)
{
	_cleanup_close_ int fd = -1;
	bool created = false;
	int r;

	if (create && mkdir(path, 0700) == 0)
		created = true;
	else if (create && errno != EEXIST)
		return cannot_make(path, errno);
	fd = pin_dir_lock(path);
	/* Another agent that was faster to lock what we made has it, and no pin there yet. */
	if (fd < 0 && fd != -EBUSY && created)
		rmdir(path);
	if (fd == -EBUSY)
		return log_error_errno(EBUSY, "Another sockpol runs with the pin directory %s",
				       path);
	if (fd < 0)
		return fd;
	r = pin_dir_check(path);
	return r < 0 ? r : TAKE_FD(fd);
}

static bool has_pin(const char *dir, const char *name)
{
	_cleanup_free_ char *path = NULL;

	return asprintf(&path, "%s/%s", dir, name) >= 0 && access(path, F_OK) == 0;
}

bool pin_dir_has_pins(const char *path)
{
	return has_pin(path, kernel_map_names[KERNEL_MAP_STATE]);
}

bool pin_dir_has_some(const char *path)
{
	for (int i = 0; i < KERNEL_MAP_MAX; i++)
		if (has_pin(path, kernel_map_names[i]))
			return true;
	for (size_t i = 0; i < n_kernel_link_names; i++)
		if (has_pin(path, kernel_link_names[i]))
			return true;
	return false;
}

/* Calls fn for what is pinned under each name that we use, links first. */
typedef int pin_fn(const char *path, enum pin_owner owner);

static int visit(const char *dir, const char *name, const char *suffix, int map, uint32_t abi,
		 pin_fn *fn)
{
	_cleanup_free_ char *path = NULL;
	int owner;

	if (asprintf(&path, "%s/%s%s", dir, name, suffix) < 0)
		return log_oom();
	owner = map < 0 ? pin_owner_of_link(path, name) : pin_owner_of_map(path, map, abi);
	if (owner < 0)
		return log_error_errno(owner, "Cannot look at the pin %s", path);
	return owner == PIN_NOBODY ? 0 : fn(path, owner);
}

static int each_pin(const char *dir, pin_fn *fn)
{
	static const char *const suffixes[] = { "", PIN_STAGED_SUFFIX };
	const uint32_t abi = pin_owner_abi(dir);
	int result = 0, r;

	for (size_t s = 0; s < ARRAY_SIZE(suffixes); s++) {
		for (size_t i = n_kernel_link_names; i-- > 0;) {
			r = visit(dir, kernel_link_names[i], suffixes[s], -1, abi, fn);
			result = r < 0 ? r : result;
		}
		for (int i = 0; i < KERNEL_MAP_MAX; i++) {
			r = visit(dir, kernel_map_names[i], suffixes[s], i, abi, fn);
			result = r < 0 ? r : result;
		}
	}
	return result;
}

static int refuse_foreign(const char *path, enum pin_owner owner)
{
	if (owner == PIN_OURS)
		return 0;
	log_error("%s is not a pin of sockpol: move it away, or choose another pin directory",
		  path);
	return -EEXIST;
}

int pin_dir_check(const char *path)
{
	return each_pin(path, refuse_foreign);
}

static int remove_ours(const char *path, enum pin_owner owner)
{
	if (owner == PIN_OURS && pin_remove(path) < 0)
		return log_error_errno(errno, "Cannot remove the pin %s", path);
	return 0;
}

static void remove_retired(const char *dir, const char *name, const char *suffix)
{
	_cleanup_free_ char *path = NULL;

	if (asprintf(&path, "%s/%s%s", dir, name, suffix) < 0)
		(void)log_oom();
	else if (pin_owner_is_retired(path) && pin_remove(path) < 0)
		log_warning_errno(errno, "Cannot remove the pin %s, ignoring", path);
}

void pin_dir_clear_retired(const char *path)
{
	for (size_t i = 0; i < n_pin_retired_names; i++) {
		remove_retired(path, pin_retired_names[i], "");
		remove_retired(path, pin_retired_names[i], PIN_STAGED_SUFFIX);
	}
}

void pin_dir_clear(const char *path)
{
	struct statvfs mount;

	if (statvfs(path, &mount) == 0 && mount.f_flag & ST_RDONLY) {
		log_error("%s is read-only: the pins there cannot be removed", path);
		return;
	}
	each_pin(path, remove_ours);
	pin_dir_clear_retired(path);
}
