// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <time.h>

#include <bpf/bpf.h>

#include "generation.h"
#include "governor.h"
#include "listeners.h"
#include "log.h"
#include "sets.h"
#include "sources.h"
#include "tree.h"

struct governor {
	struct kernel *kernel;
	struct sources *sources;
	struct sets *sets;
	struct tree *tree;
	char *mount;	 /* of cgroup2 */
	char *directory; /* of the cgroup that the programs are attached to */
	/* By half of the maps.  Both are there only in the middle of governor_activate(). */
	struct generation *generations[2];
	size_t n_governed;
	uint64_t events_lost; /* as far as the tree was scanned for them */
	const char *what;     /* what ran out */
	char complaint[512];  /* see governor_complaint() */
	char complaint_file[PATH_MAX];
	struct position complaint_at;
	bool warned; /* that a cgroup could not be governed */
};

static unsigned half_in_force(const struct governor *g)
{
	return kernel_state(g->kernel)->generation & 1;
}

static int write_entry(struct governor *g, struct node *n)
{
	struct sp_cgroup value = { .policy = { n->policy[0], n->policy[1] } };
	int fd = kernel_map_fd(g->kernel, KERNEL_MAP_CGROUPS);
	bool wanted = value.policy[0] || value.policy[1];
	int r;

	if (!wanted) {
		n->written = false;
		return bpf_map_delete_elem(fd, &n->id) < 0 && errno != ENOENT ? -errno : 0;
	}
	g->what = kernel_map_names[KERNEL_MAP_CGROUPS];
	/* An entry that is gone by itself is a cgroup that the kernel has released: no new one
	 * then. */
	r = bpf_map_update_elem(fd, &n->id, &value, n->written ? BPF_EXIST : BPF_ANY) < 0 ? -errno
											  : 0;
	if (n->written && r == -ENOENT)
		return 0;
	if (r == 0)
		n->written = true;
	return r;
}

/* Says which policies together have more rules than a hook can tell apart. */
static int complain_of_rules(struct governor *g, const struct node *n, const struct effective *e,
			     size_t n_rules)
{
	const struct policy *last = e->policies[e->n_policies - 1];
	size_t length;

	snprintf(g->complaint, sizeof(g->complaint),
		 "%zu rules apply to cgroup %s, at most %d can; they are those of", n_rules,
		 n->path, SP_RULES_MAX);
	for (size_t i = 0; i < e->n_policies; i++) {
		if (!e->policies[i]->n_rules)
			continue;
		length = strlen(g->complaint);
		snprintf(g->complaint + length, sizeof(g->complaint) - length, " %s (%zu)",
			 e->policies[i]->name, e->policies[i]->n_rules);
	}
	snprintf(g->complaint_file, sizeof(g->complaint_file), "%s", last->at.file);
	g->complaint_at = last->at;
	g->complaint_at.file = g->complaint_file; /* the configuration goes */
	g->what = g->complaint;
	return -EBADMSG;
}

static int check_rules(struct governor *g, const struct node *n, const struct effective *e)
{
	size_t n_rules = 0;

	for (size_t i = 0; e && i < e->n_policies; i++)
		n_rules += e->policies[i]->n_rules;
	return n_rules > SP_RULES_MAX ? complain_of_rules(g, n, e, n_rules) : 0;
}

/* Finds out what one half of the maps has for a cgroup. */
static int classify(struct governor *g, struct node *n, unsigned half)
{
	struct generation *generation = g->generations[half];
	struct cascade *cascade = generation_cascade(generation);
	const struct effective *effective;
	int r;

	if (n->parent)
		r = cascade_step(cascade, n->parent->classes[half], n->path, &n->classes[half]);
	else
		r = cascade_walk(cascade, n->path, &n->classes[half]);
	if (r < 0) {
		g->what = "memory";
		return r;
	}
	effective = cascade_effective(n->classes[half]);
	r = check_rules(g, n, effective);
	if (r < 0)
		return r;
	return generation_index(generation, effective, &n->policy[half], &g->what);
}

/* The hooks look at state->stages first, and some are attached only while it needs them. */
static int use_stages(struct governor *g)
{
	uint64_t stages = 0;

	for (int half = 0; half < 2; half++)
		if (g->generations[half])
			stages |= generation_stages(g->generations[half]);
	__atomic_store_n(&kernel_state(g->kernel)->stages, stages, __ATOMIC_RELEASE);
	g->what = "hooks";
	return kernel_use_stages(g->kernel, stages);
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
		r = use_stages(g);
	if (r == 0)
		r = write_entry(g, n);
	if (r == 0) {
		g->n_governed += n->policy[in_force] != 0;
		return 0;
	}
	n->policy[0] = n->policy[1] = 0;
	/* What it has of its parent goes, as the next reload would not see it. */
	(void)write_entry(g, n);
	__atomic_fetch_add(&kernel_state(g->kernel)->inherit_failed, 1, __ATOMIC_RELAXED);
	if (!g->warned)
		log_error_errno(r,
				"Cannot govern the new cgroup %s: %s (further ones are "
				"only counted)",
				n->path, g->what);
	g->warned = true;
	return 0;
}

static bool directory_is_there(const struct governor *g, const struct node *n)
{
	_cleanup_free_ char *directory = NULL;
	struct stat st;

	return asprintf(&directory, "%s%s", g->mount, n->path) >= 0 && stat(directory, &st) == 0 &&
	       st.st_ino == n->id;
}

/* Of a cgroup that the kernel has released. */
static void forget(struct governor *g, struct node *n)
{
	g->n_governed -= n->policy[half_in_force(g)] != 0;
	n->policy[0] = n->policy[1] = 0;
	write_entry(g, n);
	tree_remove(g->tree, n);
}

/*
 * We may be late, and the kernel may have released the cgroup already: an entry that we then wrote
 * would stay for ever.  Where the kernel's copy of the parent's entry is there it is not released
 * yet, and write_entry() goes by whether that stays so.
 */
static void place_new(struct governor *g, struct node *n)
{
	struct sp_cgroup value;
	bool inherited = bpf_map_lookup_elem(kernel_map_fd(g->kernel, KERNEL_MAP_CGROUPS), &n->id,
					     &value) == 0;

	n->written = inherited;
	place(n, g);
	if (!inherited && n->written && !directory_is_there(g, n))
		forget(g, n);
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
		place_new(g, n);
}

static void on_release(struct governor *g, const struct sp_event *e)
{
	struct node *n = tree_find(g->tree, e->id);

	/* The program has deleted the entry; but we may have written it again before we knew. */
	if (n && n->parent)
		forget(g, n);
}

static void on_event(const struct sp_event *event, void *userdata)
{
	if (event->kind == SP_EVENT_MKDIR)
		on_mkdir(userdata, event);
	else if (event->kind == SP_EVENT_RELEASE)
		on_release(userdata, event);
}

/* Has the kernel released a cgroup whose directory is gone?  Sockets may hold it for long. */
static int is_released(struct node *n, void *userdata)
{
	struct governor *g = userdata;
	struct sp_cgroup value;

	if (n->written &&
	    bpf_map_lookup_elem(kernel_map_fd(g->kernel, KERNEL_MAP_CGROUPS), &n->id, &value) == 0)
		return 0;
	g->n_governed -= n->policy[half_in_force(g)] != 0;
	return 1;
}

static int scan_again(struct governor *g, uint64_t lost)
{
	int r;

	log_warning("%llu cgroup events came too fast: looking at the whole hierarchy again",
		    (unsigned long long)(lost - g->events_lost));
	r = tree_scan(g->tree, place, g);
	if (r < 0)
		return r;
	tree_sweep(g->tree, is_released, g);
	g->events_lost = lost;
	return 0;
}

int governor_process_events(struct governor *g)
{
	for (;;) {
		int r = kernel_consume_events(g->kernel);
		/* After the events: what found no room among them is counted by now. */
		uint64_t lost =
			__atomic_load_n(&kernel_state(g->kernel)->events_lost, __ATOMIC_ACQUIRE);

		if (r < 0 || lost == g->events_lost)
			return r;
		r = scan_again(g, lost);
		if (r < 0)
			return r;
	}
}

bool governor_root_is_gone(const struct governor *g)
{
	return !directory_is_there(g, tree_root(g->tree));
}

int governor_new(const char *mount, const char *root_path, const struct kernel_sizes *sizes,
		 struct governor **ret)
{
	_cleanup_(governor_free) struct governor *g = calloc(1, sizeof(*g));
	int r;

	if (!g || asprintf(&g->directory, "%s%s", mount, root_path) < 0)
		return log_oom();
	g->mount = strdup(mount);
	if (!g->mount)
		return log_oom();
	r = tree_new(mount, root_path, &g->tree);
	if (r < 0)
		return log_error_errno(r, "Cannot look at the cgroup %s", g->directory);
	r = kernel_load(sizes, &g->kernel);
	if (r < 0)
		return r;
	kernel_state(g->kernel)->cgroup_root_id = tree_root(g->tree)->id;
	kernel_state(g->kernel)->missing_stages = kernel_missing_stages(g->kernel);
	r = sources_new(g->kernel, &g->sources);
	if (r < 0)
		return log_oom();
	r = sets_new(g->kernel, &g->sets);
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
	if (g->sets)
		sets_free(g->sets);
	if (g->sources)
		sources_free(g->sources);
	if (g->tree)
		tree_free(g->tree);
	if (g->kernel)
		kernel_free(g->kernel);
	free(g->mount);
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
	n->classes[!in_force] = NULL;
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
	if (use_stages(g) < 0)
		log_warning("Hooks that no policy needs any more may still be attached, ignoring");
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
	r = generation_new(g->kernel, g->sources, g->sets, c, next, &g->generations[next]);
	if (r < 0)
		return r;
	r = tree_walk(g->tree, prepare_node, g);
	if (r < 0)
		return r;
	r = use_stages(g);
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

static uint32_t listen_digest(const struct governor *g, const struct node *n, unsigned half)
{
	if (!g->generations[half] || !n->classes[half])
		return 0;
	return generation_listen_digest(g->generations[half], cascade_effective(n->classes[half]));
}

/* Between the switch and settle(): both generations are there to compare. */
static const char *is_stale_listener(uint64_t cgroup_id, void *userdata)
{
	const struct governor *g = userdata;
	const struct node *n = tree_find(g->tree, cgroup_id);
	unsigned in_force = half_in_force(g);
	uint32_t before = n ? listen_digest(g, n, !in_force) : 0;

	return before && before != listen_digest(g, n, in_force) ? n->path : NULL;
}

/* Before a detach: whatever is in force goes. */
static const char *is_governed_listener(uint64_t cgroup_id, void *userdata)
{
	const struct governor *g = userdata;
	const struct node *n = tree_find(g->tree, cgroup_id);

	return n && listen_digest(g, n, half_in_force(g)) ? n->path : NULL;
}

/* half: of what goes. */
static void name_stale_listeners(struct governor *g, unsigned half, listener_stale_fn *fn)
{
	const struct generation *going = g->generations[half];
	int r;

	if (!going || !(generation_stages(going) & BIT(SP_STAGE_TCP_LISTEN)))
		return;
	r = listeners_name_stale(fn, g);
	if (r < 0)
		log_warning_errno(r, "Cannot find the listeners that keep old values, ignoring");
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
	name_stale_listeners(g, !half_in_force(g), is_stale_listener);
	settle(g);
	g->warned = false;
	return 0;
}

int governor_attach(struct governor *g, const char *pin_dir)
{
	_cleanup_close_ int fd = open(g->directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	_cleanup_(pins_close) struct pins *earlier = NULL;
	int r;

	if (fd < 0)
		return log_error_errno(errno, "Cannot open the cgroup %s", g->directory);
	/* What an earlier agent counted: its programs run until ours have taken their place. */
	(void)pins_open(pin_dir, &earlier);
	r = kernel_attach(g->kernel, fd, pin_dir);
	if (r == 0 && earlier && kernel_wait_for_programs(g->kernel) == 0)
		sources_carry_counters(g->sources, earlier);
	return r;
}

void governor_detach(struct governor *g)
{
	name_stale_listeners(g, half_in_force(g), is_governed_listener);
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
