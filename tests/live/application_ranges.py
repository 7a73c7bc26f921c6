# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Ranges: what the application sets is brought into them, before the policy's moment and after."""

import errno
import socket

from application_calls import (SO_MAX_PACING_RATE, SO_RCVBUF, SO_SNDBUF, TCP_KEEPCNT, TCP_USER_TIMEOUT, connected)
from other_sockets import DATAGRAM, STREAM, Tenant, datagram_server, rule, send
from harness.capture import Capture
from harness.flows import TCP_KEEPIDLE, connection, listening
from harness.packet import MSS, WSCALE
from harness.result import Between, OneOf, check, wait_for
from harness.words import between, try_set

COMMON_AGENT = True

INET = socket.AF_INET
TCP_MAXSEG, TCP_WINDOW_CLAMP = (socket.IPPROTO_TCP, 2), (socket.IPPROTO_TCP, 10)
TCP_NOTSENT_LOWAT = (socket.IPPROTO_TCP, 25)
UNLIMITED = 0xFFFFFFFF


def test_no_limit_is_more_than_every_most(box):
    """After the moment; before it where the kernel shows it."""
    here = Tenant(box, "none", {"TCP_USER_TIMEOUT": between(most="60s"), "TCP_NOTSENT_LOWAT": between(most="16K"),
                                  "SO_MAX_PACING_RATE": between("1MB/s", "10MB/s")})
    with connected(here) as one:
        for option, none, most in ((TCP_USER_TIMEOUT, 0, 60000), (TCP_NOTSENT_LOWAT, 0, 16384),
                                   (SO_MAX_PACING_RATE, UNLIMITED, 10**7)):
            check(f"option {option}, which nobody set", none, one.sockopt(*option))
            for value in (none, most - 1 if option != SO_MAX_PACING_RATE else most + 1):
                check(f"errno of option {option} = {value}", 0,
                      try_set(one, option, -1 if value == UNLIMITED else value))
                check(f"option {option} after {value} was asked for", min(value or most, most),
                      one.sockopt(*option))


def test_no_limit_before_the_moment(box):
    """Pacing that was limited and is not any more is shown by nothing; a limit above the range is."""
    here = Tenant(box, "none-before", {"TCP_USER_TIMEOUT": between(most="60s", value="30s")})
    for asked, expected in ((0, 30000), (90000, 60000), (9, 9)):
        with here.worker.socket(INET, STREAM) as one, listening(here.peer) as listener:
            check("errno", 0, try_set(one, TCP_USER_TIMEOUT, asked))
            one.connect(("127.0.0.1", listener.port()))
            check(f"TCP_USER_TIMEOUT that was set to {asked} before", expected, one.sockopt(*TCP_USER_TIMEOUT))


def test_one_end_only(box):
    here = Tenant(box, "ends", {"TCP_KEEPIDLE": between(least="30s"), "TCP_KEEPCNT": between(most=5),
                                  "TCP_USER_TIMEOUT": between(least="10s")})
    with connected(here) as one:
        for option, cases in ((TCP_KEEPIDLE, ((1, 30), (31, 31), (32767, 32767))),
                              (TCP_KEEPCNT, ((1, 1), (5, 5), (127, 5))),
                              (TCP_USER_TIMEOUT, ((1, 10000), (0, 0), (1 << 30, 1 << 30)))):
            for asked, expected in cases:
                check("errno", 0, try_set(one, option, asked))
                check(f"option {option} after {asked}", expected, one.sockopt(*option))


def test_segments_on_the_wire(box):
    """TCP_MAXSEG before connect(2) and on a listener: what SYN and SYN-ACK announce."""
    here = Tenant(box, "segments", {"TCP_MAXSEG": between(600, 1000)})
    for asked, expected in ((500, 600), (800, 800), (1400, 1000)):
        with listening(here.peer) as listener, here.worker.socket(INET, STREAM) as one:
            check("errno", 0, try_set(one, TCP_MAXSEG, asked))
            with Capture(listener.port()) as wire:
                one.connect(("127.0.0.1", listener.port()))
                [syn] = [p for p in wire.packets() if p.is_syn]
            check(f"MSS of the SYN, {asked} asked for", expected, syn.options[MSS])
        with here.worker.socket(INET, STREAM) as listener:
            check("errno", 0, try_set(listener, TCP_MAXSEG, asked))
            listener.bind(("127.0.0.1", 0))
            listener.listen(1)
            with Capture(listener.port()) as wire, connection(here.peer, listener):
                [synack] = [p for p in wire.packets() if p.is_synack]
            check(f"MSS of the SYN-ACK, {asked} asked for", expected, synack.options[MSS])


def test_buffers_before_the_moment_are_in_the_syn(box):
    """A small SO_RCVBUF is brought up before the window scale is fixed."""
    here = Tenant(box, "scale", {"SO_RCVBUF": between(least="2M")})
    scales = []
    for worker in (here.peer, here.worker):
        with listening(here.peer) as listener, worker.socket(INET, STREAM) as one:
            check("errno", 0, try_set(one, SO_RCVBUF, 20000))
            with Capture(listener.port()) as wire:
                one.connect(("127.0.0.1", listener.port()))
                [syn] = [p for p in wire.packets() if p.is_syn]
            scales.append(syn.options[WSCALE])
    check("window scales of the SYN: ungoverned, governed", [0, Between(1, 14)], scales)


def test_a_buffer_that_nobody_set_grows(box):
    """It is left to autotuning, which the range does not bound."""
    here = Tenant(box, "grows", {"SO_SNDBUF": between(8192, "256K"), "SO_RCVBUF": between("1M", "2M")})
    shown = []
    for worker in (here.peer, here.worker):
        with listening(here.peer) as listener, connection(worker, listener) as (client, _):
            wait_for("SO_SNDBUF to grow by itself", Between((2 << 18) + 1, 1 << 30),
                     lambda: client.sockopt(*SO_SNDBUF))
            shown.append(client.sockopt(*SO_RCVBUF))
    check("SO_RCVBUF, as without a policy", shown[0], shown[1])


def test_value_where_nothing_was_set(box):
    """Of each direction and protocol; the listener's own counts for what it accepts."""
    here = Tenant(box, "value", {"TCP_KEEPIDLE": between("30s", "90s", "60s"),
                                 "SO_SNDBUF": between(20000, 80000, 40000)})

    def shown(one):
        return one.sockopt(*TCP_KEEPIDLE), one.sockopt(*SO_SNDBUF)

    with listening(here.worker) as listener:
        with connection(here.peer, listener) as (_, accepted):
            check("an accepted socket", (60, 80000), shown(accepted))
        for option, value in ((TCP_KEEPIDLE, 9), (SO_SNDBUF, 100000)):
            check("errno on the listener", 0, try_set(listener, option, value))
        with connection(here.peer, listener) as (_, accepted):
            check("an accepted socket whose listener set them itself", (30, 160000), shown(accepted))
            check("errno", 0, try_set(accepted, TCP_KEEPIDLE, 300))
            check("what it has then", (90, 160000), shown(accepted))
    for kind in ("bind", "connect", "send"):
        with here.worker.socket(INET, DATAGRAM) as one:
            if kind == "send":
                one.sendto(b"x", ("127.0.0.1", 9))
            else:
                getattr(one, kind)(("127.0.0.1", 0 if kind == "bind" else 9))
            check(f"SO_SNDBUF of a UDP socket ({kind})", 80000, one.sockopt(*SO_SNDBUF))


def test_what_a_policy_gave_earlier(box):
    """A sender gets the value of the next configuration at its next send, but keeps what it set itself."""
    here = Tenant(box, "earlier", {"SO_SNDBUF": between(8192, 65536, value=20000)})
    with datagram_server(here.peer, INET, "127.0.0.1") as server, here.worker.socket(INET, DATAGRAM) as untouched, \
            here.worker.socket(INET, DATAGRAM) as own:
        check("errno", 0, try_set(own, SO_SNDBUF, 30001))
        for value in (20000, 30000, 20000):
            here.reload({"SO_SNDBUF": between(8192, 65536, value=value)})
            for one, expected in ((untouched, value), (own, 30001)):
                send(one, server, "127.0.0.1")
                check(f"SO_SNDBUF with the value {value}", 2 * expected, one.sockopt(*SO_SNDBUF))


def test_range_beside_respect(box):
    """A default that was set explicitly counts then."""
    here = Tenant(box, "beside", {"TCP_KEEPIDLE": between("30s", "90s", "60s", ", application: respect"),
                                    "TCP_KEEPCNT": between(2, 20, 4, ", application: respect")})
    with here.worker.socket(INET, STREAM) as one, here.worker.socket(INET, STREAM) as plain, \
            listening(here.peer) as listener:
        check("errnos", [0, 0], [try_set(one, TCP_KEEPIDLE, 7200), try_set(one, TCP_KEEPCNT, 9)])
        for subject, expected in ((one, (90, 9)), (plain, (60, 4))):
            subject.connect(("127.0.0.1", listener.port()))
            check("TCP_KEEPIDLE and TCP_KEEPCNT", expected,
                  (subject.sockopt(*TCP_KEEPIDLE), subject.sockopt(*TCP_KEEPCNT)))


def test_range_by_peer(box):
    here = Tenant(box, "by-peer", {"TCP_KEEPIDLE": between("30s", "90s")},
                    rule("remote: 127.0.0.2", "two", TCP_KEEPIDLE=between("10s", "20s")),
                    rule("remote: 127.0.0.3", "three", TCP_KEEPIDLE="unset"))
    for address, low, high in (("127.0.0.1", 30, 90), ("127.0.0.2", 10, 20), ("127.0.0.3", 5, 300)):
        with here.peer.socket(INET, STREAM) as listener, here.worker.socket(INET, STREAM) as one:
            listener.bind((address, 0))
            listener.listen(1)
            check("errno before", 0, try_set(one, TCP_KEEPIDLE, 5))
            one.connect((address, listener.port()))
            check(f"TCP_KEEPIDLE from before ({address})", low, one.sockopt(*TCP_KEEPIDLE))
            check("errno after", 0, try_set(one, TCP_KEEPIDLE, 300))
            check(f"TCP_KEEPIDLE from after ({address})", high, one.sockopt(*TCP_KEEPIDLE))


def test_negative_numbers(box):
    """A buffer of -1 is as large as can be; other options refuse it, or are in the range."""
    here = Tenant(box, "negative", {"SO_SNDBUF": between(20000, 60000), "TCP_KEEPIDLE": between("30s", "90s"),
                                      "TCP_USER_TIMEOUT": between("30s", "90s")})
    with connected(here) as one:
        check("errno of SO_SNDBUF", 0, try_set(one, SO_SNDBUF, -1))
        check("SO_SNDBUF", 120000, one.sockopt(*SO_SNDBUF))
        for option, inside in ((TCP_KEEPIDLE, (7200, 30, 90)), (TCP_USER_TIMEOUT, (0, 30000, 90000))):
            check("errno", OneOf([errno.EINVAL, 0]), try_set(one, option, -1))
            check(f"option {option}", OneOf(inside), one.sockopt(*option))


def test_window_clamp(box):
    here = Tenant(box, "clamp", {"TCP_WINDOW_CLAMP": between(20000, 40000)})
    for asked, expected in ((5000, 20000), (30000, 30000), (100000, 40000)):
        with here.worker.socket(INET, STREAM) as one, listening(here.peer) as listener:
            check("errno", 0, try_set(one, TCP_WINDOW_CLAMP, asked))
            one.connect(("127.0.0.1", listener.port()))
            check(f"TCP_WINDOW_CLAMP, {asked} asked for", expected, one.sockopt(*TCP_WINDOW_CLAMP))
