// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <assert.h>
#include <errno.h>
#include <linux/membarrier.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <time.h>

#include <bpf/bpf.h>

#include "base/log.h"
#include "base/progress.h"
#include "kernel/generation.h"
#include "kernel/pin.h"
#include "policy/stage.h"

#define SLOTS_MAX	  64 /* of a generation, in all maps */
#define THREAD_STACK_SIZE (64ul * 1024)

static_assert(MAP_ID_MAX + 2 * SP_GLOB_TABLES_MAX <= SLOTS_MAX, "room for all slots");

/*
 * An update of a slot returns only after a grace period of RCU (maybe_wait_bpf_programs(),
 * kernel/bpf/syscall.c), which takes some ten milliseconds.  Those of all slots are waited for at
 * once, in a thread each.
 */
struct change {
	int outer;
	enum map_id id;
	uint32_t slot;
	int inner; /* owned; -1: the slot becomes empty */
	int result;
	bool started;
	pthread_t thread;
};

struct changes {
	struct change v[SLOTS_MAX];
	size_t n;
};

static void *apply_one(void *p)
{
	struct change *c = p;
	int r = c->inner < 0 ? bpf_map_delete_elem(c->outer, &c->slot)
			     : bpf_map_update_elem(c->outer, &c->slot, &c->inner, BPF_ANY);

	c->result = r < 0 && !(c->inner < 0 && errno == ENOENT) ? -errno : 0;
	return NULL;
}

/* Returns the last error, logged. */
static int apply(struct changes *all)
{
	pthread_attr_t attr;
	int r = 0;

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, THREAD_STACK_SIZE);
	for (size_t i = 1; i < all->n; i++)
		all->v[i].started =
			pthread_create(&all->v[i].thread, &attr, apply_one, &all->v[i]) == 0;
	pthread_attr_destroy(&attr);
	for (size_t i = 0; i < all->n; i++)
		if (!all->v[i].started)
			apply_one(&all->v[i]);
	for (size_t i = 0; i < all->n; i++) {
		struct change *c = &all->v[i];

		if (c->started)
			pthread_join(c->thread, NULL);
		if (c->result < 0)
			r = log_error_errno(c->result, "Cannot change the map `%s`",
					    map_table[c->id].name);
	}
	return r;
}

static void close_all(struct changes *all)
{
	for (size_t i = 0; i < all->n; i++)
		if (all->v[i].inner >= 0)
			close(all->v[i].inner);
	all->n = 0;
}

/* The first n elements of a map of this generation; the others are zero. */
struct contents {
	const void *values;
	uint32_t n;
};

static int fill(int fd, const struct contents *c)
{
	LIBBPF_OPTS(bpf_map_batch_opts, opts);
	_cleanup_free_ uint32_t *keys = calloc((size_t)c->n + 1, sizeof(*keys));
	uint32_t n = c->n;

	if (!keys)
		return -ENOMEM;
	for (uint32_t i = 0; i < n; i++)
		keys[i] = i;
	return n && bpf_map_update_batch(fd, keys, c->values, &n, &opts) < 0 ? -errno : 0;
}

static int make_inner(enum map_id id, uint32_t slot, const struct contents *c)
{
	const struct map *m = &map_table[id];
	uint32_t entries = m->shape == MAP_EXACT ? (c->n ? c->n : 1) : m->entries;
	LIBBPF_OPTS(bpf_map_create_opts, opts,
		    .map_flags = m->shape == MAP_EXACT ? BPF_F_INNER_MAP : 0);
	char name[GENERATION_PIN_NAME_SIZE];
	_cleanup_close_ int fd = -1;
	int r;

	generation_pin_name(id, slot, name);
	fd = bpf_map_create(BPF_MAP_TYPE_ARRAY, name, m->key_size, m->value_size, entries, &opts);
	r = fd < 0 ? fd : fill(fd, c);
	if (r < 0)
		return log_error_errno(r, "Cannot make the map `%s` of %zu kB%s", m->name,
				       (size_t)entries * m->value_size / 1024,
				       r == -ENOMEM ? ", more than this machine, or the agent's "
						      "MemoryMax=, has left"
						    : "");
	return TAKE_FD(fd);
}

static struct contents contents_of(const struct image *im, enum map_id id, uint32_t table)
{
	const struct glob_table *t = &im->globs.v[table];

	switch (id) {
	case MAP_ID_glob_nodes:
		return (struct contents){ t->nodes, t->n_nodes };
	case MAP_ID_glob_links:
		return (struct contents){ t->links, t->n_links };
	default:
		return (struct contents){ im->of[id].values, im->of[id].n };
	}
}

static uint32_t n_tables(const struct sp_generation *g, enum map_id id)
{
	return map_table[id].shape == MAP_TABLES ? (uint32_t)g->n_match_tables + g->n_exclude_tables
						 : 1;
}

static int make_all(const struct kernel *k, const struct image *im, struct changes *all)
{
	uint64_t next = kernel_next_generation(k);

	for (int id = 0; id < MAP_ID_MAX; id++) {
		if (!map_is_of_generation(id))
			continue;
		for (uint32_t t = 0; t < n_tables(&im->generation, id); t++) {
			struct contents c = contents_of(im, id, t);
			uint32_t slot = generation_slot(next, t);
			int fd;

			progress_made();
			fd = make_inner(id, slot, &c);
			if (fd < 0)
				return fd;
			all->v[all->n++] = (struct change){
				.outer = k->maps[id], .id = id, .slot = slot, .inner = fd
			};
		}
	}
	return 0;
}

/* So that others can read them, also those who may not look at maps by their ids. */
static void pin_all(const struct kernel *k, const struct changes *all)
{
	char name[GENERATION_PIN_NAME_SIZE];
	int result = 0;

	for (size_t i = 0; i < all->n; i++) {
		int r;

		generation_pin_name(all->v[i].id, all->v[i].slot, name);
		r = pin_set(all->v[i].inner, k->dir, name);
		result = r < 0 ? r : result;
	}
	if (result < 0)
		log_warning_errno(result,
				  "Nobody can read what comes in force: it has no pins at %s",
				  k->dir);
}

int generation_write(struct kernel *k, const struct image *im)
{
	struct changes all = { 0 };
	int r = make_all(k, im, &all);

	if (r == 0)
		r = apply(&all);
	if (r == 0)
		pin_all(k, &all);
	close_all(&all);
	if (r < 0)
		generation_free_others(k);
	return r;
}

/* Tells the programs which options the hook at setsockopt(2) looks at. */
static void set_asked(struct sp_state *state, uint64_t asked, uint64_t respected)
{
	uint8_t table[SP_ASKED_LEVELS][SP_ASKED_NAMES];

	image_ask(asked, respected, table);
	for (int l = 0; l < SP_ASKED_LEVELS; l++)
		for (int n = 0; n < SP_ASKED_NAMES; n++)
			__atomic_store_n(&state->asked[l][n], table[l][n], __ATOMIC_RELAXED);
}

static void set_stages(struct sp_state *state, uint64_t stages)
{
	for (int op = 0; op < SP_SOCK_OPS_MAX; op++) {
		uint8_t option = 0;

		for (int i = 0; i < OPTION_MAX; i++)
			if (option_table[i].level == SP_LEVEL_REPLY &&
			    option_table[i].optname == op)
				option = (uint8_t)i;
		__atomic_store_n(&state->reply_options[op], option, __ATOMIC_RELAXED);
		__atomic_store_n(&state->sock_ops[op], (uint8_t)stage_of_sock_op(stages, op),
				 __ATOMIC_RELAXED);
	}
	__atomic_store_n(&state->stages, stages, __ATOMIC_SEQ_CST);
}

/* Tells the programs what is due somewhere: in g, and in the other generation, too, where that may
 * be NULL. */
static void set_due(struct sp_state *state, const struct sp_generation *g,
		    const struct sp_generation *other)
{
	static const struct sp_generation none;

	if (!other)
		other = &none;
	set_asked(state, g->asked | other->asked, g->respected | other->respected);
	set_stages(state, g->stages | other->stages);
}

static uint64_t now_usec(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

/* Adds the members that the image does not have. */
static struct sp_generation complete(const struct image *im)
{
	struct sp_generation g = im->generation;

	g.loaded_usec = now_usec();
	for (uint32_t t = 0; t < im->globs.n_match + im->globs.n_exclude; t++) {
		const struct glob_table *table = &im->globs.v[t];

		if (g.n_glob_nodes < table->n_nodes)
			g.n_glob_nodes = table->n_nodes;
		if (g.n_glob_links < table->n_links)
			g.n_glob_links = table->n_links;
	}
	return g;
}

void generation_switch(struct kernel *k, const struct image *im)
{
	struct sp_state *state = k->state;
	uint64_t next = kernel_next_generation(k);
	bool first = state->generation == 0;

	state->of[next & 1] = complete(im);
	/* The first generation becomes one before anything is due. */
	if (!first)
		set_due(state, &im->generation, &state->of[~next & 1]);
	__atomic_store_n(&state->generation, next, __ATOMIC_SEQ_CST);
	set_due(state, &im->generation, NULL);
}

void generation_free_others(struct kernel *k)
{
	uint64_t next = kernel_next_generation(k);
	struct changes all = { 0 };
	int r;

	for (int id = 0; id < MAP_ID_MAX; id++) {
		uint32_t inner, n_slots = map_is_of_generation(id) ? map_n_slots(id) : 0;
		int fd = k->maps[id];

		for (uint32_t slot = next & 1; slot < n_slots; slot += 2)
			if (bpf_map_lookup_elem(fd, &slot, &inner) == 0) /* else it is empty */
				all.v[all.n++] = (struct change){
					.outer = fd, .id = id, .slot = slot, .inner = -1
				};
	}
	if (!all.n)
		return;
	r = generation_wait_for_programs(k);
	if (r < 0) {
		log_warning_errno(r, "Cannot wait for running programs, ignoring");
		return;
	}
	for (size_t i = 0; i < all.n; i++) {
		char name[GENERATION_PIN_NAME_SIZE];

		generation_pin_name(all.v[i].id, all.v[i].slot, name);
		(void)pin_unset(k->dir, name);
	}
	(void)apply(&all);
}

void generation_settle(struct kernel *k)
{
	struct sp_state *state = k->state;

	set_due(state, &state->of[state->generation & 1], NULL);
	generation_free_others(k);
}

/* With its own map a slot can be updated at any time.  That may run out of memory; membarrier(2)
 * waits for such a period, too, but not on every kernel. */
int generation_wait_for_programs(const struct kernel *k)
{
	uint32_t slot = generation_slot(k->state->generation, 0);
	char name[GENERATION_PIN_NAME_SIZE];
	_cleanup_close_ int fd = -1;
	int r;

	generation_pin_name(MAP_ID_policies, slot, name);
	fd = pin_get(k->dir, name, PIN_MAP);
	r = fd < 0 ? fd : 0;
	if (r == 0 && bpf_map_update_elem(k->maps[MAP_ID_policies], &slot, &fd, BPF_ANY) < 0)
		r = -errno;
	if (r < 0 && syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0) == 0)
		r = 0;
	return r;
}
