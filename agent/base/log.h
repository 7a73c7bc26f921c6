/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The one module that speaks to the administrator outside of a command's own output. */
#ifndef SOCKPOL_LOG_H
#define SOCKPOL_LOG_H

#include <syslog.h>

#include "base/util.h"

/* Reads JOURNAL_STREAM and SOCKPOL_LOG_LEVEL (0-7, or a syslog name); takes over libbpf's
 * messages. */
void log_setup(void);
void log_set_level(int level); /* LOG_ERR ... LOG_DEBUG; default LOG_INFO */

/* Is stderr the journal?  Entries with fields of their own then go there by sd_journal_send(). */
bool log_is_journal(void);

bool log_is_shown(int level);

/* Logs a text of several lines, such as a verifier's log, each line behind "PREFIX: ". */
void log_lines(int level, const char *prefix, const char *text);

bool log_has_erred(void); /* Was an error logged? */

/* Logs the message with ": <errno in words>" behind it.  err: an errno, of either sign; 0: none.
 * Returns the negative errno. */
int log_message_errno(int level, int err, const char *format, ...) PRINTF_LIKE(3, 4);

#define log_message(level, ...)	    ((void)log_message_errno(level, 0, __VA_ARGS__))
#define log_debug(...)		    log_message(LOG_DEBUG, __VA_ARGS__)
#define log_info(...)		    log_message(LOG_INFO, __VA_ARGS__)
#define log_notice(...)		    log_message(LOG_NOTICE, __VA_ARGS__)
#define log_warning(...)	    log_message(LOG_WARNING, __VA_ARGS__)
#define log_error(...)		    log_message(LOG_ERR, __VA_ARGS__)
#define log_warning_errno(err, ...) log_message_errno(LOG_WARNING, err, __VA_ARGS__)
#define log_error_errno(err, ...)   log_message_errno(LOG_ERR, err, __VA_ARGS__)
#define log_oom()		    log_message_errno(LOG_ERR, ENOMEM, "cannot go on")

#endif
