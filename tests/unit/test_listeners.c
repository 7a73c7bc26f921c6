// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* This very process's listeners, as the kernel tells them. */
#include <arpa/inet.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/socket.h>
#include <cmocka.h>

#include "host/cgroup.h"
#include "host/listeners.h"
#include "base/log.h"

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

struct search {
	const char *local;
	int n;
	uint64_t cgroup_id;
};

static int look(const struct listener *l, void *userdata)
{
	struct search *s = userdata;

	if (streq(l->local, s->local)) {
		s->n++;
		s->cgroup_id = l->cgroup_id;
	}
	return 0;
}

static int stop(const struct listener *l, void *userdata)
{
	int *n = userdata;

	(void)l;
	++*n;
	return 42;
}

static void test_each(void **state)
{
	char listening[64], bound[64], udp[64];
	int fds[] = { bound_socket(SOCK_STREAM, listening, sizeof(listening)),
		      bound_socket(SOCK_STREAM, bound, sizeof(bound)),
		      bound_socket(SOCK_DGRAM, udp, sizeof(udp)) };
	struct search found = { .local = listening }, not_listening = { .local = bound },
		      other_protocol = { .local = udp };
	_cleanup_free_ char *mount = NULL, *cgroup = NULL, *path = NULL;
	int n = 0;

	(void)state;
	assert_int_equal(listen(fds[0], 1), 0);
	assert_int_equal(listeners_each(look, &found), 0);
	assert_int_equal(listeners_each(look, &not_listening), 0);
	assert_int_equal(listeners_each(look, &other_protocol), 0);
	assert_int_equal(found.n, 1);
	assert_int_equal(not_listening.n, 0);
	assert_int_equal(other_protocol.n, 0);
	if (cgroup_mount(&mount) == 0) {
		assert_int_equal(cgroup_of_pid(getpid(), &cgroup), 0);
		assert_int_equal(cgroup_path_of_id(mount, found.cgroup_id, &path), 0);
		assert_string_equal(path, cgroup);
	}
	assert_int_equal(listeners_each(stop, &n), 42);
	assert_int_equal(n, 1);
	for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
		close(fds[i]);
}

static const char *all_of(uint64_t cgroup_id, void *userdata)
{
	const uint64_t *ours = userdata;

	return cgroup_id == *ours ? "/ours" : NULL;
}

static void test_name_stale(void **state)
{
	char name[64], expected[256], said[65536] = "";
	int fd = bound_socket(SOCK_STREAM, name, sizeof(name)), saved = dup(STDERR_FILENO);
	struct search found = { .local = name };
	FILE *f = tmpfile();
	uint64_t none = 0;
	int n;

	(void)state;
	assert_int_equal(listen(fd, 1), 0);
	assert_int_equal(listeners_each(look, &found), 0);
	assert_non_null(f);
	assert_true(dup2(fileno(f), STDERR_FILENO) >= 0);
	n = listeners_name_stale(all_of, found.cgroup_id ? &found.cgroup_id : &none);
	assert_true(dup2(saved, STDERR_FILENO) >= 0);
	assert_true(n >= 1);
	rewind(f);
	assert_true(fread(said, 1, sizeof(said) - 1, f) > 0);
	snprintf(expected, sizeof(expected),
		 "listener %s in cgroup /ours keeps what the old policy gave it until it is opened "
		 "again\n",
		 name);
	assert_non_null(strstr(said, expected));
	none = UINT64_MAX;
	assert_int_equal(listeners_name_stale(all_of, &none), 0);
	fclose(f);
	close(saved);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_each),
		cmocka_unit_test(test_name_stale),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
