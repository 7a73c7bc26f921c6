// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>

#include "host/cgroup.h"
#include "host/mount.h"

int cgroup_mount_in(FILE *mountinfo, char **ret)
{
	_cleanup_(mount_clear) struct mount m = { 0 };
	_cleanup_free_ char *found = NULL;
	int r;

	while ((r = mount_next(mountinfo, &m)) > 0) {
		/* A bind mount of a part of the hierarchy is the last resort. */
		bool whole = streq(m.root, "/");

		if (!streq(m.type, "cgroup2") || (found && !whole))
			continue;
		free(found);
		found = strdup(m.point);
		if (!found)
			return -ENOMEM;
		if (whole)
			break;
	}
	if (!found)
		return r < 0 ? r : -ENOENT;
	*ret = TAKE_PTR(found);
	return 0;
}

int cgroup_mount(char **ret)
{
	_cleanup_fclose_ FILE *f = fopen(MOUNTINFO, "re");

	return f ? cgroup_mount_in(f, ret) : -errno;
}

int cgroup_id_of_dir(const char *directory, uint64_t *ret)
{
	struct stat st;

	if (stat(directory, &st) < 0)
		return -errno;
	if (!S_ISDIR(st.st_mode))
		return -ENOTDIR;
	*ret = st.st_ino;
	return 0;
}

size_t cgroup_n_descendants(const char *directory)
{
	static const char key[] = "nr_descendants ";
	_cleanup_free_ char *path = NULL, *line = NULL;
	_cleanup_fclose_ FILE *f = NULL;
	size_t size = 0;

	if (asprintf(&path, "%s/cgroup.stat", directory) < 0)
		return 0;
	f = fopen(path, "re");
	while (f && getline(&line, &size, f) >= 0) {
		char *end;
		unsigned long n;

		if (strncmp(line, key, strlen(key)) != 0)
			continue;
		errno = 0;
		n = strtoul(line + strlen(key), &end, 10);
		return !errno && *end == '\n' ? n : 0;
	}
	return 0;
}

int cgroup_of_file(FILE *proc_cgroup, char **ret)
{
	static const char unified[] = "0::", gone[] = " (deleted)";
	_cleanup_free_ char *line = NULL;
	size_t size = 0;
	ssize_t length;

	errno = 0;
	while ((length = getline(&line, &size, proc_cgroup)) >= 0) {
		size_t n = (size_t)length;
		char *path;

		if (n && line[n - 1] == '\n')
			line[--n] = '\0';
		if (strncmp(line, unified, strlen(unified)) != 0)
			continue;
		/* The kernel marks the cgroup of a process (a zombie) that outlives the directory
		 * like this. */
		if (n > strlen(gone) && streq(line + n - strlen(gone), gone))
			line[n - strlen(gone)] = '\0';
		path = strdup(line + strlen(unified));
		if (!path)
			return -ENOMEM;
		*ret = path;
		return 0;
	}
	return errno ? -errno : -ENODATA;
}

int cgroup_of_pid(pid_t pid, char **ret)
{
	char path[sizeof("/proc//cgroup") + 3 * sizeof(pid)];
	_cleanup_fclose_ FILE *f = NULL;

	snprintf(path, sizeof(path), "/proc/%d/cgroup", (int)pid);
	f = fopen(path, "re");
	if (!f)
		return errno == ENOENT ? -ESRCH : -errno;
	return cgroup_of_file(f, ret);
}

/* Returns "/a/b" for "MOUNT/a/b"; NULL when the path is not below the mount. */
static const char *below_mount(const char *mount, const char *path)
{
	size_t length = strlen(mount);

	while (length && mount[length - 1] == '/')
		length--;
	if (strncmp(path, mount, length) != 0 || (path[length] && path[length] != '/'))
		return NULL;
	return path[length] ? path + length : "/";
}

/* Opens the directory by the id, as kernfs allows.  Needs CAP_DAC_READ_SEARCH. */
static int path_by_handle(const char *mount, uint64_t id, char **ret)
{
	enum { FILEID_KERNFS = 0xfe }; /* include/linux/exportfs.h */
	union {
		struct file_handle handle;
		unsigned char room[sizeof(struct file_handle) + sizeof(id)];
	} h = { .handle = { .handle_bytes = sizeof(id), .handle_type = FILEID_KERNFS } };
	char link[sizeof("/proc/self/fd/") + 3 * sizeof(int)], target[PATH_MAX];
	_cleanup_close_ int mount_fd = -1, fd = -1;
	const char *path;
	ssize_t n;

	mount_fd = open(mount, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (mount_fd < 0)
		return -errno;
	memcpy(h.room + sizeof(struct file_handle), &id, sizeof(id));
	fd = open_by_handle_at(mount_fd, &h.handle, O_PATH | O_CLOEXEC);
	if (fd < 0)
		return errno == ESTALE ? -ENOENT : -errno;
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, target, sizeof(target));
	if (n < 0)
		return -errno;
	if ((size_t)n == sizeof(target))
		return -ENAMETOOLONG;
	target[n] = '\0';
	path = below_mount(mount, target);
	if (!path)
		return -ENOENT;
	*ret = strdup(path);
	return *ret ? 0 : -ENOMEM;
}

/* A cgroup that is searched for. */
struct wanted {
	uint64_t id;
	char *path; /* owned; NULL: not found (yet) */
};

/* Cgroups sorted by id, without duplicates. */
struct wanted_set {
	struct wanted *v;
	size_t n;
	size_t n_missing;
};

static int compare_wanted(const void *a, const void *b)
{
	const struct wanted *x = a, *y = b;

	return x->id < y->id ? -1 : x->id > y->id;
}

static struct wanted *find_wanted(const struct wanted_set *w, uint64_t id)
{
	const struct wanted key = { .id = id };

	return w->n ? bsearch(&key, w->v, w->n, sizeof(*w->v), compare_wanted) : NULL;
}

static int note_path(struct wanted_set *w, uint64_t id, const char *path)
{
	struct wanted *one = find_wanted(w, id);

	if (!one || one->path)
		return 0;
	one->path = strdup(path);
	if (!one->path)
		return -ENOMEM;
	w->n_missing--;
	return 0;
}

/* Searches directory `dir` (MOUNT or below) and what is under it, until all are found. */
static int search(const char *mount, const char *dir, struct wanted_set *w)
{
	DIR *d = opendir(dir);
	const struct dirent *e;
	int r = 0;

	if (!d) /* removed meanwhile, or closed to us */
		return 0;
	while (r == 0 && w->n_missing && (e = readdir(d))) {
		_cleanup_free_ char *child = NULL;

		if (e->d_type != DT_DIR || streq(e->d_name, ".") || streq(e->d_name, ".."))
			continue;
		if (asprintf(&child, "%s/%s", dir, e->d_name) < 0) {
			child = NULL;
			r = -ENOMEM;
		} else {
			r = note_path(w, e->d_ino, below_mount(mount, child));
			if (r == 0)
				r = search(mount, child, w);
		}
	}
	closedir(d);
	return r;
}

/* Walks the hierarchy, once for all of them, as the privilege to open by handle is missing. */
static int find_paths(const char *mount, struct wanted_set *w)
{
	uint64_t root = 0;
	int r = cgroup_id_of_dir(mount, &root);

	if (r == 0)
		r = note_path(w, root, "/");
	for (size_t i = 0; i < w->n && r == 0; i++) {
		if (w->v[i].path)
			continue;
		r = path_by_handle(mount, w->v[i].id, &w->v[i].path);
		if (r == -EPERM || r == -EACCES || r == -EOPNOTSUPP)
			return search(mount, mount, w);
		if (r == 0 || r == -ENOENT) {
			w->n_missing--;
			r = 0;
		}
	}
	return r;
}

static int wanted_set_make(const uint64_t *ids, size_t n, struct wanted_set *ret)
{
	struct wanted_set w = { .v = calloc(n + 1, sizeof(*w.v)) };

	if (!w.v)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++)
		w.v[i].id = ids[i];
	qsort(w.v, n, sizeof(*w.v), compare_wanted);
	for (size_t i = 0; i < n; i++)
		if (w.v[i].id && (!w.n || w.v[w.n - 1].id != w.v[i].id))
			w.v[w.n++].id = w.v[i].id;
	w.n_missing = w.n;
	*ret = w;
	return 0;
}

static void wanted_set_clear(struct wanted_set *w)
{
	for (size_t i = 0; i < w->n; i++)
		free(w->v[i].path);
	free(w->v);
}

int cgroup_paths_of_ids(const char *mount, const uint64_t *ids, size_t n, char **paths)
{
	struct wanted_set w;
	int r = wanted_set_make(ids, n, &w);

	if (r < 0)
		return r;
	r = find_paths(mount, &w);
	for (size_t i = 0; i < n && r == 0; i++) {
		const struct wanted *one = find_wanted(&w, ids[i]);

		if (!one || !one->path)
			continue;
		paths[i] = strdup(one->path);
		if (!paths[i])
			r = -ENOMEM;
	}
	wanted_set_clear(&w);
	return r;
}

int cgroup_path_of_id(const char *mount, uint64_t id, char **ret)
{
	char *path = NULL;
	int r = cgroup_paths_of_ids(mount, &id, 1, &path);

	if (r < 0 || !path)
		return r < 0 ? r : -ENOENT;
	*ret = path;
	return 0;
}

/* An existing directory, by any name, comes before a path below the mount. */
int cgroup_resolve(const char *mount, const char *name, char **ret)
{
	_cleanup_free_ char *real = realpath(name, NULL);
	const char *below = real ? below_mount(mount, real) : NULL;
	char *path;

	if (!below)
		return cgroup_normalize(mount, name, ret);
	path = strdup(below);
	if (!path)
		return -ENOMEM;
	*ret = path;
	return 0;
}

int cgroup_normalize(const char *mount, const char *path, char **ret)
{
	const char *from = mount && path[0] == '/' ? below_mount(mount, path) : NULL;
	_cleanup_free_ char *rest = strdup(from ? from : path), *result = NULL;
	const char *component;
	char *next = rest, *to;

	/* one more for the '/' of a relative path */
	result = calloc(1, strlen(path) + 2);
	if (!rest || !result)
		return -ENOMEM;
	to = result;
	while ((component = strsep(&next, "/"))) {
		if (!*component || streq(component, "."))
			continue;
		if (streq(component, ".."))
			return -EINVAL;
		*to++ = '/';
		to = stpcpy(to, component);
	}
	if (to == result)
		*to = '/';
	*ret = TAKE_PTR(result);
	return 0;
}
