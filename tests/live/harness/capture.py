# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""What really goes over the loopback wire (AF_PACKET)."""

import ctypes
import queue
import socket
import struct

from .packet import parse

ETH_P_ALL = 0x0003
SO_ATTACH_FILTER = 26
SNAPLEN = 160  # headers are enough

# Classic BPF (linux/filter.h): load a half-word, jump if equal, return.
LDH, JEQ, RET = 0x28, 0x15, 0x06


def port_filter(port):
    """Ethernet, then IPv4 without options or IPv6 without extensions, then the two ports."""
    return [(LDH, 0, 0, 12),
            (JEQ, 0, 4, 0x0800),
            (LDH, 0, 0, 34), (JEQ, 8, 0, port),
            (LDH, 0, 0, 36), (JEQ, 6, 5, port),
            (JEQ, 0, 4, 0x86DD),
            (LDH, 0, 0, 54), (JEQ, 3, 0, port),
            (LDH, 0, 0, 56), (JEQ, 1, 0, port),
            (RET, 0, 0, 0),
            (RET, 0, 0, SNAPLEN)]


NOTHING = [(RET, 0, 0, 0)]


class Capture:
    """Every packet from or to a port on loopback, in the order in which it came in.

    Closing a packet socket waits for an RCU grace period, some 20 ms: they are used again.
    """

    idle = queue.SimpleQueue()

    def __init__(self, port):
        try:
            self.socket = self.idle.get_nowait()
        except queue.Empty:
            self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
            self.socket.bind(("lo", ETH_P_ALL))
            self.socket.setblocking(False)
        self.filter(port_filter(port))
        self.port = port
        self.seen = []

    def filter(self, steps):
        program = b"".join(struct.pack("HBBI", *step) for step in steps)
        memory = ctypes.create_string_buffer(program)
        self.socket.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER,
                               struct.pack("HP", len(steps), ctypes.addressof(memory)))

    def packets(self):
        while True:
            try:
                data, (_, _, kind, _, _) = self.socket.recvfrom(SNAPLEN)
            except BlockingIOError:
                return self.seen
            if kind == socket.PACKET_OUTGOING:
                continue  # on loopback each packet passes twice
            packet = parse(data[14:])
            if packet and self.port in (packet.sport, packet.dport):
                self.seen.append(packet)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.filter(NOTHING)
        self.packets()  # leaves it empty
        self.idle.put(self.socket)
