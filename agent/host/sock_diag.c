// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <arpa/inet.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/inet_diag.h>
#include <linux/sock_diag.h>

#include "host/sock_diag.h"

#define DUMP_SIZE 32768 /* bytes; the kernel fills no larger message of a dump */

int sock_diag_open(struct mnl_socket **ret)
{
	struct mnl_socket *nl = mnl_socket_open2(NETLINK_SOCK_DIAG, SOCK_CLOEXEC);
	int r;

	if (!nl)
		return -errno;
	if (mnl_socket_bind(nl, 0, MNL_SOCKET_AUTOPID) < 0) {
		r = -errno;
		mnl_socket_close(nl);
		return r;
	}
	*ret = nl;
	return 0;
}

void sock_diag_close(struct mnl_socket *nl)
{
	mnl_socket_close(nl);
}

static void format_address(int family, const __be32 *address, __be16 port, char *to, size_t size)
{
	char text[INET6_ADDRSTRLEN] = "";

	inet_ntop(family, address, text, sizeof(text));
	snprintf(to, size, family == AF_INET6 ? "[%s]:%u" : "%s:%u", text, ntohs(port));
}

static int find_cgroup_id(const struct nlattr *attribute, void *userdata)
{
	uint64_t *id = userdata;

	if (mnl_attr_get_type(attribute) == INET_DIAG_CGROUP_ID &&
	    mnl_attr_validate(attribute, MNL_TYPE_U64) >= 0)
		*id = mnl_attr_get_u64(attribute);
	return MNL_CB_OK;
}

struct dump {
	int protocol;
	uint32_t states;
	sock_diag_fn *fn;
	void *userdata;
	int error; /* what fn returned */
};

static int on_message(const struct nlmsghdr *message, void *userdata)
{
	const struct inet_diag_msg *m = mnl_nlmsg_get_payload(message);
	struct dump *dump = userdata;
	struct sock_diag_socket s = { .protocol = dump->protocol };

	if (mnl_nlmsg_get_payload_len(message) < sizeof(*m))
		return MNL_CB_OK;
	s.inode = m->idiag_inode;
	format_address(m->idiag_family, m->id.idiag_src, m->id.idiag_sport, s.local,
		       sizeof(s.local));
	if (m->id.idiag_dport)
		format_address(m->idiag_family, m->id.idiag_dst, m->id.idiag_dport, s.remote,
			       sizeof(s.remote));
	mnl_attr_parse(message, sizeof(*m), find_cgroup_id, &s.cgroup_id);
	dump->error = dump->fn(&s, dump->userdata);
	return dump->error < 0 ? MNL_CB_ERROR : MNL_CB_OK;
}

static int request_dump(struct mnl_socket *nl, int family, const struct dump *dump,
			unsigned sequence)
{
	union {
		struct nlmsghdr align;
		char room[MNL_ALIGN(sizeof(struct nlmsghdr)) +
			  MNL_ALIGN(sizeof(struct inet_diag_req_v2))];
	} buffer = { 0 };
	struct nlmsghdr *message = mnl_nlmsg_put_header(buffer.room);
	struct inet_diag_req_v2 *request;

	message->nlmsg_type = SOCK_DIAG_BY_FAMILY;
	message->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
	message->nlmsg_seq = sequence;
	request = mnl_nlmsg_put_extra_header(message, sizeof(*request));
	request->sdiag_family = (__u8)family;
	request->sdiag_protocol = (__u8)dump->protocol;
	request->idiag_states = dump->states;
	return mnl_socket_sendto(nl, message, message->nlmsg_len) < 0 ? -errno : 0;
}

static int dump_family(struct mnl_socket *nl, int family, struct dump *dump)
{
	const unsigned port = mnl_socket_get_portid(nl);
	const unsigned sequence = (unsigned)family; /* tells the two requests apart */
	_cleanup_free_ char *buffer = malloc(DUMP_SIZE);
	int r;

	if (!buffer)
		return -ENOMEM;
	r = request_dump(nl, family, dump, sequence);
	if (r < 0)
		return r;
	do {
		ssize_t n = mnl_socket_recvfrom(nl, buffer, DUMP_SIZE);

		if (n < 0)
			return -errno;
		r = mnl_cb_run(buffer, (size_t)n, sequence, port, on_message, dump);
		if (r < 0)
			return dump->error < 0 ? dump->error : -errno;
	} while (r > MNL_CB_STOP);
	return 0;
}

int sock_diag_each(struct mnl_socket *nl, int protocol, uint32_t states, sock_diag_fn *fn,
		   void *userdata)
{
	static const int families[] = { AF_INET, AF_INET6 };
	int r = 0;

	for (size_t f = 0; f < ARRAY_SIZE(families) && r == 0; f++) {
		struct dump dump = { protocol, states, fn, userdata, 0 };

		r = dump_family(nl, families[f], &dump);
		if (r == -ENOENT && dump.error == 0)
			r = 0;
	}
	return r;
}
