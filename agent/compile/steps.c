// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <errno.h>

#include <bpf/bpf.h>

#include "kernel/map_contents.h"
#include "compile/map_half.h"
#include "base/pair_set.h"
#include "compile/steps.h"

#define BATCH 256u
/* Class numbers of the halves differ in this bit. */
#define CLASS_HALF_SHIFT 31

struct steps {
	const struct kernel *kernel;
	const struct machine *machine;
	unsigned half;
	struct map_half states, edges;
	struct pair_set known;	  /* as they are keys of the map */
	struct sp_step_key *keys; /* all of them */
	struct sp_step waiting[BATCH];
	uint32_t n, written, room;
	bool counts;
};

int steps_new(const struct kernel *k, const struct machine *m, unsigned half, struct steps **ret)
{
	const struct kernel_sizes *sizes = kernel_sizes_of(k);
	struct steps *s = calloc(1, sizeof(*s));

	if (!s)
		return -ENOMEM;
	s->kernel = k;
	s->machine = m;
	s->half = half;
	s->room = sizes->steps;
	map_half_init(&s->states, k, KERNEL_MAP_GLOB_STATES, sizeof(struct sp_glob_state),
		      half * sizes->glob_states, sizes->glob_states);
	map_half_init(&s->edges, k, KERNEL_MAP_GLOB_EDGES, sizeof(struct sp_glob_edge),
		      half * sizes->glob_edges, sizes->glob_edges);
	*ret = s;
	return 0;
}

static int delete_keys(const struct kernel *k, const struct sp_step_key *keys, uint32_t n)
{
	int fd = kernel_map_fd(k, KERNEL_MAP_STEPS), r = 0;

	for (uint32_t i = 0; i < n; i++)
		if (bpf_map_delete_elem(fd, &keys[i]) < 0 && errno != ENOENT)
			r = -errno;
	return r;
}

int steps_erase(struct steps *s)
{
	int r = delete_keys(s->kernel, s->keys, s->written);

	s->n = s->written = 0;
	pair_set_clear(&s->known);
	return r;
}

void steps_free(struct steps *s)
{
	map_half_clear(&s->states);
	map_half_clear(&s->edges);
	pair_set_clear(&s->known);
	free(s->keys);
	free(s);
}

uint32_t steps_class_number(const struct steps *s, const struct cgroup_class *k)
{
	return k ? ((uint32_t)s->half << CLASS_HALF_SHIFT) + (uint32_t)cascade_class_index(k) + 1
		 : 0;
}

uint32_t steps_glob(const struct steps *s, uint32_t state)
{
	return state ? s->states.first + state : 0;
}

uint32_t steps_state(const struct steps *s, uint32_t glob)
{
	return glob ? glob - s->states.first : 0;
}

static int write_states(struct steps *s, const struct machine_tables *tables, const char **ret_what)
{
	int r = 0;

	map_half_cut(&s->states, 0);
	for (uint32_t i = 0; i < tables->n_states && r == 0; i++) {
		struct sp_glob_state state = tables->states[i];

		state.first_edge += s->edges.first;
		state.otherwise = steps_glob(s, state.otherwise);
		r = map_half_begin(&s->states, ret_what);
		if (r == 0)
			r = map_half_append(&s->states, &state, ret_what);
	}
	return r < 0 ? r : map_half_flush(&s->states, ret_what);
}

static int write_edges(struct steps *s, const struct machine_tables *tables, const char **ret_what)
{
	int r = 0;

	map_half_cut(&s->edges, 0);
	for (uint32_t i = 0; i < tables->n_edges && r == 0; i++) {
		struct sp_glob_edge edge = tables->edges[i];

		edge.from = steps_glob(s, edge.from);
		edge.to = steps_glob(s, edge.to);
		r = map_half_begin(&s->edges, ret_what);
		if (r == 0)
			r = map_half_append(&s->edges, &edge, ret_what);
	}
	return r < 0 ? r : map_half_flush(&s->edges, ret_what);
}

int steps_write_machine(struct steps *s, const char **ret_what)
{
	struct machine_tables tables = machine_tables(s->machine);
	int r = write_edges(s, &tables, ret_what);

	return r < 0 ? r : write_states(s, &tables, ret_what);
}

bool steps_has(const struct steps *s, const struct cgroup_class *parent, uint32_t matches)
{
	return pair_set_has(&s->known, steps_class_number(s, parent), matches);
}

/* Those that are not in the kernel are not known. */
static int forget_waiting(struct steps *s)
{
	int r = 0;

	s->n = s->written;
	pair_set_clear(&s->known);
	for (uint32_t i = 0; i < s->n && r >= 0; i++)
		r = pair_set_add(&s->known, s->keys[i].class, s->keys[i].matches);
	return r < 0 ? r : 0;
}

static int write_waiting(struct steps *s, const char **ret_what)
{
	LIBBPF_OPTS(bpf_map_batch_opts, opts);
	uint32_t n = s->n - s->written;

	*ret_what = kernel_map_names[KERNEL_MAP_STEPS];

	if (n && bpf_map_update_batch(kernel_map_fd(s->kernel, KERNEL_MAP_STEPS),
				      s->keys + s->written, s->waiting, &n, &opts) < 0) {
		int r = errno == E2BIG ? -ENOSPC : -errno; /* as a hash says that it is full */

		/* The others are not tried again: without them the agent resolves. */
		s->written += n;
		return forget_waiting(s) < 0 ? -ENOMEM : r;
	}
	s->written = s->n;
	return 0;
}

int steps_add(struct steps *s, const struct cgroup_class *parent, uint32_t matches,
	      const struct cgroup_class *class, uint32_t policy, const char **ret_what)
{
	struct sp_step_key key = { steps_class_number(s, parent), matches };
	int r = 0;

	*ret_what = kernel_map_names[KERNEL_MAP_STEPS];
	if (s->n >= s->room && !s->counts)
		return -ENOSPC;
	if (s->n - s->written == BATCH && s->n <= s->room)
		r = write_waiting(s, ret_what);
	if (r < 0 || GROW(s->keys, s->n) < 0)
		return r < 0 ? r : -ENOMEM;
	r = pair_set_add(&s->known, key.class, key.matches);
	if (r <= 0)
		return r;
	if (s->n < s->room) {
		s->keys[s->n] = key;
		s->waiting[s->n - s->written] =
			(struct sp_step){ steps_class_number(s, class), policy };
	}
	s->n++;
	return 0;
}

int steps_flush(struct steps *s, const char **ret_what)
{
	*ret_what = kernel_map_names[KERNEL_MAP_STEPS];
	return s->n > s->room ? -ENOSPC : write_waiting(s, ret_what);
}

void steps_count(struct steps *s, bool count)
{
	s->counts = s->states.counts = s->edges.counts = count;
}

void steps_needed(const struct steps *s, struct kernel_sizes *ret)
{
	struct machine_tables tables = machine_tables(s->machine);

	ret->glob_states = tables.n_states;
	ret->glob_edges = tables.n_edges;
	ret->steps = s->n;
}

int steps_clear_half(const struct kernel *k, unsigned half)
{
	struct map_contents all = { 0 };
	int r = map_contents_read(kernel_map_fd(k, KERNEL_MAP_STEPS), &all);
	const struct sp_step_key *keys = all.keys;

	for (size_t i = 0; i < all.n && r == 0; i++)
		if (keys[i].class >> CLASS_HALF_SHIFT == half)
			r = delete_keys(k, &keys[i], 1);
	map_contents_clear(&all);
	return r;
}
