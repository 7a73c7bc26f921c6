/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What did the application set itself?  Asked at a socket's moments, of operations that respect it,
 * or bring it into a range; and what becomes of a call whose value cannot be set.
 */
#ifndef SOCKPOL_BPF_OWN_SETS_H
#define SOCKPOL_BPF_OWN_SETS_H

#include "moments.h"
#include "op.h"
#include "socket.h"

/* In sk_userlocks (include/net/sock.h): somebody set the buffer. */
#define SOCK_SNDBUF_LOCK 1
#define SOCK_RCVBUF_LOCK 2

#define SO_SNDBUF 7

/* An index that no device has: the route's look-up fails. */
#define NO_DEVICE 0x7ffffff0

/* The first bytes of a text, or a number, as getsockopt(2) shows it. */
union shown {
	__u32 number;
	char text[SP_VALUE_SIZE];
};

/* Reads what the socket has; false: the kernel does not show it. */
static __always_inline bool read_value(void *ctx, const struct sp_op *op, union shown *ret)
{
	int length = op->reads & SP_READS_TEXT ? sizeof(ret->text) : sizeof(ret->number);

	ret->number = 0;
	return bpf_getsockopt(ctx, op->level, op->optname, ret, length) == 0;
}

/* Has somebody set the buffer that the operation is for? */
static __always_inline bool is_buffer_set(struct sock *raw, const struct sp_op *op)
{
	__u32 lock = op->optname == SO_SNDBUF ? SOCK_SNDBUF_LOCK : SOCK_RCVBUF_LOCK;

	return READ_RAW_BITS(raw, sk_userlocks) & lock;
}

/* Returns the bits in which values of the option may differ and be the same. */
static __always_inline __u32 ignored_bits(const struct sp_op *op)
{
	return op->reads & SP_READS_WITHOUT_ECN ? 3 : 0;
}

/* Has the socket a value that neither a fresh one nor a policy gives?  For sockets about which
 * nothing was noted. */
static __always_inline bool seems_set(void *ctx, struct sock *raw, const struct sp_op *op,
				      const struct sp_own_sets *s)
{
	__u32 policys;
	union shown now;

	if (op->reads & SP_READS_DOUBLED && !is_buffer_set(raw, op))
		return false;
	if (!read_value(ctx, op, &now))
		return false;
	if (s && s->given >> (op->option & 63) & 1 &&
	    now.number == s->earlier[op->option & (SP_OPTIONS_MAX - 1)])
		return false;
	if (op->reads & SP_READS_DOUBLED)
		return true;
	__builtin_memcpy(&policys, op->value, sizeof(policys));
	if (!((now.number ^ policys) & ~ignored_bits(op)))
		return false;
	if (op->reads & SP_READS_TEXT)
		return BPF_CORE_READ_BITFIELD_PROBED((struct inet_connection_sock *)raw,
						     icsk_ca_setsockopt);
	return (now.number ^ op->bounds.fresh) & ~ignored_bits(op);
}

/* Does the kernel take such a value?  For options that it does not show. */
static __always_inline bool is_taken(const struct sp_op *op, __u32 value)
{
	return (value == 0 && op->reads & SP_ZERO_IS_NONE) ||
	       ((__s32)value >= (__s32)op->bounds.min && (__s32)value <= (__s32)op->bounds.max);
}

static __always_inline bool is_priority(const struct sp_op *op)
{
	return op->level == SOL_SOCKET && op->optname == SO_PRIORITY;
}

#define BUFFER_FLOOR 2304 /* SO_SNDBUF has a higher one, for sets that are as small */

/* Is the buffer what became of that set?  The host's limit makes it smaller. */
static __always_inline bool is_buffer_of(const union shown *now, __u32 set)
{
	return now->number / 2 <= set || set < BUFFER_FLOOR;
}

/* Has the socket what the application set, with the last call or with an earlier one?  Some calls
 * fail after they were noted. */
static __always_inline bool did_set(void *ctx, struct sock *raw, const struct sp_op *op,
				    const struct sp_own_sets *s)
{
	__u32 row = op->option & (SP_OPTIONS_MAX - 1), set = s->value[row],
	      earlier = s->earlier[row];
	union shown now = { .number = s->priority };

	if (op->reads & SP_FRESH_IS_UNSET && !set)
		return false;
	if (op->reads & SP_READS_OTHERWISE)
		return op->flags & SP_OP_RANGE || is_taken(op, set) || is_taken(op, earlier);
	if (!is_priority(op) && !read_value(ctx, op, &now))
		return true;
	if (op->reads & SP_READS_DOUBLED)
		return is_buffer_set(raw, op) &&
		       (is_buffer_of(&now, set) || is_buffer_of(&now, earlier));
	if (op->reads & SP_READS_BOOL) {
		set = !!set;
		earlier = !!earlier;
	}
	return !((now.number ^ set) & ~ignored_bits(op)) ||
	       !((now.number ^ earlier) & ~ignored_bits(op));
}

/* The same of an MPTCP socket, which no helper reads from a hook of its subflow.  Other options
 * than these two fail for nobody. */
static __always_inline bool did_parent_set(struct sock *parent, const struct sp_op *op, __u32 set)
{
	if (op->level != SOL_SOCKET)
		return true;
	if (op->optname == SO_MARK)
		return set && BPF_CORE_READ(parent, sk_mark) == set;
	return op->optname != SO_PRIORITY || BPF_CORE_READ(parent, sk_priority) == set;
}

/* Returns what was noted of a socket; that of an MPTCP socket, *ret_parent, counts for its
 * subflows.
 */
static __always_inline struct sp_own_sets *own_sets_of(struct bpf_sock *sk,
						       struct sock **ret_parent)
{
	*ret_parent = NULL;
	if (bpf_core_enum_value_exists(enum bpf_func_id, BPF_FUNC_skc_to_mptcp_sock) &&
	    bpf_core_type_exists(struct mptcp_sock)) {
		struct mptcp_sock *parent = bpf_skc_to_mptcp_sock(sk);

		if (parent) {
			*ret_parent = (struct sock *)parent;
			return bpf_sk_storage_get(&own_sets, parent, NULL, 0);
		}
	}
	return bpf_sk_storage_get(&own_sets, sk, NULL, 0);
}

/* Did the application set the option itself, on this socket or its listener?  *ret_noted: to what,
 * where the kernel does not show it. */
static __always_inline bool is_own(void *ctx, struct bpf_sock *sk, const struct sp_op *op,
				   __u32 *ret_noted)
{
	struct sp_own_sets *mine = bpf_sk_storage_get(&own_sets, sk, NULL, 0), *s = NULL;
	bool is_shown = !(op->reads & SP_READS_OTHERWISE);
	struct sock *raw = raw_socket(sk), *parent = NULL;
	__u64 bit = 1ULL << (op->option & 63);

	*ret_noted = 0;
	if (!is_shown || op->flags & SP_OP_RESPECT)
		s = own_sets_of(sk, &parent);
	if (s && s->options & bit) {
		*ret_noted = s->value[op->option & (SP_OPTIONS_MAX - 1)];
		return parent ? did_parent_set(parent, op, *ret_noted) : did_set(ctx, raw, op, s);
	}
	return is_shown && !(s && s->whole & bit) && seems_set(ctx, raw, op, mine);
}

/* Remembers what the policy's value became, so that a later one does not take it for the
 * application's. */
static __always_inline void note_given(void *ctx, struct bpf_sock *sk, const struct sp_op *op)
{
	struct sp_own_sets *s = bpf_sk_storage_get(&own_sets, sk, NULL, 0);
	__u64 bit = 1ULL << (op->option & 63);
	union shown now;

	if (!s || s->options & bit || !read_value(ctx, op, &now))
		return;
	s->given |= bit;
	s->earlier[op->option & (SP_OPTIONS_MAX - 1)] = now.number;
}

/* Returns the value, brought into the range. */
static __always_inline __u32 clamped(const struct sp_op *op, __u32 value)
{
	__u32 max = op->bounds.max;

	if (value == 0 && op->reads & SP_ZERO_IS_NONE)
		return max == ~0u ? 0 : max;
	if (value > max)
		return max;
	return value < op->bounds.min ? op->bounds.min : value;
}

/* Brings what the application set into the range: to the noted value where the kernel does not show
 * it. */
static __always_inline void clamp(void *ctx, const struct sp_op *op, __u32 noted)
{
	union shown now = { .number = noted };
	__u32 value;
	int r;

	if (!(op->reads & SP_READS_OTHERWISE) && !read_value(ctx, op, &now))
		return;
	now.number /= op->reads & SP_READS_DOUBLED ? 2 : 1;
	value = clamped(op, now.number);
	if (value == now.number)
		return;
	r = (int)bpf_setsockopt(ctx, op->level, op->optname, &value, sizeof(value));
	if (r < 0)
		count_failure(op->counter, op->option, r);
	else
		count_outcome(op->counter, op->option, SP_OUTCOME_CLAMPED);
}

/* Does what the application set stay, in its range?  Then nothing is left to do.  A range alone
 * says nothing of a socket on which it set nothing. */
static __always_inline bool stays(void *ctx, struct bpf_sock *sk, const struct sp_op *op)
{
	__u32 noted;

	if (!is_own(ctx, sk, op, &noted))
		return op->flags & SP_OP_NO_VALUE;
	if (op->flags & SP_OP_RANGE)
		clamp(ctx, op, noted);
	else
		count_outcome(op->counter, op->option, SP_OUTCOME_RESPECTED);
	return true;
}

static __always_inline bool is_for_route(const struct sp_op *op)
{
	return op->level == SOL_SOCKET &&
	       (op->optname == SO_MARK || op->optname == SO_BINDTODEVICE ||
		op->optname == SO_BINDTOIFINDEX);
}

/* At a datagram that has its route already: would the value change where the next one goes? */
static __always_inline bool comes_too_late(void *ctx, struct bpf_sock *sk, const struct sp_op *op,
					   __u32 how)
{
	__u32 now = 0, value;

	if (HOW_STAGE(how) != SP_STAGE_UDP_SEND || !is_for_route(op))
		return false;
	__builtin_memcpy(&value, op->value, sizeof(value));
	/* A device is for sockets that none is bound to, see SP_FAMILY_UNBOUND; 0 and "" unbind. */
	if (op->optname != SO_MARK)
		return value || sk->bound_dev_if;
	return bpf_getsockopt(ctx, op->level, op->optname, &now, sizeof(now)) == 0 && now != value;
}

/* A call can be refused where the hook runs in it; and a SYN without a route ends connect(2) with
 * EHOSTUNREACH.  Returns whether the call is refused. */
static __always_inline bool refuse(void *ctx, const struct sp_op *op, __u32 how,
				   enum context context)
{
	int nowhere = NO_DEVICE;
	bool refused = context == CONTEXT_ADDR;

	if (HOW_STAGE(how) == SP_STAGE_TCP_SYN)
		refused = bpf_setsockopt(ctx, SOL_SOCKET, SO_BINDTOIFINDEX, &nowhere,
					 sizeof(nowhere)) == 0;
	count_outcome(op->counter, op->option,
		      refused ? SP_OUTCOME_REFUSED : SP_OUTCOME_NOT_REFUSED);
	return refused;
}

/* Sets what is implied by the operation, if something is: it lies beside it, as no other operation
 * of the same option does. */
static __always_inline void set_implied(void *ctx, const struct sp_op *op, __u32 number, __u32 how)
{
	struct sp_op *next = numbered_op(number + 1, HOW_GENERATION(how));

	if (next && next->option == op->option && next->optname != op->optname && next->optlen)
		(void)set_value(ctx, next, how);
}

/* The policy's IP_TOS does not take the application's own SO_PRIORITY. */
static __always_inline void restore_priority(void *ctx, struct bpf_sock *sk)
{
	struct sp_own_sets *s = bpf_sk_storage_get(&own_sets, sk, NULL, 0);

	if (s)
		(void)bpf_setsockopt(ctx, SOL_SOCKET, SO_PRIORITY, &s->priority,
				     sizeof(s->priority));
}

/* Returns 1 if the call is refused. */
static __always_inline int set_with_care(void *ctx, struct bpf_sock *sk, __u32 number, __u32 how,
					 enum context context)
{
	struct sp_op *op = numbered_op(number, HOW_GENERATION(how));
	bool late;
	int r;

	if (!op || !sk)
		return 0;
	if (op->flags & (SP_OP_RESPECT | SP_OP_RANGE) && stays(ctx, sk, op)) {
		if (is_priority(op))
			restore_priority(ctx, sk);
		return 0;
	}
	late = op->flags & SP_OP_REFUSE && comes_too_late(ctx, sk, op, how);
	r = set_value(ctx, op, how);
	if (r == 0) {
		note_given(ctx, sk, op);
		set_implied(ctx, op, number, how);
	}
	if ((r == 0 && !late) || !(op->flags & SP_OP_REFUSE))
		return 0;
	return refuse(ctx, op, how, context);
}

__noinline int set_with_care_addr(struct bpf_sock_addr *ctx, __u32 number, __u32 how)
{
	return set_with_care(ctx, ctx->sk, number, how, CONTEXT_ADDR);
}

__noinline int set_with_care_ops(struct bpf_sock_ops *ctx, __u32 number, __u32 how)
{
	return set_with_care(ctx, ctx->sk, number, how, CONTEXT_OPS);
}

/*
 * Puts an operation off until the policies are merged: at that depth there is no stack left for
 * more.  The socket is locked, so nobody else puts something off meanwhile.
 */
static __always_inline void put_off(struct bpf_sock *sk, __u32 number, __u32 how)
{
	struct sp_op *op = numbered_op(number, HOW_GENERATION(how));
	struct sp_own_sets *s;
	__u64 bit;

	s = sk ? bpf_sk_storage_get(&own_sets, sk, NULL, BPF_SK_STORAGE_GET_F_CREATE) : NULL;
	if (!s || !op)
		return;
	how &= HOW_ALL;
	if (s->how != how) /* of an earlier run, perhaps cut short by a reload */
		s->due = 0;
	bit = 1ULL << (op->option & 63);
	if (s->due & bit) /* the second one of an option is what the first implies */
		return;
	s->due |= bit;
	s->how = how;
	s->op[op->option & (SP_OPTIONS_MAX - 1)] = number;
}

__noinline int put_off_addr(struct bpf_sock_addr *ctx, __u32 number, __u32 how)
{
	put_off(ctx->sk, number, how);
	return 0;
}

__noinline int put_off_ops(struct bpf_sock_ops *ctx, __u32 number, __u32 how)
{
	put_off(ctx->sk, number, how);
	return 0;
}

/* Notes that a client is bound to an address of its own: from the outside it looks as if it was
 * accepted from a listener without a backlog. */
__noinline int note_connect(struct bpf_sock_addr *ctx)
{
	struct bpf_sock *sk = ctx->sk;
	struct sp_own_sets *s;

	if (!sk || ctx->protocol != IPPROTO_TCP || !may_be_accepted(sk, raw_socket(sk)))
		return 0;
	s = bpf_sk_storage_get(&own_sets, sk, NULL, BPF_SK_STORAGE_GET_F_CREATE);
	if (s)
		s->flags |= SP_OWN_SETS_CONNECTS;
	return 0;
}

/* Does what was put off, in the order of the option table.  Gives whether the call is refused. */
#define CATCH_UP(ctx, sk, set_with_care_)                                                          \
	({                                                                                         \
		struct sp_own_sets *own_ =                                                         \
			(sk) ? bpf_sk_storage_get(&own_sets, sk, NULL, 0) : NULL;                  \
		__u64 due_ = own_ ? own_->due : 0;                                                 \
		int refused_ = 0;                                                                  \
                                                                                                   \
		if (due_) {                                                                        \
			own_->due = 0;                                                             \
			(void)bpf_getsockopt(ctx, SOL_SOCKET, SO_PRIORITY, &own_->priority,        \
					     sizeof(own_->priority));                              \
		}                                                                                  \
		for (__u32 i_ = 0; i_ < SP_OPTIONS_MAX && due_ >> i_; i_++)                        \
			if (own_ && due_ >> i_ & 1)                                                \
				refused_ |= set_with_care_(ctx, own_->op[i_], own_->how);          \
		refused_;                                                                          \
	})

__noinline int catch_up_addr(struct bpf_sock_addr *ctx)
{
	return CATCH_UP(ctx, ctx->sk, set_with_care_addr);
}

__noinline int catch_up_ops(struct bpf_sock_ops *ctx)
{
	return CATCH_UP(ctx, ctx->sk, set_with_care_ops);
}

#endif
