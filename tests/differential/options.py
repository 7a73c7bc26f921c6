# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""The options that the test sets: those that getsockopt(2) reads back exactly."""

import re
import socket
import struct
from dataclasses import dataclass
from typing import Callable

TCP, UDP, UNIX = "tcp", "udp", "unix"
CONNECT, ACCEPT, LISTEN = "connect", "accept", "listen"
ALL = (CONNECT, ACCEPT, LISTEN)

# What a policy may write, as numbers in the option's own unit.

SIZES = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
TIMES = {"us": 1, "ms": 1000, "s": 1000000, "min": 60000000, "h": 3600000000}  # microseconds
RATES = {"": 1, "B/s": 1, "kbit/s": 125, "Mbit/s": 125000, "Gbit/s": 125000000, "kB/s": 10 ** 3,
         "MB/s": 10 ** 6, "GB/s": 10 ** 9, "KiB/s": 1 << 10, "MiB/s": 1 << 20, "GiB/s": 1 << 30}
BOOLEANS = {"on": 1, "yes": 1, "true": 1, "1": 1, "off": 0, "no": 0, "false": 0, "0": 0}
DSCP_CLASSES = {**{f"CS{n}": 8 * n for n in range(8)},
                **{f"AF{c}{p}": 8 * c + 2 * p for c in range(1, 5) for p in range(1, 4)},
                "EF": 46, "VA": 44, "LE": 1, "DF": 0}


def with_unit(units, per=1):
    def parse(text):
        number, unit = re.fullmatch(r"(\d+) ?(.*)", str(text)).groups()
        whole, rest = divmod(int(number) * units[unit], per)
        assert rest == 0, text
        return whole
    return parse


def number_or_hex(text):
    return int(str(text), 0)


def dscp(text):
    return DSCP_CLASSES[text] if text in DSCP_CLASSES else int(text)


def traffic_class(text):
    return 4 * DSCP_CLASSES[text] if text in DSCP_CLASSES else int(text)


def boolean(text):
    return BOOLEANS[text]


# What the kernel makes of a number.


def sysctl(name):
    with open("/proc/sys/" + name.replace(".", "/"), encoding="ascii") as file:
        return int(file.read())


def doubled(cap, floor):
    return lambda value: max(2 * min(value, sysctl(cap)), floor)


def as_it_is(value):
    return value


@dataclass(frozen=True)
class Option:
    level: int
    number: int
    parse: Callable
    protocols: tuple = (TCP,)
    directions: tuple = ALL
    carried: bool = False  # a TCP listener takes it from base options too
    kernel: Callable = as_it_is
    # False: the kernel chooses the value where nobody sets one, and changes it as it goes.
    steady: bool = True
    text: bool = False
    # Read back on sockets that got here; an established socket tells something else.
    readable: tuple = ALL

    def write(self, sock, value):
        sock.setsockopt(self.level, self.number,
                        value.encode() if self.text else struct.pack("I", value))

    def read(self, sock):
        if self.text:
            return sock.getsockopt(self.level, self.number, 16).partition(b"\0")[0].decode()
        return struct.unpack("I", sock.getsockopt(self.level, self.number, 4))[0]


def socket_option(number, parse, protocols=(TCP, UDP), **more):
    return Option(socket.SOL_SOCKET, number, parse, protocols, **more)


def tcp_option(number, parse, **more):
    return Option(socket.IPPROTO_TCP, number, parse, **more)


SIZE, RATE = with_unit(SIZES), with_unit(RATES)
SECONDS, MILLISECONDS = with_unit(TIMES, 1000000), with_unit(TIMES, 1000)
EVERY = (TCP, UDP, UNIX)

OPTIONS = {
    "SO_REUSEADDR": socket_option(2, boolean, directions=(LISTEN,), carried=True),
    "SO_MARK": socket_option(36, number_or_hex, EVERY, carried=True),
    "SO_RCVBUF": socket_option(8, SIZE, EVERY, carried=True, steady=False,
                               kernel=doubled("net.core.rmem_max", 2304)),
    "SO_SNDBUF": socket_option(7, SIZE, EVERY, steady=False,
                               kernel=doubled("net.core.wmem_max", 4608)),
    "SO_RCVLOWAT": socket_option(18, SIZE, (TCP, UNIX)),
    "SO_MAX_PACING_RATE": socket_option(47, RATE),
    "SO_PRIORITY": socket_option(12, number_or_hex, EVERY, carried=True),
    "SO_KEEPALIVE": socket_option(9, boolean, (TCP,)),
    "TCP_CONGESTION": tcp_option(13, str, text=True),
    "TCP_NOTSENT_LOWAT": tcp_option(25, SIZE),
    "TCP_NODELAY": tcp_option(1, boolean),
    "TCP_MAXSEG": tcp_option(2, int, directions=(CONNECT, LISTEN), carried=True,
                             readable=(LISTEN,)),
    "TCP_SAVE_SYN": tcp_option(27, int, directions=(LISTEN,), carried=True, readable=(LISTEN,)),
    "TCP_SYNCNT": tcp_option(7, int, directions=(CONNECT, LISTEN)),
    "TCP_USER_TIMEOUT": tcp_option(18, MILLISECONDS),
    "TCP_KEEPIDLE": tcp_option(4, SECONDS),
    "TCP_KEEPINTVL": tcp_option(5, SECONDS),
    "TCP_KEEPCNT": tcp_option(6, int),
    "TCP_THIN_LINEAR_TIMEOUTS": tcp_option(16, boolean),
    "IP_TOS": Option(socket.IPPROTO_IP, 1, traffic_class, (TCP, UDP), carried=True),
    "IPV6_TCLASS": Option(socket.IPPROTO_IPV6, 67, traffic_class, (TCP, UDP), carried=True),
    "DSCP": Option(0, 0, dscp, (), ()),  # never looked at: see SHORTHANDS
}
# Who may have the last word about an option, and what has an order.
NEVER_HELD = ("SO_REUSEADDR", "TCP_SAVE_SYN")
DENIABLE = ("SO_MARK", "SO_PRIORITY", "TCP_CONGESTION", "IP_TOS", "IPV6_TCLASS", "DSCP")
ORDERED = ("SO_RCVBUF", "SO_SNDBUF", "SO_RCVLOWAT", "SO_MAX_PACING_RATE", "TCP_NOTSENT_LOWAT", "TCP_MAXSEG",
           "TCP_SYNCNT", "TCP_USER_TIMEOUT", "TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT")
# "No limit", or the host's own: greater than every max.
NONE = {"TCP_USER_TIMEOUT": 0, "TCP_NOTSENT_LOWAT": 0, "TCP_MAXSEG": 0, "SO_MAX_PACING_RATE": 2 ** 32 - 1}

SHORTHANDS = {"DSCP": [("IP_TOS", 4), ("IPV6_TCLASS", 4)]}


def priority_of_tos(tos):
    """sk_priority as IP_TOS sets it (net/ipv4/route.c, ip_tos2prio)."""
    return (0, 0, 0, 0, 2, 2, 2, 2, 6, 6, 6, 6, 4, 4, 4, 4)[(tos & 0x1e) >> 1]
