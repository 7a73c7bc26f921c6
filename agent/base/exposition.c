// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <inttypes.h>

#include "base/exposition.h"
#include "base/utf8.h"

/* Escapes backslashes and newlines, and double quotes in the value of a label.  The format is
 * UTF-8: other bytes are written as \xNN. */
static void write_text(FILE *to, const char *text, bool quoted)
{
	uint32_t c;
	int n;

	for (; *text; text += n > 0 ? n : 1) {
		n = utf8_decode(text, strlen(text), &c);
		if (n < 0)
			fprintf(to, "\\\\x%02x", (unsigned char)*text);
		else if (c == '\\')
			fputs("\\\\", to);
		else if (c == '\n')
			fputs("\\n", to);
		else if (c == '"' && quoted)
			fputs("\\\"", to);
		else
			fwrite(text, 1, (size_t)n, to);
	}
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
