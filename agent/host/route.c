// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/rtnetlink.h>
#include <netinet/in.h>

#include "base/util.h"
#include "host/route.h"

DEFINE_CLEANUP(struct mnl_socket *, mnl_socket_close)

#define ANSWER_SIZE 32768 /* bytes; the kernel fills no larger message of a dump */

static int on_metric(const struct nlattr *attribute, void *userdata)
{
	struct route *r = userdata;

	switch (mnl_attr_get_type(attribute)) {
	case RTAX_CC_ALGO:
		snprintf(r->congestion, sizeof(r->congestion), "%.*s",
			 (int)mnl_attr_get_payload_len(attribute), mnl_attr_get_str(attribute));
		break;
	case RTAX_LOCK:
		r->locked = mnl_attr_get_u32(attribute) & BIT(RTAX_CC_ALGO);
		break;
	default:
		break;
	}
	return MNL_CB_OK;
}

static int on_attribute(const struct nlattr *attribute, void *userdata)
{
	struct route *r = userdata;

	switch (mnl_attr_get_type(attribute)) {
	case RTA_DST:
		if (mnl_attr_get_payload_len(attribute) <= sizeof(r->first))
			memcpy(r->first, mnl_attr_get_payload(attribute),
			       mnl_attr_get_payload_len(attribute));
		break;
	case RTA_TABLE:
		r->table = mnl_attr_get_u32(attribute);
		break;
	case RTA_METRICS:
		return mnl_attr_parse_nested(attribute, on_metric, r);
	default:
		break;
	}
	return MNL_CB_OK;
}

struct question {
	route_fn *fn;
	void *userdata;
	int answer; /* what fn returned */
};

static int on_route(const struct nlmsghdr *message, void *userdata)
{
	const struct rtmsg *m = mnl_nlmsg_get_payload(message);
	struct question *q = userdata;
	struct route r = { .family = m->rtm_family, .table = m->rtm_table };

	if (message->nlmsg_type != RTM_NEWROUTE ||
	    mnl_nlmsg_get_payload_len(message) < sizeof(*m) ||
	    mnl_attr_parse(message, sizeof(*m), on_attribute, &r) < MNL_CB_STOP || !r.congestion[0])
		return MNL_CB_OK;
	memcpy(r.last, r.first, sizeof(r.last));
	for (unsigned bit = m->rtm_dst_len; bit < 8 * sizeof(r.last); bit++)
		r.last[bit / 8] |= (unsigned char)(0x80 >> bit % 8);
	q->answer = q->fn(&r, q->userdata);
	return q->answer ? MNL_CB_STOP : MNL_CB_OK;
}

/* Sends the request and hands over each route of the answer that has a congestion control. */
static int ask(struct nlmsghdr *message, struct question *q)
{
	_cleanup_(mnl_socket_close) struct mnl_socket *nl =
		mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC);
	_cleanup_free_ char *buffer = malloc(ANSWER_SIZE);
	const bool dumps = message->nlmsg_flags & NLM_F_DUMP;
	int r = MNL_CB_OK;

	if (!buffer)
		return -ENOMEM;
	message->nlmsg_seq = 1;
	if (!nl || mnl_socket_bind(nl, 0, MNL_SOCKET_AUTOPID) < 0 ||
	    mnl_socket_sendto(nl, message, message->nlmsg_len) < 0)
		return -errno;
	do {
		ssize_t n = mnl_socket_recvfrom(nl, buffer, ANSWER_SIZE);

		r = n < 0 ? -1
			  : mnl_cb_run(buffer, (size_t)n, 1, mnl_socket_get_portid(nl), on_route,
				       q);
		if (r < 0)
			return -errno;
	} while (dumps && r > MNL_CB_STOP);
	return q->answer;
}

static struct rtmsg *put_request(char *buffer, int family, struct nlmsghdr **ret)
{
	struct rtmsg *m;

	*ret = mnl_nlmsg_put_header(buffer);
	(*ret)->nlmsg_type = RTM_GETROUTE;
	(*ret)->nlmsg_flags = NLM_F_REQUEST;
	m = mnl_nlmsg_put_extra_header(*ret, sizeof(*m));
	m->rtm_family = (unsigned char)family;
	return m;
}

int route_each(route_fn *fn, void *userdata)
{
	struct question q = { fn, userdata, 0 };
	_Alignas(struct nlmsghdr) char buffer[256];
	struct nlmsghdr *message;

	put_request(buffer, AF_UNSPEC, &message);
	message->nlmsg_flags |= NLM_F_DUMP;
	return ask(message, &q);
}

static int take(const struct route *r, void *userdata)
{
	*(struct route *)userdata = *r;
	return 0;
}

int route_to(int family, const void *address, uint32_t mark, struct route *ret)
{
	const size_t size = family == AF_INET6 ? 16 : 4;
	struct question q = { take, ret, 0 };
	_Alignas(struct nlmsghdr) char buffer[256];
	struct nlmsghdr *message;
	struct rtmsg *m = put_request(buffer, family, &message);

	m->rtm_dst_len = (unsigned char)(8 * size);
	m->rtm_flags = RTM_F_LOOKUP_TABLE; /* without it the table is always the main one */
	mnl_attr_put(message, RTA_DST, size, address);
	mnl_attr_put_u32(message, RTA_MARK, mark);
	return ask(message, &q);
}
