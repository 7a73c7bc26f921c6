# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Effects of options: how one is seen, and what is expected to be seen.

An effect's look(place) returns what is there; the same look at an ungoverned socket shows the default.
"""

import contextlib
import dataclasses
import errno
import socket
import struct
import sys
import time
import typing

from harness import sandbox
from harness.packet import MSS, WSCALE
from harness.result import PATIENCE, Between, OneOf, wait_for

from .scenes import TCP_INFO, TCPI_RTO, TCPI_SND_CWND, half_open, talk

SO_BINDTODEVICE = 25
TCP_SAVED_SYN = 28
TCP_BPF_IW, TCP_BPF_SNDCWND_CLAMP = 1001, 1002

ROUND_TRIPS = 30


@dataclasses.dataclass(frozen=True)
class Effect:
    """`measured`: two looks at the same default need not be equal.  `needs`: what not every column of
    the table has, see cases.py."""

    what: str
    expected: object
    look: typing.Callable
    measured: bool = False
    needs: str = ""


def getsockopt(level, optname, expected, mask=-1):
    """The application's own getsockopt on the socket under test, unsigned."""
    return Effect(f"getsockopt({level}, {optname})", expected, lambda place: int.from_bytes(
        place.scene.option(level, optname), sys.byteorder) & mask)


def getsockopt_text(level, optname, expected):
    return Effect(f"getsockopt({level}, {optname})", expected,
                  lambda place: text(place.scene.option(level, optname, 16)))


def in_kernel(level, optname, expected):
    """What no application can ask for."""
    return Effect(f"option {optname} of level {level}, as the kernel has it", expected,
                  lambda place: int.from_bytes(place.scene.observed(place.sandbox).getsockopt(
                      level, optname, 4), sys.byteorder))


def text(data):
    return data.split(b"\0")[0].decode()


def syn_option(name, kind, expected):
    """On the SYN of a connecting socket."""
    return Effect(f"{name} on the SYN", expected, lambda place: place.scene.syn().options.get(kind))


def synack_option(name, kind, expected):
    """On the SYN-ACK that a listener's socket answers with."""

    def look(place):
        if place.role == "listen":
            place.scene.child  # has the listener answer a SYN
        return place.scene.synack().options.get(kind)

    return Effect(f"{name} on the SYN-ACK", expected, look)


def syn_mss(expected):
    return syn_option("MSS", MSS, expected)


def synack_mss(expected):
    return synack_option("MSS", MSS, expected)


def syn_wscale(expected):
    return syn_option("window scale", WSCALE, expected)


def synack_wscale(expected):
    return synack_option("window scale", WSCALE, expected)


def of_tcp_info(name, offset, expected):
    return Effect(name, expected, lambda place: place.scene.tcp_info(place.scene.subject, offset),
                  needs="info")


def on_wire(field, expected):
    """A field of the IP header, the same on every packet with data that the socket sends."""

    def look(place):
        return {getattr(p, field) for p in place.scene.sent()}

    return Effect(f"{field} of the packets sent", {expected}, look, needs="data")


def on_syn(field, expected):
    return Effect(f"{field} of the SYN", expected, lambda place: getattr(place.scene.syn(), field))


def on_synack(field, expected):

    def look(place):
        place.scene.child  # has the listener answer a SYN
        return getattr(place.scene.synack(), field)

    return Effect(f"{field} of the SYN-ACK", expected, look)


def flow_label_off(packets):
    """Whether all these packets go without a flow label: by default each flow has one of its own."""
    return all(p.flow_label == 0 for p in packets)


def no_flow_label(on):
    """on: "data", "syn" or "synack"."""

    def look(place):
        scene = place.scene
        if on == "data":
            return flow_label_off(scene.sent())
        if on == "syn":
            return flow_label_off([scene.syn()])
        scene.child  # has the listener answer a SYN
        return flow_label_off([scene.synack()])

    return Effect(f"no flow label on {on} packets", True, look, needs="data" if on == "data" else "")


def retransmission_timeout(at_least, at_most):
    """tcpi_rto, in microseconds, near its lower bound: the round trips on loopback take next to none."""

    def look(place):
        scene = place.scene
        subject = scene.child if place.role == "listen" else scene.subject
        for _ in range(ROUND_TRIPS):  # what was estimated before the bound came down decays
            timeout = scene.tcp_info(subject, TCPI_RTO)
            if timeout <= at_most:
                break
            talk(subject, scene.peer)
        return timeout

    return Effect("tcpi_rto", Between(at_least, at_most), look, measured=True, needs="time")


def keepalive_timer():
    """The kernel has armed the keepalive timer: 2 in the column `tr` of /proc/net/tcp, once all is
    acknowledged."""

    def look(place):
        return wait_for("a timer but that of retransmissions", OneOf([0, 2]), lambda: timer(place))

    def timer(place):
        local, remote = (s.getsockname()[1] for s in (place.scene.subject, place.scene.peer))
        name = "/proc/net/tcp6" if place.family.client == socket.AF_INET6 else "/proc/net/tcp"
        with open(name, encoding="ascii") as table:
            for row in table:
                fields = row.split()
                if fields[1].endswith(f":{local:04X}") and fields[2].endswith(f":{remote:04X}"):
                    return int(fields[5].split(":")[0])
        return None

    return Effect("the timer that runs (2: keepalive)", 2, look, needs="timer")


def saved_syn():
    """The accepted socket can read the SYN's headers back, once."""
    return Effect("getsockopt(TCP_SAVED_SYN) on the accepted socket is a SYN", True, lambda place:
                  len(place.scene.child.getsockopt(socket.IPPROTO_TCP, TCP_SAVED_SYN, 256)) >= 40,
                  needs="own")


def pump(sender, receiver, size):
    """Sends bytes and has them all read at the other end."""
    block = 1 << 15
    for start in range(0, size, block):
        left = min(block, size - start)
        sender.sendall(bytes(left))
        while left:
            left -= len(receiver.recv(left))


def transfer_time(size, at_least):
    """Seconds that it takes to have so many bytes delivered; the best of three, on a busy machine."""

    def look(place):
        scene, best = place.scene, 60
        for _ in range(3):
            start = time.monotonic()
            pump(scene.subject, scene.peer, size)
            best = min(best, round(time.monotonic() - start, 3))
            if best < at_least:
                break
        return best

    return Effect(f"seconds to deliver {size} bytes", Between(at_least, 60), look, measured=True,
                  needs="time")


@contextlib.contextmanager
def far_peer(place):
    """(the fake peer, the sender under test, its first packet): a connection over the TUN device."""
    with half_open(place) as (peer, subject, opening):
        if place.role == "connect":
            peer.accept(opening)
            sender = subject
        else:
            peer.establish(opening)
            sender = subject.accept()
        with sender:
            wait_for("the handshake", True, lambda: established(sender))
            sender.settimeout(5 * PATIENCE)
            # Only the congestion window is to hold it back.
            sender.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 18)
            yield peer, sender, opening


def initial_window(segments):
    """Segments of the first flight towards a peer that acknowledges no data."""

    def look(place):
        with far_peer(place) as (peer, sender, opening):
            sender.send(bytes(50000))
            return peer.first_flight(opening)

    return Effect("segments in the first flight", segments, look, needs="far")


def congestion_window(clamp):
    """The congestion window after traffic that it held back; a listener's: in what it accepts.

    The peer is a slow one: on loopback nothing is ever under way for long, so that the window would
    not matter and the kernel leave it as it is.
    """

    def look(place):
        with far_peer(place) as (peer, sender, opening):
            size = sender.send(bytes(50000))
            peer.drain(opening, size)
            window = struct.unpack_from("I", sender.getsockopt(socket.IPPROTO_TCP, TCP_INFO, 240),
                                        TCPI_SND_CWND)[0]
            peer.reset(opening, opening.seq + 1 + size)
            return window

    return Effect("tcpi_snd_cwnd after traffic", Between(1, clamp), look, measured=True,
                  needs="time")


def established(subject):
    return subject.getsockopt(socket.IPPROTO_TCP, TCP_INFO, 1) == b"\x01"  # tcpi_state


def route(expected_device):
    """The address that a socket sends from when it connects to far away; nobody answers there."""

    def look(place):
        with place.socket("client", place.worker) as subject:
            place.begin(subject, place.family.far(sandbox.FAR_AWAY))
            return subject.getsockname()[0].removeprefix("::ffff:")

    def expected(version):
        return (sandbox.DEVICE_ADDRESS if expected_device else sandbox.OTHER_ADDRESS)[version]

    return Effect("the address that the route gives", OneOf([expected(4), expected(6)]), look)


def bound_device(role):
    """getsockopt(SO_BINDTODEVICE): on a client on its way to far away, or on a bound socket."""

    def look(place):
        family = place.family
        with place.socket("server" if role == "listen" else "client", place.worker) as subject:
            if role == "connect":
                place.begin(subject, family.far(sandbox.FAR_AWAY))
            elif role == "send":
                subject.sendto(b"x", (family.first, 7))
            else:
                subject.bind((family.wildcard, 0))
                if place.transport == "tcp":
                    subject.listen(1)
            return text(subject.getsockopt(socket.SOL_SOCKET, SO_BINDTODEVICE, 16))

    return Effect("getsockopt(SO_BINDTODEVICE)", sandbox.DEVICE, look)


def device_of_new():
    return Effect("getsockopt(SO_BINDTODEVICE)", sandbox.DEVICE, lambda place: text(
        place.scene.subject.getsockopt(socket.SOL_SOCKET, SO_BINDTODEVICE, 16)))


def refused_route():
    """errno of a send to where only marked sockets may not send, the first one having gone."""

    def look(place):
        with place.socket("client", place.worker) as subject:
            subject.sendto(b"x", (place.family.first, 7))
            try:
                subject.sendto(b"y", (place.family.far(sandbox.FORBIDDEN), 7))
            except OSError as error:
                return error.errno
        return 0

    return Effect("errno of a send by the marked route", errno.EACCES, look)


def deaf_sender():
    """A sender that is bound to another device does not hear an answer that comes in over lo."""

    def look(place):
        family = place.family
        with (place.socket("client", place.worker) as subject,
              place.socket("server", place.peer) as peer):
            subject.sendto(b"x", (family.first, 7))
            peer.bind((family.listen, 0))
            address = family.target if family.server == socket.AF_INET6 else "127.0.0.1"
            return unreachable(peer, subject, (address, subject.port()))

    return Effect("deaf to an answer over loopback", True, look, needs="ports")


def deaf_on_loopback():
    """What is bound to another device does not hear what comes in over lo."""

    def look(place):
        family = place.family
        with (place.socket("server", place.worker) as server,
              place.socket("client", place.peer) as client):
            server.bind((family.wildcard, 0))
            if place.transport == "tcp":
                server.listen(1)
            target = (family.target, server.port())
            return refused(client, target) if place.transport == "tcp" else unreachable(
                client, server, target)

    return Effect("deaf to loopback", True, look, needs="ports")


def refused(client, target):
    try:
        client.connect(target)
    except ConnectionRefusedError:
        return True
    return False


def unreachable(client, server, target):
    """Sends until the server has heard it, or the kernel has said that nobody listens."""
    server.setblocking(False)
    client.connect(target)
    answers = []

    def answered():
        try:
            client.send(b"x")
            server.recv(1)
            answers.append(False)
        except ConnectionRefusedError:
            answers.append(True)
        except BlockingIOError:
            pass
        return bool(answers)

    wait_for("a datagram to be heard or refused", True, answered)
    return answers[0]


def bind_twice():
    """Two sockets bind to one address at the same time (and listen, over TCP)."""

    def look(place):
        family = place.family
        with (place.socket("server", place.worker) as one,
              place.socket("server", place.worker) as other):
            one.bind((family.listen, 0))
            try:
                other.bind((family.listen, one.port()))
                if place.transport == "tcp":
                    one.listen(1)
                    other.listen(1)
            except OSError as error:
                return error.errno
        return 0

    return Effect("errno of a second bind(2) to one address", 0, look, needs="ports")


def bind_over_time_wait():
    """A server that closed its connections first, and is started again on its port."""

    def look(place):
        family = place.family
        with place.socket("server", place.worker) as listener:
            listener.bind((family.listen, 0))
            port = listener.port()
            listener.listen(1)
            with place.socket("client", place.peer) as client:
                client.connect((family.target, port))
                accepted = listener.accept()
                accepted.close()  # the first FIN is ours: so is TIME_WAIT
                client.recv(1)
        with place.socket("server", place.worker) as again:
            try:
                again.bind((family.listen, port))
            except OSError as error:
                return error.errno
        return 0

    return Effect("errno of bind(2) over TIME_WAIT", 0, look, needs="own")


def bound_getsockopt(optname, expected):
    """getsockopt of a socket that was only bound."""

    def look(place):
        with place.socket("server", place.worker) as subject:
            subject.bind((place.family.listen, 0))
            return subject.sockopt(socket.SOL_SOCKET, optname)

    return Effect(f"getsockopt(SOL_SOCKET, {optname})", expected, look, needs="own")
