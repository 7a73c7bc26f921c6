# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""A TCP peer of our own behind a TUN device: it acknowledges when a test wants it to.

What the kernel sends before its first retransmission is the first flight: the initial window.  The
peer offers no SACK, so that no tail loss probe adds a segment to it.
"""

import fcntl
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


class FakePeer:
    """Use it as a context manager: one connection at a time."""

    def __init__(self, device):
        self.fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        fcntl.ioctl(self.fd, TUNSETIFF,
                    struct.pack("16sH22x", device.encode(), IFF_TUN | IFF_NO_PI))
        self.selector = selectors.DefaultSelector()
        self.selector.register(self.fd, selectors.EVENT_READ)
        self.lock = threading.Lock()

    def close(self):
        self.selector.close()
        os.close(self.fd)

    def __enter__(self):
        self.lock.acquire()
        return self

    def __exit__(self, *_):
        self.lock.release()

    def wait(self, what, matches):
        """The next packet that matches; everything else on the device is noise."""
        deadline = time.monotonic() + DEADLINE
        while True:
            if not self.selector.select(max(0, deadline - time.monotonic())):
                raise Failure(f"{what} on the TUN device", "a packet", "none")
            packet = parse(os.read(self.fd, 65536))
            if packet and matches(packet):
                return packet

    def send(self, to, seq, ack, flags, options=b""):
        """A segment in the direction opposite to that of the packet `to`."""
        os.write(self.fd, make_tcp(to.destination, to.source, to.dport, to.sport, seq, ack, flags,
                                   options))

    def answer(self, port):
        """Takes the connection that the kernel opens to `port`; returns its SYN."""
        syn = self.wait("a SYN", lambda p: p.is_syn and p.dport == port)
        self.send(syn, SEQ, syn.seq + 1, SYN | ACK, SYN_OPTIONS)
        return syn

    def connect(self, source, destination, sport, dport):
        """Opens a connection to a listener; returns its SYN-ACK."""
        os.write(self.fd, make_tcp(source, destination, sport, dport, SEQ, 0, SYN, SYN_OPTIONS))
        synack = self.wait("a SYN-ACK", lambda p: p.is_synack and p.dport == sport)
        self.send(synack, SEQ + 1, synack.seq + 1, ACK)
        return synack

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
        expected = (of.seq + 1) & 0xFFFFFFFF
        while size > 0:
            packet = self.wait("data", lambda p: p.payload and p.sport == of.sport
                               and p.dport == of.dport)
            if packet.seq == expected:
                expected = (expected + packet.payload) & 0xFFFFFFFF
                size -= packet.payload
            self.send(of, SEQ + 1, expected, ACK)

    def reset(self, of, seq):
        self.send(of, SEQ + 1, seq, RST | ACK)
