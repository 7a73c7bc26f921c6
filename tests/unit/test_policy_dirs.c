// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <errno.h>

#include "scratch_dir.h"

#include "policy/loader.h"

/* The names found, each with its directory: "etc/10-a.yaml usr/20-b.yaml"; owned by the caller. */
static char *scan(struct scratch *s, const char *const *dirs, struct diags *diags)
{
	struct loader_files d;
	char *text = NULL;
	size_t size;
	FILE *f = open_memstream(&text, &size);

	assert_non_null(f);
	assert_int_equal(loader_scan(dirs, diags, &d), 0);
	for (size_t i = 0; i < d.n; i++) {
		assert_string_equal(d.v[i].name, strrchr(d.v[i].path, '/') + 1);
		fprintf(f, "%s%s", i ? " " : "", d.v[i].path + strlen(s->path) + 1);
	}
	fclose(f);
	loader_files_clear(&d);
	return text;
}

static void test_order_and_masking(void **state)
{
	struct scratch *s = *state;
	const char *dirs[] = { scratch_mkdir(s, "etc"), scratch_mkdir(s, "run"),
			       scratch_path(s, "absent"), scratch_mkdir(s, "usr"), NULL };
	struct diags diags = { 0 };
	char *found;

	scratch_write(s, "usr/10-a.yaml", "");
	scratch_write(s, "usr/20-b.yaml", "");
	scratch_write(s, "usr/90-z.yaml", "");
	scratch_write(s, "run/20-b.yaml", "");
	scratch_write(s, "run/05-c.yaml", "");
	scratch_write(s, "etc/20-b.yaml", "");
	scratch_write(s, "etc/50-d.yaml", "");
	scratch_write(s, "etc/.60-e.yaml", "");
	scratch_write(s, "etc/70-f.conf", "");
	scratch_write(s, "etc/yaml", "");
	found = scan(s, dirs, &diags);
	assert_string_equal(found, "run/05-c.yaml usr/10-a.yaml etc/20-b.yaml etc/50-d.yaml "
				   "usr/90-z.yaml");
	assert_int_equal(diags.n, 0);
	free(found);
}

static void test_nothing(void **state)
{
	struct scratch *s = *state;
	const char *none[] = { NULL };
	const char *absent[] = { scratch_path(s, "absent"), NULL };
	struct diags diags = { 0 };
	char *found;

	found = scan(s, none, &diags);
	assert_string_equal(found, "");
	free(found);
	found = scan(s, absent, &diags);
	assert_string_equal(found, "");
	free(found);
	assert_int_equal(diags.n, 0);
}

static void test_one_directory_twice(void **state)
{
	struct scratch *s = *state;
	const char *dirs[] = { scratch_mkdir(s, "etc"), scratch_path(s, "etc/"),
			       scratch_path(s, "etc/../etc"), NULL };
	struct diags diags = { 0 };
	char *found;

	scratch_write(s, "etc/a.yaml", "");
	scratch_write(s, "etc/b.yml", "");
	found = scan(s, dirs, &diags);
	assert_string_equal(found, "etc/a.yaml");
	assert_int_equal(diags.n_warnings, 1); /* of the .yml, once */
	free(found);
	diags_clear(&diags);
}

static void test_unsafe_directory(void **state)
{
	static const mode_t modes[] = { 0775, 0757, 0777, 01777 };
	struct scratch *s = *state;
	const char *dirs[] = { scratch_mkdir(s, "open"), scratch_mkdir(s, "good"), NULL };

	scratch_write(s, "open/a.yaml", "");
	scratch_write(s, "good/b.yaml", "");
	for (size_t i = 0; i < ARRAY_SIZE(modes); i++) {
		struct diags diags = { 0 };
		char *found;

		assert_int_equal(chmod(dirs[0], modes[i]), 0);
		found = scan(s, dirs, &diags);
		assert_string_equal(found, "good/b.yaml");
		assert_int_equal(diags.n_errors, 1);
		assert_string_equal(diags.v[0].file, dirs[0]);
		free(found);
		diags_clear(&diags);
	}
}

/* Reads; the message of the one error, "" for none, is copied to `message`. */
static int read_one(const char *path, char **text, size_t *size, char message[static 256])
{
	struct diags diags = { 0 };
	int r = loader_read(AT_FDCWD, path, path, &diags, text, size);

	assert_int_equal(diags.n, r == -EBADMSG);
	snprintf(message, 256, "%s", diags.n ? diags.v[0].message : "");
	diags_clear(&diags);
	return r;
}

static void refuses(const char *path, const char *expected)
{
	char *text = (char *)"untouched", message[256];
	size_t size = 12345;

	assert_int_equal(read_one(path, &text, &size, message), -EBADMSG);
	assert_string_equal(message, expected);
	assert_string_equal(text, "untouched");
	assert_int_equal(size, 12345);
}

static void test_read(void **state)
{
	struct scratch *s = *state;
	char *text, message[256];
	size_t size;

	assert_int_equal(read_one(scratch_write(s, "a.yaml", "hello"), &text, &size, message), 0);
	assert_int_equal(size, 5);
	assert_memory_equal(text, "hello", 5);
	free(text);

	assert_int_equal(read_one(scratch_write(s, "b.yaml", ""), &text, &size, message), 0);
	assert_null(text);
	assert_int_equal(read_one("/dev/null", &text, &size, message), 0);
	assert_null(text);
}

static void test_read_refuses(void **state)
{
	struct scratch *s = *state;
	const char *path;

	refuses(scratch_mkdir(s, "dir.yaml"), "not a regular file but a directory");
	path = scratch_path(s, "fifo.yaml");
	assert_int_equal(mkfifo(path, 0600), 0);
	refuses(path, "not a regular file but a FIFO");
	refuses("/dev/zero", "not a regular file but a device");
	refuses(scratch_path(s, "absent.yaml"), "cannot open: No such file or directory");
	path = scratch_path(s, "dangling.yaml");
	assert_int_equal(symlink("nowhere", path), 0);
	refuses(path, "a link that leads nowhere");

	path = scratch_write(s, "mode.yaml", "x");
	assert_int_equal(chmod(path, 0620), 0);
	refuses(path, "writable by its group (mode 0620): only its owner may write it");
	assert_int_equal(chmod(path, 0602), 0);
	refuses(path, "writable by others (mode 0602): only its owner may write it");
}

static void test_read_limit(void **state)
{
	struct scratch *s = *state;
	const char *path = scratch_write(s, "large.yaml", "");
	char *text, message[256];
	size_t size;

	assert_int_equal(truncate(path, LOADER_FILE_SIZE_MAX), 0);
	assert_int_equal(read_one(path, &text, &size, message), 0);
	assert_int_equal(size, LOADER_FILE_SIZE_MAX);
	free(text);
	assert_int_equal(truncate(path, LOADER_FILE_SIZE_MAX + 1), 0);
	refuses(path, "larger than 4 MiB, the limit of a policy file");
}

static void test_owner(void **state)
{
	struct scratch *s = *state;
	const char *path = scratch_write(s, "a.yaml", "x");

	if (geteuid() != 0)
		skip(); /* only root can give files away */
	assert_int_equal(chown(path, 4321, 0), 0);
	refuses(path, "owned by user 4321: policies must be owned by root");
}

#define SCRATCH_TEST(f) cmocka_unit_test_setup_teardown(f, scratch_setup, scratch_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		SCRATCH_TEST(test_order_and_masking),
		SCRATCH_TEST(test_nothing),
		SCRATCH_TEST(test_one_directory_twice),
		SCRATCH_TEST(test_unsafe_directory),
		SCRATCH_TEST(test_read),
		SCRATCH_TEST(test_read_refuses),
		SCRATCH_TEST(test_read_limit),
		SCRATCH_TEST(test_owner),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
