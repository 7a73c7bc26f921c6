/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What an administrator does instead, without sockpol: a library for LD_PRELOAD that sets the eight
 * options before each connect(2) and after each accept(2).  BENCH_PRELOAD=connect or =accept leaves
 * the other alone.
 */
#include <dlfcn.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "eight_calls.h"

static int (*next_connect)(int, const struct sockaddr *, socklen_t);
static int (*next_accept4)(int, struct sockaddr *, socklen_t *, int);
static bool on_connect = true, on_accept = true;

__attribute__((constructor)) static void find_next(void)
{
	const char *only = getenv("BENCH_PRELOAD"); // NOLINT(concurrency-mt-unsafe)

	next_connect =
		(int (*)(int, const struct sockaddr *, socklen_t))dlsym(RTLD_NEXT, "connect");
	next_accept4 =
		(int (*)(int, struct sockaddr *, socklen_t *, int))dlsym(RTLD_NEXT, "accept4");
	if (only) {
		on_connect = strcmp(only, "connect") == 0;
		on_accept = strcmp(only, "accept") == 0;
	}
}

/* An option that fails is no reason to fail the application's call. */
static void set_unseen(int fd)
{
	int error = errno;

	(void)set_eight(fd);
	errno = error;
}

__attribute__((visibility("default"))) int connect(int fd, const struct sockaddr *to,
						   socklen_t size)
{
	if (on_connect && (to->sa_family == AF_INET || to->sa_family == AF_INET6))
		set_unseen(fd);
	return next_connect(fd, to, size);
}

__attribute__((visibility("default"))) int accept4(int fd, struct sockaddr *from, socklen_t *size,
						   int flags)
{
	int r = next_accept4(fd, from, size, flags);

	if (r >= 0 && on_accept)
		set_unseen(r);
	return r;
}

__attribute__((visibility("default"))) int accept(int fd, struct sockaddr *from, socklen_t *size)
{
	return accept4(fd, from, size, 0);
}
