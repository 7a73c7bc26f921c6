# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Connections to and from the fake peer, from the very first packet on.

The peer may have any address that is routed to the TUN device.
"""

import contextlib
import socket

from . import sandbox
from .packet import CWR, ECE, MSS, SYN
from .result import wait_for

PORT = 7
TCP_INFO = 11
ESTABLISHED = b"\x01"


def family_of(address):
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def route_to_tun(box, *addresses):
    """Until the end of the scope."""
    for address in addresses:
        box.ip("route", "add", address, "dev", sandbox.TUN, "rto_min", "40ms",
               undo=("route", "del", address, "dev", sandbox.TUN))


class Opening:
    """A handshake that has just begun: `first` is the governed side's SYN or SYN-ACK."""

    def __init__(self, peer, subject, first):
        self.peer, self.subject, self.first = peer, subject, first

    @property
    def ecn(self):
        """Whether the SYN asks for ECN, or the SYN-ACK grants it."""
        return self.first.flags & (ECE | CWR) == (ECE | CWR if self.first.is_syn else ECE)

    @property
    def window(self):
        """In segments of the size that the sender announced."""
        return self.first.window / self.first.options[MSS]

    def repeated_after(self, seconds):
        """Seconds until it comes again, None if it does not."""
        return self.peer.repeated_after(self.first, seconds)

    def first_flight(self):
        """Segments that the governed side sends at once when the handshake is over."""
        if self.first.is_syn:
            self.peer.accept(self.first)
            return self.flight_of(self.subject)
        self.peer.establish(self.first)
        with self.subject.accept() as accepted:
            return self.flight_of(accepted)

    def flight_of(self, sender):
        wait_for("the handshake", ESTABLISHED,
                 lambda: sender.getsockopt(socket.IPPROTO_TCP, TCP_INFO, 1))
        sender.setblocking(False)
        sender.send(bytes(60000))
        return self.peer.first_flight(self.first)

    def reset(self):
        self.peer.reset(self.first, self.first.seq + 1)


@contextlib.contextmanager
def connecting(box, worker, there):
    """A socket of the worker on its way to the peer."""
    with box.fake_peer as peer, worker.socket(family_of(there), socket.SOCK_STREAM) as client:
        client.setblocking(False)
        client.connect_ex((there, PORT))
        opening = Opening(peer, client, peer.syn_from(client.port()))
        yield opening
        opening.reset()


@contextlib.contextmanager
def asking(box, listener, there, flags=SYN | ECE | CWR):
    """The peer on its way to a listener; it offers ECN."""
    here = sandbox.TUN_ADDRESS[6 if ":" in there else 4]
    with box.fake_peer as peer:
        first = peer.open(there, here, listener.port(), flags)
        opening = Opening(peer, listener, first)
        yield opening
        opening.reset()


@contextlib.contextmanager
def listening_on_tun(worker, there):
    """A listener that a peer with that address can reach."""
    with worker.socket(family_of(there), socket.SOCK_STREAM) as listener:
        listener.bind((sandbox.TUN_ADDRESS[6 if ":" in there else 4], 0))
        listener.listen(8)
        yield listener


@contextlib.contextmanager
def opening(box, worker, direction, there):
    """`direction`: "connect" or "accept"."""
    if direction == "connect":
        with connecting(box, worker, there) as made:
            yield made
    else:
        with listening_on_tun(worker, there) as listener, asking(box, listener, there) as made:
            yield made
