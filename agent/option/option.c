// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <assert.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <linux/bpf.h>

#include "base/names.h"
#include "option/option.h"

#ifndef TCP_RTO_MAX_MS
#define TCP_RTO_MAX_MS 44 /* since 6.15: newer than the headers of Debian 12 */
#endif

const struct option option_table[OPTION_MAX] = {
#define OPTION(name_, ...) [OPTION_##name_] = { .name = #name_, __VA_ARGS__ },
#include "../include/option_table.h"
#undef OPTION
};

/* include/option_table.h says what the order of the rows is for. */
static_assert(OPTION_MAX <= SP_BLOCK_OPS_MAX, "a block holds every option once");
static_assert(OPTION_MAX <= 64, "a bit for each option");
static_assert((int)OPTION_IP_TOS < (int)OPTION_SO_PRIORITY, "IP_TOS overwrites SO_PRIORITY");
static_assert((int)OPTION_TCP_CONGESTION < (int)OPTION_TCP_BPF_SNDCWND_CLAMP &&
		      (int)OPTION_TCP_CONGESTION < (int)OPTION_TCP_BPF_IW &&
		      (int)OPTION_TCP_CONGESTION < (int)OPTION_SO_MAX_PACING_RATE,
	      "a congestion control may touch window and pacing when it starts");
static_assert((int)OPTION_TCP_KEEPIDLE < (int)OPTION_SO_KEEPALIVE &&
		      (int)OPTION_TCP_KEEPINTVL < (int)OPTION_SO_KEEPALIVE &&
		      (int)OPTION_TCP_KEEPCNT < (int)OPTION_SO_KEEPALIVE,
	      "SO_KEEPALIVE arms the timer with the times");

const struct option_shorthand option_shorthands[] = {
	{ .as_option = { .name = "DSCP",
			 .level = IPPROTO_IP,
			 .optname = IP_TOS,
			 .type = OPTION_DSCP,
			 .max = 63,
			 .summary = "IP_TOS and IPV6_TCLASS together: the six bits of the DSCP, "
				    "the ECN bits left to the kernel" },
	  .expands_to = { &option_table[OPTION_IP_TOS], &option_table[OPTION_IPV6_TCLASS] } },
};
const size_t n_option_shorthands = ARRAY_SIZE(option_shorthands);

/*
 * Options of setsockopt(2) that an administrator may ask for, and that no policy can set: the
 * switches of sol_socket_sockopt(), sol_tcp_sockopt(), sol_ip_sockopt() and sol_ipv6_sockopt() in
 * the kernel's net/core/filter.c do not have them.
 */
#define NOT_TAKEN "bpf_setsockopt does not take it"
/* Why an option cannot be set. */
#define READ_ONLY "it can only be read, even by the application"
#define CHANGES_RECV                                                                               \
	NOT_TAKEN ", and it changes what recvmsg(2) gives to an application that must expect it"
#define PER_CALL   NOT_TAKEN ", and it belongs to the application's own calls"
#define NEEDS_DATA NOT_TAKEN ", and its value is a structure that only the application can fill"
#define MULTICAST  NOT_TAKEN ", and multicast is the application's own affair"

const struct option_refused option_refused[] = {
	{ { "SO_LINGER" },
	  NOT_TAKEN " (its value is a struct linger)",
	  "TCP_USER_TIMEOUT bounds how long unacknowledged data keeps a closed connection" },
	{ { "SO_RCVTIMEO" },
	  NOT_TAKEN " (its value is a struct timeval)",
	  "to notice a dead peer use SO_KEEPALIVE with TCP_KEEPIDLE, TCP_KEEPINTVL, TCP_KEEPCNT" },
	{ { "SO_SNDTIMEO" },
	  NOT_TAKEN " (its value is a struct timeval)",
	  "to notice a dead peer use TCP_USER_TIMEOUT; TCP_SYNCNT bounds connect(2)" },
	{ { "SO_SNDBUFFORCE" },
	  NOT_TAKEN ", so the host's limit always counts",
	  "use SO_SNDBUF and raise net.core.wmem_max" },
	{ { "SO_RCVBUFFORCE" },
	  NOT_TAKEN ", so the host's limit always counts",
	  "use SO_RCVBUF and raise net.core.rmem_max" },
	{ { "SO_BUF_LOCK" }, NOT_TAKEN, "leave SO_SNDBUF and SO_RCVBUF unset to keep autotuning" },
	{ { "SO_DEBUG" }, NOT_TAKEN, "ss(8) and the kernel's tracepoints show what a socket does" },
	{ { "SO_DONTROUTE" }, NOT_TAKEN, "SO_MARK and ip-rule(8) choose the route" },
	{ { "SO_SNDLOWAT" },
	  "Linux cannot change it",
	  "TCP_NOTSENT_LOWAT says when a socket is writable" },
	{ { "SO_BUSY_POLL", "SO_PREFER_BUSY_POLL" },
	  NOT_TAKEN,
	  "net.core.busy_read and net.core.busy_poll, for the whole host" },
	{ { "SO_INCOMING_CPU" },
	  NOT_TAKEN,
	  "receive flow steering (ethtool -N, rps_cpus) chooses the CPU" },
	{ { "SO_TXTIME" },
	  NOT_TAKEN ", and each message must carry its time",
	  "SO_MAX_PACING_RATE spreads what is sent" },
	{ { "SO_CNX_ADVICE" }, PER_CALL, "SO_TXREHASH lets the kernel try another path by itself" },
	{ { "SO_ATTACH_FILTER", "SO_ATTACH_BPF" }, NEEDS_DATA, "nft(8) filters by cgroup" },
	{ { "TCP_QUICKACK" },
	  NOT_TAKEN ", and it does not last",
	  "TCP_BPF_DELACK_MAX shortens the delay; a route's quickack (ip-route(8)) removes it" },
	{ { "TCP_FASTOPEN" },
	  NOT_TAKEN,
	  "net.ipv4.tcp_fastopen with 0x402 has it on every listener" },
	{ { "TCP_FASTOPEN_KEY" }, NOT_TAKEN, "net.ipv4.tcp_fastopen_key" },
	{ { "TCP_FASTOPEN_NO_COOKIE" }, NOT_TAKEN, "a route's fastopen_no_cookie (ip-route(8))" },
	{ { "TCP_LINGER2" }, NOT_TAKEN, "net.ipv4.tcp_fin_timeout" },
	{ { "TCP_RTO_MIN_US" }, NOT_TAKEN, "use TCP_BPF_RTO_MIN" },
	{ { "TCP_DELACK_MAX_US" }, NOT_TAKEN, "use TCP_BPF_DELACK_MAX" },
	{ { "TCP_TX_DELAY" }, NOT_TAKEN, "tc-netem(8) delays what an interface sends" },
	{ { "TCP_TIMESTAMP" },
	  NOT_TAKEN ", and it is for checkpoint and restore",
	  "net.ipv4.tcp_timestamps turns the TCP option on and off" },
	{ { "TCP_SAVED_SYN" }, READ_ONLY, "TCP_SAVE_SYN has the kernel keep it" },
	{ { "IP_TTL" },
	  NOT_TAKEN,
	  "net.ipv4.ip_default_ttl, a route's hoplimit (ip-route(8)), or nft(8)" },
	{ { "IP_MINTTL" }, NOT_TAKEN, "an nft(8) rule on ip ttl" },
	{ { "IP_MTU" }, READ_ONLY, "a route's mtu (ip-route(8)); TCP_MAXSEG" },
	{ { "IP_MTU_DISCOVER" },
	  NOT_TAKEN,
	  "net.ipv4.ip_no_pmtu_disc, or a route's mtu lock (ip-route(8))" },
	{ { "IP_FREEBIND" }, NOT_TAKEN, "net.ipv4.ip_nonlocal_bind" },
	{ { "IP_TRANSPARENT" }, NOT_TAKEN, "net.ipv4.ip_nonlocal_bind allows the bind(2)" },
	{ { "IP_LOCAL_PORT_RANGE" },
	  NOT_TAKEN,
	  "net.ipv4.ip_local_port_range, by network namespace" },
	{ { "IP_UNICAST_IF", "IPV6_UNICAST_IF" }, NOT_TAKEN, "use SO_BINDTODEVICE" },
	{ { "IPV6_V6ONLY" }, NOT_TAKEN, "net.ipv6.bindv6only" },
	{ { "IPV6_UNICAST_HOPS" },
	  NOT_TAKEN,
	  "net.ipv6.conf.IFACE.hop_limit, a route's hoplimit (ip-route(8)), or nft(8)" },
	{ { "IPV6_MINHOPCOUNT" }, NOT_TAKEN, "an nft(8) rule on ip6 hoplimit" },
	{ { "IPV6_MTU" }, NOT_TAKEN, "a route's mtu (ip-route(8)); TCP_MAXSEG" },
	{ { "IPV6_MTU_DISCOVER" }, NOT_TAKEN, "a route's mtu lock (ip-route(8))" },
	{ { "IPV6_FREEBIND" }, NOT_TAKEN, "net.ipv6.ip_nonlocal_bind" },
	{ { "IPV6_TRANSPARENT" }, NOT_TAKEN, "net.ipv6.ip_nonlocal_bind allows the bind(2)" },
	{ { "IPV6_ADDR_PREFERENCES" },
	  NOT_TAKEN,
	  "net.ipv6.conf.IFACE.use_tempaddr, or a route's src (ip-route(8))" },
	{ { "IPV6_FLOWINFO_SEND" }, PER_CALL, "IPV6_AUTOFLOWLABEL has the kernel choose labels" },
	{ { "IPV6_FLOWLABEL_MGR" }, NEEDS_DATA, "IPV6_AUTOFLOWLABEL has the kernel choose labels" },
	{ { "SO_RESERVE_MEM", "SO_NO_CHECK", "SO_BUSY_POLL_BUDGET", "SO_DETACH_FILTER",
	    "SO_DETACH_BPF", "SO_DETACH_REUSEPORT_BPF", "SO_LOCK_FILTER", "TCP_DEFER_ACCEPT",
	    "IP_BIND_ADDRESS_NO_PORT", "IPV6_DONTFRAG" },
	  NOT_TAKEN },
	{ { "SO_BROADCAST", "SO_SELECT_ERR_QUEUE", "SO_PEEK_OFF", "TCP_CORK",
	    "TCP_ZEROCOPY_RECEIVE", "UDP_CORK", "UDP_SEGMENT" },
	  PER_CALL },
	{ { "SO_OOBINLINE",	"SO_PASSCRED",	   "SO_PASSPIDFD",	 "SO_PASSSEC",
	    "SO_TIMESTAMP",	"SO_TIMESTAMPNS",  "SO_TIMESTAMPING",	 "SO_RXQ_OVFL",
	    "SO_WIFI_STATUS",	"SO_RCVMARK",	   "SO_RCVPRIORITY",	 "TCP_INQ",
	    "UDP_GRO",		"IP_CHECKSUM",	   "IP_PASSSEC",	 "IP_PKTINFO",
	    "IP_RECVERR",	"IP_RECVOPTS",	   "IP_RECVORIGDSTADDR", "IP_RECVTOS",
	    "IP_RECVTTL",	"IP_RECVFRAGSIZE", "IPV6_RECVERR",	 "IPV6_RECVHOPLIMIT",
	    "IPV6_RECVPKTINFO", "IPV6_RECVTCLASS" },
	  CHANGES_RECV },
	{ { "SO_PASSRIGHTS" }, NOT_TAKEN ", and it is for AF_UNIX" },
	{ { "SO_BSDCOMPAT", "TCP_THIN_DUPACK" }, "Linux ignores it" },
	{ { "SO_ZEROCOPY" }, PER_CALL " (sends must say MSG_ZEROCOPY)" },
	{ { "SO_NOFCS" }, NOT_TAKEN ", and it is for packet sockets" },
	{ { "SO_ATTACH_REUSEPORT_CBPF", "SO_ATTACH_REUSEPORT_EBPF", "TCP_MD5SIG", "TCP_MD5SIG_EXT",
	    "TCP_AO_ADD_KEY", "TCP_AO_DEL_KEY", "TCP_AO_INFO", "IP_OPTIONS" },
	  NEEDS_DATA },
	{ { "SO_TYPE", "SO_DOMAIN", "SO_PROTOCOL", "SO_ERROR", "SO_ACCEPTCONN", "SO_COOKIE",
	    "SO_NETNS_COOKIE", "SO_MEMINFO", "SO_INCOMING_NAPI_ID", "SO_PEERCRED", "SO_PEERGROUPS",
	    "SO_PEERNAME", "SO_PEERPIDFD", "SO_PEERSEC", "TCP_INFO", "TCP_CC_INFO",
	    "TCP_IS_MPTCP" },
	  READ_ONLY },
	{ { "TCP_FASTOPEN_CONNECT" },
	  NOT_TAKEN ", and the application must know that its SYN carries data" },
	{ { "TCP_ULP" },
	  NOT_TAKEN
	  ", and a socket that gets TLS or MPTCP under it needs an application that knows" },
	{ { "TCP_REPAIR", "TCP_REPAIR_QUEUE", "TCP_REPAIR_OPTIONS", "TCP_REPAIR_WINDOW",
	    "TCP_QUEUE_SEQ" },
	  NOT_TAKEN ", and it is for checkpoint and restore" },
	{ { "TCP_BPF_SOCK_OPS_CB_FLAGS" },
	  "it says which events BPF programs get, and every one of them needs it" },
	{ { "UDP_ENCAP" }, NOT_TAKEN ", and it is for IPsec daemons" },
	{ { "IP_HDRINCL", "IP_NODEFRAG", "IP_ROUTER_ALERT" },
	  NOT_TAKEN ", and it is for raw sockets" },
	{ { "IP_MULTICAST_TTL", "IP_MULTICAST_LOOP", "IP_MULTICAST_IF", "IP_MULTICAST_ALL",
	    "IP_ADD_MEMBERSHIP", "IP_DROP_MEMBERSHIP", "IPV6_MULTICAST_HOPS", "IPV6_MULTICAST_LOOP",
	    "IPV6_MULTICAST_IF", "IPV6_MULTICAST_ALL", "IPV6_ADD_MEMBERSHIP",
	    "IPV6_DROP_MEMBERSHIP" },
	  MULTICAST },
};
const size_t n_option_refused = ARRAY_SIZE(option_refused);

static enum option_id other_spelling(enum option_id id)
{
	switch (id) {
	case OPTION_SO_BINDTODEVICE:
		return OPTION_SO_BINDTOIFINDEX;
	case OPTION_SO_BINDTOIFINDEX:
		return OPTION_SO_BINDTODEVICE;
	default:
		return OPTION_MAX;
	}
}

bool options_rival(const struct option *a, const struct option *b)
{
	return a == b || option_id(a) == other_spelling(option_id(b));
}

bool is_second_spelling(enum option_id id)
{
	return other_spelling(id) < id;
}

uint64_t option_bits(const struct option *o)
{
	enum option_id other = other_spelling(option_id(o));

	return 1ull << option_id(o) | (other < OPTION_MAX ? 1ull << other : 0);
}

unsigned option_families(const struct option *o)
{
	switch (o->level) {
	case IPPROTO_IP:
		return SP_FAMILY_IPV4;
	case IPPROTO_IPV6:
		return SP_FAMILY_IPV6;
	default:
		return SP_FAMILY_IPV4 | SP_FAMILY_IPV6;
	}
}

bool option_is_none(const struct option *o, uint32_t value)
{
	return o->type == OPTION_RATE ? value == UINT32_MAX : o->zero_is_none && !value;
}

bool option_is_too_late(const struct option *o)
{
	/* TCP_BPF_IW: EINVAL once data was sent */
	return !(o->stages[DIRECTION_ACCEPT] & BIT(SP_STAGE_TCP_PASSIVE_EST)) ||
	       option_id(o) == OPTION_TCP_BPF_IW;
}

const struct option *option_find(const char *name)
{
	for (size_t i = 0; i < OPTION_MAX; i++)
		if (streq(option_table[i].name, name))
			return &option_table[i];
	return NULL;
}

const struct option_shorthand *option_find_shorthand(const char *name)
{
	for (size_t i = 0; i < n_option_shorthands; i++)
		if (streq(option_shorthands[i].as_option.name, name))
			return &option_shorthands[i];
	return NULL;
}

const struct option_refused *option_find_refused(const char *name)
{
	for (size_t i = 0; i < n_option_refused; i++)
		for (const char *const *n = option_refused[i].names; *n; n++)
			if (streq(*n, name))
				return &option_refused[i];
	return NULL;
}

const char *option_suggest(const char *name)
{
	size_t n = 0;
	_cleanup_free_ const char **candidates =
		calloc(OPTION_MAX + n_option_shorthands, sizeof(*candidates));

	if (!candidates)
		return NULL;
	/* Options come first: the better advice of two names equally near. */
	for (size_t i = 0; i < OPTION_MAX; i++)
		candidates[n++] = option_table[i].name;
	for (size_t i = 0; i < n_option_shorthands; i++)
		candidates[n++] = option_shorthands[i].as_option.name;
	return suggest(name, candidates, n);
}

const char *const direction_words[] = {
	[DIRECTION_CONNECT] = "connect",
	[DIRECTION_ACCEPT] = "accept",
	[DIRECTION_LISTEN] = "listen",
};
static_assert(ARRAY_SIZE(direction_words) == DIRECTION_MAX, "a name for each direction");
