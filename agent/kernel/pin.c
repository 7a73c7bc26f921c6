// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <errno.h>

#include <bpf/bpf.h>

#include "base/log.h"
#include "kernel/pin.h"

char *pin_path(const char *dir, const char *name)
{
	char *path;

	return asprintf(&path, "%s/%s", dir, name) < 0 ? NULL : path;
}

static char *staged_path(const char *dir, const char *name)
{
	char *path;

	return asprintf(&path, "%s/%s" PIN_STAGED_SUFFIX, dir, name) < 0 ? NULL : path;
}

/* One that is not there is removed also where the file system is read-only. */
static int remove_pin(const char *path)
{
	return access(path, F_OK) < 0 && errno == ENOENT ? 0 : unlink(path);
}

int pin_stage(int fd, const char *dir, const char *name)
{
	_cleanup_free_ char *path = staged_path(dir, name);

	if (!path)
		return log_oom();
	if (remove_pin(path) < 0) /* of an agent that was killed at this point */
		return log_error_errno(errno, "Cannot remove %s", path);
	if (bpf_obj_pin(fd, path) < 0)
		return log_error_errno(errno, "Cannot pin %s", path);
	return 0;
}

int pin_commit(const char *dir, const char *name)
{
	_cleanup_free_ char *staged = staged_path(dir, name), *path = pin_path(dir, name);

	if (!staged || !path)
		return log_oom();
	return rename(staged, path) < 0 ? log_error_errno(errno, "Cannot pin %s", path) : 0;
}

void pin_unstage(const char *dir, const char *name)
{
	_cleanup_free_ char *path = staged_path(dir, name);

	if (path && remove_pin(path) < 0)
		log_warning_errno(errno, "Cannot remove %s, ignoring", path);
}

int pin_remove(const char *path)
{
	_cleanup_close_ int fd = bpf_obj_get(path);

	/* A map is no link, and links to tracepoints know no such thing. */
	if (fd >= 0)
		(void)bpf_link_detach(fd);
	return remove_pin(path) < 0 ? -errno : 0;
}

bool pin_is_lost(const char *dir, const char *name)
{
	_cleanup_free_ char *path = pin_path(dir, name);

	return path && access(path, F_OK) < 0 && errno == ENOENT;
}

int pin_renew(int fd, const char *dir, const char *name)
{
	int r;

	if (!pin_is_lost(dir, name))
		return 0;
	r = pin_stage(fd, dir, name);
	return r < 0 ? r : pin_commit(dir, name);
}
