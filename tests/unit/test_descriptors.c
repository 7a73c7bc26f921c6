// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "host/descriptors.h"

static uint64_t inode_of(int fd)
{
	struct stat st;

	assert_int_equal(fstat(fd, &st), 0);
	return st.st_ino;
}

/* Each descriptor of each socket, and nothing for those that are closed. */
static void test_own(void **state)
{
	struct descriptors d;
	uint64_t inodes[3], closed;
	int fds[4];
	size_t n;

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		fds[i] = socket(AF_UNIX, SOCK_DGRAM, 0);
		inodes[i] = inode_of(fds[i]);
	}
	fds[3] = dup(fds[1]);
	closed = inodes[2];
	close(fds[2]);
	assert_int_equal(descriptors_read(getpid(), &d), 0);
	for (size_t i = 0; i < 2; i++) {
		const struct descriptor *found = descriptors_find(&d, inodes[i], &n);

		assert_int_equal(n, i + 1);
		assert_int_equal(found->pid, getpid());
		assert_int_equal(found->fd, fds[i]);
		assert_int_equal(found[n - 1].fd, i ? fds[3] : fds[0]);
	}
	descriptors_find(&d, closed, &n);
	assert_int_equal(n, 0);
	descriptors_find(&d, 0, &n);
	assert_int_equal(n, 0);
	descriptors_find(&d, UINT64_MAX, &n);
	assert_int_equal(n, 0);
	descriptors_clear(&d);
	close(fds[0]);
	close(fds[1]);
	close(fds[3]);
}

static void test_all(void **state)
{
	int fd = socket(AF_UNIX, SOCK_DGRAM, 0);
	uint64_t inode = inode_of(fd);
	struct descriptors d;
	size_t n;

	(void)state;
	assert_int_equal(descriptors_read(0, &d), 0);
	descriptors_find(&d, inode, &n);
	assert_int_equal(n, 1);
	for (size_t i = 1; i < d.n; i++)
		assert_true(d.v[i - 1].inode <= d.v[i].inode);
	descriptors_clear(&d);
	close(fd);
	assert_int_equal(descriptors_read(INT32_MAX, &d), -ESRCH);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_own),
		cmocka_unit_test(test_all),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
