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
import subprocess
import threading

from harness import sandbox
from harness.capture import Capture
from harness.packet import MPTCP, SYN
from harness.result import Failure, Skip, check, wait_for
from harness.tcp_options import Subflow

TCP_INFO, TCP_FASTOPEN, TCP_FASTOPEN_CONNECT = 11, 23, 30
MSG_FASTOPEN = 0x20000000
IPPROTO_MPTCP, IPPROTO_UDPLITE = 262, 136
# struct tcp_info (linux/tcp.h)
TCPI_RTO = 8            # u32, microseconds
TCPI_SND_MSS = 16       # u32
TCPI_SND_CWND = 80      # u32


@dataclasses.dataclass(frozen=True)
class Family:
    """How both ends are addressed; `client` and `server` are families of sockets."""

    name: str
    client: int
    server: int
    target: str      # where a client connects to
    listen: str      # where a server listens
    wildcard: str    # where it listens on every device
    wire: int        # the version of IP on the wire
    bound: str = ""  # where a client is bound before it connects
    before: str = ""  # where an unconnected sender sends first, if not to the target

    def far(self, addresses):
        """How a client writes that one of the addresses by version which is its own."""
        mapped = self.client == socket.AF_INET6 and self.wire == 4
        return f"::ffff:{addresses[4]}" if mapped else addresses[self.wire]

    @property
    def first(self):
        return self.before or self.target


INET, INET6 = socket.AF_INET, socket.AF_INET6
IPV4 = Family("ipv4", INET, INET, "127.0.0.1", "127.0.0.1", "0.0.0.0", 4)
IPV6 = Family("ipv6", INET6, INET6, "::1", "::1", "::", 6)
MAPPED = "::ffff:127.0.0.1"
# The socket under test is an AF_INET6 one and its peer talks IPv4.
MAPPED_CLIENT = Family("mapped", INET6, INET, MAPPED, "127.0.0.1", "0.0.0.0", 4)
MAPPED_SERVER = Family("mapped", INET, INET6, "127.0.0.1", "::", "::", 4)
DUAL_SERVER = Family("dual", INET6, INET6, "::1", "::", "::", 6)

# Bound to no path: to an abstract address of the kernel's choice.
UNIX = Family("unix", socket.AF_UNIX, socket.AF_UNIX, "", "", "", 0)
NETLINK = Family("netlink", socket.AF_NETLINK, socket.AF_NETLINK, "", "", "", 0)
PACKET = Family("packet", socket.AF_PACKET, socket.AF_PACKET, "", "", "", 0)

# By what the side under test is: the one that begins, or the one that was there.
FAMILIES = {
    "ipv4": (IPV4, IPV4), "ipv6": (IPV6, IPV6), "mapped": (MAPPED_CLIENT, MAPPED_SERVER),
    "unix": (UNIX, UNIX), "netlink": (NETLINK,), "packet": (PACKET,),
    # An IPv6 socket that speaks both; by what it speaks when it is looked at.
    "dual-ipv4": (Family("dual", INET6, INET6, MAPPED, "::", "::", 4, before="::1"), MAPPED_SERVER),
    "dual-ipv6": (Family("dual", INET6, INET6, "::1", "::", "::", 6, before=MAPPED), DUAL_SERVER),
    # connect(2) to any address; a socket bound to a v4-mapped one comes to speak IPv4.
    "any-ipv4": (dataclasses.replace(IPV4, target="0.0.0.0"),),
    "any-ipv6": (dataclasses.replace(IPV6, target="::"),),
    "any-mapped": (dataclasses.replace(MAPPED_CLIENT, target="::", bound=MAPPED),),
}


@dataclasses.dataclass(frozen=True)
class Way:
    """How connections come about other than by connect(2) between two of a kind."""

    client: tuple = ()       # what the client sets: arguments of setsockopt
    server: tuple = ()       # what the listener sets
    flags: int = None        # of the sendto(2) that connects
    peer_protocol: str = ""  # the peer's, if it is another one


FAST_OPEN = (socket.IPPROTO_TCP, TCP_FASTOPEN, 16)
WAYS = {
    "": Way(),
    "fastopen": Way(server=FAST_OPEN, flags=MSG_FASTOPEN),
    "fastopen-connect": Way(client=(socket.IPPROTO_TCP, TCP_FASTOPEN_CONNECT, 1), server=FAST_OPEN),
    "plain": Way(peer_protocol="tcp"),
}
EARLY = b"ab"  # what goes with the SYN

# What socket(2) is asked for, by name; a protocol by family where that makes a difference.
NEW = {"tcp": (socket.SOCK_STREAM, 0), "mptcp": (socket.SOCK_STREAM, IPPROTO_MPTCP),
       "udp": (socket.SOCK_DGRAM, 0), "udplite": (socket.SOCK_DGRAM, IPPROTO_UDPLITE),
       "ping": (socket.SOCK_DGRAM, {INET: socket.IPPROTO_ICMP, INET6: socket.IPPROTO_ICMPV6}),
       "raw": (socket.SOCK_RAW, 253), "unix": (socket.SOCK_STREAM, 0),
       "netlink": (socket.SOCK_RAW, 0), "packet": (socket.SOCK_RAW, 0)}


class Scene:
    """What the effects look at.  `subject` is the socket under test; `subflow` is what it is about if
    that is an MPTCP socket, whose own options are something else."""

    def __init__(self, subject, capture=None, peer=None, child=None, subflow=None):
        self.subject, self.capture, self.peer = subject, capture, peer
        self.make_child, self.accepted = child, None
        self.subflow = subflow

    def option(self, level, optname, size=4):
        return (self.subflow or self.subject).getsockopt(level, optname, size)

    def observed(self, box):
        return self.subflow or Subflow(box, self.subject.port(), self.peer.port())

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

    def is_own(self, packet):
        """Is it the subject's, and not that of another subflow of the connection?"""
        return not self.subflow or not self.subflow.ports[1] or (
            sorted(self.subflow.ports) == sorted((packet.sport, packet.dport)))

    def syn(self):
        return self.first("a SYN", lambda p: p.is_syn and self.is_own(p))

    def synack(self):
        return self.first("a SYN-ACK", lambda p: p.is_synack and self.is_own(p))

    def sent(self):
        """The packets with data that the subject sent."""
        local = self.subject.port()
        self.first("data", lambda p: p.payload and p.sport == local)
        return [p for p in self.capture.packets() if p.sport == local and p.payload]

    def tcp_info(self, socket_, offset):
        info = socket_.getsockopt(socket.IPPROTO_TCP, TCP_INFO, 240)
        return struct.unpack_from("I", info, offset)[0]


def talk(one, other):
    """A little each way, so that there is data of both on the wire.

    Two bytes: a receiver may have been told to wait for more than one (SO_RCVLOWAT).  Not more: data
    makes the kernel tune its windows.
    """
    for sender, receiver in ((one, other), (other, one)):
        sender.sendall(b"xy")
        receiver.recv(2)


def listen(stack, place, worker, address=None):
    listener = stack.enter_context(place.socket("server", worker))
    listener.bind((address or place.family.listen, 0))
    listener.listen(16)
    return listener


def connect_and_accept(stack, place, client_worker, listener):
    client = stack.enter_context(place.socket("client", client_worker))
    early = place.connect(client, listener.port())
    accepted = stack.enter_context(listener.accept())
    if early:
        check("what went with the SYN", early, accepted.recv(len(early)))
    talk(client, accepted)
    return client, accepted


def check_opening(place, packets):
    """That the connection came about in the way that it should."""
    syn, synack = (next(filter(kind, packets)) for kind in (lambda p: p.is_syn, lambda p: p.is_synack))
    early = len(EARLY) if place.way.server else 0
    check("bytes with the SYN, and of these acknowledged", (early, early),
          (syn.payload, synack.ack - syn.seq - 1 & 0xFFFFFFFF))
    check("an offer and an answer of MPTCP",
          2 if place.protocol == "mptcp" and not place.way.peer_protocol else 0,
          (MPTCP in syn.options) + (MPTCP in synack.options))


@contextlib.contextmanager
def tcp_connection(place):
    """The subject is a client, or an accepted socket; its listener may have been there before."""
    connects = place.role == "connect"
    ours, theirs = (place.worker, place.peer) if connects else (place.peer, place.worker)
    with contextlib.ExitStack() as stack:
        listener = place.listener or listen(stack, place, theirs)
        capture = stack.enter_context(Capture(listener.port()))
        ends = connect_and_accept(stack, place, ours, listener)
        check_opening(place, capture.packets())
        subject, peer = ends if connects else ends[::-1]
        subflow = None
        if place.protocol == "mptcp" and not place.way.peer_protocol:
            subflow = Subflow(place.sandbox, subject.port(), peer.port())
        yield Scene(subject, capture, peer, subflow=subflow)


@contextlib.contextmanager
def tcp_listen(place):
    """The subject is a listener."""
    with contextlib.ExitStack() as stack:
        listener = listen(stack, place, place.worker)
        capture = stack.enter_context(Capture(listener.port()))
        scene = Scene(listener, capture,
                      subflow=Subflow(place.sandbox, listener.port(), 0)
                      if place.protocol == "mptcp" else None)

        def child():
            scene.peer, accepted = connect_and_accept(stack, place, place.peer, listener)
            return accepted

        scene.make_child = child
        yield scene


@contextlib.contextmanager
def self_connect(place):
    """The subject is its own peer."""
    with place.socket("client", place.worker) as one:
        one.bind((place.family.listen, 0))
        with Capture(one.port()) as capture:
            one.connect((place.family.listen, one.port()))
            talk(one, one)
            yield Scene(one, capture, one)


@contextlib.contextmanager
def join(place):
    """The subject's is the second subflow of an MPTCP connection, which the kernel opens by itself."""
    connects, address = place.role == "connect", sandbox.OTHER_ADDRESS[place.family.wire]
    ours, theirs = (place.worker, place.peer) if connects else (place.peer, place.worker)
    with contextlib.ExitStack() as stack:
        listener = listen(stack, place, theirs)
        capture = stack.enter_context(Capture(listener.port()))
        with second_subflows(address):
            ends = connect_and_accept(stack, place, ours, listener)
            ports = joined(capture, address)
        subject, peer = ends if connects else ends[::-1]
        yield Scene(subject, capture, peer, subflow=Subflow(
            place.sandbox, *(ports if connects else ports[::-1])))


def joined(capture, address):
    """The ports, the client's first, of the subflow from the address, once that was answered."""
    def found():
        return [(p.dport, p.sport) for p in capture.packets()
                if p.destination == address and not p.is_synack]

    wait_for("an answer on the second subflow", True, lambda: bool(found()))
    return found()[0]


SUBFLOWS = threading.Lock()


@contextlib.contextmanager
def second_subflows(address):
    """A new MPTCP connection gets a second subflow, from this address."""
    def limit(number):
        subprocess.run(["ip", "mptcp", "limits", "set", "subflow", number, "add_addr_accepted", "0"],
                       check=True)

    subprocess.run(["ip", "mptcp", "endpoint", "add", address, "subflow"], check=False,
                   stderr=subprocess.DEVNULL)  # to take it away would take the subflow as well
    with SUBFLOWS:
        limit("1")
        try:
            yield
        finally:
            limit("0")


@contextlib.contextmanager
def udp_connect(place):
    """The subject is connected, and was not bound before."""
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(place.socket("server", place.peer))
        server.bind((place.family.listen, 0))
        capture = stack.enter_context(Capture(server.port()))
        client = stack.enter_context(place.socket("client", place.worker))
        place.connect(client, server.port())
        client.send(b"x")
        server.recv(1)
        yield Scene(client, capture)


@contextlib.contextmanager
def udp_listen(place):
    """The subject is bound, and answers."""
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(place.socket("server", place.worker))
        server.bind((place.family.listen, 0))
        capture = stack.enter_context(Capture(server.port()))
        client = stack.enter_context(place.socket("client", place.peer))
        place.connect(client, server.port())
        client.send(b"x")
        _, address = server.recvfrom(1)
        server.sendto(b"y", address)
        client.recv(1)
        yield Scene(server, capture)


@contextlib.contextmanager
def udp_send(place):
    """The subject is neither bound nor connected.  What its first send sets acts on the next one."""
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(place.socket("server", place.peer))
        server.bind((place.family.listen, 0))
        client = stack.enter_context(place.socket("client", place.worker))
        client.sendto(b"x", (place.family.first, server.port()))
        server.recv(1)
        capture = stack.enter_context(Capture(server.port()))
        client.sendto(b"x", (place.family.target, server.port()))
        server.recv(1)
        yield Scene(client, capture)


def echo_to(place, subject):
    """An echo request, to a port where there are ports."""
    request = struct.pack("!BBHHH", {4: 8, 6: 128}[place.family.wire], 0, 0, 1, 1)
    subject.sendto(request, (place.family.target, 7 if place.protocol == "udplite" else 0))


@contextlib.contextmanager
def used(place):
    """The subject has sent, was connected, and has sent again."""
    with place.socket("client", place.worker) as subject:
        echo_to(place, subject)
        subject.connect((place.family.target, 7))
        echo_to(place, subject)
        yield Scene(subject)


@contextlib.contextmanager
def bound(place):
    """The subject was bound, and has sent."""
    with place.socket("server", place.worker) as subject:
        subject.bind((place.family.listen, 0))
        echo_to(place, subject)
        yield Scene(subject)


@contextlib.contextmanager
def new(place):
    """No call but socket(2) was made on the subject."""
    with place.socket("client", place.worker) as subject:
        yield Scene(subject)


@contextlib.contextmanager
def unix_connect(place):
    with (place.peer.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener,
          place.worker.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client):
        listener.bind("")
        listener.listen(1)
        client.connect(listener.getsockname())
        yield Scene(client)


@contextlib.contextmanager
def unix_send(place):
    with (place.peer.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server,
          place.worker.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client):
        server.bind("")
        client.sendto(b"x", server.getsockname())
        yield Scene(client)


SCENES = {("connect", "tcp"): tcp_connection, ("accept", "tcp"): tcp_connection,
          ("listen", "tcp"): tcp_listen, ("connect", "udp"): udp_connect,
          ("listen", "udp"): udp_listen, ("send", "udp"): udp_send,
          ("connect", "unix"): unix_connect, ("send", "unix"): unix_send,
          "new": new, "used": used, "bound": bound, "self": self_connect, "join": join}


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
            subject = stack.enter_context(place.socket("client", place.worker))
            place.begin(subject, place.family.far(sandbox.TUN_PEER))
            opening = peer.syn_from(subject.port())
        else:
            subject = place.listener or listen(stack, place, place.worker, place.family.wildcard)
            early = EARLY if place.way.server else b""
            opening = peer.open(there, here, subject.port(), flags, early)
        yield peer, subject, opening


class Place:
    """A worker on trial, in one column of the table: see cases.Look."""

    def __init__(self, sandbox_, worker, peer, look, family, listener=None):
        self.sandbox, self.worker, self.peer = sandbox_, worker, peer
        self.role, self.protocol, self.transport = look.role, look.protocol, look.transport
        self.way, self.make = WAYS[look.way or ""], look.scene or (look.role, look.transport)
        self.family = FAMILIES[family][look.role in ("accept", "listen")]
        self.listener = listener
        self.usual = None
        self.stack = contextlib.ExitStack()

    @property
    def scene(self):
        """The usual one; effects that need another never look at it.

        (functools.cached_property would do, but before Python 3.12 its lock is for all instances.)
        """
        if not self.usual:
            self.usual = self.stack.enter_context(SCENES[self.make](self))
        return self.usual

    def socket(self, end, worker):
        """A new socket of the worker; end: "client" or "server"."""
        family, protocol = getattr(self.family, end), self.protocol
        if worker is self.peer and self.way.peer_protocol:
            protocol = self.way.peer_protocol
        kind, number = NEW[protocol]
        try:
            made = worker.socket(family, kind, number[family] if isinstance(number, dict) else number)
        except OSError as error:
            if error.errno != errno.EPROTONOSUPPORT:
                raise
            raise Skip(f"this kernel has no {protocol} sockets") from error
        if getattr(self.way, end):
            made.setsockopt(*getattr(self.way, end))
        return made

    def connect(self, client, port, address=None):
        """Connects; returns what went with the SYN."""
        target = address or self.family.target, port
        if self.family.bound and not address:
            client.bind((self.family.bound, 0))
        if self.way.flags:
            client.sendto(EARLY, self.way.flags, target)
        else:
            client.connect(target)
            if self.way.client:
                client.send(EARLY)
        return EARLY if self.way.flags or self.way.client else b""

    def begin(self, client, address):
        """Sets out to connect to where nobody may answer."""
        client.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            self.connect(client, 7, address)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stack.close()
