# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Effects of sock_ops' replies: on a SYN or SYN-ACK towards a peer of our own."""

import errno
import socket
import struct
import time

from harness.packet import ACK, CWR, ECE, MSS, SYN
from harness.result import Between, Skip

from .effects import Effect, pump
from .scenes import half_open

TCP_CC_INFO = 26
NV_FIRST_PERIOD = 2.05  # seconds


def opening_repeated(at_least, at_most):
    """Seconds after which a SYN, or a SYN-ACK, comes again where nobody answers it; a busy machine may
    be late to see it."""

    def look(place):
        for _ in range(3):
            with half_open(place) as (peer, _, opening):
                after = peer.repeated_after(opening, at_most + 0.05)
                peer.reset(opening, opening.seq + 1)
            if after is None or after <= at_most:
                break
        return after

    return Effect("seconds until the SYN or SYN-ACK comes again (None: not in time)",
                  Between(at_least, at_most), look, measured=True, needs="far")


def segments(packet, opening):
    """The window that a packet advertises, in segments of the size that its sender announced."""
    return packet.window / opening.options[MSS]


def window_of_opening(expected):

    def look(place):
        with half_open(place) as (peer, _, opening):
            peer.reset(opening, opening.seq + 1)
            return segments(opening, opening)

    return Effect("segments in the window of the SYN or SYN-ACK", expected, look, needs="far")


def window_of_ack(expected):
    """The peer scales no windows, so neither does the ACK that ends the handshake."""

    def look(place):
        with half_open(place) as (peer, _, opening):
            ack = peer.accept(opening)
            peer.reset(opening, ack.seq)
            return segments(ack, opening)

    return Effect("segments in the window of the ACK after the SYN-ACK", expected, look, needs="far")


def ecn_of_opening():
    """A SYN asks for ECN, a SYN-ACK grants it."""

    def look(place):
        with half_open(place, flags=SYN | ECE | CWR) as (peer, _, opening):
            peer.reset(opening, opening.seq + 1)
            asked = CWR if place.role == "connect" else ACK
            return opening.flags & (ECE | asked) == ECE | asked

    return Effect("ECN bits on the SYN or SYN-ACK", True, look, needs="far")


def ecn_of_syn():
    return Effect("ECN bits on the SYN", True,
                  lambda place: place.scene.syn().flags & (ECE | CWR) == ECE | CWR)


def choose_nv(subject):
    try:
        subject.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"nv")
    except OSError as error:
        if error.errno != errno.ENOENT:
            raise
        raise Skip("only the congestion control nv asks for it, and this kernel has none") from None


def least_round_trip(at_least, at_most):
    """tcpv_minrtt, microseconds, after traffic over loopback.

    nv bounds what it measures by the base round trip time, and by four fifths of it; but the first
    sample, doubled and not bounded, stands until two seconds are over (tcpnv_acked, net/ipv4/tcp_nv.c).
    """

    def look(place):
        family = place.family
        ours = place.worker if place.role == "connect" else place.peer
        theirs = place.peer if place.role == "connect" else place.worker
        with (place.socket("server", theirs) as listener, place.socket("client", ours) as client):
            choose_nv(listener)
            choose_nv(client)
            listener.bind((family.listen, 0))
            listener.listen(1)
            client.connect((family.target, listener.port()))
            with listener.accept() as accepted:
                ends = (client, accepted) if place.role == "connect" else (accepted, client)
                end = time.monotonic() + NV_FIRST_PERIOD
                while time.monotonic() < end:
                    pump(*ends, 1 << 16)
                pump(*ends, 1 << 16)
                info = ends[0].getsockopt(socket.IPPROTO_TCP, TCP_CC_INFO, 16)
                return struct.unpack("IIII", info)[3]

    return Effect("tcpv_minrtt", Between(at_least, at_most), look, measured=True, needs="time")
