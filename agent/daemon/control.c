// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "base/control_call.h"
#include "base/log.h"
#include "daemon/control.h"

#define LOCK_NAME "lock"
/* For a request to arrive whole, and for its reply to be taken. */
#define CLIENT_PATIENCE_USEC (5 * 1000000ull)

DEFINE_CLEANUP(json_t *, json_decref)

struct client {
	struct control *control;
	int fd;
	sd_event_source *io, *timer;
	char request[CONTROL_REQUEST_MAX];
	size_t n;
	char *reply; /* NULL: the request is not here yet; owned */
	size_t reply_size, sent;
	struct client *next;
};

struct control {
	const char *dir; /* borrowed */
	bool made_dir;
	int lock_fd, fd;
	struct stat socket; /* as it was made */
	sd_event *event;
	sd_event_source *io;
	control_fn *fn;
	void *userdata;
	struct client *clients;
	unsigned n_clients;
};

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
	free(client->reply);
	free(client);
}

/* One line; NULL: memory is out.  Measured first: json_dumps() leaves out what it has no memory
 * for, in the middle. */
static char *dump(const json_t *reply, size_t *ret_size)
{
	size_t size = json_dumpb(reply, NULL, 0, JSON_COMPACT);
	_cleanup_free_ char *text = size ? malloc(size + 1) : NULL;

	if (!text || json_dumpb(reply, text, size, JSON_COMPACT) != size)
		return NULL;
	text[size] = '\n';
	*ret_size = size + 1;
	return TAKE_PTR(text);
}

/* In one go: any socket's buffer has room for it. */
static void send_brief(int fd, bool ok, const char *message)
{
	char brief[64];
	int n = snprintf(brief, sizeof(brief), "{\"ok\":%s,\"message\":\"%s\"}\n",
			 ok ? "true" : "false", message);

	if (send(fd, brief, (size_t)n, MSG_NOSIGNAL | MSG_DONTWAIT) != n)
		log_debug("A client of the control socket did not take its reply");
}

/* Sends what the socket takes.  Returns whether there is more, for which a client that reads makes
 * room. */
static bool send_more(struct client *client)
{
	ssize_t n = send(client->fd, client->reply + client->sent,
			 client->reply_size - client->sent, MSG_NOSIGNAL | MSG_DONTWAIT);

	if (n < 0)
		return errno == EAGAIN || errno == EINTR;
	client->sent += (size_t)n;
	return client->sent < client->reply_size;
}

/* A reply (NULL: memory is out) may be larger than a socket's buffer. */
static void send_reply(struct client *client, const json_t *reply)
{
	client->reply = dump(reply, &client->reply_size);
	if (!client->reply)
		/* Without memory for all of it, the client must still learn the outcome. */
		send_brief(client->fd, json_is_true(json_object_get(reply, "ok")), "out of memory");
	else if (send_more(client) && sd_event_source_set_io_events(client->io, EPOLLOUT) >= 0 &&
		 sd_event_source_set_time_relative(client->timer, CLIENT_PATIENCE_USEC) >= 0)
		return;
	client_free(client);
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

static int on_io(sd_event_source *s, int fd, uint32_t revents, void *userdata)
{
	struct client *client = userdata;
	const char *end;
	ssize_t n;

	(void)s;
	(void)revents;
	if (client->reply) {
		if (!send_more(client) ||
		    sd_event_source_set_time_relative(client->timer, CLIENT_PATIENCE_USEC) < 0)
			client_free(client);
		return 0;
	}
	n = read(fd, client->request + client->n, sizeof(client->request) - client->n);
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

		send_reply(client, reply);
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
	if (peer < 0)
		return 0;
	if (c->n_clients == CONTROL_CLIENTS_MAX) {
		send_brief(peer, false, "busy");
		return 0;
	}
	client = calloc(1, sizeof(*client));
	if (!client)
		return 0;
	client->control = c;
	client->fd = TAKE_FD(peer);
	client->next = c->clients;
	c->clients = client;
	c->n_clients++;
	if (sd_event_add_io(c->event, &client->io, client->fd, EPOLLIN, on_io, client) < 0 ||
	    sd_event_add_time_relative(c->event, &client->timer, CLOCK_MONOTONIC,
				       CLIENT_PATIENCE_USEC, 0, on_impatience, client) < 0)
		client_free(client);
	return 0;
}

/* Others may look into the directory, and could lock it themselves: the lock is a file of root's.
 */
static int lock(struct control *c, int dir_fd)
{
	struct stat st = { 0 };
	int r;

	c->lock_fd = openat(dir_fd, LOCK_NAME, O_RDONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (c->lock_fd < 0)
		return log_error_errno(errno, "Cannot open %s/" LOCK_NAME, c->dir);
	r = flock(c->lock_fd, LOCK_EX | LOCK_NB) < 0 || fstat(c->lock_fd, &st) < 0 ? -errno : 0;
	/* No links: an agent that ended has removed it meanwhile. */
	if (r == 0 && st.st_nlink)
		return 0;
	if (r == 0 || r == -EWOULDBLOCK)
		return log_error_errno(EBUSY, "Another sockpol runs with the runtime directory %s",
				       c->dir);
	return log_error_errno(r, "Cannot lock %s/" LOCK_NAME, c->dir);
}

/* Makes the directory, where there is none, for others to read policies in. */
static int make_runtime_dir(struct control *c)
{
	const mode_t mask = umask(0022);
	const int r = mkdir(c->dir, 0755) < 0 ? -errno : 0;

	umask(mask);
	if (r == 0)
		c->made_dir = true;
	return r == -EEXIST ? 0 : r;
}

static int open_runtime_dir(struct control *c)
{
	_cleanup_close_ int dir_fd = -1;
	struct stat st;
	int r = make_runtime_dir(c);

	if (r < 0)
		return log_error_errno(r, "Cannot make the runtime directory %s", c->dir);
	dir_fd = open(c->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (dir_fd < 0 || fstat(dir_fd, &st) < 0)
		return log_error_errno(errno, "Cannot open the runtime directory %s", c->dir);
	if (!only_we_write(&st)) {
		log_error("The runtime directory %s can be written by others than root: refused",
			  c->dir);
		return -EPERM;
	}
	return lock(c, dir_fd);
}

/* The lock is ours, so a socket that is there is a dead agent's. */
static int remove_stale(const char *path)
{
	struct stat st;

	if (lstat(path, &st) < 0)
		return errno == ENOENT ? 0 : log_error_errno(errno, "Cannot look at %s", path);
	if (!S_ISSOCK(st.st_mode)) {
		log_error("%s is in the way of the control socket, and is none: left alone", path);
		return -EEXIST;
	}
	return unlink(path) < 0 ? log_error_errno(errno, "Cannot remove %s", path) : 0;
}

static int listen_at(struct control *c, const char *dir)
{
	struct sockaddr_un address;
	mode_t mask;
	int r = control_address(dir, &address);

	if (r < 0)
		return log_error_errno(r, "The runtime directory's name %s is too long", dir);
	r = remove_stale(address.sun_path);
	if (r < 0)
		return r;
	c->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (c->fd < 0)
		return log_error_errno(errno, "Cannot make the control socket");
	mask = umask(0177);
	r = bind(c->fd, (struct sockaddr *)&address, sizeof(address)) < 0 ? -errno : 0;
	umask(mask);
	if (r == 0 &&
	    (lstat(address.sun_path, &c->socket) < 0 || listen(c->fd, CONTROL_CLIENTS_MAX) < 0))
		r = -errno;
	return r < 0 ? log_error_errno(r, "Cannot listen at %s", address.sun_path) : 0;
}

static int start(struct control *c)
{
	int r = open_runtime_dir(c);

	if (r == 0)
		r = listen_at(c, c->dir);
	if (r < 0)
		return r;
	r = sd_event_add_io(c->event, &c->io, c->fd, EPOLLIN, on_connection, c);
	return r < 0 ? log_error_errno(r, "Cannot wait for clients") : 0;
}

/* Is the socket in the file system the one that we listen at? */
static bool is_in_place(const struct control *c, struct sockaddr_un *ret_address)
{
	struct stat st;

	return control_address(c->dir, ret_address) == 0 && c->fd >= 0 &&
	       lstat(ret_address->sun_path, &st) == 0 && st.st_dev == c->socket.st_dev &&
	       st.st_ino == c->socket.st_ino;
}

static void stop(struct control *c)
{
	struct sockaddr_un address;

	c->io = sd_event_source_disable_unref(c->io);
	if (is_in_place(c, &address))
		unlink(address.sun_path);
	if (c->fd >= 0)
		close(c->fd);
	if (c->lock_fd >= 0)
		close(c->lock_fd);
	c->fd = c->lock_fd = -1;
}

int control_new(const char *runtime_dir, sd_event *event, control_fn *fn, void *userdata,
		struct control **ret)
{
	_cleanup_(control_free) struct control *c = calloc(1, sizeof(*c));
	int r;

	if (!c)
		return log_oom();
	c->fd = c->lock_fd = -1;
	c->event = event;
	c->fn = fn;
	c->userdata = userdata;
	c->dir = runtime_dir;
	r = start(c);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(c);
	return 0;
}

void control_renew(struct control *c)
{
	struct sockaddr_un address;

	if (is_in_place(c, &address))
		return;
	log_warning("The control socket in %s is gone: making it again", c->dir);
	stop(c);
	if (start(c) < 0)
		stop(c);
}

/* Removes the lock while it is held. */
static void remove_lock(const struct control *c)
{
	_cleanup_close_ int dir_fd = open(c->dir, O_PATH | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);

	if (dir_fd >= 0)
		unlinkat(dir_fd, LOCK_NAME, 0);
}

void control_free(struct control *c)
{
	while (c->clients)
		client_free(c->clients);
	if (c->lock_fd >= 0)
		remove_lock(c);
	stop(c);
	if (c->made_dir)
		rmdir(c->dir);
	free(c);
}
