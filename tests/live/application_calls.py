# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Ways to call setsockopt(2): other names, lengths, values that are there already, 32-bit system calls."""

import contextlib
import errno
import os
import platform
import socket
import struct

from other_sockets import DATAGRAM, IP_TOS, STREAM, Tenant
from harness.flows import (SO_PRIORITY, TCP_KEEPIDLE, TCP_NODELAY, connection, listening)
from harness.result import OneOf, Skip, check
from harness.words import between, deny, hold, respect, try_set

COMMON_AGENT = True

SO_SNDBUF, SO_RCVBUF = (socket.SOL_SOCKET, 7), (socket.SOL_SOCKET, 8)
SO_SNDBUFFORCE, SO_RCVBUFFORCE = (socket.SOL_SOCKET, 32), (socket.SOL_SOCKET, 33)
SO_MARK, SO_MAX_PACING_RATE = (socket.SOL_SOCKET, 36), (socket.SOL_SOCKET, 47)
TCP_CONGESTION = (socket.IPPROTO_TCP, 13)
TCP_USER_TIMEOUT, TCP_KEEPINTVL, TCP_KEEPCNT = ((socket.IPPROTO_TCP, name) for name in (18, 5, 6))
PAGES = 8192  # bytes: more than what the kernel copies for a hook


@contextlib.contextmanager
def connected(here):
    with listening(here.peer) as listener, connection(here.worker, listener) as (client, _):
        yield client


def fresh(here, kind=STREAM):
    return here.worker.socket(socket.AF_INET, kind)


def test_force_is_held(box):
    here = Tenant(box, "force", {"SO_SNDBUF": hold(60000), "SO_RCVBUF": hold(50000)})
    with connected(here) as one:
        for option, shown, as_shown in ((SO_SNDBUFFORCE, 120000, SO_SNDBUF),
                                        (SO_RCVBUFFORCE, 100000, SO_RCVBUF)):
            for way in ("call", "nobody"):
                check(f"errno of option {option} ({way})", 0, try_set(one, option, 1 << 26, way))
                check(f"what is there then ({way})", shown, one.sockopt(*as_shown))
        check("TCP_KEEPIDLE, which no policy governs: errno", 0, try_set(one, TCP_KEEPIDLE, 77))
        check("TCP_KEEPIDLE", 77, one.sockopt(*TCP_KEEPIDLE))


def test_force_is_in_the_range_and_counts(box):
    here = Tenant(box, "force-range", {"SO_SNDBUF": between(20000, 60000), "SO_RCVBUF": respect(50000)})
    with listening(here.peer) as listener, fresh(here) as one:
        check("errno of SO_SNDBUFFORCE", 0, try_set(one, SO_SNDBUFFORCE, 1 << 26))
        check("errno of SO_RCVBUFFORCE", 0, try_set(one, SO_RCVBUFFORCE, 70000))
        one.connect(("127.0.0.1", listener.port()))
        check("SO_SNDBUF, brought into the range", 120000, one.sockopt(*SO_SNDBUF))
        check("SO_RCVBUF, the application's", 140000, one.sockopt(*SO_RCVBUF))
        for asked, shown in ((1, 40000), (30000, 60000), (1 << 30, 120000)):
            check("errno of SO_SNDBUFFORCE", 0, try_set(one, SO_SNDBUFFORCE, asked))
            check(f"SO_SNDBUF after SO_SNDBUFFORCE {asked}", shown, one.sockopt(*SO_SNDBUF))


def test_priority_is_not_held_by_tos(box):
    """The application's IP_TOS moves neither; its SO_PRIORITY is its own."""
    here = Tenant(box, "tos", {"IP_TOS": hold("AF41")})
    for kind in (STREAM, DATAGRAM):
        with listening(here.peer) as listener, fresh(here, kind) as one:
            one.connect(("127.0.0.1", listener.port()))
            check("errno of SO_PRIORITY", 0, try_set(one, SO_PRIORITY, 2))
            for way in ("call", "nobody"):
                check("errno of IP_TOS", 0, try_set(one, IP_TOS, 0x10, way))
                check("IP_TOS and SO_PRIORITY", (0x88, 2), (one.sockopt(*IP_TOS), one.sockopt(*SO_PRIORITY)))


def test_priority_alone_is_held(box):
    """The application's IP_TOS is its own, and takes SO_PRIORITY along, as it always does."""
    here = Tenant(box, "priority", {"SO_PRIORITY": hold(3)})
    with connected(here) as one:
        check("errno of SO_PRIORITY", 0, try_set(one, SO_PRIORITY, 5))
        check("SO_PRIORITY", 3, one.sockopt(*SO_PRIORITY))
        check("errno of IP_TOS", 0, try_set(one, IP_TOS, 0x10))
        check("IP_TOS", 0x10, one.sockopt(*IP_TOS))


def test_value_that_is_there(box):
    """A call that asks for the policy's value succeeds, whoever may not make it."""
    here = Tenant(box, "same", {"SO_MARK": hold(7), "TCP_NODELAY": hold("on"), "TCP_CONGESTION": hold("cubic"),
                                  "SO_PRIORITY": hold(6)})
    with connected(here) as one:
        for way in ("call", "nobody", "uring"):
            seen = one.set_all(way, [(*SO_MARK, struct.pack("=I", 7)), (*TCP_NODELAY, struct.pack("=I", 1)),
                                     (*TCP_CONGESTION, b"cubic"), (*SO_PRIORITY, struct.pack("=I", 6))])
            if way == "uring" and seen[0] == errno.EOPNOTSUPP:
                continue
            check(f"errnos ({way})", [0] * 4, seen)
        check("mark and priority", (7, 6), (one.sockopt(*SO_MARK), one.sockopt(*SO_PRIORITY)))


def test_lengths(box):
    """The kernel asks for four bytes and reads no more: so is what it is given.  Two are refused as ever."""
    here = Tenant(box, "lengths", {"TCP_KEEPIDLE": hold("60s"), "TCP_KEEPCNT": between(2, 4),
                                     "SO_SNDBUF": between(20000, 60000), "TCP_USER_TIMEOUT": respect("20s")})
    whole = struct.pack("=I", 9)
    with connected(here) as one:
        for name, option, shown in (("held", TCP_KEEPIDLE, 60), ("in a range", TCP_KEEPCNT, 4),
                                    ("respected", TCP_USER_TIMEOUT, 9), ("not governed", TCP_KEEPINTVL, 9)):
            before = one.sockopt(*option)
            for size in (0, 1, 2, 3):
                seen = try_set(one, option, whole[:size])
                check(f"{size} bytes of an option that is {name}: errno", OneOf(
                    [errno.EINVAL, 0] if name == "held" else [errno.EINVAL]), seen)
                check(f"the value of an option that is {name}, after {size} bytes", before, one.sockopt(*option))
            for size in (5, 8, 4096, 4100, PAGES):
                check(f"{size} bytes of an option that is {name}: errno", 0,
                      try_set(one, option, whole + bytes(size - 4)))
                check(f"the value of an option that is {name}, after {size} bytes", shown, one.sockopt(*option))
        check("SO_SNDBUF as more than 8,192 bytes: errno", 0,
              try_set(one, SO_SNDBUF, struct.pack("=I", 70000) + bytes(PAGES)))
        check("SO_SNDBUF", 120000, one.sockopt(*SO_SNDBUF))


def test_pacing_rate_of_eight_bytes(box):
    """unsigned long, of a 64-bit program."""
    here = Tenant(box, "pacing", {"SO_MAX_PACING_RATE": between("1MB/s", "2GB/s")})
    free = here.peer.socket(socket.AF_INET, STREAM)

    def rate(one):
        return struct.unpack("=Q", one.getsockopt(*SO_MAX_PACING_RATE, 8))[0]

    with connected(here) as one, free:
        for asked, shown in ((5, 10**6), (10**7, 10**7), (10**9, 10**9), (3 * 10**9, 2 * 10**9),
                             (5 * 10**9, 2 * 10**9), (1 << 62, 2 * 10**9), ((1 << 64) - 1, 2 * 10**9)):
            check(f"{asked} B/s: errno", 0, try_set(one, SO_MAX_PACING_RATE, struct.pack("=Q", asked)))
            check(f"the rate, {asked} B/s asked for", shown, rate(one))
        check("four bytes: errno", 0, try_set(one, SO_MAX_PACING_RATE, struct.pack("=I", 3 * 10**9)))
        check("the rate", 2 * 10**9, rate(one))


def test_pacing_rate_of_eight_bytes_is_held_and_respected(box):
    here = Tenant(box, "pacing-held", {"SO_MAX_PACING_RATE": hold("1MB/s")})
    eight = struct.pack("=Q", 5 * 10**9)
    with connected(here) as one:
        check("errno", 0, try_set(one, SO_MAX_PACING_RATE, eight))
        check("the rate", struct.pack("=Q", 10**6), one.getsockopt(*SO_MAX_PACING_RATE, 8))
    here.reload({"SO_MAX_PACING_RATE": respect("1MB/s")})
    with listening(here.peer) as listener, fresh(here) as one:
        check("errno", 0, try_set(one, SO_MAX_PACING_RATE, eight))
        one.connect(("127.0.0.1", listener.port()))
        check("the application's rate", eight, one.getsockopt(*SO_MAX_PACING_RATE, 8))


def test_names_of_congestion_controls(box):
    here = Tenant(box, "names", {"TCP_CONGESTION": hold("cubic")})
    with connected(here) as one:
        for name in (b"reno", b"reno\0", b"reno" + bytes(12), b"bbr" + bytes(40), b"nosuch", b"r" * 300, b"x"):
            check(f"errno of {name[:20]}", 0, try_set(one, TCP_CONGESTION, name))
            check("TCP_CONGESTION", b"cubic", one.getsockopt(*TCP_CONGESTION, 16).rstrip(b"\0"))
    here.reload({"TCP_CONGESTION": deny("cubic")})
    with connected(here) as one:
        check("errno", errno.EPERM, try_set(one, TCP_CONGESTION, b"reno"))
        check("TCP_CONGESTION", b"cubic", one.getsockopt(*TCP_CONGESTION, 16).rstrip(b"\0"))


def test_options_that_are_not_governed(box):
    """They work as ever, and fail as ever."""
    here = Tenant(box, "others", {"TCP_KEEPIDLE": hold("60s"), "SO_MARK": hold(7)})
    with connected(here) as one, fresh(here) as other:
        for option, data, expected in (
                (TCP_KEEPCNT, struct.pack("=I", 5), 0), (TCP_KEEPCNT, struct.pack("=I", 0), errno.EINVAL),
                ((socket.SOL_SOCKET, 13), struct.pack("=II", 1, 5), 0),  # SO_LINGER
                ((socket.SOL_SOCKET, 20), struct.pack("=QQ", 3, 0), 0),  # SO_RCVTIMEO
                ((777, 5), bytes(4), errno.ENOPROTOOPT), ((socket.IPPROTO_TCP, 4000), bytes(4), errno.ENOPROTOOPT),
                ((socket.SOL_SOCKET, -1), bytes(4), errno.ENOPROTOOPT),
                ((socket.IPPROTO_TCP, 1001), struct.pack("=I", 5), errno.ENOPROTOOPT)):  # TCP_BPF_IW
            for which, subject in (("connected", one), ("fresh", other)):
                check(f"errno of option {option} ({which})", expected, try_set(subject, option, data))
        check("SO_LINGER", struct.pack("=II", 1, 5), one.getsockopt(socket.SOL_SOCKET, 13, 8))


def test_32_bit_system_calls(box):
    """No hook sees them: the manual says that they are not held.  A kernel that holds them is as good."""
    if platform.machine() != "x86_64":
        raise Skip("int $0x80 is x86-64's")
    here = Tenant(box, "int80", {"TCP_KEEPIDLE": hold("60s")})
    with connected(here) as one:
        seen = try_set(one, TCP_KEEPIDLE, 77, "int80")
        if seen:
            raise Skip(f"this kernel has no 32-bit system calls ({os.strerror(seen)})")
        check("TCP_KEEPIDLE after int $0x80", OneOf([60, 77]), one.sockopt(*TCP_KEEPIDLE))
        check("errno of the next setsockopt(2)", 0, try_set(one, TCP_KEEPIDLE, 78))
        check("TCP_KEEPIDLE", 60, one.sockopt(*TCP_KEEPIDLE))


def test_control_messages_are_not_held(box):
    """sendmsg(2) with IP_TOS is that datagram's; the socket's stays."""
    here = Tenant(box, "cmsg", {"IP_TOS": hold("AF41")})
    with here.peer.socket(socket.AF_INET, DATAGRAM) as server, fresh(here, DATAGRAM) as one:
        server.bind(("127.0.0.1", 0))
        server.setsockopt(socket.IPPROTO_IP, 13, 1)  # IP_RECVTOS
        one.connect(("127.0.0.1", server.port()))
        seen = []
        for control in ([], [(socket.IPPROTO_IP, 1, struct.pack("=i", 0x10))], []):
            one.sendmsg([b"x"], control)
            seen.append(server.recvmsg(9, 200)[1][0][2][0])
        check("TOS of three datagrams", [0x88, OneOf([0x10, 0x88]), 0x88], seen)
