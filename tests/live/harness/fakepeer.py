# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""A TCP peer of our own behind a TUN device: it acknowledges when a test wants it to.

What the kernel sends before its first retransmission is the first flight: the initial window.  The
peer offers no SACK, so that no tail loss probe adds a segment to it.
"""

import fcntl
import itertools
import os
import selectors
import struct
import threading
import time

from .packet import ACK, RST, SYN, make_tcp, parse
from .result import DEADLINE, Failure

TUNSETIFF = 0x400454CA
IFF_TUN, IFF_NO_PI = 0x0001, 0x1000

MSS = 1000
SYN_OPTIONS = struct.pack("!BBH", 2, 4, MSS)
SEQ = 1000


def next_seq(opening):
    """The peer's, after a SYN or SYN-ACK of the kernel's: the peer's SYN may have brought data."""
    return opening.ack if opening.is_synack else SEQ + 1


def next_ack(opening):
    return (opening.seq + 1 + opening.payload) & 0xFFFFFFFF


class FakePeer:
    """Use it as a context manager: one connection at a time.  Each comes from a port of its own."""

    def __init__(self, device):
        self.fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        fcntl.ioctl(self.fd, TUNSETIFF,
                    struct.pack("16sH22x", device.encode(), IFF_TUN | IFF_NO_PI))
        self.selector = selectors.DefaultSelector()
        self.selector.register(self.fd, selectors.EVENT_READ)
        self.lock = threading.Lock()
        self.ports = itertools.count(2000)

    def close(self):
        self.selector.close()
        os.close(self.fd)

    def __enter__(self):
        self.lock.acquire()
        return self

    def __exit__(self, *_):
        self.lock.release()

    def next(self, matches, seconds):
        """The next packet that matches, None if none comes; everything else on the device is noise."""
        deadline = time.monotonic() + seconds
        while self.selector.select(max(0, deadline - time.monotonic())):
            packet = parse(os.read(self.fd, 65536))
            if packet and matches(packet):
                return packet
        return None

    def wait(self, what, matches):
        packet = self.next(matches, DEADLINE)
        if not packet:
            raise Failure(f"{what} on the TUN device", "a packet", "none")
        return packet

    def repeated_after(self, first, seconds):
        """Seconds until a packet that has just come comes again; None: not in so many seconds."""
        start = time.monotonic()
        again = self.next(lambda p: (p.source, p.sport, p.dport, p.seq) == (
            first.source, first.sport, first.dport, first.seq), seconds)
        return round(time.monotonic() - start, 4) if again else None

    def send(self, to, seq, ack, flags, options=b""):
        """A segment in the direction opposite to that of the packet `to`."""
        os.write(self.fd, make_tcp(to.destination, to.source, to.dport, to.sport, seq, ack, flags,
                                   options))

    def syn_from(self, port):
        """The SYN of the socket with this port; nobody answers it yet."""
        return self.wait("a SYN", lambda p: p.is_syn and p.sport == port)

    def accept(self, syn):
        """Takes the connection that the kernel opens with this SYN; returns its ACK."""
        self.send(syn, SEQ, next_ack(syn), SYN | ACK, SYN_OPTIONS)
        return self.wait("an ACK", lambda p: p.sport == syn.sport and p.flags & (SYN | ACK) == ACK)

    def open(self, source, destination, port, flags=SYN, data=b""):
        """Asks a listener for a connection; returns its SYN-ACK, which it does not acknowledge yet."""
        sport = next(self.ports)
        self.send_syn(source, destination, sport, port, flags, data)
        return self.wait("a SYN-ACK", lambda p: p.is_synack and p.dport == sport)

    def send_syn(self, source, destination, sport, port, flags, data=b""):
        os.write(self.fd, make_tcp(source, destination, sport, port, SEQ, 0, flags, SYN_OPTIONS,
                                   data=data))

    def establish(self, synack):
        self.send(synack, next_seq(synack), next_ack(synack), ACK)

    def first_flight(self, of):
        """Segments with data, from the sender of packet `of`, before it repeats one."""
        seen = set()
        while True:
            packet = self.wait("data", lambda p: p.payload and p.sport == of.sport
                               and p.dport == of.dport)
            if packet.seq in seen:
                self.reset(of, packet.seq)
                return len(seen)
            seen.add(packet.seq)

    def drain(self, of, size):
        """Acknowledges each segment of the sender of packet `of`, until so many bytes have come."""
        expected = next_ack(of)
        while size > 0:
            packet = self.wait("data", lambda p: p.payload and p.sport == of.sport
                               and p.dport == of.dport)
            if packet.seq == expected:
                expected = (expected + packet.payload) & 0xFFFFFFFF
                size -= packet.payload
            self.send(of, next_seq(of), expected, ACK)

    def reset(self, of, seq):
        self.send(of, next_seq(of), seq, RST | ACK)
