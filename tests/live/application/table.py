# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""One entry an option that an application can set: what the policy gives, and what the application sets."""

import dataclasses
import socket
import struct

SOL_SOCKET, TCP = socket.SOL_SOCKET, socket.IPPROTO_TCP
IP, IPV6 = socket.IPPROTO_IP, socket.IPPROTO_IPV6
TCP_INFO, ADVMSS_AT = 11, 84
UNLIMITED = 0xFFFFFFFF


@dataclasses.dataclass(frozen=True)
class Range:
    """All as setsockopt(2) takes them; `low` is below `least`, `high` above `most`."""

    low: int
    least: int
    within: int
    most: int
    high: int


@dataclasses.dataclass(frozen=True)
class Entry:
    """`before` and `after` are what the application sets before a moment and after it."""

    level: int
    optname: int
    policy: object   # as setsockopt(2) takes it
    before: object
    after: object
    unit: str = ""   # of `policy` in a policy file
    range: Range = None
    none: int = None     # what means "no limit", or "the host's": greater than every max
    doubled: bool = False  # what getsockopt(2) shows is twice as much
    text: str = ""       # how the policy is written, if not as the number
    shown: tuple = ()    # level, optname, size, offset: where else it shows

    def write(self, number):
        if self.text and number == self.policy:
            return self.text
        return f"{number}{self.unit}"

    def look(self):
        """For getsockopt(2)."""
        level, optname, size, _ = self.shown or (self.level, self.optname, self.size, 0)
        return level, optname, size

    @property
    def size(self):
        return 4 if isinstance(self.policy, int) else 16

    def read(self, data):
        """What getsockopt(2) gave: a number or a text; an errno as it is, but negative."""
        if isinstance(data, int):
            return -data
        if self.size == 16:
            return data.split(b"\0")[0].decode()
        return struct.unpack_from("=I", data, self.shown[3] if self.shown else 0)[0]

    def encode(self, value):
        return value.encode() if isinstance(value, str) else struct.pack("=I", value & 0xFFFFFFFF)

    def show(self, value):
        """What getsockopt(2) shows of a value that somebody set."""
        return value * 2 if self.doubled else value


def number(level, optname, policy, before, after, range_=(), **rest):
    return Entry(level, optname, policy, before, after, range=Range(*range_) if range_ else None, **rest)


def switch(level, optname, policy):
    """The application sets the opposite, which is the default."""
    return Entry(level, optname, policy, 1 - policy, 1 - policy, text=("off", "on")[policy])


# The policy's value is never the default; those of the application differ from it and from each other.
TABLE = {
    "SO_MARK": number(SOL_SOCKET, 36, 0x21, 0x31, 0x32),
    "SO_RCVBUF": number(SOL_SOCKET, 8, 60000, 40000, 50000, (10000, 20000, 30000, 64000, 70000),
                        doubled=True),
    "SO_SNDBUF": number(SOL_SOCKET, 7, 60000, 40000, 50000, (10000, 20000, 30000, 64000, 70000),
                        doubled=True),
    "SO_RCVLOWAT": number(SOL_SOCKET, 18, 2, 3, 4, (2, 3, 4, 5, 6)),
    "SO_TXREHASH": Entry(SOL_SOCKET, 74, 0, 1, 1),
    "TCP_CONGESTION": Entry(TCP, 13, "cubic", "bbr", "reno"),
    "SO_MAX_PACING_RATE": number(SOL_SOCKET, 47, 500000000, 600000000, 700000000,
                                 (300000000, 400000000, 500000000, 600000000, 700000000), unit="B/s",
                                 none=UNLIMITED),
    "TCP_NOTSENT_LOWAT": number(TCP, 25, 16384, 32768, 65536, (1000, 2000, 3000, 4000, 5000), none=0),
    "TCP_NODELAY": switch(TCP, 1, 1),
    "TCP_MAXSEG": number(TCP, 2, 1000, 800, 700, (500, 600, 700, 800, 900), none=0),
    "TCP_WINDOW_CLAMP": number(TCP, 10, 20000, 30000, 25000, (5000, 10000, 15000, 20000, 25000)),
    "TCP_SYNCNT": number(TCP, 7, 3, 4, 5, (1, 2, 3, 4, 5)),
    "TCP_USER_TIMEOUT": number(TCP, 18, 20000, 30000, 40000, (10000, 20000, 30000, 40000, 50000),
                               unit="ms", none=0),
    "TCP_KEEPIDLE": number(TCP, 4, 60, 70, 80, (10, 20, 30, 40, 50), unit="s"),
    "TCP_KEEPINTVL": number(TCP, 5, 7, 8, 9, (1, 2, 3, 4, 5), unit="s"),
    "TCP_KEEPCNT": number(TCP, 6, 3, 4, 5, (1, 2, 3, 4, 5)),
    "SO_KEEPALIVE": switch(SOL_SOCKET, 9, 1),
    "TCP_THIN_LINEAR_TIMEOUTS": switch(TCP, 16, 1),
    # The application's names for these two are TCP_DELACK_MAX_US and TCP_RTO_MIN_US.
    "TCP_BPF_DELACK_MAX": number(TCP, 46, 40000, 80000, 120000, (40000, 60000, 80000, 100000, 120000),
                                 unit="us"),
    "TCP_BPF_RTO_MIN": number(TCP, 45, 40000, 80000, 120000, (40000, 60000, 80000, 100000, 120000),
                              unit="us"),
    "TCP_RTO_MAX_MS": number(TCP, 44, 5000, 6000, 7000, (2000, 3000, 4000, 5000, 6000), unit="ms"),
    "IP_TOS": Entry(IP, 1, 0x88, 0x28, 0x48),
    "IPV6_TCLASS": Entry(IPV6, 67, 0x88, 0x28, 0x48),
    "IPV6_AUTOFLOWLABEL": switch(IPV6, 70, 0),
    "SO_PRIORITY": number(SOL_SOCKET, 12, 3, 4, 5),
}

# What no application can set, or what cannot be told from another.
NO_APPLICATION = {
    "TCP_BPF_SNDCWND_CLAMP": "BPF alone can set it",
    "TCP_BPF_IW": "BPF alone can set it",
    "SO_BINDTODEVICE": "application_device.py",
    "SO_BINDTOIFINDEX": "application_device.py",
}


def problems(rows):
    """Rows of the option table without an entry here, and entries without a row."""
    for row in rows:
        name = row["name"]
        if ("hold" in row["application"]) != (name in TABLE or name in NO_APPLICATION):
            yield f"{name}: a case of who has the last word, or none: tests/live/application/table.py"
        if name in TABLE and row["range"] != bool(TABLE[name].range):
            yield f"{name}: a range, or none: tests/live/application/table.py"
    for name in TABLE.keys() | NO_APPLICATION.keys():
        if name not in {row["name"] for row in rows}:
            yield f"{name} is not in the option table: tests/live/application/table.py"
