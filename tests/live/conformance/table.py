# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""One entry an option: a value that is not the default, and how its effect is seen.

Which directions, protocols and hooks an option has comes from the option table, never from here.
"""

import dataclasses
import socket

from harness import sandbox
from harness.result import PATIENCE

from . import effects as see
from . import replies, scenes

SOL_SOCKET, TCP = socket.SOL_SOCKET, socket.IPPROTO_TCP
IP, IPV6 = socket.IPPROTO_IP, socket.IPPROTO_IPV6

BOTH = ("ipv4", "ipv6")
ALL = "all"  # columns that share their sockets
NEAR = ("self/tcp", "any/tcp", "join/mptcp", "join-accept/mptcp")
PACE = int(4000000 / PATIENCE)  # bytes/s: less than loopback takes, on any machine


@dataclasses.dataclass(frozen=True)
class Entry:
    """`effects` are looked for in every role, `more[role, protocol]` there as well; where
    (role, protocol) is in `only`, that replaces both.  `late` are those that are left where a rule
    waits for the local address, if that makes a difference."""

    value: str
    effects: tuple = ()
    more: dict = dataclasses.field(default_factory=dict)
    only: dict = dataclasses.field(default_factory=dict)
    late: tuple = None
    near: tuple = ()  # where the column lacks what all of these need
    families: tuple = BOTH
    mapped: bool = False        # with v4-mapped peers, too
    old_listener: bool = False  # on connections of a listener that was there before the agent
    alone: bool = False         # not in a policy with all the others
    # {column: why it has no effect there, or why that cannot be seen}
    nowhere: dict = dataclasses.field(default_factory=dict)

    def effects_for(self, look):
        key = look.role, look.transport
        if look.form == "local" and self.late:
            return self.late
        effects = self.only.get(key) or self.effects + self.more.get(key, ())
        return tuple(effect for effect in effects if effect.needs not in look.lacks) or self.near


def simple(value, level, optname, expected, **rest):
    """What the application's getsockopt shows as it is."""
    return Entry(value, (see.getsockopt(level, optname, expected),), **rest)


def device(value):
    """SO_BINDTODEVICE in its two spellings."""
    connect = (see.bound_device("connect"), see.route(expected_device=True))
    send = (see.bound_device("send"), see.deaf_sender())
    bound = (see.bound_device("listen"), see.deaf_on_loopback())
    return Entry(value, only={("connect", "tcp"): connect, ("connect", "udp"): connect,
                              **{("socket", transport): (see.device_of_new(),)
                                 for transport in ("tcp", "udp")},
                              ("send", "udp"): send, ("listen", "tcp"): bound,
                              ("listen", "udp"): bound},
                 late=(see.bound_device("connect"),), mapped=True, alone=True, nowhere={
                     "join-local/mptcp": "too late for the route; an application sees another socket's"})


def header(value, level, optname, field, byte, **rest):
    """A field of the IP header."""
    syn, synack = (see.on_syn(field, byte),), (see.on_synack(field, byte),)
    return Entry(value, (see.getsockopt(level, optname, byte, mask=0xFC),),  # less ECN's bits
                 more={("connect", "tcp"): syn + (see.on_wire(field, byte),),
                       ("accept", "tcp"): (see.on_wire(field, byte),),
                       ("listen", "tcp"): synack,
                       ("connect", "udp"): (see.on_wire(field, byte),),
                       ("send", "udp"): (see.on_wire(field, byte),),
                       ("listen", "udp"): (see.on_wire(field, byte),)}, **rest)


def entries(device_index):
    """The table; `device_index` is the interface index of sandbox.DEVICE."""
    routed = (see.route(expected_device=True),)
    scale_of_syn, scale_of_synack = (see.syn_wscale(0),), (see.synack_wscale(0),)
    return {
        "SO_REUSEADDR": Entry("on", (see.bound_getsockopt(2, 1),), near=(
            see.in_kernel(SOL_SOCKET, 2, 1),), only={
            ("listen", "tcp"): (see.bound_getsockopt(2, 1), see.bind_over_time_wait()),
            ("listen", "udp"): (see.bound_getsockopt(2, 1), see.bind_twice())},
            nowhere=dict.fromkeys(("bound/ping", "bound/raw"), "such sockets are born with it")),
        "SO_REUSEPORT": Entry("on", (see.bound_getsockopt(15, 1), see.bind_twice())),
        "SO_BINDTODEVICE": device(sandbox.DEVICE),
        "SO_BINDTOIFINDEX": device(str(device_index)),
        "SO_MARK": simple(hex(sandbox.MARK), SOL_SOCKET, 36, sandbox.MARK, mapped=True,
                          more={("connect", "tcp"): routed, ("connect", "udp"): routed,
                                ("send", "udp"): (see.refused_route(),)},
                          late=(see.getsockopt(SOL_SOCKET, 36, sandbox.MARK),)),
        "SO_RCVBUF": simple("20000", SOL_SOCKET, 8, 40000, mapped=True, more={
            ("connect", "tcp"): scale_of_syn, ("listen", "tcp"): scale_of_synack}),
        "SO_SNDBUF": simple("60000", SOL_SOCKET, 7, 120000, old_listener=True),
        "SO_RCVLOWAT": simple("2", SOL_SOCKET, 18, 2, nowhere={
            f"{name}/mptcp": "the kernel refuses it on a subflow: the MPTCP socket is what is read"
            for name in ("connect", "accept", "join", "join-accept")}),
        "SO_TXREHASH": simple("0", SOL_SOCKET, 74, 0),
        "TCP_CONGESTION": Entry("cubic", (see.getsockopt_text(TCP, 13, "cubic"),), mapped=True,
                                old_listener=True),
        "TCP_BPF_SNDCWND_CLAMP": Entry("28", (see.congestion_window(28),), near=(
            see.in_kernel(TCP, see.TCP_BPF_SNDCWND_CLAMP, 28),)),
        "TCP_BPF_IW": Entry("25", (see.initial_window(25),), near=(
            see.in_kernel(TCP, see.TCP_BPF_IW, 25),)),
        "SO_MAX_PACING_RATE": simple(str(PACE), SOL_SOCKET, 47, PACE, more={
            ("connect", "tcp"): (see.transfer_time(800000, at_least=520000 / PACE),)}),
        "TCP_NOTSENT_LOWAT": simple("16K", TCP, 25, 16384, nowhere={
            f"{name}/mptcp": "the kernel takes it off a subflow: the MPTCP socket's own counts"
            for name in ("connect", "accept", "join", "join-accept")}),
        "TCP_NODELAY": simple("on", TCP, 1, 1, old_listener=True),
        "TCP_MAXSEG": Entry("600", only={
            ("connect", "tcp"): (see.syn_mss(600),
                                 see.of_tcp_info("tcpi_snd_mss", scenes.TCPI_SND_MSS, 588)),
            ("listen", "tcp"): (see.getsockopt(TCP, 2, 600), see.synack_mss(600))}),
        "TCP_WINDOW_CLAMP": simple("20000", TCP, 10, 20000, alone=True, more={
            ("connect", "tcp"): scale_of_syn, ("listen", "tcp"): scale_of_synack}),
        "TCP_SAVE_SYN": Entry("1", (see.saved_syn(),), near=(see.in_kernel(TCP, 27, 1),)),
        "TCP_SYNCNT": simple("3", TCP, 7, 3),
        "TCP_USER_TIMEOUT": simple("20s", TCP, 18, 20000, mapped=True, old_listener=True),
        "TCP_KEEPIDLE": simple("60s", TCP, 4, 60, mapped=True),
        "TCP_KEEPINTVL": simple("7s", TCP, 5, 7),
        "TCP_KEEPCNT": simple("3", TCP, 6, 3),
        "SO_KEEPALIVE": simple("on", SOL_SOCKET, 9, 1, old_listener=True, more={
            ("connect", "tcp"): (see.keepalive_timer(),),
            ("accept", "tcp"): (see.keepalive_timer(),)}),
        "TCP_THIN_LINEAR_TIMEOUTS": simple("on", TCP, 16, 1),
        # The application's names for these two are TCP_DELACK_MAX_US and TCP_RTO_MIN_US.
        "TCP_BPF_DELACK_MAX": simple("40ms", TCP, 46, 40000, old_listener=True),
        "TCP_BPF_RTO_MIN": Entry("40ms", (see.getsockopt(TCP, 45, 40000),
                                          see.retransmission_timeout(40000, 100000)),
                                 old_listener=True),
        "TCP_RTO_MAX_MS": simple("5s", TCP, 44, 5000),
        "IP_TOS": header("AF41", IP, 1, "dscp", 0x88, families=("ipv4",), mapped=True,
                         old_listener=True),
        "IPV6_TCLASS": header("AF11", IPV6, 67, "dscp", 0x28, families=("ipv6",),
                              old_listener=True),
        "IPV6_AUTOFLOWLABEL": Entry("off", (see.getsockopt(IPV6, 70, 0),), families=("ipv6",), more={
            ("connect", "tcp"): (see.no_flow_label("syn"), see.no_flow_label("data")),
            ("accept", "tcp"): (see.no_flow_label("data"),),
            ("listen", "tcp"): (see.no_flow_label("synack"),),
            ("connect", "udp"): (see.no_flow_label("data"),),
            ("send", "udp"): (see.no_flow_label("data"),),
            ("listen", "udp"): (see.no_flow_label("data"),)}),
        "SO_PRIORITY": simple("5", SOL_SOCKET, 12, 5, mapped=True, old_listener=True),
        # As ticks that were never converted from milliseconds it would be four times as long at
        # 250 Hz; the default is a second.
        "TIMEOUT_INIT": Entry("100ms", (replies.opening_repeated(0.02, 0.35),), mapped=True,
                              old_listener=True, nowhere=dict.fromkeys(
                                  NEAR, "no SYN is lost on loopback")),
        "RWND_INIT": Entry("10", only={("connect", "tcp"): (replies.window_of_opening(10),
                                                            replies.window_of_ack(10)),
                                       ("accept", "tcp"): (replies.window_of_opening(10),)},
                           mapped=True, old_listener=True, nowhere=dict.fromkeys(
                               NEAR, "so many of loopback's segments fit no window")),
        "NEEDS_ECN": Entry("on", (replies.ecn_of_opening(),), mapped=True, old_listener=True,
                           near=(replies.ecn_of_syn(),),
                           nowhere={"join-accept/mptcp": "no SYN on loopback asks for it"}),
        "BASE_RTT": Entry("50ms", (replies.least_round_trip(40000, 50000),), nowhere={
            ALL: "takes two seconds to see, and only one congestion control looks at it"}),
    }
