// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <errno.h>

#include "option/sockopt.h"

static bool is_allocated(const struct sockopt *s)
{
	return s->size > sizeof(s->inside);
}

const void *sockopt_data(const struct sockopt *s)
{
	if (!s->size)
		return NULL;
	return is_allocated(s) ? s->allocated : s->inside;
}

int sockopt_init(struct sockopt *s, int level, int name, size_t size)
{
	struct sockopt fresh = { .level = level, .name = name, .size = size };

	if (is_allocated(&fresh)) {
		fresh.allocated = calloc(1, size);
		if (!fresh.allocated)
			return -ENOMEM;
	}
	*s = fresh;
	return 0;
}

void sockopt_destroy(struct sockopt *s)
{
	if (is_allocated(s))
		free(s->allocated);
	*s = (struct sockopt){ 0 };
}

int sockopt_get(const struct sockopt *s, void *buf, size_t len)
{
	if (!s->size || len != s->size)
		return -EINVAL;
	memcpy(buf, sockopt_data(s), len);
	return 0;
}

int sockopt_getint(const struct sockopt *s, int *ret)
{
	return sockopt_get(s, ret, sizeof(*ret));
}

int sockopt_set(struct sockopt *s, const void *buf, size_t len)
{
	int r;

	if (!len)
		return -EINVAL;
	if (!s->size) {
		r = sockopt_init(s, s->level, s->name, len);
		if (r < 0)
			return r;
	}
	if (len != s->size)
		return -EINVAL;
	memcpy(is_allocated(s) ? s->allocated : s->inside, buf, len);
	return 0;
}

int sockopt_setint(struct sockopt *s, int value)
{
	return sockopt_set(s, &value, sizeof(value));
}

int sockopt_copy(struct sockopt *to, const struct sockopt *from)
{
	struct sockopt copy = { .level = from->level, .name = from->name };
	int r = from->size ? sockopt_set(&copy, sockopt_data(from), from->size) : 0;

	if (r == 0)
		*to = copy;
	return r;
}
