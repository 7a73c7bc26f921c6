// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <errno.h>
#include <linux/membarrier.h>
#include <sys/syscall.h>
#include <time.h>

#include <bpf/bpf.h>

#include "base/log.h"
#include "base/progress.h"
#include "kernel/generation.h"
#include "kernel/pin.h"
#include "kernel/slots.h"
#include "policy/stage.h"

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

/* Is there a map in the slot? */
static bool has_map(const struct kernel *k, enum map_id id, uint32_t slot)
{
	uint32_t inner;

	return bpf_map_lookup_elem(k->maps[id], &slot, &inner) == 0;
}

/* Empties the slots of a map, from `slot` on, in which an earlier generation has something. */
static void empty_slots(const struct kernel *k, enum map_id id, uint32_t slot, struct slots *all)
{
	for (; slot < map_n_slots(id); slot += 2)
		if (has_map(k, id, slot))
			all->v[all->n++] = (struct slot){
				.outer = k->maps[id], .id = id, .slot = slot, .inner = -1
			};
}

static int make_all(const struct kernel *k, const struct image *im, struct slots *all)
{
	uint64_t next = kernel_next_generation(k);

	for (int id = 0; id < MAP_ID_MAX; id++) {
		if (!map_is_of_generation(id))
			continue;
		empty_slots(k, id, generation_slot(next, n_tables(&im->generation, id)), all);
		for (uint32_t t = 0; t < n_tables(&im->generation, id); t++) {
			struct contents c = contents_of(im, id, t);
			uint32_t slot = generation_slot(next, t);
			int fd;

			progress_made();
			fd = make_inner(id, slot, &c);
			if (fd < 0)
				return fd;
			all->v[all->n++] = (struct slot){
				.outer = k->maps[id], .id = id, .slot = slot, .inner = fd
			};
		}
	}
	return 0;
}

/* So that others can read them, also those who may not look at maps by their ids. */
static void pin_all(const struct kernel *k, const struct slots *all)
{
	char name[GENERATION_PIN_NAME_SIZE];
	int result = 0;

	for (size_t i = 0; i < all->n; i++) {
		int r;

		generation_pin_name(all->v[i].id, all->v[i].slot, name);
		r = all->v[i].inner < 0 ? pin_unset(k->dir, name)
					: pin_set(all->v[i].inner, k->dir, name);
		result = r < 0 ? r : result;
	}
	if (result < 0)
		log_warning_errno(result,
				  "Nobody can read what comes in force: it has no pins at %s",
				  k->dir);
}

/* From here on nobody takes what is in the idle slots for the generation before. */
static void give_up_previous(const struct kernel *k)
{
	struct sp_state *state = k->state;

	__atomic_store_n(&state->of[kernel_next_generation(k) & 1].serial, 0, __ATOMIC_SEQ_CST);
}

int generation_write(struct kernel *k, const struct image *im)
{
	struct slots all = { 0 };
	int r;

	give_up_previous(k);
	r = make_all(k, im, &all);
	if (r == 0)
		r = slots_fill(&all);
	if (r == 0)
		pin_all(k, &all);
	slots_close(&all);
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
static struct sp_generation complete(const struct image *im, uint64_t number)
{
	struct sp_generation g = im->generation;

	g.serial = number;
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

	state->of[next & 1] = complete(im, next);
	/* The first generation becomes one before anything is due. */
	if (!first)
		set_due(state, &im->generation, &state->of[~next & 1]);
	__atomic_store_n(&state->generation, next, __ATOMIC_SEQ_CST);
	set_due(state, &im->generation, NULL);
}

static bool is_pinned(const struct kernel *k, uint64_t generation)
{
	char name[GENERATION_PIN_NAME_SIZE];

	for (int id = 0; id < MAP_ID_MAX; id++)
		for (uint32_t t = 0;
		     map_is_of_generation(id) && t < n_tables(&k->state->of[generation & 1], id);
		     t++) {
			generation_pin_name(id, generation_slot(generation, t), name);
			if (pin_is_lost(k->dir, name))
				return false;
		}
	return true;
}

bool generation_is_in_force(const struct kernel *k, const struct image *im)
{
	const struct sp_state *state = k->state;

	return state->generation &&
	       state->of[state->generation & 1].digest == im->generation.digest &&
	       is_pinned(k, state->generation);
}

void generation_free_others(struct kernel *k)
{
	uint64_t next = kernel_next_generation(k);
	const bool has_previous = SP_HAS_PREVIOUS(k->state);
	struct slots all = { 0 };
	int r;

	for (int id = 0; id < MAP_ID_MAX; id++)
		if (map_is_of_generation(id) && (!has_previous || map_is_cache(id)))
			empty_slots(k, id, generation_slot(next, 0), &all);
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
	(void)slots_fill(&all);
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
