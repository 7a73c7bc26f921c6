/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * TCP connections over loopback, both ends in one thread: the whole handshake runs within
 * connect(2), in the caller's time, the accepting side's softirq too.
 */
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "eight_calls.h"
#include "load.h"

#define BACKLOG 16

union address {
	struct sockaddr any;
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
};

static socklen_t size_of(const union address *a)
{
	return a->any.sa_family == AF_INET6 ? sizeof(a->v6) : sizeof(a->v4);
}

static int listen_on(const union address *a)
{
	/* An accepted socket inherits it and is closed first: a reset, and no TIME_WAIT. */
	const struct linger reset = { .l_onoff = 1 };
	int fd = socket(a->any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -errno;
	if (setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset)) < 0 ||
	    bind(fd, &a->any, size_of(a)) < 0 || listen(fd, BACKLOG) < 0) {
		int r = -errno;

		close(fd);
		return r;
	}
	return fd;
}

int open_listeners(struct sockets *s)
{
	const union address v4 = { .v4 = { .sin_family = AF_INET,
					   .sin_addr.s_addr = htonl(INADDR_LOOPBACK) } };
	const union address v6 = { .v6 = { .sin6_family = AF_INET6,
					   .sin6_addr = IN6ADDR_LOOPBACK_INIT } };

	s->listen4 = listen_on(&v4);
	s->listen6 = listen_on(&v6);
	return s->listen4 < 0 ? s->listen4 : s->listen6 < 0 ? s->listen6 : 0;
}

struct connection {
	int client, accepted;
};

static int set_timed(int fd, struct times *t)
{
	uint64_t start = clock_nsec();
	int r = set_eight(fd);

	t->options += since(start);
	return r;
}

static int connect_timed(int fd, const union address *to, struct times *t)
{
	uint64_t start = clock_nsec();
	int r = connect(fd, &to->any, size_of(to));

	t->connect += since(start);
	return r < 0 ? -errno : 0;
}

static int accept_timed(int listener, struct times *t)
{
	uint64_t start = clock_nsec();
	int r = accept4(listener, NULL, NULL, SOCK_CLOEXEC);

	t->accept += since(start);
	return r < 0 ? -errno : r;
}

/* From a socket that is there: c->client. */
static int connect_one(struct connection *c, int listener, const union address *to,
		       enum application a, struct times *t)
{
	int r;

	c->accepted = -1;
	r = connect_timed(c->client, to, t);
	if (r < 0)
		return r;
	if (a == APPLICATION_CONNECT)
		r = set_timed(c->client, t);
	c->accepted = accept_timed(listener, t);
	if (c->accepted < 0)
		return c->accepted;
	if (a == APPLICATION_ACCEPT)
		r = set_timed(c->accepted, t);
	return r;
}

static int open_one(struct connection *c, int listener, const union address *to, enum application a,
		    struct times *t)
{
	c->accepted = -1;
	c->client = socket(to->any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	return c->client < 0 ? -errno : connect_one(c, listener, to, a, t);
}

static void close_one(const struct connection *c)
{
	if (c->accepted >= 0)
		close(c->accepted);
	if (c->client >= 0)
		close(c->client);
}

static int name_of(int listener, union address *to)
{
	socklen_t size = sizeof(*to);

	return getsockname(listener, &to->any, &size) < 0 ? -errno : 0;
}

int run_tcp(const struct sockets *s, bool v6, enum application a, unsigned long n, struct times *t)
{
	int listener = v6 ? s->listen6 : s->listen4;
	union address to = { 0 };
	int r = name_of(listener, &to);

	while (n-- && r == 0) {
		struct connection c;

		r = open_one(&c, listener, &to, a, t);
		close_one(&c);
	}
	return r;
}

int run_tcp_from(const struct sockets *s, int *clients, unsigned long n, struct times *t)
{
	union address to = { 0 };
	int r = name_of(s->listen4, &to);

	for (unsigned long i = 0; i < n && r == 0; i++) {
		struct connection c = { .client = clients[i] };

		r = connect_one(&c, s->listen4, &to, APPLICATION_NONE, t);
		close_one(&c);
		clients[i] = -1;
	}
	return r;
}

static int show_integer(int fd, int level, int name)
{
	int value = 0;
	socklen_t size = sizeof(value);

	if (getsockopt(fd, level, name, &value, &size) < 0)
		return -errno;
	printf(" %d", value);
	return 0;
}

static int show_socket(int fd)
{
	char congestion[16] = "";
	socklen_t size = sizeof(congestion);
	int r = show_integer(fd, SOL_SOCKET, SO_SNDBUF);

	if (getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, congestion, &size) < 0)
		return -errno;
	printf(" %.*s", (int)size, congestion);
#define SHOW(level, name, value) r |= show_integer(fd, level, name);
	EIGHT_INTEGERS(SHOW)
#undef SHOW
	return r;
}

int show_tcp(const struct sockets *s, bool v6, enum application a)
{
	int listener = v6 ? s->listen6 : s->listen4;
	struct times unused = { 0 };
	struct connection c;
	union address to = { 0 };
	int r = name_of(listener, &to);

	if (r < 0)
		return r;
	r = open_one(&c, listener, &to, a, &unused);
	if (r == 0)
		r = show_socket(c.client);
	if (r == 0)
		r = show_socket(c.accepted);
	close_one(&c);
	return r;
}
