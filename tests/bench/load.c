/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The load for the benchmarks: as little as possible around the system calls that are looked at.
 *
 *   load CPU CLIENT SERVER      directories of cgroups: the listeners are made in SERVER, all else
 *                               in CLIENT; both ends are this one thread, on this CPU
 *
 * Lines on stdin:
 *   tcp4|tcp6 N none|connect|accept   connections; who sets the eight options itself
 *   show4|show6 1 none|connect|accept what the two sockets of one connection have of them
 *   udp4|udp6 N                       fresh sockets connect, each to another random address
 *   send N                            datagrams from one socket, neither bound nor connected
 *   setnone|setheld N                 calls of setsockopt(2) on a connection
 *   many N                            connections that stay open until the end
 *   ping N                            times a byte to and fro; the last number is their median's
 * sum mkdir N                           cgroups made below SERVER, and removed untimed fresh N
 * cgroups made below CLIENT, with two TCP sockets each first N, second N                 these
 * sockets connect, the first or second of each cgroup; after the second the cgroups are removed,
 * untimed
 *
 * A line is answered by five numbers, nanoseconds: CPU time of the thread, time on the clock, and
 * of the latter what was spent within connect(2), accept(2) and the application's setsockopt(2).
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "load.h"

#define LOAD_SIZE_MAX 100000000ul
#define READINGS      1001

uint64_t clock_cost;

static const char *const application_names[] = {
	[APPLICATION_NONE] = "none",
	[APPLICATION_CONNECT] = "connect",
	[APPLICATION_ACCEPT] = "accept",
};

static int by_size(const void *a, const void *b)
{
	const uint64_t *one = a, *other = b;

	return (*one > *other) - (*one < *other);
}

static uint64_t measure_clock(void)
{
	static uint64_t readings[READINGS];

	for (size_t i = 0; i < READINGS; i++) {
		uint64_t start = clock_nsec();

		readings[i] = clock_nsec() - start;
	}
	qsort(readings, READINGS, sizeof(*readings), by_size);
	return readings[READINGS / 2];
}

static int pin(const char *text)
{
	char *end;
	unsigned long cpu = strtoul(text, &end, 10);
	cpu_set_t set;

	if (*end || end == text || cpu >= CPU_SETSIZE)
		return -EINVAL;
	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	return sched_setaffinity(0, sizeof(set), &set) < 0 ? -errno : 0;
}

int enter(const char *cgroup)
{
	char path[4096];
	int fd, r;

	if (snprintf(path, sizeof(path), "%s/cgroup.procs", cgroup) >= (int)sizeof(path))
		return -ENAMETOOLONG;
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	r = write(fd, "0", 1) < 0 ? -errno : 0; /* whoever writes it */
	close(fd);
	return r;
}

static int open_deaf(void)
{
	struct sockaddr_in any = { .sin_family = AF_INET,
				   .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || bind(fd, (const struct sockaddr *)&any, sizeof(any)) < 0)
		return -errno;
	return fd;
}

static int open_sockets(struct sockets *s)
{
	int r = open_listeners(s);

	s->sender = s->device_sender = s->client = -1;
	s->deaf = open_deaf();
	return r < 0 ? r : s->deaf < 0 ? s->deaf : 0;
}

typedef int (*directory_call)(const char *path);

static int make_directory(const char *path)
{
	return mkdir(path, 0755);
}

static int each_directory(const char *parent, unsigned long n, directory_call call)
{
	char path[4096];

	while (n--) {
		if (snprintf(path, sizeof(path), "%s/made-%lu", parent, n) >= (int)sizeof(path))
			return -ENAMETOOLONG;
		if (call(path) < 0)
			return -errno;
	}
	return 0;
}

static int application_of(const char *name)
{
	for (size_t i = 0; i < sizeof(application_names) / sizeof(*application_names); i++)
		if (strcmp(application_names[i], name) == 0)
			return (int)i;
	return -EINVAL;
}

/* One line, taken to pieces. */
struct turn {
	char mode[8], application[8];
	unsigned long n;
};

static int parse(const char *line, struct turn *t)
{
	char number[16], *end;
	int pieces = sscanf(line, "%7s %15s %7s", t->mode, number, t->application);

	if (pieces < 2)
		return -EINVAL;
	if (pieces < 3)
		strcpy(t->application, "none");
	t->n = strtoul(number, &end, 10);
	return *end || t->n > LOAD_SIZE_MAX ? -EINVAL : 0;
}

/* Whose directories are CLIENT and SERVER. */
struct cgroups {
	const char *client, *server;
};

static int run(struct sockets *s, const struct cgroups *in, const struct turn *turn,
	       struct times *t)
{
	int a = application_of(turn->application);

	if (a < 0)
		return a;
	if (strcmp(turn->mode, "tcp4") == 0 || strcmp(turn->mode, "tcp6") == 0)
		return run_tcp(s, turn->mode[3] == '6', a, turn->n, t);
	if (strcmp(turn->mode, "show4") == 0 || strcmp(turn->mode, "show6") == 0)
		return show_tcp(s, turn->mode[4] == '6', a);
	if (strcmp(turn->mode, "udp4") == 0 || strcmp(turn->mode, "udp6") == 0)
		return run_udp_connects(turn->mode[3] == '6', turn->n);
	if (strcmp(turn->mode, "send") == 0 || strcmp(turn->mode, "device") == 0)
		return run_sends(s, *turn->mode == 'd', turn->n);
	if (strcmp(turn->mode, "socket") == 0)
		return run_sockets(turn->n);
	if (strcmp(turn->mode, "many") == 0)
		return open_many(turn->n);
	if (strcmp(turn->mode, "ping") == 0)
		return run_pings(turn->n, t);
	if (strncmp(turn->mode, "set", 3) == 0)
		return run_sets(s, turn->mode, turn->n);
	if (strcmp(turn->mode, "mkdir") == 0)
		return each_directory(in->server, turn->n, make_directory);
	if (strcmp(turn->mode, "fresh") == 0)
		return make_fresh(in->client, turn->n);
	if (strcmp(turn->mode, "first") == 0)
		return connect_fresh(s, FRESH_FIRST, turn->n, t);
	if (strcmp(turn->mode, "second") == 0)
		return connect_fresh(s, FRESH_SECOND, turn->n, t);
	return -EINVAL;
}

static int serve_line(struct sockets *s, const struct cgroups *in, const char *line)
{
	struct times t = { 0 };
	uint64_t cpu, wall;
	struct turn turn;
	int r = parse(line, &turn);

	if (r < 0)
		return r;
	wall = clock_nsec();
	cpu = nsec_of(CLOCK_THREAD_CPUTIME_ID);
	r = run(s, in, &turn, &t);
	t.cpu = nsec_of(CLOCK_THREAD_CPUTIME_ID) - cpu;
	t.wall = clock_nsec() - wall;
	if (strcmp(turn.mode, "mkdir") == 0)
		(void)each_directory(in->server, turn.n, rmdir);
	if (strcmp(turn.mode, "second") == 0)
		remove_fresh(in->client, turn.n);
	if (r == 0 && strncmp(turn.mode, "show", 4) != 0)
		printf("%" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64, t.cpu, t.wall,
		       t.connect, t.accept, t.options);
	printf("\n");
	fflush(stdout);
	return r;
}

static int serve(int argc, char **argv)
{
	struct cgroups in;
	struct sockets s = { 0 };
	char line[64];
	int r;

	if (argc != 4)
		return -EINVAL;
	in.client = argv[2];
	in.server = argv[3];
	/* As little as possible shall come between; where it may not, it goes without. */
	(void)setpriority(PRIO_PROCESS, 0, -20);
	r = pin(argv[1]);
	if (r == 0)
		r = enter(in.server);
	if (r == 0)
		r = open_sockets(&s);
	if (r == 0)
		r = enter(in.client);
	clock_cost = measure_clock();
	while (r == 0 && fgets(line, sizeof(line), stdin))
		r = serve_line(&s, &in, line);
	return r;
}

int main(int argc, char **argv)
{
	int r = serve(argc, argv);

	if (r < 0)
		fprintf(stderr, "load: %s\n", strerror(-r));
	return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
