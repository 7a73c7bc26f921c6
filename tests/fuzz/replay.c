// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * In libFuzzer's place: runs a fuzz target once on each of the files named, and on each file of the
 * directories named.  One that crashes, or takes a minute, ends it and is named; else the count
 * comes last.
 */
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <sanitizer/common_interface_defs.h>
#include <signal.h>
#include <sys/stat.h>

#include "fuzz.h"

#define INPUT_MAX (8u << 20) /* bytes */

#define PATIENCE 60u /* seconds */

static char input[PATH_MAX + 1]; /* the one that runs, and a newline */

static void name_input(void)
{
	static const char what[] = "the input was ";

	(void)!write(STDERR_FILENO, what, sizeof(what) - 1);
	(void)!write(STDERR_FILENO, input, strlen(input));
}

static void on_signal(int number)
{
	name_input();
	signal(number, SIG_DFL);
	raise(number);
}

static int take(const char *path, unsigned *passed);

static int take_directory(const char *path, unsigned *passed)
{
	struct dirent **names;
	int n = scandir(path, &names, NULL, alphasort), r = n < 0 ? -errno : 0;

	for (int i = 0; i < n; i++) {
		char inside[PATH_MAX];

		snprintf(inside, sizeof(inside), "%s/%s", path, names[i]->d_name);
		if (r == 0 && names[i]->d_name[0] != '.')
			r = take(inside, passed);
		free(names[i]);
	}
	if (n >= 0)
		free(names);
	return r;
}

/* In memory of just that size, so that ASan sees the first byte too far. */
static int take_file(const char *path, size_t size, unsigned *passed)
{
	_cleanup_fclose_ FILE *f = fopen(path, "re");
	_cleanup_free_ uint8_t *data = malloc(size ? size : 1);

	if (!f || !data)
		return -errno;
	if (fread(data, 1, size, f) != size)
		return -EIO;
	snprintf(input, sizeof(input), "%.*s\n", PATH_MAX - 1, path);
	alarm(PATIENCE);
	LLVMFuzzerTestOneInput(data, size);
	alarm(0);
	++*passed;
	return 0;
}

static int take(const char *path, unsigned *passed)
{
	struct stat st;
	int r;

	if (stat(path, &st) < 0)
		r = -errno;
	else if (S_ISDIR(st.st_mode))
		return take_directory(path, passed);
	else
		r = st.st_size > INPUT_MAX ? -E2BIG : take_file(path, (size_t)st.st_size, passed);
	if (r < 0)
		fprintf(stderr, "%s: %s\n", path, strerror(-r));
	return r;
}

int main(int argc, char **argv)
{
	unsigned passed = 0;
	int r = 0;

	__sanitizer_set_death_callback(name_input);
	signal(SIGABRT, on_signal);
	signal(SIGALRM, on_signal);
	LLVMFuzzerInitialize(&argc, &argv);
	for (int i = 1; i < argc && r == 0; i++)
		r = take(argv[i], &passed);
	printf("%u passed, %d failed, 0 skipped\n", passed, r < 0);
	return r < 0;
}
