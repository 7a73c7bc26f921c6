/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What the loads share: how time is taken, and what is answered. */
#ifndef SOCKPOL_BENCH_LOAD_H
#define SOCKPOL_BENCH_LOAD_H

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#define NSEC_PER_SEC 1000000000ull

/* Nanoseconds of one turn; of the whole loop, and on the clock within single calls. */
struct times {
	uint64_t cpu, wall;
	uint64_t connect, accept, options;
};

static inline uint64_t nsec_of(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return (uint64_t)now.tv_sec * NSEC_PER_SEC + (uint64_t)now.tv_nsec;
}

/* On the clock; what the clock itself takes is taken off (load.c). */
static inline uint64_t clock_nsec(void)
{
	return nsec_of(CLOCK_MONOTONIC);
}

extern uint64_t clock_cost; /* nanoseconds between two readings with nothing between */

static inline uint64_t since(uint64_t start)
{
	uint64_t passed = clock_nsec() - start;

	return passed > clock_cost ? passed - clock_cost : 0;
}

enum application { APPLICATION_NONE, APPLICATION_CONNECT, APPLICATION_ACCEPT };

/* Sockets of the turns; they belong to the cgroup in which they were made. */
struct sockets {
	int listen4, listen6; /* TCP, on loopback */
	int deaf;	      /* UDP, that nobody reads */
	int sender;	      /* UDP, neither bound nor connected; -1: not made yet */
	int device_sender;    /* likewise, which binds itself to the loopback device */
	int client;	      /* TCP, connected to listen4; -1: not made yet */
};

int open_listeners(struct sockets *s);

/* n connections, opened, accepted and closed; the application sets its options itself or not. */
int run_tcp(const struct sockets *s, bool v6, enum application a, unsigned long n, struct times *t);

/* Connects each of the n sockets (TCP, IPv4), and closes it and what is accepted. */
int run_tcp_from(const struct sockets *s, int *clients, unsigned long n, struct times *t);

/* One connection: prints what its two sockets have of the eight options. */
int show_tcp(const struct sockets *s, bool v6, enum application a);

/* n fresh UDP sockets connect, each to another random address; no packet is sent. */
int run_udp_connects(bool v6, unsigned long n);

/* n UDP sockets, each closed as soon as it is made. */
int run_sockets(unsigned long n);

/* n datagrams to a socket that nobody reads; by one bound to a device or not. */
int run_sends(struct sockets *s, bool to_device, unsigned long n);

/* n calls of setsockopt(2) on a connection; which option: "setnone" or "setheld". */
int run_sets(struct sockets *s, const char *mode, unsigned long n);

/* n connections over loopback, both of whose ends stay open. */
int open_many(unsigned long n);

/* n times a byte to and fro; t->options is n times the median of what that took. */
int run_pings(unsigned long n, struct times *t);

/* The calling process moves there: `cgroup` is its directory. */
int enter(const char *cgroup);

/*
 * Cgroups that are new to everybody, job-0-a.service and so on, with two sockets each: the
 * first finds out what the second needs not ask any more.
 */
#define FRESH_MAX 512ul
enum fresh { FRESH_FIRST, FRESH_SECOND, FRESH_SOCKETS };

int make_fresh(const char *parent, unsigned long n);
int connect_fresh(const struct sockets *s, enum fresh which, unsigned long n, struct times *t);
void remove_fresh(const char *parent, unsigned long n);

#endif
