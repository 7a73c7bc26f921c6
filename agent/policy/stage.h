/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The stages of include/abi.h: which hook each is, for which sockets, and what is known there. */
#ifndef SOCKPOL_STAGE_H
#define SOCKPOL_STAGE_H

#include "policy/policy.h"

enum transport {
	TRANSPORT_TCP,
	TRANSPORT_UDP,
	TRANSPORT_UNIX,
	TRANSPORT_LOCAL, /* netlink, packet, perhaps AF_UNIX: governed at socket(2) alone */
	TRANSPORT_OTHER, /* raw, ping, UDP-Lite, SCTP: likewise */
};

struct stage {
	const char *name; /* "tcp-connect", ... */
	enum direction direction;
	enum transport transport;
	bool has_remote;   /* address and port of the peer are known */
	bool has_local;	   /* address and port of this end are known, if bound */
	bool is_socket;	   /* socket(2) of what later stages govern as well: neither direction nor
			      address is known */
	uint64_t sock_ops; /* BIT(BPF_SOCK_OPS_*) that make up the stage; 0: it is another hook */
};

extern const struct stage stage_table[SP_STAGE_MAX];

static inline const char *stage_name(enum sp_stage s)
{
	return stage_table[s].name;
}

/* Is it for sockets that are not IP's?  Only rules that name their families govern them. */
static inline bool stage_is_local(enum sp_stage s)
{
	return stage_table[s].transport == TRANSPORT_UNIX ||
	       stage_table[s].transport == TRANSPORT_LOCAL;
}

/* Returns the stage with this name, or SP_STAGE_MAX. */
enum sp_stage stage_find(const char *name);
/* Names the hooks of a stage: "connect4, connect6", "sock_ops TCP_LISTEN_CB", ... */
const char *stage_hooks(enum sp_stage s);

/* Returns the one of these stages (BIT(enum sp_stage)) that the op is, as in sp_state.sock_ops. */
enum sp_stage stage_of_sock_op(uint64_t stages, int op);

/* What a block does at a stage.  r: the rule that the block is; NULL: the base of a policy. */

/* Can the rule hold for some socket there? */
bool stage_rule_may_hold(const struct rule *r, enum sp_stage s);
/* Where the rule can hold: must the hook look at the connection? */
bool stage_rule_depends(const struct rule *r, enum sp_stage s);
/* Where the rule can hold: is that known only at a later stage?  What it names is then left to that
 * stage, whatever comes before the rule. */
bool stage_rule_is_open(const struct rule *r, enum sp_stage s);
/* Does the rule depend on the connection at some stage?  The hooks have a bit for it then. */
bool stage_rule_has_bit(const struct rule *r);
/* Is an option that the block names set at this stage?  What is due at SP_STAGE_TCP_CONNECT may be
 * set at SP_STAGE_TCP_SYN, so it is due at both. */
bool stage_setting_due(const struct rule *r, const struct option *o, enum direction d,
		       enum sp_stage s);
/* Can socket(2) bring something of the policy? */
bool stage_policy_gives_at_socket(const struct policy *p);
/* Returns all stages (BIT(enum sp_stage)) of a direction at which the option is set, but
 * SP_STAGE_TCP_SYN. */
unsigned stage_settings(const struct rule *r, const struct option *o, enum direction d);

#endif
