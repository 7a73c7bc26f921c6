// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * The hooks.  Each finds the policy of the socket's cgroup and sets what is due at its stage; what
 * that is was decided in userspace.  None ever refuses anything: whatever fails is counted.
 *
 * bind4/6 and connect4/6 run in the process, before the kernel acts on the call.  A connect() of
 * an IPv6 socket to a v4-mapped address runs connect6.
 */
#include <stdbool.h>

#include <linux/bpf.h>
#include <linux/in.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "apply.h"
#include "governed.h"

#define AF_INET6 10
#define ALLOW	 1
#define HANDLED	 1

static __always_inline bool is_v4_mapped(__u32 a0, __u32 a1, __u32 a2)
{
	return a0 == 0 && a1 == 0 && a2 == bpf_htonl(0xffff);
}

static __always_inline bool is_any(__u32 a0, __u32 a1, __u32 a2, __u32 a3)
{
	return (a0 | a1 | a2 | a3) == 0;
}

/*
 * Counts a UDP socket once a stage, however often it binds or connects (glibc's getaddrinfo
 * connects one socket again and again).  TCP sockets need no such memory: see tcp_connect().
 */
static __always_inline bool udp_is_new(struct bpf_sock *sk, enum sp_stage stage)
{
	struct sp_udp_socket *u;

	u = bpf_sk_storage_get(&udp_sockets, sk, NULL, BPF_SK_STORAGE_GET_F_CREATE);
	if (!u)
		return true;
	if (u->counted & (1 << stage))
		return false;
	u->counted |= 1 << stage;
	return true;
}

static __always_inline void udp_stage(struct bpf_sock_addr *ctx, enum sp_stage stage,
				      __u32 families)
{
	struct bpf_sock *sk = ctx->sk;
	struct sp_policy *p;

	if (!sk)
		return;
	p = policy_of_socket(sk);
	if (!p || !(p->stage[stage].n_ops | p->stage[stage].n_credits))
		return;
	set_options(ctx, &p->stage[stage], families);
	if (udp_is_new(sk, stage))
		give_credit(&p->stage[stage]);
}

/*
 * The socket's first connect() only is counted: the first one gives write_seq its random start
 * (tcp_v4_connect, net/ipv4/tcp_ipv4.c), and no later state makes it 0 again.
 */
static __always_inline void tcp_connect(struct bpf_sock_addr *ctx, struct tcp_sock *tp,
					__u32 families)
{
	struct sp_policy *p = policy_of_tcp(tp);

	if (!p)
		return;
	set_options(ctx, &p->stage[SP_STAGE_TCP_CONNECT], families);
	if (!tp->write_seq)
		give_credit(&p->stage[SP_STAGE_TCP_CONNECT]);
}

static __always_inline int on_connect(struct bpf_sock_addr *ctx, __u32 families)
{
	if (ctx->protocol == IPPROTO_TCP) {
		struct tcp_sock *tp = ctx->sk ? bpf_skc_to_tcp_sock(ctx->sk) : NULL;

		if (tp)
			tcp_connect(ctx, tp, families);
	} else if (ctx->protocol == IPPROTO_UDP) {
		udp_stage(ctx, SP_STAGE_UDP_CONNECT, families);
	}
	return ALLOW;
}

static __always_inline int on_bind(struct bpf_sock_addr *ctx, __u32 families)
{
	if (ctx->protocol == IPPROTO_TCP) {
		struct tcp_sock *tp = ctx->sk ? bpf_skc_to_tcp_sock(ctx->sk) : NULL;
		struct sp_policy *p = tp ? policy_of_tcp(tp) : NULL;

		/* Counted when it is known what the socket becomes. */
		if (p)
			set_options(ctx, &p->stage[SP_STAGE_TCP_BIND], families);
	} else if (ctx->protocol == IPPROTO_UDP) {
		udp_stage(ctx, SP_STAGE_UDP_BIND, families);
	}
	return ALLOW;
}

SEC("cgroup/connect4")
int connect4(struct bpf_sock_addr *ctx)
{
	return on_connect(ctx, SP_FAMILY_IPV4);
}

SEC("cgroup/connect6")
int connect6(struct bpf_sock_addr *ctx)
{
	bool v4 = is_v4_mapped(ctx->user_ip6[0], ctx->user_ip6[1], ctx->user_ip6[2]);

	return on_connect(ctx, v4 ? SP_FAMILY_IPV4 : SP_FAMILY_IPV6);
}

SEC("cgroup/bind4")
int bind4(struct bpf_sock_addr *ctx)
{
	return on_bind(ctx, SP_FAMILY_IPV4);
}

SEC("cgroup/bind6")
int bind6(struct bpf_sock_addr *ctx)
{
	__u32 a0 = ctx->user_ip6[0], a1 = ctx->user_ip6[1], a2 = ctx->user_ip6[2],
	      a3 = ctx->user_ip6[3];
	__u32 families = SP_FAMILY_IPV6;

	if (is_any(a0, a1, a2, a3))
		families = SP_FAMILY_IPV4 | SP_FAMILY_IPV6 | DUAL_STACK;
	else if (is_v4_mapped(a0, a1, a2))
		families = SP_FAMILY_IPV4;
	return on_bind(ctx, families);
}

static __always_inline void tcp_stage(struct bpf_sock_ops *ctx, enum sp_stage stage)
{
	struct bpf_sock *sk = ctx->sk;
	struct tcp_sock *tp;
	struct sp_policy *p;
	__u32 families;

	if (!sk)
		return;
	tp = bpf_skc_to_tcp_sock(sk);
	if (!tp)
		return;
	p = policy_of_tcp(tp);
	if (!p || !(p->stage[stage].n_ops | p->stage[stage].n_credits))
		return;

	families = SP_FAMILY_IPV4;
	if (ctx->family == AF_INET6) {
		bool listener = stage == SP_STAGE_TCP_LISTEN;
		__u32 a0 = listener ? ctx->local_ip6[0] : ctx->remote_ip6[0];
		__u32 a1 = listener ? ctx->local_ip6[1] : ctx->remote_ip6[1];
		__u32 a2 = listener ? ctx->local_ip6[2] : ctx->remote_ip6[2];
		__u32 a3 = listener ? ctx->local_ip6[3] : ctx->remote_ip6[3];

		if (listener && is_any(a0, a1, a2, a3))
			families = SP_FAMILY_IPV4 | SP_FAMILY_IPV6 | DUAL_STACK;
		else if (!is_v4_mapped(a0, a1, a2))
			families = SP_FAMILY_IPV6;
	}
	set_options(ctx, &p->stage[stage], families);
	give_credit(&p->stage[stage]);
}

SEC("sockops")
int sock_ops(struct bpf_sock_ops *ctx)
{
	switch (ctx->op) {
	case BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB:
		tcp_stage(ctx, SP_STAGE_TCP_ACTIVE_EST);
		break;
	case BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB:
		tcp_stage(ctx, SP_STAGE_TCP_PASSIVE_EST);
		break;
	case BPF_SOCK_OPS_TCP_LISTEN_CB:
		tcp_stage(ctx, SP_STAGE_TCP_LISTEN);
		break;
	}
	return HANDLED;
}

/*
 * New cgroups.  These run inside mkdir(2), so a child is governed like its parent before any
 * process can enter it; whether a glob gives it more is told by the agent, which hears of it here.
 */
#define CGROUP2_HIERARCHY 0 /* v1 hierarchies come through the same tracepoints */

static __always_inline void tell_agent(struct cgroup *cgroup, enum sp_event_kind kind)
{
	struct sp_state *s;
	struct sp_event *e;

	e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
	if (!e) {
		s = get_state();
		if (s)
			__sync_fetch_and_add(&s->events_lost, 1);
		return;
	}
	e->kind = kind;
	e->reserved = 0;
	e->id = cgroup->kn->id;
	e->parent_id = 0;
	e->name[0] = '\0';
	if (kind == SP_EVENT_MKDIR) {
		struct cgroup_subsys_state *parent = cgroup->self.parent;

		if (parent)
			e->parent_id = parent->cgroup->kn->id;
		bpf_probe_read_kernel_str(e->name, sizeof(e->name), cgroup->kn->name);
	}
	bpf_ringbuf_submit(e, 0);
}

SEC("tp_btf/cgroup_mkdir")
int BPF_PROG(cgroup_mkdir, struct cgroup *cgroup, const char *path)
{
	struct cgroup_subsys_state *parent = cgroup->self.parent;
	struct sp_cgroup *inherited, value;
	struct sp_state *s;
	__u64 id;

	if (cgroup->root->hierarchy_id != CGROUP2_HIERARCHY || !parent)
		return 0;
	id = parent->cgroup->kn->id;
	inherited = bpf_map_lookup_elem(&cgroups, &id);
	if (inherited) {
		value = *inherited;
		id = cgroup->kn->id;
		if (bpf_map_update_elem(&cgroups, &id, &value, BPF_NOEXIST) < 0) {
			s = get_state();
			if (s)
				__sync_fetch_and_add(&s->inherit_failed, 1);
		}
	}
	tell_agent(cgroup, SP_EVENT_MKDIR);
	return 0;
}

/* Not at rmdir: sockets outlive their cgroup's directory, and stay governed until the last is gone.
 */
SEC("tp_btf/cgroup_release")
int BPF_PROG(cgroup_release, struct cgroup *cgroup, const char *path)
{
	__u64 id;

	if (cgroup->root->hierarchy_id != CGROUP2_HIERARCHY)
		return 0;
	id = cgroup->kn->id;
	bpf_map_delete_elem(&cgroups, &id);
	tell_agent(cgroup, SP_EVENT_RELEASE);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
