// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <sys/stat.h>

#include <bpf/libbpf.h>

#include "base/log.h"
#include "base/utf8.h"

static int max_level = LOG_INFO;
/* With stderr connected to the journal each line begins with its priority, as in sd-daemon(3). */
static bool to_journal;
static bool has_erred;

int log_message_errno(int level, int err, const char *format, ...)
{
	_cleanup_free_ char *escaped = NULL;
	char text[2048];
	va_list ap;

	if (level <= LOG_ERR)
		has_erred = true;
	if (level > max_level)
		return -abs(err);
	va_start(ap, format);
	vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	escaped = utf8_escape(text); /* others choose the names of cgroups and files */
	if (to_journal)
		fprintf(stderr, "<%d>", level);
	fprintf(stderr, "%s", escaped ? escaped : "out of memory");
	if (err)
		fprintf(stderr, ": %s", strerror(abs(err)));
	fprintf(stderr, "\n");
	return -abs(err);
}

bool log_has_erred(void)
{
	return has_erred;
}

bool log_is_journal(void)
{
	return to_journal;
}

void log_set_level(int level)
{
	max_level = level;
}

bool log_is_shown(int level)
{
	return level <= max_level;
}

void log_lines(int level, const char *prefix, const char *text)
{
	while (*text && log_is_shown(level)) {
		size_t n = strcspn(text, "\n");

		log_message(level, "%s: %.*s", prefix, (int)n, text);
		text += n + (text[n] == '\n');
	}
}

/* libbpf reports its internals, so its messages go one level down: the caller says what matters. */
static int libbpf_print(enum libbpf_print_level level, const char *format, va_list ap)
{
	static const int levels[] = {
		[LIBBPF_WARN] = LOG_INFO + 1,
		[LIBBPF_INFO] = LOG_DEBUG,
		[LIBBPF_DEBUG] = LOG_DEBUG + 1,
	};
	_cleanup_free_ char *text = NULL;

	if (!log_is_shown(levels[level]))
		return 0;
	if (vasprintf(&text, format, ap) < 0) {
		text = NULL;
		return 0;
	}
	log_lines(levels[level], "libbpf", text + (strncmp(text, "libbpf: ", 8) == 0 ? 8 : 0));
	return 0;
}

/* JOURNAL_STREAM is inherited by children with another stderr: see systemd.exec(5). */
static bool stderr_is_journal(void)
{
	const char *stream = getenv("JOURNAL_STREAM");
	_cleanup_free_ char *ours = NULL;
	struct stat st;

	return stream && fstat(STDERR_FILENO, &st) == 0 &&
	       asprintf(&ours, "%ju:%ju", (uintmax_t)st.st_dev, (uintmax_t)st.st_ino) >= 0 &&
	       streq(stream, ours);
}

void log_setup(void)
{
	static const char *const names[] = {
		[LOG_ERR] = "err",   [LOG_WARNING] = "warning", [LOG_NOTICE] = "notice",
		[LOG_INFO] = "info", [LOG_DEBUG] = "debug",
	};
	const char *wanted = getenv("SOCKPOL_LOG_LEVEL");

	to_journal = stderr_is_journal();
	for (int i = LOG_ERR; wanted && i <= LOG_DEBUG; i++)
		if (streq(wanted, names[i]) || (wanted[0] == '0' + i && !wanted[1]))
			log_set_level(i);
	libbpf_set_print(libbpf_print);
}
