// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>

#include "base/log.h"
#include "kernel/pin_dir.h"

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

static int refuse_foreign(const char *path)
{
	log_error("%s is not a pin of sockpol: move it away, or choose another pin directory",
		  path);
	return -EEXIST;
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

/* Before anything is replaced. */
static int check_contents(const char *path)
{
	static const char *const names[] = { PIN_CURRENT, PIN_NEXT };
	int result = 0;

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		_cleanup_free_ char *dir = pin_path(path, names[i]);
		struct pin_family f = { 0 };
		int r = dir ? pin_family_read(dir, false, &f) : -ENOMEM;

		if (r == -ENOTDIR)
			result = refuse_foreign(dir);
		else if (r < 0 && r != -ENOENT)
			result = log_error_errno(r, "Cannot look into the pin directory %s", path);
		for (size_t j = 0; r == 0 && j < f.n; j++)
			if (!f.v[j].ours)
				result = refuse_foreign(f.v[j].path);
		pin_family_clear(&f);
	}
	return result;
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
	r = check_contents(path);
	return r < 0 ? r : TAKE_FD(fd);
}

static int read_family(const char *path, const char *name, struct pin_family *ret)
{
	_cleanup_free_ char *dir = pin_path(path, name);
	int r = dir ? pin_family_read(dir, false, ret) : -ENOMEM;

	return r == -ENOENT || r == -ENOTDIR ? 0 : r;
}

int pin_dir_read(const char *path, struct pin_dir *ret)
{
	struct pin_dir d = { 0 };
	int r = pin_family_read(path, true, &d.flat);

	if (r == 0)
		r = read_family(path, PIN_CURRENT, &d.current);
	if (r == 0)
		r = read_family(path, PIN_NEXT, &d.next);
	if (r < 0)
		pin_dir_clear(&d);
	else
		*ret = d;
	return r;
}

void pin_dir_clear(struct pin_dir *d)
{
	pin_family_clear(&d->current);
	pin_family_clear(&d->next);
	pin_family_clear(&d->flat);
}

size_t pin_dir_n_ours(const struct pin_dir *d)
{
	return pin_family_n_ours(&d->current) + pin_family_n_ours(&d->next) +
	       pin_family_n_ours(&d->flat);
}

bool pin_dir_has_policy(const char *path)
{
	struct pin_dir d = { 0 };
	bool has = pin_dir_read(path, &d) == 0 && (d.current.abi || d.next.abi || d.flat.abi);

	pin_dir_clear(&d);
	return has;
}

/* Its links that are in one of the other families, too, stay attached. */
static int remove_family(const struct pin_family *f, const struct pin_family *others[],
			 size_t n_others)
{
	_cleanup_free_ uint32_t *keep = NULL;
	size_t n = 0, room = 0;

	for (size_t i = 0; i < n_others; i++)
		room += others[i]->n;
	keep = calloc(room + 1, sizeof(*keep));
	if (!keep)
		return log_oom();
	for (size_t i = 0; i < n_others; i++)
		for (size_t j = 0; j < others[i]->n; j++)
			if (others[i]->v[j].kind == PIN_LINK)
				keep[n++] = others[i]->v[j].id;
	return pin_family_remove(f, keep, n);
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

static int remove_next(const char *path, const struct pin_dir *d)
{
	const struct pin_family *others[] = { &d->current, &d->flat };
	int r = remove_family(&d->next, others, ARRAY_SIZE(others));

	return r < 0 ? r : remove_dir(path, PIN_NEXT);
}

static int remove_flat(const struct pin_dir *d)
{
	const struct pin_family *others[] = { &d->current };

	return remove_family(&d->flat, others, ARRAY_SIZE(others));
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
			r = remove_flat(&d);
	}
	pin_dir_clear(&d);
	return r;
}

int pin_dir_make_next(const char *path)
{
	_cleanup_free_ char *next = pin_path(path, PIN_NEXT);

	if (!next)
		return log_oom();
	return mkdir(next, 0700) < 0 ? log_error_errno(errno, "Cannot make the directory %s", next)
				     : 0;
}

int pin_dir_commit(const char *path)
{
	struct pin_dir d = { 0 };
	const struct pin_family *others[] = { &d.current };
	int r = exchange(path);

	if (r == 0)
		r = pin_dir_read(path, &d);
	if (r < 0)
		return r;
	if (remove_family(&d.next, others, 1) < 0 || remove_dir(path, PIN_NEXT) < 0 ||
	    remove_flat(&d) < 0)
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
	const struct pin_family *const families[] = { &d.current, &d.next, &d.flat };
	int r, result = 0;

	if (statvfs(path, &mount) == 0 && mount.f_flag & ST_RDONLY) {
		log_error("%s is read-only: the pins there cannot be removed", path);
		return -EROFS;
	}
	r = pin_dir_read(path, &d);
	if (r < 0)
		return log_error_errno(r, "Cannot look into the pin directory %s", path);
	for (size_t i = 0; i < ARRAY_SIZE(families); i++) {
		r = pin_family_remove(families[i], NULL, 0);
		result = r < 0 ? r : result;
	}
	pin_dir_clear(&d);
	if (result == 0)
		result = remove_dir(path, PIN_CURRENT);
	return result < 0 ? result : remove_dir(path, PIN_NEXT);
}
