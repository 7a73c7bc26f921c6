// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <errno.h>
#include <fcntl.h>
#include <time.h>

#include <bpf/bpf.h>

#include "generation.h"
#include "governor.h"
#include "log.h"
#include "sources.h"
#include "tree.h"

struct governor {
	struct kernel *kernel;
	struct sources *sources;
	struct tree *tree;
	char *directory; /* of the cgroup that the programs are attached to */
	/* By half of the maps.  Both are there only in the middle of governor_activate(). */
	struct generation *generations[2];
	size_t n_governed;
	uint64_t events_lost; /* as far as the tree was scanned for them */
	const char *what;     /* what ran out */
	bool warned;	      /* that a cgroup could not be governed */
};

static unsigned half_in_force(const struct governor *g)
{
	return kernel_state(g->kernel)->generation & 1;
}

static int write_entry(struct governor *g, const struct node *n)
{
	struct sp_cgroup value = { .policy = { n->policy[0], n->policy[1] } };
	int fd = kernel_map_fd(g->kernel, KERNEL_MAP_CGROUPS);

	if (value.policy[0] || value.policy[1]) {
		g->what = kernel_map_names[KERNEL_MAP_CGROUPS];
		return bpf_map_update_elem(fd, &n->id, &value, BPF_ANY) < 0 ? -errno : 0;
	}
	return bpf_map_delete_elem(fd, &n->id) < 0 && errno != ENOENT ? -errno : 0;
}

/* Finds out what one half of the maps has for a cgroup. */
static int classify(struct governor *g, struct node *n, unsigned half)
{
	struct generation *generation = g->generations[half];
	struct cascade *cascade = generation_cascade(generation);
	int r;

	if (n->parent)
		r = cascade_step(cascade, n->parent->class[half], n -> path, &n -> class[half]);
	else
		r = cascade_walk(cascade, n->path, &n->class[half]);
	if (r < 0) {
		g->what = "memory";
		return r;
	}
	return generation_index(generation, cascade_effective(n->class[half]), &n->policy[half],
				&g->what);
}

/* A cgroup that no generation knows yet. */
static int place(struct node *n, void *userdata)
{
	struct governor *g = userdata;
	unsigned in_force = half_in_force(g);
	int r = 0;

	for (unsigned half = 0; r == 0 && half < 2; half++)
		if (g->generations[half])
			r = classify(g, n, half);
	if (!g->generations[!in_force])
		n->policy[!in_force] = n->policy[in_force];
	if (r == 0)
		r = write_entry(g, n);
	if (r == 0) {
		g->n_governed += n->policy[in_force] != 0;
		return 0;
	}
	n->policy[0] = n->policy[1] = 0;
	__atomic_fetch_add(&kernel_state(g->kernel)->inherit_failed, 1, __ATOMIC_RELAXED);
	if (!g->warned)
		log_error_errno(r,
				"Cannot govern the new cgroup %s: no room in %s (further ones are "
				"only counted)",
				n->path, g->what);
	g->warned = true;
	return 0;
}

static void on_mkdir(struct governor *g, const struct sp_event *e)
{
	char name[SP_CGROUP_NAME_SIZE + 1] = "";
	struct node *parent = tree_find(g->tree, e->parent_id), *n;
	int r;

	if (!parent) /* not below our root */
		return;
	memcpy(name, e->name, SP_CGROUP_NAME_SIZE);
	r = tree_add(g->tree, e->id, parent, name, &n);
	if (r == -EEXIST) /* the scan was faster */
		return;
	if (r < 0)
		log_error_errno(r, "Cannot keep track of the new cgroup %s/%s", parent->path, name);
	else
		place(n, g);
}

static void on_release(struct governor *g, const struct sp_event *e)
{
	struct node *n = tree_find(g->tree, e->id);

	if (!n || !n->parent)
		return;
	g->n_governed -= n->policy[half_in_force(g)] != 0;
	/* The program has done so already; but we may have written it again before we knew. */
	n->policy[0] = n->policy[1] = 0;
	write_entry(g, n);
	tree_remove(g->tree, n);
}

static void on_event(const struct sp_event *event, void *userdata)
{
	if (event->kind == SP_EVENT_MKDIR)
		on_mkdir(userdata, event);
	else if (event->kind == SP_EVENT_RELEASE)
		on_release(userdata, event);
}

int governor_process_events(struct governor *g)
{
	uint64_t lost = kernel_state(g->kernel)->events_lost;
	int r = kernel_consume_events(g->kernel);

	if (r < 0 || lost == g->events_lost)
		return r;
	log_warning("%llu cgroup events came too fast: looking at the whole hierarchy again",
		    (unsigned long long)(lost - g->events_lost));
	g->events_lost = lost;
	return tree_scan(g->tree, place, g);
}

int governor_new(const char *mount, const char *root_path, const struct kernel_sizes *sizes,
		 struct governor **ret)
{
	_cleanup_(governor_free) struct governor *g = calloc(1, sizeof(*g));
	int r;

	if (!g || asprintf(&g->directory, "%s%s", mount, root_path) < 0)
		return log_oom();
	r = tree_new(mount, root_path, &g->tree);
	if (r < 0)
		return log_error_errno(r, "Cannot look at the cgroup %s", g->directory);
	r = kernel_load(sizes, &g->kernel);
	if (r < 0)
		return r;
	kernel_state(g->kernel)->cgroup_root_id = tree_root(g->tree)->id;
	r = sources_new(g->kernel, &g->sources);
	if (r < 0)
		return log_oom();
	/* First the events, then the scan: whatever is made meanwhile is seen by one or the other.
	 */
	r = kernel_watch(g->kernel, on_event, g);
	if (r < 0)
		return r;
	r = tree_scan(g->tree, NULL, NULL);
	if (r < 0)
		return log_error_errno(r, "Cannot read the cgroup hierarchy below %s",
				       g->directory);
	*ret = TAKE_PTR(g);
	return 0;
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
	if (g->kernel)
		kernel_free(g->kernel);
	free(g->directory);
	free(g);
}

/* Before the switch: the half that is not in force gets the new policies. */
static int prepare_node(struct node *n, void *userdata)
{
	struct governor *g = userdata;
	unsigned next = !half_in_force(g);
	bool was_there = n->policy[0] || n->policy[1];
	int r = classify(g, n, next);

	if (r < 0)
		return r;
	return was_there || n->policy[next] ? write_entry(g, n) : 0;
}

/*
 * After the switch (or in place of it, when it was given up): both halves say what is in force, so
 * that a cgroup made now, with a copy of its parent's entry, is right whichever half its sockets
 * look at.
 */
static int settle_node(struct node *n, void *userdata)
{
	struct governor *g = userdata;
	unsigned in_force = half_in_force(g);
	bool differs = n->policy[0] != n->policy[1];
	int r;

	n->policy[!in_force] = n->policy[in_force];
	n->class[!in_force] = NULL;
	g->n_governed += n->policy[in_force] != 0;
	r = differs ? write_entry(g, n) : 0;
	if (r < 0)
		log_warning_errno(r, "Cannot tidy the entry of cgroup %s, ignoring", n->path);
	return 0;
}

static void settle(struct governor *g)
{
	unsigned idle = !half_in_force(g);
	const struct config *in_force = governor_config(g);

	g->n_governed = 0;
	tree_walk(g->tree, settle_node, g);
	if (g->generations[idle]) {
		generation_free(g->generations[idle]);
		g->generations[idle] = NULL;
	}
	sources_keep_only(g->sources, in_force);
}

static int prepare(struct governor *g, struct config *c)
{
	unsigned next = !half_in_force(g);
	int r;

	g->what = kernel_map_names[KERNEL_MAP_SOURCES];
	r = sources_add_config(g->sources, c);
	if (r < 0) {
		config_free(c);
		return r;
	}
	g->what = "memory";
	r = generation_new(g->kernel, g->sources, c, next, &g->generations[next]);
	if (r < 0)
		return r;
	r = tree_walk(g->tree, prepare_node, g);
	if (r < 0)
		return r;
	/* Cgroups made during the walk may have copied an entry that was not written yet. */
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
	int r;

	r = governor_process_events(g);
	if (r < 0)
		log_warning_errno(r, "Cannot read cgroup events, ignoring");
	r = prepare(g, c);
	if (r < 0) {
		*ret_what = g->what;
		settle(g);
		return r;
	}
	state->loaded_usec = now_usec();
	state->n_policies = (uint32_t)c->n_policies;
	__atomic_store_n(&state->generation, state->generation + 1, __ATOMIC_SEQ_CST);
	r = kernel_wait_for_programs(g->kernel);
	if (r < 0)
		log_warning_errno(r, "Cannot wait for running programs, ignoring");
	settle(g);
	g->warned = false;
	return 0;
}

int governor_attach(struct governor *g, const char *pin_dir)
{
	_cleanup_close_ int fd = open(g->directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return log_error_errno(errno, "Cannot open the cgroup %s", g->directory);
	return kernel_attach(g->kernel, fd, pin_dir);
}

void governor_detach(struct governor *g)
{
	kernel_detach(g->kernel);
}

int governor_event_fd(const struct governor *g)
{
	return kernel_event_fd(g->kernel);
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
