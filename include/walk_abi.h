/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Shared by bpf/walk.bpf.c and agent/kernel/walk.c.  It lives for one run, so it has no version. */
#ifndef SOCKPOL_WALK_ABI_H
#define SOCKPOL_WALK_ABI_H

#include <linux/types.h>

#include "abi.h"

/* What is done with each socket.  A walk that shows writes records and sets nothing: the kernel may
 * show a socket twice where the reader's buffer is full.  One that sets writes nothing. */
enum walk_mode {
	WALK_SHOW,  /* writes a record of each governed socket */
	WALK_APPLY, /* sets what wins now */
	WALK_RESET, /* takes back what the generation before gave and this one does not */
};

/* What became of an option of a socket. */
enum walk_outcome {
	WALK_SET,	     /* in a dry run and when shown: would be set */
	WALK_RIGHT,	     /* it has the value */
	WALK_TOO_LATE,	     /* it has another value, and setting it has no effect any more */
	WALK_FAILED,	     /* bpf_setsockopt refused */
	WALK_RESPECTED,	     /* it has a value of the application's, which stays */
	WALK_CHANGED,	     /* WALK_RESET: it has something else by now */
	WALK_NOT_TAKEN_BACK, /* WALK_RESET: it still has the value, for which there is no way back
			      */
	WALK_OUTCOMES,
};

/* How a socket came to talk: enum direction of the agent, and: */
#define WALK_DIRECTION_UNTOLD                                                                      \
	3 /* connected with a port of its own, or accepted from listen(fd, 0) */

/* How what a socket has is read, and what the kernel makes of a value. */
enum walk_seen {
	WALK_SEEN_NEVER,
	WALK_SEEN_NUMBER, /* by bpf_getsockopt */
	WALK_SEEN_TEXT,
	WALK_SEEN_CWND_CLAMP, /* by the kernel's own member */
	WALK_SEEN_USER_MSS,
	WALK_SEEN_WINDOW_CLAMP,
	WALK_SEEN_DELACK_MAX,
	WALK_SEEN_RTO_MIN,
};
enum walk_shown {
	WALK_AS_IS,
	WALK_DOUBLED,	 /* min(value, cap) * 2, at least floor */
	WALK_JIFFIES,	 /* microseconds, rounded up; cap: jiffies a second */
	WALK_AT_LEAST,	 /* floor */
	WALK_AT_MOST,	 /* cap; 0 becomes 1 */
	WALK_ECN_MASKED, /* on TCP without the two ECN bits */
};
enum walk_fresh {
	WALK_FRESH_NEVER, /* there is no way back */
	WALK_FRESH_NUMBER,
	WALK_FRESH_TEXT,
};

/* A row of the option table, for sockets of one network namespace. */
struct walk_option {
	__u16 level, optname;
	__u8 seen;	 /* enum walk_seen */
	__u8 result;	 /* enum walk_shown */
	__u8 late;	 /* WALK_LATE_*: where setting it has no effect any more */
	__u8 fresh_kind; /* enum walk_fresh */
	__u8 lock;	 /* the bit of sk_userlocks that somebody's setting leaves; 0: none */
	__u8 by_hand;	 /* --option: WALK_BY_HAND_* */
	__u8 optlen;	 /* of by_hand_value and fresh */
	__u8 reserved;
	__u32 cap, floor, reserved2;
	union {
		__u32 fresh;
		char fresh_text[SP_VALUE_SIZE];
	};
	union {
		__u32 by_hand_value;
		char by_hand_text[SP_VALUE_SIZE];
	};
};
/* Returns what getsockopt(2) shows after this value was set: the rules of value_result(). */
static inline __attribute__((always_inline)) __u32 walk_made_of(const struct walk_option *o,
								__u32 value)
{
	switch (o->result) {
	case WALK_DOUBLED:
		if (value > o->cap)
			value = o->cap;
		value *= 2;
		return value < o->floor ? o->floor : value;
	case WALK_JIFFIES:
		return (__u32)(((__u64)value * o->cap + 999999) / 1000000);
	case WALK_AT_LEAST:
		return value < o->floor ? o->floor : value;
	case WALK_AT_MOST:
		return value > o->cap ? o->cap : value ? value : 1;
	default: /* -1: the host's */
		return value == (__u32)-1 && o->fresh_kind == WALK_FRESH_NUMBER ? o->fresh : value;
	}
}

/* Returns the value that was set, from what getsockopt(2) shows. */
static inline __attribute__((always_inline)) __u32 walk_made_from(const struct walk_option *o,
								  __u32 shown)
{
	switch (o->result) {
	case WALK_DOUBLED:
		return shown / 2;
	case WALK_JIFFIES:
		return o->cap ? (__u32)((__u64)shown * 1000000 / o->cap) : shown;
	default:
		return shown;
	}
}

#define WALK_LATE_CONNECTION 0x1
#define WALK_LATE_LISTENER   0x2
#define WALK_BY_HAND	     0x1 /* this option, whatever it has */
#define WALK_BY_HAND_VALUE   0x2 /* where it has this value */

/* One run. */
struct walk_run {
	__u64 cgroup;	   /* only sockets of this one and those below; 0: of all */
	__u32 mode;	   /* enum walk_mode */
	__u32 generation;  /* the slot of the generation in force */
	__u64 by_hand;	   /* WALK_RESET: BIT(row) of the only options that are looked at; 0: all */
	__u8 has_previous; /* the other slot has the generation before */
	__u8 is_dry;	   /* sets nothing */
	__u8 only_applying; /* existing: apply, and another value in the generation before */
	__u8 has_wanted;    /* only what the counters in `wanted` give */
	__u8 has_unpace;    /* the congestion control WALK_UNPACE is there */
	__u8 reserved[3];
};

#define WALK_UNPACE "sockpol_unpace" /* see bpf/unpace.bpf.c */

/* What WALK_APPLY and WALK_RESET count. */
struct walk_counts {
	__u64 sockets;	/* that were looked at */
	__u64 governed; /* of these, those to which some policy applies */
	__u64 touched;	/* of these, those on which something was set */
	__u64 untold;	/* governed sockets whose direction cannot be told */
	__u64 outcomes[SP_OPTIONS_MAX][WALK_OUTCOMES];
};

/* Key of hash `refusals`; value: __u64, how often. */
struct walk_refusal {
	__u32 option;
	__s32 error; /* negative errno */
};

/* What WALK_SHOW writes: an option of a socket that is not what the policy says. */
struct walk_item {
	union {
		__u8 wanted[SP_VALUE_SIZE]; /* as setsockopt(2) takes it */
		struct sp_bounds bounds;    /* of one with a range */
	};
	union {
		__u32 value; /* as getsockopt(2) shows it */
		char text[SP_VALUE_SIZE];
	};
	__u32 counter; /* of the policy or rule that wins */
	__u8 option;   /* row */
	__u8 outcome;
	__u8 flags;    /* WALK_ITEM_* */
	__u8 op_flags; /* SP_OP_* */
};
#define WALK_ITEM_BEFORE 0x01 /* it has what the generation before gave */
#define WALK_ITEM_FRESH	 0x02 /* it has what a new socket has */
#define WALK_ITEM_OWN	 0x04 /* the application set it: noted when it did */
#define WALK_ITEM_CAPPED 0x08 /* the kernel makes less of the value */
#define WALK_ITEM_HIDDEN 0x10 /* what it has cannot be seen */

#define WALK_COUNTERS_MAX 8
/* A record: this, then n_items of the above. */
struct walk_socket {
	__u64 cgroup, inode;	   /* inode 0: no process has it */
	__u32 local[4], remote[4]; /* network byte order; IPv4 in the first */
	__u32 uid;
	__u16 local_port, remote_port; /* host byte order */
	__u16 family, protocol, type;
	__u8 state, direction;
	__u8 n_governed; /* options of which some policy has a word */
	__u8 n_counters; /* the policies and rules that win: the first few */
	__u8 n_items;
	__u8 reserved;
	__u32 counters[WALK_COUNTERS_MAX];
};

_Static_assert(sizeof(struct walk_option) == 56, "walk_abi");
_Static_assert(sizeof(struct walk_run) == 32, "walk_abi");
_Static_assert(sizeof(struct walk_item) == 40, "walk_abi");
_Static_assert(sizeof(struct walk_socket) == 104, "walk_abi");

#endif
