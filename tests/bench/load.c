/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The load for the benchmarks: as little as possible around the system call that is looked at.
 *
 *   load CPU connect SEED       each line "N" on stdin: N fresh UDP sockets connect, each to
 *                               another random address (no packet is sent)
 *   load CPU send ADDRESS PORT  each line "N": N datagrams from one socket, neither bound nor
 *                               connected
 *
 * Each line is answered by the nanoseconds of this thread's CPU time.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define NSEC_PER_SEC  1000000000ull
#define FIRST_UNICAST 0x01000000u /* 1.0.0.0 */
#define UNICAST_SIZE  0xdf000000u /* to 223.255.255.255 */
#define DISCARD_PORT  9
#define LOAD_SIZE_MAX 100000000ul

static uint64_t random_state;

/* xorshift64* (Vigna, 2016): a few cycles, and the same addresses for the same seed. */
static uint32_t random_number(void)
{
	random_state ^= random_state >> 12;
	random_state ^= random_state << 25;
	random_state ^= random_state >> 27;
	return (uint32_t)((random_state * 2685821657736338717ull) >> 32);
}

static int connect_once(void)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(DISCARD_PORT) };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	int r;

	if (fd < 0)
		return -errno;
	to.sin_addr.s_addr = htonl(FIRST_UNICAST + random_number() % UNICAST_SIZE);
	r = connect(fd, (const struct sockaddr *)&to, sizeof(to)) < 0 ? -errno : 0;
	close(fd);
	/* Some addresses may be none to connect to; the hook has run by then. */
	return r == -ENETUNREACH || r == -EACCES || r == -EINVAL ? 0 : r;
}

static int run_connects(unsigned long n)
{
	int r = 0;

	while (n-- && r == 0)
		r = connect_once();
	return r;
}

static int run_sends(unsigned long n, int fd, const struct sockaddr_in *to)
{
	static const char datagram[64];

	while (n--)
		if (sendto(fd, datagram, sizeof(datagram), 0, (const struct sockaddr *)to,
			   sizeof(*to)) < 0)
			return -errno;
	return 0;
}

static uint64_t cpu_nsec(void)
{
	struct timespec now;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
	return (uint64_t)now.tv_sec * NSEC_PER_SEC + (uint64_t)now.tv_nsec;
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

/* Runs what each line asks for; to: NULL to connect. */
static int serve(int fd, const struct sockaddr_in *to)
{
	char line[32];

	while (fgets(line, sizeof(line), stdin)) {
		char *end;
		unsigned long n = strtoul(line, &end, 10);
		uint64_t start;
		int r;

		if (end == line || *end != '\n' || n > LOAD_SIZE_MAX)
			return -EINVAL;
		start = cpu_nsec();
		r = to ? run_sends(n, fd, to) : run_connects(n);
		if (r < 0)
			return r;
		printf("%" PRIu64 "\n", cpu_nsec() - start);
		fflush(stdout);
	}
	return 0;
}

static int serve_sends(const char *address, const char *port)
{
	struct sockaddr_in to = { .sin_family = AF_INET };
	char *end;
	unsigned long number = strtoul(port, &end, 10);
	int fd, r;

	if (inet_pton(AF_INET, address, &to.sin_addr) != 1 || *end || number > UINT16_MAX)
		return -EINVAL;
	to.sin_port = htons((uint16_t)number);
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	r = serve(fd, &to);
	close(fd);
	return r;
}

static int run(int argc, char **argv)
{
	int r;

	if (argc < 4)
		return -EINVAL;
	r = pin(argv[1]);
	if (r < 0)
		return r;
	if (argc == 5 && strcmp(argv[2], "send") == 0)
		return serve_sends(argv[3], argv[4]);
	if (argc != 4 || strcmp(argv[2], "connect") != 0)
		return -EINVAL;
	random_state = strtoull(argv[3], NULL, 10) | 1; /* 0 would stay 0 */
	return serve(-1, NULL);
}

int main(int argc, char **argv)
{
	int r = run(argc, argv);

	if (r < 0)
		fprintf(stderr, "load: %s\n", strerror(-r));
	return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
