// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * A program that knows nothing of sockpol, for the system test: connects, and says what became of
 * its sockets.
 *
 *   connector PORT COUNT VALUE   COUNT connections to 127.0.0.1 (0: until SIGTERM), then a line "N
 *                                connections, N ungoverned, N failed".  Governed is a socket
 *                                whose TCP_USER_TIMEOUT is VALUE right after connect(2).
 *   connector listen PORT        accepts connections, in the background
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static volatile sig_atomic_t asked_to_stop;

static void on_sigterm(int number)
{
	(void)number;
	asked_to_stop = 1;
}

static int number(const char *s)
{
	char *end;
	long n;

	errno = 0;
	n = strtol(s, &end, 10);
	if (errno || end == s || *end || n < 0 || n > 1000000000) {
		fprintf(stderr, "connector: %s is no number\n", s);
		exit(2);
	}
	return (int)n;
}

static struct sockaddr_in loopback(int port)
{
	return (struct sockaddr_in){
		.sin_family = AF_INET,
		.sin_port = htons((in_port_t)port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
}

static int accept_all(int port)
{
	const struct sockaddr_in address = loopback(port);
	int fd = socket(AF_INET, SOCK_STREAM, 0), peer;
	char byte;

	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){ 1 }, sizeof(int)) < 0 ||
	    bind(fd, (const struct sockaddr *)&address, sizeof(address)) < 0 ||
	    listen(fd, 64) < 0) {
		perror("connector: cannot listen");
		return 1;
	}
	/* Who started it may connect from now on. */
	if (daemon(0, 0) < 0)
		return 1;
	for (;;) {
		peer = accept(fd, NULL, NULL);
		if (peer < 0)
			continue;
		/* One at a time, until the other has done: the queue never overflows. */
		if (send(peer, "", 1, MSG_NOSIGNAL) == 1)
			while (read(peer, &byte, 1) > 0)
				;
		close(peer);
	}
}

/* 1: governed, 0: not, -1: no connection */
static int connect_once(const struct sockaddr_in *address, int expected)
{
	const struct linger reset = { .l_onoff = 1 }; /* leaves no TIME_WAIT to run out of ports */
	int fd = socket(AF_INET, SOCK_STREAM, 0), value = -1, result = -1;
	socklen_t size = sizeof(value);
	char byte;

	if (fd < 0)
		return -1;
	if (connect(fd, (const struct sockaddr *)address, sizeof(*address)) == 0 &&
	    getsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &value, &size) == 0)
		result = value == expected;
	if (result >= 0 && read(fd, &byte, 1) != 1)
		result = -1;
	setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
	close(fd);
	return result;
}

static int connect_all(int port, int count, int expected)
{
	const struct sockaddr_in address = loopback(port);
	unsigned long connections = 0, ungoverned = 0, failed = 0;

	signal(SIGTERM, on_sigterm);
	while (!asked_to_stop && (!count || connections < (unsigned long)count)) {
		int r = connect_once(&address, expected);

		connections++;
		ungoverned += r == 0;
		failed += r < 0;
	}
	printf("%lu connections, %lu ungoverned, %lu failed\n", connections, ungoverned, failed);
	return fflush(stdout) == EOF;
}

int main(int argc, char **argv)
{
	if (argc == 3 && strcmp(argv[1], "listen") == 0)
		return accept_all(number(argv[2]));
	if (argc == 4)
		return connect_all(number(argv[1]), number(argv[2]), number(argv[3]));
	fputs("usage: connector PORT COUNT VALUE | connector listen PORT\n", stderr);
	return 2;
}
