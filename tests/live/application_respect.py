# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""What counts as set by the application itself, and what does not."""

import errno
import socket
import struct

from application_calls import (SO_MARK, SO_MAX_PACING_RATE, SO_RCVBUF, SO_SNDBUF, SO_SNDBUFFORCE,
                               TCP_CONGESTION, TCP_KEEPCNT, TCP_USER_TIMEOUT)
from other_sockets import DATAGRAM, IP_TOS, STREAM, Governed, Tenant, rule
from harness import lacks
from harness.flows import SO_PRIORITY, TCP_KEEPIDLE, TCP_NODELAY, connection, listening
from harness.result import check
from harness.words import hold, respect, try_set

COMMON_AGENT = True

INET = socket.AF_INET
TCP_KEEPINTVL = (socket.IPPROTO_TCP, 5)
SO_KEEPALIVE, SO_RCVLOWAT, SO_TXREHASH = (socket.SOL_SOCKET, 9), (socket.SOL_SOCKET, 18), (socket.SOL_SOCKET, 74)
TCP_RTO_MIN_US = (socket.IPPROTO_TCP, 45)


def named(one):
    return one.getsockopt(*TCP_CONGESTION, 16).rstrip(b"\0").decode()


def connect(here, one):
    with listening(here.peer) as listener:
        one.connect(("127.0.0.1", listener.port()))


def test_calls_that_failed(box):
    """They count for nothing."""
    here = Tenant(box, "failed", {"SO_MARK": respect(7), "TCP_CONGESTION": respect("cubic"),
                                    "TCP_KEEPIDLE": respect("60s"), "SO_PRIORITY": respect(3)})
    with here.worker.socket(INET, STREAM) as one:
        for option, value, way, expected in (
                (SO_MARK, 9, "nobody", errno.EPERM), (TCP_CONGESTION, b"nosuch", "call", errno.ENOENT),
                (TCP_KEEPIDLE, 99999, "call", errno.EINVAL), (TCP_KEEPIDLE, b"\x09", "call", errno.EINVAL),
                (SO_PRIORITY, 9, "nobody", errno.EPERM)):
            check(f"errno of option {option} ({way})", expected, try_set(one, option, value, way))
        connect(here, one)
        check("mark, TCP_CONGESTION, TCP_KEEPIDLE, SO_PRIORITY", (7, "cubic", 60, 3),
              (one.sockopt(*SO_MARK), named(one), one.sockopt(*TCP_KEEPIDLE), one.sockopt(*SO_PRIORITY)))


def test_a_call_that_failed_after_one_that_did_not(box):
    here = Tenant(box, "twice", {"TCP_KEEPIDLE": respect("60s"), "TCP_KEEPCNT": respect(3)})
    with here.worker.socket(INET, STREAM) as one:
        check("errnos", [0, errno.EINVAL, 0, 0], [try_set(one, TCP_KEEPIDLE, 9), try_set(one, TCP_KEEPIDLE, 99999),
                                                  try_set(one, TCP_KEEPCNT, 4), try_set(one, TCP_KEEPCNT, 5)])
        connect(here, one)
        check("TCP_KEEPCNT, the last one's", 5, one.sockopt(*TCP_KEEPCNT))
        check("TCP_KEEPIDLE, the one's that worked", 9, one.sockopt(*TCP_KEEPIDLE))


def test_the_default_of_a_mark_does_not_count(box):
    """But that of any other option does."""
    here = Tenant(box, "zero", {"SO_MARK": respect(7), "SO_PRIORITY": respect(3), "TCP_NODELAY": respect("on"),
                                  "SO_KEEPALIVE": respect("on"), "TCP_KEEPIDLE": respect("60s")})
    with here.worker.socket(INET, STREAM) as one:
        check("errnos", [0] * 5, [try_set(one, *set_) for set_ in (
            (SO_MARK, 0), (SO_PRIORITY, 0), (TCP_NODELAY, 0), (SO_KEEPALIVE, 0), (TCP_KEEPIDLE, 7200))])
        check("the mark before", 0, one.sockopt(*SO_MARK))
        connect(here, one)
        check("SO_MARK, SO_PRIORITY, TCP_NODELAY, SO_KEEPALIVE, TCP_KEEPIDLE", (7, 0, 0, 0, 7200), tuple(
            one.sockopt(*option) for option in (SO_MARK, SO_PRIORITY, TCP_NODELAY, SO_KEEPALIVE, TCP_KEEPIDLE)))


def test_tos_does_not_count_as_priority(box):
    here = Tenant(box, "tos", {"IP_TOS": respect("AF41"), "SO_PRIORITY": respect(3)})
    for kind in (STREAM, DATAGRAM):
        with here.worker.socket(INET, kind) as one:
            check("errno of IP_TOS", 0, try_set(one, IP_TOS, 0x10))
            check("SO_PRIORITY, moved by it", 6, one.sockopt(*SO_PRIORITY))
            connect(here, one)
            check("IP_TOS, the application's; SO_PRIORITY, the policy's", (0x10, 3),
                  (one.sockopt(*IP_TOS), one.sockopt(*SO_PRIORITY)))


def test_what_the_kernel_makes_of_a_value(box):
    """A call counts although the socket has not quite what was asked for."""
    options = {"SO_SNDBUF": respect(60000), "SO_RCVBUF": respect(50000), "SO_RCVLOWAT": respect(2),
               "SO_MAX_PACING_RATE": respect("1MB/s"), "IP_TOS": respect("AF41"), "SO_KEEPALIVE": respect("off"),
               "TCP_NODELAY": respect("off"), "SO_TXREHASH": respect(0), "TCP_CONGESTION": respect("cubic")}
    hidden = lacks.getsockopt(*TCP_RTO_MIN_US)
    if not hidden:
        options["TCP_BPF_RTO_MIN"] = respect("40ms")
    here = Tenant(box, "made", options)
    asked = [(SO_SNDBUF, 1 << 30), (SO_RCVBUF, 1), (SO_RCVLOWAT, 0), (IP_TOS, 0x29), (SO_KEEPALIVE, 5),
             (TCP_NODELAY, 200), (SO_TXREHASH, -1), (TCP_CONGESTION, b"bbr" + bytes(9)),
             (SO_MAX_PACING_RATE, struct.pack("=Q", 1 << 40))]
    asked += [] if hidden else [(TCP_RTO_MIN_US, 20001)]
    shown = []
    for worker in (here.peer, here.worker):
        with worker.socket(INET, STREAM) as one:
            check("errnos", [0] * len(asked), [try_set(one, *what) for what in asked])
            connect(here, one)
            shown.append([one.getsockopt(*option, 16) for option, _ in asked])
    for (option, value), free, governed in zip(asked, *shown):
        check(f"option {option}, which the application set to {value}, as without a policy", free, governed)


def test_other_names_count(box):
    here = Tenant(box, "names", {"SO_SNDBUF": respect(60000), "SO_RCVBUF": respect(50000)})
    with here.worker.socket(INET, STREAM) as one:
        check("errno of SO_SNDBUFFORCE", 0, try_set(one, SO_SNDBUFFORCE, 70000))
        check("errno of SO_RCVBUFFORCE as nobody", errno.EPERM, try_set(one, (1, 33), 70000, "nobody"))
        connect(here, one)
        check("SO_SNDBUF, SO_RCVBUF", (140000, 100000), (one.sockopt(*SO_SNDBUF), one.sockopt(*SO_RCVBUF)))


def test_what_the_listener_has(box):
    """Its own sets count for what it accepts; what the policy gave it is not the application's."""
    here = Tenant(box, "listener", {},
                    rule("direction: listen", "listen", TCP_KEEPIDLE="51s", SO_SNDBUF=40000, SO_MARK=5,
                         TCP_KEEPCNT=respect(4), TCP_KEEPINTVL=hold("5s")),
                    rule("direction: accept", "accept", TCP_KEEPIDLE=respect("52s"), SO_SNDBUF=respect(50000),
                         SO_MARK=respect(6), TCP_KEEPCNT=respect(5), TCP_KEEPINTVL=respect("6s"),
                         TCP_USER_TIMEOUT=respect("20s")))
    names = (TCP_KEEPIDLE, SO_SNDBUF, SO_MARK, TCP_KEEPCNT, TCP_KEEPINTVL, TCP_USER_TIMEOUT)

    def shown(one):
        return tuple(one.sockopt(*name) for name in names)

    with listening(here.worker) as listener:
        check("what a listener gets", (51, 80000, 5, 4, 5, 0), shown(listener))
        with connection(here.peer, listener) as (_, accepted):
            check("what an accepted socket gets", (52, 100000, 6, 5, 6, 20000), shown(accepted))
        for name, value in zip(names, (91, 45000, 9, 9, 9, 9000)):
            check("errno on the listener", 0, try_set(listener, name, value))
        check("what the listener has of its own, but where it is held", (91, 90000, 9, 9, 5, 9000), shown(listener))
        with connection(here.peer, listener) as (_, accepted):
            check("what an accepted socket has of that", (91, 90000, 9, 9, 6, 9000), shown(accepted))
    with here.worker.socket(INET, STREAM) as listener:
        for name, value in ((TCP_KEEPIDLE, 91), (TCP_USER_TIMEOUT, 9000)):
            check("errno before listen(2)", 0, try_set(listener, name, value))
        listener.bind(("127.0.0.1", 0))
        listener.listen(4)
        with connection(here.peer, listener) as (_, accepted):
            check("TCP_KEEPIDLE, which the policy set over the application's; TCP_USER_TIMEOUT, which it did not",
                  (52, 9000), (accepted.sockopt(*TCP_KEEPIDLE), accepted.sockopt(*TCP_USER_TIMEOUT)))


def test_the_policys_value_is_not_the_applications(box):
    """A client that connects a second time, a reload in between: it has set nothing itself."""
    here = Tenant(box, "second", {"SO_SNDBUF": respect(40000), "SO_MARK": respect(5), "SO_PRIORITY": respect(3)})

    def shown(one):
        return tuple(one.sockopt(*name) for name in (SO_SNDBUF, SO_MARK, SO_PRIORITY))

    with here.worker.socket(INET, DATAGRAM) as one:
        one.connect(("127.0.0.1", 9))
        check("connected", (80000, 5, 3), shown(one))
        here.reload({"SO_SNDBUF": respect(50000), "SO_MARK": respect(6), "SO_PRIORITY": respect(4)})
        one.connect(("127.0.0.1", 9))
        check("connected again", (100000, 6, 4), shown(one))
        check("errno", 0, try_set(one, SO_SNDBUF, 45000))
        one.connect(("127.0.0.1", 9))
        check("once the application has set it", (90000, 6, 4), shown(one))


def test_older_sockets(box):
    """Judged by what the kernel shows: what is not a fresh socket's was set by somebody."""
    worker = box.worker(box.cgroup.child("old"))
    with worker.socket(INET, STREAM) as plain, worker.socket(INET, STREAM) as own:
        for option, value in ((TCP_KEEPIDLE, 9), (SO_SNDBUF, 30000), (TCP_USER_TIMEOUT, 9000), (SO_PRIORITY, 5)):
            check("errno", 0, try_set(own, option, value))
        here = Governed(box, "old", {"TCP_KEEPIDLE": respect("60s"), "SO_SNDBUF": respect(60000),
                                     "TCP_USER_TIMEOUT": respect("20s"), "SO_PRIORITY": respect(3)})
        for one, expected in ((plain, (60, 120000, 20000, 3)), (own, (9, 60000, 9000, 5))):
            connect(here, one)
            check("TCP_KEEPIDLE, SO_SNDBUF, TCP_USER_TIMEOUT, SO_PRIORITY", expected, tuple(
                one.sockopt(*name) for name in (TCP_KEEPIDLE, SO_SNDBUF, TCP_USER_TIMEOUT, SO_PRIORITY)))


def test_bound_and_sending_udp(box):
    here = Tenant(box, "udp", {"SO_SNDBUF": respect(40000), "IP_TOS": respect("AF41")})
    for what in ("bind", "send"):
        for own in (False, True):
            with here.worker.socket(INET, DATAGRAM) as one:
                if own:
                    check("errnos", [0, 0], [try_set(one, SO_SNDBUF, 50000), try_set(one, IP_TOS, 0x28)])
                if what == "bind":
                    one.bind(("127.0.0.1", 0))
                else:
                    one.sendto(b"x", ("127.0.0.1", 9))
                check(f"SO_SNDBUF and IP_TOS ({what}, the application set them: {own})",
                      (100000, 0x28) if own else (80000, 0x88), (one.sockopt(*SO_SNDBUF), one.sockopt(*IP_TOS)))


def test_nodelay_of_many(box):
    """A default that a library sets explicitly counts, socket by socket."""
    here = Tenant(box, "many", {"TCP_NODELAY": respect("on")})
    with listening(here.peer) as listener:
        for number in range(40):
            with here.worker.socket(INET, STREAM) as one:
                if number % 3 == 0:
                    check("errno", 0, try_set(one, TCP_NODELAY, 0))
                one.connect(("127.0.0.1", listener.port()))
                check(f"TCP_NODELAY of socket {number}", int(number % 3 != 0), one.sockopt(*TCP_NODELAY))
                with listener.accept():
                    pass
