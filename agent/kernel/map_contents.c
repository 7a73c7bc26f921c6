// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <errno.h>

#include <bpf/bpf.h>

#include "kernel/map_contents.h"
#include "kernel/pin.h"

struct reading {
	int fd;
	size_t key_size, value_size;
	size_t room; /* elements: a map never holds more than its max_entries */
	struct map_contents c;
};

static void *key_at(const struct reading *m, size_t i)
{
	return (char *)m->c.keys + i * m->key_size;
}

static void *value_at(const struct reading *m, size_t i)
{
	return (char *)m->c.values + i * m->value_size;
}

/* Bucket by bucket, each under its lock, so that no key comes twice. */
static int read_batches(struct reading *m)
{
	__u32 bucket, *from = NULL; /* where the kernel goes on */
	int r = 0;

	while (r == 0 && m->c.n < m->room) {
		__u32 n = (__u32)(m->room - m->c.n);

		r = bpf_map_lookup_batch(m->fd, from, &bucket, key_at(m, m->c.n),
					 value_at(m, m->c.n), &n, NULL);
		if (r < 0)
			r = -errno;
		if (r == 0 || r == -ENOENT)
			m->c.n += n;
		from = &bucket;
	}
	/* No room for the rest of a bucket: more came than the map holds at a time. */
	return r == -ENOENT || (r == -ENOSPC && m->c.n) ? 0 : r;
}

static int compare_keys(const void *a, const void *b, void *key_size)
{
	return memcmp(a, b, *(size_t *)key_size);
}

/*
 * The kernel starts over when the key that it is to go on from is gone.  A walk that does so again
 * and again ends after as many steps as could be needed, and what it saw twice counts once.
 */
static int walk_keys(struct reading *m)
{
	size_t n = 0;

	for (; n < m->room; n++) {
		const void *key = n ? key_at(m, n - 1) : NULL;

		if (bpf_map_get_next_key(m->fd, key, key_at(m, n)) < 0)
			break;
	}
	if (n < m->room && errno != ENOENT)
		return -errno;
	if (n)
		qsort_r(m->c.keys, n, m->key_size, compare_keys, &m->key_size);
	for (size_t i = 0; i < n; i++)
		if (!i || memcmp(key_at(m, i), key_at(m, i - 1), m->key_size) != 0)
			memmove(key_at(m, m->c.n++), key_at(m, i), m->key_size);
	return 0;
}

static int look_up_values(struct reading *m)
{
	size_t n = m->c.n;

	m->c.n = 0;
	for (size_t i = 0; i < n; i++) {
		if (bpf_map_lookup_elem(m->fd, key_at(m, i), value_at(m, m->c.n)) == 0)
			memmove(key_at(m, m->c.n++), key_at(m, i), m->key_size);
		else if (errno != ENOENT) /* gone meanwhile */
			return -errno;
	}
	return 0;
}

static int read_all(struct reading *m)
{
	int r = read_batches(m);

	if (r != -EINVAL && r != -ENOTSUP && r != -524) /* the kernel's ENOTSUPP */
		return r;
	r = walk_keys(m);
	return r < 0 ? r : look_up_values(m);
}

int map_contents_read(int fd, struct map_contents *ret)
{
	struct reading m = { .fd = fd };
	struct bpf_map_info info;
	int r = pin_map_info(fd, &info);

	if (r < 0)
		return r;
	m.room = info.max_entries;
	m.key_size = info.key_size;
	m.value_size = info.value_size;
	m.c.keys = calloc(m.room, m.key_size);
	m.c.values = calloc(m.room, m.value_size);
	r = m.c.keys && m.c.values ? read_all(&m) : -ENOMEM;
	if (r < 0)
		map_contents_clear(&m.c);
	else
		*ret = m.c;
	return r;
}

void map_contents_clear(struct map_contents *c)
{
	free(c->keys);
	free(c->values);
	*c = (struct map_contents){ 0 };
}
