// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <errno.h>

#include <bpf/bpf.h>

#include "compile/map_half.h"

#define BATCH 256u /* elements */

void map_half_init(struct map_half *h, const struct kernel *k, enum kernel_map map,
		   size_t value_size, uint32_t first, uint32_t room)
{
	*h = (struct map_half){
		.kernel = k,
		.map = map,
		.value_size = value_size,
		.first = first,
		.room = room,
	};
}

void map_half_clear(struct map_half *h)
{
	free(h->waiting);
	h->waiting = NULL;
}

static void *waiting_at(const struct map_half *h, uint32_t n)
{
	return h->waiting + (n - h->written) * h->value_size;
}

static int write_batch(const struct map_half *h, uint32_t from, uint32_t n)
{
	LIBBPF_OPTS(bpf_map_batch_opts, opts);
	uint32_t keys[BATCH];

	for (uint32_t i = 0; i < n; i++)
		keys[i] = h->first + from + i;
	return bpf_map_update_batch(kernel_map_fd(h->kernel, h->map), keys, waiting_at(h, from), &n,
				    &opts) < 0
		       ? -errno
		       : 0;
}

/* Where they count only, what waits is forgotten. */
static int write_waiting(struct map_half *h)
{
	int r = 0;

	for (uint32_t from = h->written; from < h->n && !map_half_is_too_small(h) && r == 0;) {
		uint32_t n = h->n - from < BATCH ? h->n - from : BATCH;

		r = write_batch(h, from, n);
		from += n;
	}
	if (r == 0)
		h->written = h->n;
	return r;
}

static int make_room(struct map_half *h, uint32_t n)
{
	size_t wanted = h->n - h->written + n, room = h->waiting_room ? h->waiting_room : BATCH;
	unsigned char *grown;

	if (h->n + n > h->room && !h->counts)
		return -ENOSPC;
	if (wanted <= h->waiting_room)
		return 0;
	while (room < wanted)
		room *= 2;
	grown = realloc(h->waiting, room * h->value_size);
	if (!grown)
		return -ENOMEM;
	h->waiting = grown;
	h->waiting_room = room;
	return 0;
}

static int append(struct map_half *h, const void *values, uint32_t n)
{
	int r = make_room(h, n);

	if (r < 0)
		return r;
	memcpy(waiting_at(h, h->n), values, n * h->value_size);
	h->n += n;
	return 0;
}

static int named(const struct map_half *h, int r, const char **ret_what)
{
	if (r < 0)
		*ret_what = kernel_map_names[h->map];
	return r;
}

int map_half_append(struct map_half *h, const void *value, const char **ret_what)
{
	return named(h, append(h, value, 1), ret_what);
}

int map_half_append_run(struct map_half *h, const void *values, uint32_t n, uint32_t *ret_first,
			const char **ret_what)
{
	for (uint32_t at = h->since; n && at + n <= h->n; at++) {
		if (memcmp(waiting_at(h, at), values, n * h->value_size) == 0) {
			*ret_first = h->first + at;
			return 0;
		}
	}
	*ret_first = map_half_next(h);
	return n ? named(h, append(h, values, n), ret_what) : 0;
}

int map_half_begin(struct map_half *h, const char **ret_what)
{
	int r = h->n - h->written >= BATCH ? write_waiting(h) : 0;

	h->since = h->n;
	return named(h, r, ret_what);
}

int map_half_flush(struct map_half *h, const char **ret_what)
{
	int r = map_half_is_too_small(h) ? -ENOSPC : write_waiting(h);

	h->since = h->n;
	return named(h, r, ret_what);
}

void map_half_cut(struct map_half *h, uint32_t n)
{
	h->n = n;
	if (h->written > n)
		h->written = n;
	if (h->since > n)
		h->since = n;
}
