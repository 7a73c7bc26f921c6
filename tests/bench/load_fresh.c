/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Cgroups that are new, and the first two sockets of each. */
#include <errno.h>
#include <limits.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "load.h"

static int sockets_of[FRESH_SOCKETS][FRESH_MAX];

static int name_fresh(char *path, size_t size, const char *parent, unsigned long number)
{
	int length = snprintf(path, size, "%s/job-%lu-a.service", parent, number);

	return length < 0 || (size_t)length >= size ? -ENAMETOOLONG : 0;
}

static int make_one(const char *parent, unsigned long number)
{
	char path[PATH_MAX];
	int r = name_fresh(path, sizeof(path), parent, number);

	if (r == 0 && mkdir(path, 0755) < 0)
		r = -errno;
	if (r == 0)
		r = enter(path);
	for (int i = 0; i < FRESH_SOCKETS && r == 0; i++) {
		int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

		sockets_of[i][number] = fd;
		r = fd < 0 ? -errno : 0;
	}
	return r;
}

int make_fresh(const char *parent, unsigned long n)
{
	int r = n > FRESH_MAX ? -EINVAL : 0;

	for (unsigned long i = 0; i < n && r == 0; i++)
		r = make_one(parent, i);
	return r < 0 ? r : enter(parent);
}

int connect_fresh(const struct sockets *s, enum fresh which, unsigned long n, struct times *t)
{
	return n > FRESH_MAX ? -EINVAL : run_tcp_from(s, sockets_of[which], n, t);
}

void remove_fresh(const char *parent, unsigned long n)
{
	char path[PATH_MAX];

	while (n--)
		if (name_fresh(path, sizeof(path), parent, n) == 0)
			(void)rmdir(path);
}
