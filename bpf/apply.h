/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Merges the policies that apply, sets what wins, and counts.
 *
 * The sentence of sockpol.policy(5), "for each option the last one to set it wins", is read
 * backwards: from the strongest policy down, and within it from the last rule that holds to the
 * base, each block sets what is not decided yet.  Nothing is kept of winners, and losers are not
 * even read.
 */
#ifndef SOCKPOL_BPF_APPLY_H
#define SOCKPOL_BPF_APPLY_H

#include "cache.h"
#include "moments.h"
#include "own_sets.h"
#include "rules.h"

/* --- counting ----------------------------------------------------------------------------------
 */

static __always_inline void raise_applied(__u32 counter)
{
	void *chunk = map_in_slot(&applied, counter / SP_COUNTERS_CHUNK);
	__u32 index = counter % SP_COUNTERS_CHUNK;
	__u64 *count = chunk ? bpf_map_lookup_elem(chunk, &index) : NULL;

	if (count)
		__sync_fetch_and_add(count, 1); /* another hook may run in between, in softirq */
}

/* The counter that is vectors[index]. */
__noinline int raise_at(__u32 index, __u32 generation)
{
	__u64 *counter = MAP_LOOK(vectors, generation & 1, &index);

	if (counter)
		raise_applied(*counter);
	return 0;
}

/* Returns what the policy does at a stage. */
static __always_inline const struct sp_stage_of *stage_of(const struct sp_policy *p, __u32 stage)
{
	_Static_assert((SP_STAGE_MAX & (SP_STAGE_MAX - 1)) == 0, "a mask");
	asm volatile("" : "+r"(stage)); /* so that clang keeps the mask, which the verifier needs */
	return &p->stage[stage & (SP_STAGE_MAX - 1)];
}

/*
 * Counts the rules that always hold at a stage: vectors[first] and the n - 1 after it have their
 * counters.  A global function: the verifier walks it once, not again from each place that calls
 * it.
 */
__noinline int raise_always(__u32 first, __u32 n, __u32 generation)
{
	for (__u32 i = 0; i < SP_RULES_MAX && i < n; i++)
		raise_at(first + i, generation);
	return 0;
}

/* --- setting -----------------------------------------------------------------------------------
 */

static __always_inline void set_option(struct bpf_sock_addr *ctx, struct sp_op *op, __u32 how,
				       __u32 number)
{
	if (!(op->families & HOW_FAMILIES(how)))
		return;
	if (op->flags & SP_OP_CARE)
		put_off_addr(ctx, number, how);
	else
		(void)set_value(ctx, op, how);
}

/* Bits of a HOW that it leaves free: there a loop keeps its bound, as each register that it saves
 * on the stack is one too many on 6.1. */
#define HOW_N_SHIFT 28
_Static_assert(SP_OPS_CELL < 1 << (32 - HOW_N_SHIFT), "room for it");

/* Sets the first n operations of a cell in order, except those for the options in `but` (BIT(row of
 * the option table)).  set: also gets the number of the operation. */
#define SET_CELL(ctx, cell, n, how, but, set)                                                      \
	do {                                                                                       \
		__u32 index_ = (cell), both_ = (how) | (__u32)(n) << HOW_N_SHIFT;                  \
		struct sp_op_cell *cell_ = MAP_LOOK(ops, HOW_GENERATION(how), &index_);            \
                                                                                                   \
		if (!cell_)                                                                        \
			break;                                                                     \
		_Pragma("clang loop unroll(disable)") /* unrolled it takes three times the stack   \
						       */                                          \
			for (__u32 i_ = 0; i_ < SP_OPS_CELL; i_++)                                 \
		{                                                                                  \
			__u32 at_ = i_;                                                            \
			struct sp_op *op_;                                                         \
                                                                                                   \
			/* Nothing is kept from one turn to the next that can be found anew. */    \
			asm volatile("" : "+r"(at_), "+r"(both_));                                 \
			if (at_ >= both_ >> HOW_N_SHIFT)                                           \
				break;                                                             \
			op_ = &cell_->op[at_ & (SP_OPS_CELL - 1)];                                 \
			if (!((but) >> (op_->option & 63) & 1))                                    \
				set(ctx, op_, both_,                                               \
				    *(volatile __u32 *)&index_ *SP_OPS_CELL + i_);                 \
		}                                                                                  \
	} while (0)

/* Global functions, one a kind of context: the verifier walks each once, whoever calls it. */
__noinline int set_cell_addr(struct bpf_sock_addr *ctx, __u32 cell, __u32 n, __u32 how, __u64 but)
{
	SET_CELL(ctx, cell, n, how, but, set_option);
	return 0;
}

static __always_inline void reply(struct bpf_sock_ops *ctx, struct sp_op *op, __u32 how,
				  __u32 number)
{
	ctx->reply = op->bounds.value;
}

/* Gives the reply that the kernel asks for; the caller leaves out all others. */
__noinline int set_cell_reply(struct bpf_sock_ops *ctx, __u32 cell, __u32 n, __u32 how, __u64 but)
{
	SET_CELL(ctx, cell, n, how, but, reply);
	return 0;
}

static __always_inline void set_option_ops(struct bpf_sock_ops *ctx, struct sp_op *op, __u32 how,
					   __u32 number)
{
	if (!(op->families & HOW_FAMILIES(how)))
		return;
	if (op->flags & SP_OP_CARE)
		put_off_ops(ctx, number, how);
	else
		(void)set_value(ctx, op, how);
}

__noinline int set_cell_ops(struct bpf_sock_ops *ctx, __u32 cell, __u32 n, __u32 how, __u64 but)
{
	if (SP_STAGE_IS_REPLY(HOW_STAGE(how)))
		return set_cell_reply(ctx, cell, n, how, but);
	SET_CELL(ctx, cell, n, how, but, set_option_ops);
	return 0;
}

/*
 * The values for a new socket.  The kernel's own hook takes members of the socket, and up to 6.18
 * does not let it call bpf_setsockopt; that of BPF LSM does, but global functions do not take its
 * pointer to the socket on 6.1, so the program itself calls it for operations that it finds here.
 */
#define GIVEN_OPS_MAX 4 /* the options of SP_STAGE_LOCAL_SOCKET */
struct given {
	union {
		struct {
			__u32 mark, priority, device;
		};
		__u32 op[GIVEN_OPS_MAX]; /* numbers of operations */
	};
	bool has_mark, has_priority, has_device;
	bool is_by_name; /* the agent made an index of the device's name, in its own network
			    namespace */
	bool by_call;
	bool unbinds;	    /* of the device: "" */
	bool refuses;	    /* the device's policy, if it cannot be given */
	__u8 n_ops, option; /* option: the device's */
	__u16 family;	    /* enum sp_family */
	__u32 counter;	    /* of the device's */
};

/* Is it for BPF LSM's hook, which on IP sockets runs after the other one? */
static __always_inline bool takes_call(const struct given *to, const struct sp_op *op)
{
	return to->family >= SP_FAMILY_INDEX_UNIX || op->optname == SO_BINDTODEVICE;
}

static __always_inline void give(struct given *to, struct sp_op *op, __u32 how, __u32 number)
{
	__u32 value;

	if (to->by_call) {
		if (takes_call(to, op))
			to->op[to->n_ops++ & (GIVEN_OPS_MAX - 1)] = number;
		return;
	}
	__builtin_memcpy(&value, op->value, sizeof(value));
	if (op->optname == SO_MARK) {
		to->mark = value;
		to->has_mark = true;
	} else if (op->optname == SO_PRIORITY) {
		to->priority = value;
		to->has_priority = true;
	} else {
		to->device = op->index;
		to->has_device = true;
		to->is_by_name = op->optname == SO_BINDTODEVICE;
		to->unbinds = !value;
		to->refuses = op->flags & SP_OP_REFUSE;
		to->counter = op->counter;
		to->option = op->option;
	}
}

__noinline int set_cell_given(struct given *to, __u32 cell, __u32 n, __u32 how, __u64 but)
{
	if (to)
		SET_CELL(to, cell, n, how, but, give);
	return 0;
}

/* The question of the hook at setsockopt(2): which operation wins an option at a stage? */
struct asked {
	struct facts facts;
	struct moments moments;
	__u64 options; /* BIT(row of the option table), of each spelling */
	__u32 number;  /* of the operation */
	bool is_found;
	bool is_decided; /* some policy has a word about it, if only `unset` */
};

static __always_inline void find(struct asked *to, struct sp_op *op, __u32 how, __u32 number)
{
	if (!(op->families & HOW_FAMILIES(how)))
		return;
	/* The second one of an option is what the first implies. */
	if (!to->is_found)
		to->number = number;
	to->is_found = true;
}

__noinline int set_cell_asked(struct asked *to, __u32 cell, __u32 n, __u32 how, __u64 but)
{
	if (to)
		SET_CELL(to, cell, n, how, but, find);
	return 0;
}

/* What wins on a socket that is open already: only bpf/walk.bpf.c defines these, and uses them. */
struct found;
struct merge;
int set_cell_found(struct found *to, __u32 cell, __u32 n, __u32 how, __u64 but)
	__attribute__((weak));
int set_plain_found(struct found *to, struct merge *m) __attribute__((weak));

/* Sets the operations of a block. */
static __always_inline void set_block(void *ctx, __u32 cell, __u32 n_ops, __u32 how, __u64 but,
				      enum context context)
{
#pragma clang loop unroll(disable)
	for (__u32 i = 0; i < SP_BLOCK_OPS_MAX / SP_OPS_CELL && n_ops; i++) {
		__u32 n = n_ops < SP_OPS_CELL ? n_ops : SP_OPS_CELL;

		if (context == CONTEXT_OPS)
			set_cell_ops(ctx, cell + i, n, how, but);
		else if (context == CONTEXT_GIVEN)
			set_cell_given(ctx, cell + i, n, how, but);
		else if (context == CONTEXT_ASKED)
			set_cell_asked(ctx, cell + i, n, how, but);
		else if (context == CONTEXT_FOUND)
			set_cell_found(ctx, cell + i, n, how, but);
		else
			set_cell_addr(ctx, cell + i, n, how, but);
		n_ops -= n;
	}
}

/*
 * Counts the short way, which most sockets take: one policy applies, and none of its rules depends
 * on the connection at this stage.
 */
static __always_inline void count_plain(const struct sp_policy *p, const struct sp_stage_of *s,
					__u32 how)
{
	if (!HOW_COUNTS(how))
		return;
	if (s->counts)
		raise_applied(s->counter);
	if (s->n_always)
		raise_always(s->first_always, s->n_always, HOW_GENERATION(how));
}

/* --- merging -----------------------------------------------------------------------------------
 */

/* The state of the merging.  It has no pointers: a global function takes it for memory of which the
 * verifier knows nothing, so the verifier does not follow each combination of its contents. */
struct merge {
	__u64 done;  /* options that are decided, or are not this stage's */
	__u64 later; /* options that the second pass sets */
	/* The current policy: */
	__u64 left; /* rules that hold, act, and are still to be looked at */
	__u64 acting, counted;
	__u64 base; /* the base's options */
	__u32 base_cell, first_block;
	__u32 how;
	__u32 cell; /* the current block: its operations */
	struct policy_list list;
	__u8 n_ops, base_ops;
	__u8 turn;     /* policies begun, in both passes */
	__u8 has_base; /* the base is still to be looked at */
	__u8 again;    /* some block names options that the second pass sets: else there is none */
};

/* Is the policy's own counter raised here? */
static __always_inline bool is_counted(const struct sp_stage_of *s, __u64 held)
{
	return (s->counts == SP_COUNTS_ALWAYS ||
		(s->counts == SP_COUNTS_BY_RULE && held & s->counted)) &&
	       !(held & s->before);
}

/* The number of the policy whose turn it is: from the strongest down, twice. */
static __always_inline __u32 number_in_turn(const struct merge *m)
{
	__u32 n = m->list.n, i = m->turn < n ? n - 1 - m->turn : 2 * n - 1 - m->turn;

	asm volatile("" : "+r"(i)); /* so that clang keeps the mask, which the verifier needs */
	return m->list.number[i & (SP_LIST_MAX - 1)];
}

/* Begins the next policy. */
static __always_inline void begin_policy(struct merge *m, const struct facts *facts)
{
	__u32 number = number_in_turn(m), generation = HOW_GENERATION(m->how),
	      stage = HOW_STAGE(m->how);
	bool counts = HOW_COUNTS(m->how) && m->turn < m->list.n;
	struct sp_policy *p = MAP_LOOK(policies, generation & 1, &number);
	const struct sp_stage_of *s;
	__u64 held;

	m->turn++;
	if (!p)
		return;
	s = stage_of(p, stage);
	held = rules_that_hold(p, s, facts, generation);
	if (counts && is_counted(s, held))
		raise_applied(s->counter);
	if (counts && s->n_always)
		raise_always(s->first_always, s->n_always, generation);
	m->counted = counts && !SP_STAGE_IS_SOCKET(stage) ? s->counted : 0;
	m->left = held & s->acting;
	m->acting = s->acting;
	m->first_block = s->first_block;
	m->base = s->options;
	m->base_cell = s->first_cell;
	m->base_ops = s->n_ops;
	m->has_base = 1;
}

/* Begins a block, which decides what is not decided yet.  second: the pass. */
static __always_inline void begin_block(struct merge *m, __u64 options, __u32 cell, __u32 n_ops,
					bool second)
{
	__u64 both = options & m->later;

	m->again |=
		(both | -both) >> 63; /* not 0; a branch is what the verifier would walk twice */
	options &= (second ? m->later : ~m->later) & ~m->done;
	m->done |= options;
	m->cell = cell;
	m->n_ops = options ? n_ops : 0;
}

/* Begins the strongest rule that is left. */
static __always_inline void begin_rule(struct merge *m, bool second)
{
	__u64 bit = highest_bit(m->left);
	__u32 index = m->first_block + count_bits(m->acting & (bit - 1));
	struct sp_block *b = MAP_LOOK(blocks, HOW_GENERATION(m->how), &index);

	m->left &= ~bit;
	if (!b)
		return;
	if (m->counted & bit)
		raise_applied(b->counter);
	begin_block(m, b->options, b->first_cell, b->n_ops, second);
}

/* Goes on to the next block: m->n_ops operations from m->cell on, of which those are set whose
 * options become m->done.  Returns 1 where there is no further block. */
__noinline int next_block(struct merge *m, const struct facts *facts)
{
	if (!m || !facts)
		return 1;
	m->n_ops = 0;
	if (!m->left && !m->has_base)
		begin_policy(m, facts);
	if (m->left) {
		begin_rule(m, m->turn > m->list.n);
	} else if (m->has_base) {
		m->has_base = 0;
		begin_block(m, m->base, m->base_cell, m->base_ops, m->turn > m->list.n);
	}
	return !m->left && !m->has_base && m->turn >= (__u32)m->list.n << (m->again & 1);
}

struct merging {
	void *ctx;
	const struct facts *facts;
	struct merge m;
};

static __always_inline long merge_turn(struct merging *x, enum context context)
{
	__u64 before = x->m.done;
	bool last = next_block(&x->m, x->facts);

	set_block(x->ctx, x->m.cell, x->m.n_ops, x->m.how, ~(x->m.done ^ before), context);
	return last;
}

static long merge_turn_addr(__u32 i, struct merging *x)
{
	return merge_turn(x, CONTEXT_ADDR);
}

static long merge_turn_ops(__u32 i, struct merging *x)
{
	return merge_turn(x, CONTEXT_OPS);
}

static long merge_turn_given(__u32 i, struct merging *x)
{
	return merge_turn(x, CONTEXT_GIVEN);
}

static long merge_turn_asked(__u32 i, struct merging *x)
{
	return merge_turn(x, CONTEXT_ASKED);
}

static long merge_turn_found(__u32 i, struct merging *x)
{
	return merge_turn(x, CONTEXT_FOUND);
}

/* The number of policies, from the strongest down, that are handled in a plain loop. */
#define SP_PLAIN_MAX 8

/*
 * Handles the strongest policies in a plain loop, as far as they have no rules at this stage and
 * their operations lie in one cell.  Most policies are like that, and a turn of bpf_loop costs
 * twice as much as one of this loop.
 */
#define SET_PLAIN(ctx, m, set_cell_)                                                               \
	do {                                                                                       \
		__u32 n_ = (m)->list.n, how_ = (m)->how, stage_ = HOW_STAGE(how_);                 \
                                                                                                   \
		for (__u32 i_ = 0; i_ < SP_PLAIN_MAX && i_ < n_; i_++) {                           \
			__u32 number_ = (m)->list.number[(n_ - 1 - i_) & (SP_LIST_MAX - 1)];       \
			struct sp_policy *p_ = MAP_LOOK(policies, HOW_GENERATION(how_), &number_); \
			const struct sp_stage_of *s_;                                              \
			__u64 due_;                                                                \
                                                                                                   \
			if (!p_)                                                                   \
				break;                                                             \
			s_ = stage_of(p_, stage_);                                                 \
			if (s_->rules || s_->n_always || s_->n_ops > SP_OPS_CELL)                  \
				break;                                                             \
			if (s_->counts && HOW_COUNTS(how_))                                        \
				raise_applied(s_->counter);                                        \
			due_ = s_->options & ~(m)->done;                                           \
			(m)->done |= due_;                                                         \
			(m)->turn = i_ + 1;                                                        \
			if (due_)                                                                  \
				set_cell_(ctx, s_->first_cell, s_->n_ops, how_, ~due_);            \
		}                                                                                  \
	} while (0)

__noinline int set_plain_addr(struct bpf_sock_addr *ctx, struct merge *m)
{
	if (m)
		SET_PLAIN(ctx, m, set_cell_addr);
	return 0;
}

__noinline int set_plain_ops(struct bpf_sock_ops *ctx, struct merge *m)
{
	if (m)
		SET_PLAIN(ctx, m, set_cell_ops);
	return 0;
}

__noinline int set_plain_given(struct given *to, struct merge *m)
{
	if (to && m)
		SET_PLAIN(to, m, set_cell_given);
	return 0;
}

/* Handles one block a turn, in one flat loop: a nested one would need another frame. */
#define MERGE_TURNS_MAX (2 * SP_LIST_MAX * (SP_RULES_MAX + 1))

/* Returns the options that a policy decides only at SP_STAGE_TCP_SYN. */
__noinline __u64 decided_late_by(__u32 number, __u32 generation)
{
	struct sp_policy *p = MAP_LOOK(policies, generation & 1, &number);

	return p ? p->decided_late : 0;
}

/* Returns those that one of the policies does. */
__noinline __u64 decided_late(const struct policy_list *list, __u32 generation)
{
	__u64 late = 0;

	for (__u32 i = 0; list && i < SP_LIST_MAX && i < list->n; i++)
		late |= decided_late_by(list->number[i], generation);
	return late;
}

/* Returns, of the options that some policy decides late, those that are not decided at this
 * stage. */
static __always_inline __u64 other_stages(__u64 late, __u32 stage)
{
	return stage == SP_STAGE_TCP_CONNECT ? late : stage == SP_STAGE_TCP_SYN ? ~late : 0;
}

/* Reads the list; false: another cgroup has taken its place in the cache. */
static __always_inline bool get_list(__u64 id, __u32 what, __u32 generation,
				     struct policy_list *ret)
{
	if (what == SP_WORD_IN_LISTS)
		return cache_recall_list(id, generation, ret);
	ret->n = 1;
	ret->number[0] = what;
	return true;
}

/* Handles the strongest policies, as far as they are plain. */
static __always_inline void set_plain(void *ctx, struct merging *x, enum context context)
{
	switch (context) {
	case CONTEXT_OPS:
		set_plain_ops(ctx, &x->m);
		break;
	case CONTEXT_GIVEN:
		set_plain_given(ctx, &x->m);
		break;
	case CONTEXT_ADDR:
		set_plain_addr(ctx, &x->m);
		break;
	case CONTEXT_FOUND:
		set_plain_found(ctx, &x->m);
		break;
	default: /* the turns of the loop do as well */
		break;
	}
}

static __always_inline void merge_in_turn(struct merging *x, enum context context)
{
	switch (context) {
	case CONTEXT_OPS:
		bpf_loop(MERGE_TURNS_MAX, merge_turn_ops, x, 0);
		break;
	case CONTEXT_GIVEN:
		bpf_loop(MERGE_TURNS_MAX, merge_turn_given, x, 0);
		break;
	case CONTEXT_ASKED:
		bpf_loop(MERGE_TURNS_MAX, merge_turn_asked, x, 0);
		break;
	case CONTEXT_FOUND:
		bpf_loop(MERGE_TURNS_MAX, merge_turn_found, x, 0);
		break;
	default:
		bpf_loop(MERGE_TURNS_MAX, merge_turn_addr, x, 0);
	}
}

/* What merge() returns where the list was no longer in the cache. */
#define LIST_LOST 1

/*
 * A list may have lost its place in the cache to another cgroup's since it was found, while this
 * task was preempted.  It is then found again.  (Two attempts were not enough: 3 of 2 million
 * connects.)
 */
#define ATTEMPTS 8

/* Merges the general way: several policies, or rules.  except: options that are left alone. */
static __always_inline int merge(void *ctx, const struct facts *facts, __u64 id, __u32 what,
				 __u32 how, __u64 except, enum context context)
{
	const struct sp_generation *g = &state.of[HOW_GENERATION(how)];
	struct merging x;

	__builtin_memset(&x, 0, sizeof(x));
	if (!get_list(id, what, HOW_GENERATION(how), &x.m.list))
		return LIST_LOST;
	x.ctx = ctx;
	x.facts = facts;
	x.m.how = how;
	x.m.later = g->after_others;
	x.m.done = except;
	if (g->flags & SP_GENERATION_DECIDES_LATE)
		x.m.done |=
			other_stages(decided_late(&x.m.list, HOW_GENERATION(how)), HOW_STAGE(how));
	if (context == CONTEXT_ASKED) {
		if (!(((struct asked *)ctx)->options & ~x.m.done)) /* this is another stage's */
			return 0;
		merge_in_turn(&x, context);
		((struct asked *)x.ctx)->is_decided =
			!!(((struct asked *)x.ctx)->options & x.m.done);
		return 0;
	}
	if (!g->after_others) {
		set_plain(ctx, &x, context);
		if (x.m.turn >= x.m.list.n)
			return 0;
	}
	merge_in_turn(&x, context);
	return 0;
}

/* Returns the options of that policy that are not decided at this stage. */
static __always_inline __u64 except_plain(const struct sp_policy *p, __u32 how)
{
	if (!(state.of[HOW_GENERATION(how)].flags & SP_GENERATION_DECIDES_LATE))
		return 0;
	return other_stages(p->decided_late, HOW_STAGE(how));
}

static __always_inline bool is_due(const struct sp_stage_of *s)
{
	return s->n_ops || s->counts || s->n_always || s->rules;
}

#endif
