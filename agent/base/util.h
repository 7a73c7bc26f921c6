/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Small helpers that every file may use: ownership by scope, arrays, strings. */
#ifndef SOCKPOL_UTIL_H
#define SOCKPOL_UTIL_H

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ARRAY_SIZE(a)	      (sizeof(a) / sizeof((a)[0]))
#define BIT(n)		      (1u << (n))
#define PRINTF_LIKE(fmt, arg) __attribute__((format(printf, fmt, arg)))

/* DEFINE_CLEANUP(struct foo *, foo_free) makes _cleanup_(foo_free) usable on a pointer variable. */
#define _cleanup_(f) __attribute__((cleanup(cleanup_##f)))
#define DEFINE_CLEANUP(type, f)                                                                    \
	static inline void cleanup_##f(type *p)                                                    \
	{                                                                                          \
		if (*p)                                                                            \
			f(*p);                                                                     \
	}

DEFINE_CLEANUP(FILE *, fclose)

static inline void cleanup_free(void *p)
{
	free(*(void **)p);
}

static inline void cleanup_close(const int *fd)
{
	if (*fd >= 0)
		close(*fd);
}

#define _cleanup_free_	 _cleanup_(free)
#define _cleanup_close_	 _cleanup_(close)
#define _cleanup_fclose_ _cleanup_(fclose)

/* Hands ownership on and disarms the cleanup. */
#define TAKE_PTR(p)                                                                                \
	({                                                                                         \
		typeof(p) taken_ = (p);                                                            \
		(p) = NULL;                                                                        \
		taken_;                                                                            \
	})

#define TAKE_FD(fd)                                                                                \
	({                                                                                         \
		int taken_ = (fd);                                                                 \
		(fd) = -1;                                                                         \
		taken_;                                                                            \
	})

/* Returns what a noun ends with after the number n. */
static inline const char *plural(size_t n)
{
	return n == 1 ? "" : "s";
}

static inline bool streq(const char *a, const char *b)
{
	return strcmp(a, b) == 0;
}

struct stat;
/* Can nobody but root or this user write what it is of?  (Who owns it can.) */
bool only_we_write(const struct stat *st);

/* Formats a text, owned by the caller; NULL: memory is out. */
char *text_format(const char *format, ...) PRINTF_LIKE(1, 2);
/* Formats a sentence into *ret, owned by the caller.  Gives r, or -ENOMEM (*ret is NULL then). */
#define sentence(ret, r, ...) ((*(ret) = text_format(__VA_ARGS__)) ? (r) : -ENOMEM)

/*
 * Makes room for one more element in a growing array: doubles *v when n is a power of two. Returns
 * 0 or -ENOMEM (*v is then unchanged).
 */
int grow_array(void **v, size_t n, size_t element_size);
#define GROW(v, n) grow_array((void **)&(v), (n), sizeof(*(v)))
/* Appends an element to such an array.  Gives 0 or -ENOMEM. */
#define APPEND(v, n, ...) (GROW(v, n) < 0 ? -ENOMEM : ((v)[(n)++] = (__VA_ARGS__), 0))

#endif
