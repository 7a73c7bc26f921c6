/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Sets one operation's value, and counts what comes of it. */
#ifndef SOCKPOL_BPF_OP_H
#define SOCKPOL_BPF_OP_H

#include <stdbool.h>

#include "facts.h"
#include "maps.h"

#define EINVAL 22

/* From <asm-generic/socket.h>. */
#define SOL_SOCKET	   1
#define SO_PRIORITY	   12
#define SO_BINDTODEVICE	   25
#define SO_MARK		   36
#define SO_MAX_PACING_RATE 47
#define SO_BINDTOIFINDEX   62

/* The facts of a run of a hook in one word, since functions have at most five arguments. */
#define HOW(stage, families, counts, generation)                                                   \
	((__u32)(stage) | (__u32)(families) << 8 | (__u32)(counts) << 16 |                         \
	 ((__u32)(generation)&1) << 24)
#define HOW_ALL		    0x0fffffffu /* the rest is a loop's own, see bpf/apply.h */
#define HOW_STAGE(how)	    ((how)&0xff)
#define HOW_FAMILIES(how)   ((how) >> 8 & 0xff)
#define HOW_COUNTS(how)	    ((how) >> 16 & 1)
#define HOW_GENERATION(how) ((how) >> 24 & 1)

/* Adds 1 to an element of a hash, and makes it if it is not there. */
#define COUNT_IN(map, key)                                                                         \
	do {                                                                                       \
		__u64 one_ = 1, *count_ = bpf_map_lookup_elem(&map, key);                          \
                                                                                                   \
		if (!count_ && bpf_map_update_elem(&map, key, &one_, BPF_NOEXIST) == 0)            \
			break;                                                                     \
		count_ = bpf_map_lookup_elem(&map, key); /* perhaps another CPU was first */       \
		if (count_)                                                                        \
			__sync_fetch_and_add(count_, 1);                                           \
		else                                                                               \
			__sync_fetch_and_add(&state.failures_lost, 1);                             \
	} while (0)

/* A key in one store: the hash reads it whole, and would wait for the stores of its parts. */
static __always_inline __u64 key_of(__u32 counter, __u32 option, __u16 what)
{
	_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ &&
			       __builtin_offsetof(struct sp_failure, option) == 4 &&
			       __builtin_offsetof(struct sp_failure, error) == 6 &&
			       __builtin_offsetof(struct sp_outcome, option) == 4 &&
			       __builtin_offsetof(struct sp_outcome, kind) == 6,
		       "the layout of both keys");

	return counter | (__u64)option << 32 | (__u64)what << 48;
}

__noinline int count_failure(__u32 counter, __u32 option, int error)
{
	__u64 key = key_of(counter, option, (__u16)error);

	COUNT_IN(failures, &key);
	return 0;
}

__noinline int count_outcome(__u32 counter, __u32 option, enum sp_outcome_kind kind)
{
	__u64 key = key_of(counter, option, (__u16)kind);

	COUNT_IN(outcomes, &key);
	return 0;
}

/*
 * Returns the length, 1 to SP_VALUE_SIZE, as every operation has it.  The verifier of 6.1 learns
 * nothing from a comparison with 0, so arithmetic shows it.
 */
static __always_inline __u32 length_of(__u32 optlen)
{
	_Static_assert((SP_VALUE_SIZE & (SP_VALUE_SIZE - 1)) == 0, "a mask");

	return ((optlen - 1) & (SP_VALUE_SIZE - 1)) + 1;
}

/* Returns the operation with this number, or NULL. */
static __always_inline struct sp_op *numbered_op(__u32 number, __u32 generation)
{
	__u32 index = number / SP_OPS_CELL;
	struct sp_op_cell *cell = MAP_LOOK(ops, generation & 1, &index);

	return cell ? &cell->op[number % SP_OPS_CELL] : NULL;
}

/* The contexts of programs. */
enum context {
	CONTEXT_ADDR,  /* struct bpf_sock_addr */
	CONTEXT_OPS,   /* struct bpf_sock_ops */
	CONTEXT_GIVEN, /* struct given, in place of one */
	CONTEXT_ASKED, /* struct asked, likewise */
	CONTEXT_FOUND, /* struct found, likewise */
};

/* Returns 0, or why the value could not be set. */
static __always_inline int set_value(void *ctx, struct sp_op *op, __u32 how)
{
	int r = (int)bpf_setsockopt(ctx, op->level, op->optname, op->value,
				    (int)length_of(op->optlen));

	/* An IPV6_V6ONLY socket has no IPv4 options to set. */
	if (r == 0 ||
	    (r == -EINVAL && (HOW_FAMILIES(how) & DUAL_STACK) && op->families == SP_FAMILY_IPV4))
		return 0;
	count_failure(op->counter, op->option, r);
	return r;
}

#endif
