/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The stages of include/abi.h: which hook each is, for which sockets, and what is known there. */
#ifndef SOCKPOL_STAGE_H
#define SOCKPOL_STAGE_H

#include "policy/policy.h"

enum transport {
	TRANSPORT_TCP,
	TRANSPORT_UDP,
	TRANSPORT_UNIX,
};

struct stage {
	const char *name; /* "tcp-connect", ... */
	enum direction direction;
	enum transport transport;
	bool has_remote;   /* address and port of the peer are known */
	bool has_local;	   /* address and port of this end are known, if bound */
	uint64_t sock_ops; /* BIT(BPF_SOCK_OPS_*): those that it is; 0: it is another hook */
};

extern const struct stage stage_table[SP_STAGE_MAX];

static inline const char *stage_name(enum sp_stage s)
{
	return stage_table[s].name;
}

/* "connect4, connect6", "sock_ops TCP_LISTEN_CB", ... */
const char *stage_hooks(enum sp_stage s);

/* Of the stages (BIT(enum sp_stage)) the one that this op is, as sp_state.sock_ops has it. */
enum sp_stage stage_of_sock_op(uint64_t stages, int op);

/* What a block does at a stage.  The block is a rule; NULL: the base of a policy. */

/* Can it hold for some socket there?  (AF_UNIX sockets are governed by rules that say so only.) */
bool stage_rule_may_hold(const struct rule *r, enum sp_stage s);
/* Where it can: must the hook look at the connection? */
bool stage_rule_depends(const struct rule *r, enum sp_stage s);
/* Is the option, where the block names it, set at this stage?  What is due at SP_STAGE_TCP_CONNECT
 * may be set at SP_STAGE_TCP_SYN, so it is due at both. */
bool stage_setting_due(const struct rule *r, const struct option *o, enum direction d,
		       enum sp_stage s);
/* BIT(enum sp_stage): all of those, but SP_STAGE_TCP_SYN. */
unsigned stage_settings(const struct rule *r, const struct option *o, enum direction d);

#endif
