// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Server and client of the control socket: the server's loop in a child process. */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "base/control_call.h"
#include "daemon/control.h"
#include "base/log.h"

#define LARGE (4u << 20) /* bytes; more than any socket's buffer has room for */

struct fixture {
	char dir[64], runtime[96];
	pid_t server;
};

static json_t *echo(const char *command, void *userdata)
{
	struct control **control = userdata;

	if (streq(command, "large")) {
		static char text[LARGE];

		memset(text, 'x', sizeof(text) - 1);
		return json_pack("{s:b, s:s}", "ok", 1, "message", text);
	}
	if (streq(command, "renew"))
		control_renew(*control);
	return json_pack("{s:b, s:s}", "ok", 1, "message", command);
}

static void serve(const struct fixture *f, int ready)
{
	struct control *control;
	sd_event *event;

	if (sd_event_new(&event) < 0 ||
	    control_new(f->runtime, event, echo, &control, &control) < 0)
		_exit(1);
	if (write(ready, "r", 1) != 1)
		_exit(1);
	sd_event_loop(event);
	_exit(1);
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	int pipe_fds[2];
	char c;

	assert_non_null(f);
	strcpy(f->dir, "/tmp/sockpol-test-XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	snprintf(f->runtime, sizeof(f->runtime), "%s/run", f->dir);
	assert_int_equal(pipe(pipe_fds), 0);
	f->server = fork();
	assert_true(f->server >= 0);
	if (f->server == 0)
		serve(f, pipe_fds[1]);
	close(pipe_fds[1]);
	assert_int_equal(read(pipe_fds[0], &c, 1), 1);
	close(pipe_fds[0]);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	char path[128];

	kill(f->server, SIGKILL);
	waitpid(f->server, NULL, 0);
	snprintf(path, sizeof(path), "%s/control", f->runtime);
	unlink(path);
	rmdir(f->runtime);
	rmdir(f->dir);
	free(f);
	return 0;
}

static void a_command_gets_its_answer(void **state)
{
	const struct fixture *f = *state;
	json_t *reply = NULL;
	pid_t pid = 0;

	assert_int_equal(control_call(f->runtime, "hello", 5, &reply, &pid), 0);
	assert_string_equal(json_string_value(json_object_get(reply, "message")), "hello");
	assert_int_equal(pid, f->server);
	json_decref(reply);
}

static int connect_raw(const struct fixture *f)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	snprintf(address.sun_path, sizeof(address.sun_path), "%s/control", f->runtime);
	assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	return fd;
}

static void a_large_reply_arrives_whole(void **state)
{
	const struct fixture *f = *state;
	int idle = connect_raw(f);
	json_t *reply = NULL;

	/* A client that asks and does not read gets in nobody's way. */
	assert_int_equal(send(idle, "{\"command\":\"large\"}\n", 20, MSG_NOSIGNAL), 20);
	assert_int_equal(control_call(f->runtime, "large", 5, &reply, NULL), 0);
	assert_int_equal(json_string_length(json_object_get(reply, "message")), LARGE - 1);
	json_decref(reply);
	assert_int_equal(control_call(f->runtime, "hello", 5, &reply, NULL), 0);
	json_decref(reply);
	close(idle);
	assert_int_equal(control_call(f->runtime, "hello", 5, &reply, NULL), 0);
	json_decref(reply);
}

static void only_the_owner_may_connect(void **state)
{
	const struct fixture *f = *state;
	char path[128];
	struct stat st;

	snprintf(path, sizeof(path), "%s/control", f->runtime);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	assert_int_equal(stat(f->runtime, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0700);
}

static void a_second_agent_is_refused(void **state)
{
	const struct fixture *f = *state;
	struct control *control = NULL;
	sd_event *event;

	log_set_level(LOG_CRIT);
	assert_int_equal(sd_event_new(&event), 0);
	assert_int_equal(control_new(f->runtime, event, echo, NULL, &control), -EBUSY);
	assert_null(control);
	sd_event_unref(event);
}

static void a_directory_that_others_write_is_refused(void **state)
{
	const struct fixture *f = *state;
	struct control *control = NULL;
	sd_event *event;

	log_set_level(LOG_CRIT);
	assert_int_equal(chmod(f->dir, 0777), 0);
	assert_int_equal(sd_event_new(&event), 0);
	assert_int_equal(control_new(f->dir, event, echo, NULL, &control), -EPERM);
	sd_event_unref(event);
}

static void no_agent(void **state)
{
	const struct fixture *f = *state;
	json_t *reply = NULL;

	assert_int_equal(control_call(f->dir, "hello", 5, &reply, NULL), -ENOENT);
	kill(f->server, SIGKILL);
	waitpid(f->server, NULL, 0);
	assert_int_equal(control_call(f->runtime, "hello", 5, &reply, NULL), -ECONNREFUSED);
	assert_null(reply);
}

static void ask_raw(const struct fixture *f, const char *bytes, size_t n, const char *expected)
{
	char reply[256] = "";
	int fd = connect_raw(f);

	assert_int_equal(send(fd, bytes, n, MSG_NOSIGNAL), n);
	assert_true(recv(fd, reply, sizeof(reply) - 1, MSG_WAITALL) > 0);
	assert_non_null(strstr(reply, expected));
	close(fd);
}

static void garbage_is_not_a_request(void **state)
{
	static char huge[CONTROL_REQUEST_MAX];
	const struct fixture *f = *state;

	ask_raw(f, "hello\n", 6, "not a request");
	ask_raw(f, "\n", 1, "not a request");
	ask_raw(f, "{\"command\":7}\n", 14, "not a request");
	ask_raw(f, "{\"command\":\"a\0b\"}\n", 18, "not a request");
	memset(huge, '[', sizeof(huge));
	ask_raw(f, huge, sizeof(huge), "not a request");
	ask_raw(f, "{\"command\":\"still there\"}\n", 26, "still there");
}

static void a_silent_client_does_not_block_others(void **state)
{
	const struct fixture *f = *state;
	int silent = connect_raw(f);

	ask_raw(f, "{\"command\":\"next\"}\n", 19, "next");
	close(silent);
}

static void a_silent_agent_is_not_waited_for(void **state)
{
	const struct fixture *f = *state;
	json_t *reply = NULL;
	pid_t pid = 0;

	assert_int_equal(kill(f->server, SIGSTOP), 0);
	alarm(10); /* ends the test that would hang */
	assert_int_equal(control_call(f->runtime, "hello", 1, &reply, &pid), -ETIMEDOUT);
	alarm(0);
	assert_null(reply);
	assert_int_equal(pid, f->server);
}

static void one_client_too_many_hears_so(void **state)
{
	const struct fixture *f = *state;
	int idle[CONTROL_CLIENTS_MAX];
	json_t *reply = NULL;

	for (size_t i = 0; i < ARRAY_SIZE(idle); i++)
		idle[i] = connect_raw(f);
	assert_int_equal(control_call(f->runtime, "hello", 5, &reply, NULL), 0);
	assert_false(json_is_true(json_object_get(reply, "ok")));
	assert_string_equal(json_string_value(json_object_get(reply, "message")), "busy");
	json_decref(reply);
	for (size_t i = 0; i < ARRAY_SIZE(idle); i++)
		close(idle[i]);
}

/* Asks over a connection that was there before. */
static void renew(int fd)
{
	static const char request[] = "{\"command\":\"renew\"}\n";
	char reply[256];

	assert_int_equal(send(fd, request, strlen(request), MSG_NOSIGNAL), strlen(request));
	assert_true(recv(fd, reply, sizeof(reply), MSG_WAITALL) > 0);
	close(fd);
}

static void a_removed_socket_is_made_again(void **state)
{
	const struct fixture *f = *state;
	json_t *reply = NULL;
	char path[128];
	int first = connect_raw(f), second = connect_raw(f);

	snprintf(path, sizeof(path), "%s/control", f->runtime);
	assert_int_equal(unlink(path), 0);
	renew(first);
	assert_int_equal(control_call(f->runtime, "hello", 5, &reply, NULL), 0);
	json_decref(reply);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(rmdir(f->runtime), 0);
	renew(second);
	assert_int_equal(control_call(f->runtime, "hello", 5, &reply, NULL), 0);
	json_decref(reply);
}

static void a_file_in_the_way_is_left_alone(void **state)
{
	const struct fixture *f = *state;
	struct control *control = NULL;
	char path[128];
	sd_event *event;
	FILE *file;

	log_set_level(LOG_CRIT);
	snprintf(path, sizeof(path), "%s/control", f->dir);
	file = fopen(path, "w");
	assert_non_null(file);
	fclose(file);
	assert_int_equal(sd_event_new(&event), 0);
	assert_int_equal(control_new(f->dir, event, echo, NULL, &control), -EEXIST);
	assert_int_equal(unlink(path), 0);
	assert_null(control);
	sd_event_unref(event);
}

int main(void)
{
#define TEST(t) cmocka_unit_test_setup_teardown(t, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(a_command_gets_its_answer),
		TEST(a_large_reply_arrives_whole),
		TEST(only_the_owner_may_connect),
		TEST(a_second_agent_is_refused),
		TEST(a_directory_that_others_write_is_refused),
		TEST(no_agent),
		TEST(garbage_is_not_a_request),
		TEST(a_silent_client_does_not_block_others),
		TEST(a_silent_agent_is_not_waited_for),
		TEST(one_client_too_many_hears_so),
		TEST(a_removed_socket_is_made_again),
		TEST(a_file_in_the_way_is_left_alone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
