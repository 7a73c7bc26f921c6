/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Connections that stay open, and one that goes to and fro. */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "load.h"

#define BACKLOG	      128
#define PER_ADDRESS   20000ul	  /* fewer than there are ephemeral ports */
#define FIRST_ADDRESS 0x7f000101u /* 127.0.1.1 */
#define PINGS_MAX     100000ul

static int listen_everywhere(void)
{
	const struct sockaddr_in any = { .sin_family = AF_INET };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -errno;
	if (bind(fd, (const struct sockaddr *)&any, sizeof(any)) < 0 || listen(fd, BACKLOG) < 0) {
		int r = -errno;

		close(fd);
		return r;
	}
	return fd;
}

/* Opens one more, both of its ends. */
static int open_both(int listener, struct sockaddr_in to, unsigned long number, int ret_ends[2])
{
	to.sin_addr.s_addr = htonl(FIRST_ADDRESS + (uint32_t)(number / PER_ADDRESS));
	ret_ends[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (ret_ends[0] < 0 || connect(ret_ends[0], (const struct sockaddr *)&to, sizeof(to)) < 0)
		return -errno;
	ret_ends[1] = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	return ret_ends[1] < 0 ? -errno : 0;
}

/* They go with the process. */
int open_many(unsigned long n)
{
	struct rlimit files;
	struct sockaddr_in to = { .sin_family = AF_INET };
	socklen_t size = sizeof(to);
	int listener = listen_everywhere(), ends[2], r = 0;

	if (listener < 0)
		return listener;
	if (getrlimit(RLIMIT_NOFILE, &files) == 0)
		files.rlim_cur = files.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &files) < 0 ||
	    getsockname(listener, (struct sockaddr *)&to, &size) < 0)
		r = -errno;
	for (unsigned long i = 0; i < n && r == 0; i++)
		r = open_both(listener, to, i, ends);
	return r;
}

static int by_size(const void *a, const void *b)
{
	const uint64_t *one = a, *other = b;

	return (*one > *other) - (*one < *other);
}

static int ping(const int ends[2])
{
	char byte = 0;

	for (int i = 0; i < 2; i++)
		if (write(ends[i], &byte, 1) != 1 || read(ends[!i], &byte, 1) != 1)
			return -EIO;
	return 0;
}

int run_pings(unsigned long n, struct times *t)
{
	static uint64_t took[PINGS_MAX];
	const int on = 1;
	struct sockaddr_in to = { .sin_family = AF_INET };
	socklen_t size = sizeof(to);
	int listener = listen_everywhere(), ends[2] = { -1, -1 }, r;

	if (listener < 0 || n > PINGS_MAX)
		return -EINVAL;
	r = getsockname(listener, (struct sockaddr *)&to, &size) < 0
		    ? -errno
		    : open_both(listener, to, 0, ends);
	for (int i = 0; i < 2 && r == 0; i++)
		r = setsockopt(ends[i], IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) < 0 ? -errno : 0;
	for (unsigned long i = 0; i < n && r == 0; i++) {
		uint64_t start = clock_nsec();

		r = ping(ends);
		took[i] = since(start);
	}
	for (int i = 0; i < 2; i++)
		if (ends[i] >= 0)
			close(ends[i]);
	close(listener);
	if (r == 0 && n) {
		qsort(took, n, sizeof(*took), by_size);
		t->options = n * took[n / 2]; /* so that one of n is the median */
	}
	return r;
}
