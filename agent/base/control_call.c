// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <errno.h>
#include <poll.h>
#include <sys/socket.h>

#include "base/control_call.h"

DEFINE_CLEANUP(json_t *, json_decref)

int control_address(const char *runtime_dir, struct sockaddr_un *ret)
{
	int n;

	memset(ret, 0, sizeof(*ret));
	ret->sun_family = AF_UNIX;
	n = snprintf(ret->sun_path, sizeof(ret->sun_path), "%s/control", runtime_dir);
	return n < 0 || (size_t)n >= sizeof(ret->sun_path) ? -ENAMETOOLONG : 0;
}

static int connect_to(const char *runtime_dir, unsigned seconds)
{
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	const struct timeval patience = { .tv_sec = seconds };
	struct sockaddr_un address;
	int r = control_address(runtime_dir, &address);

	if (fd < 0)
		return -errno;
	if (r < 0)
		return r;
	if (setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience)) < 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)) < 0)
		return -errno;
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		return errno == EAGAIN ? -ETIMEDOUT : -errno;
	return TAKE_FD(fd);
}

/* A busy agent hangs up without reading the request, but it sends an answer first. */
static int send_request(int fd, const char *command)
{
	_cleanup_(json_decref) json_t *request = json_pack("{s:s}", "command", command);
	_cleanup_free_ char *text = request ? json_dumps(request, JSON_COMPACT) : NULL;
	size_t n;

	if (!text)
		return -ENOMEM;
	n = strlen(text);
	text[n] = '\n';
	if (send(fd, text, n + 1, MSG_NOSIGNAL) < 0 && errno != EPIPE)
		return errno == EAGAIN ? -ETIMEDOUT : -errno;
	return 0;
}

/* For json_load_callback(). */
static size_t read_some(void *buffer, size_t size, void *fd)
{
	return (size_t)TEMP_FAILURE_RETRY(read(*(const int *)fd, buffer, size));
}

int control_call(const char *runtime_dir, const char *command, unsigned seconds, json_t **ret,
		 pid_t *ret_pid)
{
	_cleanup_close_ int fd = connect_to(runtime_dir, seconds);
	struct pollfd wait = { .fd = fd, .events = POLLIN };
	struct ucred peer;
	socklen_t size = sizeof(peer);
	json_t *reply;
	int r;

	if (fd < 0)
		return fd;
	if (ret_pid) {
		if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0)
			return -errno;
		*ret_pid = peer.pid;
	}
	r = send_request(fd, command);
	if (r < 0)
		return r;
	r = poll(&wait, 1, (int)seconds * 1000); /* for the reply's beginning */
	if (r <= 0)
		return r < 0 ? -errno : -ETIMEDOUT;
	reply = json_load_callback(read_some, &fd, JSON_DISABLE_EOF_CHECK, NULL);
	if (!reply)
		return -EBADMSG;
	*ret = reply;
	return 0;
}
