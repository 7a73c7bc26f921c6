// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "policy/loader.h"
#include "policy/policy_dirs.h"

static void cleanup_closedir(DIR **dir)
{
	if (*dir)
		closedir(*dir);
}

/* Is the file or directory root's or our own?  Anybody who can write it can set policy. */
static bool is_trusted(const struct stat *st, const struct position *at, struct diags *diags)
{
	if (st->st_uid != 0 && st->st_uid != geteuid()) {
		diag_error(diags, at, "owned by user %u: policies must be owned by root",
			   (unsigned)st->st_uid);
		return false;
	}
	if (st->st_mode & (S_IWGRP | S_IWOTH)) {
		diag_error(diags, at, "writable by %s (mode %04o): only its owner may write it",
			   st->st_mode & S_IWOTH ? "others" : "its group",
			   (unsigned)(st->st_mode & 07777));
		return false;
	}
	return true;
}

static bool is_missing(const char *path)
{
	return faccessat(AT_FDCWD, path, F_OK, AT_SYMLINK_NOFOLLOW) < 0 && errno == ENOENT;
}

/* Opens a directory if it can be trusted.  Returns 0; -ENOENT; or -EBADMSG, reported. */
static int open_dir(const char *path, struct diags *diags, int *ret)
{
	struct position at = { .file = path };
	_cleanup_close_ int fd = -1;
	struct stat st;

	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0 && errno == ENOENT && is_missing(path))
		return -ENOENT;
	if (fd < 0 || fstat(fd, &st) < 0) {
		diag_error(diags, &at, "cannot open the policy directory: %s", strerror(errno));
		return -EBADMSG;
	}
	if (!is_trusted(&st, &at, diags))
		return -EBADMSG;
	*ret = TAKE_FD(fd);
	return 0;
}

/* Does a directory entry count?  Warns of one that was surely meant to. */
static bool is_policy_file(const char *name, const char *path, struct diags *diags)
{
	const char *suffix = strrchr(name, '.');
	struct position at = { .file = path };

	if (name[0] == '.' || !suffix)
		return false;
	if (streq(suffix, ".yaml"))
		return true;
	if (strcasecmp(suffix, ".yml") == 0 || strcasecmp(suffix, ".yaml") == 0)
		diag_warning(diags, &at, "ignored: the names of policy files end in '.yaml'");
	return false;
}

static int add_file(struct policy_dirs *d, int dir_fd, char *path)
{
	if (GROW(d->files, d->n_files) < 0)
		return -ENOMEM;
	d->files[d->n_files++] = (struct policy_file){
		.path = path,
		.name = strrchr(path, '/') + 1,
		.dir_fd = dir_fd,
	};
	return 0;
}

/* Adds the files of one directory, in no order.  -EBADMSG: reported, and the next one is read. */
static int scan_entries(struct policy_dirs *d, DIR *dir, int dir_fd, const char *dir_path,
			struct diags *diags)
{
	struct position at = { .file = dir_path };
	int length = (int)strlen(dir_path);
	const struct dirent *entry;
	size_t before = d->n_files;

	while (length > 1 && dir_path[length - 1] == '/')
		length--;
	if (length == 1 && dir_path[0] == '/')
		length = 0;
	while (errno = 0, (entry = readdir(dir))) {
		_cleanup_free_ char *path = NULL;

		if (asprintf(&path, "%.*s/%s", length, dir_path, entry->d_name) < 0)
			return -ENOMEM;
		if (!is_policy_file(entry->d_name, path, diags))
			continue;
		if (d->n_files - before == LOADER_FILES_MAX) {
			diag_error(diags, &at, "more than %u policy files", LOADER_FILES_MAX);
			return -EBADMSG;
		}
		if (add_file(d, dir_fd, path) < 0)
			return -ENOMEM;
		path = NULL;
	}
	if (errno) {
		diag_error(diags, &at, "cannot read the policy directory: %s", strerror(errno));
		return -EBADMSG;
	}
	return 0;
}

/* Has this directory been read already, under whatever name? */
static bool was_scanned(const struct policy_dirs *d, int fd)
{
	struct stat st, other;

	if (fstat(fd, &st) < 0)
		return false;
	for (size_t i = 0; i < d->n_fds; i++)
		if (fstat(d->fds[i], &other) == 0 && st.st_dev == other.st_dev &&
		    st.st_ino == other.st_ino)
			return true;
	return false;
}

static int scan_dir(struct policy_dirs *d, const char *path, struct diags *diags)
{
	__attribute__((cleanup(cleanup_closedir))) DIR *dir = NULL;
	_cleanup_close_ int fd = -1;
	int r, listing;

	r = open_dir(path, diags, &fd);
	if (r < 0)
		return r;
	if (was_scanned(d, fd))
		return 0;
	listing = fcntl(fd, F_DUPFD_CLOEXEC, 0); /* fdopendir takes it over */
	dir = listing < 0 ? NULL : fdopendir(listing);
	if (!dir) {
		if (listing >= 0)
			close(listing);
		return -ENOMEM;
	}
	if (GROW(d->fds, d->n_fds) < 0)
		return -ENOMEM;
	d->fds[d->n_fds++] = fd;
	return scan_entries(d, dir, TAKE_FD(fd), path, diags);
}

static int compare_files(const void *a, const void *b)
{
	const struct policy_file *x = a, *y = b;

	return strcmp(x->name, y->name);
}

/* Sorts the files added from `first` on and merges them with those before, which win if names are
 * equal. */
static int merge_dir(struct policy_dirs *d, size_t first)
{
	struct policy_file *merged;
	size_t i = 0, j = first, n = 0;

	if (first == d->n_files)
		return 0;
	qsort(d->files + first, d->n_files - first, sizeof(*d->files), compare_files);
	merged = calloc(d->n_files, sizeof(*merged));
	if (!merged)
		return -ENOMEM;
	while (i < first || j < d->n_files) {
		int c = i == first	  ? 1
			: j == d->n_files ? -1
					  : compare_files(&d->files[i], &d->files[j]);

		if (c == 0)
			free(d->files[j++].path); /* an earlier directory has a file of this name */
		merged[n++] = d->files[c <= 0 ? i++ : j++];
	}
	memcpy(d->files, merged, n * sizeof(*merged));
	d->n_files = n;
	free(merged);
	return 0;
}

int policy_dirs_scan(const char *const *dirs, struct diags *diags, struct policy_dirs *ret)
{
	struct policy_dirs d = { 0 };

	for (; *dirs; dirs++) {
		size_t before = d.n_files;
		int r = scan_dir(&d, *dirs, diags);

		if (r != -ENOMEM)
			r = merge_dir(&d, before);
		if (r == -ENOMEM) {
			policy_dirs_clear(&d);
			return r;
		}
	}
	*ret = d;
	return 0;
}

void policy_dirs_warn_missing(const char *const *dirs, struct diags *diags)
{
	for (; *dirs; dirs++)
		if (is_missing(*dirs))
			diag_warning(diags, &(struct position){ .file = *dirs },
				     "there is no such policy directory");
}

void policy_dirs_clear(struct policy_dirs *d)
{
	for (size_t i = 0; i < d->n_files; i++)
		free(d->files[i].path);
	for (size_t i = 0; i < d->n_fds; i++)
		close(d->fds[i]);
	free(d->files);
	free(d->fds);
	*d = (struct policy_dirs){ 0 };
}

static const char *file_kind(mode_t mode)
{
	switch (mode & S_IFMT) {
	case S_IFDIR:
		return "a directory";
	case S_IFIFO:
		return "a FIFO";
	case S_IFCHR:
	case S_IFBLK:
		return "a device";
	case S_IFSOCK:
		return "a socket";
	default:
		return "of an unknown kind";
	}
}

/* Reads at most the limit and one byte more.  The size may have changed since fstat(). */
static int read_all(int fd, char *buf, size_t room, size_t *ret_size)
{
	size_t size = 0;

	while (size < room) {
		ssize_t n = read(fd, buf + size, room - size);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		size += (size_t)n;
	}
	*ret_size = size;
	return 0;
}

static bool is_dev_null(const struct stat *st)
{
	return S_ISCHR(st->st_mode) && st->st_rdev == makedev(1, 3);
}

static int report_open_error(int dir_fd, const char *name, const struct position *at, int err,
			     struct diags *diags)
{
	struct stat st;

	if (err == ENOENT && fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
	    S_ISLNK(st.st_mode))
		diag_error(diags, at, "a link that leads nowhere");
	else
		diag_error(diags, at, "cannot open: %s", strerror(err));
	return -EBADMSG;
}

static int report_too_large(const struct position *at, struct diags *diags)
{
	diag_error(diags, at, "larger than %u MiB, the limit of a policy file",
		   LOADER_FILE_SIZE_MAX >> 20);
	return -EBADMSG;
}

int policy_file_read(int dir_fd, const char *name, const char *path, struct diags *diags,
		     char **ret_text, size_t *ret_size)
{
	struct position at = { .file = path };
	_cleanup_free_ char *text = NULL;
	_cleanup_close_ int fd = -1;
	struct stat st;
	size_t size = 0;
	int r;

	fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (fd < 0 || fstat(fd, &st) < 0)
		return report_open_error(dir_fd, name, &at, errno, diags);
	if (is_dev_null(&st)) {
		*ret_text = NULL;
		*ret_size = 0;
		return 0;
	}
	if (!S_ISREG(st.st_mode)) {
		diag_error(diags, &at, "not a regular file but %s", file_kind(st.st_mode));
		return -EBADMSG;
	}
	if (!is_trusted(&st, &at, diags))
		return -EBADMSG;
	if (st.st_size > LOADER_FILE_SIZE_MAX)
		return report_too_large(&at, diags);
	text = malloc((size_t)st.st_size + 1);
	if (!text)
		return -ENOMEM;
	r = read_all(fd, text, (size_t)st.st_size + 1, &size);
	if (r < 0) {
		diag_error(diags, &at, "cannot read: %s", strerror(-r));
		return -EBADMSG;
	}
	if (size > (size_t)st.st_size) {
		diag_error(diags, &at, "grows while it is read");
		return -EBADMSG;
	}
	*ret_text = size ? TAKE_PTR(text) : NULL;
	*ret_size = size;
	return 0;
}
