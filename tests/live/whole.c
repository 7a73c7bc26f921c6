// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * An application that knows nothing of sockpol: it opens TCP and UDP sockets over loopback, asks
 * each for all its options by getsockopt, and says what it saw, or judges it on the spot.
 *
 *   whole look <PLAN      one socket of each role: prints what each option is
 *   whole judge N <PLAN   N connections, more until stdin ends, and what belongs to them: are the
 *                         options that one hook sets all of one of two policies?
 *
 * The plan's lines, as life_whole.py writes them:
 *
 *   option NAME LEVEL OPTNAME OFFSET LENGTH MASK   (OFFSET, LENGTH: of what getsockopt fills in)
 *   expect ROLE OPTION HOOK VALUE-OF-ONE VALUE-OF-THE-OTHER   (OPTION: its place among the options)
 *   go                                             (the last one)
 */
#include <arpa/inet.h>
#include <err.h>
#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define OPTIONS_MAX  64
#define VALUE_SIZE   17
#define BUFFER_SIZE  256
#define HOOKS_MAX    4 /* of a role */
#define COMPLAINTS   20
#define LISTENER_AGE 8	/* connections; then there is a new one */
#define RECONNECTS   20 /* of a UDP socket, for each connection */
#define ONE	     0x1
#define OTHER	     0x2
#define EITHER	     (ONE | OTHER)

enum role { CONNECT, ACCEPT, LISTEN, UDP_LISTEN, UDP_CONNECT, UDP_SEND, ROLE_MAX };

static const char *const role_names[] = {
	[CONNECT] = "connect",	     [ACCEPT] = "accept",	    [LISTEN] = "listen",
	[UDP_LISTEN] = "udp-listen", [UDP_CONNECT] = "udp-connect", [UDP_SEND] = "udp-send",
};

struct option {
	char name[32];
	int level, optname;
	unsigned offset, length, mask; /* the mask is the first byte's */
};

/* As hexadecimal digits; "-": getsockopt does not know it. */
struct value {
	char text[2 * VALUE_SIZE + 1];
};

struct hook {
	char name[24];
	unsigned long
		seen[EITHER + 1]; /* by which of the two it can be of; EITHER: of both alike */
};

struct expectation {
	int hook; /* index into hooks; -1: not judged */
	struct value of[2];
};

/* By role and family: 0 IPv4, 1 IPv6. */
struct role_plan {
	struct hook hooks[HOOKS_MAX];
	int n_hooks;
	struct expectation expect[OPTIONS_MAX];
};

static struct option options[OPTIONS_MAX];
static unsigned n_options;
static struct role_plan plans[ROLE_MAX][2];
static unsigned long sockets, mixed, failed;
static bool judging;

static void read_value(int fd, const struct option *o, struct value *ret)
{
	unsigned char buffer[BUFFER_SIZE] = { 0 };
	socklen_t size = sizeof(buffer);
	char *to = ret->text;

	strcpy(ret->text, "-");
	if (getsockopt(fd, o->level, o->optname, buffer, &size) < 0)
		return;
	buffer[o->offset] &= (unsigned char)o->mask;
	for (unsigned i = 0; i < o->length && i < VALUE_SIZE; i++)
		to += sprintf(to, "%02x", buffer[o->offset + i]);
}

static const char *family_name(bool v6)
{
	return v6 ? "ipv6" : "ipv4";
}

static void show(int fd, enum role role, bool v6)
{
	for (unsigned i = 0; i < n_options; i++) {
		struct value v;

		read_value(fd, &options[i], &v);
		printf("%s/%s %u %s\n", role_names[role], family_name(v6), i, v.text);
	}
}

static void complain(const struct role_plan *p, int hook, const struct value *seen,
		     const char *role, bool v6)
{
	if (mixed > COMPLAINTS)
		return;
	printf("mixed %s/%s at %s:", role, family_name(v6), p->hooks[hook].name);
	for (unsigned i = 0; i < n_options; i++) {
		const struct expectation *e = &p->expect[i];

		if (e->hook != hook)
			continue;
		printf(" %s=%s%s", options[i].name, seen[i].text,
		       strcmp(seen[i].text, e->of[0].text) == 0	  ? "(one)"
		       : strcmp(seen[i].text, e->of[1].text) == 0 ? "(other)"
								  : "(neither)");
	}
	printf("\n");
}

/* All options that one hook sets are to be those of one policy. */
static void judge(int fd, enum role role, bool v6)
{
	struct role_plan *p = &plans[role][v6];
	struct value seen[OPTIONS_MAX];
	unsigned left[HOOKS_MAX];

	for (int h = 0; h < HOOKS_MAX; h++)
		left[h] = EITHER;
	for (unsigned i = 0; i < n_options; i++) {
		const struct expectation *e = &p->expect[i];

		if (e->hook < 0)
			continue;
		read_value(fd, &options[i], &seen[i]);
		if (strcmp(seen[i].text, e->of[0].text) != 0)
			left[e->hook] &= ~(unsigned)ONE;
		if (strcmp(seen[i].text, e->of[1].text) != 0)
			left[e->hook] &= ~(unsigned)OTHER;
	}
	for (int h = 0; h < p->n_hooks; h++) {
		p->hooks[h].seen[left[h]]++;
		if (left[h])
			continue;
		mixed++;
		complain(p, h, seen, role_names[role], v6);
	}
}

static void look(int fd, enum role role, bool v6)
{
	sockets++;
	if (judging)
		judge(fd, role, v6);
	else
		show(fd, role, v6);
}

static bool check(bool ok, const char *what)
{
	if (ok)
		return true;
	if (failed++ < COMPLAINTS)
		printf("failed %s: %s\n", what, strerror(errno));
	return false;
}

struct address {
	struct sockaddr_storage of;
	socklen_t size;
};

static struct address loopback(bool v6)
{
	struct address a = { .size = v6 ? sizeof(struct sockaddr_in6)
					: sizeof(struct sockaddr_in) };

	if (v6) {
		struct sockaddr_in6 *to = (struct sockaddr_in6 *)&a.of;

		to->sin6_family = AF_INET6;
		to->sin6_addr = in6addr_loopback;
	} else {
		struct sockaddr_in *to = (struct sockaddr_in *)&a.of;

		to->sin_family = AF_INET;
		to->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	}
	return a;
}

static int open_socket(bool v6, int type)
{
	int fd = socket(v6 ? AF_INET6 : AF_INET, type | SOCK_CLOEXEC, 0);

	if (fd < 0)
		err(1, "socket");
	return fd;
}

static bool bind_any(int fd, struct address *a)
{
	return bind(fd, (struct sockaddr *)&a->of, a->size) == 0 &&
	       getsockname(fd, (struct sockaddr *)&a->of, &a->size) == 0;
}

struct listener {
	int fd;
	struct address at;
	unsigned age;
};

static bool renew(struct listener *l, bool v6)
{
	if (l->fd >= 0)
		close(l->fd);
	l->age = 0;
	l->fd = open_socket(v6, SOCK_STREAM);
	l->at = loopback(v6);
	if (!check(bind_any(l->fd, &l->at) && listen(l->fd, 8) == 0, "listen"))
		return false;
	look(l->fd, LISTEN, v6);
	return true;
}

/* Both ends; ends with a reset, so that no port waits. */
static void connect_once(const struct listener *l, bool v6)
{
	const struct linger reset = { .l_onoff = 1 };
	int fd = open_socket(v6, SOCK_STREAM), accepted;

	setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
	if (check(connect(fd, (const struct sockaddr *)&l->at.of, l->at.size) == 0, "connect")) {
		look(fd, CONNECT, v6);
		accepted = accept4(l->fd, NULL, NULL, SOCK_CLOEXEC);
		if (check(accepted >= 0, "accept")) {
			look(accepted, ACCEPT, v6);
			close(accepted);
		}
	}
	close(fd);
}

static void udp_once(enum role role, bool v6)
{
	int fd = open_socket(v6, SOCK_DGRAM);
	struct address a = loopback(v6), to;
	bool ok;

	to = a;
	((struct sockaddr_in *)&to.of)->sin_port = htons(9); /* discard; of either family */
	if (role == UDP_LISTEN)
		ok = bind_any(fd, &a);
	else if (role == UDP_CONNECT)
		ok = connect(fd, (struct sockaddr *)&to.of, to.size) == 0;
	else
		ok = sendto(fd, "x", 1, 0, (struct sockaddr *)&to.of, to.size) == 1;
	if (check(ok, role_names[role]))
		look(fd, role, v6);
	close(fd);
}

/* Has who started us closed our stdin? */
static bool told_to_end(void)
{
	struct pollfd in = { .fd = STDIN_FILENO, .events = POLLIN };

	return poll(&in, 1, 0) != 0;
}

/* The same socket connects again and again: most of its time a hook runs. */
static void reconnect(int fd, bool v6)
{
	struct address a = loopback(v6);

	((struct sockaddr_in *)&a.of)->sin_port = htons(9);
	for (int i = 0; i < RECONNECTS; i++)
		if (check(connect(fd, (struct sockaddr *)&a.of, a.size) == 0, "connect again"))
			look(fd, UDP_CONNECT, v6);
}

static void run(unsigned long n)
{
	struct listener listeners[2] = { { .fd = -1, .age = LISTENER_AGE },
					 { .fd = -1, .age = LISTENER_AGE } };
	const int senders[2] = { open_socket(false, SOCK_DGRAM), open_socket(true, SOCK_DGRAM) };

	for (unsigned long i = 0; i < n || !told_to_end(); i++) {
		bool v6 = i & 1;
		struct listener *l = &listeners[v6];

		if (l->age++ >= LISTENER_AGE && !renew(l, v6))
			continue;
		connect_once(l, v6);
		reconnect(senders[v6], v6);
		udp_once(UDP_LISTEN + i / 2 % 3, v6);
	}
}

static enum role find_role(const char *name)
{
	for (int role = 0; role < ROLE_MAX; role++)
		if (strncmp(name, role_names[role], strlen(role_names[role])) == 0 &&
		    name[strlen(role_names[role])] == '/')
			return role;
	errx(2, "no such role: %s", name);
}

static int find_hook(struct role_plan *p, const char *name)
{
	for (int h = 0; h < p->n_hooks; h++)
		if (strcmp(p->hooks[h].name, name) == 0)
			return h;
	if (p->n_hooks == HOOKS_MAX)
		errx(2, "too many hooks");
	snprintf(p->hooks[p->n_hooks].name, sizeof(p->hooks[0].name), "%s", name);
	return p->n_hooks++;
}

/* Cuts a line into its words; there are to be so many. */
static void split(char *line, char **words, int n)
{
	char *state = NULL, *word = strtok_r(line, " \n", &state);

	for (int i = 0; i < n; i++, word = strtok_r(NULL, " \n", &state)) {
		if (!word)
			errx(2, "a line with too few words");
		words[i] = word;
	}
}

static int number(const char *word)
{
	char *end;
	long n = strtol(word, &end, 10);

	if (end == word || *end || n < -1 || n > INT32_MAX)
		errx(2, "not a number: %s", word);
	return (int)n;
}

static void copy(char *to, size_t size, const char *from)
{
	if ((size_t)snprintf(to, size, "%s", from) >= size)
		errx(2, "too long: %s", from);
}

static void read_expectation(char *line)
{
	char *words[6];
	struct expectation *e;
	struct role_plan *p;
	unsigned option;

	split(line, words, 6);
	option = (unsigned)number(words[2]);
	if (option >= n_options)
		errx(2, "no such option: %s", words[2]);
	p = &plans[find_role(words[1])][strcmp(strchr(words[1], '/') + 1, "ipv6") == 0];
	e = &p->expect[option];
	e->hook = find_hook(p, words[3]);
	for (int i = 0; i < 2; i++)
		copy(e->of[i].text, sizeof(e->of[i].text), words[4 + i]);
}

static void read_option(char *line)
{
	struct option *o = &options[n_options];
	char *words[7];

	if (n_options == OPTIONS_MAX)
		errx(2, "too many options");
	split(line, words, 7);
	copy(o->name, sizeof(o->name), words[1]);
	o->level = number(words[2]);
	o->optname = number(words[3]);
	o->offset = (unsigned)number(words[4]);
	o->length = (unsigned)number(words[5]);
	o->mask = (unsigned)number(words[6]);
	if (o->length > VALUE_SIZE || o->offset + o->length > BUFFER_SIZE)
		errx(2, "too long an option: %s", o->name);
	n_options++;
}

static void read_plan(void)
{
	char line[256];

	for (int role = 0; role < ROLE_MAX; role++)
		for (unsigned i = 0; i < 2 * OPTIONS_MAX; i++)
			plans[role][i % 2].expect[i / 2].hook = -1;
	while (fgets(line, sizeof(line), stdin) && strcmp(line, "go\n") != 0) {
		if (strncmp(line, "expect ", 7) == 0)
			read_expectation(line);
		else if (strncmp(line, "option ", 7) == 0)
			read_option(line);
		else
			errx(2, "bad line: %s", line);
	}
}

static void report(void)
{
	for (int role = 0; role < ROLE_MAX; role++) {
		for (int v6 = 0; v6 < 2; v6++) {
			const struct role_plan *p = &plans[role][v6];

			for (int h = 0; h < p->n_hooks; h++)
				printf("count %s/%s %s %lu %lu %lu\n", role_names[role],
				       family_name(v6), p->hooks[h].name, p->hooks[h].seen[ONE],
				       p->hooks[h].seen[OTHER], p->hooks[h].seen[EITHER]);
		}
	}
	printf("sum %lu %lu %lu\n", sockets, mixed, failed);
}

int main(int argc, char **argv)
{
	judging = argc == 3 && strcmp(argv[1], "judge") == 0;
	if (!judging && !(argc == 2 && strcmp(argv[1], "look") == 0))
		errx(2, "usage: whole look | whole judge CONNECTIONS");
	read_plan();
	run(judging ? strtoul(argv[2], NULL, 10) : 6);
	if (judging)
		report();
	return 0;
}
