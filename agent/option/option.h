/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The option table: what sockpol knows about each socket option, one row an option. */
#ifndef SOCKPOL_OPTION_H
#define SOCKPOL_OPTION_H

#include <stdint.h>

#include "../include/abi.h"
#include "base/util.h"

/* How a socket came to talk (`direction` in sockpol.policy(5)). */
enum direction {
	DIRECTION_CONNECT,
	DIRECTION_ACCEPT,
	DIRECTION_LISTEN,
	DIRECTION_MAX,
};

/* The kinds of values that an administrator may write. */
enum option_type {
	OPTION_INT,    /* decimal; 0x hex where .hex */
	OPTION_BOOL,   /* on off yes no true false 1 0 */
	OPTION_SIZE,   /* bytes, or with K M G (1024) */
	OPTION_RATE,   /* bytes/s, kbit/s ... GiB/s, unlimited */
	OPTION_TIME,   /* number and unit; converted to .unit_usec */
	OPTION_TCLASS, /* 0-255 or the name of a DSCP class */
	OPTION_DSCP,   /* 0-63 or the name of a DSCP class: the shorthand */
	OPTION_STRING, /* at most .max characters */
	OPTION_TYPE_MAX,
};

/* What the kernel makes of a value that it accepts. */
enum option_result {
	RESULT_AS_IS,
	RESULT_DOUBLED_RMEM, /* capped at net.core.rmem_max, doubled, floor 2304 */
	RESULT_DOUBLED_WMEM, /* capped at net.core.wmem_max, doubled, floor 4608 */
	RESULT_JIFFIES,	     /* rounded up to the kernel's tick; refused below two ticks */
	RESULT_TICKS,	     /* rounded up to the kernel's tick */
	RESULT_CLAMP,	     /* at least 1152 (half of SOCK_MIN_RCVBUF), and it does not last */
	RESULT_RCVLOWAT,     /* 0 becomes 1; capped at half of tcp_rmem[2] */
	RESULT_ECN_MASKED,   /* on TCP the two ECN bits stay the kernel's */
};

/* The value of a socket on which nobody set an option. */
enum fresh_kind {
	FRESH_NUMBER,
	FRESH_SYSCTL, /* of the socket's network namespace */
	FRESH_NEVER,  /* what was set cannot be taken back */
};
struct fresh {
	enum fresh_kind kind;
	int64_t number;	    /* in the option's own unit */
	const char *sysctl; /* "net.ipv4.tcp_keepalive_time", in the option's own unit; a name is
			       the text of TCP_CONGESTION */
};

struct option {
	const char *name;   /* as in setsockopt(2) */
	int level, optname; /* as bpf_setsockopt takes them */
	enum option_type type;
	int64_t min, max;   /* in the option's own unit; OPTION_STRING: lengths */
	bool zero;	    /* 0 is accepted as well, below min */
	bool hex;	    /* 0x hex is accepted */
	unsigned unit_usec; /* OPTION_TIME: the option's own unit, in microseconds */
	enum option_result result;

	/* By direction: the stages (BIT(enum sp_stage)) at which setting it is effective, all of
	 * which are used.  0: no hook makes it effective in that direction. */
	unsigned stages[DIRECTION_MAX];
	/* A listener gets the base value as well: it works only there, or the SYN-ACK needs it. */
	bool carried;
	/* socket(2) gives it as well, by a member of the new socket. */
	bool at_socket;
	/* It takes effect when the route is chosen, which is too late once the local address is
	 * known. */
	bool route;

	/* IP_TOS overwrites it, so it is set after IP_TOS wherever that is set. */
	bool after_tos;
	/* getsockopt(2) does not show it, or after a while something else than was set. */
	bool hidden;

	bool never_held; /* what the application sets cannot be held: it acts once, at bind(2) or in
			    a listener */
	bool deniable;	 /* an application may be told EPERM: few give up */
	bool has_order; /* a size, time, rate or number of which one is greater than another: it may
			   have a range */
	bool zero_is_none;  /* 0 means `no limit`, or `the host's`: it is greater than every max */
	struct fresh fresh; /* what a socket has on which nobody set it */
	/* Stages at which setting it may fail on a kernel that takes it, whatever the value; where
	 * nothing can fail there is nothing to refuse (on_failure in sockpol.policy(5)). */
	unsigned fails_at;
	const char *fails; /* "where there is no such interface"; NULL: fails_at is 0 */
	/* As setsockopt(2) knows it besides: SO_SNDBUFFORCE, TCP_RTO_MIN_US; 0: by no other name.
	 */
	int other_optname;

	const char *since;   /* the first kernel in which bpf_setsockopt takes it */
	const char *summary; /* one line: what it does for the administrator */
	const char *kernel;  /* one line: what the kernel really does with it */
	const char *mptcp;   /* one line: what MPTCP's own socket does not get; NULL: nothing */
	/* How it can break a program that knows nothing of it, after the values that can ("small:",
	 * none: all of them); NULL: no value does. */
	const char *breaks;
};

/* OPTION_SO_RCVBUF and so on, in the order in which a hook sets them. */
enum option_id {
#define OPTION(name, ...) OPTION_##name,
#include "../include/option_table.h"
#undef OPTION
	OPTION_MAX,
};

extern const struct option option_table[OPTION_MAX];

static inline enum option_id option_id(const struct option *o)
{
	return (enum option_id)(o - option_table);
}

/* Are the two one option, perhaps in two spellings (SO_BINDTODEVICE, SO_BINDTOIFINDEX)? */
bool options_rival(const struct option *a, const struct option *b);
/* Is it the spelling that comes later in the table, of an option with two? */
bool is_second_spelling(enum option_id id);
/* Returns 1 << option_id() of each spelling. */
uint64_t option_bits(const struct option *o);

/* Returns SP_FAMILY_*: the families of IP that a socket must speak for the option to mean
 * something. */
unsigned option_families(const struct option *o);

/* Is this value of the option (as setsockopt(2) takes it) "no limit", or "the host's"?  It is
 * greater than every max. */
bool option_is_none(const struct option *o, uint32_t value);

/* Can the policy's value stand against what the application sets afterwards? */
static inline bool option_can_be_held(const struct option *o)
{
	return !o->never_held && o->level != SP_LEVEL_REPLY;
}

/* Does it come too late for a connection that is established, or for a socket that is bound? */
bool option_is_too_late(const struct option *o);

/* A shorthand stands for several options that take the same value. */
struct option_shorthand {
	struct option as_option; /* how its value is read, and which value each gets */
	const struct option *expands_to[2];
};
extern const struct option_shorthand option_shorthands[];
extern const size_t n_option_shorthands;

/* Options that exist but that bpf_setsockopt cannot set, for one reason. */
struct option_refused {
	const char *names[28]; /* NULL behind the last */
	const char *why;       /* a clause: "bpf_setsockopt does not take it (...)" */
	const char *instead;   /* a clause, or NULL */
};
extern const struct option_refused option_refused[];
extern const size_t n_option_refused;

/* Find an exact name.  Return NULL when there is none. */
const struct option *option_find(const char *name);
const struct option_shorthand *option_find_shorthand(const char *name);
const struct option_refused *option_find_refused(const char *name);
/* Returns the name nearest to a misspelt one, among options and shorthands, or NULL. */
const char *option_suggest(const char *name);

extern const char *const direction_words[DIRECTION_MAX]; /* "connect", "accept", "listen" */

#endif
