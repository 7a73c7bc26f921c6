# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Sockets that are not plain TCP: UDP that is never connected, AF_UNIX, MPTCP."""

import contextlib
import socket
import subprocess

from harness.capture import Capture
from harness.flows import SO_PRIORITY, TCP_KEEPIDLE, policies, policy
from harness.lacks import need_unix_hooks
from harness.packet import MPTCP, MSS
from harness.result import Containing, OneOf, Skip, check

FILE = "50-test.yaml"
STREAM, DATAGRAM = socket.SOCK_STREAM, socket.SOCK_DGRAM
SO_SNDBUF = (socket.SOL_SOCKET, 7)
IP_TOS = (socket.IPPROTO_IP, 1)
IPPROTO_MPTCP = 262
AF41 = 0x88

IPV4, IPV6 = (socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")
MAPPED = (socket.AF_INET6, "::ffff:127.0.0.1")  # its packets are IPv4's


def rule(when, name="rule", **options):
    settings = ", ".join(f"{key}: {value}" for key, value in options.items())
    return f"      - name: {name}\n        when: {{ {when} }}\n        options: {{ {settings} }}\n"


def rules(*texts):
    return "    rules:\n" + "".join(texts)


class Governed:
    """An agent, its only policy, a worker that it governs, and one that it does not."""

    def __init__(self, box, name, options, *rule_texts):
        self.name, self.agent = name, box.agent(name)
        self.cgroup = box.cgroup.child(name)
        self.write(options, *rule_texts)
        self.agent.start()
        self.worker = box.worker(self.cgroup)
        self.peer = box.worker(box.cgroup.child(f"{name}-peer"))

    def write(self, options, *rule_texts):
        self.agent.write(FILE, policies(policy(self.name, self.cgroup, options,
                                               rules(*rule_texts) if rule_texts else "")))

    def reload(self, options, *rule_texts):
        self.write(options, *rule_texts)
        self.agent.reload_good()

    def hooks(self):
        return {attachment["hook"] for attachment in self.agent.status()["attachments"]}

    def check_counters(self, applied):
        shown = self.agent.policy(self.name)
        check("applied", applied, shown["applied"])
        check("failed options", [], shown["failed"])


class Tenant(Governed):
    """The same with an agent that other tests have, too, which is there sooner."""

    def __init__(self, box, name, options, *rule_texts):
        self.box, self.name, self.agent = box, f"{name}-{next(box.numbers)}", box.common_agent()
        self.file = f"50-{self.name}.yaml"
        self.cgroup = box.cgroup.child(f"common/{self.name}")
        box.stack.callback(self.agent.remove, self.file)
        self.reload(options, *rule_texts)
        self.worker = box.worker(self.cgroup)
        self.peer = box.worker(box.cgroup.child(f"{name}-peer"))

    def add(self, name, text):
        """Another file, and a reload."""
        self.box.stack.callback(self.agent.remove, f"60-{self.name}-{name}.yaml")
        self.agent.write(f"60-{self.name}-{name}.yaml", text)
        self.agent.reload_good()

    def write(self, options, *rule_texts):
        self.agent.write(self.file, policies(policy(self.name, self.cgroup, options,
                                                    rules(*rule_texts) if rule_texts else "")))


@contextlib.contextmanager
def datagram_server(worker, family, address):
    with worker.socket(family, DATAGRAM) as server:
        server.bind((address, 0))
        yield server


def send(client, server, address):
    """It has arrived when this returns."""
    client.sendto(b"x", (address, server.port()))
    server.recv(1)


def priority(subject):
    return subject.sockopt(*SO_PRIORITY)


def test_udp_by_what_the_socket_did(box):
    """Connected: connect; bound: listen; neither: connect, at its first send."""
    here = Governed(box, "udp-kinds", {}, rule("direction: connect", "connect", SO_PRIORITY=3),
                    rule("direction: listen", "listen", SO_PRIORITY=5))
    for family, address in (IPV4, IPV6):
        with (datagram_server(here.peer, family, address) as server,
              here.worker.socket(family, DATAGRAM) as connected,
              here.worker.socket(family, DATAGRAM) as bound,
              here.worker.socket(family, DATAGRAM) as sender):
            connected.connect((address, server.port()))
            check("SO_PRIORITY once it is connected", 3, priority(connected))
            bound.bind((address, 0))
            check("SO_PRIORITY once it is bound", 5, priority(bound))
            check("SO_PRIORITY before the first send", 0, priority(sender))
            send(sender, server, address)
            check("SO_PRIORITY after the first send", 3, priority(sender))
    counts = {one["name"]: one["applied"] for one in here.agent.policy("udp-kinds")["rules"]}
    check("applied, by rule", {"connect": 4, "listen": 2}, counts)


def check_wire(here, family, address, server_family, server_address):
    with (datagram_server(here.peer, server_family, server_address) as server,
          here.worker.socket(family, DATAGRAM) as sender, Capture(server.port()) as wire):
        for _ in range(3):
            send(sender, server, address)
        seen = [packet.tos for packet in wire.packets()]
        # Before 6.13 or so what sendmsg sets acts on this very datagram.
        check(f"DSCP of three datagrams to {address}", [OneOf([0, AF41]), AF41, AF41], seen)


def test_udp_send_acts_on_the_next_datagram(box):
    here = Governed(box, "udp-wire", {"DSCP": "AF41"})
    check_wire(here, *IPV4, *IPV4)
    check_wire(here, *IPV6, *IPV6)
    check_wire(here, *MAPPED, *IPV4)
    here.check_counters(3)


def test_udp_send_to_mapped_address_is_ipv4(box):
    here = Governed(box, "udp-mapped", {}, rule("family: ipv4", "four", SO_PRIORITY=3),
                    rule("family: ipv6", "six", SO_PRIORITY=5))
    for (family, address), peer, expected in ((MAPPED, IPV4, 3), (IPV6, IPV6, 5)):
        with (datagram_server(here.peer, *peer) as server,
              here.worker.socket(family, DATAGRAM) as sender):
            send(sender, server, address)
            check(f"SO_PRIORITY of a sender to {address}", expected, priority(sender))


BOUND_TO = {"address and port": ("127.0.0.1", 4444), "address": ("127.0.0.1", 0),
            "port": ("0.0.0.0", 4445), "neither": ("0.0.0.0", 0)}


def test_udp_sends_leave_a_bound_socket(box):
    """Also after a reload: a send does not make it `connect`."""
    both = [rule("direction: connect", "connect", SO_PRIORITY=3),
            rule("direction: listen", "listen", SO_PRIORITY=5)]
    here = Governed(box, "udp-bound", {}, *both)
    for name, place in BOUND_TO.items():
        with (datagram_server(here.peer, *IPV4) as server,
              here.worker.socket(socket.AF_INET, DATAGRAM) as bound):
            bound.bind(place)
            send(bound, server, "127.0.0.1")
            check(f"SO_PRIORITY of a socket bound to {name}, after a send", 5, priority(bound))
            here.reload({"IP_TOS": "AF41"}, *both)
            send(bound, server, "127.0.0.1")
            check(f"SO_PRIORITY of a socket bound to {name}, after a reload and a send", 5,
                  priority(bound))
            here.reload({}, *both)


def test_udp_sends_leave_a_bound_socket_that_no_rule_is_for(box):
    """Nothing was due when it was bound; that it was is to be known all the same."""
    here = Governed(box, "udp-bound-only", {}, rule("direction: connect", SO_PRIORITY=3))
    for name, place in BOUND_TO.items():
        with (datagram_server(here.peer, *IPV4) as server,
              here.worker.socket(socket.AF_INET, DATAGRAM) as bound):
            bound.bind(place)
            send(bound, server, "127.0.0.1")
            check(f"SO_PRIORITY of a socket bound to {name}, after a send", 0, priority(bound))
    here.check_counters(0)


def test_udp_sends_leave_a_connected_socket(box):
    """send() runs no hook, sendto() does."""
    here = Governed(box, "udp-connected", {"SO_PRIORITY": 3})
    with (datagram_server(here.peer, *IPV4) as server,
          here.worker.socket(socket.AF_INET, DATAGRAM) as client):
        client.connect(("127.0.0.1", server.port()))
        check("SO_PRIORITY once it is connected", 3, priority(client))
        client.setsockopt(*SO_PRIORITY, 6)
        send(client, server, "127.0.0.1")
        here.reload({"SO_PRIORITY": 4})
        send(client, server, "127.0.0.1")
        check("SO_PRIORITY that the application set, after sends and a reload", 6, priority(client))
    here.check_counters(1)


def test_udp_send_once_a_generation(box):
    here = Governed(box, "udp-once", {"IP_TOS": 12})
    with (datagram_server(here.peer, *IPV4) as server,
          here.worker.socket(socket.AF_INET, DATAGRAM) as sender):
        send(sender, server, "127.0.0.1")
        check("IP_TOS after the first send", 12, sender.sockopt(*IP_TOS))
        sender.setsockopt(*IP_TOS, 24)
        for _ in range(3):
            send(sender, server, "127.0.0.1")
        check("IP_TOS that the application set, after more sends", 24, sender.sockopt(*IP_TOS))
        for value in (16, 20):
            here.reload({"IP_TOS": value})
            check("IP_TOS after a reload", OneOf([24, 16]), sender.sockopt(*IP_TOS))
            send(sender, server, "127.0.0.1")
            check("IP_TOS after a reload and a send", value, sender.sockopt(*IP_TOS))
        here.check_counters(1)
        sender.connect(("127.0.0.1", server.port()))
    here.check_counters(1)


def test_udp_sender_that_a_reload_governs(box):
    """It has sent already when the first policy comes that speaks of it."""
    here = Governed(box, "udp-late", {"IP_TOS": 12, "SO_SNDBUF": "unset"},
                    rule("protocol: udp", IP_TOS="unset"))
    with (datagram_server(here.peer, *IPV4) as server,
          here.worker.socket(socket.AF_INET, DATAGRAM) as sender):
        send(sender, server, "127.0.0.1")
        check("IP_TOS while it is unset", 0, sender.sockopt(*IP_TOS))
        here.reload({"IP_TOS": 12})
        send(sender, server, "127.0.0.1")
        check("IP_TOS after a reload and a send", 12, sender.sockopt(*IP_TOS))


def test_udp_skips_tcp_options(box):
    """They are passed over, not tried: no failures."""
    here = Governed(box, "udp-tcp", {"TCP_KEEPIDLE": "60s", "TCP_CONGESTION": "cubic"},
                    rule("remote: [127.0.0.1, \"::1\"]", "peer", TCP_NODELAY="on", SO_PRIORITY=3),
                    rule("direction: [connect, listen], protocol: udp", "udp", SO_SNDBUF="40K"))
    for family, address in (IPV4, IPV6):
        with (datagram_server(here.worker, family, address) as server,
              here.worker.socket(family, DATAGRAM) as sender,
              here.worker.socket(family, DATAGRAM) as client):
            send(sender, server, address)
            client.connect((address, server.port()))
            check("SO_PRIORITY of the connected one", 3, priority(client))
            for one in (server, sender, client):
                check("SO_SNDBUF", 2 * 40 * 1024, one.sockopt(*SO_SNDBUF))
    check("failed options", [], here.agent.policy("udp-tcp")["failed"])


SENDS = {"sendmsg4", "sendmsg6"}
UNIX = {"connect_unix", "sendmsg_unix"}
# Settings that reach UDP's first send, and such that do not.
REACHING = {"base": ({"SO_SNDBUF": "40K"},),
            "what socket(2) leaves open": ({"SO_PRIORITY": 3}, rule("remote_port: 53", SO_PRIORITY=4)),
            "a priority after a TOS": ({"SO_PRIORITY": 3, "IP_TOS": "AF41"},),
            "rule": ({}, rule("protocol: udp, direction: connect", SO_PRIORITY=3)),
            "family": ({}, rule("family: ipv6", SO_PRIORITY=3))}
NOT_REACHING = {"tcp options": ({"TCP_NODELAY": "on"},),
                "what socket(2) gives": ({"SO_PRIORITY": 3, "SO_MARK": 7},),
                "tcp": ({}, rule("protocol: tcp", SO_PRIORITY=3)),
                "listen": ({}, rule("direction: listen", SO_PRIORITY=3)),
                "peer": ({}, rule("remote: 127.0.0.0/8", SO_PRIORITY=3)),
                "peer port": ({}, rule("remote_port: 53", SO_PRIORITY=3)),
                "unix": ({}, rule("family: unix", SO_PRIORITY=3)),
                "unset": ({"SO_PRIORITY": "unset"},)}


def test_udp_hooks_are_there_while_needed(box):
    here = Governed(box, "udp-hooks", {"TCP_NODELAY": "on"})
    check("hooks of sends, by a policy for TCP", set(), here.hooks() & SENDS)
    for reached, settings in REACHING.items():
        for spared, others in NOT_REACHING.items():
            here.reload(*settings)
            check(f"hooks of sends, reached by {reached}", SENDS, here.hooks() & SENDS)
            here.reload(*others)
            check(f"hooks of sends, not reached by {spared}", set(), here.hooks() & SENDS)


def governed_unix(box, name, options, *rule_texts):
    """With a rule for AF_UNIX, where this kernel has the hooks."""
    need_unix_hooks()
    here = Governed(box, name, options, *rule_texts)
    check("hooks for AF_UNIX", UNIX, here.hooks() & UNIX)
    return here


@contextlib.contextmanager
def unix_pair(client_worker, server_worker, kind):
    """(client, server, the server's address); abstract addresses."""
    with (server_worker.socket(socket.AF_UNIX, kind) as server,
          client_worker.socket(socket.AF_UNIX, kind) as client):
        server.bind("")
        yield client, server, server.getsockname()


def test_unix_options(box):
    """Every kind of socket, connected or not; not the sides that wait."""
    here = governed_unix(box, "unix", {"TCP_KEEPIDLE": "60s"}, rule(
        "family: unix", SO_SNDBUF="40K", SO_RCVBUF="30K", SO_PRIORITY=3, SO_MARK=7))
    expected = {7: 80 * 1024, 8: 60 * 1024, 12: 3, 36: 7}
    for kind in (STREAM, socket.SOCK_SEQPACKET):
        with unix_pair(here.worker, here.worker, kind) as (client, server, address):
            server.listen(1)
            client.connect(address)
            check("options of a connected socket", expected,
                  {name: client.sockopt(socket.SOL_SOCKET, name) for name in expected})
            with server.accept() as accepted:
                check("SO_PRIORITY of a listener", 0, priority(server))
                check("SO_PRIORITY of an accepted socket", 0, priority(accepted))
                client.sendall(b"x")
                check("data", b"x", accepted.recv(1))
    for connects in (True, False):
        with unix_pair(here.worker, here.peer, DATAGRAM) as (client, server, address):
            if connects:
                client.connect(address)
            else:
                client.sendto(b"x", address)
                check("data", b"x", server.recv(1))
            check(f"options of a datagram socket, connected: {connects}", expected,
                  {name: client.sockopt(socket.SOL_SOCKET, name) for name in expected})
    here.check_counters(4)


def test_unix_send_once_a_generation(box):
    here = governed_unix(box, "unix-once", {}, rule("family: unix", SO_PRIORITY=3))
    with unix_pair(here.worker, here.peer, DATAGRAM) as (client, _, address):
        client.sendto(b"x", address)
        check("SO_PRIORITY after the first send", 3, priority(client))
        client.setsockopt(*SO_PRIORITY, 6)
        client.sendto(b"x", address)
        check("SO_PRIORITY that the application set, after a send", 6, priority(client))
        here.reload({}, rule("family: unix", SO_PRIORITY=4))
        client.sendto(b"x", address)
        check("SO_PRIORITY after a reload and a send", 4, priority(client))
    here.check_counters(1)


def test_unix_only_where_a_rule_says_so(box):
    """Base options and rules for other families leave AF_UNIX alone, its hooks there or not."""
    here = Governed(box, "unix-base", {"SO_PRIORITY": 3, "SO_SNDBUF": "40K"},
                    rule("direction: connect", SO_PRIORITY=4),
                    rule("family: [ipv4, ipv6]", "ip", SO_PRIORITY=5))
    check("hooks for AF_UNIX without such a rule", set(), here.hooks() & UNIX)
    check_untouched_unix(here)
    here.reload({"SO_PRIORITY": 3}, rule("family: unix", "mark", SO_MARK=7),
                rule("direction: connect", SO_PRIORITY=4))
    if here.hooks() & UNIX:
        check_untouched_unix(here)
    here.reload({"SO_PRIORITY": 3})
    check("hooks for AF_UNIX once the rule has gone", set(), here.hooks() & UNIX)


def check_untouched_unix(here):
    with unix_pair(here.worker, here.peer, STREAM) as (client, server, address):
        server.listen(1)
        client.connect(address)
        check("SO_PRIORITY of a stream", 0, priority(client))
    with unix_pair(here.worker, here.peer, DATAGRAM) as (client, _, address):
        client.sendto(b"x", address)
        check("SO_PRIORITY of a datagram socket", 0, priority(client))


def test_unix_rule_among_others(box):
    """A list of families with `unix` in it governs both."""
    here = governed_unix(box, "unix-list", {}, rule("family: [unix, ipv4]", SO_PRIORITY=3))
    with unix_pair(here.worker, here.peer, DATAGRAM) as (client, _, address):
        client.sendto(b"x", address)
        check("SO_PRIORITY of an AF_UNIX socket", 3, priority(client))
    for family, address, expected in ((*IPV4, 3), (*IPV6, 0)):
        with (datagram_server(here.peer, family, address) as server,
              here.worker.socket(family, DATAGRAM) as client):
            client.connect((address, server.port()))
            check(f"SO_PRIORITY of a socket that talks to {address}", expected, priority(client))


@contextlib.contextmanager
def multipath(client_worker, server_worker, family, address):
    """(client, accepted, packets so far): an MPTCP connection."""
    with contextlib.ExitStack() as stack:
        try:
            listener = stack.enter_context(server_worker.socket(family, STREAM, IPPROTO_MPTCP))
        except OSError as error:
            raise Skip(f"this kernel has no MPTCP: {error.strerror}") from None
        listener.bind((address, 0))
        listener.listen(1)
        wire = stack.enter_context(Capture(listener.port()))
        client = stack.enter_context(client_worker.socket(family, STREAM, IPPROTO_MPTCP))
        client.connect((address, listener.port()))
        accepted = stack.enter_context(listener.accept())
        for sender, receiver in ((client, accepted), (accepted, client)):
            sender.sendall(b"x")
            check("data over MPTCP", b"x", receiver.recv(1))
        yield client, accepted, wire


MPTCP_OPTIONS = {"DSCP": "AF41", "TCP_MAXSEG": 600, "TCP_CONGESTION": "cubic", "SO_RCVBUF": "30K",
                 "SO_MARK": 7, "SO_PRIORITY": 3, "SO_KEEPALIVE": "on", "TCP_KEEPIDLE": "60s"}
# What the application's getsockopt shows of the MPTCP socket is its own.
OF_THE_MPTCP_SOCKET = {"IP_TOS": IP_TOS, "SO_RCVBUF": (socket.SOL_SOCKET, 8),
                       "SO_MARK": (socket.SOL_SOCKET, 36), "SO_PRIORITY": SO_PRIORITY,
                       "SO_KEEPALIVE": (socket.SOL_SOCKET, 9), "TCP_KEEPIDLE": TCP_KEEPIDLE}


def mptcp_socket(subject):
    return {name: subject.sockopt(*option) for name, option in OF_THE_MPTCP_SOCKET.items()}


def congestion_control(subject):
    """The MPTCP socket passes this question on to its first subflow."""
    return subject.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16).split(b"\0")[0]


def check_subflow(local, remote):
    """As ss(8) shows it, which lists subflows among the TCP sockets."""
    shown = subprocess.run(["ss", "-tinemH", f"sport = :{local.port()} and dport = :{remote.port()}"],
                           stdout=subprocess.PIPE, text=True, check=True).stdout
    for part in ("cubic", "fwmark:0x7", f"rb{2 * 30 * 1024},", "timer:(keepalive,"):
        check("the subflow", Containing(part), shown)


def data_marks(packets):
    found = {packet.tos for packet in packets if packet.payload}
    return found or "no data"


def check_multipath(governed, unaware, connects):
    """Everything reaches the subflow; the MPTCP socket is as one that no policy governs, but for what
    socket(2) gave to the one that connects, or to the listener, whose mark is inherited."""
    check_subflow(governed, unaware)
    at_socket = {"SO_MARK": 7, "SO_PRIORITY": 3} if connects else {"SO_MARK": 7}
    check("getsockopt of the MPTCP socket", {**mptcp_socket(unaware), **at_socket},
          mptcp_socket(governed))
    check("congestion controls", (b"cubic", b"reno"),
          (congestion_control(governed), congestion_control(unaware)))


def test_mptcp_subflows_are_governed(box):
    here = Governed(box, "mptcp", MPTCP_OPTIONS)
    for family, address in (IPV4, IPV6):
        with multipath(here.worker, here.peer, family, address) as (client, accepted, wire):
            packets = wire.packets()
            syn = next(packet for packet in packets if packet.is_syn)
            check("the SYN's DSCP and MSS, and whether it is MPTCP's", (AF41, 600, True),
                  (syn.tos, syn.options[MSS], MPTCP in syn.options))
            check("DSCP of the client's data", {AF41},
                  data_marks(p for p in packets if p.dport == wire.port))
            check_multipath(client, accepted, True)
        with multipath(here.peer, here.worker, family, address) as (client, accepted, wire):
            packets = wire.packets()
            synack = next(packet for packet in packets if packet.is_synack)
            check("the SYN-ACK's DSCP and MSS", (AF41, 600), (synack.tos, synack.options[MSS]))
            check("DSCP of the accepted one's data", {AF41},
                  data_marks(p for p in packets if p.sport == wire.port))
            check_multipath(accepted, client, False)
    check("failed options", [], here.agent.policy("mptcp")["failed"])
