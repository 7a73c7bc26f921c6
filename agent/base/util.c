// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <errno.h>
#include <stdint.h>
#include <sys/stat.h>

#include "base/util.h"

int grow_array(void **v, size_t n, size_t element_size)
{
	size_t bytes;
	void *grown;

	if (n & (n - 1))
		return 0;
	if (__builtin_mul_overflow(n ? n * 2 : 1, element_size, &bytes))
		return -ENOMEM;
	grown = realloc(*v, bytes);
	if (!grown)
		return -ENOMEM;
	*v = grown;
	return 0;
}

bool only_we_write(const struct stat *st)
{
	return (st->st_uid == 0 || st->st_uid == geteuid()) && !(st->st_mode & (S_IWGRP | S_IWOTH));
}

char *text_format(const char *format, ...)
{
	va_list ap;
	char *text;
	int n;

	va_start(ap, format);
	n = vasprintf(&text, format, ap);
	va_end(ap);
	return n < 0 ? NULL : text;
}
