// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>

#include "host/cgroup.h"
#include "host/living.h"

/* Fields of a line of mountinfo. */
enum { MOUNT_ROOT = 3, MOUNT_POINT };

/* Undoes the kernel's escapes of blanks and backslashes (\040), in place. */
static char *unescape(char *s)
{
	char *from = s, *to = s;

	for (; *from; from++) {
		if (*from == '\\' && strspn(from + 1, "01234567") >= 3) {
			*to++ = (char)((from[1] - '0') << 6 | (from[2] - '0') << 3 |
				       (from[3] - '0'));
			from += 3;
		} else {
			*to++ = *from;
		}
	}
	*to = '\0';
	return s;
}

/* Finds the fields of m->line; returns false if the line is not whole.  A "-" ends the optional
 * fields, and in front of it no field is "-" or has a blank. */
static bool split(struct mount *m)
{
	char *fields[MOUNT_POINT + 1], *rest = m->line, *type = strstr(m->line, " - ");

	if (!type)
		return false;
	*type = '\0';
	for (size_t i = 0; i < ARRAY_SIZE(fields); i++) {
		fields[i] = strsep(&rest, " ");
		if (!fields[i])
			return false;
	}
	type += strlen(" - ");
	m->type = strsep(&type, " \n");
	m->root = unescape(fields[MOUNT_ROOT]);
	m->point = unescape(fields[MOUNT_POINT]);
	return true;
}

int mount_next(FILE *mountinfo, struct mount *m)
{
	errno = 0;
	while (getline(&m->line, &m->size, mountinfo) >= 0)
		if (split(m))
			return 1;
	return errno ? -errno : 0;
}

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

bool cgroup_mount_is_whole(const char *mount)
{
	_cleanup_free_ char *file = text_format("%s/cgroup.type", mount);

	/* Only the root of the hierarchy has none. */
	return !file || access(file, F_OK) < 0;
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

int cgroup_of_file(FILE *proc_cgroup, char **ret)
{
	static const char unified[] = "0::", gone[] = " (deleted)";
	_cleanup_free_ char *line = NULL;
	size_t size = 0;
	ssize_t length;

	errno = 0;
	while ((length = getline(&line, &size, proc_cgroup)) >= 0) {
		size_t n = (size_t)length;

		if (n && line[n - 1] == '\n')
			line[--n] = '\0';
		if (strncmp(line, unified, strlen(unified)) != 0)
			continue;
		/* The kernel marks the cgroup of a process (a zombie) that outlives the directory
		 * like this. */
		if (n > strlen(gone) && streq(line + n - strlen(gone), gone))
			line[n - strlen(gone)] = '\0';
		*ret = strdup(line + strlen(unified));
		return *ret ? 0 : -ENOMEM;
	}
	return errno ? -errno : -ENODATA;
}

static FILE *open_proc_cgroup(pid_t pid)
{
	char path[sizeof("/proc//cgroup") + 3 * sizeof(pid)];

	snprintf(path, sizeof(path), "/proc/%d/cgroup", (int)pid);
	return fopen(path, "re");
}

int cgroup_of_pid(pid_t pid, char **ret)
{
	_cleanup_fclose_ FILE *f = open_proc_cgroup(pid);

	if (!f)
		return errno == ENOENT ? -ESRCH : -errno;
	return cgroup_of_file(f, ret);
}

char *cgroup_net_lines(FILE *proc_cgroup)
{
	_cleanup_free_ char *line = NULL;
	char *lines = NULL;
	size_t size = 0, n;
	FILE *to = open_memstream(&lines, &n);

	if (!to)
		return NULL;
	while (getline(&line, &size, proc_cgroup) >= 0) {
		const char *controllers = strchr(line, ':');
		const size_t length = controllers ? strcspn(controllers + 1, ":") + 1 : 0;

		if (length && (memmem(controllers, length, "net_cls", 7) ||
			       memmem(controllers, length, "net_prio", 8)))
			fputs(line, to);
	}
	fclose(to);
	return lines;
}

bool cgroup_net_is_ours(pid_t pid)
{
	_cleanup_fclose_ FILE *f = open_proc_cgroup(getpid()), *other = open_proc_cgroup(pid);
	_cleanup_free_ char *a = f ? cgroup_net_lines(f) : NULL,
			    *b = other ? cgroup_net_lines(other) : NULL;

	return a && b && streq(a, b);
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
	path = cgroup_below(mount, target);
	if (!path)
		return -ENOENT;
	*ret = strdup(path);
	return *ret ? 0 : -ENOMEM;
}

struct search {
	const uint64_t *ids;
	size_t n;
	char **paths;
};

static int note_path(const char *path, uint64_t id, void *userdata)
{
	const struct search *s = userdata;

	for (size_t i = 0; i < s->n; i++) {
		if (s->ids[i] != id || s->paths[i])
			continue;
		s->paths[i] = strdup(path);
		if (!s->paths[i])
			return -ENOMEM;
	}
	return 0;
}

int cgroup_paths_of_ids(const char *mount, const uint64_t *ids, size_t n, char **paths)
{
	struct search s = { ids, n, paths };

	for (size_t i = 0; i < n; i++) {
		_cleanup_free_ char *path = NULL;
		int r;

		if (!ids[i] || paths[i])
			continue;
		r = path_by_handle(mount, ids[i], &path);
		/* Without the privilege one walk over the hierarchy finds them all. */
		if (r == -EPERM || r == -EACCES || r == -EOPNOTSUPP)
			return living_each(mount, "/", note_path, &s);
		if (path)
			r = note_path(path, ids[i], &s);
		if (r < 0 && r != -ENOENT)
			return r;
	}
	return 0;
}

int cgroup_of_sockets(const char *mount, struct sock_diag_list *l)
{
	_cleanup_free_ uint64_t *ids = calloc(l->n + 1, sizeof(*ids));
	_cleanup_free_ char **paths = calloc(l->n + 1, sizeof(*paths));
	int r;

	if (!ids || !paths)
		return -ENOMEM;
	for (size_t i = 0; i < l->n; i++)
		ids[i] = l->v[i].cgroup_id;
	r = cgroup_paths_of_ids(mount, ids, l->n, paths);
	for (size_t i = 0; i < l->n; i++)
		l->v[i].cgroup = paths[i];
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
	const char *below = real ? cgroup_below(mount, real) : NULL;

	if (!below)
		return cgroup_normalize(mount, name, ret);
	*ret = strdup(below);
	return *ret ? 0 : -ENOMEM;
}

int cgroup_normalize(const char *mount, const char *path, char **ret)
{
	const char *from = mount && path[0] == '/' ? cgroup_below(mount, path) : NULL;
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

int cgroup_id_of_name(const char *name, uint64_t *ret)
{
	_cleanup_free_ char *mount = NULL, *path = NULL, *directory = NULL;
	int r = cgroup_mount(&mount);

	if (r < 0 || !mount)
		return r;
	r = cgroup_resolve(mount, name, &path);
	if (r < 0)
		return r;
	directory = text_format("%s%s", mount, path);
	return directory ? cgroup_id_of_dir(directory, ret) : -ENOMEM;
}
