// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <errno.h>

#include <bpf/bpf.h>

#include "map_half.h"

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

static int write_waiting(struct map_half *h)
{
	LIBBPF_OPTS(bpf_map_batch_opts, opts);
	uint32_t keys[BATCH], n = h->n - h->written;

	if (!n)
		return 0;
	for (uint32_t i = 0; i < n; i++)
		keys[i] = h->first + h->written + i;
	if (bpf_map_update_batch(kernel_map_fd(h->kernel, h->map), keys, h->waiting, &n, &opts) < 0)
		return -errno;
	h->written = h->n;
	return 0;
}

static int append(struct map_half *h, const void *value)
{
	int r = 0;

	if (h->n >= h->room) {
		h->n += h->counts;
		return h->counts ? 0 : -ENOSPC;
	}
	if (!h->waiting)
		h->waiting = malloc(BATCH * h->value_size);
	if (!h->waiting)
		return -ENOMEM;
	if (h->n - h->written == BATCH)
		r = write_waiting(h);
	if (r < 0)
		return r;
	memcpy(h->waiting + (h->n - h->written) * h->value_size, value, h->value_size);
	h->n++;
	return 0;
}

int map_half_append(struct map_half *h, const void *value, const char **ret_what)
{
	int r = append(h, value);

	if (r < 0)
		*ret_what = kernel_map_names[h->map];
	return r;
}

int map_half_flush(struct map_half *h, const char **ret_what)
{
	int r = map_half_is_too_small(h) ? -ENOSPC : write_waiting(h);

	if (r < 0)
		*ret_what = kernel_map_names[h->map];
	return r;
}

void map_half_cut(struct map_half *h, uint32_t n)
{
	h->n = n;
	if (h->written > n)
		h->written = n;
}
