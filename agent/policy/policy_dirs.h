/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Policy directories: which files count, in which order, and whether they are safe to trust. */
#ifndef SOCKPOL_POLICY_DIRS_H
#define SOCKPOL_POLICY_DIRS_H

#include "base/diag.h"

struct policy_file {
	char *path;	  /* for messages; owned */
	const char *name; /* its last component; points into path */
	int dir_fd;	  /* what `name` is relative to; owned by policy_dirs */
};

struct policy_dirs {
	int *fds;
	size_t n_fds;
	struct policy_file *files; /* ordered by name; of equal names the first directory's file */
	size_t n_files;
};

/* Finds the files of `dirs`, which is NULL-terminated.  What is wrong is added to `diags`. Returns
 * 0 or -ENOMEM. */
int policy_dirs_scan(const char *const *dirs, struct diags *diags, struct policy_dirs *ret);
/* Warns of directories that do not exist.  Not for the default ones: having no policies is fine. */
void policy_dirs_warn_missing(const char *const *dirs, struct diags *diags);
void policy_dirs_clear(struct policy_dirs *d);

/*
 * Reads a file if it is a regular one that only root or we can write.  `path` is its name in
 * messages and must live as long as `diags` are added to.  Returns 0 with *ret_text owned by the
 * caller (NULL when the file masks: empty, or /dev/null), -EBADMSG when diags say what is wrong, or
 * -ENOMEM.
 */
int policy_file_read(int dir_fd, const char *name, const char *path, struct diags *diags,
		     char **ret_text, size_t *ret_size);

#endif
