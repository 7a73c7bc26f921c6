// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "control.h"
#include "log.h"

#define CLIENT_PATIENCE_USEC (5 * 1000000ull) /* for a request to arrive whole */

DEFINE_CLEANUP(json_t *, json_decref)

struct client {
	struct control *control;
	int fd;
	sd_event_source *io, *timer;
	char request[CONTROL_REQUEST_MAX];
	size_t n;
	struct client *next;
};

struct control {
	char *path;
	bool made_dir;
	char *dir;
	int dir_fd, fd;
	sd_event *event;
	sd_event_source *io;
	control_fn *fn;
	void *userdata;
	struct client *clients;
	unsigned n_clients;
};

static int socket_address(const char *runtime_dir, struct sockaddr_un *ret)
{
	int n;

	memset(ret, 0, sizeof(*ret));
	ret->sun_family = AF_UNIX;
	n = snprintf(ret->sun_path, sizeof(ret->sun_path), "%s/control", runtime_dir);
	return n < 0 || (size_t)n >= sizeof(ret->sun_path) ? -ENAMETOOLONG : 0;
}

static void client_free(struct client *client)
{
	struct client **at = &client->control->clients;

	while (*at != client)
		at = &(*at)->next;
	*at = client->next;
	client->control->n_clients--;
	sd_event_source_disable_unref(client->io);
	sd_event_source_disable_unref(client->timer);
	close(client->fd);
	free(client);
}

/* A reply is small beside a socket's buffer; a client that does not read loses its own. */
static void send_reply(int fd, json_t *reply)
{
	_cleanup_free_ char *text = json_dumps(reply, JSON_COMPACT);
	size_t n = text ? strlen(text) : 0;
	ssize_t sent;

	if (!text)
		return;
	text[n] = '\n'; /* in place of the NUL: the length is known */
	sent = send(fd, text, n + 1, MSG_NOSIGNAL | MSG_DONTWAIT);
	if (sent != (ssize_t)(n + 1))
		log_debug("A client of the control socket did not take its reply");
}

static json_t *answer(struct control *c, const char *request, size_t n)
{
	_cleanup_(json_decref) json_t *parsed =
		json_loadb(request, n, JSON_REJECT_DUPLICATES, NULL);
	const char *command = json_string_value(json_object_get(parsed, "command"));

	if (!command)
		return json_pack("{s:b, s:s}", "ok", 0, "message", "not a request");
	return c->fn(command, c->userdata);
}

static int on_readable(sd_event_source *s, int fd, uint32_t revents, void *userdata)
{
	struct client *client = userdata;
	ssize_t n = read(fd, client->request + client->n, sizeof(client->request) - client->n);
	const char *end;

	(void)s;
	(void)revents;
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	if (n <= 0) {
		client_free(client);
		return 0;
	}
	client->n += (size_t)n;
	end = memchr(client->request, '\n', client->n);
	if (end || client->n == sizeof(client->request)) {
		_cleanup_(json_decref) json_t *reply =
			answer(client->control, client->request,
			       end ? (size_t)(end - client->request) : 0);

		if (reply)
			send_reply(fd, reply);
		client_free(client);
	}
	return 0;
}

static int on_impatience(sd_event_source *s, uint64_t usec, void *userdata)
{
	(void)s;
	(void)usec;
	client_free(userdata);
	return 0;
}

static int on_connection(sd_event_source *s, int fd, uint32_t revents, void *userdata)
{
	struct control *c = userdata;
	_cleanup_close_ int peer = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	struct client *client;

	(void)s;
	(void)revents;
	if (peer < 0 || c->n_clients == CONTROL_CLIENTS_MAX)
		return 0;
	client = calloc(1, sizeof(*client));
	if (!client)
		return 0;
	client->control = c;
	client->fd = TAKE_FD(peer);
	client->next = c->clients;
	c->clients = client;
	c->n_clients++;
	if (sd_event_add_io(c->event, &client->io, client->fd, EPOLLIN, on_readable, client) < 0 ||
	    sd_event_add_time_relative(c->event, &client->timer, CLOCK_MONOTONIC,
				       CLIENT_PATIENCE_USEC, 0, on_impatience, client) < 0)
		client_free(client);
	return 0;
}

static int open_runtime_dir(struct control *c, const char *dir)
{
	struct stat st;

	if (mkdir(dir, 0700) == 0)
		c->made_dir = true;
	else if (errno != EEXIST)
		return log_error_errno(errno, "Cannot make the runtime directory %s", dir);
	c->dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (c->dir_fd < 0 || fstat(c->dir_fd, &st) < 0)
		return log_error_errno(errno, "Cannot open the runtime directory %s", dir);
	if ((st.st_uid != 0 && st.st_uid != geteuid()) || (st.st_mode & (S_IWGRP | S_IWOTH))) {
		log_error("The runtime directory %s can be written by others than root: refused",
			  dir);
		return -EPERM;
	}
	if (flock(c->dir_fd, LOCK_EX | LOCK_NB) == 0)
		return 0;
	if (errno == EWOULDBLOCK)
		return log_error_errno(EBUSY, "Another sockpol runs with the runtime directory %s",
				       dir);
	return log_error_errno(errno, "Cannot lock the runtime directory %s", dir);
}

/* The lock is ours, so a socket that is there is a dead agent's. */
static int listen_at(struct control *c, const char *dir)
{
	struct sockaddr_un address;
	mode_t mask;
	int r = socket_address(dir, &address);

	if (r < 0)
		return log_error_errno(r, "The runtime directory's name %s is too long", dir);
	c->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (c->fd < 0)
		return log_error_errno(errno, "Cannot make the control socket");
	unlink(address.sun_path);
	mask = umask(0177);
	r = bind(c->fd, (struct sockaddr *)&address, sizeof(address)) < 0 ? -errno : 0;
	umask(mask);
	if (r == 0) {
		c->path = strdup(address.sun_path);
		r = c->path ? 0 : -ENOMEM;
	}
	if (r == 0 && listen(c->fd, CONTROL_CLIENTS_MAX) < 0)
		r = -errno;
	return r < 0 ? log_error_errno(r, "Cannot listen at %s", address.sun_path) : 0;
}

int control_new(const char *runtime_dir, sd_event *event, control_fn *fn, void *userdata,
		struct control **ret)
{
	_cleanup_(control_free) struct control *c = calloc(1, sizeof(*c));
	int r;

	if (!c)
		return log_oom();
	c->fd = c->dir_fd = -1;
	c->event = event;
	c->fn = fn;
	c->userdata = userdata;
	c->dir = strdup(runtime_dir);
	if (!c->dir)
		return log_oom();
	r = open_runtime_dir(c, runtime_dir);
	if (r < 0)
		return r;
	r = listen_at(c, runtime_dir);
	if (r < 0)
		return r;
	r = sd_event_add_io(event, &c->io, c->fd, EPOLLIN, on_connection, c);
	if (r < 0)
		return log_error_errno(r, "Cannot wait for clients");
	*ret = TAKE_PTR(c);
	return 0;
}

void control_free(struct control *c)
{
	while (c->clients)
		client_free(c->clients);
	sd_event_source_disable_unref(c->io);
	if (c->fd >= 0)
		close(c->fd);
	if (c->path)
		unlink(c->path);
	if (c->made_dir)
		rmdir(c->dir);
	if (c->dir_fd >= 0)
		close(c->dir_fd);
	free(c->path);
	free(c->dir);
	free(c);
}

static int connect_to(const char *runtime_dir)
{
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct sockaddr_un address;
	int r = socket_address(runtime_dir, &address);

	if (fd < 0)
		return -errno;
	if (r < 0)
		return r;
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		return -errno;
	return TAKE_FD(fd);
}

int control_call(const char *runtime_dir, const char *command, json_t **ret, pid_t *ret_pid)
{
	_cleanup_(json_decref) json_t *request = json_pack("{s:s}", "command", command);
	_cleanup_free_ char *text = request ? json_dumps(request, JSON_COMPACT) : NULL;
	_cleanup_close_ int fd = connect_to(runtime_dir);
	struct ucred peer;
	socklen_t size = sizeof(peer);
	json_t *reply;
	size_t n;

	if (fd < 0)
		return fd;
	if (!text)
		return -ENOMEM;
	n = strlen(text);
	text[n] = '\n';
	if (send(fd, text, n + 1, MSG_NOSIGNAL) != (ssize_t)(n + 1))
		return errno ? -errno : -EIO;
	if (ret_pid) {
		if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0)
			return -errno;
		*ret_pid = peer.pid;
	}
	reply = json_loadfd(fd, JSON_DISABLE_EOF_CHECK, NULL);
	if (!reply)
		return -EBADMSG;
	*ret = reply;
	return 0;
}
