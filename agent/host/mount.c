// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <errno.h>

#include "host/mount.h"

/* Fields of a line before the optional ones. */
enum field {
	FIELD_ID,
	FIELD_PARENT,
	FIELD_DEVICE,
	FIELD_ROOT,
	FIELD_POINT,
	FIELD_MAX,
};

/* Undoes the kernel's escapes of blanks and backslashes (\040), in place. */
static char *unescape(char *s)
{
	char *from = s, *to = s;

	for (; *from; from++) {
		if (from[0] == '\\' && from[1] >= '0' && from[1] <= '3' && from[2] >= '0' &&
		    from[2] <= '7' && from[3] >= '0' && from[3] <= '7') {
			*to++ = (char)((from[1] - '0') << 6 | (from[2] - '0') << 3 |
				       (from[3] - '0'));
			from += 3;
		} else {
			*to++ = *from;
		}
	}
	*to = '\0';
	return s;
}

/* Splits m->line into its fields; returns false if the line is not whole. */
static bool split(struct mount *m)
{
	char *rest = m->line, *field, *fields[FIELD_MAX];
	size_t n = 0;

	while ((field = strsep(&rest, " "))) {
		if (n < FIELD_MAX)
			fields[n++] = field;
		else if (streq(field, "-"))
			break;
	}
	field = strsep(&rest, " \n");
	if (n < FIELD_MAX || !field)
		return false;
	m->root = unescape(fields[FIELD_ROOT]);
	m->point = unescape(fields[FIELD_POINT]);
	m->type = field;
	return true;
}

int mount_next(FILE *mountinfo, struct mount *m)
{
	errno = 0;
	while (getline(&m->line, &m->size, mountinfo) >= 0)
		if (split(m))
			return 1;
	return errno ? -errno : 0;
}
