// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <ctype.h>
#include <dirent.h>
#include <errno.h>

#include "host/descriptors.h"

static int add(struct descriptors *d, pid_t pid, int fd, const char *target)
{
	static const char prefix[] = "socket:[";
	uint64_t inode;

	if (strncmp(target, prefix, strlen(prefix)) != 0)
		return 0;
	inode = strtoull(target + strlen(prefix), NULL, 10);
	return APPEND(d->v, d->n, (struct descriptor){ inode, pid, fd });
}

static int read_process(pid_t pid, struct descriptors *d)
{
	char path[sizeof("/proc//fd") + 3 * sizeof(pid)], target[64];
	DIR *fds;
	struct dirent *e;
	int r = 0;

	snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	fds = opendir(path);
	if (!fds)
		return errno == ENOENT ? -ESRCH : -errno;
	while (r == 0 && (e = readdir(fds))) {
		ssize_t n = isdigit((unsigned char)*e->d_name)
				    ? readlinkat(dirfd(fds), e->d_name, target, sizeof(target) - 1)
				    : -1;

		if (n < 0)
			continue;
		target[n] = '\0';
		r = add(d, pid, (int)strtol(e->d_name, NULL, 10), target);
	}
	closedir(fds);
	return r;
}

static int read_all(struct descriptors *d)
{
	DIR *proc = opendir("/proc");
	struct dirent *e;
	int r = proc ? 0 : -errno;

	while (r == 0 && proc && (e = readdir(proc))) {
		if (!isdigit((unsigned char)*e->d_name))
			continue;
		r = read_process((pid_t)strtol(e->d_name, NULL, 10), d);
		r = r == -ENOMEM ? r : 0;
	}
	if (proc)
		closedir(proc);
	return r;
}

static int compare(const void *a, const void *b)
{
	const struct descriptor *x = a, *y = b;

	if (x->inode != y->inode)
		return x->inode < y->inode ? -1 : 1;
	return x->pid != y->pid ? (x->pid > y->pid) - (x->pid < y->pid)
				: (x->fd > y->fd) - (x->fd < y->fd);
}

int descriptors_read(pid_t pid, struct descriptors *ret)
{
	struct descriptors d = { 0 };
	int r = pid ? read_process(pid, &d) : read_all(&d);

	if (r < 0) {
		descriptors_clear(&d);
		return r;
	}
	if (d.n)
		qsort(d.v, d.n, sizeof(*d.v), compare);
	*ret = d;
	return 0;
}

void descriptors_clear(struct descriptors *d)
{
	free(d->v);
	*d = (struct descriptors){ 0 };
}

const struct descriptor *descriptors_find(const struct descriptors *d, uint64_t inode,
					  size_t *ret_n)
{
	size_t low = 0, high = d->n;

	while (low < high) {
		size_t middle = (low + high) / 2;

		if (d->v[middle].inode < inode)
			low = middle + 1;
		else
			high = middle;
	}
	*ret_n = 0;
	while (inode && low + *ret_n < d->n && d->v[low + *ret_n].inode == inode)
		++*ret_n;
	return d->v + low;
}
