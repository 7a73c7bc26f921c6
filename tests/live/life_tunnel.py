# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""policies/60-policy-routing.yaml, with the commands of its comments: what goes through the tunnel,
and that nothing goes past it."""

import collections
import contextlib
import errno
import os
import re
import socket
import struct

from harness.host import Host
from harness.result import OneOf, check, wait_for
from harness.size import sized
from life_policies import SHIPPED, governed_text

COUNT = sized(short=20, full=100, long=1000)  # of each kind of traffic, in IPv4 and in IPv6
FILE = "60-policy-routing.yaml"
TUNNEL, UPLINK = "wg0", "eth"

# As the shipped file has them: what is ours in the tunnel, and a network that is exempt.
OURS = {4: "10.8.0.2", 6: "fd08::2"}
EXEMPT = {4: "192.168.9.1", 6: "2001:db8:1:9::1"}
UPLINK_OURS = {4: "192.168.0.2", 6: "2001:db8:1::2"}
OUTSIDE = {4: "203.0.113.1", 6: "2001:db8:2::1"}
ANY = {4: "0.0.0.0", 6: "::"}

# Both ends of a link have one address and need not ask for it: all that goes over it is the test's.
# (Where the kernel has no dummy device, a veth that has an address is one.)
LINK = """link add {name} address 02:00:00:00:00:01 type veth peer name {name} address \
02:00:00:00:00:01 netns {far}"""
UP = "link set {name} arp off addrgenmode none up"
NEAR_NETWORK = """
link set lo up
addr add 10.8.0.2/24 dev wg0
addr add 192.168.0.2/24 dev eth
route add default via 192.168.0.1 dev eth
-6 addr add fd08::2/64 dev wg0 nodad
-6 addr add 2001:db8:1::2/64 dev eth nodad
-6 route add default via 2001:db8:1::1 dev eth
"""
FAR_NETWORK = """
link set lo up
addr add 203.0.113.1/32 dev lo
addr add 192.168.9.1/32 dev lo
addr add 10.8.0.1/24 dev wg0
addr add 192.168.0.1/24 dev eth
-6 addr add 2001:db8:2::1/128 dev lo nodad
-6 addr add 2001:db8:1:9::1/128 dev lo nodad
-6 addr add fd08::1/64 dev wg0 nodad
-6 addr add 2001:db8:1::1/64 dev eth nodad
"""

FAMILY = {4: socket.AF_INET, 6: socket.AF_INET6}
PORT = 5000
MPTCP, UDPLITE, UNASSIGNED = 262, 136, 253  # protocols
ETH_P_ALL, PACKET_OUTGOING = 3, 4
UNREACHABLE = OneOf([errno.EHOSTUNREACH, errno.ENETUNREACH])
# Of a socket whose address went with the device.
UNREACHABLE_OR_GONE = OneOf([errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EINVAL,
                             errno.EADDRNOTAVAIL])
ECHO_REQUEST = {4: (socket.IPPROTO_ICMP, 8), 6: (socket.IPPROTO_ICMPV6, 128)}
TCP_INFO = 11
TCPI_TRIES = slice(2, 5)  # retransmits, probes, backoff


def lines_of(text):
    return [line for line in text.splitlines() if line]


class Wire:
    """What one of the near host's devices sends."""

    def __init__(self, host, device):
        self.device = device
        self.socket = host.unaware.socket(socket.AF_PACKET, socket.SOCK_DGRAM,
                                          socket.htons(ETH_P_ALL))
        self.socket.bind((device, ETH_P_ALL))
        self.socket.setblocking(False)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def look(self):
        """The packets since the last look, each (is it sent from here, what it is)."""
        with contextlib.suppress(BlockingIOError):
            while True:
                data, address = self.socket.recvfrom(2048)
                what = describe(data)
                if what:
                    yield address[2] == PACKET_OUTGOING, what

    def sent(self):
        """{what: number}"""
        return dict(collections.Counter(what for is_sent, what in self.look() if is_sent))


def describe(data):
    """Text about a packet; None if it is the device's own (reports of groups, and the like)."""
    version = data[0] >> 4
    if version == 4:
        protocol, destination = data[9], socket.inet_ntop(socket.AF_INET, data[16:20])
    elif version == 6:
        protocol, destination = data[6], socket.inet_ntop(socket.AF_INET6, data[24:40])
        if destination.startswith("ff02:"):
            return None
    else:
        return None
    return f"protocol {protocol} to {destination}"


class Scene:
    """A host with a tunnel, whose every packet the far host gets, by one link or the other."""

    def __init__(self, box, without=None):
        self.near, self.far = Host(box, "tunnel-near"), Host(box, "tunnel-far")
        for name in (TUNNEL, UPLINK):
            self.near.ip(LINK.format(name=name, far=self.far.pid))
            for host in (self.near, self.far):
                host.ip(UP.format(name=name))
        self.near.sysctl("ipv4.conf.all.rp_filter", "1")
        self.near.sysctl("ipv4.ping_group_range", "0 0")
        self.far.sysctl("ipv4.conf.all.rp_filter", "0")
        for name in ("default", TUNNEL, UPLINK):
            self.far.sysctl(f"ipv4.conf.{name}.rp_filter", "0")
        self.near.ip(*lines_of(NEAR_NETWORK))
        self.far.ip(*lines_of(FAR_NETWORK))
        with open(os.path.join(SHIPPED, FILE), encoding="utf-8") as file:
            text = file.read()
        self.commands = re.findall(r"^# {5}((?:ip|sysctl) .+)$", text, re.M)
        check("commands in the policy's comments", 11, len(self.commands))
        for command in self.commands:
            if not without or without not in command:
                self.do(command)
        cgroup = box.cgroup.child("tunnel")
        self.agent = box.agent("tunnel")
        self.agent.write(FILE, governed_text(text, cgroup))
        self.agent.start()
        self.app, self.peer = self.near.worker(cgroup), self.far.unaware

    def do(self, command):
        name, _, rest = command.partition(" ")
        if name == "ip":
            self.near.ip(rest)
        else:
            self.near.sysctl(*re.fullmatch(r"-w net\.(.+)=(.+)", rest).groups())

    def wire(self, device):
        return Wire(self.near, device)

    @contextlib.contextmanager
    def server(self, version, kind, protocol=0, address=None):
        """A socket of the far host, bound to any address."""
        with self.peer.socket(FAMILY[version], kind, protocol) as server:
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if kind != socket.SOCK_RAW:
                server.bind((address or ANY[version], PORT))
            if kind == socket.SOCK_STREAM:
                server.listen(16)
            yield server


def echo_request(version):
    """Its checksum counts in IPv4 only, and only on a raw socket; the kernel writes it otherwise."""
    return struct.pack("!BBHHH", ECHO_REQUEST[version][1], 0, 0, 0, 0) + b"ping"


def tcp(scene, version, there, protocol=0):
    with scene.server(version, socket.SOCK_STREAM, protocol) as server:
        for _ in range(COUNT):
            with scene.app.socket(FAMILY[version], socket.SOCK_STREAM, protocol) as client:
                client.connect((there, PORT))
                with server.accept() as accepted:
                    client.sendall(b"question")
                    accepted.recv(8)
                    accepted.sendall(b"answer")
                    client.recv(6)


def mptcp(scene, version, there):
    tcp(scene, version, there, MPTCP)


def udp_connected(scene, version, there):
    with scene.server(version, socket.SOCK_DGRAM) as server:
        for _ in range(COUNT):
            with scene.app.socket(FAMILY[version], socket.SOCK_DGRAM) as client:
                client.connect((there, PORT))
                client.send(b"x")
                server.recv(1)


def udp_unconnected(scene, version, there, protocol=0):
    """The first and the second datagram of a socket."""
    with scene.server(version, socket.SOCK_DGRAM, protocol) as server:
        for _ in range(COUNT):
            with scene.app.socket(FAMILY[version], socket.SOCK_DGRAM, protocol) as client:
                for _ in range(2):
                    client.sendto(b"x", (there, PORT))
                    server.recv(1)


def udp_lite(scene, version, there):
    udp_unconnected(scene, version, there, UDPLITE)


def udp_bound(scene, version, there):
    with scene.server(version, socket.SOCK_DGRAM) as server:
        for _ in range(COUNT):
            with scene.app.socket(FAMILY[version], socket.SOCK_DGRAM) as client:
                client.bind((ANY[version], 0))
                client.sendto(b"x", (there, PORT))
                server.recv(1)


def udp_to_mapped(scene, version, there):
    """IPv4 from a socket that may speak both."""
    if version == 6:
        return
    with scene.server(version, socket.SOCK_DGRAM) as server:
        for _ in range(COUNT):
            with scene.app.socket(socket.AF_INET6, socket.SOCK_DGRAM) as client:
                client.sendto(b"x", (f"::ffff:{there}", PORT))
                server.recv(1)


def ping(scene, version, there):
    protocol, _ = ECHO_REQUEST[version]
    for _ in range(COUNT):
        with scene.app.socket(FAMILY[version], socket.SOCK_DGRAM, protocol) as client:
            client.sendto(echo_request(version), (there, 0))
            client.recv(64)


def raw(scene, version, there):
    with scene.server(version, socket.SOCK_RAW, UNASSIGNED) as server:
        for _ in range(COUNT):
            with scene.app.socket(FAMILY[version], socket.SOCK_RAW, UNASSIGNED) as client:
                client.sendto(b"x", (there, 0))
                server.recv(64)


KINDS = (tcp, mptcp, udp_connected, udp_unconnected, udp_lite, udp_bound, udp_to_mapped, ping, raw)
MAY_LACK = {mptcp: (socket.SOCK_STREAM, MPTCP), udp_lite: (socket.SOCK_DGRAM, UDPLITE)}


def kinds(scene):
    """Those that the kernel has."""
    for kind in KINDS:
        try:
            if kind in MAY_LACK:
                scene.peer.socket(socket.AF_INET, *MAY_LACK[kind]).close()
        except OSError as error:
            check(f"what a kernel without {kind.__name__} says",
                  OneOf([errno.EPROTONOSUPPORT, errno.ENOPROTOOPT, errno.EINVAL]), error.errno)
        else:
            yield kind


def accepted(scene, version, client_address, server_address):
    """Connections from the outside to the service, by a link or the other."""
    with scene.app.socket(FAMILY[version], socket.SOCK_STREAM) as listener:
        listener.bind((server_address, 0))
        listener.listen(16)
        for _ in range(COUNT):
            with scene.peer.socket(FAMILY[version], socket.SOCK_STREAM) as client:
                client.bind((client_address, 0))
                client.connect((server_address, listener.port()))
                with listener.accept() as connection:
                    client.sendall(b"question")
                    connection.recv(8)
                    connection.sendall(b"answer")
                    client.recv(6)


def refused(scene, version):
    """What the kernel answers itself: a reset, and that a port is unreachable."""
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        with scene.peer.socket(FAMILY[version], kind) as client:
            client.bind((OUTSIDE[version], 0))
            try:
                client.connect((OURS[version], 9))
                client.send(b"x")
                client.recv(1)
            except OSError as error:
                check("what a client of a closed port gets", errno.ECONNREFUSED, error.errno)
            else:
                check("a client of a closed port", "refused", "served")


def test_all_through_the_tunnel(box):
    scene = Scene(box)
    with scene.wire(UPLINK) as past, scene.wire(TUNNEL) as through:
        for version in (4, 6):
            for kind in kinds(scene):
                kind(scene, version, OUTSIDE[version])
                check(f"IPv{version}, {kind.__name__}: packets past the tunnel", {}, past.sent())
            for name, address in (("the tunnel", OURS), ("the uplink", UPLINK_OURS)):
                accepted(scene, version, OUTSIDE[version], address[version])
                check(f"IPv{version}, accepted from {name}: packets past the tunnel", {},
                      past.sent())
            refused(scene, version)
            check(f"IPv{version}, answers without a socket: packets past the tunnel", {},
                  past.sent())
            check("packets were seen on the tunnel", True, bool(through.sent()))


def test_exempt_past_the_tunnel(box):
    scene = Scene(box)
    with scene.wire(TUNNEL) as through, scene.wire(UPLINK) as past:
        for version in (4, 6):
            for kind in kinds(scene):
                kind(scene, version, EXEMPT[version])
                check(f"IPv{version}, {kind.__name__}, exempt: packets through the tunnel", {},
                      through.sent())
            accepted(scene, version, EXEMPT[version], UPLINK_OURS[version])
            check(f"IPv{version}, accepted, exempt: packets through the tunnel", {}, through.sent())
            check("packets were seen on the uplink", True, bool(past.sent()))


def check_fails(asked, expected, call):
    """The call says what is wrong."""
    try:
        call()
    except OSError as error:
        check(asked, expected, error.errno or type(error).__name__)
    else:
        check(asked, expected, "no error")


def try_all(scene, version):
    """No kind of socket can send."""
    there, family = OUTSIDE[version], FAMILY[version]
    protocol, _ = ECHO_REQUEST[version]
    for kind, number, data in ((socket.SOCK_STREAM, 0, None), (socket.SOCK_DGRAM, 0, None),
                               (socket.SOCK_DGRAM, 0, b"x"), (socket.SOCK_RAW, UNASSIGNED, b"x"),
                               (socket.SOCK_DGRAM, protocol, echo_request(version))):
        for _ in range(COUNT):
            with scene.app.socket(family, kind, number) as client:
                for _ in range(2 if data else 1):
                    check_fails(f"IPv{version}, socket type {kind.name}, protocol {number}, no tunnel",
                                UNREACHABLE,
                                (lambda: client.sendto(data, (there, 0 if number else PORT))) if data
                                else lambda: client.connect((there, PORT)))


def try_accept(scene, version, past):
    """Clients from outside get no answer past the tunnel."""
    family = FAMILY[version]
    with scene.app.socket(family, socket.SOCK_STREAM) as listener, contextlib.ExitStack() as clients:
        listener.bind((UPLINK_OURS[version], 0))
        listener.listen(16)
        for _ in range(10):
            client = clients.enter_context(scene.peer.socket(family, socket.SOCK_STREAM))
            client.bind((OUTSIDE[version], 0))
            client.setblocking(False)
            check_fails("a connect that does not wait", errno.EINPROGRESS,
                        lambda: client.connect((UPLINK_OURS[version], listener.port())))
        seen = collections.Counter()

        def arrived():
            seen.update(is_sent for is_sent, _ in past.look())
            return seen[False] >= 10

        wait_for("SYNs to come in by the uplink", True, arrived)
        check(f"IPv{version}, a listener without the tunnel: packets past it", 0, seen[True])


class Old:
    """A connection, and a connected datagram socket, from when the tunnel was there."""

    def __init__(self, scene, version, stack):
        self.version = version
        server = stack.enter_context(scene.server(version, socket.SOCK_STREAM, 0,
                                                  OUTSIDE[version]))
        self.stream = stack.enter_context(scene.app.socket(FAMILY[version], socket.SOCK_STREAM))
        self.stream.connect((OUTSIDE[version], PORT))
        stack.enter_context(server.accept())
        self.datagram = stack.enter_context(scene.app.socket(FAMILY[version], socket.SOCK_DGRAM))
        self.datagram.connect((OUTSIDE[version], PORT))
        self.sender = stack.enter_context(scene.app.socket(FAMILY[version], socket.SOCK_DGRAM))
        self.sender.sendto(b"x", (OUTSIDE[version], PORT))

    def tries(self):
        """How often it has sent again what it has, or its errno."""
        try:
            return sum(self.stream.getsockopt(socket.IPPROTO_TCP, TCP_INFO, 8)[TCPI_TRIES])
        except OSError as error:
            return error.errno

    def send(self):
        with contextlib.suppress(OSError):  # it may be told already
            self.stream.send(b"x")
        for _ in range(COUNT):
            check_fails("a connected datagram socket from before", UNREACHABLE_OR_GONE,
                        lambda: self.datagram.send(b"x"))
            check_fails("a datagram socket from before", UNREACHABLE_OR_GONE,
                        lambda: self.sender.sendto(b"x", (OUTSIDE[self.version], PORT)))
        wait_for("a connection from before to send again", True, lambda: self.tries() > 0)


def test_nothing_leaves_while_the_tunnel_is_down(box):
    """Down, and then gone."""
    scene = Scene(box)
    for taking in ("link set wg0 down", "link del wg0"):
        with contextlib.ExitStack() as stack:
            old = [] if taking.endswith("del wg0") else [Old(scene, v, stack) for v in (4, 6)]
            past = stack.enter_context(scene.wire(UPLINK))
            scene.near.ip(taking)
            for one in old:
                one.send()
                check(f"IPv{one.version}, {taking}: packets of older sockets past the tunnel", {},
                      past.sent())
            for version in (4, 6):
                try_all(scene, version)
                check(f"IPv{version}, {taking}: packets past the tunnel", {}, past.sent())
                try_accept(scene, version, past)
            check(f"{taking}: packets past the tunnel at the end", {}, past.sent())


def test_leaks_without_the_last_resort(box):
    """Why the route is there; and this is how a leak looks to the test."""
    scene = Scene(box, without="unreachable")
    scene.near.ip("link set wg0 down")
    for version in (4, 6):
        with scene.wire(UPLINK) as past, scene.server(version, socket.SOCK_DGRAM) as server:
            with scene.app.socket(FAMILY[version], socket.SOCK_DGRAM) as client:
                client.sendto(b"x", (OUTSIDE[version], PORT))
                server.recv(1)
            check(f"IPv{version}: packets past the tunnel",
                  {f"protocol 17 to {OUTSIDE[version]}": 1}, past.sent())
