// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * The control socket, from both sides, over a real socket in a directory of its own.
 *
 * The input is a script, a step a line: what is done, by whom (a character from 0 to C, as in c4),
 * with what bytes.
 *
 *   c4        client 4 connects; if it was connected it hangs up before
 *   p4        the same, but the agent is out of patience with it at once
 *   s4BYTES   client 4 sends these; l4BYTES: and a newline
 *   h4        client 4 says that it will send no more
 *   d4        client 4 hangs up
 *   r         the agent's loop runs until it is idle
 *   u         somebody removes the socket, and the agent makes it again
 *   a0BYTES   a `sockpol reload`, and a call that asks for the status, are answered with these;
 *             a1BYTES: before the request was read
 *
 * Whatever it is, nobody hangs, a reply comes whole and alone, and no descriptor is left open.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "command/commands.h"
#include "base/control_call.h"
#include "daemon/control.h"
#include "fuzz.h"
#include "base/log.h"

#define CLIENTS	     20 /* 0 to C; more than the agent has room for */
#define LONG_MESSAGE 65536

static char directory[64]; /* a socket's name is short */
static char server_dir[sizeof(directory) + sizeof("/server")];
static char agent_dir[sizeof(directory) + sizeof("/agent")];
static sd_event *event;
static struct control *control;

static int clients[CLIENTS]; /* -1: not connected */
static bool impatient;
static FILE *dev_null;
static int fake_agent = -1; /* listens in agent_dir, for the client's side */

static struct answer {
	const uint8_t *bytes; /* NULL: none is due */
	size_t n;
	bool rash; /* does not read the request */
} answer;

/* Replies of all the sizes that the agent's have. */
static json_t *on_request(const char *command, void *userdata)
{
	static char long_message[LONG_MESSAGE];

	(void)userdata;
	if (streq(command, "none")) /* memory is out */
		return NULL;
	if (!streq(command, "long"))
		return json_pack("{s:b, s:s}", "ok", 1, "message", command);
	memset(long_message, 'x', sizeof(long_message) - 1);
	return json_pack("{s:b, s:s}", "ok", 0, "diagnostics", long_message);
}

/* Linked with --wrap: the patience of the agent with a client is not waited for. */
int __real_sd_event_add_time_relative(sd_event *e, sd_event_source **ret, clockid_t clock,
				      uint64_t usec, uint64_t accuracy,
				      sd_event_time_handler_t callback, void *userdata);
int __wrap_sd_event_add_time_relative(sd_event *e, sd_event_source **ret, clockid_t clock,
				      uint64_t usec, uint64_t accuracy,
				      sd_event_time_handler_t callback, void *userdata);
int __wrap_sd_event_add_time_relative(sd_event *e, sd_event_source **ret, clockid_t clock,
				      uint64_t usec, uint64_t accuracy,
				      sd_event_time_handler_t callback, void *userdata)
{
	return __real_sd_event_add_time_relative(e, ret, clock, impatient ? 0 : usec, accuracy,
						 callback, userdata);
}

static struct sockaddr_un address_in(const char *dir)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };

	snprintf(a.sun_path, sizeof(a.sun_path), "%s/control", dir);
	return a;
}

static void clean_up(void)
{
	const struct sockaddr_un a = address_in(agent_dir);

	if (control)
		control_free(control);
	sd_event_unref(event);
	unlink(a.sun_path);
	rmdir(agent_dir);
	rmdir(server_dir);
	rmdir(directory);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	const char *base = getenv("TMPDIR");
	struct sockaddr_un a;

	(void)argc;
	(void)argv;
	log_set_level(LOG_CRIT);
	for (size_t i = 0; i < CLIENTS; i++)
		clients[i] = -1;
	dev_null = fopen("/dev/null", "we");
	snprintf(directory, sizeof(directory), "%s/sockpol-fuzz-XXXXXX", base ? base : P_tmpdir);
	MUST(dev_null && mkdtemp(directory));
	snprintf(server_dir, sizeof(server_dir), "%s/server", directory);
	snprintf(agent_dir, sizeof(agent_dir), "%s/agent", directory);
	MUST(mkdir(agent_dir, 0700) == 0);
	atexit(clean_up);
	MUST(sd_event_new(&event) >= 0);
	MUST(control_new(server_dir, event, on_request, NULL, &control) == 0);
	a = address_in(agent_dir);
	fake_agent = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	MUST(fake_agent >= 0 && bind(fake_agent, (struct sockaddr *)&a, sizeof(a)) == 0);
	MUST(listen(fake_agent, 4) == 0);
	return 0;
}

static void run_loop(void)
{
	while (sd_event_run(event, 0) > 0)
		;
}

/* All that has come; what is a reply is whole, and the only one. */
static void hang_up(int *fd)
{
	static char reply[2 * LONG_MESSAGE];
	size_t n = 0;
	ssize_t more;

	if (*fd < 0)
		return;
	while ((more = recv(*fd, reply + n, sizeof(reply) - n, MSG_DONTWAIT)) > 0)
		n += (size_t)more;
	if (n) {
		json_error_t error;
		json_t *parsed = json_loadb(reply, n, JSON_REJECT_DUPLICATES, &error);

		MUST(reply[n - 1] == '\n' && memchr(reply, '\n', n) == reply + n - 1);
		MUST(parsed && json_object_get(parsed, "ok"));
		json_decref(parsed);
	}
	close(*fd);
	*fd = -1;
}

static void connect_client(int *fd, bool no_patience)
{
	const struct sockaddr_un a = address_in(server_dir);

	hang_up(fd);
	*fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	MUST(*fd >= 0);
	if (connect(*fd, (const struct sockaddr *)&a, sizeof(a)) < 0) {
		MUST(errno == EAGAIN); /* many are waiting */
		hang_up(fd);
	}
	if (no_patience) {
		impatient = true;
		run_loop();
		impatient = false;
	}
}

static void send_all(int fd, const uint8_t *bytes, size_t n, bool newline)
{
	if (fd < 0)
		return;
	send(fd, bytes, n, MSG_NOSIGNAL | MSG_DONTWAIT);
	if (newline)
		send(fd, "\n", 1, MSG_NOSIGNAL | MSG_DONTWAIT);
}

/* The fake agent does its part when its client, which has sent the request, waits for the reply. */
int __real_poll(struct pollfd *fds, nfds_t n, int timeout);
int __wrap_poll(struct pollfd *fds, nfds_t n, int timeout);
int __wrap_poll(struct pollfd *fds, nfds_t n, int timeout)
{
	char request[256];
	int peer;

	if (!answer.bytes)
		return __real_poll(fds, n, timeout);
	peer = accept4(fake_agent, NULL, NULL, SOCK_CLOEXEC);
	MUST(peer >= 0);
	if (!answer.rash)
		MUST(recv(peer, request, sizeof(request), MSG_DONTWAIT) > 0);
	send_all(peer, answer.bytes, answer.n, false);
	answer.bytes = NULL;
	close(peer);
	return __real_poll(fds, n, timeout);
}

static void be_answered(const uint8_t *bytes, size_t n, bool rash)
{
	static const struct command *const commands[] = { &cmd_reload };
	static char program[] = "sockpol", name[] = "reload", option[] = "--runtime-dir";
	char *argv[] = { program, name, option, agent_dir, NULL };
	FILE *out = stdout, *err = stderr;
	json_t *reply = NULL;
	pid_t pid = 0;
	int r;

	answer = (struct answer){ bytes, n, rash };
	stdout = stderr = dev_null;
	r = cli_main(commands, ARRAY_SIZE(commands), 4, argv);
	stdout = out;
	stderr = err;
	MUST(r == EXIT_GOOD || r == EXIT_BAD);
	answer = (struct answer){ bytes, n, rash };
	r = control_call(agent_dir, "status", 1, &reply, &pid);
	MUST(pid == getpid() && (r == 0) == (reply != NULL));
	(void)json_string_value(json_object_get(reply, "message"));
	json_decref(reply);
}

static void remove_socket(void)
{
	const struct sockaddr_un a = address_in(server_dir);

	MUST(unlink(a.sun_path) == 0);
	control_renew(control);
	MUST(access(a.sun_path, F_OK) == 0);
}

static void step(const uint8_t *line, size_t n)
{
	size_t who = n > 1 ? (uint8_t)(line[1] - '0') % CLIENTS : 0;
	const uint8_t *bytes = n > 1 ? line + 2 : line;
	int *client = &clients[who];

	n = n > 2 ? n - 2 : 0;
	switch (line[0]) {
	case 'c':
	case 'p':
		connect_client(client, line[0] == 'p');
		break;
	case 's':
	case 'l':
		send_all(*client, bytes, n, line[0] == 'l');
		break;
	case 'h':
		if (*client >= 0)
			shutdown(*client, SHUT_WR);
		break;
	case 'd':
		hang_up(client);
		break;
	case 'r':
		run_loop();
		break;
	case 'u':
		remove_socket();
		break;
	case 'a':
		be_answered(bytes, n, who & 1);
		break;
	default:
		break;
	}
}

/* The lowest free descriptor: a higher one than before says that some are left open. */
static int lowest_free(void)
{
	int fd = dup(fake_agent);

	MUST(fd >= 0);
	close(fd);
	return fd;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	int free_before = lowest_free();

	while (size) {
		const uint8_t *end = memchr(data, '\n', size);
		size_t n = end ? (size_t)(end - data) : size;

		if (n)
			step(data, n);
		data += end ? n + 1 : n;
		size -= end ? n + 1 : n;
	}
	run_loop();
	for (size_t i = 0; i < CLIENTS; i++)
		hang_up(&clients[i]);
	run_loop();
	MUST(lowest_free() == free_before);
	return 0;
}
