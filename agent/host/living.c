// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "base/util.h"
#include "host/living.h"

/* A directory on the path that the walk is at. */
struct level {
	struct dirent **children; /* owned, sorted by name */
	int n, next;		  /* the next of them to visit */
	size_t length;		  /* of the path down to here; 0: the mount itself */
};

struct walk {
	int fd; /* the directory of the last level */
	char *path;
	size_t room;
	struct level *levels;
	size_t n_levels;
	living_fn *fn;
	void *userdata;
};

static void level_clear(struct level *l)
{
	while (l->n)
		free(l->children[--l->n]);
	free(l->children);
}

static void walk_clear(struct walk *w)
{
	for (size_t i = 0; i < w->n_levels; i++)
		level_clear(&w->levels[i]);
	free(w->levels);
	free(w->path);
	if (w->fd >= 0)
		close(w->fd);
}

static int is_child(const struct dirent *e)
{
	return e->d_type == DT_DIR && !streq(e->d_name, ".") && !streq(e->d_name, "..");
}

static int set_path(struct walk *w, size_t length, const char *name)
{
	size_t needed = length + strlen(name) + sizeof("/");

	if (needed > w->room) {
		char *larger = realloc(w->path, 2 * needed);

		if (!larger)
			return -ENOMEM;
		w->path = larger;
		w->room = 2 * needed;
	}
	assert(w->path);
	w->path[length] = '/';
	strcpy(w->path + length + 1, name);
	return 0;
}

/* Begins a level: the directory w->fd is now at w->path, `length` bytes long. */
static int enter(struct walk *w, size_t length)
{
	struct level new = { .length = length };
	struct stat st;
	int r;

	if (fstat(w->fd, &st) < 0)
		return -errno;
	r = w->fn(w->path, st.st_ino, w->userdata);
	if (r != 0)
		return r;
	if (GROW(w->levels, w->n_levels) < 0)
		return -ENOMEM;
	new.n = scandirat(w->fd, ".", &new.children, is_child, versionsort);
	if (new.n < 0 && errno != ENOENT && errno != EACCES)
		return -errno;
	new.n = new.n < 0 ? 0 : new.n; /* it was removed, or is closed to us */
	w->levels[w->n_levels++] = new;
	return 0;
}

/* Goes to a child.  Returns -ENOENT if it was removed. */
static int go_to(struct walk *w, const char *name)
{
	int fd = openat(w->fd, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	close(w->fd);
	w->fd = fd;
	return 0;
}

static int next_child(struct walk *w, struct level *at)
{
	const char *name = at->children[at->next++]->d_name;
	size_t length = at->length;
	int r = go_to(w, name);

	if (r < 0)
		return r == -ENOENT ? 0 : r;
	r = set_path(w, length, name);
	return r < 0 ? r : enter(w, length + 1 + strlen(name));
}

static int leave(struct walk *w)
{
	level_clear(&w->levels[--w->n_levels]);
	return w->n_levels ? go_to(w, "..") : 0;
}

static int open_root(struct walk *w, const char *mount, const char *root)
{
	int r;

	w->fd = open(mount, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (w->fd < 0)
		return -errno;
	r = streq(root, "/") ? 0 : go_to(w, root + 1);
	return r < 0 ? r : set_path(w, 0, root + 1);
}

int living_each(const char *mount, const char *root, living_fn *fn, void *userdata)
{
	struct walk w = { .fd = -1, .fn = fn, .userdata = userdata };
	int r = open_root(&w, mount, root);

	if (r == 0)
		r = enter(&w, streq(root, "/") ? 0 : strlen(root));
	while (r == 0 && w.n_levels) {
		struct level *at = &w.levels[w.n_levels - 1];

		r = at->next < at->n ? next_child(&w, at) : leave(&w);
	}
	walk_clear(&w);
	return r;
}
