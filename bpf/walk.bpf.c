// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Walks over the sockets of a network namespace that are open already: finds what wins for each by
 * the hooks' own code (apply.h), and shows, sets or takes it back.
 *
 * The object lives for one command.  Its arrays of maps are its own, with the inner maps of the
 * generation in force and of the one before in their slots: whatever an agent does meanwhile, a run
 * sees two whole configurations.  A run is one reader's, so variables serve in place of the stack.
 */
#include <stdbool.h>

#include <linux/bpf.h>
#include <linux/in.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "apply.h"
#include "cache.h"
#include "classify.h"
#include "facts.h"
#include "socket.h"
#include "walk_abi.h"

#define SOCK_SEQPACKET 5
#define TCP_SYN_SENT   2

/* As enum direction of the agent. */
#define DIRECTION_CONNECT 0
#define DIRECTION_ACCEPT  1
#define DIRECTION_LISTEN  2

/* --- parameters and outcomes */

struct walk_run run;
struct walk_option options[SP_OPTIONS_MAX];
__u64 wanted[SP_COUNTERS_MAX / 64]; /* by counter */
struct walk_counts counts;

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 4096);
	__type(key, struct walk_refusal);
	__type(value, __u64);
} refusals SEC(".maps");

/* The ports of listeners with a backlog of 0: iterators show listeners first. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 65536);
	__type(key, __u16);
	__type(value, __u8);
} ports SEC(".maps");
static bool has_ports;

/* By the id of a cgroup: is it run.cgroup, or below it? */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, __u64);
	__type(value, __u32);
} below SEC(".maps");

/* --- what wins */

/* The operations that win, by row of the option table. */
struct found {
	__u64 options;
	__u32 op[SP_OPTIONS_MAX]; /* numbers */
};

/* Of the generation in force, of the one before, and of another direction. */
static struct found now, before, other;
static struct facts facts; /* of the socket */
static struct policy_list list;

/* IP_TOS's second operation (program_encode_ops()) is left out: setting IP_TOS on an open socket
 * brings SO_PRIORITY along. */
static __always_inline void find_op(struct found *to, struct sp_op *op, __u32 how, __u32 number)
{
	__u32 row = op->option & (SP_OPTIONS_MAX - 1);

	if (op->level == SP_LEVEL_REPLY || !(op->families & HOW_FAMILIES(how)) ||
	    op->optname != options[row].optname)
		return;
	to->op[row] = number;
	to->options |= 1ULL << row;
}

__noinline int set_cell_found(struct found *to, __u32 cell, __u32 n, __u32 how, __u64 but)
{
	if (to)
		SET_CELL(to, cell, n, how, but, find_op);
	return 0;
}

__noinline int set_plain_found(struct found *to, struct merge *m)
{
	if (to && m)
		SET_PLAIN(to, m, set_cell_found);
	return 0;
}

__noinline int merge_found(struct found *to, __u64 id, __u32 what, __u32 how)
{
	return to ? merge(to, &facts, id, what, how, 0, CONTEXT_FOUND) : 0;
}

/* Returns the policies that apply, as cache_remember() does.  Called by the programs themselves: at
 * any deeper place classify() would have no stack left on 6.1. */
static __always_inline __u32 policies_with_list(const struct owner *owner, __u32 generation)
{
	__u32 what;

	if (cache_recall(owner->id, generation, &what) &&
	    (what != SP_WORD_IN_LISTS || cache_recall_list(owner->id, generation, &list)))
		return what;
	return classify(owner->id, as_number(owner->address), generation);
}

/* Adds what wins at a stage.  Other than in the hooks nothing is counted. */
__noinline int find_at(struct found *to, __u64 id, __u32 what, __u32 how)
{
	if (!to || !what || !(state.of[HOW_GENERATION(how)].stages >> HOW_STAGE(how) & 1))
		return 0;
	return merge_found(to, id, what, how);
}

static __always_inline struct sp_op *found_op(const struct found *in, __u32 row, __u32 generation)
{
	return in->options >> row & 1 ? numbered_op(in->op[row], generation) : NULL;
}

static __always_inline bool same_bytes(const void *a, const void *b)
{
	const __u64 *x = a, *y = b;

	_Static_assert(SP_VALUE_SIZE == 16, "two words");
	return x[0] == y[0] && x[1] == y[1];
}

/* Do both give the same value? */
static __always_inline bool same_value(const struct sp_op *a, const struct sp_op *b)
{
	const struct sp_bounds *x = &a->bounds, *y = &b->bounds;

	if (options[a->option & (SP_OPTIONS_MAX - 1)].seen == WALK_SEEN_TEXT)
		return same_bytes(a->value, b->value);
	if ((a->flags ^ b->flags) & (SP_OP_RANGE | SP_OP_NO_VALUE))
		return false;
	return x->value == y->value &&
	       !(a->flags & SP_OP_RANGE && (x->min != y->min || x->max != y->max));
}

static __always_inline __u32 lowest_row(__u64 rows)
{
	return count_bits((rows & -rows) - 1) & (SP_OPTIONS_MAX - 1);
}

struct alike {
	struct found *of;
	__u64 left; /* rows */
	__u32 generation;
};

static long keep_one_alike(__u32 i, struct alike *x)
{
	__u32 row = lowest_row(x->left);
	struct found *of = x->of;
	struct sp_op *a, *b;

	if (!x->left)
		return 1;
	x->left &= x->left - 1;
	a = found_op(of, row, x->generation);
	b = found_op(&other, row, x->generation);
	if (!a || !b || a->counter != b->counter || !same_value(a, b))
		of->options &= ~(1ULL << row);
	return 0;
}

/* Keeps what `other` has as well, from the same policy or rule. */
__noinline int keep_alike(struct found *to, __u32 generation)
{
	struct alike x = { .of = to, .generation = generation };

	if (!to)
		return 0;
	x.left = to->options;
	bpf_loop(SP_OPTIONS_MAX, keep_one_alike, &x, 0);
	return 0;
}

#define FIND(to, id, what, stage, families, generation)                                            \
	find_at(to, id, what, HOW(stage, families, 0, generation))

static __always_inline void find_connect(struct found *to, __u64 id, __u32 what, __u32 families,
					 __u32 generation)
{
	FIND(to, id, what, SP_STAGE_TCP_CONNECT, families, generation);
	FIND(to, id, what, SP_STAGE_TCP_SYN, families, generation);
	FIND(to, id, what, SP_STAGE_TCP_ACTIVE_EST, families, generation);
}

/* Finds what wins for a TCP socket by its direction.  how: of no stage. */
__noinline int find_tcp(struct found *to, __u64 id, __u32 what, __u32 direction, __u32 how)
{
	__u32 families = HOW_FAMILIES(how), generation = HOW_GENERATION(how);

	if (!to)
		return 0;
	to->options = 0;
	switch (direction) {
	case DIRECTION_LISTEN:
		FIND(to, id, what, SP_STAGE_TCP_BIND, families, generation);
		FIND(to, id, what, SP_STAGE_TCP_LISTEN, families, generation);
		break;
	case DIRECTION_ACCEPT:
		FIND(to, id, what, SP_STAGE_TCP_PASSIVE_EST, families, generation);
		break;
	case DIRECTION_CONNECT:
		find_connect(to, id, what, families, generation);
		break;
	default:
		find_connect(to, id, what, families, generation);
		other.options = 0;
		FIND(&other, id, what, SP_STAGE_TCP_PASSIVE_EST, families, generation);
		keep_alike(to, generation);
	}
	return 0;
}

__noinline int find_unix(struct found *to, __u64 id, __u32 what, __u32 generation)
{
	if (!to)
		return 0;
	to->options = 0;
	FIND(to, id, what, SP_STAGE_UNIX, SP_FAMILY_IPV4 | SP_FAMILY_IPV6, generation);
	FIND(to, id, what, SP_STAGE_LOCAL_SOCKET, SP_FAMILY_IPV4 | SP_FAMILY_IPV6, generation);
	return 0;
}

/* --- values */

/* The socket, and the items of its record behind it. */
static struct {
	struct walk_socket socket;
	struct walk_item items[SP_OPTIONS_MAX];
} record;
static struct walk_item item; /* the option that is looked at; `value` is what the socket has */
static __u32 locks;	      /* sk_userlocks */
static bool touched;

static __always_inline bool is_made_of(const struct walk_option *o, __u32 value)
{
	__u32 ignored = o->result == WALK_ECN_MASKED ? 3 : 0;

	return !((item.value ^ walk_made_of(o, value)) & ~ignored);
}

/* Has the socket what this value becomes? */
static __always_inline bool has_value(const struct walk_option *o, const void *value)
{
	return o->seen == WALK_SEEN_TEXT ? same_bytes(item.text, value)
					 : is_made_of(o, *(const __u32 *)value);
}

/* Has it what a socket has on which nobody set anything? */
static __always_inline bool is_fresh(const struct walk_option *o)
{
	if (o->lock)
		return !(locks & o->lock);
	if (o->fresh_kind == WALK_FRESH_TEXT)
		return same_bytes(item.text, o->fresh_text);
	return o->fresh_kind == WALK_FRESH_NUMBER && is_made_of(o, o->fresh);
}

/* Reads what the socket has into item. */
static __always_inline bool see(void *sk, struct tcp_sock *tp, const struct walk_option *o)
{
	__builtin_memset(item.text, 0, sizeof(item.text));
	switch (o->seen) {
	case WALK_SEEN_NUMBER:
		return !bpf_getsockopt(sk, o->level, o->optname, &item.value, sizeof(item.value));
	case WALK_SEEN_TEXT:
		return !bpf_getsockopt(sk, o->level, o->optname, item.text, sizeof(item.text));
	default:
		break;
	}
	if (!tp)
		return false;
	switch (o->seen) {
	case WALK_SEEN_CWND_CLAMP:
		item.value = tp->snd_cwnd_clamp;
		return true;
	case WALK_SEEN_USER_MSS:
		item.value = tp->rx_opt.user_mss;
		return true;
	case WALK_SEEN_WINDOW_CLAMP:
		item.value = tp->window_clamp;
		return true;
	case WALK_SEEN_DELACK_MAX:
		item.value = tp->inet_conn.icsk_delack_max;
		return true;
	case WALK_SEEN_RTO_MIN:
		item.value = tp->inet_conn.icsk_rto_min;
		return true;
	default:
		return false;
	}
}

/* --- one option of a socket */

/* Is what the socket has what the application set?  Where no hook took a note it is taken for that,
 * unless it is a new socket's or what a policy gave. */
static __always_inline bool is_own_set(void *sk, const struct walk_option *o, __u32 row,
				       const struct sp_op *op, const struct sp_op *was)
{
	struct sp_own_sets *own = bpf_sk_storage_get(&own_sets, sk, NULL, 0);

	if (own && own->options >> row & 1 &&
	    !(op->reads & SP_FRESH_IS_UNSET && !own->value[row]) &&
	    (o->seen == WALK_SEEN_TEXT ? item.value == own->value[row]
				       : is_made_of(o, own->value[row]))) {
		item.flags |= WALK_ITEM_OWN;
		return true;
	}
	if (own && own->whole >> row & 1)
		return false;
	return !is_fresh(o) && !(was && has_value(o, was->value));
}

/* Finds what the socket should have, in item.wanted.  WALK_SET: that. */
static __always_inline __u32 judge(void *sk, const struct walk_option *o, __u32 row,
				   const struct sp_op *op, const struct sp_op *was)
{
	__builtin_memcpy(item.wanted, op->value, sizeof(item.wanted));
	if (has_value(o, op->value))
		return WALK_RIGHT;
	if (!(op->flags & (SP_OP_RESPECT | SP_OP_RANGE)))
		return WALK_SET;
	if (!is_own_set(sk, o, row, op, was))
		return op->flags & SP_OP_NO_VALUE ? WALK_RIGHT : WALK_SET;
	if (!(op->flags & SP_OP_RANGE))
		return WALK_RESPECTED;
	item.bounds.value = clamped(op, walk_made_from(o, item.value));
	return is_made_of(o, item.bounds.value) ? WALK_RIGHT : WALK_SET;
}

static __always_inline bool is_late(const struct walk_option *o)
{
	return o->late & (record.socket.direction == DIRECTION_LISTEN ? WALK_LATE_LISTENER
								      : WALK_LATE_CONNECTION);
}

static __always_inline void count_refusal(__u32 row, int error)
{
	struct walk_refusal key = { .option = row, .error = error };
	__u64 one = 1, *count = bpf_map_lookup_elem(&refusals, &key);

	if (count)
		++*count;
	else
		bpf_map_update_elem(&refusals, &key, &one, BPF_ANY);
}

/* Sets item.wanted. */
static __always_inline __u32 set_wanted(void *sk, const struct walk_option *o, __u32 row,
					__u32 optlen)
{
	int r;

	if (is_late(o))
		return WALK_TOO_LATE;
	if (run.is_dry || run.mode == WALK_SHOW)
		return WALK_SET;
	r = (int)bpf_setsockopt(sk, o->level, o->optname, item.wanted, (int)length_of(optlen));
	if (r) {
		count_refusal(row, r);
		return WALK_FAILED;
	}
	touched = true;
	return WALK_SET;
}

static __always_inline bool is_wanted(__u32 counter)
{
	return !run.has_wanted ||
	       wanted[counter / 64 % (SP_COUNTERS_MAX / 64)] >> (counter & 63) & 1;
}

/* Does `existing: apply` concern it? */
static __always_inline bool is_to_apply(const struct sp_op *op, const struct sp_op *was)
{
	return !run.only_applying || (op->flags & SP_OP_APPLY && !(was && same_value(op, was)));
}

static __always_inline void note_counter(__u32 counter)
{
	__u32 i;

#pragma clang loop unroll(disable)
	for (i = 0; i < WALK_COUNTERS_MAX && i < record.socket.n_counters; i++)
		if (record.socket.counters[i] == counter)
			return;
	if (i < WALK_COUNTERS_MAX) {
		record.socket.counters[i] = counter;
		record.socket.n_counters = i + 1;
	}
}

/* Adds the option to the record, if it is not what the policy says. */
static __always_inline void show(const struct walk_option *o, __u32 row, const struct sp_op *op,
				 const struct sp_op *was, __u32 outcome)
{
	__u32 n = record.socket.n_items & (SP_OPTIONS_MAX - 1);

	record.socket.n_governed++;
	note_counter(op->counter);
	if (o->result == WALK_DOUBLED && !(op->flags & SP_OP_NO_VALUE) && op->bounds.value > o->cap)
		item.flags |= WALK_ITEM_CAPPED;
	if (outcome == WALK_RIGHT && !(item.flags & WALK_ITEM_CAPPED))
		return;
	if (was && has_value(o, was->value))
		item.flags |= WALK_ITEM_BEFORE;
	if (is_fresh(o))
		item.flags |= WALK_ITEM_FRESH;
	item.counter = op->counter;
	item.option = row;
	item.outcome = outcome;
	item.op_flags = op->flags;
	record.items[n] = item;
	record.socket.n_items = n + 1;
}

static __always_inline void apply(void *sk, struct tcp_sock *tp, __u32 row)
{
	struct sp_op *op = found_op(&now, row, run.generation), *was = NULL;
	const struct walk_option *o = &options[row];
	__u32 outcome;

	if (run.has_previous)
		was = found_op(&before, row, run.generation + 1);
	if (!op || !is_wanted(op->counter) || !is_to_apply(op, was))
		return;
	item.flags = 0;
	if (!see(sk, tp, o)) {
		__builtin_memcpy(item.wanted, op->value, sizeof(item.wanted));
		item.flags = WALK_ITEM_HIDDEN;
		outcome = WALK_SET;
	} else {
		outcome = judge(sk, o, row, op, was);
	}
	if (outcome == WALK_SET)
		outcome = set_wanted(sk, o, row, op->optlen);
	if (run.mode == WALK_SHOW)
		show(o, row, op, was, item.flags & WALK_ITEM_HIDDEN ? WALK_RIGHT : outcome);
	else
		counts.outcomes[row][outcome & 7]++;
}

/* Is it what --option names, or what the generation before gave, and is not given any more? */
static __always_inline bool is_to_reset(const struct walk_option *o, const struct sp_op *op,
					const struct sp_op *was)
{
	return o->by_hand || (was && !(op && same_value(op, was)));
}

static __always_inline __u32 reset_to(void *sk, const struct walk_option *o, __u32 row,
				      const struct sp_op *op, const struct sp_op *was)
{
	__u32 outcome;

	if (o->by_hand & WALK_BY_HAND_VALUE && !has_value(o, o->by_hand_text))
		return WALK_CHANGED;
	if (!o->by_hand && !(was && has_value(o, was->value)))
		return WALK_CHANGED;
	if (is_late(o))
		return WALK_NOT_TAKEN_BACK;
	if (op && !(op->flags & SP_OP_NO_VALUE)) {
		outcome = judge(sk, o, row, op, was);
		return outcome == WALK_SET ? set_wanted(sk, o, row, op->optlen) : outcome;
	}
	if (o->fresh_kind == WALK_FRESH_NEVER)
		return WALK_NOT_TAKEN_BACK;
	if (is_fresh(o))
		return WALK_RIGHT;
	__builtin_memcpy(item.wanted, o->fresh_text, sizeof(item.wanted));
	return set_wanted(sk, o, row, o->optlen);
}

#define TCP_NODELAY	   1
#define TCP_CONGESTION	   13
#define SO_MAX_PACING_RATE 47

/* Ends the wait for what was sent at a rate that is taken back: see bpf/unpace.bpf.c.  TCP_NODELAY
 * has what waits sent. */
static __always_inline void unpace(void *sk)
{
	int nodelay, on = 1;

	__builtin_memset(item.text, 0, sizeof(item.text));
	if (bpf_getsockopt(sk, IPPROTO_TCP, TCP_CONGESTION, item.text, sizeof(item.text)) ||
	    bpf_getsockopt(sk, IPPROTO_TCP, TCP_NODELAY, &nodelay, sizeof(nodelay)))
		return;
	__builtin_memset(item.wanted, 0, sizeof(item.wanted));
	__builtin_memcpy(item.wanted, WALK_UNPACE, sizeof(WALK_UNPACE));
	if (bpf_setsockopt(sk, IPPROTO_TCP, TCP_CONGESTION, item.wanted, sizeof(item.wanted)))
		return;
	bpf_setsockopt(sk, IPPROTO_TCP, TCP_CONGESTION, item.text, sizeof(item.text));
	bpf_setsockopt(sk, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	if (!nodelay)
		bpf_setsockopt(sk, IPPROTO_TCP, TCP_NODELAY, &nodelay, sizeof(nodelay));
}

static __always_inline void reset(void *sk, struct tcp_sock *tp, __u32 row)
{
	struct sp_op *op = found_op(&now, row, run.generation), *was = NULL;
	const struct walk_option *o = &options[row];
	__u32 outcome;

	if (run.has_previous)
		was = found_op(&before, row, run.generation + 1);
	if (!is_to_reset(o, op, was))
		return;
	item.flags = 0;
	outcome = see(sk, tp, o) ? reset_to(sk, o, row, op, was) : WALK_NOT_TAKEN_BACK;
	if (tp && outcome == WALK_SET && run.has_unpace && !run.is_dry && o->level == SOL_SOCKET &&
	    o->optname == SO_MAX_PACING_RATE)
		unpace(sk);
	counts.outcomes[row][outcome & 7]++;
}

/* --- one socket */

struct pass {
	void *sk;
	struct tcp_sock *tp; /* the same, or NULL */
	__u64 left;	     /* rows */
};

static __always_inline long look_at_one(struct pass *p, void *sk, struct tcp_sock *tp)
{
	__u32 row = lowest_row(p->left);

	if (!p->left)
		return 1;
	p->left &= p->left - 1;
	if (run.mode == WALK_RESET)
		reset(sk, tp, row);
	else
		apply(sk, tp, row);
	return 0;
}

static long look_at_tcp(__u32 i, struct pass *p)
{
	return look_at_one(p, p->tp, p->tp);
}

static long look_at_unix(__u32 i, struct pass *p)
{
	return look_at_one(p, p->sk, NULL);
}

/* In the order of the option table, which is the order in which options are to be set. */
#define LOOK_AT(sk_, tp_, look_at)                                                                 \
	do {                                                                                       \
		struct pass pass_ = { sk_, tp_,                                                    \
				      run.mode != WALK_RESET ? now.options                         \
				      : run.by_hand	     ? run.by_hand                         \
							     : before.options };                            \
                                                                                                   \
		touched = false;                                                                   \
		bpf_loop(SP_OPTIONS_MAX, look_at, &pass_, 0);                                      \
		counts.touched += touched;                                                         \
	} while (0)

struct search {
	__u64 address;
	__s32 level;
	__u32 is_below;
};

static long look_at_ancestor(__u32 i, struct search *s)
{
	struct cgroup *cgroup = (struct cgroup *)s->address, *ancestor;
	__s32 level = s->level--;

	if (level < 0)
		return 1;
	ancestor = BPF_CORE_READ(cgroup, ancestors[level]);
	s->is_below = BPF_CORE_READ(ancestor, kn, id) == run.cgroup;
	return s->is_below;
}

/* Is the cgroup run.cgroup, or below it? */
__noinline __u32 is_below(__u64 id, __u64 address)
{
	__u32 *known = bpf_map_lookup_elem(&below, &id);
	struct search s = { .address = address };

	if (known)
		return *known;
	s.level = BPF_CORE_READ((struct cgroup *)address, level);
	bpf_loop(1 << 16, look_at_ancestor, &s, 0);
	bpf_map_update_elem(&below, &id, &s.is_below, BPF_ANY);
	return s.is_below;
}

static __always_inline bool is_of_cgroup(const struct owner *owner)
{
	return !run.cgroup || owner->id == run.cgroup ||
	       is_below(owner->id, as_number(owner->address));
}

static __always_inline __u64 inode_of(struct socket *socket)
{
	struct socket_alloc *alloc = (struct socket_alloc *)socket;

	return socket ? BPF_CORE_READ(alloc, vfs_inode.i_ino) : 0;
}

static __always_inline void set_facts(bool listens)
{
	const struct walk_socket *s = &record.socket;

	__builtin_memset(&facts, 0, sizeof(facts));
	if (s->family == AF_INET)
		set_v4(&facts.local, s->local[0], s->local_port);
	else
		set_v6(&facts.local, s->local[0], s->local[1], s->local[2], s->local[3],
		       s->local_port);
	facts.family = facts.local.v4 ? SP_FAMILY_INDEX_IPV4 : SP_FAMILY_INDEX_IPV6;
	if (listens)
		return;
	if (s->family == AF_INET)
		set_v4(&facts.remote, s->remote[0], s->remote_port);
	else
		set_v6(&facts.remote, s->remote[0], s->remote[1], s->remote[2], s->remote[3],
		       s->remote_port);
	facts.family = facts.remote.v4 ? SP_FAMILY_INDEX_IPV4 : SP_FAMILY_INDEX_IPV6;
}

/* Begins the record of a socket. */
static __always_inline void begin_record(struct sock *sk, const struct owner *owner, __u32 uid)
{
	struct walk_socket *s = &record.socket;

	__builtin_memset(s, 0, sizeof(*s));
	s->cgroup = owner->id;
	s->uid = uid;
	s->family = sk->__sk_common.skc_family;
	s->state = sk->__sk_common.skc_state;
	s->type = sk->sk_type;
	s->protocol = sk->sk_protocol;
	if (run.mode == WALK_SHOW)
		s->inode = inode_of(sk->sk_socket);
}

static __always_inline void set_addresses(struct sock_common *c)
{
	struct walk_socket *s = &record.socket;

	s->local_port = c->skc_num;
	s->remote_port = bpf_ntohs(c->skc_dport);
	if (s->family == AF_INET) {
		s->local[0] = c->skc_rcv_saddr;
		s->remote[0] = c->skc_daddr;
		return;
	}
	s->local[0] = c->skc_v6_rcv_saddr.in6_u.u6_addr32[0];
	s->local[1] = c->skc_v6_rcv_saddr.in6_u.u6_addr32[1];
	s->local[2] = c->skc_v6_rcv_saddr.in6_u.u6_addr32[2];
	s->local[3] = c->skc_v6_rcv_saddr.in6_u.u6_addr32[3];
	s->remote[0] = c->skc_v6_daddr.in6_u.u6_addr32[0];
	s->remote[1] = c->skc_v6_daddr.in6_u.u6_addr32[1];
	s->remote[2] = c->skc_v6_daddr.in6_u.u6_addr32[2];
	s->remote[3] = c->skc_v6_daddr.in6_u.u6_addr32[3];
}

/* Writes the record of a socket that is governed. */
static __always_inline void end_record(struct bpf_iter_meta *meta)
{
	__u32 n = record.socket.n_items;

	if (run.mode != WALK_SHOW || !record.socket.n_governed)
		return;
	if (n > SP_OPTIONS_MAX)
		n = SP_OPTIONS_MAX;
	bpf_seq_write(meta->seq, &record, sizeof(record.socket) + n * sizeof(record.items[0]));
}

/*
 * Tells the direction.  An accepted socket has the backlog of its listener, and never
 * SOCK_BINDPORT_LOCK (sk_clone, net/core/sock.c).  Without a backlog, one with an address that was
 * bound, or with the port of a listener that has none, either connected or was accepted.
 */
static __always_inline __u32 direction_of(struct sock *sk)
{
	__u16 port = record.socket.local_port;
	bool is_listener = record.socket.state == TCP_LISTEN_STATE;
	__u8 yes = 1;

	if (is_listener && !sk->sk_max_ack_backlog) {
		bpf_map_update_elem(&ports, &port, &yes, BPF_ANY);
		has_ports = true;
	}
	if (is_listener)
		return DIRECTION_LISTEN;
	if (record.socket.state == TCP_SYN_SENT)
		return DIRECTION_CONNECT;
	if (sk->sk_max_ack_backlog)
		return DIRECTION_ACCEPT;
	if (locks & SOCK_BINDPORT_LOCK)
		return DIRECTION_CONNECT;
	return locks & SOCK_BINDADDR_LOCK || (has_ports && bpf_map_lookup_elem(&ports, &port))
		       ? WALK_DIRECTION_UNTOLD
		       : DIRECTION_CONNECT;
}

static __always_inline __u32 families_of_socket(struct sock *sk, bool listens)
{
	__u32 families = families_of(&facts, listens);

	if (families & DUAL_STACK && BPF_CORE_READ_BITFIELD_PROBED(&sk->__sk_common, skc_ipv6only))
		families = SP_FAMILY_IPV6;
	return families | (sk->__sk_common.skc_bound_dev_if ? 0 : SP_FAMILY_UNBOUND);
}

SEC("?iter/tcp")
int walk_tcp(struct bpf_iter__tcp *ctx)
{
	struct sock_common *common = ctx->sk_common;
	struct tcp_sock *tp = common ? bpf_skc_to_tcp_sock(common) : NULL;
	__u32 families, direction, generation = run.generation;
	struct owner owner;
	struct sock *sk;

	/* A socket in TIME_WAIT has no options any more. */
	if (!tp || !owner_of_tcp(tp, &owner) || !is_of_cgroup(&owner))
		return 0;
	sk = &tp->inet_conn.icsk_inet.sk;
	counts.sockets++;
	begin_record(sk, &owner, ctx->uid);
	set_addresses(common);
	locks = BPF_CORE_READ_BITFIELD_PROBED(sk, sk_userlocks);
	direction = direction_of(sk);
	record.socket.direction = direction;
	set_facts(direction == DIRECTION_LISTEN);
	families = families_of_socket(sk, direction == DIRECTION_LISTEN);
	find_tcp(&now, owner.id, policies_with_list(&owner, generation), direction,
		 HOW(0, families, 0, generation));
	before.options = 0;
	if (run.has_previous)
		find_tcp(&before, owner.id, policies_with_list(&owner, generation + 1), direction,
			 HOW(0, families, 0, generation + 1));
	if (!(now.options | before.options) && !run.by_hand)
		return 0;
	counts.governed += now.options != 0;
	counts.untold += direction == WALK_DIRECTION_UNTOLD;
	LOOK_AT(tp, tp, look_at_tcp);
	end_record(ctx->meta);
	return 0;
}

/* Does the socket send to a peer by connect(2)?  What is accepted has the listener's address, and
 * those of a pair have none. */
static __always_inline bool unix_connects(struct unix_sock *u)
{
	struct unix_sock *peer = (struct unix_sock *)u->peer;

	if (record.socket.type != SOCK_STREAM && record.socket.type != SOCK_SEQPACKET)
		return true; /* datagrams: sent, or will be */
	return record.socket.state == TCP_ESTABLISHED && peer && !u->addr &&
	       BPF_CORE_READ(peer, addr);
}

SEC("?iter/unix")
int walk_unix(struct bpf_iter__unix *ctx)
{
	struct unix_sock *u = ctx->unix_sk;
	__u32 generation = run.generation;
	struct owner owner;
	struct cgroup *cgroup;

	if (!u)
		return 0;
	cgroup = u->sk.sk_cgrp_data.cgroup;
	if (!cgroup)
		return 0;
	owner.id = cgroup->kn->id;
	owner.address = (__u64)(void *)cgroup;
	if (!is_of_cgroup(&owner))
		return 0;
	counts.sockets++;
	begin_record(&u->sk, &owner, ctx->uid);
	if (!unix_connects(u))
		return 0;
	locks = BPF_CORE_READ_BITFIELD_PROBED(&u->sk, sk_userlocks);
	__builtin_memset(&facts, 0, sizeof(facts));
	facts.family = SP_FAMILY_INDEX_UNIX;
	find_unix(&now, owner.id, policies_with_list(&owner, generation), generation);
	before.options = 0;
	if (run.has_previous)
		find_unix(&before, owner.id, policies_with_list(&owner, generation + 1),
			  generation + 1);
	if (!(now.options | before.options) && !run.by_hand)
		return 0;
	counts.governed += now.options != 0;
	LOOK_AT(u, NULL, look_at_unix);
	end_record(ctx->meta);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
