// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <sys/inotify.h>
#include <sys/stat.h>

#include <uthash.h>

#include "kernel/directories.h"

#define WATCHED (IN_CREATE | IN_DELETE | IN_ONLYDIR | IN_DONT_FOLLOW)

DEFINE_CLEANUP(DIR *, closedir)

struct directory {
	char *path; /* owned */
	int wd;
	uint64_t id;
	UT_hash_handle by_wd, by_path;
};

struct directories {
	int fd;
	char *root; /* owned */
	struct directory *by_wd, *by_path;
	/* During directories_consume(): */
	kernel_event_fn *fn; /* NULL: nobody is told */
	void *userdata;
};

static struct directory *find_wd(const struct directories *d, int wd)
{
	struct directory *found;

	HASH_FIND(by_wd, d->by_wd, &wd, sizeof(wd), found);
	return found;
}

static struct directory *find_path(const struct directories *d, const char *path)
{
	struct directory *found;

	HASH_FIND(by_path, d->by_path, path, strlen(path), found);
	return found;
}

static void tell(const struct directories *d, enum sp_event_kind kind, uint64_t id,
		 const struct directory *parent, const char *name)
{
	struct sp_event e = { .id = id, .parent_id = parent ? parent->id : 0, .kind = kind };

	if (name)
		snprintf(e.name, sizeof(e.name), "%s", name);
	if (d->fn)
		d->fn(&e, d->userdata);
}

static void drop(struct directories *d, struct directory *one)
{
	HASH_DELETE(by_wd, d->by_wd, one);
	HASH_DELETE(by_path, d->by_path, one);
	inotify_rm_watch(d->fd, one->wd); /* gone with the directory, mostly */
	free(one->path);
	free(one);
}

/* Takes the path.  -ENOENT: there is no such directory any more. */
static int watch(struct directories *d, char *path, uint64_t id, struct directory **ret)
{
	struct directory *one, *before = find_path(d, path);
	int wd = inotify_add_watch(d->fd, path, WATCHED), r = wd < 0 ? -errno : 0;

	if (before && (wd < 0 || before->wd != wd)) {
		tell(d, SP_EVENT_RELEASE, before->id, NULL, NULL);
		drop(d, before);
	}
	*ret = wd < 0 ? NULL : find_wd(d, wd);
	one = r == 0 && !*ret ? calloc(1, sizeof(*one)) : NULL;
	if (!one) {
		free(path);
		return r < 0 || *ret ? r : -ENOMEM;
	}
	*one = (struct directory){ .path = path, .wd = wd, .id = id };
	HASH_ADD(by_wd, d->by_wd, wd, sizeof(one->wd), one);
	HASH_ADD_KEYPTR(by_path, d->by_path, one->path, strlen(one->path), one);
	*ret = one;
	return 0;
}

static int look_below(struct directories *d, const struct directory *parent);

/* A directory that is new to us, and those in it. */
static int add(struct directories *d, const struct directory *parent, const char *name)
{
	struct directory *one;
	struct stat st;
	char *path;
	int r;

	if (asprintf(&path, "%s/%s", parent->path, name) < 0)
		return -ENOMEM;
	if (lstat(path, &st) < 0 || !S_ISDIR(st.st_mode)) {
		free(path);
		return 0;
	}
	r = watch(d, path, st.st_ino, &one);
	if (r == -ENOENT || r == -ENOTDIR)
		return 0;
	if (r < 0)
		return r;
	tell(d, SP_EVENT_MKDIR, one->id, parent, name);
	return look_below(d, one);
}

/* After the watch: what is made meanwhile is seen by one or the other. */
static int look_below(struct directories *d, const struct directory *parent)
{
	_cleanup_(closedir) DIR *dir = opendir(parent->path);
	const struct dirent *one;
	int r = 0;

	if (!dir)
		return errno == ENOENT ? 0 : -errno;
	while (r == 0 && (one = readdir(dir)))
		if (one->d_type == DT_DIR && !streq(one->d_name, ".") && !streq(one->d_name, ".."))
			r = add(d, parent, one->d_name);
	return r;
}

int directories_new(const char *root, struct directories **ret)
{
	_cleanup_(directories_free) struct directories *d = calloc(1, sizeof(*d));
	struct directory *top;
	struct stat st;
	char *path;
	int r;

	if (!d)
		return -ENOMEM;
	d->fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	if (d->fd < 0)
		return -errno;
	d->root = strdup(root);
	path = strdup(root);
	if (!d->root || !path || stat(root, &st) < 0) {
		free(path);
		return d->root && path ? -errno : -ENOMEM;
	}
	r = watch(d, path, st.st_ino, &top);
	if (r == 0)
		r = look_below(d, top);
	if (r == 0)
		*ret = TAKE_PTR(d);
	return r;
}

void directories_free(struct directories *d)
{
	struct directory *one, *next;

	HASH_ITER (by_wd, d->by_wd, one, next)
		drop(d, one);
	if (d->fd >= 0)
		close(d->fd);
	free(d->root);
	free(d);
}

int directories_fd(const struct directories *d)
{
	return d->fd;
}

static int on_delete(struct directories *d, const struct directory *parent, const char *name)
{
	struct directory *one;
	char *path;

	if (asprintf(&path, "%s/%s", parent->path, name) < 0)
		return -ENOMEM;
	one = find_path(d, path);
	free(path);
	if (one) {
		tell(d, SP_EVENT_RELEASE, one->id, NULL, NULL);
		drop(d, one);
	}
	return 0;
}

static int on_inotify(struct directories *d, const struct inotify_event *e)
{
	const struct directory *parent = find_wd(d, e->wd);

	if (!parent || !(e->mask & IN_ISDIR) || !e->len)
		return 0;
	return (e->mask & IN_CREATE) ? add(d, parent, e->name) : on_delete(d, parent, e->name);
}

/* The last that was added: children come after their parents. */
static struct directory *last(const struct directories *d)
{
	return d->by_path ? ELMT_FROM_HH(d->by_path->by_path.tbl, d->by_path->by_path.tbl->tail)
			  : NULL;
}

/* Some events are lost: what is gone, and what is there? */
static int look_again(struct directories *d)
{
	struct directory *one, *before, *top;
	struct stat st;

	for (one = last(d); one; one = before) {
		before = one->by_path.prev;
		if (lstat(one->path, &st) == 0 && st.st_ino == one->id)
			continue;
		tell(d, SP_EVENT_RELEASE, one->id, NULL, NULL);
		drop(d, one);
	}
	top = find_path(d, d->root);
	return top ? look_below(d, top) : 0;
}

int directories_consume(struct directories *d, kernel_event_fn *fn, void *userdata, bool *ret_lost)
{
	char buffer[16 * (sizeof(struct inotify_event) + NAME_MAX + 1)]
		__attribute__((aligned(__alignof__(struct inotify_event))));
	int r = 0;

	d->fn = fn;
	d->userdata = userdata;
	*ret_lost = false;
	while (r == 0) {
		ssize_t n = read(d->fd, buffer, sizeof(buffer));

		if (n < 0)
			return errno == EAGAIN ? 0 : -errno;
		for (ssize_t at = 0; at < n && r == 0;) {
			const struct inotify_event *e =
				(const struct inotify_event *)(const void *)(buffer + at);

			*ret_lost |= (e->mask & IN_Q_OVERFLOW) != 0;
			r = (e->mask & IN_Q_OVERFLOW) ? look_again(d) : on_inotify(d, e);
			at += (ssize_t)(sizeof(*e) + e->len);
		}
	}
	return r;
}
