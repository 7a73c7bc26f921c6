// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <errno.h>

#include <bpf/bpf.h>

#include "kernel/entry.h"

int entry_read(const struct kernel *k, uint64_t cgroup_id, struct sp_cgroup *ret)
{
	int fd = kernel_map_fd(k, KERNEL_MAP_CGROUPS);

	if (bpf_map_lookup_elem(fd, &cgroup_id, ret) < 0)
		return -errno;
	return ret->id == cgroup_id ? 0 : -ENOENT; /* it was released while we read */
}

static struct sp_cgroup entry_of(const struct node *n)
{
	const struct place *a = &n->places[0], *b = &n->places[1];

	return (struct sp_cgroup){
		.id = n->id,
		.policy = { a->policy, b->policy },
		.class = { a->class_number, b->class_number },
		.glob = { a->glob, b->glob },
	};
}

/* Where it has the slot, or nobody.  Who is faster than we takes it: then the hash has to do. */
static void write_half(const struct kernel *k, uint64_t cgroup_id, unsigned half, uint64_t word)
{
	__u64 *at = &kernel_slots(k)[SP_CGROUP_SLOT(cgroup_id)].half[half];
	uint64_t now = __atomic_load_n(at, __ATOMIC_RELAXED);

	if (!now || SP_SLOT_IS_OF(now, cgroup_id))
		__atomic_store_n(at, word, __ATOMIC_RELEASE);
}

void entry_write_slot(const struct kernel *k, const struct sp_cgroup *entry)
{
	for (unsigned half = 0; half < 2; half++)
		write_half(k, entry->id, half, SP_SLOT_WORD(entry->id, entry->policy[half]));
}

static void clear_slot(const struct kernel *k, uint64_t cgroup_id)
{
	for (unsigned half = 0; half < 2; half++)
		write_half(k, cgroup_id, half, 0);
}

int entry_write(const struct kernel *k, struct node *n)
{
	int fd = kernel_map_fd(k, KERNEL_MAP_CGROUPS), r;
	struct sp_cgroup value = entry_of(n);

	/* Whenever we may be killed: the slot says what the entry says, or nothing. */
	clear_slot(k, n->id);
	r = bpf_map_update_elem(fd, &n->id, &value, n->written ? BPF_EXIST : BPF_ANY) < 0 ? -errno
											  : 0;
	if (n->written && r == -ENOENT)
		return 0;
	if (r < 0)
		return r;
	entry_write_slot(k, &value);
	n->written = true;
	return 0;
}

int entry_delete(const struct kernel *k, struct node *n)
{
	n->written = false;
	clear_slot(k, n->id);
	return bpf_map_delete_elem(kernel_map_fd(k, KERNEL_MAP_CGROUPS), &n->id) < 0 &&
			       errno != ENOENT
		       ? -errno
		       : 0;
}

struct place entry_place(const struct sp_cgroup *entry, unsigned half)
{
	return (struct place){
		.policy = entry->policy[half],
		.class_number = entry->class[half],
		.glob = entry->glob[half],
	};
}

bool entry_is(const struct sp_cgroup *entry, const struct node *n)
{
	struct sp_cgroup wanted = entry_of(n);

	return memcmp(entry, &wanted, sizeof(wanted)) == 0;
}

bool entry_is_settled(const struct node *n)
{
	const struct place *a = &n->places[0], *b = &n->places[1];

	return a->policy == b->policy && a->class_number == b->class_number && a->glob == b->glob;
}
