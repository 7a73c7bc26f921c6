// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "base/log.h"
#include "base/progress.h"
#include "daemon/last_good.h"

#define NEW_LINK "." LAST_GOOD_LINK ".new"

DEFINE_CLEANUP(DIR *, closedir)

/* The two directories that the link may lead to: one is read while the other is written. */
static const char *const sets[] = { "files.0", "files.1" };

/* The directory comes from tmpfiles.d; an agent that nobody confines makes it. */
static int open_state_dir(const char *path, bool make)
{
	_cleanup_close_ int fd = -1;
	struct stat st;

	if (make)
		(void)mkdir(path, 0700);
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	return only_we_write(&st) ? TAKE_FD(fd) : -EPERM;
}

/* Returns the number of the set that is kept, or -ENOENT. */
static int find_set(int state_fd)
{
	char name[16];
	ssize_t n = readlinkat(state_fd, LAST_GOOD_LINK, name, sizeof(name) - 1);

	if (n < 0)
		return errno == EINVAL ? -ENOENT : -errno;
	name[n] = '\0';
	for (size_t i = 0; i < ARRAY_SIZE(sets); i++)
		if (streq(name, sets[i]))
			return (int)i;
	return -ENOENT;
}

static int open_set(int state_fd, const char *name)
{
	int fd = openat(state_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);

	return fd < 0 ? -errno : fd;
}

static DIR *list_set(int state_fd, const char *name)
{
	int fd = open_set(state_fd, name);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);

	if (!dir && fd >= 0)
		close(fd);
	return dir;
}

static bool is_dots(const char *name)
{
	return streq(name, ".") || streq(name, "..");
}

static void remove_set(int state_fd, const char *name)
{
	_cleanup_(closedir) DIR *dir = list_set(state_fd, name);
	const struct dirent *entry;

	while (dir && (entry = readdir(dir)))
		if (!is_dots(entry->d_name))
			(void)unlinkat(dirfd(dir), entry->d_name, 0);
	(void)unlinkat(state_fd, name, dir ? AT_REMOVEDIR : 0);
}

static const char *name_of(const struct config_file *f)
{
	const char *slash = strrchr(f->path, '/');

	return slash ? slash + 1 : f->path;
}

static bool is_kept(int set_fd, const struct config_file *f)
{
	_cleanup_free_ char *text = malloc(f->size + 1);
	_cleanup_close_ int fd = openat(set_fd, name_of(f), O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	struct stat st;
	size_t n = 0;
	ssize_t got = 1;

	if (!text || fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || !only_we_write(&st))
		return false;
	for (; got > 0 && n <= f->size; n += (size_t)got) {
		got = TEMP_FAILURE_RETRY(read(fd, text + n, f->size + 1 - n));
		if (got < 0)
			return false;
	}
	return n == f->size && memcmp(text, f->text, n) == 0;
}

static bool are_kept(int state_fd, int set, const struct config *c)
{
	_cleanup_(closedir) DIR *dir = set < 0 ? NULL : list_set(state_fd, sets[set]);
	const struct dirent *entry;
	struct stat st;
	size_t n = 0;

	if (!dir || fstat(dirfd(dir), &st) < 0 || !only_we_write(&st))
		return false;
	while ((entry = readdir(dir)))
		n += !is_dots(entry->d_name);
	for (size_t i = 0; i < c->n_files && n == c->n_files; i++)
		if (!is_kept(dirfd(dir), &c->files[i]))
			return false;
	return n == c->n_files;
}

static int write_file(int set_fd, const struct config_file *f)
{
	_cleanup_close_ int fd = openat(set_fd, name_of(f),
					O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);

	if (fd < 0)
		return -errno;
	for (size_t n = 0; n < f->size;) {
		ssize_t did = TEMP_FAILURE_RETRY(write(fd, f->text + n, f->size - n));

		if (did < 0)
			return -errno;
		n += (size_t)did;
	}
	/* The link must not come to lead to files that a power failure leaves empty. */
	return fsync(fd) < 0 ? -errno : 0;
}

static int write_set(int state_fd, const char *name, const struct config *c)
{
	_cleanup_close_ int fd = -1;
	int r = 0;

	remove_set(state_fd, name);
	if (mkdirat(state_fd, name, 0700) < 0)
		return -errno;
	fd = open_set(state_fd, name);
	if (fd < 0)
		return fd;
	for (size_t i = 0; i < c->n_files && r == 0; i++) {
		progress_made();
		r = write_file(fd, &c->files[i]);
	}
	return r == 0 && fsync(fd) < 0 ? -errno : r;
}

static int point_to(int state_fd, const char *name)
{
	(void)unlinkat(state_fd, NEW_LINK, 0); /* a dead agent's */
	if (symlinkat(name, state_fd, NEW_LINK) < 0)
		return -errno;
	if (renameat(state_fd, NEW_LINK, state_fd, LAST_GOOD_LINK) < 0 || fsync(state_fd) < 0)
		return -errno;
	return 0;
}

static int keep(int state_fd, const struct config *c)
{
	int old = find_set(state_fd), new = old == 0, r;

	if (are_kept(state_fd, old, c))
		return 0;
	r = write_set(state_fd, sets[new], c);
	if (r == 0)
		r = point_to(state_fd, sets[new]);
	if (find_set(state_fd) == new)
		remove_set(state_fd, sets[!new]);
	else /* gives the room back */
		remove_set(state_fd, sets[new]);
	return r;
}

void last_good_keep(const char *state_dir, const struct config *c)
{
	_cleanup_close_ int fd = open_state_dir(state_dir, /* make= */ true);
	int r = fd < 0 ? fd : keep(fd, c);

	if (r < 0)
		log_warning_errno(r,
				  "Cannot keep the policy files in %s for a start with files that "
				  "are wrong, ignoring",
				  state_dir);
}

int last_good_find(const char *state_dir, char **ret)
{
	_cleanup_close_ int fd = open_state_dir(state_dir, /* make= */ false);
	int set = fd < 0 ? fd : find_set(fd);

	if (set == -ENOENT)
		return set;
	if (set == -EPERM) {
		log_error("The last good files in %s are refused: others than root can write there",
			  state_dir);
		return set;
	}
	if (set < 0)
		return log_error_errno(set, "Cannot look for the last good files in %s", state_dir);
	*ret = text_format("%s/%s", state_dir, sets[set]);
	return *ret ? 0 : log_oom();
}
