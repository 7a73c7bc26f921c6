/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A temporary directory of a test's own: setup and teardown for cmocka, and files in it. */
#ifndef SOCKPOL_SCRATCH_DIR_H
#define SOCKPOL_SCRATCH_DIR_H

#include <fcntl.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <sys/stat.h>
#include <cmocka.h>

#include "base/util.h"

#define SCRATCH_PATHS 64

struct scratch {
	char path[256];
	char *joined[SCRATCH_PATHS]; /* what scratch_path() returned */
	size_t n_joined;
};

static int scratch_remove(const char *path, const struct stat *st, int kind, struct FTW *ftw)
{
	(void)st;
	(void)kind;
	(void)ftw;
	return remove(path);
}

static int scratch_setup(void **state)
{
	struct scratch *s = calloc(1, sizeof(*s));
	const char *base = getenv("TMPDIR");

	if (!s)
		return -1;
	snprintf(s->path, sizeof(s->path), "%s/sockpol-unit-XXXXXX", base ? base : P_tmpdir);
	if (!mkdtemp(s->path)) {
		free(s);
		return -1;
	}
	umask(022);
	*state = s;
	return 0;
}

static int scratch_teardown(void **state)
{
	struct scratch *s = *state;
	int r = nftw(s->path, scratch_remove, 16, FTW_DEPTH | FTW_PHYS);

	for (size_t i = 0; i < s->n_joined; i++)
		free(s->joined[i]);
	free(s);
	return r;
}

/* The path of `name` in it; good until the teardown. */
static inline const char *scratch_path(struct scratch *s, const char *name)
{
	char **to = &s->joined[s->n_joined];

	assert_true(s->n_joined < SCRATCH_PATHS);
	assert_true(asprintf(to, "%s/%s", s->path, name) >= 0);
	return s->joined[s->n_joined++];
}

static inline const char *scratch_mkdir(struct scratch *s, const char *name)
{
	const char *path = scratch_path(s, name);

	assert_int_equal(mkdir(path, 0755), 0);
	return path;
}

static inline const char *scratch_write(struct scratch *s, const char *name, const char *content)
{
	const char *path = scratch_path(s, name);
	FILE *f = fopen(path, "we");

	assert_non_null(f);
	assert_true(fputs(content, f) >= 0);
	assert_int_equal(fclose(f), 0);
	return path;
}

#endif
