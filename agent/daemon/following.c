// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <errno.h>

#include "kernel/entry.h"
#include "daemon/governor_impl.h"
#include "base/log.h"

/* Without a node no reload would come to its entry: better it has none, until the next scan. */
static void lose_track(struct governor *g, uint64_t id, int r, const char *parent, const char *name)
{
	struct node n = { .id = id };

	log_error_errno(r, "Cannot keep track of the new cgroup %s/%s", parent, name);
	(void)entry_delete(g->kernel, &n);
	__atomic_fetch_add(&kernel_state(g->kernel)->no_room, 1, __ATOMIC_RELAXED);
	g->n_given_up++;
	g->scan_again = true;
}

static void on_mkdir(struct governor *g, const struct sp_event *e)
{
	char name[SP_CGROUP_NAME_SIZE + 1] = "";
	struct node *parent = tree_find(g->tree, e->parent_id), *n;
	int r;

	if (!parent || !parent->path) /* not below our root */
		return;
	n = tree_find(g->tree, e->id);
	if (n && !n->path) { /* it had an entry and no directory yet when we came */
		g->n_governed -= n->places[half_in_force(g)].policy != 0;
		gone_remove(&g->gone, n->id);
		tree_remove(g->tree, n);
	}
	memcpy(name, e->name, SP_CGROUP_NAME_SIZE);
	r = tree_add(g->tree, e->id, parent, name, &n);
	if (r == -EEXIST) /* the scan was faster */
		return;
	if (r < 0)
		lose_track(g, e->id, r, parent->path, name);
	else
		(void)place_new(n, g);
}

static void on_release(struct governor *g, const struct sp_event *e)
{
	struct node *n = tree_find(g->tree, e->id);

	/* The program has deleted the entry; but we may have written it again before we knew. */
	if (n && n->parent)
		forget(g, n);
}

void on_cgroup_event(const struct sp_event *event, void *userdata)
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
	struct sp_cgroup entry;

	if (n->written && entry_read(g->kernel, n->id, &entry) == 0)
		return 0;
	g->n_governed -= n->places[half_in_force(g)].policy != 0;
	gone_remove(&g->gone, n->id);
	return 1;
}

static int scan_again(struct governor *g, uint64_t lost)
{
	int r;

	if (lost != g->events_lost)
		log_warning("%llu cgroup events came too fast: looking at the whole hierarchy "
			    "again",
			    (unsigned long long)(lost - g->events_lost));
	r = tree_scan(g->tree, place_new, g);
	if (r < 0)
		return r;
	tree_sweep(g->tree, is_released, g);
	g->events_lost = lost;
	g->scan_again = false;
	return 0;
}

int governor_process_events(struct governor *g)
{
	for (;;) {
		int r = kernel_consume_events(g->kernel);
		uint64_t lost;

		/*
		 * After the events: what found no room among them is counted by now, as the program
		 * counts before it looks a second time whether the buffer is full (tell_agent()).
		 */
		__atomic_thread_fence(__ATOMIC_SEQ_CST);
		lost = __atomic_load_n(&kernel_state(g->kernel)->events_lost, __ATOMIC_ACQUIRE);
		if (r < 0 || (lost == g->events_lost && !g->scan_again))
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
