# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Where an effect can be seen: a socket under test, its peer, and the wire between them.

Nothing here sets an option.  The socket under test belongs to one worker, its peer to another one
that no policy governs.
"""

import contextlib
import dataclasses
import errno
import socket
import struct

from harness import sandbox
from harness.capture import Capture
from harness.packet import SYN
from harness.result import Failure, Skip

TCP_INFO = 11
# struct tcp_info (linux/tcp.h)
TCPI_WSCALE = 6       # u8: sent, received, four bits each
TCPI_RTO = 8          # u32, microseconds
TCPI_SND_MSS = 16     # u32
TCPI_SND_CWND = 80    # u32


@dataclasses.dataclass(frozen=True)
class Family:
    """How both ends are addressed; `client` and `server` differ for v4-mapped peers."""

    name: str
    client: int
    server: int
    target: str      # where a client connects to
    listen: str      # where a server listens
    wildcard: str    # where it listens on every device
    wire: int        # the version of IP on the wire

    def far(self, addresses):
        """How a client writes that one of the addresses by version which is its own."""
        address = addresses[self.wire]
        return f"::ffff:{address}" if self.name == "mapped" else address


IPV4 = Family("ipv4", socket.AF_INET, socket.AF_INET, "127.0.0.1", "127.0.0.1",
              "0.0.0.0", 4)
IPV6 = Family("ipv6", socket.AF_INET6, socket.AF_INET6, "::1", "::1", "::", 6)
# The socket under test is an AF_INET6 one and its peer talks IPv4.
MAPPED_CLIENT = Family("mapped", socket.AF_INET6, socket.AF_INET, "::ffff:127.0.0.1",
                       "127.0.0.1", "0.0.0.0", 4)
MAPPED_SERVER = Family("mapped", socket.AF_INET, socket.AF_INET6, "127.0.0.1", "::",
                       "::", 4)

# Bound to no path: to an abstract address of the kernel's choice.
UNIX = Family("unix", socket.AF_UNIX, socket.AF_UNIX, "", "", "", 0)

# By what the side under test is: the one that begins, or the one that was there.
FAMILIES = {"ipv4": (IPV4, IPV4), "ipv6": (IPV6, IPV6), "mapped": (MAPPED_CLIENT, MAPPED_SERVER),
            "unix": (UNIX, UNIX)}


class Scene:
    """What the effects look at.  `subject` is the socket under test."""

    def __init__(self, subject, port, capture, child=None):
        self.subject, self.port, self.capture = subject, port, capture
        self.make_child, self.accepted = child, None
        self.peer = None

    @property
    def child(self):
        """A listener's first accepted socket; made when it is first asked for."""
        if not self.accepted:
            self.accepted = self.make_child()
        return self.accepted

    def first(self, what, matches):
        """The first captured packet that matches: it has passed before what made us look."""
        for packet in self.capture.packets():
            if matches(packet):
                return packet
        raise Failure("packets on the wire", what, self.capture.packets() or "nothing")

    def syn(self):
        return self.first("a SYN", lambda p: p.is_syn)

    def synack(self):
        return self.first("a SYN-ACK", lambda p: p.is_synack)

    def sent(self, socket_, matches=lambda _: True):
        """The packets with data that a socket sent."""
        local = socket_.port()
        self.first("data", lambda p: p.payload and p.sport == local)
        return [p for p in self.capture.packets()
                if p.sport == local and p.payload and matches(p)]

    def tcp_info(self, socket_, offset, size=4):
        info = socket_.getsockopt(socket.IPPROTO_TCP, TCP_INFO, 240)
        return struct.unpack_from({1: "B", 4: "I"}[size], info, offset)[0]


def talk(one, other):
    """A little each way, so that there is data of both on the wire.

    Two bytes: a receiver may have been told to wait for more than one (SO_RCVLOWAT).  Not more: data
    makes the kernel tune its windows.
    """
    for sender, receiver in ((one, other), (other, one)):
        sender.sendall(b"xy")
        receiver.recv(2)


def listen(stack, worker, family, address=None):
    listener = stack.enter_context(worker.socket(family.server, socket.SOCK_STREAM))
    listener.bind((address or family.listen, 0))
    listener.listen(16)
    return listener


def connect_and_accept(stack, client_worker, listener, family):
    client = stack.enter_context(client_worker.socket(family.client, socket.SOCK_STREAM))
    client.connect((family.target, listener.port()))
    accepted = stack.enter_context(listener.accept())
    talk(client, accepted)
    return client, accepted


@contextlib.contextmanager
def tcp_connect(worker, peer, family, _=None):
    """The subject is a client."""
    with contextlib.ExitStack() as stack:
        listener = listen(stack, peer, family)
        capture = stack.enter_context(Capture(listener.port()))
        client, accepted = connect_and_accept(stack, worker, listener, family)
        scene = Scene(client, listener.port(), capture)
        scene.peer = accepted
        yield scene


@contextlib.contextmanager
def tcp_accept(worker, peer, family, listener=None):
    """The subject is an accepted socket; its listener may have been there before."""
    with contextlib.ExitStack() as stack:
        listener = listener or listen(stack, worker, family)
        capture = stack.enter_context(Capture(listener.port()))
        client, accepted = connect_and_accept(stack, peer, listener, family)
        scene = Scene(accepted, listener.port(), capture)
        scene.peer = client
        yield scene


@contextlib.contextmanager
def tcp_listen(worker, peer, family, _=None):
    """The subject is a listener."""
    with contextlib.ExitStack() as stack:
        listener = listen(stack, worker, family)
        capture = stack.enter_context(Capture(listener.port()))
        scene = Scene(listener, listener.port(), capture)

        def child():
            scene.peer, accepted = connect_and_accept(stack, peer, listener, family)
            return accepted

        scene.make_child = child
        yield scene


@contextlib.contextmanager
def udp_connect(worker, peer, family, _=None):
    """The subject is connected, and was not bound before."""
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(peer.socket(family.server, socket.SOCK_DGRAM))
        server.bind((family.listen, 0))
        capture = stack.enter_context(Capture(server.port()))
        client = stack.enter_context(worker.socket(family.client, socket.SOCK_DGRAM))
        client.connect((family.target, server.port()))
        client.send(b"x")
        server.recv(1)
        yield Scene(client, server.port(), capture)


@contextlib.contextmanager
def udp_listen(worker, peer, family, _=None):
    """The subject is bound, and answers."""
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(worker.socket(family.server, socket.SOCK_DGRAM))
        server.bind((family.listen, 0))
        capture = stack.enter_context(Capture(server.port()))
        client = stack.enter_context(peer.socket(family.client, socket.SOCK_DGRAM))
        client.connect((family.target, server.port()))
        client.send(b"x")
        _, address = server.recvfrom(1)
        server.sendto(b"y", address)
        client.recv(1)
        yield Scene(server, server.port(), capture)


@contextlib.contextmanager
def udp_send(worker, peer, family, _=None):
    """The subject is neither bound nor connected.  What its first send sets acts on the next one."""
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(peer.socket(family.server, socket.SOCK_DGRAM))
        server.bind((family.listen, 0))
        client = stack.enter_context(worker.socket(family.client, socket.SOCK_DGRAM))
        client.sendto(b"x", (family.target, server.port()))
        server.recv(1)
        capture = stack.enter_context(Capture(server.port()))
        client.sendto(b"x", (family.target, server.port()))
        server.recv(1)
        yield Scene(client, server.port(), capture)


@contextlib.contextmanager
def unix_connect(worker, peer, family, _=None):
    with (peer.socket(family.server, socket.SOCK_STREAM) as listener,
          worker.socket(family.client, socket.SOCK_STREAM) as client):
        listener.bind(family.listen)
        listener.listen(1)
        client.connect(listener.getsockname())
        yield Scene(client, None, None)


@contextlib.contextmanager
def unix_send(worker, peer, family, _=None):
    with (peer.socket(family.server, socket.SOCK_DGRAM) as server,
          worker.socket(family.client, socket.SOCK_DGRAM) as client):
        server.bind(family.listen)
        client.sendto(b"x", server.getsockname())
        yield Scene(client, None, None)


IPPROTO_MPTCP, IPPROTO_UDPLITE = 262, 136
# What socket(2) is asked for, by name; a protocol by family where that makes a difference.
NEW = {"tcp": (socket.SOCK_STREAM, 0), "mptcp": (socket.SOCK_STREAM, IPPROTO_MPTCP),
       "udp": (socket.SOCK_DGRAM, 0), "udplite": (socket.SOCK_DGRAM, IPPROTO_UDPLITE),
       "ping": (socket.SOCK_DGRAM, {4: socket.IPPROTO_ICMP, 6: socket.IPPROTO_ICMPV6}),
       "raw": (socket.SOCK_RAW, 253)}


def new_socket(protocol):
    """The subject is new: no call but socket(2) was made on it."""
    kind, number = NEW[protocol]

    @contextlib.contextmanager
    def scene(worker, _, family, __=None):
        asked = number[family.wire] if isinstance(number, dict) else number
        try:
            subject = worker.socket(family.client, kind, asked)
        except OSError as error:
            if error.errno != errno.EPROTONOSUPPORT:
                raise
            raise Skip(f"this kernel has no {protocol} sockets") from error
        with subject:
            yield Scene(subject, None, None)
    return scene


SCENES = {**{("socket", protocol): new_socket(protocol) for protocol in NEW},
          ("connect", "tcp"): tcp_connect, ("accept", "tcp"): tcp_accept,
          ("listen", "tcp"): tcp_listen, ("connect", "udp"): udp_connect,
          ("listen", "udp"): udp_listen, ("send", "udp"): udp_send,
          ("connect", "unix"): unix_connect, ("send", "unix"): unix_send}


@contextlib.contextmanager
def half_open(place, flags=SYN):
    """(the fake peer, the socket under test, its SYN or SYN-ACK): nobody has answered that yet.

    `flags` are those of the peer's SYN.
    """
    version = place.family.wire
    here, there = sandbox.TUN_ADDRESS[version], sandbox.TUN_PEER[version]
    with contextlib.ExitStack() as stack:
        peer = stack.enter_context(place.sandbox.fake_peer)
        if place.role == "connect":
            subject = stack.enter_context(place.worker.socket(place.family.client,
                                                              socket.SOCK_STREAM))
            subject.setblocking(False)
            subject.connect_ex((place.family.far(sandbox.TUN_PEER), 7))
            opening = peer.syn_from(subject.port())
        else:
            subject = place.listener or listen(stack, place.worker, place.family,
                                               place.family.wildcard)
            opening = peer.open(there, here, subject.port(), flags)
        yield peer, subject, opening


class Place:
    """A worker on trial: in one role ("connect", "accept", "listen", or "send": without connect(2)),
    over one protocol and family."""

    def __init__(self, sandbox_, worker, peer, role, protocol, family, listener=None):
        self.sandbox, self.worker, self.peer = sandbox_, worker, peer
        self.role, self.protocol = role, protocol
        self.family = FAMILIES[family][role in ("accept", "listen")]
        self.listener = listener
        self.usual = None
        self.stack = contextlib.ExitStack()

    @property
    def scene(self):
        """The usual one; effects that need another never look at it.

        (functools.cached_property would do, but before Python 3.12 its lock is for all instances.)
        """
        if not self.usual:
            make = SCENES[self.role, self.protocol]
            self.usual = self.stack.enter_context(
                make(self.worker, self.peer, self.family, self.listener))
        return self.usual

    @property
    def kind(self):
        return socket.SOCK_STREAM if self.protocol == "tcp" else socket.SOCK_DGRAM

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stack.close()
