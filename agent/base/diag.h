/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Errors and warnings about what an administrator wrote, each with its place in the file. */
#ifndef SOCKPOL_DIAG_H
#define SOCKPOL_DIAG_H

#include "base/util.h"

/* A place in a file.  `file` is owned by the configuration (it outlives the diagnostics' use). */
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
	char *file; /* owned */
	unsigned line, column;
	char *message; /* owned; without a newline */
	size_t sequence;
};

/* Of each level, that are kept of one file; the others are only counted. */
#define DIAGS_KEPT_MAX 1000

struct diag_count {
	char *file;		 /* owned; as in struct diag */
	size_t kept[2], more[2]; /* by level */
};

struct diags {
	struct diag *v;
	size_t n;
	size_t n_errors;   /* kept or not */
	size_t n_warnings; /* likewise */
	size_t sequence;   /* of the next one */
	struct diag_count *files;
	size_t n_files;
	size_t lost; /* for want of memory */
};

/* Without memory for its text it is counted all the same. */
void diags_add(struct diags *d, enum diag_level level, const struct position *at,
	       const char *format, ...) PRINTF_LIKE(4, 5);
#define diag_error(d, at, ...)	 diags_add(d, DIAG_ERROR, at, __VA_ARGS__)
#define diag_warning(d, at, ...) diags_add(d, DIAG_WARNING, at, __VA_ARGS__)

/* Sorts by file (in the order files were first added), line, column. */
void diags_sort(struct diags *d);
/*
 * FILE:LINE:COLUMN: error: MESSAGE, one a line; FILE: error: MESSAGE when line is 0.  Last of a
 * file, once sorted: FILE: error: N more errors.
 */
void diags_print(const struct diags *d, FILE *to);
/*
 * The same on stderr.  Where that is the journal, an entry a line, with its priority and the fields
 * POLICY_FILE=, POLICY_LINE= and POLICY_COLUMN=.
 */
void diags_log(const struct diags *d);
/*
 * What diags_print() prints, owned by the caller; of more than size_max bytes whole lines only, and
 * one that says so.  NULL when memory is out.
 */
char *diags_text(const struct diags *d, size_t size_max);
void diags_clear(struct diags *d);

/* Looking for what was meant takes its time: nobody reads the hundredth suggestion. */
bool diags_may_suggest(const struct diags *d);

/* `text` as a message may quote it: at most EXCERPT_SIZE - 1 bytes, shortened with "...". */
#define EXCERPT_SIZE 81
const char *excerpt(const char *text, char buf[static EXCERPT_SIZE]);
/* The same, in a buffer that lives as long as the block around. */
#define EXCERPT(text) excerpt((text), (char[EXCERPT_SIZE]){ 0 })

/* A name that has to be unique: a key of a mapping, a rule of a policy, a policy of everything. */
struct unique_name {
	const char *name;
	const struct position *at;
	size_t place; /* in the order in which they were written */
};

/* Sorts `v`, and reports as "duplicate WHAT 'NAME'" each but the first of a name. */
void duplicates_report(struct unique_name *v, size_t n, const char *what, struct diags *diags);

#endif
