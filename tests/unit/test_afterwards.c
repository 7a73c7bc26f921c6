// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * What becomes of an application's setsockopt(2), by the hook's own code: each mode at each moment
 * of each kind of socket, and random policies against what sockpol.policy(5) says.
 */
#include <errno.h>
#include <netinet/tcp.h>

#include "rules_model.h"

#define MPTCP 262

/* A kind of socket at a moment of its life. */
struct shape {
	const char *name;
	int family; /* 0: AF_INET, or AF_INET6 where the connection is */
	int type, protocol, state;
	bool local, remote; /* it has an address of its own, a peer */
	unsigned locks;	    /* sk_userlocks */
	bool has_backlog, has_sent, is_governed;
	bool is_untold; /* perhaps it was accepted */
	/* The moments behind it, the latest first; of connect(2) and the SYN the latter. */
	enum sp_stage passed[2];
	size_t n;
};

#define STREAM	     SOCK_STREAM, IPPROTO_TCP
#define DGRAM	     SOCK_DGRAM, IPPROTO_UDP
#define BOUND_LOCKS  (SOCK_BINDADDR_LOCK | SOCK_BINDPORT_LOCK)
#define KERNELS_PORT 40000 /* one that it chooses */

enum shape_id {
	TCP_NEW,
	TCP_BOUND,
	TCP_LISTENS,
	TCP_CONNECTING,
	TCP_CONNECTED,
	TCP_CONNECTED_BOUND,
	TCP_ACCEPTED,
	TCP_UNTOLD,
	TCP_UNTOLD_PORT,
	MPTCP_CONNECTED,
	UDP_NEW,
	UDP_BOUND,
	UDP_CONNECTED,
	UDP_CONNECTED_BOUND,
	UDP_SENDER,
	RAW,
	PING,
	UNIX_NEW,
	UNIX_CONNECTED,
	NETLINK,
	PACKET,
	SHAPE_MAX,
};

static const struct shape shapes[SHAPE_MAX] = {
	[TCP_NEW] = { "tcp, new", 0, STREAM, TCP_CLOSE, .passed = { SP_STAGE_TCP_SOCKET }, .n = 1 },
	[TCP_BOUND] = { "tcp, bound", 0, STREAM, TCP_CLOSE, .local = true, .locks = BOUND_LOCKS,
			.passed = { SP_STAGE_TCP_BIND, SP_STAGE_TCP_SOCKET }, .n = 2 },
	[TCP_LISTENS] = { "tcp, listens", 0, STREAM, TCP_LISTEN_STATE, .local = true,
			  .locks = BOUND_LOCKS, .has_backlog = true,
			  .passed = { SP_STAGE_TCP_LISTEN, SP_STAGE_TCP_SOCKET }, .n = 2 },
	[TCP_CONNECTING] = { "tcp, connecting", 0, STREAM, 2 /* SYN_SENT */, .local = true,
			     .remote = true, .passed = { SP_STAGE_TCP_SYN, SP_STAGE_TCP_SOCKET },
			     .n = 2 },
	[TCP_CONNECTED] = { "tcp, connected", 0, STREAM, TCP_ESTABLISHED, .local = true,
			    .remote = true, .passed = { SP_STAGE_TCP_SYN, SP_STAGE_TCP_SOCKET },
			    .n = 2 },
	[TCP_CONNECTED_BOUND] = { "tcp, bound and connected", 0, STREAM, TCP_ESTABLISHED,
				  .local = true, .remote = true, .locks = BOUND_LOCKS,
				  .passed = { SP_STAGE_TCP_SYN, SP_STAGE_TCP_SOCKET }, .n = 2 },
	/* it has its listener's locks, but for the port's */
	[TCP_ACCEPTED] = { "tcp, accepted", 0, STREAM, TCP_ESTABLISHED, .local = true,
			   .remote = true, .locks = SOCK_BINDADDR_LOCK, .has_backlog = true,
			   .passed = { SP_STAGE_TCP_PASSIVE_EST }, .n = 1 },
	[TCP_UNTOLD] = { "tcp, untold", 0, STREAM, TCP_ESTABLISHED, .local = true, .remote = true,
			 .locks = SOCK_BINDADDR_LOCK, .is_untold = true,
			 .passed = { SP_STAGE_TCP_SYN, SP_STAGE_TCP_SOCKET }, .n = 2 },
	[TCP_UNTOLD_PORT] = { "tcp, untold, of any address", 0, STREAM, TCP_ESTABLISHED,
			      .local = true, .remote = true, .is_untold = true,
			      .passed = { SP_STAGE_TCP_SYN, SP_STAGE_TCP_SOCKET }, .n = 2 },
	[MPTCP_CONNECTED] = { "mptcp, connected", 0, SOCK_STREAM, MPTCP, TCP_ESTABLISHED,
			      .local = true, .remote = true,
			      .passed = { SP_STAGE_TCP_SYN, SP_STAGE_TCP_SOCKET }, .n = 2 },
	[UDP_NEW] = { "udp, new", 0, DGRAM, TCP_CLOSE, .passed = { SP_STAGE_UDP_SOCKET }, .n = 1 },
	[UDP_BOUND] = { "udp, bound", 0, DGRAM, TCP_CLOSE, .local = true, .locks = BOUND_LOCKS,
			.passed = { SP_STAGE_UDP_BIND, SP_STAGE_UDP_SOCKET }, .n = 2 },
	[UDP_CONNECTED] = { "udp, connected", 0, DGRAM, TCP_ESTABLISHED, .remote = true,
			    .passed = { SP_STAGE_UDP_CONNECT, SP_STAGE_UDP_SOCKET }, .n = 2 },
	[UDP_CONNECTED_BOUND] = { "udp, bound and connected", 0, DGRAM, TCP_ESTABLISHED,
				  .local = true, .remote = true, .locks = BOUND_LOCKS,
				  .passed = { SP_STAGE_UDP_CONNECT, SP_STAGE_UDP_SOCKET }, .n = 2 },
	[UDP_SENDER] = { "udp, has sent", 0, DGRAM, TCP_CLOSE, .has_sent = true,
			 .passed = { SP_STAGE_UDP_SEND, SP_STAGE_UDP_SOCKET }, .n = 2 },
	[RAW] = { "raw", 0, SOCK_RAW, IPPROTO_UDP, TCP_CLOSE, .passed = { SP_STAGE_OTHER_SOCKET },
		  .n = 1 },
	[PING] = { "ping", 0, SOCK_DGRAM, IPPROTO_ICMP, TCP_CLOSE,
		   .passed = { SP_STAGE_OTHER_SOCKET }, .n = 1 },
	[UNIX_NEW] = { "unix, new", AF_UNIX, SOCK_STREAM, 0, TCP_CLOSE },
	[UNIX_CONNECTED] = { "unix, connected", AF_UNIX, SOCK_STREAM, 0, TCP_ESTABLISHED,
			     .is_governed = true, .passed = { SP_STAGE_UNIX }, .n = 1 },
	[NETLINK] = { "netlink", AF_NETLINK, SOCK_RAW, 0, TCP_CLOSE,
		      .passed = { SP_STAGE_LOCAL_SOCKET }, .n = 1 },
	[PACKET] = { "packet", AF_PACKET, SOCK_RAW, 0, TCP_CLOSE,
		     .passed = { SP_STAGE_LOCAL_SOCKET }, .n = 1 },
};

/* Four words in network byte order; IPv4 is mapped. */
static void put_address(__u32 *to, const struct endpoint *e)
{
	memset(to, 0, 16);
	if (e->v4) {
		to[2] = htonl(0xffff);
		memcpy(&to[3], e->address, 4);
	} else {
		memcpy(to, e->address, 16);
	}
}

/* Has the kernel chosen the port of such a socket? */
static bool chooses_port(const struct shape *s)
{
	return s->local && s->remote && !s->locks && !s->is_untold;
}

/* Makes the twin's socket.  is_v6: an AF_INET6 socket, whose ends are perhaps IPv4's. */
static void become(const struct shape *s, const struct connection *c, bool is_v6)
{
	struct bpf_sock *sk = &twin_socket.sk;

	twin_socket_new(s->family ? s->family
			: is_v6	  ? AF_INET6
				  : AF_INET,
			s->type, s->protocol, s->state);
	twin_raw()->sk_userlocks = s->locks;
	twin_raw()->sk_max_ack_backlog = s->has_backlog ? 64 : 0;
	twin_socket.kept.has_socket = s->has_sent || s->is_governed;
	twin_socket.kept.socket.seen = s->has_sent ? 3 : 0;
	twin_socket.kept.socket.counted = s->is_governed ? COUNTED_CONNECT : 0;
	if (s->local) {
		put_address(sk->src_ip6, &c->local);
		sk->src_ip4 = c->local.v4 ? sk->src_ip6[3] : 0;
		sk->src_port = c->local.port;
	}
	if (s->remote) {
		put_address(sk->dst_ip6, &c->remote);
		sk->dst_ip4 = c->remote.v4 ? sk->dst_ip6[3] : 0;
		sk->dst_port = htons(c->remote.port);
	}
}

static struct connection connection_of(const char *local, uint16_t local_port, const char *remote,
				       uint16_t remote_port)
{
	bool v4 = !strchr(remote, ':');
	struct connection c = {
		.family = v4 ? SP_FAMILY_INDEX_IPV4 : SP_FAMILY_INDEX_IPV6,
		.local = { .known = true, .v4 = v4, .port = local_port },
		.remote = { .known = true, .v4 = v4, .port = remote_port },
	};

	assert_int_equal(inet_pton(v4 ? AF_INET : AF_INET6, local, c.local.address), 1);
	assert_int_equal(inet_pton(v4 ? AF_INET : AF_INET6, remote, c.remote.address), 1);
	return c;
}

static void become_to(enum shape_id id, const char *remote, uint16_t port)
{
	struct connection c =
		connection_of(strchr(remote, ':') ? "fd00::7" : "10.0.0.7", 1024, remote, port);

	if (chooses_port(&shapes[id]))
		c.local.port = KERNELS_PORT;
	become(&shapes[id], &c, strchr(remote, ':'));
}

static struct twin_answer ask_number(enum option_id id, uint32_t value)
{
	return twin_ask(option_table[id].level, option_table[id].optname, &value, sizeof(value));
}

/* One of the names by which applications know the option; 0: there is none, it is BPF's alone. */
static int random_name(struct seeded *r, const struct option *o)
{
	if (o->level == SP_LEVEL_REPLY)
		return 0;
	if (o->level == IPPROTO_TCP && o->optname >= TCP_BPF_IW)
		return o->other_optname;
	return o->other_optname && random_below(r, 2) ? o->other_optname : o->optname;
}

static uint32_t number_in(const void *value)
{
	uint32_t number;

	memcpy(&number, value, sizeof(number));
	return number;
}

/* The policies, of which all apply in their order. */
static void world_of(struct world *w, const struct fixture_policy *policies, size_t n)
{
	world_new(w, fixture_config(policies, n));
	for (size_t i = 0; i < n; i++)
		apply_policy(w, &w->config->policies[i]);
	twin_apply(w->numbers, w->n);
}

/* --- modes and moments ---------------------------------------------------------------------- */

static const struct fixture_policy every_mode = {
	"p",
	.base = {
		{ OPTION_SO_MARK, 3, .application = APPLICATION_HOLD },
		{ OPTION_TCP_KEEPIDLE, 60, .application = APPLICATION_HOLD },
		{ OPTION_IP_TOS, 0x20, .application = APPLICATION_DENY },
		{ OPTION_SO_SNDBUF, 5000, .range = { true, 4000, 6000 } },
		{ OPTION_TCP_KEEPINTVL, 9, .application = APPLICATION_RESPECT },
		{ OPTION_TCP_KEEPCNT, 4 },
		{ OPTION_SO_RCVBUF, 7000, .application = APPLICATION_HOLD },
	},
};

/* A letter for each option of every_mode: of what an application sets to 9999 or so. */
static void letters_of(char *to)
{
	static const enum option_id asked[] = {
		OPTION_SO_MARK,	      OPTION_TCP_KEEPIDLE, OPTION_IP_TOS,    OPTION_SO_SNDBUF,
		OPTION_TCP_KEEPINTVL, OPTION_TCP_KEEPCNT,  OPTION_SO_RCVBUF,
	};
	static const char letters[] = {
		[TWIN_DENIED] = 'D',
		[TWIN_IGNORED] = 'I',
		[TWIN_HANDED_ON] = '-',
		[TWIN_REWRITTEN] = 'R',
	};

	for (size_t i = 0; i < ARRAY_SIZE(asked); i++)
		*to++ = letters[ask_number(asked[i], 9999).verdict];
	*to = '\0';
}

static void test_moments(void **state_)
{
	/* the base governs IP's sockets alone, and a listener gets what it has to carry */
	static const char *const expected[SHAPE_MAX] = {
		[TCP_NEW] = "I------",
		[TCP_BOUND] = "I------",
		[TCP_LISTENS] = "I-D---I",
		[TCP_CONNECTING] = "IIDR--I",
		[TCP_CONNECTED] = "IIDR--I",
		[TCP_ACCEPTED] = "IIDR--I",
		[TCP_UNTOLD] = "IIDR--I",
		[TCP_CONNECTED_BOUND] = "IIDR--I",
		[TCP_UNTOLD_PORT] = "IIDR--I",
		[MPTCP_CONNECTED] = "IIDR--I",
		[UDP_NEW] = "I------",
		[UDP_BOUND] = "I-DR--I",
		[UDP_CONNECTED] = "I-DR--I",
		[UDP_CONNECTED_BOUND] = "I-DR--I",
		[UDP_SENDER] = "I-DR--I",
		[RAW] = "I------",
		[PING] = "I------",
		[UNIX_NEW] = "-------",
		[UNIX_CONNECTED] = "-------",
		[NETLINK] = "-------",
		[PACKET] = "-------",
	};
	struct world w;

	(void)state_;
	world_of(&w, &every_mode, 1);
	for (size_t i = 0; i < SHAPE_MAX; i++) {
		char seen[16];

		become_to((enum shape_id)i, "10.0.0.1", 80);
		letters_of(seen);
		if (!streq(seen, expected[i]))
			fail_msg("%s: %s, not %s", shapes[i].name, seen, expected[i]);
	}
	world_free(&w);
}

/* --- hold ----------------------------------------------------------------------------------- */

static uint32_t counter_at(const struct world *w, size_t policy, const char *rule)
{
	return counter_of(&w->config->policies[policy], rule, w->config);
}

static void test_hold(void **state_)
{
	struct world w;
	struct twin_answer a;

	(void)state_;
	world_of(&w, &every_mode, 1);
	become_to(TCP_CONNECTED, "10.0.0.1", 80);
	a = ask_number(OPTION_TCP_KEEPIDLE, 30);
	assert_int_equal(a.verdict, TWIN_IGNORED);
	assert_int_equal(twin.n_calls, 1);
	assert_int_equal(twin_number(IPPROTO_TCP, TCP_KEEPIDLE), 60);
	assert_int_equal(
		twin_outcomes_of(counter_at(&w, 0, ""), OPTION_TCP_KEEPIDLE, SP_OUTCOME_HELD), 1);
	/* in its other spelling, and however long the value is */
	a = twin_ask(SOL_SOCKET, SO_RCVBUFFORCE, "\xff\xff\xff", 4);
	assert_int_equal(a.verdict, TWIN_IGNORED);
	assert_int_equal(twin_number(SOL_SOCKET, SO_RCVBUF), 14000);
	a = twin_ask(SOL_SOCKET, SO_RCVBUF, "a value of twenty by", 20);
	assert_int_equal(a.verdict, TWIN_IGNORED);
	a = twin_ask(SOL_SOCKET, SO_RCVBUF, "", 1);
	assert_int_equal(a.verdict, TWIN_IGNORED);
	/* it is too late for it: the call succeeds */
	twin_have(IPPROTO_TCP, TCP_KEEPIDLE, 99);
	twin_value(IPPROTO_TCP, TCP_KEEPIDLE)->helper_error = -EINVAL;
	a = ask_number(OPTION_TCP_KEEPIDLE, 30);
	assert_int_equal(a.verdict, TWIN_IGNORED);
	assert_int_equal(twin_outcomes(OPTION_TCP_KEEPIDLE, SP_OUTCOME_HELD), 1);
	world_free(&w);
}

/* MPTCP's own socket takes TCP's options from its process only. */
static void test_hold_mptcp(void **state_)
{
	static const struct fixture_policy policy = {
		"p",
		.base = { { OPTION_TCP_KEEPIDLE, 60, .application = APPLICATION_HOLD },
			  { OPTION_TCP_CONGESTION, .text = "vegas",
			    .application = APPLICATION_HOLD } },
	};
	struct world w;
	struct twin_answer a;

	(void)state_;
	world_of(&w, &policy, 1);
	become_to(MPTCP_CONNECTED, "10.0.0.1", 80);
	twin_value(IPPROTO_TCP, TCP_KEEPIDLE)->helper_error = -EINVAL;
	twin_value(IPPROTO_TCP, TCP_CONGESTION)->helper_error = -EINVAL;
	a = ask_number(OPTION_TCP_KEEPIDLE, 30);
	assert_int_equal(a.verdict, TWIN_REWRITTEN);
	assert_int_equal(a.n, 4);
	assert_int_equal(number_in(a.value), 60);
	a = twin_ask(IPPROTO_TCP, TCP_CONGESTION, "bbr", 3);
	assert_int_equal(a.verdict, TWIN_REWRITTEN);
	assert_string_equal(a.value, "vegas");
	assert_int_equal(a.n, 6);
	assert_int_equal(twin_outcomes(OPTION_TCP_CONGESTION, SP_OUTCOME_HELD), 1);
	twin_value(IPPROTO_TCP, TCP_KEEPIDLE)->helper_error = -ENOPROTOOPT;
	assert_int_equal(ask_number(OPTION_TCP_KEEPIDLE, 30).verdict, TWIN_IGNORED);
	world_free(&w);
}

/* "SO_BINDTO* is left as it is", whatever the spelling. */
static void test_hold_device(void **state_)
{
	static const struct fixture_policy policy = {
		"p",
		.base = { { OPTION_SO_BINDTODEVICE, .text = "lo", .application = APPLICATION_HOLD },
			  { OPTION_TCP_NOTSENT_LOWAT, 4096, .application = APPLICATION_HOLD } },
	};
	struct world w;

	(void)state_;
	world_of(&w, &policy, 1);
	for (size_t i = 0; i < SHAPE_MAX; i++) {
		enum twin_verdict expected = shapes[i].family ? TWIN_HANDED_ON : TWIN_IGNORED;

		/* an accepted socket has its listener's */
		if (i == TCP_ACCEPTED)
			expected = TWIN_HANDED_ON;
		if (shapes[i].is_untold)
			expected = TWIN_HANDED_ON;
		become_to((enum shape_id)i, "10.0.0.1", 80);
		if (twin_ask(SOL_SOCKET, SO_BINDTODEVICE, "eth0", 5).verdict != expected ||
		    ask_number(OPTION_SO_BINDTOIFINDEX, 7).verdict != expected)
			fail_msg("%s: not %d", shapes[i].name, expected);
		assert_int_equal(twin.n_calls, 0);
	}
	/* this one has the number of SO_BINDTODEVICE, at another level */
	become_to(TCP_CONNECTED, "10.0.0.1", 80);
	assert_int_equal(ask_number(OPTION_TCP_NOTSENT_LOWAT, 1).verdict, TWIN_IGNORED);
	assert_int_equal(twin_number(IPPROTO_TCP, TCP_NOTSENT_LOWAT), 4096);
	world_free(&w);
}

/* --- deny ----------------------------------------------------------------------------------- */

static void test_deny(void **state_)
{
	struct world w;

	(void)state_;
	world_of(&w, &every_mode, 1);
	become_to(UDP_BOUND, "10.0.0.1", 80);
	assert_int_equal(twin_call_number(IPPROTO_IP, IP_TOS, 0x40), -EPERM);
	assert_int_equal(twin_number(IPPROTO_IP, IP_TOS), 0);
	assert_int_equal(twin_outcomes_of(counter_at(&w, 0, ""), OPTION_IP_TOS, SP_OUTCOME_DENIED),
			 1);
	assert_int_equal(twin.n_counts, 1);
	become_to(UDP_NEW, "10.0.0.1", 80);
	assert_int_equal(twin_call_number(IPPROTO_IP, IP_TOS, 0x40), 0);
	assert_int_equal(twin.n_counts, 0);
	world_free(&w);
}

/* --- ranges --------------------------------------------------------------------------------- */

static void test_range(void **state_)
{
	static const struct fixture_policy policy = {
		"p",
		.base = { { OPTION_SO_SNDBUF, .range = { true, 4000, 6000 } },
			  { OPTION_TCP_USER_TIMEOUT, .range = { true, 10, UINT32_MAX } },
			  { OPTION_TCP_NOTSENT_LOWAT, .range = { true, 0, 800 } },
			  { OPTION_SO_MAX_PACING_RATE, .range = { true, 100, 1000 } } },
	};
	static const struct {
		int level, name;
		enum option_id id;
		uint32_t value[2]; /* the second one: with eight bytes */
		int n;
		uint32_t expected; /* the same: handed on */
	} cases[] = {
		{ SOL_SOCKET, SO_SNDBUF, OPTION_SO_SNDBUF, { 3999 }, 4, 4000 },
		{ SOL_SOCKET, SO_SNDBUF, OPTION_SO_SNDBUF, { 4000 }, 4, 4000 },
		{ SOL_SOCKET, SO_SNDBUF, OPTION_SO_SNDBUF, { 6000 }, 4, 6000 },
		{ SOL_SOCKET, SO_SNDBUF, OPTION_SO_SNDBUF, { 6001 }, 4, 6000 },
		{ SOL_SOCKET, SO_SNDBUF, OPTION_SO_SNDBUF, { (uint32_t)-1 }, 4, 6000 },
		{ SOL_SOCKET, SO_SNDBUF, OPTION_SO_SNDBUF, { 0 }, 4, 4000 },
		{ SOL_SOCKET, SO_SNDBUFFORCE, OPTION_SO_SNDBUF, { 7000 }, 4, 6000 },
		/* the kernel refuses these itself */
		{ SOL_SOCKET, SO_SNDBUF, OPTION_SO_SNDBUF, { 7000 }, 2, 7000 },
		{ SOL_SOCKET, SO_SNDBUF, OPTION_SO_SNDBUF, { 7000 }, 0, 7000 },
		/* it reads an int, whatever is behind it */
		{ SOL_SOCKET, SO_SNDBUF, OPTION_SO_SNDBUF, { 5000, 1 }, 8, 5000 },
		{ SOL_SOCKET, SO_SNDBUF, OPTION_SO_SNDBUF, { 7000, 1 }, 8, 6000 },
		/* a long is taken for this one */
		{ SOL_SOCKET, SO_MAX_PACING_RATE, OPTION_SO_MAX_PACING_RATE, { 50, 0 }, 8, 100 },
		{ SOL_SOCKET, SO_MAX_PACING_RATE, OPTION_SO_MAX_PACING_RATE, { 500, 0 }, 8, 500 },
		{ SOL_SOCKET, SO_MAX_PACING_RATE, OPTION_SO_MAX_PACING_RATE, { 500, 1 }, 8, 1000 },
		{ SOL_SOCKET, SO_MAX_PACING_RATE, OPTION_SO_MAX_PACING_RATE, { ~0u }, 4, 1000 },
		/* "no limit", or "the host's", is greater than every max */
		{ IPPROTO_TCP, TCP_USER_TIMEOUT, OPTION_TCP_USER_TIMEOUT, { 9 }, 4, 10 },
		{ IPPROTO_TCP, TCP_USER_TIMEOUT, OPTION_TCP_USER_TIMEOUT, { 0 }, 4, 0 },
		{ IPPROTO_TCP, TCP_NOTSENT_LOWAT, OPTION_TCP_NOTSENT_LOWAT, { 0 }, 4, 800 },
		{ IPPROTO_TCP, TCP_NOTSENT_LOWAT, OPTION_TCP_NOTSENT_LOWAT, { 1 }, 4, 1 },
	};
	struct world w;

	(void)state_;
	world_of(&w, &policy, 1);
	become_to(TCP_CONNECTED, "10.0.0.1", 80);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		bool is_clamped = cases[i].expected != cases[i].value[0] || cases[i].value[1] == 1;
		struct twin_answer a =
			twin_ask(cases[i].level, cases[i].name, cases[i].value, cases[i].n);

		if (cases[i].expected == cases[i].value[0])
			is_clamped = false;
		if (a.verdict != (is_clamped ? TWIN_REWRITTEN : TWIN_HANDED_ON) ||
		    (is_clamped && (number_in(a.value) != cases[i].expected || a.n != 4)) ||
		    twin_outcomes(cases[i].id, SP_OUTCOME_CLAMPED) != is_clamped)
			fail_msg("case %zu: verdict %d, %u in %d bytes", i, a.verdict,
				 number_in(a.value), a.n);
		assert_int_equal(twin.n_counts, is_clamped);
	}
	world_free(&w);
}

/* --- whose word counts ---------------------------------------------------------------------- */

/* A rule by its peer; the strongest policy's statement, and the loser's is gone; `unset`. */
static void test_winners(void **state_)
{
	static const struct fixture_policy policies[] = {
		{ "weak", .base = { { OPTION_TCP_KEEPIDLE, 60, .application = APPLICATION_HOLD },
				    { OPTION_TCP_KEEPCNT, 4, .application = APPLICATION_HOLD },
				    { OPTION_SO_PRIORITY, 5, .application = APPLICATION_HOLD } } },
		{ "strong", .base = { { OPTION_TCP_KEEPCNT, 5 } },
		  .rules = { { "near",
			       0,
			       { { OPTION_TCP_KEEPIDLE, 70, .application = APPLICATION_HOLD },
				 { OPTION_SO_PRIORITY, UNSET } },
			       .remote = { "10.0.0.0/8" } },
			     { "db",
			       0,
			       { { OPTION_TCP_KEEPCNT, 6, .application = APPLICATION_HOLD } },
			       .remote_port = { { 5432 } } } } },
	};
	static const struct {
		const char *remote;
		uint16_t port;
		uint32_t idle, count, priority; /* 0: not held */
	} cases[] = {
		{ "11.0.0.1", 80, 60, 0, 5 },	{ "10.0.0.1", 80, 70, 0, 0 },
		{ "11.0.0.1", 5432, 60, 6, 5 }, { "10.0.0.1", 5432, 70, 6, 0 },
		{ "fd00::1", 5432, 60, 6, 5 },
	};
	struct world w;

	(void)state_;
	world_of(&w, policies, 2);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		become_to(i % 2 ? TCP_CONNECTED : TCP_ACCEPTED, cases[i].remote, cases[i].port);
		assert_int_equal(twin_call_number(IPPROTO_TCP, TCP_KEEPIDLE, 1), 0);
		assert_int_equal(twin_call_number(IPPROTO_TCP, TCP_KEEPCNT, 1), 0);
		assert_int_equal(twin_call_number(SOL_SOCKET, SO_PRIORITY, 1), 0);
		assert_int_equal(twin_number(IPPROTO_TCP, TCP_KEEPIDLE), cases[i].idle);
		assert_int_equal(twin_number(IPPROTO_TCP, TCP_KEEPCNT),
				 cases[i].count ? cases[i].count : 1);
		assert_int_equal(twin_number(SOL_SOCKET, SO_PRIORITY),
				 cases[i].priority ? cases[i].priority : 1);
	}
	world_free(&w);
}

/* What a rule that asks for `local` may win is decided at the SYN, by the address that the kernel
 * has chosen. */
static void test_late(void **state_)
{
	static const struct fixture_policy policy = {
		"p",
		.base = { { OPTION_TCP_KEEPIDLE, 60, .application = APPLICATION_HOLD } },
		.rules = { { "here",
			     BIT(DIRECTION_CONNECT),
			     { { OPTION_TCP_KEEPIDLE, 70, .application = APPLICATION_HOLD } },
			     .local = { "10.1.0.0/16" } } },
	};
	static const struct {
		const char *local;
		uint32_t expected;
	} cases[] = { { "10.0.0.7", 60 }, { "10.1.0.7", 70 } };
	struct world w;

	(void)state_;
	world_of(&w, &policy, 1);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct connection c = connection_of(cases[i].local, KERNELS_PORT, "10.0.0.1", 80);

		become(&shapes[TCP_CONNECTED], &c, false);
		assert_int_equal(twin_call_number(IPPROTO_TCP, TCP_KEEPIDLE, 1), 0);
		assert_int_equal(twin_number(IPPROTO_TCP, TCP_KEEPIDLE), cases[i].expected);
	}
	world_free(&w);
}

/* A socket that was accepted from listen(fd, 0), or not, is held by what does not ask. */
static void test_untold(void **state_)
{
	static const struct fixture_policy policy = {
		"p",
		.base = { { OPTION_TCP_KEEPIDLE, 60, .application = APPLICATION_HOLD } },
		.rules = { { "out",
			     BIT(DIRECTION_CONNECT),
			     { { OPTION_TCP_KEEPCNT, 4, .application = APPLICATION_HOLD } } },
			   { "in",
			     BIT(DIRECTION_ACCEPT),
			     { { OPTION_TCP_KEEPINTVL, 5, .application = APPLICATION_HOLD } } },
			   { "out2", BIT(DIRECTION_CONNECT), { { OPTION_SO_SNDBUF, 5000 } } },
			   { "in2", BIT(DIRECTION_ACCEPT), { { OPTION_SO_SNDBUF, 6000 } } },
			   { "out3", BIT(DIRECTION_CONNECT), { { OPTION_SO_RCVBUF, 5000 } } },
			   { "in3",
			     BIT(DIRECTION_ACCEPT),
			     { { OPTION_SO_RCVBUF, 6000, .application = APPLICATION_HOLD } } },
			   { "ear",
			     BIT(DIRECTION_LISTEN),
			     { { OPTION_SO_SNDBUF, 7000, .application = APPLICATION_HOLD } } } },
	};
	struct world w;

	(void)state_;
	world_of(&w, &policy, 1);
	become_to(TCP_UNTOLD, "10.0.0.1", 80);
	assert_int_equal(ask_number(OPTION_TCP_KEEPIDLE, 1).verdict, TWIN_IGNORED);
	assert_int_equal(twin_outcomes(OPTION_TCP_KEEPIDLE, SP_OUTCOME_HELD), 1);
	assert_int_equal(twin.n_counts, 1);
	assert_int_equal(ask_number(OPTION_TCP_KEEPCNT, 1).verdict, TWIN_HANDED_ON);
	assert_int_equal(
		twin_outcomes_of(counter_at(&w, 0, "out"), OPTION_TCP_KEEPCNT, SP_OUTCOME_UNTOLD),
		1);
	assert_int_equal(twin.n_counts, 1);
	assert_int_equal(ask_number(OPTION_TCP_KEEPINTVL, 1).verdict, TWIN_HANDED_ON);
	assert_int_equal(
		twin_outcomes_of(counter_at(&w, 0, "in"), OPTION_TCP_KEEPINTVL, SP_OUTCOME_UNTOLD),
		1);
	/* nobody has a word about it either way */
	assert_int_equal(ask_number(OPTION_SO_SNDBUF, 1).verdict, TWIN_HANDED_ON);
	assert_int_equal(twin.n_counts, 0);
	assert_int_equal(ask_number(OPTION_SO_RCVBUF, 1).verdict, TWIN_HANDED_ON);
	assert_int_equal(
		twin_outcomes_of(counter_at(&w, 0, "in3"), OPTION_SO_RCVBUF, SP_OUTCOME_UNTOLD), 1);
	/* connect(2) noted that it was called */
	twin_socket.kept.has_own = true;
	twin_socket.kept.own.flags = SP_OWN_SETS_CONNECTS;
	assert_int_equal(ask_number(OPTION_TCP_KEEPCNT, 1).verdict, TWIN_IGNORED);
	assert_int_equal(ask_number(OPTION_TCP_KEEPINTVL, 1).verdict, TWIN_HANDED_ON);
	assert_int_equal(twin.n_counts, 0);
	world_free(&w);
}

/* bind(2) to port 0 does not know the port that the kernel chooses, so a rule for it gave nothing.
 */
static void test_port_of_the_kernels(void **state_)
{
	static const struct fixture_policy policy = {
		"p",
		.rules = { { "r",
			     0,
			     { { OPTION_SO_PRIORITY, 5, .application = APPLICATION_HOLD } },
			     .local_port = { { 1, 65535 } } } },
	};
	static const enum shape_id bound[] = { UDP_BOUND, TCP_LISTENS };
	struct world w;

	(void)state_;
	world_of(&w, &policy, 1);
	for (size_t i = 0; i < ARRAY_SIZE(bound); i++) {
		bool listens = bound[i] == TCP_LISTENS; /* there it is known */

		become_to(bound[i], "10.0.0.1", 80);
		assert_int_equal(ask_number(OPTION_SO_PRIORITY, 1).verdict, TWIN_IGNORED);
		twin_raw()->sk_userlocks = SOCK_BINDADDR_LOCK;
		assert_int_equal(ask_number(OPTION_SO_PRIORITY, 1).verdict,
				 listens ? TWIN_IGNORED : TWIN_HANDED_ON);
	}
	world_free(&w);
}

/* An option of the other family was given to nobody, so nothing of it is held: the kernel's own
 * IP_TOS would take SO_PRIORITY along. */
static void test_families(void **state_)
{
	static const struct fixture_policy policy = {
		"p",
		.base = { { OPTION_IP_TOS, 0x20, .application = APPLICATION_HOLD },
			  { OPTION_IPV6_TCLASS, 0x20, .application = APPLICATION_HOLD } },
	};
	struct connection v4 = connection_of("10.0.0.7", 1024, "10.0.0.1", 80),
			  any = connection_of("::", 1024, "fd00::1", 80);
	struct world w;

	(void)state_;
	world_of(&w, &policy, 1);
	become_to(TCP_CONNECTED, "fd00::1", 80);
	assert_int_equal(ask_number(OPTION_IP_TOS, 8).verdict, TWIN_HANDED_ON);
	assert_int_equal(twin.n_calls, 0);
	assert_int_equal(ask_number(OPTION_IPV6_TCLASS, 8).verdict, TWIN_IGNORED);
	for (int is_v6 = 0; is_v6 < 2; is_v6++) {
		become(&shapes[TCP_ACCEPTED], &v4, is_v6);
		assert_int_equal(ask_number(OPTION_IP_TOS, 8).verdict, TWIN_IGNORED);
		assert_int_equal(ask_number(OPTION_IPV6_TCLASS, 8).verdict, TWIN_HANDED_ON);
	}
	/* they speak both */
	become(&shapes[TCP_LISTENS], &any, true);
	assert_int_equal(ask_number(OPTION_IP_TOS, 8).verdict, TWIN_IGNORED);
	assert_int_equal(ask_number(OPTION_IPV6_TCLASS, 8).verdict, TWIN_IGNORED);
	become(&shapes[UDP_SENDER], &any, true);
	assert_int_equal(ask_number(OPTION_IP_TOS, 8).verdict, TWIN_IGNORED);
	assert_int_equal(ask_number(OPTION_IPV6_TCLASS, 8).verdict, TWIN_IGNORED);
	world_free(&w);
}

/* --- the way through ------------------------------------------------------------------------ */

/* What nobody asks for is handed on, and so is what a program further down has said. */
static void test_passed(void **state_)
{
	static const int others[][2] = {
		{ SOL_SOCKET, SO_KEEPALIVE },
		{ SOL_SOCKET, 127 },
		{ SOL_SOCKET, 128 },
		{ SOL_SOCKET, -1 },
		{ 777, 5 },
		{ IPPROTO_UDP, TCP_KEEPIDLE },
		{ 255, SO_MARK },
		{ IPPROTO_TCP, TCP_BPF_IW },
	};
	struct bpf_sockopt ctx = { .level = SOL_SOCKET, .optname = SO_MARK, .optlen = -1 };
	struct world w;

	(void)state_;
	world_of(&w, &every_mode, 1);
	become_to(TCP_CONNECTED, "10.0.0.1", 80);
	for (size_t i = 0; i < ARRAY_SIZE(others); i++)
		assert_int_equal(twin_ask(others[i][0], others[i][1], "abc", 4).verdict,
				 TWIN_HANDED_ON);
	ctx.sk = &twin_socket.sk;
	twin_forget();
	assert_int_equal(on_setsockopt(&ctx), HANDED_ON);
	assert_int_equal(ctx.optlen, -1);
	assert_int_equal(twin.n_calls + twin.n_counts, 0);
	/* in a cgroup to which no policy applies, and before there is one */
	twin_apply(NULL, 0);
	assert_int_equal(ask_number(OPTION_SO_MARK, 1).verdict, TWIN_HANDED_ON);
	world_free(&w);
}

/* Another cgroup takes the list's place in the cache: it is found again, as often as it takes. */
static void test_lists_lost(void **state_)
{
	static const struct fixture_policy policies[] = {
		{ "weak",
		  .base = { { OPTION_TCP_KEEPIDLE, 60, .application = APPLICATION_HOLD } } },
		{ "strong", .base = { { OPTION_TCP_KEEPCNT, 4 } } },
	};
	struct world w;

	(void)state_;
	world_of(&w, policies, 2);
	become_to(TCP_CONNECTED, "10.0.0.1", 80);
	state.lists_lost = 0;
	twin_kernel.lists_lost = ATTEMPTS - 1;
	assert_int_equal(ask_number(OPTION_TCP_KEEPIDLE, 1).verdict, TWIN_IGNORED);
	assert_int_equal(twin.n_classified, ATTEMPTS - 1);
	assert_int_equal(state.lists_lost, 0);
	twin_kernel.lists_lost = 1000;
	assert_int_equal(ask_number(OPTION_TCP_KEEPIDLE, 1).verdict, TWIN_HANDED_ON);
	assert_int_equal(twin.n_classified, ATTEMPTS);
	assert_int_equal(state.lists_lost, 1);
	twin_kernel.lists_lost = 0;
	state.lists_lost = 0;
	world_free(&w);
}

/* --- notes ---------------------------------------------------------------------------------- */

static void expect_noted(enum option_id id, bool is_noted, uint32_t value)
{
	const struct sp_own_sets *own = &twin_socket.kept.own;

	assert_int_equal(own->options >> id & 1, is_noted);
	if (is_noted)
		assert_int_equal(own->value[id], value);
}

/* What is to be respected is noted whenever it is set, in each spelling and length. */
static void test_notes(void **state_)
{
	static const struct fixture_policy policy = {
		"p",
		.base = { { OPTION_TCP_KEEPIDLE, 60, .application = APPLICATION_RESPECT },
			  { OPTION_TCP_KEEPCNT, 5, .application = APPLICATION_HOLD },
			  { OPTION_IP_TOS, 0x20, .application = APPLICATION_RESPECT },
			  { OPTION_SO_SNDBUF, 5000, .application = APPLICATION_RESPECT },
			  { OPTION_TCP_CONGESTION, .text = "vegas",
			    .application = APPLICATION_RESPECT },
			  { OPTION_SO_MAX_PACING_RATE, 7, .application = APPLICATION_RESPECT },
			  { OPTION_SO_RCVBUF, 5000, .range = { true, 4000, 6000 } },
			  { OPTION_TCP_MAXSEG, 900, .range = { true, 500, 1000 } } },
	};
	static const uint32_t pacing[] = { 5, 1 };
	struct world w;

	(void)state_;
	world_of(&w, &policy, 1);
	become_to(TCP_NEW, "10.0.0.1", 80);
	assert_int_equal(ask_number(OPTION_TCP_KEEPCNT, 9).verdict, TWIN_HANDED_ON);
	assert_int_equal(ask_number(OPTION_SO_RCVBUF, 9).verdict, TWIN_HANDED_ON);
	assert_false(twin_socket.kept.has_own); /* an element takes a microsecond to make */
	assert_int_equal(ask_number(OPTION_TCP_KEEPIDLE, 9).verdict, TWIN_HANDED_ON);
	expect_noted(OPTION_TCP_KEEPIDLE, true, 9);
	expect_noted(OPTION_TCP_KEEPCNT, false, 0);
	twin_ask(IPPROTO_TCP, TCP_KEEPIDLE, "\x01\x02\x03\x04\x05\x06\x07\x08", 8);
	expect_noted(OPTION_TCP_KEEPIDLE, true, 0x04030201);
	twin_ask(IPPROTO_IP, IP_TOS, "\x28", 1);
	expect_noted(OPTION_IP_TOS, true, 0x28);
	twin_ask(IPPROTO_IP, IP_TOS, "\x28\x01", 2);
	expect_noted(OPTION_IP_TOS, true, 0x128);
	ask_number(OPTION_TCP_MAXSEG, 700);
	expect_noted(OPTION_TCP_MAXSEG, true, 700);
	twin_ask(SOL_SOCKET, SO_SNDBUFFORCE, "\x01\x02\x03\x04", 4);
	expect_noted(OPTION_SO_SNDBUF, true, 0x04030201);
	twin_ask(IPPROTO_TCP, TCP_CONGESTION, "bbr", 3);
	expect_noted(OPTION_TCP_CONGESTION, true, number_in("bbr"));
	twin_ask(IPPROTO_TCP, TCP_CONGESTION, "cubic", 6);
	expect_noted(OPTION_TCP_CONGESTION, true, number_in("cubic"));
	twin_ask(SOL_SOCKET, SO_MAX_PACING_RATE, pacing, 8);
	expect_noted(OPTION_SO_MAX_PACING_RATE, true, ~0u);
	twin_ask(SOL_SOCKET, SO_MAX_PACING_RATE, pacing, 4);
	expect_noted(OPTION_SO_MAX_PACING_RATE, true, 5);
	/* afterwards as well: it stays */
	become_to(TCP_CONNECTED, "10.0.0.1", 80);
	assert_int_equal(ask_number(OPTION_TCP_KEEPIDLE, 9).verdict, TWIN_HANDED_ON);
	expect_noted(OPTION_TCP_KEEPIDLE, true, 9);
	assert_int_equal(twin.n_counts + twin.n_calls, 0);
	world_free(&w);
}

/* What was held or denied is not the application's; what was clamped is, as it came out. */
static void test_not_noted(void **state_)
{
	static const struct fixture_policy policy = {
		"p",
		.base = { { OPTION_TCP_KEEPIDLE, 60, .application = APPLICATION_RESPECT },
			  { OPTION_IP_TOS, 0x20, .application = APPLICATION_RESPECT },
			  { OPTION_TCP_KEEPCNT, 5, .application = APPLICATION_RESPECT } },
		.rules = { { "near",
			     0,
			     { { OPTION_TCP_KEEPIDLE, 70, .application = APPLICATION_HOLD },
			       { OPTION_TCP_KEEPCNT, .range = { true, 5, 9 } },
			       { OPTION_IP_TOS, 0x40, .application = APPLICATION_DENY } },
			     .remote = { "10.0.0.0/8" } } },
	};
	struct world w;

	(void)state_;
	world_of(&w, &policy, 1);
	become_to(TCP_CONNECTED, "10.0.0.1", 80);
	ask_number(OPTION_IP_TOS, 8);
	assert_false(twin_socket.kept.has_own);
	twin_socket.kept.has_own = true;
	twin_socket.kept.own.options = 1ull << OPTION_TCP_KEEPIDLE | 1ull << OPTION_IP_TOS;
	ask_number(OPTION_IP_TOS, 8);
	expect_noted(OPTION_IP_TOS, true, 0);
	ask_number(OPTION_TCP_KEEPIDLE, 8);
	expect_noted(OPTION_TCP_KEEPIDLE, false, 0);
	ask_number(OPTION_TCP_KEEPCNT, 10);
	expect_noted(OPTION_TCP_KEEPCNT, true, 9);
	world_free(&w);
}

/* Sockets that are older than their policy are told by what they have. */
static void test_old(void **state_)
{
	struct world w;

	(void)state_;
	world_of(&w, &every_mode, 1);
	become_to(UDP_NEW, "10.0.0.1", 80);
	assert_int_equal(ask_number(OPTION_SO_RCVBUF, 1).verdict, TWIN_HANDED_ON);
	twin_socket.sk.src_port = 40000; /* which only a send has brought */
	assert_int_equal(ask_number(OPTION_SO_RCVBUF, 1).verdict, TWIN_IGNORED);
	world_free(&w);
}

/* --- random --------------------------------------------------------------------------------- */

/* Somebody has the last word about half of what the policies set. */
static void random_modes(struct seeded *r, struct settings *settings)
{
	for (size_t i = 0; i < settings->n; i++) {
		struct setting *s = &settings->v[i];
		const struct option *o = s->option;
		enum application a = (enum application)(APPLICATION_OVERRIDE + random_below(r, 4));
		int value;

		if (option_can_be_held(o) && (a != APPLICATION_DENY || o->deniable))
			s->application = a;
		if (s->unset || !o->has_order || random_below(r, 3))
			continue;
		assert_int_equal(sockopt_getint(&s->value, &value), 0);
		s->range = (struct value_range){ true, (uint32_t)value / 2, (uint32_t)value * 2 };
		s->is_range_alone = random_below(r, 2);
		s->application = random_below(r, 2) ? APPLICATION_RESPECT : APPLICATION_OVERRIDE;
	}
}

static struct connection random_ends(struct seeded *r, const struct shape *s)
{
	struct connection c = { .protocol = s->type == SOCK_DGRAM ? PROTOCOL_UDP : PROTOCOL_TCP };
	bool v4 = random_below(r, 2);

	switch (s->family) {
	case AF_UNIX:
		c.family = SP_FAMILY_INDEX_UNIX;
		break;
	case AF_NETLINK:
		c.family = SP_FAMILY_INDEX_NETLINK;
		break;
	case AF_PACKET:
		c.family = SP_FAMILY_INDEX_PACKET;
		break;
	default:
		c.family = v4 ? SP_FAMILY_INDEX_IPV4 : SP_FAMILY_INDEX_IPV6;
		if (s->local)
			c.local = random_endpoint(r, v4);
		if (chooses_port(s))
			c.local.port = KERNELS_PORT;
		if (s->remote)
			c.remote = random_endpoint(r, v4);
	}
	return c;
}

/* Does bind(2) leave a device to connect(2), so that nothing is held between the two? */
static bool is_left(const struct world *w, const struct option *o, enum sp_stage s)
{
	for (uint32_t i = 0; i < w->n && s == SP_STAGE_TCP_BIND && names_device(o); i++) {
		const struct policy *p = policy_at(w, i);

		for (size_t k = 0; k < p->n_rules; k++)
			if (is_left_to_connect(&p->rules[k].when) && names(&p->rules[k].options, o))
				return true;
	}
	return false;
}

/* Returns the setting that has the last word about an option, NULL: nobody. */
static const struct setting *last_word(const struct world *w, const struct option *o,
				       const enum sp_stage *passed, size_t n,
				       const struct connection *ends, bool is_v6)
{
	for (size_t i = 0; i < n; i++) {
		enum sp_stage s = passed[i];
		struct connection c = *ends;
		/* an IPv6 socket may send to either */
		unsigned also = s == SP_STAGE_UDP_SEND && c.family == SP_FAMILY_INDEX_IPV6
					? SP_FAMILY_IPV4
					: 0;
		struct winner winner;

		c.direction = stages[s].direction;
		if (stages[s].is_socket)
			return walk_at_socket(w, o, s,
					      is_v6 && c.family < SP_FAMILY_INDEX_UNIX
						      ? SP_FAMILY_INDEX_IPV6
						      : c.family)
				.setting;
		c = known_at(s, &c);
		winner = walk(w, o, s, &c);
		if (!winner.setting && is_left(w, o, s))
			return NULL;
		if (!winner.setting || !(winner.setting->option->stages[c.direction] &
					 BIT(s == SP_STAGE_TCP_SYN ? SP_STAGE_TCP_CONNECT : s)))
			continue;
		if (winner.setting->unset || !is_set_at(winner.rule, winner.setting, s) ||
		    !(option_families(winner.setting->option) & (takes(&c) | also)))
			return NULL;
		return winner.setting;
	}
	return NULL;
}

static size_t n_by_verdict[4], n_untold;

static enum twin_verdict expected_verdict(const struct setting *s, uint32_t value)
{
	if (!s || (s->application != APPLICATION_HOLD && s->application != APPLICATION_DENY &&
		   !s->range.is_given))
		return TWIN_HANDED_ON;
	if (s->application == APPLICATION_HOLD)
		return TWIN_IGNORED;
	if (s->application == APPLICATION_DENY)
		return TWIN_DENIED;
	if (s->option->zero_is_none && value == 0)
		return s->range.max == UINT32_MAX ? TWIN_HANDED_ON : TWIN_REWRITTEN;
	return value < s->range.min || value > s->range.max ? TWIN_REWRITTEN : TWIN_HANDED_ON;
}

static void compare_one(const struct world *w, const struct shape *shape)
{
	static const enum sp_stage accepted[] = { SP_STAGE_TCP_PASSIVE_EST };
	/* half of them of those few for which policies contend, see random_settings() */
	enum option_id id = random_below(w->random, 2)
				    ? random_below(w->random, OPTION_MAX)
				    : random_below(w->random, 6) + OPTION_SO_BINDTODEVICE;
	const struct option *o = &option_table[id];
	struct connection c = random_ends(w->random, shape);
	uint32_t value = random_below(w->random, 100000);
	const struct setting *s;
	struct twin_answer a;
	bool is_untold = false, is_v6;
	int name = random_name(w->random, o);

	if (!name)
		return;
	/* one with an end of IPv4 may be IPv6's */
	is_v6 = c.family == SP_FAMILY_INDEX_IPV6 ||
		((shape->local || shape->remote) && random_below(w->random, 2));
	become(shape, &c, is_v6);
	s = last_word(w, o, shape->passed, shape->n, &c, is_v6);
	if (shape->is_untold) {
		const struct setting *other = last_word(w, o, accepted, 1, &c, is_v6);

		is_untold = s != other;
		s = is_untold ? NULL : s;
	}
	a = twin_ask(o->level, name, &value, sizeof(value));
	if (a.verdict != expected_verdict(s, value))
		SEEDED_FAIL(w->random, "%s, %s: %d, not %d", shape->name, o->name, a.verdict,
			    expected_verdict(s, value));
	n_by_verdict[a.verdict]++;
	n_untold += is_untold;
	if (a.verdict == TWIN_IGNORED && !names_device(o)) {
		unsigned char held[SP_VALUE_SIZE] = { 0 };

		if (twin.n_set != 1)
			SEEDED_FAIL(w->random, "%s: held %s", shape->name, o->name);
		assert_int_equal(sockopt_get(&s->value, held, s->value.size), 0);
		assert_memory_equal(twin.set[0].value, held, s->value.size);
	}
}

static void run_random(struct seeded *r)
{
	struct world w;
	struct config *c = random_config(r);

	for (size_t i = 0; i < c->n_policies; i++) {
		random_modes(r, &c->policies[i].base);
		for (size_t k = 0; k < c->policies[i].n_rules; k++)
			random_modes(r, &c->policies[i].rules[k].options);
	}
	world_new(&w, c);
	w.random = r;
	for (size_t i = 0; i < c->n_policies; i++)
		if (random_below(r, 4))
			apply_policy(&w, &c->policies[i]);
	twin_apply(w.numbers, w.n);
	for (int i = 0; i < 200; i++)
		compare_one(&w, &random_of(r, shapes));
	world_free(&w);
}

static void test_random(void **state_)
{
	(void)state_;
	memset(n_by_verdict, 0, sizeof(n_by_verdict));
	n_untold = 0;
	for_seeds(300, run_random);
	print_message("%zu denied, %zu held, %zu handed on, %zu clamped; %zu untold\n",
		      n_by_verdict[TWIN_DENIED], n_by_verdict[TWIN_IGNORED],
		      n_by_verdict[TWIN_HANDED_ON], n_by_verdict[TWIN_REWRITTEN], n_untold);
	assert_true(getenv("SOCKPOL_TEST_SEED") ||
		    (n_by_verdict[TWIN_DENIED] > 300 && n_by_verdict[TWIN_IGNORED] > 1000 &&
		     n_by_verdict[TWIN_REWRITTEN] > 300 && n_untold > 50));
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_moments),	   cmocka_unit_test(test_hold),
		cmocka_unit_test(test_hold_mptcp), cmocka_unit_test(test_hold_device),
		cmocka_unit_test(test_deny),	   cmocka_unit_test(test_range),
		cmocka_unit_test(test_winners),	   cmocka_unit_test(test_late),
		cmocka_unit_test(test_untold),	   cmocka_unit_test(test_port_of_the_kernels),
		cmocka_unit_test(test_families),   cmocka_unit_test(test_passed),
		cmocka_unit_test(test_lists_lost), cmocka_unit_test(test_notes),
		cmocka_unit_test(test_not_noted),  cmocka_unit_test(test_old),
		cmocka_unit_test(test_random),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
