/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The keys and values of the maps, which the BPF programs and userspace share.
 *
 * All integers are in host byte order.  Every structure has fixed-width members and no implicit
 * padding; its size is asserted at compile time, so that a change of layout is noticed.  A change
 * of a layout or a meaning raises SP_ABI_VERSION.
 *
 * The way of a socket through the maps.  Maps marked with G belong to a generation: each is an
 * array of maps whose element `generation & 1` is in force.
 *
 *   G cgroup_cache[place of the cgroup's id]  -> no policy, one policy, or "see the lists"
 *   G policy_lists[place of the cgroup's id]  -> the policies that apply, weakest first
 *   G policies[number].stage[the hook's stage] -> the base's block, and which rules are looked at
 *     the policy's tests: G range_nodes[address or port] -> class; G vectors[class] -> which rules
 *                                                 this leaves
 *   G blocks[a rule's]                        -> what a rule that holds sets
 *   G ops[a block's]                          -> one bpf_setsockopt, or one reply, each
 *   applied[counter]                          -> raised for each policy and rule that held
 *
 * The way of a cgroup that is not in the cache:
 *
 *   the names of its ancestors, from the root down, byte by byte over
 *   G glob_nodes, glob_links                  -> the policies that match, the policies excluded
 *   G cgroup_cache, policy_lists              <- the outcome
 *   G walk_states                             <- where the globs are, so that the walk for a
 *                                                descendant begins here
 */
#ifndef SOCKPOL_ABI_H
#define SOCKPOL_ABI_H

#include <linux/types.h>

#ifndef SP_ABI_VERSION /* a test build has another */
#define SP_ABI_VERSION 9
#endif

/* Names of policies and of rules: 1-63 bytes of a-z 0-9 . _ - and a NUL. */
#define SP_NAME_SIZE 64

/*
 * A stage is a moment in a socket's life at which operations are due.  The table of stages
 * (agent/policy/stage.c) says which hook each one is.
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
	SP_STAGE_UNIX,		  /* cgroup/connect_unix, sendmsg_unix: whichever comes first */
	SP_STAGE_LOCAL_SOCKET,	  /* lsm_cgroup/socket_post_create: netlink and packet sockets, and
				     AF_UNIX where there is no hook of SP_STAGE_UNIX */
	SP_STAGE_REPLY_ACTIVE,	  /* sock_ops that want a reply, on a connecting socket; in
				     sp_state.sock_ops both of these */
	SP_STAGE_REPLY_PASSIVE,	  /* sock_ops that want a reply, on a request_sock: the listener's
				     policies, the peer's rules */
	SP_STAGE_TCP_SOCKET,	  /* cgroup/sock_create; TCP includes MPTCP */
	SP_STAGE_UDP_SOCKET,	  /* cgroup/sock_create */
	SP_STAGE_OTHER_SOCKET,	  /* cgroup/sock_create: raw, ping, UDP-Lite, SCTP and others */
	SP_STAGE_MAX,
};
#define SP_STAGE_IS_REPLY(s)  ((s) == SP_STAGE_REPLY_ACTIVE || (s) == SP_STAGE_REPLY_PASSIVE)
#define SP_STAGE_IS_SOCKET(s) ((s) >= SP_STAGE_TCP_SOCKET)

/* A further bit of sets of stages: at socket(2) some policy gives a device by its name, which takes
 * a hook that may call bpf_setsockopt. */
#define SP_DUE_DEVICE_NAME (1ull << SP_STAGE_MAX)
/* And others: some policy has a word about what applications set; one of them is to respect it. */
#define SP_DUE_AFTERWARDS (1ull << (SP_STAGE_MAX + 1))
#define SP_DUE_RESPECT	  (1ull << (SP_STAGE_MAX + 2))
#define SP_DUE_CARE                                                                                \
	(1ull << (SP_STAGE_MAX + 3)) /* some operation has SP_OP_CARE; no hook's own               \
				      */

/* Which IP families a socket speaks; a dual-stack listener speaks both. */
#define SP_FAMILY_IPV4 0x1
#define SP_FAMILY_IPV6 0x2
/* Another bit of sp_op.families: the operation is for sockets that no device is bound to. */
#define SP_FAMILY_UNBOUND 0x8

/* --- which policies apply to a cgroup ----------------------------------------------------------
 *
 * A word is a cgroup (the low 44 bits of its id) and 20 bits about it.  Within a generation the
 * words about a cgroup never change, so a reader that finds the cgroup's id in a word has the right
 * one, whatever is written beside it meanwhile: there are no locks and no barriers.  0 is free.
 *
 * A policy's number is its index in the map `policies`; 0 is never used.
 */
#define SP_WORD_BITS	      20
#define SP_WORD(id, what)     ((__u64)(id) << SP_WORD_BITS | (what))
#define SP_WORD_IS_OF(w, id)  ((((w) ^ (__u64)(id) << SP_WORD_BITS) >> SP_WORD_BITS) == 0)
#define SP_WORD_WHAT(w)	      ((__u32)(w) & ((1u << SP_WORD_BITS) - 1))
#define SP_WORD_IN_LISTS      ((1u << SP_WORD_BITS) - 1) /* several policies: see policy_lists */
#define SP_POLICY_NUMBERS_MAX 32767			 /* 15 bits */

/* The place of a cgroup in an array of 1 << bits elements.  The seed is odd and random, so nobody
 * can aim at the place of another's cgroup. */
#define SP_PLACE(id, seed, bits) ((__u32)((__u64)(id) * (seed) >> (64 - (bits))))

/* Value of array `cgroup_cache`: what is known of four cgroups: 0 (no policy applies), the number
 * of the one policy, or SP_WORD_IN_LISTS. */
#ifndef SP_CACHE_BITS /* a test build has less room in its cache */
#define SP_CACHE_BITS	   14
#define SP_LIST_BITS	   12
#define SP_WALK_STATE_BITS 9
#endif
#define SP_CACHE_WAYS 4
struct sp_cache_set {
	__u64 way[SP_CACHE_WAYS];
};

/* The most policies that apply to one cgroup; bpf/classify.h says what happens to more. */
#define SP_LIST_MAX 32

/* Value of array `policy_lists`: the lists of two cgroups.  word[0] says how many numbers of
 * policies follow, the weakest policy's first. */
#define SP_LIST_WAYS 2
struct sp_list_cell {
	struct {
		__u64 word[1 + SP_LIST_MAX];
	} of[SP_LIST_WAYS];
};

/*
 * Value of array `glob_nodes`: the automaton that reads cgroups' paths for many globs at once
 * (agent/compile/glob_nodes.h).  All nodes lie interleaved in one array.  Byte b of a name takes
 * node n over its edge, element n + b, if `from` there is n.  Else, and if b is not '/', the node's
 * own element, n, says where to, if `from` there is n; it says too which globs end in the node.  A
 * node has an own element only if that has something to say.
 * Index 0 is not a node: its chain of links (`more`) has the nodes that are active before the first
 * byte, and `last` is the number of the table's last glob.
 */
#define SP_GLOB_NODES 65792u /* numbers have 16 bits, and the last node has edges as well */
struct sp_glob_node {
	__u16 from;  /* 0: free */
	__u16 to;    /* the node that becomes active; 0: none */
	__u16 more;  /* index into glob_links: further nodes; 0: none */
	__u16 says;  /* index into glob_links: the globs that end here; a node's own element only */
	__u16 first; /* `to` leads to globs from this one */
	__u16 last;  /* ... to this one */
	__u8 flags;  /* SP_GLOB_*, of `to` */
	__u8 reserved[3];
};
#define SP_GLOB_SHARED	    0x01 /* several nodes lead there: it may be active already */
#define SP_GLOB_STAYS	    0x02 /* once active it stays so for all bytes but '/' */
#define SP_GLOB_STAYS_SLASH 0x04 /* and for '/' as well */
#define SP_GLOB_IDLE	    0x08 /* it stays, and no byte but '/' does more */
#define SP_GLOB_SAYS	    0x10 /* globs end in it */

/* Value of array `glob_links`: an element of a chain. */
#define SP_GLOB_LINKS 65536u
struct sp_glob_link {
	__u16 what;	   /* a node; or the number of a policy for which a glob ends */
	__u16 next;	   /* 0: the last one */
	__u16 first, last; /* as in sp_glob_node; both are the glob that ends */
	__u8 flags;	   /* as in sp_glob_node */
	__u8 reserved[3];
};

/* A configuration's globs are in several tables, walked one after the other: first those of
 * `match`, then those of `exclude`.  Table t of a generation is element
 * `(generation & 1) + 2 * t` of the arrays of maps glob_nodes and glob_links. */
#define SP_GLOB_TABLES_MAX 16

/* The most nodes that may be active at once. */
#define SP_GLOB_ACTIVE_MAX 56

/*
 * Value of array `walk_states`: what is known of a cgroup at which a long walk came by: a walk for
 * a descendant begins here.  word[0] says what follows, SP_WALK_*; then the policies that match,
 * weakest first, with SP_WALK_EXCLUDED; then, from word[1 + SP_LIST_MAX] on, the active nodes, with
 * their table in the bits above the node's.
 */
#define SP_WALK_ACTIVE_MAX 48
struct sp_walk_state {
	__u64 word[1 + SP_LIST_MAX + SP_WALK_ACTIVE_MAX];
};
#define SP_WALK_EXCLUDED  0x8000u
#define SP_WALK_NODE_BITS 16
#define SP_WALK_N_BITS	  6 /* word[0]: how many policies; above: how many nodes; above: */
#define SP_WALK_ALL_TABLES                                                                         \
	(1u << 2 * SP_WALK_N_BITS) /* the tables of `exclude` were walked as well */

/* --- what a policy does ------------------------------------------------------------------------
 *
 * A block is what the base of a policy, or one of its rules, sets at a stage.  Its operations are
 * in the order of the option table and begin a cell of `ops`.
 */
struct sp_block {
	__u64 options; /* BIT(row of the option table): what it decides, including `unset` and what
			  is not due at this stage */
	__u32 first_cell;
	__u16 n_ops;	 /* at most SP_BLOCK_OPS_MAX */
	__u16 flags;	 /* 0 */
	__u32 counter;	 /* index of a rule's counter, see `applied` */
	__u32 threshold; /* 0 */
};
#define SP_BLOCK_OPS_MAX 48

/*
 * The rules of a policy that depend on the connection have a bit each, in their order: the highest
 * bit wins.
 */
#define SP_RULES_MAX 64

/* Families as rules tell them apart; index into sp_policy.families. */
enum sp_family {
	SP_FAMILY_INDEX_IPV4, /* includes v4-mapped peers */
	SP_FAMILY_INDEX_IPV6,
	SP_FAMILY_INDEX_UNIX,
	SP_FAMILY_INDEX_NETLINK,
	SP_FAMILY_INDEX_PACKET,
	SP_FAMILY_INDEX_MAX,
};

/* When a stage raises the policy's own counter, once a direction: see sp_stage_of.counts. */
#define SP_COUNTS_NEVER	  0
#define SP_COUNTS_BY_RULE 1 /* if one of `counted` holds and none of `before` */
#define SP_COUNTS_ALWAYS  2 /* unless one of `before` holds */

/* What a policy does at a stage: a cache line. */
struct sp_stage_of {
	__u64 rules;   /* the rules that are looked at; 0: none depends on the connection here */
	__u64 acting;  /* of these, those that have a block: blocks[first_block] is the lowest's */
	__u64 counted; /* of these, those whose counter is raised here; all of them act */
	__u64 before;  /* rules for which the policy was counted at an earlier stage of this
			  direction, if they hold */
	__u64 options; /* the base's block, as in sp_block: what always holds here */
	__u32 first_cell;
	__u16 n_ops;
	__u8 properties; /* BIT(enum sp_property): the tests that `rules` need */
	__u8 counts;	 /* SP_COUNTS_* */
	__u32 first_block;
	__u16 n_always; /* number of counters, from vectors[first_always] on, of rules that always
			   hold here */
	__u16 reserved;
	__u32 first_always;
	__u32 counter; /* index of the policy's own: what socket(2) gives is counted apart */
};

/* Properties of a connection that rules look at. */
enum sp_property {
	SP_PROPERTY_REMOTE, /* address */
	SP_PROPERTY_LOCAL,  /* address */
	SP_PROPERTY_REMOTE_PORT,
	SP_PROPERTY_LOCAL_PORT,
	SP_PROPERTY_MAX,
};

/*
 * Narrows down which rules of a policy hold.  The property is looked up in a tree, which gives its
 * class (0: in none of the prefixes or ports that the rules list, or the socket has no such
 * property); vectors[first_vector + class] are the rules that this leaves.
 */
struct sp_test {
	__u32 first_vector;
	__u32 n_vectors; /* 0: no rule asks for the property */
	__u32 tree4;	 /* an answer, see below: for IPv4 addresses, or for ports */
	__u32 tree6;	 /* for the first half of IPv6 addresses */
};

/* Value of array `policies`: a policy, compiled on its own. */
struct sp_policy {
	struct sp_stage_of stage[SP_STAGE_MAX];
	struct sp_test tests[SP_PROPERTY_MAX];
	__u64 families[SP_FAMILY_INDEX_MAX]; /* the rules that may hold for each */
	__u64 decided_late; /* options that a connect rule with `local` may win: for every policy of
			       the cgroup they are decided at SP_STAGE_TCP_SYN */
	__u64 asked;	    /* BIT(row of the option table): some operation has SP_OP_AFTERWARDS */
	__u32 counter;	    /* index of its own counter, see `applied` */
	__u32 reserved;
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
 * number for the others.  (A struct: clang 14 leaves only a forward declaration of a bare union in
 * the BTF of an inner map.)
 */
#define SP_NODE_CHILDREN 8
#define SP_LEAF_RANGES	 6
struct sp_range_node {
	union {
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
};

#define SP_VALUE_SIZE 16

/* A value and what is known about the values of its option, as setsockopt(2) takes them. */
struct sp_bounds {
	__u32 value;
	__u32 min, max; /* of the range; without one what the kernel takes, as signed numbers */
	__u32 fresh;	/* what a new socket has, in the agent's network namespace */
};

/* One call of bpf_setsockopt, or one reply (level SP_LEVEL_REPLY). */
struct sp_op {
	__u16 level;   /* SOL_SOCKET, IPPROTO_TCP, ... */
	__u16 optname; /* as in setsockopt(2), or TCP_BPF_*; for a reply BPF_SOCK_OPS_* */
	__u8 option;   /* row of the option table (enum option_id) */
	__u8 optlen;   /* bytes of value, 1 to SP_VALUE_SIZE */
	__u8 families; /* SP_FAMILY_*: applies to a socket that speaks one of these; 0: to all */
	__u8 flags;    /* SP_OP_* */
	__u32 counter; /* of the policy or rule that sets it: for the failures and for `explain` */
	union {
		__u32 index; /* of SO_BINDTO* at socket(2): the device's in the agent's network
				namespace, 0: there is none */
		__u32 reads; /* with SP_OP_RANGE or SP_OP_RESPECT, but not at socket(2): SP_READS_*
			      */
	};
	union {
		__u8 value[SP_VALUE_SIZE]; /* host byte order; strings with their NUL */
		struct sp_bounds bounds; /* with SP_OP_RANGE or SP_OP_RESPECT, unless it is a string
					  */
	};
};

/* How the kernel shows an option's value. */
#define SP_READS_DOUBLED     0x01 /* twice what was set; a bit of the socket says whether it was */
#define SP_READS_WITHOUT_ECN 0x02 /* the low two bits are the kernel's */
#define SP_READS_OTHERWISE   0x04 /* not at all, or something else */
#define SP_READS_TEXT	     0x08 /* a string */
#define SP_ZERO_IS_NONE	     0x10 /* 0 is no limit, or the host's: greater than all others */
#define SP_READS_BOOL	     0x40 /* 0 or 1, whatever was set */
#define SP_FRESH_IS_UNSET    0x20 /* who sets a fresh socket's value has set nothing */

/* Who has the last word, where it is not the application. */
#define SP_OP_HOLD     0x01 /* what it sets afterwards becomes this value */
#define SP_OP_DENY     0x02 /* ... or fails with EPERM */
#define SP_OP_RESPECT  0x04 /* what it has set stays */
#define SP_OP_RANGE    0x08 /* what it sets is brought between bounds.min and bounds.max */
#define SP_OP_NO_VALUE 0x10 /* with SP_OP_RANGE: a socket on which it set nothing is left alone */
#define SP_OP_REFUSE   0x20 /* on_failure: refuse */
#define SP_OP_APPLY    0x40 /* existing: apply */
#define SP_OP_CARE                                                                                 \
	0x80 /* set last, by who looks at the socket before and at what comes of it:               \
		those with SP_OP_RESPECT, _RANGE, _REFUSE, and what comes after them */
/* What the hook at setsockopt(2) is attached for. */
#define SP_OP_AFTERWARDS (SP_OP_HOLD | SP_OP_DENY | SP_OP_RESPECT | SP_OP_RANGE)

/* The level of sock_ops' replies, which are no socket options. */
#define SP_LEVEL_REPLY 0xffff

/* Value of array `ops`: operations lie in cells, since each look-up costs some ten nanoseconds. */
#define SP_OPS_CELL 8
struct sp_op_cell {
	struct sp_op op[SP_OPS_CELL];
};

/* --- counters ----------------------------------------------------------------------------------
 *
 * A policy and each of its rules has a counter, by an index that keeps its meaning over reloads.
 * `applied` is an array of maps, per-CPU arrays of SP_COUNTERS_CHUNK elements each, made as they
 * are needed: sockets for which the policy, or the rule, held, once a direction.
 */
#define SP_COUNTERS_CHUNK  1024u
#define SP_COUNTERS_CHUNKS 128u
#define SP_COUNTERS_MAX	   (SP_COUNTERS_CHUNK * SP_COUNTERS_CHUNKS)
typedef __u64 sp_applied_t;

/* Value of hash `counters`, by the counter's index; userspace only.  Index 0 is never used. */
struct sp_counter {
	char policy[SP_NAME_SIZE];
	char rule[SP_NAME_SIZE]; /* empty: the policy as a whole (and its base options) */
};
/* In place of a rule's name: what the policy gave at socket(2), counted apart. */
#define SP_COUNTER_AT_SOCKET "@socket"

/* Key of hash `failures`; value: __u64, how often. */
struct sp_failure {
	__u32 counter;
	__u16 option; /* enum option_id */
	__s16 error;  /* negative errno from bpf_setsockopt */
};

/* Key of hash `outcomes`; value: __u64, how often: what became of what applications set. */
struct sp_outcome {
	__u32 counter;
	__u16 option; /* enum option_id */
	__u16 kind;   /* enum sp_outcome_kind */
};
enum sp_outcome_kind {
	SP_OUTCOME_HELD,	/* what the application set became the policy's value */
	SP_OUTCOME_DENIED,	/* what it set was refused */
	SP_OUTCOME_CLAMPED,	/* what it set was brought into the range */
	SP_OUTCOME_RESPECTED,	/* what it had set stayed */
	SP_OUTCOME_REFUSED,	/* the value could not be set, and a call of it failed */
	SP_OUTCOME_NOT_REFUSED, /* the same, but there was no call to refuse */
	SP_OUTCOME_UNTOLD,	/* not held: whether the socket was accepted cannot be told */
	SP_OUTCOME_MAX,
};

/* --- state -------------------------------------------------------------------------------------
 */

/* The part of a generation that is not in arrays. */
struct sp_generation {
	__u64 after_others;   /* options that are set after all others: SO_PRIORITY where IP_TOS is
				 used */
	__u32 flags;	      /* SP_GENERATION_* */
	__u16 n_match_tables; /* tables of globs of `match` */
	__u16 n_exclude_tables; /* tables of globs of `exclude`, behind those */
	__u64 stages;		/* BIT(enum sp_stage): some policy has something due there */
	__u64 loaded_usec;	/* CLOCK_REALTIME, microseconds, when it came in force */
	__u32 n_policies;
	__u32 n_glob_nodes, n_glob_links; /* the most that a table uses */
	__u32 reserved;
	__u64 asked;	 /* BIT(row of the option table): some operation has SP_OP_AFTERWARDS */
	__u64 respected; /* ... has SP_OP_RESPECT, or a range of what the kernel does not show */
	__u64 digest;	 /* of all that the maps of the generation hold; 0: not known */
	__u64 serial;	 /* its number; 0: its maps are empty, or only partly written */
	__u64 reserved2[6];
};
/* The maps of the generation before the one in force, but for its caches, stay until the next load
 * writes over them. */
#define SP_HAS_PREVIOUS(state)                                                                     \
	((state)->of[~(state)->generation & 1].serial &&                                           \
	 (state)->of[~(state)->generation & 1].serial + 1 == (state)->generation)
#define SP_GENERATION_DECIDES_LATE 0x1 /* some policy has decided_late */
#define SP_GENERATION_RESPECTS	   0x2 /* some operation has SP_OP_RESPECT */
#define SP_GENERATION_APPLIES	   0x4 /* some operation has SP_OP_APPLY */

/* Array `state`, one element: to the programs a variable.  The agent writes the first part,
 * programs only count in the last. */
#define SP_SOCK_OPS_MAX	  64  /* greater than all BPF_SOCK_OPS_* */
#define SP_ASKED_LEVELS	  4   /* SOL_SOCKET, IPPROTO_TCP, IPPROTO_IP, IPPROTO_IPV6 */
#define SP_ASKED_NAMES	  128 /* greater than all names of options in these */
#define SP_ASKED_LEVEL(l) ((l) == 1 ? 0u : (l) == 6 ? 1u : (l) == 0 ? 2u : (l) == 41 ? 3u : 4u)
#define SP_ASKED_RESPECT  0x80 /* some policy in force respects what the application sets */
struct sp_state {
	__u64 generation; /* bit 0 says which maps are in force; raised by each reload; 0: none is;
			     keeps its place in every version */
	__u64 seed;	  /* odd; see SP_PLACE */
	__u64 stages;	  /* BIT(enum sp_stage): some policy in force, or about to be, has something
			     due there */
	__u64 cgroup_root_id; /* the cgroup that the programs are attached to */
	__u64 missing_stages; /* BIT(enum sp_stage): this kernel has no hook for them */
	__u64 programs;	      /* tells which build's programs work on the maps */
	__u64 mount_id;	      /* the cgroup at the cgroup2 mount, below which paths begin: in a
				 cgroup namespace that is not the hierarchy's root */
	__u64 netns_cookie;   /* the agent's network namespace, where its indices of devices hold;
				 0: post_create gives them by name, wherever they are */
	__u32 abi_version;    /* SP_ABI_VERSION; keeps its place in every version */
	__u16 port_low;	      /* net.ipv4.ip_local_port_range, where the kernel chooses ports; */
	__u16 port_high;      /* the last one of them */
	__u64 reserved2[7];
	struct sp_generation of[2];	/* by generation & 1 */
	__u8 sock_ops[SP_SOCK_OPS_MAX]; /* the stage of an op where some policy has something due;
					   else 0, which is no op's stage */
	__u8 reply_options[SP_SOCK_OPS_MAX]; /* the row of the option table for an op's reply */
	/* The options that the hook at setsockopt(2) looks at, in all their spellings: 1 + the row
	 * of the option table, and SP_ASKED_RESPECT; by SP_ASKED_LEVEL() and optname. */
	__u8 asked[SP_ASKED_LEVELS][SP_ASKED_NAMES];
	/* Counted by the programs. */
	__u64 misses;	     /* cgroups that were classified */
	__u64 cut;	     /* of these, those that have what an ancestor has, see classify.h */
	__u64 left_out;	     /* of these, those with more than SP_LIST_MAX policies */
	__u64 lists_lost;    /* sockets whose list another cgroup took away, again and again */
	__u64 failures_lost; /* what did not fit the maps `failures` and `outcomes` */
	__u64 reserved3[3];
};
/* A cgroup below this level has the policies of its ancestor at this level. */
#define SP_LEVELS_MAX 1024

/* Local storage of UDP and unix sockets. */
struct sp_socket {
	__u64 seen; /* 1 more than the generation in which its sends were last looked at; 0: never
		     */
	__u32 counted; /* bits 1 << direction: counted there, which happens only once */
	__u32 reserved;
};

/* Local storage of sockets that operations with SP_OP_CARE are for: what the application set
 * itself. An accepted socket begins with its listener's. */
#define SP_OPTIONS_MAX 64
struct sp_own_sets {
	__u64 options;	/* BIT(row of the option table) */
	__u64 whole;	/* likewise: noted since socket(2), so that there are no others */
	__u64 given;	/* likewise: a policy gave it with care, and the application set none */
	__u64 due;	/* likewise: during a run of a hook, those that were put off */
	__u32 flags;	/* SP_OWN_SETS_* */
	__u32 how;	/* likewise: of that run, see bpf/op.h */
	__u32 priority; /* likewise: SO_PRIORITY before IP_TOS changed it */
	__u32 reserved;
	__u32 value[SP_OPTIONS_MAX];   /* by row: the first bytes of what it set */
	__u32 earlier[SP_OPTIONS_MAX]; /* by row: the last of those that were seen to be in effect
					  when the next one came, which may have failed; or, of
					  `given`, what the socket had then */
	__u32 op[SP_OPTIONS_MAX];      /* by row: the number of the operation that was put off */
};
#define SP_OWN_SETS_CONNECTS 0x1 /* it called connect(2), bound to an address of its own */

_Static_assert(sizeof(struct sp_cache_set) == 32, "abi");
_Static_assert(sizeof(struct sp_glob_node) == 16, "abi");
_Static_assert(sizeof(struct sp_glob_link) == 12, "abi");
_Static_assert(sizeof(struct sp_block) == 24, "abi");
_Static_assert(sizeof(struct sp_stage_of) == 64, "abi: a cache line");
_Static_assert(sizeof(struct sp_test) == 16, "abi");
_Static_assert(sizeof(struct sp_policy) ==
		       64 * SP_STAGE_MAX + 16 * SP_PROPERTY_MAX + 8 * SP_FAMILY_INDEX_MAX + 24,
	       "abi");
_Static_assert(sizeof(struct sp_range_node) == 64, "abi");
_Static_assert(sizeof(struct sp_op) == 32, "abi");
_Static_assert(sizeof(struct sp_counter) == 128, "abi");
_Static_assert(sizeof(struct sp_failure) == 8, "abi");
_Static_assert(sizeof(struct sp_outcome) == 8, "abi");
_Static_assert(sizeof(struct sp_generation) == 128, "abi");
_Static_assert(__builtin_offsetof(struct sp_state, abi_version) == 64, "abi");
_Static_assert(__builtin_offsetof(struct sp_state, misses) == 1024, "abi: a cache line of its own");
_Static_assert(sizeof(struct sp_state) == 1088, "abi");
_Static_assert(sizeof(struct sp_socket) == 16, "abi");
_Static_assert(sizeof(struct sp_own_sets) == 48 + 12 * SP_OPTIONS_MAX, "abi");

#endif
