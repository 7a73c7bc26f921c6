/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* From directories and files to a configuration: which files, safe to trust, in which order. */
#ifndef SOCKPOL_LOADER_H
#define SOCKPOL_LOADER_H

#include <dirent.h>

#include "host/host.h"
#include "policy/policy.h"

#define LOADER_FILE_SIZE_MAX (4u << 20) /* bytes */
#define LOADER_FILES_MAX     4096u
#define LOADER_POLICIES_MAX  10000u
#define LOADER_PREFIXES_MAX  100000u /* of all rules in all files */
#define LOADER_DEPTH_MAX     16u     /* nested YAML collections */
#define LOADER_NODES_MAX     400000u /* YAML nodes of a file, aliases followed */

/* The three default directories, NULL-terminated, earlier wins. */
extern const char *const loader_default_dirs[];

/*
 * Reads every policy file of `dirs` (NULL-terminated; one that does not exist is empty, with a
 * warning unless it is a default one) and then `files` (NULL-terminated or NULL, read as they are,
 * no masking).  Everything wrong in everything is added to `diags`; also warnings (see
 * lint_config()), with `host` as the kernel's facts. Returns 0 with a configuration that the caller
 * owns, -EBADMSG when diags holds an error (then *ret is untouched), or another negative errno:
 * something else than the files is wrong (-EMFILE, -EIO, -ENOMEM), and the next time may be better.
 */
int config_load(const char *const *dirs, const char *const *files, const struct host *host,
		struct diags *diags, struct config **ret);

/* The parts of it. */

struct yaml_node;

/*
 * Appends the policies of a file to `config`.  Errors are added to `diags`; policies with errors
 * are appended all the same, as far as they could be read: names may then be NULL.  Returns 0 or
 * -ENOMEM.
 */
int policies_parse(const struct yaml_node *root, struct config *config, struct diags *diags);
/* Warns about what is legal in a configuration, but surely not meant. */
void lint_config(const struct config *c, const struct host *host, struct diags *diags);

struct loader_file {
	char *path;	  /* for messages; owned */
	const char *name; /* its last component; points into path */
	size_t dir;
};

struct loader_files {
	struct loader_file *v; /* ordered by name; of equal names the first directory's file */
	size_t n;
	DIR **dirs; /* owned; open */
	size_t n_dirs;
};

/* Finds the files of `dirs`, which is NULL-terminated.  Errors are added to `diags`. Returns
 * 0 or -ENOMEM. */
int loader_scan(const char *const *dirs, struct diags *diags, struct loader_files *ret);
void loader_files_clear(struct loader_files *f);

/*
 * Reads a file if it is a regular one that only root or we can write.  `path` is its name in
 * messages and must live as long as `diags` are added to.  Returns 0 with *ret_text owned by the
 * caller (NULL when the file masks: empty, or /dev/null), -EBADMSG when diags say what is wrong, or
 * -ENOMEM.
 */
int loader_read(int dir_fd, const char *name, const char *path, struct diags *diags,
		char **ret_text, size_t *ret_size);

#endif
