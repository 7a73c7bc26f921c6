// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* The sockets of this very process, as the kernel tells them. */
#include <arpa/inet.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/socket.h>
#include <cmocka.h>

#include "host/cgroup.h"
#include "host/sock_diag.h"

/* Bound to a free port of 127.0.0.1; *ret_name is "127.0.0.1:PORT". */
static int bound_socket(int type, char *ret_name, size_t size)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
	socklen_t length = sizeof(a);
	int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&a, length), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &length), 0);
	snprintf(ret_name, size, "127.0.0.1:%u", ntohs(a.sin_port));
	return fd;
}

static const struct sock_diag_socket *find(const struct sock_diag_list *s, int protocol,
					   const char *local, const char *remote)
{
	for (size_t i = 0; i < s->n; i++)
		if (s->v[i].protocol == protocol && streq(s->v[i].local, local) &&
		    streq(s->v[i].remote, remote))
			return &s->v[i];
	return NULL;
}

/* What was made here is in this process's cgroup. */
static void assert_in_own_cgroup(struct sock_diag_list *l, const struct sock_diag_socket *s)
{
	_cleanup_free_ char *cgroup = NULL, *mount = NULL;

	if (cgroup_mount(&mount) < 0)
		return;
	assert_int_not_equal(s->cgroup_id, 0);
	assert_int_equal(cgroup_of_pid(getpid(), &cgroup), 0);
	assert_int_equal(cgroup_of_sockets(mount, l), 0);
	assert_string_equal(s->cgroup, cgroup);
}

static void test_own_sockets(void **state)
{
	char tcp_name[64], udp_name[64], closed_name[64], client_name[64];
	struct sockaddr_in peer = { 0 };
	socklen_t length = sizeof(peer);
	struct sock_diag_list sockets = { 0 };
	int tcp = bound_socket(SOCK_STREAM, tcp_name, sizeof(tcp_name));
	int udp = bound_socket(SOCK_DGRAM, udp_name, sizeof(udp_name));
	int client = bound_socket(SOCK_STREAM, client_name, sizeof(client_name));
	int closed = bound_socket(SOCK_DGRAM, closed_name, sizeof(closed_name));
	const struct sock_diag_socket *s, *connected;

	(void)state;
	close(closed);
	assert_int_equal(listen(tcp, 1), 0);
	assert_int_equal(getsockname(tcp, (struct sockaddr *)&peer, &length), 0);
	assert_int_equal(connect(client, (struct sockaddr *)&peer, length), 0);

	assert_int_equal(sock_diag_of_pid(getpid(), &sockets), 0);
	s = find(&sockets, IPPROTO_TCP, tcp_name, "");
	assert_non_null(s);
	assert_true(s->listens && !s->is_accepted);
	assert_int_equal(s->fd, tcp);
	assert_non_null(find(&sockets, IPPROTO_UDP, udp_name, ""));
	connected = find(&sockets, IPPROTO_TCP, client_name, tcp_name);
	assert_non_null(connected);
	assert_true(!connected->listens && !connected->is_accepted);
	assert_int_equal(connected->fd, client);
	/* the other end, which nobody has accepted, is no file of this process */
	assert_null(find(&sockets, IPPROTO_TCP, tcp_name, client_name));
	assert_null(find(&sockets, IPPROTO_UDP, closed_name, ""));

	assert_in_own_cgroup(&sockets, s);
	sock_diag_clear(&sockets);
	close(client);
	close(udp);
	close(tcp);
}

static void test_listeners(void **state)
{
	char listening[64], bound[64], udp[64];
	int fds[] = { bound_socket(SOCK_STREAM, listening, sizeof(listening)),
		      bound_socket(SOCK_STREAM, bound, sizeof(bound)),
		      bound_socket(SOCK_DGRAM, udp, sizeof(udp)) };
	struct sock_diag_list listeners = { 0 };

	(void)state;
	assert_int_equal(listen(fds[0], 1), 0);
	assert_int_equal(sock_diag_listeners(&listeners), 0);
	assert_non_null(find(&listeners, IPPROTO_TCP, listening, ""));
	assert_null(find(&listeners, IPPROTO_TCP, bound, ""));
	assert_null(find(&listeners, IPPROTO_TCP, udp, ""));
	assert_in_own_cgroup(&listeners, find(&listeners, IPPROTO_TCP, listening, ""));
	sock_diag_clear(&listeners);
	for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
		close(fds[i]);
}

static void test_no_process(void **state)
{
	struct sock_diag_list sockets = { 0 };

	(void)state;
	assert_int_equal(sock_diag_of_pid(0, &sockets), -ESRCH);
	assert_int_equal(sockets.n, 0);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_own_sockets),
		cmocka_unit_test(test_listeners),
		cmocka_unit_test(test_no_process),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
