// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <errno.h>

#include <bpf/bpf.h>

#include "kernel/map_contents.h"
#include "kernel/pin.h"

/* Bucket by bucket, each under its lock, so that no key comes twice. */
static int read_batches(int fd, const struct bpf_map_info *map, struct map_contents *c)
{
	__u32 bucket, *from = NULL; /* where the kernel goes on */
	int r = 0;

	while (r == 0 && c->n < map->max_entries) {
		__u32 n = map->max_entries - (__u32)c->n;

		r = bpf_map_lookup_batch(fd, from, &bucket, (char *)c->keys + c->n * map->key_size,
					 (char *)c->values + c->n * map->value_size, &n, NULL);
		if (r < 0)
			r = -errno;
		if (r == 0 || r == -ENOENT)
			c->n += n;
		from = &bucket;
	}
	/* No room for the rest of a bucket: more came than the map holds at a time. */
	return r == -ENOENT || (r == -ENOSPC && c->n) ? 0 : r;
}

int map_contents_read(int fd, struct map_contents *ret)
{
	struct map_contents c = { 0 };
	struct bpf_map_info map;
	int r = pin_map_info(fd, &map);

	if (r < 0)
		return r;
	c.keys = calloc(map.max_entries, map.key_size);
	c.values = calloc(map.max_entries, map.value_size);
	r = c.keys && c.values ? read_batches(fd, &map, &c) : -ENOMEM;
	if (r < 0)
		map_contents_clear(&c);
	else
		*ret = c;
	return r;
}

void map_contents_clear(struct map_contents *c)
{
	free(c->keys);
	free(c->values);
	*c = (struct map_contents){ 0 };
}
