// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/stat.h>

#include "base/log.h"
#include "host/namespaces.h"

#define OWN "/proc/thread-self/ns/net"

struct seen {
	uint64_t *v; /* owned */
	size_t n;
};

static bool add(struct seen *s, uint64_t inode)
{
	for (size_t i = 0; i < s->n; i++)
		if (s->v[i] == inode)
			return false;
	return APPEND(s->v, s->n, inode) == 0;
}

static int enter(const char *path, namespace_fn *fn, void *userdata)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return errno == ENOENT || errno == ESRCH
			       ? 0 /* its last process has ended */
			       : log_error_errno(errno, "Cannot open the network namespace %s",
						 path);
	if (setns(fd, CLONE_NEWNET) < 0)
		return log_error_errno(errno, "Cannot enter the network namespace %s", path);
	return fn(st.st_ino, userdata);
}

static int each(struct seen *seen, namespace_fn *fn, void *userdata)
{
	DIR *proc = opendir("/proc");
	struct dirent *e;
	int r = 0;

	if (!proc)
		return log_error_errno(errno, "Cannot list the processes");
	while (r == 0 && (e = readdir(proc))) {
		char path[sizeof("/proc//ns/net") + sizeof(e->d_name)];
		struct stat st;

		if (!isdigit((unsigned char)*e->d_name))
			continue;
		snprintf(path, sizeof(path), "/proc/%s/ns/net", e->d_name);
		if (stat(path, &st) == 0 && add(seen, st.st_ino))
			r = enter(path, fn, userdata);
	}
	closedir(proc);
	return r;
}

int namespaces_each(const char *which, namespace_fn *fn, void *userdata)
{
	_cleanup_close_ int own = open(OWN, O_RDONLY | O_CLOEXEC);
	struct seen seen = { 0 };
	struct stat st;
	int r;

	if (own < 0 || fstat(own, &st) < 0)
		return log_error_errno(errno, "Cannot open the network namespace");
	if (which && !streq(which, NAMESPACES_ALL)) {
		if (access(which, F_OK) < 0)
			return log_error_errno(errno, "Cannot open the network namespace %s",
					       which);
		r = enter(which, fn, userdata);
	} else {
		add(&seen, st.st_ino);
		r = fn(st.st_ino, userdata);
		if (r == 0 && which)
			r = each(&seen, fn, userdata);
	}
	free(seen.v);
	if (which && setns(own, CLONE_NEWNET) < 0)
		return log_error_errno(errno, "Cannot go back to the network namespace");
	return r;
}
