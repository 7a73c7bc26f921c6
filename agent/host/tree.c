// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include <uthash.h>
#include <utlist.h>

#include "base/log.h"
#include "host/tree.h"

/* A node, and how it hangs in the tree. */
struct entry {
	struct node node; /* first: a node's address is its entry's */
	char *path;	  /* owned; node.path and name point here; NULL: gone */
	unsigned scan;	  /* the last one that found its directory */
	struct entry *children, *prev, *next;
	UT_hash_handle hh;
};

struct tree {
	char *mount;
	struct entry *root;
	struct entry *by_id;
	unsigned scan; /* number of the last one */
};

static struct entry *entry_of(struct node *n)
{
	return (struct entry *)n;
}

/* path: taken over on success; NULL: it is not known. */
static struct entry *new_entry(struct tree *t, uint64_t id, struct node *parent, char *path)
{
	struct entry *e = calloc(1, sizeof(*e));

	if (!e)
		return NULL;
	e->node.id = id;
	e->node.parent = parent;
	e->node.path = e->path = path;
	e->node.name = path ? strrchr(path, '/') + 1 : "";
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

static struct entry *last_leaf(struct entry *e)
{
	while (e->children)
		e = e->children;
	return e;
}

static void free_one(struct tree *t, struct entry *e)
{
	if (e->node.parent)
		DL_DELETE(entry_of(e->node.parent)->children, e);
	else
		t->root = NULL;
	HASH_DEL(t->by_id, e); /* NOLINT(clang-analyzer-core.NullDereference): e is in it */
	free(e->path);
	free(e);
}

/* No recursion here and below: whoever has a cgroup of his own can nest as deep as he likes. */
static void free_below(struct tree *t, struct entry *top)
{
	struct entry *e;

	do {
		e = last_leaf(top);
		free_one(t, e);
	} while (e != top);
}

void tree_free(struct tree *t)
{
	if (t->root)
		free_below(t, t->root);
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

int tree_add_gone(struct tree *t, uint64_t id, struct node **ret)
{
	struct entry *e;

	*ret = tree_find(t, id);
	if (*ret)
		return -EEXIST;
	e = new_entry(t, id, &t->root->node, NULL);
	if (!e)
		return -ENOMEM;
	*ret = &e->node;
	return 0;
}

void tree_remove(struct tree *t, struct node *n)
{
	free_below(t, entry_of(n));
}

/* Parents first; NULL after the last. */
static struct entry *next_entry(struct entry *e)
{
	if (e->children)
		return e->children;
	while (e && !e->next)
		e = e->node.parent ? entry_of(e->node.parent) : NULL;
	return e ? e->next : NULL;
}

int tree_walk(const struct tree *t, tree_fn *fn, void *userdata)
{
	for (struct entry *e = t->root; e; e = next_entry(e)) {
		int r = fn(&e->node, userdata);

		if (r < 0)
			return r;
	}
	return 0;
}

DEFINE_CLEANUP(DIR *, closedir)

/* It may go meanwhile. */
static bool is_gone(int error)
{
	return error == ENOENT || error == ENODEV;
}

static int add_child(struct tree *t, struct entry *parent, int dir_fd, const char *name,
		     tree_fn *added, void *userdata)
{
	struct node *child;
	struct stat st;
	int r;

	if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return is_gone(errno) ? 0 : -errno;
	r = tree_add(t, st.st_ino, &parent->node, name, &child);
	if (r < 0 && r != -EEXIST)
		return r;
	entry_of(child)->scan = t->scan;
	return r == 0 && added ? added(child, userdata) : 0;
}

/* What we may not look at is left out; what fails for another reason would be missed. */
static int unreadable(const struct entry *e, int error)
{
	if (error == EACCES)
		log_warning_errno(error, "Cannot read the cgroup %s, ignoring", e->path);
	return error == EACCES || is_gone(error) ? 0 : -error;
}

/* One directory, and closed again: the depth of the hierarchy must not use up file descriptors. */
static int scan_children(struct tree *t, struct entry *parent, tree_fn *added, void *userdata)
{
	_cleanup_free_ char *path = NULL;
	_cleanup_(closedir) DIR *dir = NULL;
	const struct dirent *d;

	if (asprintf(&path, "%s%s", t->mount, parent->path) < 0)
		return -ENOMEM;
	dir = opendir(path);
	if (!dir)
		return unreadable(parent, errno);
	while ((errno = 0, d = readdir(dir))) {
		int r;

		if (d->d_type != DT_DIR || streq(d->d_name, ".") || streq(d->d_name, ".."))
			continue;
		r = add_child(t, parent, dirfd(dir), d->d_name, added, userdata);
		if (r < 0)
			return r;
	}
	return unreadable(parent, errno);
}

int tree_scan(struct tree *t, tree_fn *added, void *userdata)
{
	t->scan++;
	if (!t->root)
		return 0;
	t->root->scan = t->scan;
	/* Children are added below the entry at hand, so the walk comes to them. */
	for (struct entry *e = t->root; e; e = next_entry(e)) {
		int r = e->scan == t->scan ? scan_children(t, e, added, userdata) : 0;

		if (r < 0)
			return r;
	}
	return 0;
}

void tree_sweep(struct tree *t, tree_fn *gone, void *userdata)
{
	struct entry *e, *tmp;

	HASH_ITER (hh, t->by_id, e, tmp) {
		/* With a leaf its parent may become a leaf that is gone.  (None is `tmp`: that one
		 * was added later than any of these.) */
		while (e && e->scan != t->scan && !e->children && e->node.parent &&
		       gone(&e->node, userdata)) {
			struct entry *parent = entry_of(e->node.parent);

			free_one(t, e);
			e = parent;
		}
	}
}
