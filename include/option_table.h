/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The option table.  OPTION(name, fields of struct option ...), see agent/option/option.h; included
 * with OPTION defined.  A new kernel option is a new row here, and its case in tests/live/.
 *
 * The order of the rows is the order in which a hook sets them, where it matters:
 *   - IP_TOS before SO_PRIORITY: IP_TOS also changes sk_priority (net/ipv4/ip_sockglue.c,
 *     __ip_sock_set_tos).
 *   - TCP_CONGESTION before what the congestion control may touch at its init (window, pacing).
 *   - the keepalive times before SO_KEEPALIVE, which arms the timer with them.
 *
 * Where an option is effective was observed on 6.1, 6.12 and 6.18; the sources say why:
 *   - tcp_init_transfer() (net/ipv4/tcp_input.c) sets the congestion window just before it calls
 *     the established callbacks: an earlier TCP_BPF_IW is lost.
 *   - tcp_connect_init() and tcp_openreq_init_rwin() (net/ipv4/tcp_output.c, tcp_minisocks.c) fix
 *     MSS and window scale from the connecting or listening socket.
 *   - inet_csk_get_port() looks at sk_reuse and sk_reuseport at bind(2) only.
 *   - sk_clone (net/core/sock.c) gives a child everything of its listener but sk_priority.
 */

#define C_  BIT(SP_STAGE_TCP_CONNECT)
#define AE_ BIT(SP_STAGE_TCP_ACTIVE_EST)
#define PE_ BIT(SP_STAGE_TCP_PASSIVE_EST)
#define L_  BIT(SP_STAGE_TCP_LISTEN)
#define B_  BIT(SP_STAGE_TCP_BIND)
#define UB_ BIT(SP_STAGE_UDP_BIND)
#define UC_ (BIT(SP_STAGE_UDP_CONNECT) | BIT(SP_STAGE_UDP_SEND))
#define UX_ BIT(SP_STAGE_UNIX)
#define LS_ BIT(SP_STAGE_LOCAL_SOCKET)
#define RA_ BIT(SP_STAGE_REPLY_ACTIVE)
#define RP_ BIT(SP_STAGE_REPLY_PASSIVE)
#define STAGES(connect_, accept_, listen_)                                                         \
	.stages = { [DIRECTION_CONNECT] = (connect_),                                              \
		    [DIRECTION_ACCEPT] = (accept_),                                                \
		    [DIRECTION_LISTEN] = (listen_) }
#define TCP_ANY_TIME	 STAGES(C_, PE_, L_)
#define TCP_UDP_ANY_TIME STAGES(C_ | UC_, PE_, L_ | UB_)
#define ALL_ANY_TIME	 STAGES(C_ | UC_ | UX_ | LS_, PE_, L_ | UB_)
#define REPLY		 STAGES(RA_, RP_, 0), .hidden = true, .fresh = NEVER_FRESH
/* clang-format off */
#define FRESH(n)	 { .kind = FRESH_NUMBER, .number = (n) }
#define FRESH_BY(sysctl_) { .kind = FRESH_SYSCTL, .sysctl = (sysctl_) }
#define NEVER_FRESH	 { .kind = FRESH_NEVER }
#define FAILS(at, where) .fails_at = (at), .fails = (where)

OPTION(SO_REUSEADDR, .level = SOL_SOCKET, .optname = SO_REUSEADDR,
       .type = OPTION_BOOL, .max = 1, STAGES(0, 0, B_ | UB_), .carried = true,
       .never_held = true, .fresh = NEVER_FRESH,
       .since = "6.1",
       .summary = "bind to a local address that connections in TIME_WAIT still use",
       .kernel = "looked at by bind(2) only; an ephemeral bind before connect(2) counts as well",
       .breaks = "a second program's bind(2) to a UDP port in use succeeds, and takes the first one's datagrams")
OPTION(SO_REUSEPORT, .level = SOL_SOCKET, .optname = SO_REUSEPORT,
       .type = OPTION_BOOL, .max = 1, STAGES(0, 0, B_ | UB_), .carried = true,
       .never_held = true, .fresh = NEVER_FRESH,
       .since = "5.15",
       .summary = "let several sockets of one user bind to the same address and port",
       .kernel = "looked at by bind(2) only; every socket of the group must have it",
       .breaks = "a second server's bind(2) to a port in use succeeds, and takes some of the first one's connections")
OPTION(SO_BINDTODEVICE, .level = SOL_SOCKET, .optname = SO_BINDTODEVICE,
       .type = OPTION_STRING, .min = 0, .max = 15, STAGES(C_ | UC_, 0, B_ | L_ | UB_),
       .carried = true, .route = true,
       .at_socket = true,
       .deniable = true, .fresh = NEVER_FRESH,
       FAILS(~0u, "where there is no such interface"),
       .since = "5.10",
       .summary = "send and receive through this interface only; \"\" unbinds",
       .kernel = "looked up by name in the socket's network namespace, ENODEV if there is none; "
		 "on a socket that is already bound to a device the application needs CAP_NET_RAW",
       .breaks = "peers behind other interfaces, and loopback, cannot be reached")
OPTION(SO_BINDTOIFINDEX, .level = SOL_SOCKET, .optname = SO_BINDTOIFINDEX,
       .type = OPTION_INT, .min = 0, .max = INT32_MAX, STAGES(C_ | UC_, 0, B_ | L_ | UB_),
       .carried = true, .route = true,
       .at_socket = true,
       .deniable = true, .fresh = NEVER_FRESH,
       FAILS(~0u, "where there is no such interface, by the kernel itself: ENODEV"),
       .since = "5.15",
       .summary = "SO_BINDTODEVICE by interface index; 0 unbinds",
       .kernel = "an index that does not exist is accepted, and connect(2) then fails with ENODEV",
       .breaks = "peers behind other interfaces, and loopback, cannot be reached")
OPTION(SO_MARK, .level = SOL_SOCKET, .optname = SO_MARK,
       .type = OPTION_INT, .min = 0, .max = UINT32_MAX, .hex = true, ALL_ANY_TIME,
       .carried = true, .route = true, .at_socket = true,
       .deniable = true, .fresh = FRESH(0),
       .since = "5.10",
       .summary = "firewall mark, for policy routing and filters",
       .kernel = "set before the route is looked up, so that ip-rule(8) fwmark sees the SYN")
OPTION(SO_RCVBUF, .level = SOL_SOCKET, .optname = SO_RCVBUF,
       .type = OPTION_SIZE, .min = 1, .max = INT32_MAX, .result = RESULT_DOUBLED_RMEM,
       ALL_ANY_TIME, .carried = true,
       .has_order = true, .fresh = NEVER_FRESH, .other_optname = 33 /* SO_RCVBUFFORCE */,
       .since = "5.10",
       .summary = "receive buffer; for TCP it ends receive autotuning, for good",
       .kernel = "capped at net.core.rmem_max, doubled, at least 2304; the window scale follows it "
		 "only from before the SYN or on the listener",
       .mptcp = "the subflow's; the window is that of the MPTCP socket, which keeps its own",
       .breaks = "small: datagrams that arrive in a burst are dropped")
OPTION(SO_SNDBUF, .level = SOL_SOCKET, .optname = SO_SNDBUF,
       .type = OPTION_SIZE, .min = 1, .max = INT32_MAX, .result = RESULT_DOUBLED_WMEM,
       ALL_ANY_TIME,
       .has_order = true, .fresh = NEVER_FRESH, .other_optname = 32 /* SO_SNDBUFFORCE */,
       .since = "5.10",
       .summary = "send buffer; for TCP it ends send autotuning",
       .kernel = "capped at net.core.wmem_max, doubled, at least 4608",
       .breaks = "below 64K: a send of a larger datagram fails with EMSGSIZE")
OPTION(SO_RCVLOWAT, .level = SOL_SOCKET, .optname = SO_RCVLOWAT,
       .type = OPTION_SIZE, .min = 0, .max = INT32_MAX, .result = RESULT_RCVLOWAT,
       STAGES(C_ | UX_, PE_, L_),
       .has_order = true, .fresh = FRESH(1),
       FAILS(C_, "on subflows that MPTCP opens (6.12 and 6.18)"),
       .since = "5.10",
       .summary = "wake a reader only when this many bytes wait",
       .kernel = "0 becomes 1; capped at half of the largest receive buffer, which may grow for it",
       .mptcp = "the MPTCP socket, which is read, keeps its own; 6.12 and 6.18 refuse it on subflows that are "
		"opened (EINVAL, which is counted)",
       .breaks = "above 1: requests and answers that are smaller are not read, so both sides wait for ever")
OPTION(SO_TXREHASH, .level = SOL_SOCKET, .optname = SO_TXREHASH,
       .type = OPTION_INT, .min = -1, .max = 1, TCP_ANY_TIME,
       .fresh = FRESH_BY("net.core.txrehash"),
       .since = "6.1",
       .summary = "choose a new path by a new flow hash when TCP times out: 1 yes, 0 no, -1 the "
		  "host's net.core.txrehash",
       .kernel = "TCP only; -1 is resolved from the sysctl at connect(2) or listen(2)")
OPTION(TCP_CONGESTION, .level = IPPROTO_TCP, .optname = TCP_CONGESTION,
       .type = OPTION_STRING, .min = 1, .max = 15, TCP_ANY_TIME,
       .deniable = true, .fresh = FRESH_BY("net.ipv4.tcp_congestion_control"),
       FAILS(~0u, "where the kernel has no such congestion control"),
       .since = "5.10",
       .summary = "congestion control: bbr, cubic, dctcp or another",
       .kernel = "from BPF any that is loaded, whatever tcp_allowed_congestion_control says; "
		 "ENOENT if it is not loaded; one that needs ECN (dctcp) gets it on accepted sockets only "
		 "with NEEDS_ECN, or if the listener has it; a route's congctl wins at connect(2)")
OPTION(TCP_BPF_SNDCWND_CLAMP, .level = IPPROTO_TCP, .optname = TCP_BPF_SNDCWND_CLAMP,
       .type = OPTION_INT, .min = 1, .max = INT32_MAX, TCP_ANY_TIME,
       .hidden = true,
       .has_order = true, .fresh = NEVER_FRESH,
       .since = "5.10",
       .summary = "the congestion window never grows beyond this many segments",
       .kernel = "also sets ssthresh; an accepted socket still starts with the initial window")
OPTION(TCP_BPF_IW, .level = IPPROTO_TCP, .optname = TCP_BPF_IW,
       .type = OPTION_INT, .min = 1, .max = INT32_MAX, STAGES(AE_, PE_, 0),
       .hidden = true,
       .has_order = true, .fresh = NEVER_FRESH,
       FAILS(~0u, "once data was sent"),
       .since = "5.10",
       .summary = "initial congestion window, segments",
       .kernel = "at established only, before the first data: EINVAL once data is sent")
OPTION(SO_MAX_PACING_RATE, .level = SOL_SOCKET, .optname = SO_MAX_PACING_RATE,
       .type = OPTION_RATE, .min = 1, .max = UINT32_MAX, TCP_UDP_ANY_TIME,
       .has_order = true, .fresh = FRESH(UINT32_MAX),
       .since = "5.10",
       .summary = "send no faster than this",
       .kernel = "32 bits of bytes/s: at most 34 Gbit/s, or unlimited; TCP paces by itself, UDP only "
		 "with the fq queueing discipline")
OPTION(TCP_NOTSENT_LOWAT, .level = IPPROTO_TCP, .optname = TCP_NOTSENT_LOWAT,
       .type = OPTION_SIZE, .min = 0, .max = UINT32_MAX, TCP_ANY_TIME,
       .has_order = true, .zero_is_none = true, .fresh = FRESH(0),
       .since = "5.10",
       .summary = "poll(2) says writable only while fewer unsent bytes than this are queued",
       .kernel = "0 means the host's net.ipv4.tcp_notsent_lowat",
       .mptcp = "the subflow's, until the kernel takes it back; poll(2) asks the MPTCP socket, which keeps "
		"its own")
OPTION(TCP_NODELAY, .level = IPPROTO_TCP, .optname = TCP_NODELAY,
       .type = OPTION_BOOL, .max = 1, TCP_ANY_TIME,
       .fresh = FRESH(0),
       .since = "6.1",
       .summary = "send small segments at once (no Nagle)",
       .kernel = "as setsockopt(2) does")
OPTION(TCP_MAXSEG, .level = IPPROTO_TCP, .optname = TCP_MAXSEG,
       .type = OPTION_INT, .min = 88, .max = 32767, .zero = true, STAGES(C_, 0, L_),
       .carried = true, .hidden = true,
       .has_order = true, .zero_is_none = true, .fresh = NEVER_FRESH,
       .since = "6.1",
       .summary = "maximum segment size that the SYN or SYN-ACK announces and that is sent",
       .kernel = "before the SYN or on the listener only; timestamps take 12 bytes of it; 0: from "
		 "the route")
OPTION(TCP_WINDOW_CLAMP, .level = IPPROTO_TCP, .optname = TCP_WINDOW_CLAMP,
       .type = OPTION_SIZE, .min = 1, .max = INT32_MAX, .result = RESULT_CLAMP,
       TCP_ANY_TIME, .hidden = true, .carried = true,
       .has_order = true, .zero_is_none = true, .fresh = NEVER_FRESH,
       .since = "5.15",
       .summary = "upper bound of the receive window that is advertised first; SO_RCVBUF bounds it for good",
       .kernel = "at least 1152; before the SYN or on the listener it also lowers the window scale; "
		 "on an established socket it can only be lowered; on 6.1 it lasts with SO_RCVBUF; on "
		 "6.12 and 6.18 it does not: when data comes, the kernel replaces it by what SO_RCVBUF, or "
		 "autotuning, leaves")
OPTION(TCP_SAVE_SYN, .level = IPPROTO_TCP, .optname = TCP_SAVE_SYN,
       .type = OPTION_INT, .min = 0, .max = 2, STAGES(0, 0, L_),
       .carried = true,
       .never_held = true, .fresh = NEVER_FRESH,
       .since = "5.10",
       .summary = "keep the SYN's headers for getsockopt(TCP_SAVED_SYN): 1 IP and TCP, 2 the link "
		  "layer's as well",
       .kernel = "on the listener only; 2 from 6.1 on; not kept where the kernel answers with SYN cookies")
OPTION(TCP_SYNCNT, .level = IPPROTO_TCP, .optname = TCP_SYNCNT,
       .type = OPTION_INT, .min = 1, .max = 127, STAGES(C_, 0, L_),
       .has_order = true, .fresh = FRESH_BY("net.ipv4.tcp_syn_retries"),
       .since = "5.10",
       .summary = "SYN retransmissions before connect(2) fails; on a listener, SYN-ACK "
		  "retransmissions",
       .kernel = "before the SYN only; beside TCP_USER_TIMEOUT, on 6.5 and later, the "
		 "net.ipv4.tcp_syn_linear_timeouts (4) are sent as well",
       .breaks = "small: connect(2) fails where a peer that is slow or restarts would have answered")
OPTION(TCP_USER_TIMEOUT, .level = IPPROTO_TCP, .optname = TCP_USER_TIMEOUT,
       .type = OPTION_TIME, .min = 0, .max = INT32_MAX, .unit_usec = 1000, TCP_ANY_TIME,
       .has_order = true, .zero_is_none = true, .fresh = FRESH(0),
       .since = "5.10",
       .summary = "close the connection when data stays unacknowledged for this long",
       .kernel = "milliseconds; 0s: the host's retransmission limits; it also bounds keepalive "
		 "probes and the SYN's retransmissions",
       .mptcp = "the subflow is closed; the application learns of it net.mptcp.close_timeout (60 s) later",
       .breaks = "small: it also ends the connection to a live peer that does not read for so long")
OPTION(TCP_KEEPIDLE, .level = IPPROTO_TCP, .optname = TCP_KEEPIDLE,
       .type = OPTION_TIME, .min = 1, .max = 32767, .unit_usec = 1000000, TCP_ANY_TIME,
       .has_order = true, .fresh = FRESH_BY("net.ipv4.tcp_keepalive_time"),
       .since = "5.10",
       .summary = "idle time before the first keepalive probe",
       .kernel = "seconds; with SO_KEEPALIVE")
OPTION(TCP_KEEPINTVL, .level = IPPROTO_TCP, .optname = TCP_KEEPINTVL,
       .type = OPTION_TIME, .min = 1, .max = 32767, .unit_usec = 1000000, TCP_ANY_TIME,
       .has_order = true, .fresh = FRESH_BY("net.ipv4.tcp_keepalive_intvl"),
       .since = "5.10",
       .summary = "time between keepalive probes",
       .kernel = "seconds; with SO_KEEPALIVE")
OPTION(TCP_KEEPCNT, .level = IPPROTO_TCP, .optname = TCP_KEEPCNT,
       .type = OPTION_INT, .min = 1, .max = 127, TCP_ANY_TIME,
       .has_order = true, .fresh = FRESH_BY("net.ipv4.tcp_keepalive_probes"),
       .since = "5.10",
       .summary = "unanswered keepalive probes before the connection is closed",
       .kernel = "with SO_KEEPALIVE; TCP_USER_TIMEOUT takes its place where set")
OPTION(SO_KEEPALIVE, .level = SOL_SOCKET, .optname = SO_KEEPALIVE,
       .type = OPTION_BOOL, .max = 1, TCP_ANY_TIME,
       .fresh = FRESH(0),
       .since = "5.10",
       .summary = "probe an idle peer",
       .kernel = "arms the timer on an established socket; where both sides open the connection, the "
		 "kernel does not arm it",
       .breaks = "an idle connection ends with ETIMEDOUT where the peer cannot be reached during the probes")
OPTION(TCP_THIN_LINEAR_TIMEOUTS, .level = IPPROTO_TCP, .optname = TCP_THIN_LINEAR_TIMEOUTS,
       .type = OPTION_BOOL, .max = 1, TCP_ANY_TIME,
       .fresh = FRESH(0),
       .since = "6.1",
       .summary = "no exponential backoff of retransmissions while fewer than 4 packets are in flight",
       .kernel = "for the first six timeouts of a thin stream")
OPTION(TCP_BPF_DELACK_MAX, .level = IPPROTO_TCP, .optname = TCP_BPF_DELACK_MAX,
       .type = OPTION_TIME, .min = 1, .max = 200000, .unit_usec = 1, .result = RESULT_JIFFIES,
       TCP_ANY_TIME, .hidden = true,
       .has_order = true, .fresh = FRESH(200000), .other_optname = 46 /* TCP_DELACK_MAX_US */,
       .since = "5.10",
       .summary = "delay an acknowledgement at most this long",
       .kernel = "rounded up to jiffies; EINVAL below two of them and above 200 ms")
OPTION(TCP_BPF_RTO_MIN, .level = IPPROTO_TCP, .optname = TCP_BPF_RTO_MIN,
       .type = OPTION_TIME, .min = 1, .max = 200000, .unit_usec = 1, .result = RESULT_JIFFIES,
       TCP_ANY_TIME, .hidden = true,
       .has_order = true, .fresh = FRESH(200000), .other_optname = 45 /* TCP_RTO_MIN_US */,
       .since = "5.10",
       .summary = "lower bound of the retransmission timeout",
       .kernel = "rounded up to jiffies; EINVAL below two of them and above 200 ms; a locked "
		 "rto_min of the route wins")
OPTION(TCP_RTO_MAX_MS, .level = IPPROTO_TCP, .optname = TCP_RTO_MAX_MS,
       .type = OPTION_TIME, .min = 1000, .max = 120000, .unit_usec = 1000, TCP_ANY_TIME,
       .has_order = true, .fresh = FRESH_BY("net.ipv4.tcp_rto_max_ms"),
       .since = "6.15",
       .summary = "upper bound of the retransmission timeout",
       .kernel = "milliseconds, 1 s to 120 s")
OPTION(IP_TOS, .level = IPPROTO_IP, .optname = IP_TOS,
       .type = OPTION_TCLASS, .min = 0, .max = 255, .result = RESULT_ECN_MASKED,
       TCP_UDP_ANY_TIME, .carried = true,
       .deniable = true, .fresh = FRESH(0),
       .since = "5.10",
       .summary = "the IPv4 header's TOS byte (DSCP and ECN)",
       .kernel = "on TCP the ECN bits stay the kernel's; also sets SO_PRIORITY; the SYN-ACK has the SYN's "
		 "DSCP where net.ipv4.tcp_reflect_tos is 1")
OPTION(IPV6_TCLASS, .level = IPPROTO_IPV6, .optname = IPV6_TCLASS,
       .type = OPTION_TCLASS, .min = 0, .max = 255, .result = RESULT_ECN_MASKED,
       TCP_UDP_ANY_TIME, .carried = true,
       .deniable = true, .fresh = FRESH(0),
       .since = "5.10",
       .summary = "the IPv6 header's traffic class (DSCP and ECN)",
       .kernel = "on TCP the ECN bits stay the kernel's; SO_PRIORITY stays as it is; the SYN-ACK has the "
		 "SYN's DSCP where net.ipv4.tcp_reflect_tos is 1")
OPTION(IPV6_AUTOFLOWLABEL, .level = IPPROTO_IPV6, .optname = IPV6_AUTOFLOWLABEL,
       .type = OPTION_BOOL, .max = 1, TCP_UDP_ANY_TIME,
       .fresh = FRESH_BY("net.ipv6.auto_flowlabels"),
       .since = "6.1",
       .summary = "a flow label from the flow's hash on each packet",
       .kernel = "looked at for each packet; net.ipv6.auto_flowlabels is the default")
OPTION(SO_PRIORITY, .level = SOL_SOCKET, .optname = SO_PRIORITY,
       .type = OPTION_INT, .min = 0, .max = UINT32_MAX, .hex = true, ALL_ANY_TIME,
       .carried = true, .after_tos = true, .at_socket = true,
       .deniable = true, .fresh = FRESH(0),
       .since = "5.10",
       .summary = "priority for queueing disciplines; a class id where it looks like one",
       .kernel = "not inherited by accepted sockets, so set there again; after IP_TOS, which "
		 "overwrites it")
OPTION(TIMEOUT_INIT, .level = SP_LEVEL_REPLY, .optname = BPF_SOCK_OPS_TIMEOUT_INIT,
       .type = OPTION_TIME, .min = 1, .max = 120000, .unit_usec = 1000, .result = RESULT_TICKS,
       REPLY, .since = "4.13",
       .summary = "time to the first retransmission of a SYN or SYN-ACK",
       .kernel = "in jiffies, rounded up; doubled each time, on 6.5 and later after "
		 "net.ipv4.tcp_syn_linear_timeouts (4) equal ones of a SYN; more than one retransmission of "
		 "the SYN starts with a congestion window of 1")
OPTION(RWND_INIT, .level = SP_LEVEL_REPLY, .optname = BPF_SOCK_OPS_RWND_INIT,
       .type = OPTION_INT, .min = 1, .max = 65535, REPLY, .since = "4.13",
       .summary = "initial receive window, segments",
       .kernel = "can only be made smaller on a connecting socket; the window scale stays; not given where "
		 "the kernel answers with SYN cookies")
OPTION(NEEDS_ECN, .level = SP_LEVEL_REPLY, .optname = BPF_SOCK_OPS_NEEDS_ECN,
       .type = OPTION_BOOL, .max = 1, REPLY, .since = "4.13",
       .summary = "ask for ECN in the SYN, grant it in the SYN-ACK, whatever net.ipv4.tcp_ecn says",
       .kernel = "only `on` counts: `off` leaves it to the sysctl and the congestion control; not granted "
		 "where the kernel answers with SYN cookies")
OPTION(BASE_RTT, .level = SP_LEVEL_REPLY, .optname = BPF_SOCK_OPS_BASE_RTT,
       .type = OPTION_TIME, .min = 1, .max = INT32_MAX, .unit_usec = 1, REPLY, .since = "4.15",
       .summary = "the round trip time that a congestion control takes for an uncongested one",
       .kernel = "microseconds; of the kernel's congestion controls only nv asks")
/* clang-format on */

#undef C_
#undef AE_
#undef PE_
#undef L_
#undef B_
#undef UB_
#undef UC_
#undef UX_
#undef LS_
#undef RA_
#undef RP_
#undef STAGES
#undef TCP_ANY_TIME
#undef TCP_UDP_ANY_TIME
#undef ALL_ANY_TIME
#undef REPLY
#undef FRESH
#undef FRESH_BY
#undef NEVER_FRESH
#undef FAILS
