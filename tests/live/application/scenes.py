# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""The lives of sockets, step by step, and where in them a policy has its moments.

A scene is a generator: it yields the name of a step and the socket as it is then.  At each step the
application may set options.
"""

import contextlib
import dataclasses
import errno
import socket
import typing

from harness.result import Skip
from harness.tcp_options import Subflow

INET, INET6, UNIX = socket.AF_INET, socket.AF_INET6, socket.AF_UNIX
STREAM, DATAGRAM, RAW = socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_RAW
IPPROTO_UDPLITE, IPPROTO_MPTCP = 136, 262
IPV6_V6ONLY = (socket.IPPROTO_IPV6, 26)

# (family of the governed side, of its peer, where they talk)
FAMILIES = {"ipv4": (INET, INET, "127.0.0.1"), "ipv6": (INET6, INET6, "::1"),
            "mapped": (INET6, INET, "::ffff:127.0.0.1"), "unix": (UNIX, UNIX, "")}
PLAIN = "127.0.0.1"  # of a mapped address


def new(worker, family, kind, protocol=0):
    try:
        return worker.socket(family, kind, protocol)
    except OSError as error:
        if error.errno != errno.EPROTONOSUPPORT:
            raise
        raise Skip(f"this kernel has no such sockets: {family}, {kind}, {protocol}") from error


class Place:
    """Where a scene plays; its sockets are closed with it."""

    def __init__(self, box, worker, peer, family, protocol=0):
        self.box, self.worker, self.peer, self.protocol = box, worker, peer, protocol
        self.family, self.peer_family, self.address = FAMILIES[family]
        self.peer_address = PLAIN if family == "mapped" else self.address
        self.stack = contextlib.ExitStack()

    def socket(self, kind=STREAM, protocol=None):
        return self.stack.enter_context(new(self.worker, self.family, kind,
                                            self.protocol if protocol is None else protocol))

    def peer_socket(self, kind=STREAM):
        return self.stack.enter_context(new(self.peer, self.peer_family, kind, self.protocol))

    def peer_listener(self):
        listener = self.peer_socket()
        listener.bind("" if self.family == UNIX else (self.peer_address, 0))
        listener.listen(4)
        return listener

    def target(self, listener):
        return listener.getsockname() if self.family == UNIX else (self.address, listener.port())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stack.close()


def connect(place):
    listener, client = place.peer_listener(), place.socket()
    yield "new", client
    client.connect(place.target(listener))
    yield "given", client


def bound_connect(place):
    """Bound to a port before it connects."""
    listener, client = place.peer_listener(), place.socket()
    yield "new", client
    client.bind((place.address, 0))
    client.connect(place.target(listener))
    yield "given", client


def listen(place):
    listener = place.socket()
    yield "new", listener
    listener.bind((place.address, 0))
    listener.listen(4)
    yield "given", listener


def accept(place):
    """What the application sets at first it sets on the listener."""
    listener = place.socket()
    yield "new", listener
    listener.bind((place.address if place.peer_address == place.address else "::", 0))
    listener.listen(4)
    yield "listening", listener
    client = place.peer_socket()
    client.connect((place.peer_address, listener.port()))
    yield "given", place.stack.enter_context(listener.accept())


def udp_connect(place):
    server, client = place.peer_socket(DATAGRAM), place.socket(DATAGRAM)
    server.bind((place.peer_address, 0))
    yield "new", client
    client.connect(place.target(server))
    yield "given", client


def udp_bind(place):
    server = place.socket(DATAGRAM)
    yield "new", server
    server.bind((place.address, 0))
    yield "given", server


def udp_send(place):
    """Neither bound nor connected."""
    server, sender = place.peer_socket(DATAGRAM), place.socket(DATAGRAM)
    if place.family != UNIX:
        server.bind((place.peer_address, 0))
    else:
        server.bind("")
    yield "new", sender
    sender.sendto(b"x", place.target(server))
    yield "given", sender


def other(kind, protocols):
    """Sockets that get what socket(2) brings, and nothing else."""

    def play(place):
        protocol = protocols[place.family] if isinstance(protocols, dict) else protocols
        one = place.socket(kind, protocol)
        yield "new", one
        with contextlib.suppress(ConnectionRefusedError):
            one.connect((place.address, 7))
        yield "given", one

    return play


class MptcpSocket:
    """An MPTCP socket; what it has is what its subflow has, where applications cannot see that."""

    def __init__(self, box, one, peer):
        self.one, self.subflow = one, Subflow(box, one.port(), peer.port() if peer else 0)

    def set_all(self, *arguments):
        return self.one.set_all(*arguments)

    def get_all(self, options):
        return self.subflow.get_all(options)


def mptcp_connect(place):
    listener, client = place.peer_listener(), place.socket()
    yield "new", client
    client.connect(place.target(listener))
    accepted = place.stack.enter_context(listener.accept())
    yield "given", MptcpSocket(place.box, client, accepted)


def mptcp_accept(place):
    listener = place.socket()
    yield "new", listener
    listener.bind((place.address, 0))
    listener.listen(4)
    yield "listening", MptcpSocket(place.box, listener, None)
    client = place.peer_socket()
    client.connect((place.peer_address, listener.port()))
    yield "given", MptcpSocket(place.box, place.stack.enter_context(listener.accept()), client)


@dataclasses.dataclass(frozen=True, eq=False)
class Scene:
    """`moments`: {step: (direction, what the option table's stages that are reached there begin with)}.
    `socket`: whether socket(2) gives what it can."""

    name: str
    play: typing.Callable
    family: str
    transport: str
    moments: dict
    socket: bool = True
    protocol: int = 0

    @property
    def steps(self):
        return ("new", *self.moments) if self.moments else ("new", "given")


CONNECT, ACCEPT = ("connect", ("tcp-connect", "tcp-active")), ("accept", ("tcp-passive",))
LISTEN = ("listen", ("tcp-bind", "tcp-listen"))
PINGS = {INET: socket.IPPROTO_ICMP, INET6: socket.IPPROTO_ICMPV6}


def tcp(name, play, family, moments, protocol=0):
    return Scene(f"{name}/{'mptcp' if protocol else 'tcp'}/{family}", play, family, "tcp", moments,
                 protocol=protocol)


def udp(name, play, family, direction, stage):
    return Scene(f"{name}/udp/{family}", play, family, "udp", {"given": (direction, (stage,))})


SCENES = (
    *(tcp("connect", connect, family, {"given": CONNECT}) for family in ("ipv4", "ipv6", "mapped")),
    tcp("bound-connect", bound_connect, "ipv4", {"given": CONNECT}),
    *(tcp("listen", listen, family, {"given": LISTEN}) for family in ("ipv4", "ipv6")),
    *(tcp("accept", accept, family, {"listening": LISTEN, "given": ACCEPT})
      for family in ("ipv4", "ipv6", "mapped")),
    tcp("connect", mptcp_connect, "ipv4", {"given": CONNECT}, IPPROTO_MPTCP),
    tcp("accept", mptcp_accept, "ipv4", {"listening": LISTEN, "given": ACCEPT}, IPPROTO_MPTCP),
    *(udp("connect", udp_connect, family, "connect", "udp-connect")
      for family in ("ipv4", "ipv6", "mapped")),
    *(udp("bound", udp_bind, family, "listen", "udp-bind") for family in ("ipv4", "ipv6")),
    *(udp("send", udp_send, family, "connect", "udp-send") for family in ("ipv4", "ipv6")),
    *(Scene(f"other/{name}/{family}", other(kind, protocol), family, name, {})
      for name, kind, protocol in (("raw", RAW, 253), ("ping", DATAGRAM, PINGS),
                                   ("udplite", DATAGRAM, IPPROTO_UDPLITE))
      for family in ("ipv4", "ipv6")),
    Scene("connect/unix/unix", connect, "unix", "unix", {"given": ("connect", ("unix",))}, socket=False),
    Scene("send/unix/unix", udp_send, "unix", "unix", {"given": ("connect", ("unix",))}, socket=False),
)
