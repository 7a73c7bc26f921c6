// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <errno.h>
#include <stdarg.h>
#include <stdint.h>

/* The position in sockpol's own source tells an administrator nothing. */
#define SD_JOURNAL_SUPPRESS_LOCATION
#include <systemd/sd-journal.h>

#include "base/diag.h"
#include "base/log.h"
#include "base/utf8.h"

/* Longer messages are cut, since they quote what files contain. */
#define MESSAGE_MAX 1500

/* Escapes file names and quoted text, which others choose.  NULL when memory is out. */
static char *escape(const char *s)
{
	_cleanup_free_ char *head = strndup(s, MESSAGE_MAX);
	_cleanup_free_ char *copy = head ? utf8_escape(head) : NULL;
	char *cut;

	if (!copy || strlen(s) <= MESSAGE_MAX)
		return TAKE_PTR(copy);
	return asprintf(&cut, "%s...", copy) < 0 ? NULL : cut;
}

static struct diag_count *find_file(const struct diags *d, const char *file)
{
	/* Most diagnostics are about the same file as the one before. */
	for (size_t i = d->n_files; i-- > 0;)
		if (streq(d->files[i].file, file))
			return &d->files[i];
	return NULL;
}

/* NULL when memory is out. */
static struct diag_count *get_file(struct diags *d, const char *file)
{
	struct diag_count *count = find_file(d, file);

	if (count)
		return count;
	if (GROW(d->files, d->n_files) < 0)
		return NULL;
	count = &d->files[d->n_files];
	*count = (struct diag_count){ .file = strdup(file) };
	if (!count->file)
		return NULL;
	d->n_files++;
	return count;
}

static size_t *total(struct diags *d, enum diag_level level)
{
	return level == DIAG_ERROR ? &d->n_errors : &d->n_warnings;
}

/* Is there room for one more diagnostic about this file?  Sorting drops duplicates, which makes
 * room. */
static bool has_room(struct diags *d, struct diag_count *count, enum diag_level level)
{
	if (count->kept[level] == DIAGS_KEPT_MAX && !count->more[level])
		diags_sort(d);
	return count->kept[level] < DIAGS_KEPT_MAX;
}

/* Takes over `file` and `message` on success. */
static int keep(struct diags *d, enum diag_level level, const struct position *at, char *file,
		char *message)
{
	if (GROW(d->v, d->n) < 0)
		return -ENOMEM;
	d->v[d->n++] = (struct diag){
		.level = level,
		.file = file,
		.line = at->line,
		.column = at->column,
		.message = message,
		.sequence = d->sequence++,
	};
	return 0;
}

static int add(struct diags *d, enum diag_level level, const struct position *at,
	       const char *message)
{
	_cleanup_free_ char *file = escape(at->file), *text = escape(message);
	struct diag_count *count = file ? get_file(d, file) : NULL;

	if (!count || !text)
		return -ENOMEM;
	if (!has_room(d, count, level)) {
		count->more[level]++;
		return 0;
	}
	if (keep(d, level, at, file, text) < 0)
		return -ENOMEM;
	(void)TAKE_PTR(file);
	(void)TAKE_PTR(text);
	count->kept[level]++;
	return 0;
}

void diags_add(struct diags *d, enum diag_level level, const struct position *at,
	       const char *format, ...)
{
	_cleanup_free_ char *message = NULL;
	va_list ap;
	int r;

	++*total(d, level);
	va_start(ap, format);
	r = vasprintf(&message, format, ap);
	va_end(ap);
	if (r < 0)
		message = NULL; /* vasprintf() leaves it undefined */
	if (!message || add(d, level, at, message) < 0)
		d->lost++;
}

bool diags_may_suggest(const struct diags *d)
{
	return d->n_errors < 100;
}

static int compare_file(const void *a, const void *b)
{
	const struct diag *x = a, *y = b;
	int c = strcmp(x->file, y->file);

	if (c)
		return c;
	return (x->sequence > y->sequence) - (x->sequence < y->sequence);
}

/* A diagnostic with the sequence number of the first one about its file. */
struct ranked {
	size_t file_rank;
	struct diag diag;
};

static int compare_place(const void *a, const void *b)
{
	const struct ranked *x = a, *y = b;

	if (x->file_rank != y->file_rank)
		return x->file_rank < y->file_rank ? -1 : 1;
	if (x->diag.line != y->diag.line)
		return x->diag.line < y->diag.line ? -1 : 1;
	if (x->diag.column != y->diag.column)
		return x->diag.column < y->diag.column ? -1 : 1;
	return (x->diag.sequence > y->diag.sequence) - (x->diag.sequence < y->diag.sequence);
}

/* An alias repeats what is wrong in one place of the file. */
static bool same_diag(const struct diag *a, const struct diag *b)
{
	return a->level == b->level && a->line == b->line && a->column == b->column &&
	       streq(a->file, b->file) && streq(a->message, b->message);
}

static void diag_clear(struct diag *diag)
{
	free(diag->file);
	free(diag->message);
}

static void drop_repeated(struct diags *d)
{
	size_t kept = 0;

	for (size_t i = 0; i < d->n; i++) {
		if (kept && same_diag(&d->v[kept - 1], &d->v[i])) {
			--*total(d, d->v[i].level);
			find_file(d, d->v[i].file)->kept[d->v[i].level]--;
			diag_clear(&d->v[i]);
			continue;
		}
		d->v[kept++] = d->v[i];
	}
	d->n = kept;
}

void diags_sort(struct diags *d)
{
	_cleanup_free_ struct ranked *ranked = NULL;

	if (!d->n)
		return;
	ranked = calloc(d->n, sizeof(*ranked));
	if (!ranked) /* without memory they stay in the order in which they were found */
		return;
	qsort(d->v, d->n, sizeof(*d->v), compare_file);
	for (size_t i = 0; i < d->n; i++) {
		ranked[i].diag = d->v[i];
		if (i && streq(d->v[i].file, d->v[i - 1].file))
			ranked[i].file_rank = ranked[i - 1].file_rank;
		else
			ranked[i].file_rank = d->v[i].sequence;
	}
	qsort(ranked, d->n, sizeof(*ranked), compare_place);
	for (size_t i = 0; i < d->n; i++)
		d->v[i] = ranked[i].diag;
	drop_repeated(d);
}

static const char *level_name(enum diag_level level)
{
	return level == DIAG_ERROR ? "error" : "warning";
}

/* Takes one line; line 0 is about the file as a whole. */
typedef void line_fn(enum diag_level level, const char *file, unsigned line, unsigned column,
		     const char *message, FILE *to);

static void each_more(const struct diags *d, const char *file, line_fn *fn, FILE *to)
{
	const struct diag_count *count = find_file(d, file);
	char message[64];

	for (int level = DIAG_ERROR; level <= DIAG_WARNING; level++) {
		if (!count->more[level])
			continue;
		snprintf(message, sizeof(message), "%zu more %s%s", count->more[level],
			 level_name(level), count->more[level] == 1 ? "" : "s");
		fn(level, file, 0, 0, message, to);
	}
}

static void each_line(const struct diags *d, line_fn *fn, FILE *to)
{
	char lost[64];

	for (size_t i = 0; i < d->n; i++) {
		const struct diag *diag = &d->v[i];

		fn(diag->level, diag->file, diag->line, diag->column, diag->message, to);
		if (i + 1 == d->n || !streq(diag->file, d->v[i + 1].file))
			each_more(d, diag->file, fn, to);
	}
	if (d->lost) {
		snprintf(lost, sizeof(lost), "%zu more, for which there was no memory", d->lost);
		fn(d->n_errors ? DIAG_ERROR : DIAG_WARNING, "sockpol", 0, 0, lost, to);
	}
}

static void print_line(enum diag_level level, const char *file, unsigned line, unsigned column,
		       const char *message, FILE *to)
{
	fputs(file, to);
	if (line)
		fprintf(to, ":%u:%u", line, column);
	fprintf(to, ": %s: %s\n", level_name(level), message);
}

void diags_print(const struct diags *d, FILE *to)
{
	each_line(d, print_line, to);
}

static void journal_line(enum diag_level level, const char *file, unsigned line, unsigned column,
			 const char *message, FILE *to)
{
	const int priority = level == DIAG_ERROR ? LOG_ERR : LOG_WARNING;
	int r;

	if (line)
		r = sd_journal_send("MESSAGE=%s:%u:%u: %s: %s", file, line, column,
				    level_name(level), message, "PRIORITY=%i", priority,
				    "POLICY_FILE=%s", file, "POLICY_LINE=%u", line,
				    "POLICY_COLUMN=%u", column, NULL);
	else
		r = sd_journal_send("MESSAGE=%s: %s: %s", file, level_name(level), message,
				    "PRIORITY=%i", priority, "POLICY_FILE=%s", file, NULL);
	if (r < 0) /* without fields rather than not at all */
		print_line(level, file, line, column, message, to);
}

void diags_log(const struct diags *d)
{
	each_line(d, log_is_journal() ? journal_line : print_line, stderr);
}

char *diags_text(const struct diags *d, size_t size_max)
{
	static const char more[] = "... (the rest is in the agent's log)\n";
	_cleanup_free_ char *text = NULL;
	size_t size = 0, kept;
	char *cut;
	FILE *f = open_memstream(&text, &size);

	if (!f)
		return NULL;
	diags_print(d, f);
	if (fclose(f) == EOF)
		return NULL;
	if (size <= size_max)
		return TAKE_PTR(text);
	for (kept = size_max - strlen(more); kept && text[kept - 1] != '\n';)
		kept--;
	return asprintf(&cut, "%.*s%s", (int)kept, text, more) < 0 ? NULL : cut;
}

void diags_clear(struct diags *d)
{
	for (size_t i = 0; i < d->n; i++)
		diag_clear(&d->v[i]);
	for (size_t i = 0; i < d->n_files; i++)
		free(d->files[i].file);
	free(d->files);
	free(d->v);
	*d = (struct diags){ 0 };
}

const char *excerpt(const char *text, char buf[static EXCERPT_SIZE])
{
	const size_t room = EXCERPT_SIZE - sizeof("...");
	size_t len = strlen(text);

	if (len < EXCERPT_SIZE)
		return strcpy(buf, text);
	len = room;
	while (len &&
	       ((unsigned char)text[len] & 0xc0) == 0x80) /* not in the middle of a character */
		len--;
	snprintf(buf, EXCERPT_SIZE, "%.*s...", (int)len, text);
	return buf;
}

static int compare_names(const void *a, const void *b)
{
	const struct unique_name *x = a, *y = b;
	int c = strcmp(x->name, y->name);

	return c ? c : (x->place > y->place) - (x->place < y->place);
}

void duplicates_report(struct unique_name *v, size_t n, const char *what, struct diags *diags)
{
	const struct unique_name *first = v;

	if (n < 2)
		return;
	qsort(v, n, sizeof(*v), compare_names);
	for (size_t i = 1; i < n; i++) {
		if (!streq(v[i].name, first->name)) {
			first = &v[i];
			continue;
		}
		diag_error(diags, v[i].at, "duplicate %s '%s', first at %s:%u:%u", what,
			   EXCERPT(v[i].name), first->at->file, first->at->line, first->at->column);
	}
}
