// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <assert.h>

#include "policy/hook.h"

/* From <linux/bpf.h> of 6.7: Debian 12's headers do not have them. */
#define CGROUP_UNIX_CONNECT 49
#define CGROUP_UNIX_SENDMSG 50

#define TCP_SOCK_OPS                                                                               \
	(BIT(SP_STAGE_TCP_SYN) | BIT(SP_STAGE_TCP_ACTIVE_EST) | BIT(SP_STAGE_TCP_PASSIVE_EST) |    \
	 BIT(SP_STAGE_TCP_LISTEN) | BIT(SP_STAGE_REPLY_ACTIVE) | BIT(SP_STAGE_REPLY_PASSIVE))
#define BINDS	 (BIT(SP_STAGE_TCP_BIND) | BIT(SP_STAGE_UDP_BIND))
#define CONNECTS (BIT(SP_STAGE_TCP_CONNECT) | BIT(SP_STAGE_UDP_CONNECT))
#define SOCKETS	 (BIT(SP_STAGE_TCP_SOCKET) | BIT(SP_STAGE_UDP_SOCKET) | BIT(SP_STAGE_OTHER_SOCKET))
/* What is due at these stages depends on whether the socket was bound. */
#define AFTER_BIND (BIT(SP_STAGE_UDP_CONNECT) | BIT(SP_STAGE_UDP_SEND))

#define ADDRESS BPF_PROG_TYPE_CGROUP_SOCK_ADDR

const struct hook hook_table[] = {
	[HOOK_SOCK_OPS] = { "sock_ops", "sockops", TCP_SOCK_OPS, 0, BPF_PROG_TYPE_SOCK_OPS,
			    BPF_CGROUP_SOCK_OPS },
	[HOOK_BIND4] = { "bind4", "cgroup/bind4", BINDS, AFTER_BIND, ADDRESS,
			 BPF_CGROUP_INET4_BIND },
	[HOOK_BIND6] = { "bind6", "cgroup/bind6", BINDS, AFTER_BIND, ADDRESS,
			 BPF_CGROUP_INET6_BIND },
	[HOOK_CONNECT4] = { "connect4", "cgroup/connect4", CONNECTS, SP_DUE_AFTERWARDS, ADDRESS,
			    BPF_CGROUP_INET4_CONNECT },
	[HOOK_CONNECT6] = { "connect6", "cgroup/connect6", CONNECTS, SP_DUE_AFTERWARDS, ADDRESS,
			    BPF_CGROUP_INET6_CONNECT },
	[HOOK_SENDMSG4] = { "sendmsg4", "cgroup/sendmsg4", BIT(SP_STAGE_UDP_SEND), 0, ADDRESS,
			    BPF_CGROUP_UDP4_SENDMSG },
	[HOOK_SENDMSG6] = { "sendmsg6", "cgroup/sendmsg6", BIT(SP_STAGE_UDP_SEND), 0, ADDRESS,
			    BPF_CGROUP_UDP6_SENDMSG },
	/* libbpf 1.1 does not know their own sections. */
	[HOOK_CONNECT_UNIX] = { "connect_unix", "cgroup/connect4", BIT(SP_STAGE_UNIX), 0, ADDRESS,
				CGROUP_UNIX_CONNECT, .is_optional = true },
	[HOOK_SENDMSG_UNIX] = { "sendmsg_unix", "cgroup/sendmsg4", BIT(SP_STAGE_UNIX), 0, ADDRESS,
				CGROUP_UNIX_SENDMSG, .is_optional = true },
	[HOOK_SOCK_CREATE] = { "sock_create", "cgroup/sock_create", SOCKETS, SP_DUE_RESPECT,
			       BPF_PROG_TYPE_CGROUP_SOCK, BPF_CGROUP_INET_SOCK_CREATE },
	[HOOK_POST_CREATE] = { "post_create", "lsm_cgroup/socket_post_create",
			       BIT(SP_STAGE_LOCAL_SOCKET), SP_DUE_DEVICE_NAME, BPF_PROG_TYPE_LSM,
			       BPF_LSM_CGROUP, .is_optional = true },
	[HOOK_SETSOCKOPT] = { "setsockopt", "cgroup/setsockopt", 0, SP_DUE_AFTERWARDS,
			      BPF_PROG_TYPE_CGROUP_SOCKOPT, BPF_CGROUP_SETSOCKOPT },
};
static_assert(ARRAY_SIZE(hook_table) == HOOK_MAX, "a row for each hook");

uint32_t hook_set(uint64_t stages)
{
	uint32_t hooks = 0;

	for (int i = 0; i < HOOK_MAX; i++)
		if ((hook_table[i].stages | hook_table[i].observes) & stages)
			hooks |= BIT(i);
	return hooks;
}

uint32_t hook_set_there(uint64_t stages, uint64_t missing_stages)
{
	uint32_t hooks = hook_set(stages);

	for (int i = 0; i < HOOK_MAX; i++)
		if (hook_table[i].stages & missing_stages)
			hooks &= ~BIT(i);
	return hooks;
}

char *hook_names(uint32_t hooks)
{
	char *text = NULL;
	size_t size;
	FILE *f = open_memstream(&text, &size);
	const char *separator = "";

	if (!f)
		return NULL;
	for (int i = 0; i < HOOK_MAX; i++) {
		if (!(hooks & BIT(i)))
			continue;
		fprintf(f, "%s%s", separator, hook_table[i].name);
		separator = ", ";
	}
	if (fclose(f) == 0)
		return text;
	free(text);
	return NULL;
}
