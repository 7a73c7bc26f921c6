// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include <uthash.h>
#include <utlist.h>

#include "log.h"
#include "tree.h"

/* A node, and how it hangs in the tree. */
struct entry {
	struct node node; /* first: a node's address is its entry's */
	char *path;	  /* owned; node.path points here */
	struct entry *children, *prev, *next;
	UT_hash_handle hh;
};

struct tree {
	char *mount;
	struct entry *root;
	struct entry *by_id;
};

static struct entry *entry_of(struct node *n)
{
	return (struct entry *)n;
}

static struct entry *new_entry(struct tree *t, uint64_t id, struct node *parent, char *path)
{
	struct entry *e = calloc(1, sizeof(*e));

	if (!e)
		return NULL;
	e->node.id = id;
	e->node.parent = parent;
	e->node.path = e->path = path;
	HASH_ADD(hh, t->by_id, node.id, sizeof(e->node.id), e);
	if (parent)
		DL_APPEND(entry_of(parent)->children, e);
	return e;
}

int tree_new(const char *mount, const char *root_path, struct tree **ret)
{
	_cleanup_(tree_free) struct tree *t = calloc(1, sizeof(*t));
	_cleanup_free_ char *directory = NULL, *path = NULL;
	struct stat st;

	if (!t)
		return -ENOMEM;
	t->mount = strdup(mount);
	path = strdup(root_path);
	if (!t->mount || !path || asprintf(&directory, "%s%s", mount, root_path) < 0)
		return -ENOMEM;
	if (stat(directory, &st) < 0)
		return -errno;
	t->root = new_entry(t, st.st_ino, NULL, path);
	if (!t->root)
		return -ENOMEM;
	path = NULL;
	*ret = TAKE_PTR(t);
	return 0;
}

static void free_entry(struct tree *t, struct entry *e)
{
	struct entry *child, *tmp;

	DL_FOREACH_SAFE (e->children, child, tmp)
		free_entry(t, child);
	HASH_DEL(t->by_id, e); /* NOLINT(clang-analyzer-core.NullDereference): e is in it */
	free(e->path);
	free(e);
}

void tree_free(struct tree *t)
{
	if (t->root)
		free_entry(t, t->root);
	free(t->mount);
	free(t);
}

struct node *tree_root(const struct tree *t)
{
	return &t->root->node;
}

struct node *tree_find(const struct tree *t, uint64_t id)
{
	struct entry *e;

	HASH_FIND(hh, t->by_id, &id, sizeof(id), e);
	return e ? &e->node : NULL;
}

size_t tree_size(const struct tree *t)
{
	return HASH_COUNT(t->by_id);
}

int tree_add(struct tree *t, uint64_t id, struct node *parent, const char *name, struct node **ret)
{
	const char *above = streq(parent->path, "/") ? "" : parent->path;
	struct entry *e;
	char *path;

	*ret = tree_find(t, id);
	if (*ret)
		return -EEXIST;
	if (asprintf(&path, "%s/%s", above, name) < 0)
		return -ENOMEM;
	e = new_entry(t, id, parent, path);
	if (!e) {
		free(path);
		return -ENOMEM;
	}
	*ret = &e->node;
	return 0;
}

void tree_remove(struct tree *t, struct node *n)
{
	if (n->parent)
		DL_DELETE(entry_of(n->parent)->children, entry_of(n));
	else
		t->root = NULL;
	free_entry(t, entry_of(n));
}

static int walk(struct entry *e, tree_fn *fn, void *userdata)
{
	struct entry *child;
	int r = fn(&e->node, userdata);

	if (r < 0)
		return r;
	DL_FOREACH (e->children, child) {
		r = walk(child, fn, userdata);
		if (r < 0)
			return r;
	}
	return 0;
}

int tree_walk(const struct tree *t, tree_fn *fn, void *userdata)
{
	return t->root ? walk(t->root, fn, userdata) : 0;
}

DEFINE_CLEANUP(DIR *, closedir)

static int scan_dir(struct tree *t, struct node *parent, int dir_fd, tree_fn *added,
		    void *userdata);

static int scan_child(struct tree *t, struct node *parent, int dir_fd, const char *name,
		      tree_fn *added, void *userdata)
{
	_cleanup_close_ int fd =
		openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	struct node *child;
	struct stat st;
	int r;

	if (fd < 0 || fstat(fd, &st) < 0)
		return errno == ENOENT || errno == ENODEV ? 0 : -errno; /* gone meanwhile */
	r = tree_add(t, st.st_ino, parent, name, &child);
	if (r < 0 && r != -EEXIST)
		return r;
	if (r == 0 && added) {
		r = added(child, userdata);
		if (r < 0)
			return r;
	}
	return scan_dir(t, child, TAKE_FD(fd), added, userdata);
}

/* Takes dir_fd. */
static int scan_dir(struct tree *t, struct node *parent, int dir_fd, tree_fn *added, void *userdata)
{
	_cleanup_(closedir) DIR *dir = fdopendir(dir_fd);
	const struct dirent *d;

	if (!dir) {
		close(dir_fd);
		return -errno;
	}
	for (;;) {
		int r;

		errno = 0;
		d = readdir(dir);
		if (!d)
			return errno == ENOENT || errno == ENODEV ? 0 : -errno;
		if (d->d_type != DT_DIR || streq(d->d_name, ".") || streq(d->d_name, ".."))
			continue;
		r = scan_child(t, parent, dirfd(dir), d->d_name, added, userdata);
		if (r < 0)
			return r;
	}
}

int tree_scan(struct tree *t, tree_fn *added, void *userdata)
{
	_cleanup_free_ char *directory = NULL;
	int fd;

	if (asprintf(&directory, "%s%s", t->mount, t->root->path) < 0)
		return -ENOMEM;
	fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	return scan_dir(t, &t->root->node, fd, added, userdata);
}
