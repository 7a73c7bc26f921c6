/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* setsockopt(2) on a connection, again and again: of an option that nobody holds there, and of one
 * that is held (by_setsockopt.py). */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "load.h"

static const struct {
	const char *mode;
	int name, value; /* of IPPROTO_TCP */
} options[] = {
	{ "setnone", TCP_NODELAY, 1 },
	{ "setheld", TCP_KEEPIDLE, 61 },
};

/* Returns a connection of the calling process's; nobody accepts its other end. */
static int open_client(const struct sockets *s)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct sockaddr_in to;
	socklen_t size = sizeof(to);
	int r = fd < 0 ? -errno : 0;

	if (r == 0 && getsockname(s->listen4, (struct sockaddr *)&to, &size) < 0)
		r = -errno;
	if (r == 0 && connect(fd, (const struct sockaddr *)&to, size) < 0)
		r = -errno;
	if (r < 0 && fd >= 0)
		close(fd);
	return r < 0 ? r : fd;
}

int run_sets(struct sockets *s, const char *mode, unsigned long n)
{
	size_t i = 0;

	while (i < sizeof(options) / sizeof(*options) && strcmp(options[i].mode, mode) != 0)
		i++;
	if (i == sizeof(options) / sizeof(*options))
		return -EINVAL;
	if (s->client < 0)
		s->client = open_client(s);
	if (s->client < 0)
		return s->client;
	while (n--)
		if (setsockopt(s->client, IPPROTO_TCP, options[i].name, &options[i].value,
			       sizeof(options[i].value)) < 0)
			return -errno;
	return 0;
}
