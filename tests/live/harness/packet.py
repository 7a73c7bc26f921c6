# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""IPv4, IPv6, TCP and UDP headers: reading them, and making the few that the fake peer sends."""

import dataclasses
import socket
import struct

FIN, SYN, RST, PSH, ACK, ECE, CWR = 0x01, 0x02, 0x04, 0x08, 0x10, 0x40, 0x80

MSS, WSCALE, MPTCP = 2, 3, 30  # kinds of TCP options


@dataclasses.dataclass
class Packet:
    """What the tests look at; `tos` is IPv6's traffic class too."""

    version: int
    tos: int
    flow_label: int
    protocol: int
    source: str
    destination: str
    sport: int
    dport: int
    payload: int
    flags: int = 0
    seq: int = 0
    ack: int = 0
    window: int = 0
    options: dict = dataclasses.field(default_factory=dict)

    @property
    def dscp(self):
        """In its place in `tos`: the other two bits are ECN's."""
        return self.tos & 0xFC

    @property
    def is_syn(self):
        return self.flags & (SYN | ACK) == SYN

    @property
    def is_synack(self):
        return self.flags & (SYN | ACK) == SYN | ACK


def parse(data):
    """A packet from its IP header on; None for what is neither TCP nor UDP."""
    if len(data) >= 20 and data[0] >> 4 == 4:
        header = (data[0] & 15) * 4
        total = struct.unpack_from("!H", data, 2)[0] or len(data)
        ip = {"version": 4, "tos": data[1], "flow_label": 0, "protocol": data[9],
              "source": socket.inet_ntop(socket.AF_INET, data[12:16]),
              "destination": socket.inet_ntop(socket.AF_INET, data[16:20])}
    elif len(data) >= 40 and data[0] >> 4 == 6:
        header = 40
        word, length = struct.unpack_from("!IH", data)
        total = length + 40 if length else len(data)
        ip = {"version": 6, "tos": word >> 20 & 0xFF, "flow_label": word & 0xFFFFF,
              "protocol": data[6],
              "source": socket.inet_ntop(socket.AF_INET6, data[8:24]),
              "destination": socket.inet_ntop(socket.AF_INET6, data[24:40])}
    else:
        return None
    if ip["protocol"] == socket.IPPROTO_TCP and len(data) >= header + 20:
        return parse_tcp(ip, data[header:], total - header)
    if ip["protocol"] == socket.IPPROTO_UDP and len(data) >= header + 8:
        sport, dport = struct.unpack_from("!HH", data, header)
        return Packet(**ip, sport=sport, dport=dport, payload=total - header - 8)
    return None


def parse_tcp(ip, data, length):
    sport, dport, seq, ack, offset, flags, window = struct.unpack_from("!HHIIBBH", data)
    header = (offset >> 4) * 4
    return Packet(**ip, sport=sport, dport=dport, payload=length - header, flags=flags, seq=seq,
                  ack=ack, window=window, options=parse_tcp_options(data[20:header]))


def parse_tcp_options(data):
    """{kind: number or bytes}; MSS and window scale as numbers."""
    options = {}
    while data and data[0]:
        if data[0] == 1:
            data = data[1:]
            continue
        if len(data) < 2 or data[1] < 2:
            break
        kind, value = data[0], data[2:data[1]]
        options[kind] = int.from_bytes(value, "big") if kind in (MSS, WSCALE) else value
        data = data[data[1]:]
    return options


def checksum(data):
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def make_tcp(source, destination, sport, dport, seq, ack, flags, options=b"", window=65535,
             data=b""):
    """A TCP segment, from its IP header on."""
    family = socket.AF_INET6 if ":" in source else socket.AF_INET
    src, dst = socket.inet_pton(family, source), socket.inet_pton(family, destination)
    header = 20 + len(options)
    length = header + len(data)
    tcp = struct.pack("!HHIIBBHHH", sport, dport, seq, ack, header // 4 << 4, flags, window, 0,
                      0) + options + data
    if family == socket.AF_INET6:
        pseudo = src + dst + struct.pack("!IxxxB", length, socket.IPPROTO_TCP)
        ip = struct.pack("!IHBB", 6 << 28, length, socket.IPPROTO_TCP, 64) + src + dst
    else:
        pseudo = src + dst + struct.pack("!xBH", socket.IPPROTO_TCP, length)
        ip = struct.pack("!BBHHHBBH", 0x45, 0, 20 + length, 0, 0, 64, socket.IPPROTO_TCP, 0)
        ip = ip[:10] + struct.pack("!H", checksum(ip + src + dst)) + src + dst
    return ip + tcp[:16] + struct.pack("!H", checksum(pseudo + tcp)) + tcp[18:]
