// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>

#include "base/log.h"
#include "daemon/metrics_file.h"

struct metrics_file {
	const char *path;    /* borrowed */
	char *dir;	     /* of path */
	const char *name;    /* the rest of path */
	char *temporary;     /* name beside it while it is being written */
	struct stat written; /* what is there if it is ours; st_ino 0: nothing */
	sd_event_source *timer;
	metrics_file_fn *fn;
	void *userdata;
	const char *complaint; /* that was logged; NULL: all is well */
	int error;	       /* of that */
};

static int on_timer(sd_event_source *s, uint64_t usec, void *userdata)
{
	(void)s;
	(void)usec;
	metrics_file_refresh(userdata);
	return 0;
}

static int split_path(struct metrics_file *m)
{
	const char *slash = strrchr(m->path, '/');

	m->name = slash ? slash + 1 : m->path;
	if (!slash)
		m->dir = strdup(".");
	else /* "/" itself is the directory of "/name" */
		m->dir = strndup(m->path, slash == m->path ? 1 : (size_t)(slash - m->path));
	/* A leading dot, and no ".prom" at the end: node_exporter passes it over. */
	m->temporary = text_format(".%s.new", m->name);
	if (!m->dir || !m->temporary)
		return log_oom();
	if (*m->name && !streq(m->name, ".") && !streq(m->name, "..") &&
	    strlen(m->temporary) <= NAME_MAX)
		return 0;
	log_error("'%s' does not name a file for metrics", m->path);
	return -EINVAL;
}

int metrics_file_new(const char *path, sd_event *event, metrics_file_fn *fn, void *userdata,
		     struct metrics_file **ret)
{
	_cleanup_(metrics_file_free) struct metrics_file *m = calloc(1, sizeof(*m));
	int r;

	if (!m)
		return log_oom();
	m->fn = fn;
	m->userdata = userdata;
	m->path = path;
	r = split_path(m);
	if (r < 0)
		return r;
	r = sd_event_add_time_relative(event, &m->timer, CLOCK_MONOTONIC, METRICS_FILE_PERIOD_USEC,
				       METRICS_FILE_SLACK_USEC, on_timer, m);
	if (r < 0)
		return log_error_errno(r, "Cannot set up the timer of the metrics file");
	*ret = TAKE_PTR(m);
	return 0;
}

/* A user who can write there could have us overwrite any file. */
static int open_dir(const struct metrics_file *m, const char **ret_complaint)
{
	_cleanup_close_ int fd = open(m->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	struct stat st;

	*ret_complaint = "its directory cannot be opened";
	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	*ret_complaint = "its directory can be written by others than root";
	if (!only_we_write(&st))
		return -EPERM;
	return TAKE_FD(fd);
}

/* The temporary file, whole; *ret is what it will be under its name. */
static int write_temporary(const struct metrics_file *m, int dir_fd, const char *text, size_t n,
			   struct stat *ret)
{
	FILE *to;
	int fd, r = 0;

	if (unlinkat(dir_fd, m->temporary, 0) < 0 && errno != ENOENT) /* a dead agent's */
		return -errno;
	fd = openat(dir_fd, m->temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW,
		    0600);
	if (fd < 0)
		return -errno;
	to = fdopen(fd, "w");
	if (!to) {
		close(fd);
		return -ENOMEM;
	}
	/* Whatever the umask is, others read it. */
	if (fwrite(text, 1, n, to) != n || fflush(to) == EOF || fchmod(fd, 0644) < 0 ||
	    fstat(fd, ret) < 0)
		r = -errno;
	/* A quota may speak up only here. */
	if (fclose(to) == EOF && r == 0)
		r = -errno;
	return r;
}

static int replace(struct metrics_file *m, const char *text, size_t n, const char **ret_complaint)
{
	_cleanup_close_ int dir_fd = open_dir(m, ret_complaint);
	struct stat st;
	int r;

	if (dir_fd < 0)
		return dir_fd;
	*ret_complaint = "it cannot be written";
	r = write_temporary(m, dir_fd, text, n, &st);
	if (r == 0 && renameat(dir_fd, m->temporary, dir_fd, m->name) < 0)
		r = -errno;
	if (r < 0) {
		unlinkat(dir_fd, m->temporary, 0);
		return r;
	}
	m->written = st;
	return 0;
}

static int compose(const struct metrics_file *m, char **ret, size_t *ret_n)
{
	char *text = NULL;
	FILE *to = open_memstream(&text, ret_n);
	int r;

	if (!to)
		return -errno;
	r = m->fn(to, m->userdata);
	if (fclose(to) == EOF && r == 0)
		r = -ENOMEM;
	if (r < 0)
		free(text);
	else
		*ret = text;
	return r;
}

static void say(struct metrics_file *m, int error, const char *complaint)
{
	if (error == 0 && m->complaint)
		log_info("The metrics file %s is written again", m->path);
	if (error == 0)
		complaint = NULL;
	else if (!m->complaint || !streq(m->complaint, complaint) || m->error != error)
		log_warning_errno(error, "The metrics file %s is not kept fresh: %s", m->path,
				  complaint);
	m->complaint = complaint;
	m->error = error;
}

void metrics_file_refresh(struct metrics_file *m)
{
	const char *complaint = "what is in force cannot be read";
	_cleanup_free_ char *text = NULL;
	size_t n;
	int r = compose(m, &text, &n);

	if (r == 0)
		r = replace(m, text, n, &complaint);
	say(m, r, complaint);
	if (sd_event_source_set_time_relative(m->timer, METRICS_FILE_PERIOD_USEC) < 0 ||
	    sd_event_source_set_enabled(m->timer, SD_EVENT_ONESHOT) < 0)
		log_warning("The metrics file %s is not written again before the next reload",
			    m->path);
}

/* Inodes are used again. */
static bool same_file(const struct stat *a, const struct stat *b)
{
	return a->st_ino == b->st_ino && a->st_dev == b->st_dev &&
	       a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

/* Leaves a file that somebody else has put in its place since. */
static void remove_file(const struct metrics_file *m)
{
	const char *complaint;
	struct stat st;
	int dir_fd = open_dir(m, &complaint);

	if (dir_fd < 0)
		return;
	if (m->written.st_ino && fstatat(dir_fd, m->name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
	    same_file(&st, &m->written))
		unlinkat(dir_fd, m->name, 0);
	close(dir_fd);
}

void metrics_file_free(struct metrics_file *m)
{
	if (m->name)
		remove_file(m);
	sd_event_source_disable_unref(m->timer);
	free(m->temporary);
	free(m->dir);
	free(m);
}
