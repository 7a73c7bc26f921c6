// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <time.h>

#include "kernel/entry.h"
#include "daemon/governor_impl.h"
#include "base/log.h"
#include "kernel/map_contents.h"
#include "kernel/pins.h"
#include "daemon/sizes.h"
#include "compile/steps.h"

unsigned half_in_force(const struct governor *g)
{
	return kernel_state(g->kernel)->generation & 1;
}

/* All but the kernel side. */
static int set_up(struct governor *g, const char *mount, const char *root_path)
{
	int r;

	if (asprintf(&g->directory, "%s%s", mount, root_path) < 0)
		return log_oom();
	g->mount = strdup(mount);
	if (!g->mount)
		return log_oom();
	r = tree_new(mount, root_path, &g->tree);
	return r < 0 ? log_error_errno(r, "Cannot look at the cgroup %s", g->directory) : 0;
}

/* First the events, then the scan: whatever is made meanwhile is seen by one or the other. */
static int watch(struct governor *g)
{
	int r = sources_new(g->kernel, &g->sources);

	if (r < 0)
		return log_oom();
	r = kernel_watch(g->kernel, on_cgroup_event, g);
	if (r == 0)
		g->events_lost =
			__atomic_load_n(&kernel_state(g->kernel)->events_lost, __ATOMIC_ACQUIRE);
	return r;
}

static int scan(struct governor *g)
{
	int r = tree_scan(g->tree, NULL, NULL);

	return r < 0 ? log_error_errno(r, "Cannot read the cgroup hierarchy below %s", g->directory)
		     : 0;
}

int governor_new(const char *mount, const char *root_path, const struct kernel_sizes *sizes,
		 const struct governor *from, struct governor **ret)
{
	_cleanup_(governor_free) struct governor *g = calloc(1, sizeof(*g));
	struct kernel_sizes enough = *sizes;
	int r;

	if (!g)
		return log_oom();
	r = set_up(g, mount, root_path);
	if (r < 0)
		return r;
	sizes_raise_cgroups(&enough, g->directory);
	r = kernel_load(&enough, from ? from->kernel : NULL, &g->kernel);
	if (r < 0)
		return r;
	kernel_state(g->kernel)->cgroup_root_id = tree_root(g->tree)->id;
	kernel_state(g->kernel)->missing_stages = kernel_missing_stages(g->kernel);
	r = watch(g);
	if (r == 0)
		r = scan(g);
	if (r == 0)
		*ret = TAKE_PTR(g);
	return r;
}

struct gone_maps gone_maps_of(const struct kernel *k)
{
	return (struct gone_maps){
		.policies = kernel_map_fd(k, KERNEL_MAP_POLICIES),
		.credits = kernel_map_fd(k, KERNEL_MAP_CREDITS),
		.sources = kernel_map_fd(k, KERNEL_MAP_SOURCES),
	};
}

static int adopt_entry(struct governor *g, uint64_t id, const struct sp_cgroup *entry)
{
	const struct gone_maps maps = gone_maps_of(g->kernel);
	struct node *n = tree_find(g->tree, id);
	int r;

	if (entry->id != id) /* it was released while we read */
		return 0;
	if (!n) {
		r = tree_add_gone(g->tree, id, &n);
		if (r == 0)
			r = gone_add(&g->gone, id, &maps, entry->policy[half_in_force(g)]);
		if (r < 0)
			return r;
	}
	for (unsigned half = 0; half < 2; half++)
		n->places[half] = entry_place(entry, half);
	n->written = true;
	entry_write_slot(g->kernel, entry);
	return 0;
}

static void settle_places(struct governor *g)
{
	g->n_governed = g->n_untidy = 0;
	(void)tree_walk(g->tree, settle_place, g);
	if (g->n_untidy)
		log_warning("Cannot tidy the entries of %zu cgroups, ignoring", g->n_untidy);
	g->unsettled = g->n_untidy > 0;
}

/* A cgroup that the scan found, made after the map was read. */
static int adopt_new(struct node *n, void *userdata)
{
	return n->written ? 0 : place_new(n, userdata);
}

/*
 * First the map, then the scan: a cgroup that has an entry and is not found by the later scan is
 * gone for good.  (Whatever is released meanwhile, the events tell.)
 */
static int adopt_entries(struct governor *g)
{
	struct map_contents all = { 0 };
	int r = map_contents_read(kernel_map_fd(g->kernel, KERNEL_MAP_CGROUPS), &all);
	const struct sp_cgroup *entries = all.values;
	const uint64_t *ids = all.keys;

	if (r == 0)
		r = scan(g);
	for (size_t i = 0; i < all.n && r == 0; i++)
		r = adopt_entry(g, ids[i], &entries[i]);
	map_contents_clear(&all);
	if (r == 0)
		r = tree_walk(g->tree, adopt_new, g);
	if (r < 0)
		return r;
	/* The earlier agent may have ended in the middle of a reload. */
	g->unsettled = true;
	settle_places(g);
	return 0;
}

static int attach(struct governor *g, const struct governor *from, const char *pin_dir)
{
	_cleanup_close_ int fd = open(g->directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return log_error_errno(errno, "Cannot open the cgroup %s", g->directory);
	return kernel_attach(g->kernel, from ? from->kernel : NULL, fd, pin_dir);
}

int governor_adopt(const char *mount, const char *root_path, const char *pin_dir,
		   struct governor **ret)
{
	_cleanup_(governor_free) struct governor *g = calloc(1, sizeof(*g));
	int r;

	if (!g)
		return log_oom();
	r = set_up(g, mount, root_path);
	if (r < 0)
		return r;
	r = kernel_adopt(pin_dir, tree_root(g->tree)->id, &g->kernel);
	if (r < 0)
		return r;
	g->adopted = g->leftovers[0] = g->leftovers[1] = true;
	g->adopted_stages = kernel_state(g->kernel)->stages;
	kernel_state(g->kernel)->missing_stages = kernel_missing_stages(g->kernel);
	r = watch(g);
	if (r == 0)
		r = sources_read(g->sources);
	if (r == 0)
		r = adopt_entries(g);
	if (r < 0)
		return r == -EPROTO ? r
				    : log_error_errno(r, "Cannot take over from the agent before");
	r = attach(g, NULL, pin_dir);
	if (r == 0)
		*ret = TAKE_PTR(g);
	return r;
}

struct taking {
	struct governor *to;
	const struct governor *from;
};

static int take_if_gone(struct node *n, void *userdata)
{
	const struct taking *taking = userdata;
	const struct gone_maps maps = gone_maps_of(taking->from->kernel);
	struct governor *g = taking->to;
	struct sp_cgroup entry;
	struct node *gone;
	int r;

	if (tree_find(g->tree, n->id) ||
	    entry_read(taking->from->kernel, n->id, &entry) < 0) /* released */
		return 0;
	r = tree_add_gone(g->tree, n->id, &gone);
	return r < 0 ? r
		     : gone_add(&g->gone, n->id, &maps, entry.policy[half_in_force(taking->from)]);
}

int governor_take_gone(struct governor *g, const struct governor *from)
{
	struct taking taking = { g, from };
	int r = governor_process_events(g); /* what `from` knows we then know */

	return r < 0 ? r : tree_walk(from->tree, take_if_gone, &taking);
}

void governor_free(struct governor *g)
{
	for (int half = 0; half < 2; half++)
		if (g->generations[half])
			generation_free(g->generations[half]);
	if (g->sources)
		sources_free(g->sources);
	if (g->tree)
		tree_free(g->tree);
	gone_clear(&g->gone);
	if (g->kernel)
		kernel_free(g->kernel);
	free(g->mount);
	free(g->directory);
	free(g);
}

/* What status says of the generation in force. */
static void mark(struct governor *g)
{
	if (!g->generations[half_in_force(g)])
		return;
	mark_state(g);
	mark_policies(g);
}

/* What an earlier agent left, that nothing uses any more. */
static void forget_adopted(struct governor *g, unsigned idle)
{
	int r = steps_clear_half(g->kernel, idle);

	if (r < 0)
		log_warning_errno(r, "Cannot clear the map `steps`, ignoring");
	g->leftovers[idle] = r < 0; /* then the next reload cannot be */
	g->adopted = false;
	g->adopted_stages = 0;
}

static void settle(struct governor *g)
{
	unsigned idle = !half_in_force(g);

	settle_places(g);
	if (g->generations[idle]) {
		g->leftovers[idle] = generation_erase(g->generations[idle]) < 0;
		generation_free(g->generations[idle]);
		g->generations[idle] = NULL;
	}
	if (g->adopted && g->generations[!idle])
		forget_adopted(g, idle);
	if (use_stages(g) < 0)
		log_warning("Hooks that no policy needs any more may still be attached, ignoring");
	sources_keep_only(g->sources, governor_config(g));
	mark(g);
}

/* Elements that the configuration needs, as far as they are known when something runs out. */
static void find_needed(struct governor *g, const struct config *c)
{
	const struct generation *next = g->generations[!half_in_force(g)];

	g->needed = (struct kernel_sizes){ 0 };
	if (next)
		generation_needed(next, &g->needed);
	g->needed.cgroups = (uint32_t)tree_size(g->tree);
	g->needed.sources = sources_needed(c);
}

/* The next generation, in maps and steps only. */
static int prepare_policies(struct governor *g, struct config *c, unsigned next)
{
	int r;

	g->what = "memory";
	r = generation_new(g->kernel, g->sources, c, next, &g->generations[next]);
	if (r < 0)
		return r;
	if (generation_needs_events(g->generations[next])) /* from its first moment on */
		kernel_state(g->kernel)->flags |= SP_STATE_BY_EVENTS;
	if (g->leftovers[next]) {
		g->what = kernel_map_names[KERNEL_MAP_STEPS];
		r = steps_clear_half(g->kernel, next);
		if (r < 0)
			return r;
		g->leftovers[next] = false;
	}
	r = tree_walk(g->tree, place_next, g);
	if (r == 0)
		r = generation_write_steps(g->generations[next], &g->what);
	if (r == -ENOSPC)
		find_needed(g, generation_config(g->generations[next]));
	return r;
}

static int prepare(struct governor *g, struct config *c)
{
	unsigned next = !half_in_force(g);
	int r;

	g->what = kernel_map_names[KERNEL_MAP_SOURCES];
	r = sources_add_config(g->sources, c);
	if (r < 0) {
		find_needed(g, c);
		config_free(c);
		return r;
	}
	r = prepare_policies(g, c, next);
	if (r == 0)
		r = use_stages(g);
	if (r < 0)
		return r;
	g->unsettled = true;
	r = tree_walk(g->tree, write_place, g);
	if (r < 0) {
		find_needed(g, c);
		return r;
	}
	/* Cgroups made meanwhile may have followed from an entry that was not written yet: when no
	 * program works with one any more, all of them are among the events. */
	g->what = "grace period";
	r = kernel_wait_for_programs(g->kernel);
	if (r < 0)
		return r;
	g->what = "cgroup events";
	return governor_process_events(g);
}

static uint64_t now_usec(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

int governor_activate(struct governor *g, struct config *c, const char **ret_what)
{
	struct sp_state *state = kernel_state(g->kernel);
	uint64_t no_room, n_given_up;
	uint32_t flags = state->flags;
	int r;

	r = governor_process_events(g);
	if (r < 0)
		log_warning_errno(r, "Cannot read cgroup events, ignoring");
	no_room = __atomic_load_n(&state->no_room, __ATOMIC_SEQ_CST);
	n_given_up = g->n_given_up;
	r = prepare(g, c);
	if (r < 0) {
		*ret_what = g->what;
		/* What is adopted keeps its flags: mark_state() does not know them. */
		state->flags = flags;
		settle(g);
		return r;
	}
	state->loaded_usec = now_usec();
	state->n_policies = (uint32_t)c->n_policies;
	/* Whatever found no room before is in the tree, and has its entry now. */
	if (g->n_given_up == n_given_up)
		__atomic_store_n(&state->no_room_settled, no_room, __ATOMIC_SEQ_CST);
	__atomic_store_n(&state->generation, state->generation + 1, __ATOMIC_SEQ_CST);
	r = kernel_wait_for_programs(g->kernel);
	if (r < 0)
		log_warning_errno(r, "Cannot wait for running programs, ignoring");
	g->warned = g->needs_room = false;
	/* Of a cgroup made just before the switch the kernel may know its class before it only. */
	r = governor_process_events(g);
	if (r < 0)
		log_warning_errno(r, "Cannot read cgroup events, ignoring");
	name_stale_listeners(g);
	settle(g);
	malloc_trim(0); /* two generations and what made the second: most of it is free now */
	return 0;
}

int governor_attach(struct governor *g, const struct governor *from, const char *pin_dir)
{
	_cleanup_(pins_close) struct pins *earlier = NULL;
	int r;

	/* What an earlier agent counted: its programs run until ours have taken their place. */
	(void)pins_open_counters(pin_dir, &earlier);
	r = attach(g, from, pin_dir);
	if (r == 0 && earlier && kernel_wait_for_programs(g->kernel) == 0)
		sources_carry_counters(g->sources, earlier);
	return r;
}

size_t governor_pins_lost(const struct governor *g)
{
	return kernel_pins_lost(g->kernel);
}

int governor_pin_again(struct governor *g)
{
	return kernel_pin_again(g->kernel);
}

void governor_detach(struct governor *g)
{
	name_all_listeners(g);
	kernel_detach(g->kernel);
}

int governor_event_fd(const struct governor *g)
{
	return kernel_event_fd(g->kernel);
}

const char *governor_complaint(const struct governor *g, struct position *ret_at)
{
	*ret_at = g->complaint_at;
	return g->complaint;
}

bool governor_needs_room(const struct governor *g)
{
	return g->needs_room;
}

const struct kernel_sizes *governor_needed(const struct governor *g)
{
	return &g->needed;
}

const struct kernel_sizes *governor_sizes(const struct governor *g)
{
	return kernel_sizes_of(g->kernel);
}

const struct config *governor_config(const struct governor *g)
{
	const struct generation *in_force = g->generations[half_in_force(g)];

	return in_force ? generation_config(in_force) : NULL;
}

size_t governor_n_governed(const struct governor *g)
{
	return g->n_governed;
}
