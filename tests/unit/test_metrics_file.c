// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* A file that is replaced whole, in directories good and bad. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "daemon/metrics_file.h"
#include "scratch_dir.h"

struct fixture {
	struct scratch *scratch;
	const char *dir, *path;
	sd_event *event;
	struct metrics_file *m;
	const char *text; /* the expected contents of the file */
	int error;	  /* of the writer */
};

static int write_text(FILE *to, void *userdata)
{
	const struct fixture *f = userdata;

	fputs(f->text, to);
	return f->error;
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	void *scratch = NULL;

	assert_non_null(f);
	if (scratch_setup(&scratch) < 0 || !scratch) {
		free(f);
		return -1;
	}
	f->scratch = scratch;
	f->dir = scratch_mkdir(f->scratch, "textfile");
	f->path = scratch_path(f->scratch, "textfile/sockpol.prom");
	assert_int_equal(sd_event_new(&f->event), 0);
	f->text = "one\n";
	assert_int_equal(metrics_file_new(f->path, f->event, write_text, f, &f->m), 0);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	void *scratch = f->scratch;

	if (f->m)
		metrics_file_free(f->m);
	sd_event_unref(f->event);
	free(f);
	return scratch_teardown(&scratch);
}

static void expect(const struct fixture *f, const char *expected)
{
	_cleanup_fclose_ FILE *file = fopen(f->path, "re");
	char text[64] = "";

	if (!expected) {
		assert_null(file);
		return;
	}
	assert_non_null(file);
	assert_int_equal(fread(text, 1, sizeof(text) - 1, file), strlen(expected));
	assert_string_equal(text, expected);
}

static void test_replaced(void **state)
{
	struct fixture *f = *state;
	struct stat first, second;
	mode_t mask = umask(0077);

	expect(f, NULL); /* not before it is asked to */
	metrics_file_refresh(f->m);
	expect(f, "one\n");
	assert_int_equal(stat(f->path, &first), 0);
	assert_int_equal(first.st_mode & 07777, 0644);
	f->text = "two\n";
	metrics_file_refresh(f->m);
	umask(mask);
	expect(f, "two\n");
	assert_int_equal(stat(f->path, &second), 0);
	assert_int_not_equal(first.st_ino, second.st_ino); /* another file, by rename */
	metrics_file_free(TAKE_PTR(f->m));
	expect(f, NULL);
}

static void test_writer_fails(void **state)
{
	struct fixture *f = *state;

	metrics_file_refresh(f->m);
	f->text = "half";
	f->error = -EIO;
	metrics_file_refresh(f->m);
	expect(f, "one\n");
}

static void test_directory_of_others(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(chmod(f->dir, 0775), 0);
	metrics_file_refresh(f->m);
	expect(f, NULL);
	assert_int_equal(chmod(f->dir, 0757), 0);
	metrics_file_refresh(f->m);
	expect(f, NULL);
	assert_int_equal(chmod(f->dir, 0755), 0);
	metrics_file_refresh(f->m);
	expect(f, "one\n");
}

static void test_leftover(void **state)
{
	struct fixture *f = *state;
	const char *temporary = scratch_write(f->scratch, "textfile/.sockpol.prom.new",
					      "what a dead agent has left, longer than what comes");

	metrics_file_refresh(f->m);
	expect(f, "one\n");
	assert_int_equal(access(temporary, F_OK), -1);
}

/* A link is replaced, not followed. */
static void test_link(void **state)
{
	struct fixture *f = *state;
	const char *target = scratch_path(f->scratch, "target");
	struct stat st;

	assert_int_equal(symlink(target, f->path), 0);
	metrics_file_refresh(f->m);
	expect(f, "one\n");
	assert_int_equal(access(target, F_OK), -1);
	assert_int_equal(lstat(f->path, &st), 0);
	assert_true(S_ISREG(st.st_mode));
}

static void test_somebody_elses_stays(void **state)
{
	struct fixture *f = *state;

	metrics_file_refresh(f->m);
	assert_int_equal(unlink(f->path), 0);
	scratch_write(f->scratch, "textfile/sockpol.prom", "mine\n"); /* perhaps the same inode */
	metrics_file_free(TAKE_PTR(f->m));
	expect(f, "mine\n");
}

static void test_names(void **state)
{
	struct fixture *f = *state;
	static const char *const bad[] = { "", "/", "a/", ".", "..", "/tmp/..", "/tmp/." };
	struct metrics_file *m = NULL;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		assert_int_equal(metrics_file_new(bad[i], f->event, write_text, f, &m), -EINVAL);
		assert_null(m);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_replaced, setup, teardown),
		cmocka_unit_test_setup_teardown(test_writer_fails, setup, teardown),
		cmocka_unit_test_setup_teardown(test_directory_of_others, setup, teardown),
		cmocka_unit_test_setup_teardown(test_leftover, setup, teardown),
		cmocka_unit_test_setup_teardown(test_link, setup, teardown),
		cmocka_unit_test_setup_teardown(test_somebody_elses_stays, setup, teardown),
		cmocka_unit_test_setup_teardown(test_names, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
