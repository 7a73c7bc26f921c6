// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <inttypes.h>

#include "base/exposition.h"
#include "base/utf8.h"

/* Escapes backslashes and newlines, and double quotes in the value of a label. */
static void write_escaped(FILE *to, const char *text, bool quoted)
{
	for (; *text; text++) {
		if (*text == '\\')
			fputs("\\\\", to);
		else if (*text == '\n')
			fputs("\\n", to);
		else if (*text == '"' && quoted)
			fputs("\\\"", to);
		else
			fputc(*text, to);
	}
}

/* The format is UTF-8: other bytes are written as \xNN. */
static void write_text(FILE *to, const char *text, bool quoted)
{
	_cleanup_free_ char *printable = NULL;
	const char *c = text;
	uint32_t character;

	while (*c) {
		int n = utf8_decode(c, strlen(c), &character);

		if (n < 0)
			break;
		c += n;
	}
	if (*c)
		printable = utf8_escape(text);
	write_escaped(to, *c ? printable ? printable : "?" : text, quoted);
}

void exposition_family(FILE *to, const char *name, const char *type, const char *help)
{
	fprintf(to, "# HELP %s ", name);
	write_text(to, help, false);
	fprintf(to, "\n# TYPE %s %s\n", name, type);
}

void exposition_sample(FILE *to, const char *name, const struct exposition_label *labels,
		       uint64_t value)
{
	size_t n = 0;

	fputs(name, to);
	for (; labels && n < EXPOSITION_LABELS_MAX && labels[n].name; n++) {
		fprintf(to, "%s%s=\"", n ? "," : "{", labels[n].name);
		write_text(to, labels[n].value, true);
		fputc('"', to);
	}
	fprintf(to, "%s %" PRIu64 "\n", n ? "}" : "", value);
}

void exposition_time(FILE *to, const char *name, uint64_t usec)
{
	fprintf(to, "%s %" PRIu64 ".%06" PRIu64 "\n", name, usec / 1000000, usec % 1000000);
}
