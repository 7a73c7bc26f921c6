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

	return copy && strlen(s) > MESSAGE_MAX ? text_format("%s...", copy) : TAKE_PTR(copy);
}

/* Takes over `name`.  NULL when memory is out. */
static struct diag_file *get_file(struct diags *d, char **name)
{
	/* Most diagnostics are about the same file as the one before. */
	for (size_t i = d->n_files; i-- > 0;)
		if (streq(d->files[i].name, *name))
			return &d->files[i];
	if (GROW(d->files, d->n_files) < 0)
		return NULL;
	d->files[d->n_files] = (struct diag_file){ .name = TAKE_PTR(*name) };
	return &d->files[d->n_files++];
}

static size_t *total(struct diags *d, enum diag_level level)
{
	return level == DIAG_ERROR ? &d->n_errors : &d->n_warnings;
}

/* Is there room for one more diagnostic about this file?  Sorting drops duplicates, which makes
 * room. */
static bool has_room(struct diags *d, const struct diag_file *file, enum diag_level level)
{
	if (file->kept[level] == DIAGS_KEPT_MAX && !file->more[level])
		diags_sort(d);
	return file->kept[level] < DIAGS_KEPT_MAX;
}

static int add(struct diags *d, enum diag_level level, const struct position *at,
	       const char *message)
{
	_cleanup_free_ char *name = escape(at->file), *text = escape(message);
	struct diag_file *file = name ? get_file(d, &name) : NULL;

	if (!file || !text)
		return -ENOMEM;
	if (!has_room(d, file, level)) {
		file->more[level]++;
		return 0;
	}
	if (GROW(d->v, d->n) < 0)
		return -ENOMEM;
	d->v[d->n++] = (struct diag){
		.level = level,
		.nth_file = (size_t)(file - d->files),
		.file = file->name,
		.line = at->line,
		.column = at->column,
		.message = TAKE_PTR(text),
		.sequence = d->sequence++,
	};
	file->kept[level]++;
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

static int compare_diags(const void *a, const void *b)
{
	const struct diag *x = a, *y = b;

	if (x->nth_file != y->nth_file)
		return x->nth_file < y->nth_file ? -1 : 1;
	if (x->line != y->line)
		return x->line < y->line ? -1 : 1;
	if (x->column != y->column)
		return x->column < y->column ? -1 : 1;
	return (x->sequence > y->sequence) - (x->sequence < y->sequence);
}

/* An alias repeats what is wrong in one place of the file. */
static bool same_diag(const struct diag *a, const struct diag *b)
{
	return a->level == b->level && a->line == b->line && a->column == b->column &&
	       a->nth_file == b->nth_file && streq(a->message, b->message);
}

void diags_sort(struct diags *d)
{
	size_t kept = 0;

	if (d->n)
		qsort(d->v, d->n, sizeof(*d->v), compare_diags);
	for (size_t i = 0; i < d->n; i++) {
		const enum diag_level level = d->v[i].level;

		if (!kept || !same_diag(&d->v[kept - 1], &d->v[i])) {
			d->v[kept++] = d->v[i];
			continue;
		}
		--*total(d, level);
		d->files[d->v[i].nth_file].kept[level]--;
		free(d->v[i].message);
	}
	d->n = kept;
}

const char *diag_level_name(enum diag_level level)
{
	return level == DIAG_ERROR ? "error" : "warning";
}

/* Says how many more there are about the file of the last line. */
static void each_more(const struct diags *d, const struct diag *last, diag_fn *fn, void *userdata)
{
	const size_t *more = d->files[last->nth_file].more;
	char message[64];

	for (int level = DIAG_ERROR; level <= DIAG_WARNING; level++) {
		if (!more[level])
			continue;
		snprintf(message, sizeof(message), "%zu more %s%s", more[level],
			 diag_level_name(level), plural(more[level]));
		fn(&(struct diag){ .level = level, .file = last->file, .message = message },
		   userdata);
	}
}

void diags_each(const struct diags *d, diag_fn *fn, void *userdata)
{
	char message[64];
	const struct diag lost = { .level = d->n_errors ? DIAG_ERROR : DIAG_WARNING,
				   .file = "sockpol",
				   .message = message };

	for (size_t i = 0; i < d->n; i++) {
		fn(&d->v[i], userdata);
		if (i + 1 == d->n || d->v[i].nth_file != d->v[i + 1].nth_file)
			each_more(d, &d->v[i], fn, userdata);
	}
	if (d->lost) {
		snprintf(message, sizeof(message), "%zu more, for which there was no memory",
			 d->lost);
		fn(&lost, userdata);
	}
}

static void print_line(const struct diag *l, void *userdata)
{
	FILE *to = userdata;

	fputs(l->file, to);
	if (l->line)
		fprintf(to, ":%u:%u", l->line, l->column);
	fprintf(to, ": %s: %s\n", diag_level_name(l->level), l->message);
}

void diags_print(const struct diags *d, FILE *to)
{
	diags_each(d, print_line, to);
}

static void journal_line(const struct diag *l, void *userdata)
{
	const int priority = l->level == DIAG_ERROR ? LOG_ERR : LOG_WARNING;
	int r;

	if (l->line)
		r = sd_journal_send("MESSAGE=%s:%u:%u: %s: %s", l->file, l->line, l->column,
				    diag_level_name(l->level), l->message, "PRIORITY=%i", priority,
				    "POLICY_FILE=%s", l->file, "POLICY_LINE=%u", l->line,
				    "POLICY_COLUMN=%u", l->column, NULL);
	else
		r = sd_journal_send("MESSAGE=%s: %s: %s", l->file, diag_level_name(l->level),
				    l->message, "PRIORITY=%i", priority, "POLICY_FILE=%s", l->file,
				    NULL);
	if (r < 0) /* without fields rather than not at all */
		print_line(l, userdata);
}

void diags_log(struct diags *d)
{
	diags_sort(d);
	diags_each(d, log_is_journal() ? journal_line : print_line, stderr);
}

char *diags_text(const struct diags *d, size_t size_max)
{
	static const char more[] = "... (the rest is in the agent's log)\n";
	_cleanup_free_ char *text = NULL;
	size_t size = 0, kept;
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
	return text_format("%.*s%s", (int)kept, text, more);
}

void diags_clear(struct diags *d)
{
	for (size_t i = 0; i < d->n; i++)
		free(d->v[i].message);
	for (size_t i = 0; i < d->n_files; i++)
		free(d->files[i].name);
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
