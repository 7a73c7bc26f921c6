/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Which policy is a new cgroup's?  Runs inside mkdir(2), so that it is in force before any process
 * can enter: its parent's entry, and what the globs' machine makes of its own name, say it.  (The
 * tracepoint's path would not do: it is cut at 1,023 bytes.)
 */
#ifndef SOCKPOL_BPF_CLASSIFY_H
#define SOCKPOL_BPF_CLASSIFY_H

#include <stdbool.h>

#include "kernel.h"
#include "maps.h"

#define EEXIST		  17
#define CGROUP2_HIERARCHY 0 /* v1 hierarchies come through the same tracepoints */

/* The machine's way over "/" and a cgroup's name. */
struct way {
	__u32 state; /* where it is; 0: not known */
	char bytes[1 + SP_CGROUP_NAME_SIZE];
};

static long step(__u32 i, struct way *way)
{
	struct sp_glob_state *at;
	struct sp_glob_edge *edge;
	__u32 index;

	if (i >= sizeof(way->bytes) || !way->state)
		return 1; /* ends the loop */
	at = bpf_map_lookup_elem(&glob_states, &way->state);
	if (!at) {
		way->state = 0;
		return 1;
	}
	index = at->first_edge + (__u8)way->bytes[i];
	edge = bpf_map_lookup_elem(&glob_edges, &index);
	way->state = edge && edge->from == way->state ? edge->to : at->otherwise;
	return 0;
}

static __always_inline __u32 matches_at(__u32 glob)
{
	struct sp_glob_state *at = glob ? bpf_map_lookup_elem(&glob_states, &glob) : NULL;

	return at ? at->matches : 0;
}

/*
 * One half of a child's entry, of which the parent's is given.  False: its class is not known; it
 * has the parent's policy until the agent has looked.
 */
static __always_inline bool classify_half(struct sp_cgroup *c, int half, struct way *way,
					  __u32 n_bytes)
{
	struct sp_step_key key = { .class = c->class[half] };
	struct sp_step *next;

	way->state = c->glob[half];
	if (n_bytes)
		bpf_loop(n_bytes, step, way, 0);
	else
		way->state = 0;
	c->glob[half] = way->state;
	key.matches = matches_at(way->state);
	if (way->state && key.class && !key.matches)
		return true;
	next = way->state && key.class ? bpf_map_lookup_elem(&steps, &key) : NULL;
	c->class[half] = next ? next->class : 0;
	if (next)
		c->policy[half] = next->policy;
	return next;
}

/* From the parent's entry to the child's.  Returns whether the half in force is known. */
static __always_inline bool classify(struct sp_cgroup *c, const char *name, __u64 generation)
{
	struct way way = { .bytes[0] = '/' };
	/* With the NUL, which stands for the slash in the count. */
	long n = bpf_probe_read_kernel_str(way.bytes + 1, SP_CGROUP_NAME_SIZE, name);
	__u32 n_bytes = n > 1 ? (__u32)n : 0;
	bool equal = c->policy[0] == c->policy[1] && c->class[0] == c->class[1] &&
		     c->glob[0] == c->glob[1];
	bool known[2];

	known[0] = classify_half(c, 0, &way, n_bytes);
	if (equal) {
		c->policy[1] = c->policy[0];
		c->class[1] = c->class[0];
		c->glob[1] = c->glob[0];
		return known[0];
	}
	known[1] = classify_half(c, 1, &way, n_bytes);
	return generation & 1 ? known[1] : known[0];
}

/*
 * All cgroups below the agent's root have an entry, except where it is still looking for them or
 * there was no room: then it is told of every cgroup, and knows which are its own.
 */
static __always_inline bool may_lack_entries(void)
{
	return !state.loaded_usec || state.no_room != state.no_room_settled;
}

/* What the agent has to do with a cgroup that comes or goes. */
enum telling {
	NOTHING,  /* not its own, or told already */
	SOMETIME, /* the kernel has done all that there is to do */
	AT_ONCE,
};

/* See sp_cgroup.id. */
static __always_inline bool read_entry(__u64 id, struct sp_cgroup *ret)
{
	struct sp_cgroup *c;

	for (int i = 0; i < 2; i++) {
		c = bpf_map_lookup_elem(&cgroups, &id);
		if (!c)
			return false;
		*ret = *c;
		barrier();
		if (*(volatile __u64 *)&c->id == id)
			return true;
	}
	return false;
}

/* Where it has the slot, or nobody. */
static __always_inline void write_half(__u64 *half, __u64 id, __u64 word)
{
	__u64 now = *(volatile __u64 *)half;

	if (!now || SP_SLOT_IS_OF(now, id))
		*(volatile __u64 *)half = word;
}

static __always_inline void write_slot(__u64 id, __u64 first, __u64 second)
{
	__u32 place = SP_CGROUP_SLOT(id);
	struct sp_cgroup_slot *slot = bpf_map_lookup_elem(&cgroup_slots, &place);

	if (!slot)
		return;
	write_half(&slot->half[0], id, first);
	write_half(&slot->half[1], id, second);
}

/* Gives a new cgroup its entry, if it is below one that has one. */
static __always_inline enum telling add_entry(__u64 id, __u64 parent_id, const char *name)
{
	__u64 generation = state.generation;
	struct sp_cgroup value;
	bool known, in_force;
	/* Before 6.4 a map's function returns an int, and the verifier calls it directly. */
	int r;

	if (!read_entry(parent_id, &value))
		return may_lack_entries() ? AT_ONCE : NOTHING;
	/* Else nothing is, there, yet. */
	in_force = generation & 1 ? value.glob[1] : value.glob[0];
	known = classify(&value, name, generation);
	value.id = id;
	/* The slot first: once there is an entry, an agent that has just come may find and change
	 * it. */
	write_slot(id, SP_SLOT_WORD(id, value.policy[0]), SP_SLOT_WORD(id, value.policy[1]));
	r = (int)bpf_map_update_elem(&cgroups, &id, &value, BPF_NOEXIST);
	if (r < 0) /* it has another one, or none */
		write_slot(id, 0, 0);
	if (r == -EEXIST) /* from the program of an agent before or after ours, which tells, too */
		return NOTHING;
	if (r < 0)
		__sync_fetch_and_add(&state.no_room, 1);
	else if (!known && in_force)
		__sync_fetch_and_add(&state.unresolved, 1);
	return known && r == 0 && !(state.flags & SP_STATE_BY_EVENTS) ? SOMETIME : AT_ONCE;
}

/* To wake the agent costs more than all else here: a burst wakes it a few times only. */
static __always_inline __u64 wake_flags(enum telling when)
{
	if (when == AT_ONCE || bpf_ringbuf_query(&events, BPF_RB_AVAIL_DATA) >= EVENTS_SIZE / 4)
		return BPF_RB_FORCE_WAKEUP;
	return BPF_RB_NO_WAKEUP;
}

static __always_inline void tell_agent(enum telling when, enum sp_event_kind kind, __u64 id,
				       __u64 parent_id, const char *name)
{
	struct sp_event *e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);

	if (!e) {
		__sync_fetch_and_add(&state.events_lost, 1);
		/* Full still: then the agent has something to read, and sees the count after it. */
		e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
		if (!e)
			return;
	}
	e->kind = kind;
	e->reserved = 0;
	e->id = id;
	e->parent_id = parent_id;
	e->name[0] = '\0';
	if (name)
		bpf_probe_read_kernel_str(e->name, sizeof(e->name), name);
	bpf_ringbuf_submit(e, wake_flags(when));
}

SEC("tp_btf/cgroup_mkdir")
int BPF_PROG(cgroup_mkdir, struct cgroup *cgroup, const char *path)
{
	struct cgroup_subsys_state *parent = cgroup->self.parent;
	enum telling when;
	__u64 id, parent_id;

	if (cgroup->root->hierarchy_id != CGROUP2_HIERARCHY || !parent)
		return 0;
	id = cgroup->kn->id;
	parent_id = parent->cgroup->kn->id;
	when = add_entry(id, parent_id, cgroup->kn->name);
	if (when != NOTHING)
		tell_agent(when, SP_EVENT_MKDIR, id, parent_id, cgroup->kn->name);
	return 0;
}

/* Not at rmdir: sockets outlive their cgroup's directory, and stay governed until the last is gone.
 */
SEC("tp_btf/cgroup_release")
int BPF_PROG(cgroup_release, struct cgroup *cgroup, const char *path)
{
	__u64 id;

	if (cgroup->root->hierarchy_id != CGROUP2_HIERARCHY)
		return 0;
	id = cgroup->kn->id;
	write_slot(id, 0, 0);
	if (bpf_map_delete_elem(&cgroups, &id) == 0 || may_lack_entries())
		tell_agent(SOMETIME, SP_EVENT_RELEASE, id, 0, NULL);
	return 0;
}

#endif
