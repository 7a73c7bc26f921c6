// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <errno.h>
#include <sys/stat.h>

#include "compile/cascade.h"
#include "kernel/entry.h"
#include "daemon/governor_impl.h"
#include "base/log.h"
#include "policy/stage.h"

const char *path_of(const struct node *n)
{
	return n->path ? n->path : "(removed)";
}

/* Says which policies together have more rules than a hook can tell apart. */
static int complain_of_rules(struct governor *g, const struct node *n, const struct effective *e,
			     size_t n_rules)
{
	const struct policy *last = e->policies[e->n_policies - 1];
	size_t length;

	snprintf(g->complaint, sizeof(g->complaint),
		 "%zu rules apply to cgroup %s, at most %d can; they are those of", n_rules,
		 path_of(n), SP_RULES_MAX);
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

/* Is that the reason why it is too big? */
static int explain_too_big(struct governor *g, const struct node *n, const struct cgroup_class *k)
{
	const struct effective *e = k ? cascade_effective(k) : NULL;
	size_t n_rules = 0;

	for (size_t i = 0; e && i < e->n_policies; i++)
		n_rules += e->policies[i]->n_rules;
	return n_rules > SP_RULES_MAX ? complain_of_rules(g, n, e, n_rules) : -E2BIG;
}

/* Finds out what one half of the maps has for a cgroup. */
static int classify(struct governor *g, struct node *n, unsigned half)
{
	struct generation *generation = g->generations[half];
	struct place *place = &n->places[half];
	int r;

	if (n->path) {
		r = generation_place(generation, n, place, &g->what);
	} else {
		struct gone_names names = gone_names(g->gone, n->id);

		r = generation_place_by_names(generation, (const char *const *)names.v, names.n,
					      place, &g->what);
	}
	return r == -E2BIG ? explain_too_big(g, n, place->class) : r;
}

int use_stages(struct governor *g)
{
	uint64_t stages = g->adopted ? g->adopted_stages : 0;

	for (int half = 0; half < 2; half++)
		if (g->generations[half])
			stages |= generation_stages(g->generations[half]);
	__atomic_store_n(&kernel_state(g->kernel)->stages, stages, __ATOMIC_RELEASE);
	for (int op = 0; op < SP_SOCK_OPS_MAX; op++)
		__atomic_store_n(&kernel_state(g->kernel)->sock_ops[op],
				 (uint8_t)stage_of_sock_op(stages, op), __ATOMIC_RELEASE);
	g->what = "hooks";
	return kernel_use_stages(g->kernel, stages);
}

int place_next(struct node *n, void *userdata)
{
	struct governor *g = userdata;
	unsigned next = !half_in_force(g);

	n->places[next] = (struct place){ 0 };
	return classify(g, n, next);
}

int write_place(struct node *n, void *userdata)
{
	struct governor *g = userdata;
	int r = entry_write(g->kernel, n);

	if (r < 0)
		g->what = kernel_map_names[KERNEL_MAP_CGROUPS];
	return r;
}

static void copy_place(struct node *n, unsigned from)
{
	n->places[!from] = n->places[from];
	n->places[!from].class = NULL; /* of the other generation */
}

/*
 * So that a cgroup made now, with a copy of its parent's entry, is right whichever half its sockets
 * look at.
 */
int settle_place(struct node *n, void *userdata)
{
	struct governor *g = userdata;
	unsigned in_force = half_in_force(g);
	bool settled = entry_is_settled(n);
	int r;

	copy_place(n, in_force);
	g->n_governed += n->places[in_force].policy != 0;
	r = settled || !n->written || !g->unsettled ? 0 : entry_write(g->kernel, n);
	g->n_untidy += r < 0;
	return 0;
}

bool directory_is_there(const struct governor *g, const struct node *n)
{
	_cleanup_free_ char *directory = NULL;
	struct stat st;

	return n->path && asprintf(&directory, "%s%s", g->mount, n->path) >= 0 &&
	       stat(directory, &st) == 0 && st.st_ino == n->id;
}

void forget(struct governor *g, struct node *n)
{
	g->n_governed -= n->places[half_in_force(g)].policy != 0;
	entry_delete(g->kernel, n);
	gone_remove(&g->gone, n->id);
	tree_remove(g->tree, n);
}

/* A hook that cannot be had, for another cgroup's policy, is not this one's fault. */
static int use_stages_of(struct governor *g, const struct node *n)
{
	uint64_t needed = 0;
	int r = use_stages(g);

	for (unsigned half = 0; half < 2; half++)
		if (g->generations[half])
			needed |= generation_stages_of(g->generations[half], &n->places[half]);
	return (needed & ~kernel_hooked_stages(g->kernel)) ? r : 0;
}

/* inherited: what the kernel made of it; NULL: nothing. */
static int find_places(struct governor *g, struct node *n, const struct sp_cgroup *inherited)
{
	unsigned in_force = half_in_force(g);
	int r = 0;

	for (unsigned half = 0; r == 0 && half < 2; half++) {
		if (g->generations[half])
			r = classify(g, n, half);
		else if (inherited)
			n->places[half] = entry_place(inherited, half);
	}
	/* Once it is flushed the kernel may give what was learnt to the next cgroup of its kind. */
	if (r == 0)
		r = use_stages_of(g, n);
	for (unsigned half = 0; r == 0 && half < 2; half++)
		if (g->generations[half])
			r = generation_flush(g->generations[half], &g->what);
	if (!g->generations[!in_force])
		copy_place(n, in_force);
	return r;
}

void mark_state(struct governor *g)
{
	const struct generation *in_force = g->generations[half_in_force(g)];
	uint32_t *flags = &kernel_state(g->kernel)->flags;
	uint32_t marks = 0;

	if (!in_force)
		return;
	marks |= generation_steps_cut(in_force) ? SP_STATE_STEPS_CUT : 0;
	marks |= generation_needs_events(in_force) ? SP_STATE_BY_EVENTS : 0;
	*flags = (*flags & ~(uint32_t)(SP_STATE_STEPS_CUT | SP_STATE_BY_EVENTS)) | marks;
}

void mark_policies(struct governor *g)
{
	const struct generation *in_force = g->generations[half_in_force(g)];
	const struct config *c = generation_config(in_force);

	for (size_t i = 0; i < c->n_policies; i++) {
		const struct policy *p = &c->policies[i];
		uint32_t flags = generation_by_events(in_force, p) ? SP_SOURCE_BY_EVENTS : 0;

		flags |= generation_cuts(in_force, p) ? SP_SOURCE_CUT : 0;
		sources_set_flags(g->sources, p, flags);
	}
	g->n_cut = generation_n_cut(in_force);
}

/* What the generation in force learnt from a new cgroup. */
static void mark_learnt(struct governor *g)
{
	const struct generation *in_force = g->generations[half_in_force(g)];

	mark_state(g);
	if (!in_force)
		return;
	if (generation_n_cut(in_force) != g->n_cut)
		mark_policies(g);
	g->needs_room |= generation_wants_room(in_force, &g->what);
}

static bool is_want_of_room(const struct governor *g, int r)
{
	if (r != -ENOSPC && r != -E2BIG)
		return false;
	for (int i = 0; i < KERNEL_MAP_MAX; i++)
		if (g->what == kernel_map_names[i])
			return true;
	return false;
}

/* The program counts those that it cannot give an entry; it tries where the parent has one. */
static bool is_counted(const struct governor *g, const struct node *n, bool has_entry)
{
	return !has_entry && n->parent && n->parent->written &&
	       !(kernel_state(g->kernel)->flags & SP_STATE_NO_TRACEPOINTS);
}

/* inherited: as of find_places(). */
static void give_up(struct governor *g, struct node *n, int r, const struct sp_cgroup *inherited)
{
	for (unsigned half = 0; half < 2; half++)
		n->places[half] = inherited ? entry_place(inherited, half) : (struct place){ 0 };
	/* What it has of its parent only, until we look, goes. */
	if (!inherited || !inherited->class[half_in_force(g)])
		n->places[0].policy = n->places[1].policy = 0;
	(void)entry_write(g->kernel, n);
	if (!is_counted(g, n, inherited != NULL))
		__atomic_fetch_add(&kernel_state(g->kernel)->no_room, 1, __ATOMIC_RELAXED);
	g->n_given_up++;
	if (!g->warned && is_want_of_room(g, r))
		log_error("Cannot govern the new cgroup %s: the map `%s` is full (further ones are "
			  "only counted)",
			  path_of(n), g->what);
	else if (!g->warned)
		log_error_errno(r,
				"Cannot govern the new cgroup %s: %s (further ones are "
				"only counted)",
				path_of(n), g->what);
	g->needs_room |= is_want_of_room(g, r);
	g->warned = true;
}

/*
 * We may be late, and the kernel may have released the cgroup already: an entry that we then wrote
 * would stay for ever.  Where the kernel's own entry is there it is not released yet, and
 * entry_write() goes by whether that stays so.
 */
int place_new(struct node *n, void *userdata)
{
	struct governor *g = userdata;
	struct sp_cgroup entry;
	bool inherited = entry_read(g->kernel, n->id, &entry) == 0;
	int r;

	n->written = inherited;
	r = find_places(g, n, inherited ? &entry : NULL);
	/* Without a generation there is nothing to say but what the kernel said. */
	if (r == 0 && !inherited && !g->generations[0] && !g->generations[1])
		return 0;
	if (r == 0 && !(inherited && entry_is(&entry, n)))
		r = write_place(n, g);
	if (r < 0)
		give_up(g, n, r, inherited ? &entry : NULL);
	mark_learnt(g);
	g->n_governed += n->places[half_in_force(g)].policy != 0;
	if (!inherited && n->written && !directory_is_there(g, n))
		forget(g, n);
	return 0;
}
