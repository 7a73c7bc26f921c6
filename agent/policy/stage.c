// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <assert.h>

#include <linux/bpf.h>

#include "policy/hook.h"
#include "policy/stage.h"

#define REPLIES                                                                                    \
	(BIT(BPF_SOCK_OPS_TIMEOUT_INIT) | BIT(BPF_SOCK_OPS_RWND_INIT) |                            \
	 BIT(BPF_SOCK_OPS_NEEDS_ECN) | BIT(BPF_SOCK_OPS_BASE_RTT))

const struct stage stage_table[] = {
	[SP_STAGE_TCP_BIND] = { "tcp-bind", DIRECTION_LISTEN, TRANSPORT_TCP, .has_local = true },
	[SP_STAGE_TCP_CONNECT] = { "tcp-connect", DIRECTION_CONNECT, TRANSPORT_TCP,
				   .has_remote = true },
	[SP_STAGE_TCP_SYN] = { "tcp-syn", DIRECTION_CONNECT, TRANSPORT_TCP, .has_remote = true,
			       .has_local = true, .sock_ops = BIT(BPF_SOCK_OPS_TCP_CONNECT_CB) },
	[SP_STAGE_TCP_ACTIVE_EST] = { "tcp-active-est", DIRECTION_CONNECT, TRANSPORT_TCP,
				      .has_remote = true, .has_local = true,
				      .sock_ops = BIT(BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB) },
	[SP_STAGE_TCP_PASSIVE_EST] = { "tcp-passive-est", DIRECTION_ACCEPT, TRANSPORT_TCP,
				       .has_remote = true, .has_local = true,
				       .sock_ops = BIT(BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB) },
	[SP_STAGE_TCP_LISTEN] = { "tcp-listen", DIRECTION_LISTEN, TRANSPORT_TCP, .has_local = true,
				  .sock_ops = BIT(BPF_SOCK_OPS_TCP_LISTEN_CB) },
	[SP_STAGE_UDP_BIND] = { "udp-bind", DIRECTION_LISTEN, TRANSPORT_UDP, .has_local = true },
	[SP_STAGE_UDP_CONNECT] = { "udp-connect", DIRECTION_CONNECT, TRANSPORT_UDP,
				   .has_remote = true, .has_local = true },
	[SP_STAGE_UDP_SEND] = { "udp-send", DIRECTION_CONNECT, TRANSPORT_UDP },
	[SP_STAGE_UNIX] = { "unix", DIRECTION_CONNECT, TRANSPORT_UNIX },
	[SP_STAGE_LOCAL_SOCKET] = { "local-socket", DIRECTION_CONNECT, TRANSPORT_LOCAL },
	[SP_STAGE_REPLY_ACTIVE] = { "reply-active", DIRECTION_CONNECT, TRANSPORT_TCP,
				    .has_remote = true, .has_local = true, .sock_ops = REPLIES },
	[SP_STAGE_REPLY_PASSIVE] = { "reply-passive", DIRECTION_ACCEPT, TRANSPORT_TCP,
				     .has_remote = true, .has_local = true, .sock_ops = REPLIES },
	[SP_STAGE_TCP_SOCKET] = { "tcp-socket", DIRECTION_CONNECT, TRANSPORT_TCP,
				  .is_socket = true },
	[SP_STAGE_UDP_SOCKET] = { "udp-socket", DIRECTION_CONNECT, TRANSPORT_UDP,
				  .is_socket = true },
	[SP_STAGE_OTHER_SOCKET] = { "other-socket", DIRECTION_CONNECT, TRANSPORT_OTHER,
				    .is_socket = true },
};
static_assert(ARRAY_SIZE(stage_table) == SP_STAGE_MAX, "a row for each stage");

enum sp_stage stage_find(const char *name)
{
	int s = 0;

	while (s < SP_STAGE_MAX && !streq(stage_table[s].name, name))
		s++;
	return (enum sp_stage)s;
}

/* A socket that called connect(2) may be established passively: see bpf/sockpol.bpf.c. */
enum sp_stage stage_of_sock_op(uint64_t stages, int op)
{
	if (op == BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB && stages & BIT(SP_STAGE_TCP_ACTIVE_EST))
		return SP_STAGE_TCP_PASSIVE_EST;
	for (int s = 0; s < SP_STAGE_MAX; s++)
		if (stages & BIT(s) && stage_table[s].sock_ops >> op & 1)
			return s == SP_STAGE_REPLY_PASSIVE ? SP_STAGE_REPLY_ACTIVE
							   : (enum sp_stage)s;
	return 0;
}

static const char *const sock_op_names[] = {
	[BPF_SOCK_OPS_TCP_CONNECT_CB] = "TCP_CONNECT_CB",
	[BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB] = "ACTIVE_ESTABLISHED_CB",
	[BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB] = "PASSIVE_ESTABLISHED_CB",
	[BPF_SOCK_OPS_TCP_LISTEN_CB] = "TCP_LISTEN_CB",
};

const char *stage_hooks(enum sp_stage stage)
{
	static char texts[SP_STAGE_MAX][48];
	const struct stage *s = &stage_table[stage];
	char *text = texts[stage];
	size_t n = 0;

	if (*text)
		return text;
	for (int i = 0; i < HOOK_MAX; i++)
		if (hook_table[i].stages & BIT(stage))
			n += (size_t)snprintf(text + n, sizeof(texts[stage]) - n, "%s%s",
					      n ? ", " : "", hook_table[i].name);
	for (size_t op = 0; op < ARRAY_SIZE(sock_op_names); op++)
		if (sock_op_names[op] && s->sock_ops >> op & 1)
			snprintf(text + n, sizeof(texts[stage]) - n, " %s", sock_op_names[op]);
	return text;
}

bool stage_rule_is_open(const struct rule *r, enum sp_stage s)
{
	return r && stage_table[s].is_socket && when_is_open(&r->when);
}

/* May a socket of socket(2) come to a stage at which the rule holds?  Accepted ones were never made
 * by socket(2). */
static bool may_hold_later(const struct rule *r, enum sp_stage socket)
{
	for (int s = 0; s < SP_STAGE_MAX; s++) {
		const struct stage *stage = &stage_table[s];

		if (stage->transport == stage_table[socket].transport && !stage->is_socket &&
		    stage->direction != DIRECTION_ACCEPT && when_may_hold(&r->when, stage))
			return true;
	}
	return false;
}

bool stage_rule_may_hold(const struct rule *r, enum sp_stage s)
{
	const struct stage *stage = &stage_table[s];

	if (stage_rule_is_open(r, s))
		return may_hold_later(r, s);
	return r ? when_may_hold(&r->when, stage) : !stage_is_local(s);
}

bool stage_rule_depends(const struct rule *r, enum sp_stage s)
{
	return r && when_depends(&r->when, &stage_table[s]);
}

bool stage_rule_has_bit(const struct rule *r)
{
	for (int s = 0; s < SP_STAGE_MAX; s++)
		if (stage_rule_may_hold(r, (enum sp_stage)s) &&
		    stage_rule_depends(r, (enum sp_stage)s))
			return true;
	return false;
}

bool stage_setting_due(const struct rule *r, const struct option *o, enum direction d,
		       enum sp_stage s)
{
	enum sp_stage as = s == SP_STAGE_TCP_SYN ? SP_STAGE_TCP_CONNECT : s;

	if (stage_table[s].is_socket)
		return o->at_socket;
	if (!(o->stages[d] & BIT(as)))
		return false;
	return s != SP_STAGE_TCP_LISTEN || o->carried || r;
}

unsigned stage_settings(const struct rule *r, const struct option *o, enum direction d)
{
	unsigned stages = 0;

	for (int s = 0; s < SP_STAGE_MAX; s++)
		if (s != SP_STAGE_TCP_SYN && !stage_table[s].is_socket &&
		    stage_setting_due(r, o, d, (enum sp_stage)s))
			stages |= BIT(s);
	return stages;
}

static bool gives_at_socket(const struct settings *settings)
{
	for (size_t i = 0; i < settings->n; i++)
		if (settings->v[i].option->at_socket && !settings->v[i].unset)
			return true;
	return false;
}

bool stage_policy_gives_at_socket(const struct policy *p)
{
	bool gives = gives_at_socket(&p->base);

	for (size_t i = 0; i < p->n_rules && !gives; i++)
		for (int s = 0; s < SP_STAGE_MAX && gives_at_socket(&p->rules[i].options); s++)
			gives |= stage_table[s].is_socket &&
				 when_may_hold(&p->rules[i].when, &stage_table[s]);
	return gives;
}
