// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <errno.h>

#include <bpf/bpf.h>

#include "base/log.h"
#include "kernel/slots.h"

#define THREAD_STACK_SIZE (64ul * 1024)

/*
 * An update of a slot returns only after a grace period of RCU (maybe_wait_bpf_programs(),
 * kernel/bpf/syscall.c), which takes some ten milliseconds.  Those of all slots are waited for at
 * once, in a thread each.
 */
static void *fill_one(void *p)
{
	struct slot *s = p;
	int r = s->inner < 0 ? bpf_map_delete_elem(s->outer, &s->slot)
			     : bpf_map_update_elem(s->outer, &s->slot, &s->inner, BPF_ANY);

	s->result = r < 0 && !(s->inner < 0 && errno == ENOENT) ? -errno : 0;
	return NULL;
}

int slots_fill(struct slots *all)
{
	pthread_attr_t attr;
	int r = 0;

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, THREAD_STACK_SIZE);
	for (size_t i = 1; i < all->n; i++)
		all->v[i].started =
			pthread_create(&all->v[i].thread, &attr, fill_one, &all->v[i]) == 0;
	pthread_attr_destroy(&attr);
	for (size_t i = 0; i < all->n; i++)
		if (!all->v[i].started)
			fill_one(&all->v[i]);
	for (size_t i = 0; i < all->n; i++) {
		struct slot *s = &all->v[i];

		if (s->started)
			pthread_join(s->thread, NULL);
		if (s->result < 0)
			r = log_error_errno(s->result, "Cannot change the map `%s`",
					    map_table[s->id].name);
	}
	return r;
}

void slots_close(struct slots *all)
{
	for (size_t i = 0; i < all->n; i++)
		if (all->v[i].inner >= 0)
			close(all->v[i].inner);
	all->n = 0;
}
