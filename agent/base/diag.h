/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Errors and warnings about what an administrator wrote, each with its position in the file. */
#ifndef SOCKPOL_DIAG_H
#define SOCKPOL_DIAG_H

#include "base/util.h"

/* A position in a file.  `file` is owned by the configuration, which outlives the diagnostics. */
struct position {
	const char *file;
	unsigned line;	 /* from 1; 0: the file as a whole */
	unsigned column; /* from 1, in characters */
};

enum diag_level {
	DIAG_ERROR,
	DIAG_WARNING,
};

struct diag {
	enum diag_level level;
	size_t nth_file;  /* in struct diags */
	const char *file; /* its name */
	unsigned line, column;
	char *message; /* owned; without a newline */
	size_t sequence;
};

/* So many diagnostics of each level are kept for one file; further ones are only counted. */
#define DIAGS_KEPT_MAX 1000

/* A file that diagnostics are about. */
struct diag_file {
	char *name;		 /* owned */
	size_t kept[2], more[2]; /* by level */
};

struct diags {
	struct diag *v;
	size_t n;
	size_t n_errors;	 /* kept or not */
	size_t n_warnings;	 /* likewise */
	size_t sequence;	 /* of the next one */
	struct diag_file *files; /* in the order in which they were first added */
	size_t n_files;
	size_t lost; /* for want of memory */
	int failure; /* negative errno: some error is not the files' but the host's; else 0 */
};

/* A diagnostic is counted even where there is no memory for its text. */
void diags_add(struct diags *d, enum diag_level level, const struct position *at,
	       const char *format, ...) PRINTF_LIKE(4, 5);
#define diag_error(d, at, ...)	 diags_add(d, DIAG_ERROR, at, __VA_ARGS__)
#define diag_warning(d, at, ...) diags_add(d, DIAG_WARNING, at, __VA_ARGS__)

/* Sorts by file (in the order files were first added), line, column. */
void diags_sort(struct diags *d);
/* "error", "warning" */
const char *diag_level_name(enum diag_level level);
/* Calls fn for each; once sorted, those about a file end with one that says how many more there
 * are. */
typedef void diag_fn(const struct diag *l, void *userdata);
void diags_each(const struct diags *d, diag_fn *fn, void *userdata);
/*
 * Prints FILE:LINE:COLUMN: error: MESSAGE, one a line; FILE: error: MESSAGE when the line is 0.
 * Once sorted, the diagnostics about a file end with FILE: error: N more errors.
 */
void diags_print(const struct diags *d, FILE *to);
/*
 * Sorts the diagnostics, and prints them on stderr.  Where that is the journal, each is an entry
 * with its priority and the fields POLICY_FILE=, POLICY_LINE= and POLICY_COLUMN=.
 */
void diags_log(struct diags *d);
/*
 * Returns what diags_print() prints, owned by the caller; beyond size_max bytes whole lines are
 * left out and one line says so.  NULL when memory is out.
 */
char *diags_text(const struct diags *d, size_t size_max);
void diags_clear(struct diags *d);

/* Is it worth looking for what was meant?  That takes time, and nobody reads the hundredth
 * suggestion. */
bool diags_may_suggest(const struct diags *d);

/* Shortens `text` for a message: at most EXCERPT_SIZE - 1 bytes, with "..." at the end. */
#define EXCERPT_SIZE 81
const char *excerpt(const char *text, char buf[static EXCERPT_SIZE]);
/* excerpt() in a buffer that lives as long as the block around it. */
#define EXCERPT(text) excerpt((text), (char[EXCERPT_SIZE]){ 0 })

/* A name that must be unique: a key of a mapping, a rule of a policy, a policy of all files. */
struct unique_name {
	const char *name;
	const struct position *at;
	size_t place; /* in the order in which they were written */
};

/* Sorts `v` and reports each occurrence of a name but the first as "duplicate WHAT 'NAME'". */
void duplicates_report(struct unique_name *v, size_t n, const char *what, struct diags *diags);

#endif
