/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Which policies apply to a cgroup that the cache does not know?  Walks the names of its ancestors,
 * from the root down, over each table of globs: include/abi.h.
 *
 * A policy applies at the shallowest level at which one of its globs matches; the first SP_LIST_MAX
 * by level, then by number, are kept, and then those that an `exclude` at any level names are left
 * out.  That is exact, except that
 * - time is bounded: below SP_LEVELS_MAX, or where the turns run out, a cgroup has what an ancestor
 *   has for which all tables were walked (state.cut);
 * - where more nodes would be active than the ring holds, the table is walked again, for one
 *   interval of its globs after the other: longer, but the same outcome.  (The agent refuses a
 *   glob that would not fit alone.)
 *
 * All is on the stack, since a scratch in a map would have to be claimed: tasks that are preempted
 * in between could hold all of it.  The loop is flat, one bpf_loop whose every turn is a small
 * step, as the verifier walks its body once, and nested callbacks would need a frame each.  For the
 * same reason what has branches is a global function: behind a struct walk * the verifier tracks
 * nothing.
 */
#ifndef SOCKPOL_BPF_CLASSIFY_H
#define SOCKPOL_BPF_CLASSIFY_H

#include <stdbool.h>

#include <bpf/bpf_core_read.h>

#include "cache.h"
#include "kernel_types.h"
#include "maps.h"
#include "socket.h"

#define WALK_CHUNK 15	  /* bytes of a name that are read at once */
#define WALK_TURNS 12288u /* in all */
#define WALK_NODES 8	  /* steps a turn, which costs as much as one */
#define WALK_LONG  8	  /* levels; a longer walk leaves its state to others */
#define WALK_SEEK  16	  /* levels upwards in which a state is looked for */

/* An element of walk.found: a policy's number, whether it is excluded, and above that the level at
 * which it was found, so that their numeric order is the policies' order. */
#define FOUND_NUMBER	    0x00007fffu
#define FOUND_EXCLUDED	    0x00008000u /* excluded at a level above the last */
#define FOUND_EXCLUDED_LAST 0x80000000u /* excluded at the last level */
#define FOUND_LEVEL_SHIFT   16
#define FOUND_LEVEL(found)  ((found) >> FOUND_LEVEL_SHIFT & 0x7fff)
#define FOUND_FREE	    0xffffffffu

enum walk_phase {
	WALK_AT_STATE, /* is there a state of an ancestor? */
	WALK_AT_TABLE,
	WALK_AT_PASS, /* over a table, for an interval of its globs */
	WALK_AT_LEVEL,
	WALK_AT_BYTES,
	WALK_AT_ENDS, /* a name is over: which globs end here? */
};

/* The outcome of one step. */
enum walk_result {
	WALK_ON,
	WALK_END,
	WALK_PASS_ENDS,
	WALK_OVERFLOWS,
};

/* Kept small: 6.1 rounds each frame up to 32 bytes, and all frames together have 512. */
struct walk {
	__u64 cgroup, name; /* addresses; name: of the chunk that comes next */
	__u16 turns;	    /* turns that are left */
	__u16 until;	    /* turns for what follows this pass, ... */
	__u16 reserve;	    /* ... and for the tables after this one */
	__u16 first, last;  /* the interval of globs */
	__u16 level;
	__u16 last_level; /* the cgroup's own level */
	__u16 start;	  /* the level of the state that the walk began with, or 0 */
	__u16 limit;	  /* levels below are not walked any more */
	__u16 goal;	  /* where this pass ends */
	__u16 done;	  /* levels up to which the table was walked for all globs */
	__u16 more;	  /* chain of links still to follow */
	__u16 node;	  /* the node whose edge leads there */
	__u8 head;	  /* of the ring: `now` active nodes from there on, then the `next` ones */
	__u8 now, next;
	__u8 place;    /* see walk_place() */
	__u8 at, byte; /* in the chunk; while names are over, `at` counts nodes */
	__u8 phase;
	__u8 generation;
	__u8 table, n_match, n_tables;
	__u8 busy, says;	   /* flags of the next nodes: not all are idle; a glob ends */
	__u8 last_pass;		   /* no pass follows for further globs */
	__u8 overflowed, stepping; /* this table: passes; each for one level more */
	__u8 found_new;		   /* policies that the state did not have */
	__u8 state_is_whole;	   /* the state has nodes of the tables of `exclude` */
	__u8 keeps, n_kept;	   /* leaves a state; nodes in it */
	__u8 left_out;		   /* more policies matched than there is room for */
	__u8 is_deeper;		   /* deeper than SP_LEVELS_MAX */
	__u32 found[SP_LIST_MAX];  /* ascending, FOUND_FREE behind */
	union {
		__u16 ring[SP_GLOB_ACTIVE_MAX];
		__u64 ring_words[SP_GLOB_ACTIVE_MAX / 4];
	};
	char chunk[WALK_CHUNK + 1]; /* NUL-terminated */
};

static __always_inline __u32 walk_slot(const struct walk *w)
{
	return (w->generation & 1) + 2 * (__u32)w->table;
}

static __always_inline struct sp_glob_node *walk_node(const struct walk *w, __u32 index)
{
	return MAP_LOOK(glob_nodes, walk_slot(w), &index);
}

static __always_inline struct sp_glob_link *walk_link(const struct walk *w, __u32 index)
{
	return MAP_LOOK(glob_links, walk_slot(w), &index);
}

/*
 * Returns the place in the ring i behind the first active node; i is at most a ring's length.  Goes
 * by way of *w, or the verifier would follow each turn of a loop for both ways to reach a place.
 */
static __always_inline __u32 walk_place(struct walk *w, __u32 i)
{
	i += w->head;
	if (i >= SP_GLOB_ACTIVE_MAX)
		i -= SP_GLOB_ACTIVE_MAX;
	*(volatile __u8 *)&w->place = i;
	return *(volatile __u8 *)&w->place;
}

static __always_inline __u16 *walk_ring(struct walk *w, __u32 i)
{
	__u32 at = walk_place(w, i);

	return &w->ring[at < SP_GLOB_ACTIVE_MAX ? at : 0];
}

/* Returns the ancestor at a level, as a number. */
static __always_inline __u64 walk_ancestor(const struct walk *w, __u32 level)
{
	__u64 at = 0;

	bpf_probe_read_kernel(&at, sizeof(at),
			      (void *)(w->cgroup + bpf_core_field_offset(struct cgroup, ancestors) +
				       sizeof(at) * level));
	return at;
}

static __always_inline struct sp_walk_state *walk_state_at(const struct walk *w, __u32 level,
							   __u64 *ret_id)
{
	struct cgroup *ancestor = (struct cgroup *)walk_ancestor(w, level);
	__u64 id = BPF_CORE_READ(ancestor, kn, id);
	__u32 at = SP_PLACE(id, state.seed, SP_WALK_STATE_BITS);

	*ret_id = id;
	return MAP_LOOK(walk_states, w->generation & 1, &at);
}

/* --- over the bytes ----------------------------------------------------------------------------
 */

/* Returns the places of the ring at which the node is, a bit each.  Without a branch, four at a
 * a time: a loop over them would be a tenth of what the verifier walks through. */
static __always_inline __u64 walk_places_of(const struct walk *w, __u64 node)
{
	const __u64 each = 0x0001000100010001, top = each << 15;
	__u64 places = 0;

	_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the first place is the lowest");
#pragma clang loop unroll(disable)
	for (int i = 0; i < SP_GLOB_ACTIVE_MAX / 4; i++) {
		__u64 other = w->ring_words[i] ^ node * each;
		__u64 same = ~(((other | top) - each) | other) & top;

		/* The product has the bits 15, 31, 47 and 63 side by side at its end. */
		places |= (same >> 15) * 0x0001000200040008 >> 48 << 4 * i;
	}
	return places;
}

/* Returns n places of the ring from one on, which is less than two lengths from its beginning. */
static __always_inline __u64 walk_places_from(__u32 first, __u32 n)
{
	__u64 places;

	if (first >= SP_GLOB_ACTIVE_MAX)
		first -= SP_GLOB_ACTIVE_MAX;
	places = ((1ULL << (n & 63)) - 1) << (first & 63);
	if (first + n > SP_GLOB_ACTIVE_MAX)
		places |= (1ULL << ((first + n - SP_GLOB_ACTIVE_MAX) & 63)) - 1;
	return places;
}

/* Is the node among those that will be active, or those that are active and stay? */
__noinline int walk_has(struct walk *w, __u32 node, __u32 flags)
{
	__u32 first, n;

	if (!w)
		return 1;
	first = w->head;
	n = w->next;
	if (flags & (w->byte == '/' ? SP_GLOB_STAYS_SLASH : SP_GLOB_STAYS))
		n += w->now;
	else
		first += w->now;
	return !!(walk_places_of(w, node) & walk_places_from(first, n));
}

/* Returns the next byte of the name; 0: the name is over. */
static __always_inline __u32 walk_byte(struct walk *w)
{
	__u32 at = w->at + 1;

	if (at >= WALK_CHUNK) {
		if (bpf_probe_read_kernel_str(w->chunk, sizeof(w->chunk), (void *)w->name) < 0)
			return 0;
		w->name += WALK_CHUNK;
		at = 0;
	}
	w->at = at;
	asm volatile("" : "+r"(at)); /* keeps the mask */
	return (__u8)w->chunk[at & WALK_CHUNK];
}

static __always_inline void walk_end_name(struct walk *w)
{
	w->at = 0;
	w->phase = WALK_AT_ENDS;
	if (!w->says) {
		w->level++;
		w->phase = WALK_AT_LEVEL;
	}
}

/* Takes one active node over one byte, or adds one more node that this byte leads to. */
static __always_inline int walk_step(struct walk *w)
{
	__u32 to, first, last, flags;

	if (w->more) {
		struct sp_glob_link *link = walk_link(w, w->more);

		if (!link)
			return WALK_END;
		to = link->what;
		first = link->first;
		last = link->last;
		flags = link->flags;
		w->more = link->next;
	} else {
		struct sp_glob_node *edge;
		__u32 node;

		if (!w->now) { /* the byte is over */
			w->now = w->next;
			w->next = 0;
			if (!w->now)
				return WALK_PASS_ENDS; /* nothing can match here or below */
			w->byte = w->busy ? walk_byte(w) : 0;
			if (!w->byte) {
				walk_end_name(w);
				return WALK_ON;
			}
			w->busy = w->says = 0;
		}
		node = *walk_ring(w, 0);
		w->head = w->head + 1 < SP_GLOB_ACTIVE_MAX ? w->head + 1 : 0;
		w->now--;
		edge = walk_node(w, node + w->byte);
		if (!edge)
			return WALK_END;
		if (edge->from != node) {
			if (w->byte == '/')
				return WALK_ON;
			edge = walk_node(w, node);
			if (!edge || edge->from != node)
				return WALK_ON;
		}
		to = edge->to;
		if (!to)
			return WALK_ON;
		first = edge->first;
		last = edge->last;
		flags = edge->flags;
		w->more = edge->more;
		w->node = node;
	}
	if (first > w->last || last < w->first)
		return WALK_ON;
	if (flags & SP_GLOB_SHARED && to != w->node && walk_has(w, to, flags))
		return WALK_ON;
	if (w->now + w->next >= SP_GLOB_ACTIVE_MAX)
		return WALK_OVERFLOWS;
	*walk_ring(w, w->now + w->next) = to;
	w->next++;
	w->busy |= ~flags & SP_GLOB_IDLE;
	w->says |= flags & SP_GLOB_SAYS;
	return WALK_ON;
}

__noinline int walk_bytes(struct walk *w)
{
	if (!w)
		return WALK_END;
	for (int i = 0; i < WALK_NODES && w->phase == WALK_AT_BYTES; i++) {
		int r = walk_step(w);

		if (r != WALK_ON)
			return r;
	}
	return WALK_ON;
}

/* --- globs that end ----------------------------------------------------------------------------
 */

/* Notes that a policy matches at this level: it takes its place in the order, and the last one may
 * fall out. */
static __always_inline void walk_find(struct walk *w, __u32 number)
{
	__u32 key = (__u32)w->level << FOUND_LEVEL_SHIFT | number, carried = key;

	for (__u32 i = 0; i < SP_LIST_MAX; i++) {
		__u32 *place = &w->found[cache_index(i)];
		__u32 here = *place;
		bool same = (here & FOUND_NUMBER) == number && here != FOUND_FREE;

		if (here < carried) {
			if (same) /* it matched at a level above, or another glob did here */
				return;
			continue;
		}
		*place = carried;
		w->found_new |= here != key;
		if (same || here == FOUND_FREE)
			return;
		carried = here;
	}
	w->left_out = 1;
}

static __always_inline void walk_exclude(struct walk *w, __u32 number)
{
	__u32 flag = w->level < w->last_level ? FOUND_EXCLUDED : FOUND_EXCLUDED_LAST;

	for (__u32 i = 0; i < SP_LIST_MAX; i++) {
		__u32 *place = &w->found[cache_index(i)];

		if (*place == FOUND_FREE)
			return;
		if ((*place & FOUND_NUMBER) == number) {
			*place |= flag;
			return;
		}
	}
}

__noinline int walk_report(struct walk *w, __u32 number)
{
	if (!w)
		return 0;
	if (w->table < w->n_match)
		walk_find(w, number);
	else
		walk_exclude(w, number);
	return 0;
}

__noinline int walk_ends(struct walk *w)
{
	if (!w)
		return WALK_END;
	for (int i = 0; i < WALK_NODES; i++) {
		if (w->more) {
			struct sp_glob_link *link = walk_link(w, w->more);

			if (!link)
				return WALK_END;
			w->more = link->next;
			walk_report(w, link->what);
		} else if (w->at < w->now) {
			__u32 node = *walk_ring(w, w->at);
			struct sp_glob_node *own = walk_node(w, node);

			w->at++;
			if (own && own->from == node)
				w->more = own->says;
		} else {
			w->level++;
			w->phase = WALK_AT_LEVEL;
			break;
		}
	}
	return WALK_ON;
}

/* --- states of other walks ---------------------------------------------------------------------
 */

/* Begins with the state of the ancestor at w->level, if there is one. */
__noinline int walk_begin_at_state(struct walk *w)
{
	struct sp_walk_state *s;
	__u64 id, first;
	__u32 n;

	if (!w)
		return 0;
	s = walk_state_at(w, w->level, &id);
	if (!s)
		return 0;
	first = cache_read(&s->word[0]);
	if (!SP_WORD_IS_OF(first, id))
		return 0;
	n = SP_WORD_WHAT(first) & ((1u << SP_WALK_N_BITS) - 1);
	for (__u32 i = 0; i < SP_LIST_MAX; i++) {
		__u64 word;

		if (i >= n)
			break;
		word = cache_read(&s->word[1 + i]);
		if (!SP_WORD_IS_OF(word, id)) { /* another cgroup's state takes its place */
			w->found[0] = FOUND_FREE;
			first = 0;
			break;
		}
		w->found[cache_index(i)] = SP_WORD_WHAT(word);
	}
	if (!first) {
		for (__u32 i = 0; i < SP_LIST_MAX; i++)
			w->found[cache_index(i)] = FOUND_FREE;
		return 0;
	}
	w->start = w->level;
	w->state_is_whole = !!(SP_WORD_WHAT(first) & SP_WALK_ALL_TABLES);
	return 1;
}

/* Takes over one active node of the state, if it is of this table.  Returns 0 if the state is gone.
 * Kept out of the loop, whose every turn the verifier follows. */
__noinline int walk_resume_node(struct walk *w, __u32 i)
{
	struct sp_walk_state *s;
	__u64 id, word;
	__u32 at;

	if (!w)
		return 0;
	s = walk_state_at(w, w->start, &id);
	at = w->now;
	if (!s || i >= SP_WALK_ACTIVE_MAX || at >= SP_GLOB_ACTIVE_MAX)
		return 0;
	word = cache_read(&s->word[1 + SP_LIST_MAX + i]);
	if (!SP_WORD_IS_OF(word, id))
		return 0;
	w->ring[at] = SP_WORD_WHAT(word);
	w->now = at + !((SP_WORD_WHAT(word) >> SP_WALK_NODE_BITS) ^ w->table);
	return 1;
}

/* Returns how many active nodes the state has, of all tables; -1: the state is gone. */
__noinline int walk_count_nodes(struct walk *w)
{
	struct sp_walk_state *s;
	__u64 id, first;

	if (!w)
		return -1;
	s = walk_state_at(w, w->start, &id);
	if (!s)
		return -1;
	first = cache_read(&s->word[0]);
	if (!SP_WORD_IS_OF(first, id))
		return -1;
	return SP_WORD_WHAT(first) >> SP_WALK_N_BITS & ((1u << SP_WALK_N_BITS) - 1);
}

/* Takes over the table's active nodes at the level of the state; false: the state is gone. */
static __always_inline bool walk_resume(struct walk *w)
{
	int n = walk_count_nodes(w);

	w->now = 0;
	for (int i = 0; i < SP_WALK_ACTIVE_MAX && i < n; i++)
		if (!walk_resume_node(w, i))
			return false;
	return n >= 0;
}

/* Puts one active node into the parent's state.  Kept out of the loop, whose every turn the
 * verifier follows. */
__noinline int walk_keep_node(struct walk *w, __u32 i)
{
	struct sp_walk_state *s;
	__u32 at, from;
	__u64 id;

	if (!w)
		return 0;
	s = walk_state_at(w, w->last_level - 1, &id);
	at = w->n_kept;
	from = walk_place(w, i);
	if (!s || at >= SP_WALK_ACTIVE_MAX || from >= SP_GLOB_ACTIVE_MAX) {
		w->keeps = 0;
		return 0;
	}
	cache_write(&s->word[1 + SP_LIST_MAX + at],
		    SP_WORD(id, (__u32)w->table << SP_WALK_NODE_BITS | w->ring[from]));
	w->n_kept = at + 1;
	return 0;
}

/* Puts the active nodes into the parent's state before the last level, if there is room for all. */
static __always_inline void walk_keep_nodes(struct walk *w)
{
	for (__u32 i = 0; i < SP_GLOB_ACTIVE_MAX && i < w->now && w->keeps; i++)
		walk_keep_node(w, i);
}

/* Writes the rest of the parent's state. */
__noinline int walk_keep_policies(struct walk *w)
{
	struct sp_walk_state *s;
	__u32 n = 0, what;
	__u64 id;

	if (!w)
		return 0;
	s = walk_state_at(w, w->last_level - 1, &id);
	if (!s)
		return 0;
	for (__u32 i = 0; i < SP_LIST_MAX; i++) {
		__u32 found = w->found[cache_index(i)];

		if (found == FOUND_FREE || FOUND_LEVEL(found) >= w->last_level)
			break;
		cache_write(&s->word[1 + cache_index(i)],
			    SP_WORD(id, found & (FOUND_NUMBER | FOUND_EXCLUDED)));
		n++;
	}
	what = n | (__u32)w->n_kept << SP_WALK_N_BITS;
	if (w->table >= w->n_tables)
		what |= SP_WALK_ALL_TABLES;
	cache_write(&s->word[0], SP_WORD(id, what));
	return 0;
}

/* --- levels, passes, tables --------------------------------------------------------------------
 */

__noinline int walk_begin_level(struct walk *w)
{
	struct cgroup *ancestor;

	if (!w)
		return WALK_END;
	if (w->level > w->goal)
		return WALK_PASS_ENDS;
	if (w->keeps && w->level == w->last_level)
		walk_keep_nodes(w);
	ancestor = (struct cgroup *)walk_ancestor(w, w->level);
	w->name = (__u64)BPF_CORE_READ(ancestor, kn, name);
	w->byte = '/';
	w->at = WALK_CHUNK - 1; /* so that the next byte is the first of a chunk */
	w->next = 0;
	w->busy = w->says = 0;
	w->phase = WALK_AT_BYTES;
	return WALK_ON;
}

/*
 * May the walk begin at the state?  A state knows what is excluded only among its own policies; if
 * more have been found, the tables of `exclude` are walked from the root.
 */
static __always_inline bool walk_may_resume(const struct walk *w)
{
	return w->start && (w->table < w->n_match || (w->state_is_whole && !w->found_new));
}

__noinline int walk_begin_pass(struct walk *w)
{
	struct sp_glob_node *begin;

	if (!w)
		return WALK_END;
	begin = walk_node(w, 0);
	if (!begin)
		return WALK_END;
	if (w->last > begin->last)
		w->last = begin->last;
	w->last_pass = w->last == begin->last;
	w->head = w->now = w->next = 0;
	if (walk_may_resume(w) && walk_resume(w)) {
		w->more = 0;
		w->level = w->start + 1;
		w->phase = WALK_AT_LEVEL;
		return w->now ? WALK_ON : WALK_PASS_ENDS;
	}
	w->now = 0;
	w->more = begin->more;
	w->node = 0;
	w->level = 0; /* the root, whose name is empty */
	w->byte = '/';
	w->at = 0;
	w->chunk[1] = '\0';
	w->busy = w->says = 0;
	w->phase = WALK_AT_BYTES;
	return WALK_ON;
}

__noinline int walk_begin_table(struct walk *w)
{
	__u32 left;

	if (!w)
		return WALK_END;
	left = w->n_tables - w->table;
	if (w->table >= w->n_tables || (w->table == w->n_match && w->found[0] == FOUND_FREE))
		return WALK_END;
	w->until = w->reserve = w->turns - w->turns / left;
	w->first = 0;
	w->last = 0xffff;
	w->goal = w->limit;
	w->done = w->start;
	w->overflowed = w->stepping = 0;
	w->phase = WALK_AT_PASS;
	return WALK_ON;
}

/* Begins to walk down to w->goal, for all globs. */
static __always_inline void walk_sweep(struct walk *w, __u32 goal)
{
	w->goal = goal;
	w->last -= w->first; /* as wide as what was walked last */
	w->first = 0;
	w->phase = WALK_AT_PASS;
}

static __always_inline void walk_end_table(struct walk *w, __u32 limit)
{
	w->limit = limit;
	w->table++;
	w->phase = WALK_AT_TABLE;
}

/* Goes on to the next interval, after one that fitted: twice as wide. */
__noinline int walk_end_pass(struct walk *w)
{
	__u32 last;

	if (!w)
		return 0;
	if (w->last_pass) {
		if (w->goal >= w->limit) {
			walk_end_table(w, w->limit);
		} else {
			w->done = w->goal;
			walk_sweep(w, w->goal + 1);
		}
		return 0;
	}
	last = w->last + 2 * (w->last - w->first + 1u);
	w->first = w->last + 1;
	w->last = last < 0xffff ? last : 0xffff;
	w->phase = WALK_AT_PASS;
	return 0;
}

/*
 * Halves the interval, as too many nodes are active.  Half of the turns are kept back, in case the
 * rest is too few for as many passes.
 */
__noinline int walk_halve(struct walk *w)
{
	if (!w)
		return 0;
	if (!w->overflowed) {
		w->overflowed = 1;
		w->keeps = 0;
		w->until = (__u32)(w->turns + w->reserve) / 2;
		if (w->level && w->level - 1 > w->done)
			w->done = w->level - 1;
	}
	if (w->first == w->last) { /* the agent has refused such a glob */
		walk_end_table(w, w->done);
		return 0;
	}
	w->last = (__u32)(w->first + w->last) / 2;
	w->phase = WALK_AT_PASS;
	return 0;
}

/*
 * Handles the end of the table's turns.  In a first pass all levels above were walked for all
 * globs.  Otherwise the walk goes on level by level from those that were, so that what an ancestor
 * has does not depend on the names below it.
 */
__noinline int walk_end_turns(struct walk *w)
{
	__u32 limit;

	if (!w)
		return 0;
	w->keeps = 0;
	if (w->overflowed && !w->stepping) {
		w->stepping = 1;
		w->until = w->reserve;
		walk_sweep(w, w->done + 1);
		return 0;
	}
	limit = w->done;
	if (!w->overflowed && w->level && w->level - 1 > w->done)
		limit = w->level - 1;
	walk_end_table(w, limit);
	return 0;
}

/* --- the loop ----------------------------------------------------------------------------------
 */

__noinline int walk_seek_state(struct walk *w)
{
	if (!w)
		return WALK_END;
	if (w->level <= WALK_LONG || w->level + WALK_SEEK < w->last_level ||
	    walk_begin_at_state(w)) {
		w->keeps = w->last_level - w->start > WALK_LONG;
		w->phase = WALK_AT_TABLE;
		return WALK_ON;
	}
	w->level--;
	return WALK_ON;
}

static __always_inline int walk_turn(struct walk *w)
{
	int r;

	if (!w)
		return 1;
	if (w->turns <= w->until && w->phase >= WALK_AT_PASS) {
		walk_end_turns(w);
		return 0;
	}
	if (w->turns)
		w->turns--;
	switch (w->phase) {
	case WALK_AT_BYTES:
		r = walk_bytes(w);
		break;
	case WALK_AT_ENDS:
		r = walk_ends(w);
		break;
	case WALK_AT_LEVEL:
		r = walk_begin_level(w);
		break;
	case WALK_AT_PASS:
		r = walk_begin_pass(w);
		break;
	case WALK_AT_TABLE:
		r = walk_begin_table(w);
		break;
	default:
		r = walk_seek_state(w);
		break;
	}
	if (r == WALK_PASS_ENDS)
		walk_end_pass(w);
	if (r == WALK_OVERFLOWS)
		walk_halve(w);
	return r == WALK_END;
}

static long walk_loop(__u32 i, struct walk *w)
{
	return walk_turn(w) & 1;
}

/* Chooses one policy.  Kept out of the loop, whose every turn the verifier follows. */
__noinline int walk_choose_one(struct walk *w, __u32 i)
{
	__u32 found, stays;

	if (!w)
		return 0;
	found = w->found[cache_index(i)];
	stays = ~(found >> 15 | found >> 31 | (w->limit - FOUND_LEVEL(found)) >> 31);
	w->found[cache_index(w->place)] = found & FOUND_NUMBER;
	w->place += stays & 1;
	return 0;
}

/* Leaves the policies that apply at the front of w->found, as bare numbers. */
__noinline int walk_choose(struct walk *w)
{
	if (!w)
		return 0;
	w->place = 0;
	for (__u32 i = 0; i < SP_LIST_MAX; i++)
		walk_choose_one(w, i);
	return w->place;
}

#define WALK_ROOT_LEVELS 64 /* above the mount, where it shows a part of the hierarchy */

__noinline int walk_is_root(struct walk *w, __u32 level)
{
	struct cgroup *ancestor;

	if (!w)
		return 0;
	ancestor = (struct cgroup *)walk_ancestor(w, level);
	return BPF_CORE_READ(ancestor, kn, id) == state.mount_id;
}

/*
 * Paths begin at the cgroup2 mount, which in a cgroup namespace is not the hierarchy's root: from
 * here on levels count from there.  Returns the cgroup's level, or -1: it is not below the mount.
 */
__noinline int walk_begin_at_mount(struct walk *w, __u32 level)
{
	if (!w)
		return -1;
	for (__u32 root = 0; root < WALK_ROOT_LEVELS && root <= level; root++) {
		if (walk_is_root(w, root)) {
			w->cgroup += sizeof(__u64) * root; /* see walk_ancestor() */
			return (int)(level - root);
		}
	}
	return -1;
}

__noinline int walk_begin(struct walk *w, __u32 generation)
{
	const struct sp_generation *g = &state.of[generation & 1];
	struct cgroup *cgroup;
	int level;

	if (!w)
		return 0;
	cgroup = (struct cgroup *)w->cgroup;
	level = walk_begin_at_mount(w, (__u32)BPF_CORE_READ(cgroup, level));
	w->last_level = level < 0 ? 0 : level < SP_LEVELS_MAX ? level : SP_LEVELS_MAX;
	w->is_deeper = level > SP_LEVELS_MAX;
	w->limit = w->last_level;
	w->level = w->last_level ? w->last_level - 1 : 0;
	w->generation = generation & 1;
	if (level >= 0) { /* else it has no path, and no table is walked */
		w->n_match = g->n_match_tables;
		w->n_tables = g->n_match_tables + g->n_exclude_tables;
	}
	w->turns = WALK_TURNS;
	for (__u32 i = 0; i < SP_LIST_MAX; i++)
		w->found[cache_index(i)] = FOUND_FREE;
	return 0;
}

__noinline __u32 walk_outcome(struct walk *w, __u64 id, __u32 generation)
{
	__u32 n;

	if (!w)
		return 0;
	__sync_fetch_and_add(&state.misses, 1);
	if (w->limit < w->last_level || w->is_deeper)
		__sync_fetch_and_add(&state.cut, 1);
	if (w->keeps)
		walk_keep_policies(w);
	if (w->left_out)
		__sync_fetch_and_add(&state.left_out, 1);
	n = walk_choose(w);
	return cache_remember(id, generation, w->found, n);
}

/*
 * Finds the policies of a cgroup and remembers them.  Returns what cache_recall() says from now on.
 * Not static: the verifier walks it once, not again from each place that calls it.
 */
__noinline __u32 classify(__u64 id, __u64 cgroup_address, __u32 generation)
{
	struct walk w;

	__builtin_memset(&w, 0, sizeof(w));
	w.cgroup = cgroup_address;
	walk_begin(&w, generation);
	bpf_loop(WALK_TURNS + 4 * SP_GLOB_TABLES_MAX, walk_loop, &w, 0);
	return walk_outcome(&w, id, generation);
}

/*
 * Returns the address as a number, since no global function takes a pointer that the verifier knows
 * as a cgroup's.  Goes by way of the stack, as 6.1 lets nobody convert the one into the other.
 */
static __noinline __attribute__((unused)) __u64 as_number(__u64 pointer)
{
	void *volatile hidden = (void *)pointer;
	__u64 raw = 0;

	bpf_probe_read_kernel(&raw, sizeof(raw), (const void *)&hidden);
	return raw;
}

/* Returns the policies that apply: 0 none, a policy's number, or SP_WORD_IN_LISTS. */
static __always_inline __u32 policies_of(const struct owner *owner, __u64 generation)
{
	__u32 what;

	/* A hook that the agent before had not attached runs before there is a generation: what it
	 * found would stay in the cache of the first one. */
	if (!generation)
		return 0;
	if (cache_recall(owner->id, generation, &what))
		return what;
	return classify(owner->id, as_number(owner->address), generation);
}

#endif
