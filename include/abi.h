/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What the BPF programs and userspace share: the keys and values of the maps.
 *
 * All integers are in host byte order.  Every structure has fixed-width members and no implicit
 * padding; its size is asserted at compile time, so that a change to the layout is seen.  Whoever
 * changes a layout or a meaning raises SP_ABI_VERSION.
 *
 * The way of a socket through the maps:
 *
 *   cgroups[id of the socket's cgroup].policy[generation & 1]   -> index into policies; most often
 *                                               known from cgroup_slots
 *   policies[index].stage[the hook's stage]                     -> ranges of tests, ops and credits
 *   tests[...]: range_nodes[address or port] -> class; vectors[class] -> which rules hold
 *   ops[...]: one an option: the rules that name it, and what holds where none of them does
 *   ops[alternative of the last rule that holds]                -> one bpf_setsockopt each
 *   credits[...]                                                -> whose `applied` counter to raise
 *
 * The way of a new cgroup, inside mkdir(2):
 *
 *   cgroups[id of its parent]                -> the parent's class, and where the globs' machine is
 *   glob_states, glob_edges: "/" and its name, byte by byte -> its own state; what matches there
 *   steps[parent's class, what matches]      -> its own class and policy; no entry: that is the
 *                                               agent's to find out
 *   cgroups[its own id]                      <- policy, class and state
 */
#ifndef SOCKPOL_ABI_H
#define SOCKPOL_ABI_H

#include <linux/types.h>

#ifndef SP_ABI_VERSION /* a test build has another */
#define SP_ABI_VERSION 5
#endif

/* Names of policies and of rules: 1-63 bytes of a-z 0-9 . _ - and a NUL. */
#define SP_NAME_SIZE 64

/*
 * A stage is a moment in a socket's life at which operations are due.  Which hook it is:
 * see stage_hooks() in agent/option/option.c.
 */
enum sp_stage {
	SP_STAGE_TCP_BIND,    /* cgroup/bind4, bind6: before the port is taken */
	SP_STAGE_TCP_CONNECT, /* cgroup/connect4, connect6: before the route and the SYN */
	SP_STAGE_TCP_SYN,     /* BPF_SOCK_OPS_TCP_CONNECT_CB: local address known, before the SYN */
	SP_STAGE_TCP_ACTIVE_EST,  /* BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB */
	SP_STAGE_TCP_PASSIVE_EST, /* BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB, on the accepted socket */
	SP_STAGE_TCP_LISTEN,	  /* BPF_SOCK_OPS_TCP_LISTEN_CB */
	SP_STAGE_UDP_BIND,	  /* cgroup/bind4, bind6 */
	SP_STAGE_UDP_CONNECT,	  /* cgroup/connect4, connect6 */
	SP_STAGE_UDP_SEND,	  /* cgroup/sendmsg4, sendmsg6: neither bound nor connected */
	SP_STAGE_UNIX_CONNECT,	  /* cgroup/connect_unix */
	SP_STAGE_UNIX_SEND,	  /* cgroup/sendmsg_unix */
	SP_STAGE_REPLY_ACTIVE,	  /* sock_ops that want a reply, on a connecting socket; in
				     sp_state.sock_ops both of these */
	SP_STAGE_REPLY_PASSIVE,	  /* the same on a request_sock: the listener's policy, the peer's
				     rules */
	SP_STAGE_MAX,
};

/* Which IP families a socket speaks; a dual-stack listener speaks both. */
#define SP_FAMILY_IPV4 0x1
#define SP_FAMILY_IPV6 0x2

/*
 * Value of map `cgroups`; key: __u64, the cgroup's id (st_ino of its directory).  Every cgroup
 * below the agent's root has an entry, governed or not: its children follow from it.  All by
 * generation & 1; outside of a reload both are equal.
 */
struct sp_cgroup {
	__u64 id; /* again: an element that is replaced while a program reads it may become another
		     cgroup's at once (it is written first, so what is read before it is right
		     if it is) */
	__u32 policy[2]; /* index into policies; 0: not governed */
	__u32 class[2];	 /* which policies apply or are excluded, in which order; 0: not known, and
			    then its children's are not either: the agent finds them out */
	__u32 glob[2];	 /* where the globs' machine is after its path: index into glob_states; 0:
			    not known */
};

/*
 * Value of array `cgroup_slots`, at a place that follows from a cgroup's id (siblings' ids differ
 * by the number of their files, so it takes all bits of it): from here the hooks know most cgroups'
 * policies without the hash.  Each half is one word, written in one store: a cgroup and its policy,
 * as its entry has it, or 0; the two halves may be two cgroups'.  Whoever writes an entry writes
 * here, too, where no other cgroup is: who finds another's word looks in the hash.  Of the id the
 * lower 40 bits are compared, the inode number and 8 bits of its generation.
 */
#define SP_CGROUP_SLOT_BITS 14
#define SP_CGROUP_SLOTS	    (1u << SP_CGROUP_SLOT_BITS)
#define SP_CGROUP_SLOT(id)                                                                         \
	((__u32)((__u64)(id)*0x9e3779b97f4a7c15ull >> (64 - SP_CGROUP_SLOT_BITS)))
#define SP_SLOT_POLICY_BITS	 24
#define SP_SLOT_WORD(id, policy) ((__u64)(id) << SP_SLOT_POLICY_BITS | (policy))
#define SP_SLOT_POLICY(word)	 ((__u32)(word) & ((1u << SP_SLOT_POLICY_BITS) - 1))
#define SP_SLOT_IS_OF(word, id)                                                                    \
	(((word) ^ (__u64)(id) << SP_SLOT_POLICY_BITS) >> SP_SLOT_POLICY_BITS == 0)
struct sp_cgroup_slot {
	__u64 half[2];
};

/*
 * Value of array `glob_states`: a state of the machine that reads cgroups' paths for all globs of
 * all policies at once (agent/compile/machine.h).  Index 0 is never used.
 */
struct sp_glob_state {
	__u32 first_edge; /* byte b goes along glob_edges[first_edge + b], if that is from here */
	__u32 otherwise;  /* the next state for the bytes that have no edge */
	__u32 matches;	  /* which globs match a path that ends here; 0: none */
	__u32 reserved;
};

/* Value of array `glob_edges`.  The edges of many states lie interleaved. */
struct sp_glob_edge {
	__u32 from; /* 0: free */
	__u32 to;
};

/* Key and value of hash `steps`: what becomes of a class where globs match. (Where none does, a
 * child is in its parent's class.)  Classes of the two generations have different numbers. */
struct sp_step_key {
	__u32 class;   /* of the parent */
	__u32 matches; /* sp_glob_state.matches of the child; not 0 */
};
struct sp_step {
	__u32 class;
	__u32 policy; /* as in sp_cgroup */
};

/* What is due at a stage. */
struct sp_stage_ops {
	__u64 rules; /* bits of the rules that matter here; 0: none depends on the connection */
	__u64 rule_credits; /* of these, those with a credit of their own, weakest first behind the
			       n_credits */
	__u32 first_op;
	__u32 n_ops; /* at most SP_STAGE_OPS_MAX */
	__u32 first_test;
	__u32 n_tests; /* at most SP_STAGE_TESTS_MAX; 0: rules ask for the family only, if there are
			  any */
	__u32 first_credit;
	__u32 n_credits; /* to look through: with those behind them at most SP_STAGE_CREDITS_MAX */
	__u32 plain; /* 1: where no rule holds all n_credits are due, whatever the family, and there
			are no more than SP_PLAIN_*_MAX of them and of ops */
	__u32 only_credit; /* the source, if there is one only; else 0 */
};
#define SP_PLAIN_OPS_MAX     16
#define SP_PLAIN_CREDITS_MAX 4

/*
 * The rules of an effective policy that depend on the connection have a bit each, in walk order: of
 * the rules that hold and name an option, the highest bit wins.
 */
#define SP_RULES_MAX 64

/* Families as rules tell them apart; index into sp_policy.families. */
enum sp_family {
	SP_FAMILY_INDEX_IPV4, /* v4-mapped peers too */
	SP_FAMILY_INDEX_IPV6,
	SP_FAMILY_INDEX_UNIX,
	SP_FAMILY_INDEX_MAX,
};

/* Value of array `policies`: an effective policy.  Index 0 is never used. */
struct sp_policy {
	struct sp_stage_ops stage[SP_STAGE_MAX];
	__u32 first_member; /* index into credits: every policy that applies, winner or not */
	__u32 n_members;
	__u64 families[SP_FAMILY_INDEX_MAX]; /* the rules that may hold for each */
};

/* One option at most once in a stage, so this bounds the number of rows in the option table. */
#define SP_STAGE_OPS_MAX 64
/* Credits are whole policies and single rules; userspace refuses a configuration with more. */
#define SP_STAGE_CREDITS_MAX 256
/* Policies with such rules that apply to one cgroup, times the properties they look at. */
#define SP_STAGE_TESTS_MAX 64

/* Properties of a connection that rules look at. */
enum sp_property {
	SP_PROPERTY_REMOTE, /* address */
	SP_PROPERTY_LOCAL,  /* address */
	SP_PROPERTY_REMOTE_PORT,
	SP_PROPERTY_LOCAL_PORT,
	SP_PROPERTY_MAX,
};

/*
 * Value of array `tests`: narrows down which rules hold.  The property is looked up in a tree,
 * which gives its class (0: in none of the prefixes or ports that rules list, or the socket has no
 * such property); vectors[first_vector + class] are the rules that this leaves.
 */
struct sp_test {
	__u32 property; /* enum sp_property */
	__u32 first_vector;
	__u32 n_vectors;
	__u32 tree4; /* an answer, see below: for IPv4 addresses, or for ports */
	__u32 tree6; /* for the first half of IPv6 addresses */
};

/*
 * An answer, 32 bits, is a class; or, with the levels of a tree in the upper bits, that tree: its
 * root is range_nodes[answer & SP_ANSWER_INDEX].  Keys are numbers of 64 bits; an IPv6 address is
 * two: what the tree of the first answers may be a tree for the second.
 */
#define SP_ANSWER_LEVELS_SHIFT 28
#define SP_ANSWER_INDEX	       ((1u << SP_ANSWER_LEVELS_SHIFT) - 1)
#define SP_RANGE_LEVELS_MAX    8 /* 12 million ranges */

/*
 * Value of array `range_nodes`: a node, of the size of a cache line.  It divides its keys into
 * ranges, of which it has the last key of each but the last; where there are fewer, the greatest
 * number for the others.
 */
#define SP_NODE_CHILDREN 8
#define SP_LEAF_RANGES	 6
union sp_range_node {
	struct {
		__u64 last[SP_NODE_CHILDREN - 1];
		__u32 first_child; /* index into range_nodes; the others follow */
		__u32 reserved;
	} inner;
	struct {
		__u64 last[SP_LEAF_RANGES - 1];
		__u32 answer[SP_LEAF_RANGES];
	} leaf;
};

#define SP_VALUE_SIZE 16

/* Value of array `ops`: one call of bpf_setsockopt, or (level SP_LEVEL_REPLY) one reply. */
struct sp_op {
	__u64 rules;   /* in a stage's list: bits of the rules that name this option; else 0 */
	__u16 level;   /* SOL_SOCKET, IPPROTO_TCP, ... */
	__u16 optname; /* as in setsockopt(2), or TCP_BPF_*; for a reply BPF_SOCK_OPS_* */
	__u16 option;  /* row of the option table (enum option_id), for the failure counter */
	__u8 optlen;   /* bytes of value, 1 to SP_VALUE_SIZE; 0: leave the option alone */
	__u8 families; /* SP_FAMILY_*: applies to a socket that speaks one of these */
	__u32 source;  /* index into sources: the rule or base block that set it */
	__u32 first_alternative;   /* index into ops: of the lowest of `rules`; the others follow */
	__u8 value[SP_VALUE_SIZE]; /* host byte order; strings with their NUL */
	__u8 block; /* the bit by which credits know who set it: in list: see sp_credit.always */
	__u8 reserved[3];
	__u32 condition; /* digest of the rule's `when`: for `explain`, no program reads it */
};

/* The level of what is no socket option but sock_ops' reply. */
#define SP_LEVEL_REPLY 0xffff
#define SP_REPLIES_MAX 4 /* sock_ops that take one from a policy */

/* Value of array `credits`: who is credited when one of these set something. */
struct sp_credit {
	__u64 rules;  /* bits of rules that depend on the connection: they set something */
	__u64 held;   /* the same, but that they hold is enough: what they set, another hook sets */
	__u64 always; /* bits of blocks that do not, by sp_op.block */
	__u32 source;
	__u32 reserved;
};

/*
 * Value of array `sources`: who stands behind an operation.  With an empty rule name it is the
 * policy as a whole (and its base options).  An id keeps its meaning over reloads.
 * Index 0 is never used.
 */
struct sp_source {
	char policy[SP_NAME_SIZE]; /* empty: this id is free */
	char rule[SP_NAME_SIZE];
	__u32 flags; /* SP_SOURCE_* */
	__u32 reserved;
};
/* Of a policy: its globs do not fit the machine, so the agent, told of each new cgroup, matches
 * them. */
#define SP_SOURCE_BY_EVENTS 0x1
/* Of a policy: it matches in steps that are not in `steps` (SP_STATE_STEPS_CUT), too. */
#define SP_SOURCE_CUT 0x2

/* Value of per-CPU array `applied`, by source id: sockets, once per direction. */
typedef __u64 sp_applied_t;

/* Key of hash `failures`; value: __u64, how often. */
struct sp_failure {
	__u32 source;
	__u16 option; /* enum option_id */
	__s16 error;  /* negative errno from bpf_setsockopt */
};

/* Array `state`, one element: to the programs a variable. */
#define SP_SOCK_OPS_MAX 64 /* BPF_SOCK_OPS_* are below */
struct sp_state {
	__u64 generation;    /* the bit 0 of it selects sp_cgroup.policy[]; raised by each reload */
	__u64 loaded_usec;   /* CLOCK_REALTIME, microseconds, when this generation came in force */
	__u64 events_lost;   /* cgroup events that did not fit the ring buffer */
	__u64 failures_lost; /* failures that did not fit the map `failures` */
	__u64 no_room;	     /* new cgroups that found no room in the maps, ever */
	__u64 cgroup_root_id; /* id of the cgroup that the programs are attached to */
	__u64 missing_stages; /* BIT(enum sp_stage): this kernel has no hook for them */
	__u64 stages;	      /* BIT(enum sp_stage): some policy has something due there */
	__u32 abi_version;    /* SP_ABI_VERSION; keeps its place in every version */
	__u32 n_policies;     /* policies in the configuration in force */
	__u64 unresolved; /* new cgroups that got their parent's policy until the agent looked, as
			     `steps` had no entry */
	__u32 flags;	  /* SP_STATE_* */
	__u32 maps;	  /* tells by the ids of all maps that they belong together; 0: not known */
	__u64 no_room_settled;		/* of no_room: those that have their entry, or are gone */
	__u8 sock_ops[SP_SOCK_OPS_MAX]; /* the stage that an op is, where some policy has something
					   due there; else 0, which is no op's */
};
#define SP_STATE_STEPS_CUT 0x1 /* not every step that can be is in `steps`: there were too many */
#define SP_STATE_NO_TRACEPOINTS                                                                    \
	0x2 /* the kernel classifies nothing: the agent looks at directories */
#define SP_STATE_BY_EVENTS                                                                         \
	0x4 /* the agent matches some globs, so it hears of each new cgroup at once */

/* Local storage of UDP and unix sockets. */
struct sp_socket {
	__u64 seen; /* generation in which its sends were last looked at, and 1 more: 0 is never */
	__u32 counted; /* bit: 1 << enum sp_stage: it was counted there, and that is once only */
	__u32 reserved;
};

/*
 * Record of ring buffer `events`.  What the kernel has settled by itself only waits there, until
 * the agent reads for another reason or a quarter is full.
 */
enum sp_event_kind {
	SP_EVENT_MKDIR,
	SP_EVENT_RELEASE,
};

#define SP_CGROUP_NAME_SIZE 256 /* NAME_MAX and a NUL */

struct sp_event {
	__u64 id;
	__u64 parent_id;
	__u32 kind; /* enum sp_event_kind */
	__u32 reserved;
	char name[SP_CGROUP_NAME_SIZE]; /* last component of its path; MKDIR only */
};

_Static_assert(sizeof(struct sp_cgroup) == 32, "abi");
_Static_assert(sizeof(struct sp_cgroup_slot) == 16, "abi");
_Static_assert(sizeof(struct sp_stage_ops) == 48, "abi");
_Static_assert(sizeof(struct sp_policy) == 48 * SP_STAGE_MAX + 8 + 8 * SP_FAMILY_INDEX_MAX, "abi");
_Static_assert(sizeof(struct sp_test) == 20, "abi");
_Static_assert(sizeof(union sp_range_node) == 64, "abi");
_Static_assert(sizeof(struct sp_op) == 48, "abi");
_Static_assert(sizeof(struct sp_credit) == 32, "abi");
_Static_assert(sizeof(struct sp_source) == 136, "abi");
_Static_assert(sizeof(struct sp_failure) == 8, "abi");
_Static_assert(sizeof(struct sp_state) == 160, "abi");
_Static_assert(__builtin_offsetof(struct sp_state, abi_version) == 64, "abi");
_Static_assert(sizeof(struct sp_glob_state) == 16, "abi");
_Static_assert(sizeof(struct sp_glob_edge) == 8, "abi");
_Static_assert(sizeof(struct sp_step_key) == 8, "abi");
_Static_assert(sizeof(struct sp_step) == 8, "abi");
_Static_assert(sizeof(struct sp_socket) == 16, "abi");
_Static_assert(sizeof(struct sp_event) == 24 + SP_CGROUP_NAME_SIZE, "abi");

#endif
