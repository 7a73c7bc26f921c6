// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "base/diag.h"
#include "base/progress.h"
#include "policy/loader.h"
#include "policy/yaml_doc.h"

const char *const loader_default_dirs[] = {
	"/etc/sockpol/policies.d",
	"/run/sockpol/policies.d",
	"/usr/lib/sockpol/policies.d",
	NULL,
};

/* Reports an error.  Returns -EBADMSG. */
#define REFUSE(diags, at, ...) (diag_error(diags, at, __VA_ARGS__), -EBADMSG)

/* Reports that a file or directory cannot be read.  Returns -EBADMSG. */
static int refuse_errno(struct diags *diags, const struct position *at, const char *what, int err)
{
	switch (err) {
	case ENOENT:
	case EACCES:
	case EPERM:
	case ELOOP:
	case ENOTDIR:
	case EISDIR:
	case ENAMETOOLONG:
	case ENXIO:
		break;
	default:
		diags->failure = -err;
	}
	return REFUSE(diags, at, "%s: %s", what, strerror(err));
}

/* --- directories ------------------------------------------------------------------------------ */

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
static int open_dir(const char *path, struct diags *diags, DIR **ret)
{
	struct position at = { .file = path };
	_cleanup_close_ int fd = -1;
	struct stat st;

	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0 && errno == ENOENT && is_missing(path))
		return -ENOENT;
	if (fd < 0 || fstat(fd, &st) < 0)
		return refuse_errno(diags, &at, "cannot open the policy directory", errno);
	if (!is_trusted(&st, &at, diags))
		return -EBADMSG;
	*ret = fdopendir(fd);
	if (!*ret)
		return -ENOMEM;
	(void)TAKE_FD(fd);
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

/* Adds the files of one directory, in no order.  -EBADMSG: reported, and the next one is read. */
static int scan_entries(struct loader_files *f, DIR *dir, const char *dir_path, struct diags *diags)
{
	struct position at = { .file = dir_path };
	int length = (int)strlen(dir_path);
	const struct dirent *entry;
	size_t before = f->n;

	while (length && dir_path[length - 1] == '/')
		length--;
	while (errno = 0, (entry = readdir(dir))) {
		_cleanup_free_ char *path = text_format("%.*s/%s", length, dir_path, entry->d_name);

		if (!path)
			return -ENOMEM;
		if (!is_policy_file(entry->d_name, path, diags))
			continue;
		if (f->n - before == LOADER_FILES_MAX)
			return REFUSE(diags, &at, "more than %u policy files", LOADER_FILES_MAX);
		if (GROW(f->v, f->n) < 0)
			return -ENOMEM;
		f->v[f->n++] = (struct loader_file){
			.path = path,
			.name = strrchr(path, '/') + 1,
			.dir = f->n_dirs - 1,
		};
		path = NULL;
	}
	return errno ? refuse_errno(diags, &at, "cannot read the policy directory", errno) : 0;
}

/* Has this directory been read already, under whatever name? */
static bool was_scanned(const struct loader_files *f, DIR *dir)
{
	struct stat st, other;

	if (fstat(dirfd(dir), &st) < 0)
		return false;
	for (size_t i = 0; i < f->n_dirs; i++)
		if (fstat(dirfd(f->dirs[i]), &other) == 0 && st.st_dev == other.st_dev &&
		    st.st_ino == other.st_ino)
			return true;
	return false;
}

static int scan_dir(struct loader_files *f, const char *path, struct diags *diags)
{
	DIR *dir = NULL;
	int r = open_dir(path, diags, &dir);

	if (r < 0 || !dir)
		return r;
	r = was_scanned(f, dir) ? 1 : GROW(f->dirs, f->n_dirs);
	if (r) {
		closedir(dir);
		return r;
	}
	f->dirs[f->n_dirs++] = dir;
	return scan_entries(f, dir, path, diags);
}

static int compare_files(const void *a, const void *b)
{
	const struct loader_file *x = a, *y = b;
	int by_name = strcmp(x->name, y->name);

	return by_name ? by_name : (x->dir > y->dir) - (x->dir < y->dir);
}

/* Sorts the files by name, and drops those of which an earlier directory has one of this name. */
static void sort_files(struct loader_files *f)
{
	size_t kept = 0;

	if (f->n)
		qsort(f->v, f->n, sizeof(*f->v), compare_files);
	for (size_t i = 0; i < f->n; i++) {
		if (kept && streq(f->v[kept - 1].name, f->v[i].name))
			free(f->v[i].path);
		else
			f->v[kept++] = f->v[i];
	}
	f->n = kept;
}

int loader_scan(const char *const *dirs, struct diags *diags, struct loader_files *ret)
{
	struct loader_files f = { 0 };

	for (; *dirs; dirs++) {
		if (scan_dir(&f, *dirs, diags) == -ENOMEM) {
			loader_files_clear(&f);
			return -ENOMEM;
		}
	}
	sort_files(&f);
	*ret = f;
	return 0;
}

void loader_files_clear(struct loader_files *f)
{
	for (size_t i = 0; i < f->n; i++)
		free(f->v[i].path);
	for (size_t i = 0; i < f->n_dirs; i++)
		closedir(f->dirs[i]);
	free(f->v);
	free(f->dirs);
	*f = (struct loader_files){ 0 };
}

/* --- files ------------------------------------------------------------------------------------ */

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

static int report_open_error(int dir_fd, const char *name, const struct position *at, int err,
			     struct diags *diags)
{
	struct stat st;

	if (err == ENOENT && fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
	    S_ISLNK(st.st_mode))
		return REFUSE(diags, at, "a link that leads nowhere");
	return refuse_errno(diags, at, "cannot open", err);
}

int loader_read(int dir_fd, const char *name, const char *path, struct diags *diags,
		char **ret_text, size_t *ret_size)
{
	struct position at = { .file = path };
	_cleanup_free_ char *text = NULL;
	_cleanup_close_ int fd = -1;
	size_t size = 0, room;
	struct stat st;
	ssize_t n = 1;

	fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (fd < 0 || fstat(fd, &st) < 0)
		return report_open_error(dir_fd, name, &at, errno, diags);
	if (S_ISCHR(st.st_mode) && st.st_rdev == makedev(1, 3)) { /* /dev/null */
		*ret_text = NULL;
		*ret_size = 0;
		return 0;
	}
	if (!S_ISREG(st.st_mode))
		return REFUSE(diags, &at, "not a regular file but %s", file_kind(st.st_mode));
	if (!is_trusted(&st, &at, diags))
		return -EBADMSG;
	if (st.st_size > LOADER_FILE_SIZE_MAX)
		return REFUSE(diags, &at, "larger than %u MiB, the limit of a policy file",
			      LOADER_FILE_SIZE_MAX >> 20);
	room = (size_t)st.st_size + 1; /* the size may have changed since fstat() */
	text = malloc(room);
	if (!text)
		return -ENOMEM;
	for (; n > 0 && size < room; size += (size_t)n) {
		n = TEMP_FAILURE_RETRY(read(fd, text + size, room - size));
		if (n < 0)
			return refuse_errno(diags, &at, "cannot read", errno);
	}
	if (size == room)
		return REFUSE(diags, &at, "grows while it is read");
	*ret_text = size ? TAKE_PTR(text) : NULL;
	*ret_size = size;
	return 0;
}

/* --- the configuration ------------------------------------------------------------------------ */

/* Takes the text.  Returns the configuration's own file, for positions to point at; NULL: memory
 * is out. */
static const struct config_file *add_file(struct config *c, const char *path, char **text,
					  size_t size)
{
	struct config_file *f;

	if (GROW(c->files, c->n_files) < 0)
		return NULL;
	f = &c->files[c->n_files];
	*f = (struct config_file){ .path = strdup(path), .size = size };
	if (!f->path)
		return NULL;
	f->text = TAKE_PTR(*text);
	c->n_files++;
	return f;
}

static int load_file(struct config *c, int dir_fd, const char *name, const char *path,
		     struct diags *diags)
{
	_cleanup_free_ char *text = NULL;
	const struct config_file *file;
	struct yaml_doc doc;
	size_t size = 0;
	int r;

	progress_made();
	r = loader_read(dir_fd, name, path, diags, &text, &size);
	if (r == -EBADMSG || (r == 0 && !text))
		return 0;
	if (r < 0)
		return r;
	file = add_file(c, path, &text, size);
	if (!file)
		return -ENOMEM;
	r = yaml_doc_parse(file->text, size, file->path, diags, &doc);
	if (r < 0)
		return r;
	if (doc.root)
		r = policies_parse(doc.root, c, diags);
	yaml_doc_clear(&doc);
	return r;
}

static int load_dirs(struct config *c, const char *const *dirs, struct diags *diags)
{
	struct loader_files f;
	int r;

	/* having no policies is fine, unless somebody names where they are */
	for (size_t i = 0; dirs != loader_default_dirs && dirs[i]; i++)
		if (is_missing(dirs[i]))
			diag_warning(diags, &(struct position){ .file = dirs[i] },
				     "there is no such policy directory");
	r = loader_scan(dirs, diags, &f);
	if (r < 0)
		return r;
	for (size_t i = 0; i < f.n && r >= 0; i++)
		r = load_file(c, dirfd(f.dirs[f.v[i].dir]), f.v[i].name, f.v[i].path, diags);
	loader_files_clear(&f);
	return r;
}

static int report_duplicate_policies(const struct config *c, struct diags *diags)
{
	_cleanup_free_ struct unique_name *names = calloc(c->n_policies + 1, sizeof(*names));
	size_t n = 0;

	if (!names)
		return -ENOMEM;
	for (size_t i = 0; i < c->n_policies; i++)
		if (c->policies[i].name)
			names[n++] =
				(struct unique_name){ c->policies[i].name, &c->policies[i].at, i };
	duplicates_report(names, n, "policy name", diags);
	return 0;
}

int config_load(const char *const *dirs, const char *const *files, const struct host *host,
		struct diags *diags, struct config **ret)
{
	_cleanup_(config_free) struct config *c = config_new();
	size_t errors = diags->n_errors;
	int r;

	if (!c)
		return -ENOMEM;
	r = load_dirs(c, dirs, diags);
	for (; files && *files && r >= 0; files++)
		r = load_file(c, AT_FDCWD, *files, *files, diags);
	if (r >= 0)
		r = report_duplicate_policies(c, diags);
	if (r < 0)
		return r;
	/* With an error, the configuration is not what was meant, and lint would mislead. */
	if (diags->n_errors == errors)
		lint_config(c, host, diags);
	diags_sort(diags);
	if (diags->n_errors > errors)
		return diags->failure < 0 ? diags->failure : -EBADMSG;
	*ret = TAKE_PTR(c);
	return 0;
}
