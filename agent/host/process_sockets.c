// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/stat.h>

#include "host/process_sockets.h"

struct inodes {
	uint64_t *v; /* owned, sorted */
	size_t n;
};

static int compare_inodes(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

/* Reads the inode number, such as 123 in "socket:[123]". */
static bool parse_socket_link(const char *link, uint64_t *ret)
{
	static const char prefix[] = "socket:[";
	const char *digits = link + sizeof(prefix) - 1;
	char *end;

	if (strncmp(link, prefix, sizeof(prefix) - 1) != 0 || !isdigit((unsigned char)*digits))
		return false;
	errno = 0;
	*ret = strtoull(digits, &end, 10);
	return errno == 0 && streq(end, "]");
}

static int read_inodes(pid_t pid, struct inodes *ret)
{
	char path[sizeof("/proc//fd") + 3 * sizeof(pid)];
	const struct dirent *e;
	int r = 0;
	DIR *d;

	snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	d = opendir(path);
	if (!d)
		return errno == ENOENT ? -ESRCH : -errno;
	while (r == 0 && (e = readdir(d))) {
		char link[64];
		uint64_t inode;
		ssize_t n = readlinkat(dirfd(d), e->d_name, link, sizeof(link) - 1);

		if (n < 0) /* closed meanwhile, "." or ".." */
			continue;
		link[n] = '\0';
		if (!parse_socket_link(link, &inode))
			continue;
		r = GROW(ret->v, ret->n);
		if (r == 0)
			ret->v[ret->n++] = inode;
	}
	closedir(d);
	if (ret->n)
		qsort(ret->v, ret->n, sizeof(*ret->v), compare_inodes);
	return r;
}

/* Opens a netlink socket in the process's network namespace: a socket answers for the namespace in
 * which it was opened. */
static int open_diag_of(pid_t pid, struct mnl_socket **ret)
{
	char path[sizeof("/proc//ns/net") + 3 * sizeof(pid)];
	_cleanup_close_ int own = -1, other = -1;
	struct stat a, b;
	int r;

	snprintf(path, sizeof(path), "/proc/%d/ns/net", (int)pid);
	own = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	if (own < 0)
		return -errno;
	other = open(path, O_RDONLY | O_CLOEXEC);
	if (other < 0)
		return errno == ENOENT ? -ESRCH : -errno;
	if (fstat(own, &a) < 0 || fstat(other, &b) < 0)
		return -errno;
	if (a.st_dev == b.st_dev && a.st_ino == b.st_ino)
		return sock_diag_open(ret);
	if (setns(other, CLONE_NEWNET) < 0)
		return -errno;
	r = sock_diag_open(ret);
	if (setns(own, CLONE_NEWNET) < 0) { /* the rest must not run in a foreign namespace */
		if (r == 0)
			sock_diag_close(*ret);
		return -errno;
	}
	return r;
}

struct selection {
	const struct inodes *inodes;
	struct process_sockets *sockets;
};

static int add_socket(const struct sock_diag_socket *s, void *userdata)
{
	const struct selection *selection = userdata;
	const struct inodes *inodes = selection->inodes;
	struct process_sockets *sockets = selection->sockets;

	if (!inodes->n ||
	    !bsearch(&s->inode, inodes->v, inodes->n, sizeof(*inodes->v), compare_inodes))
		return 0;
	if (GROW(sockets->v, sockets->n) < 0)
		return -ENOMEM;
	sockets->v[sockets->n++] = *s;
	return 0;
}

static int dump_all(struct mnl_socket *nl, const struct inodes *inodes,
		    struct process_sockets *sockets)
{
	static const int protocols[] = { IPPROTO_TCP, IPPROTO_UDP };
	struct selection selection = { inodes, sockets };
	int r = 0;

	for (size_t p = 0; p < ARRAY_SIZE(protocols) && r == 0; p++)
		r = sock_diag_each(nl, protocols[p], SOCK_DIAG_ALL_STATES, add_socket, &selection);
	return r;
}

int process_sockets_read(pid_t pid, struct process_sockets *ret)
{
	struct process_sockets sockets = { 0 };
	struct inodes inodes = { 0 };
	_cleanup_(sock_diag_close) struct mnl_socket *nl = NULL;
	int r = read_inodes(pid, &inodes);

	if (r == 0 && inodes.n)
		r = open_diag_of(pid, &nl);
	if (r == 0 && nl)
		r = dump_all(nl, &inodes, &sockets);
	free(inodes.v);
	if (r < 0) {
		process_sockets_clear(&sockets);
		return r;
	}
	*ret = sockets;
	return 0;
}

void process_sockets_clear(struct process_sockets *s)
{
	free(s->v);
	*s = (struct process_sockets){ 0 };
}
