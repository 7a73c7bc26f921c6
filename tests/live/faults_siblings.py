# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Siblings of the faults of faults_sockets.py: the same kind, on another socket or another option."""

import contextlib
import errno
import json
import socket
import sys

from conformance.effects import TCP_BPF_IW
from conformance.scenes import WAYS, joined, second_subflows
from faults_sockets import (BOTH_WAYS, EF, FRESH_KINDS, IPV6_TCLASS, by_rule, fresh, mark, priority,
                            window)
from other_sockets import DATAGRAM, IP_TOS, STREAM, Governed, multipath, rule
from harness.flows import SO_PRIORITY, accepted_option, listening
from harness.result import check
from harness.sandbox import DEVICE_ADDRESS, OTHER_ADDRESS
from harness.tcp_options import Subflow


# --- S4: what socket(2) gives --------------------------------------------------------------------

def test_s4_prefixes_tell_the_family(box):
    """No IPv4 socket has an IPv6 address, so such a rule leaves nothing open there."""
    here = Governed(box, "s4-prefix", {"SO_MARK": 1}, rule('remote: "fd00::/8"', "far", SO_MARK=2),
                    rule('direction: listen, local: "fd00::/8"', "own", SO_MARK=3))
    seen = {}
    for name in ("tcp", "udp"):
        for version in (4, 6):
            with fresh(here, version, *FRESH_KINDS[name]) as one:
                seen[name, version] = mark(one)
    check("marks of new sockets", {("tcp", 4): 1, ("tcp", 6): 0, ("udp", 4): 1, ("udp", 6): 0}, seen)


def test_s4_priority_comes_after_tos_at_listen(box):
    """IP_TOS, which the SYN-ACK needs, takes from a listener what socket(2) gave: given again."""
    here = Governed(box, "s4-listen", {"SO_PRIORITY": 3, "IP_TOS": EF})
    for rules in ((), (rule("direction: listen", IP_TOS=EF),)):
        here.reload({"SO_PRIORITY": 3, "IP_TOS": 8}, *rules)
        with listening(here.worker) as listener:
            check("IP_TOS and SO_PRIORITY of a listener", (EF if rules else 8, 3),
                  (listener.sockopt(*IP_TOS), priority(listener)))
            check("SO_PRIORITY of an accepted socket", 3, accepted_option(listener, here.peer))
    here.reload({"SO_PRIORITY": 3})
    with here.worker.socket(socket.AF_INET, STREAM) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.setsockopt(*SO_PRIORITY, 6)
        listener.listen(1)
        check("SO_PRIORITY of a listener, over what the application set", 3, priority(listener))


# --- S7: who called connect(2) is `connect`, and nobody else -------------------------------------

def integer(subflow, level, optname):
    return int.from_bytes(subflow.getsockopt(level, optname, 4), sys.byteorder)


def test_s7_joined_subflow_is_accepted(box):
    """A process has it when it is established, like a socket that connects to itself."""
    here = Governed(box, "s7-join", {}, *BOTH_WAYS)
    for client, server, expected in ((here.peer, here.worker, (5, 20)),
                                     (here.worker, here.peer, (3, 30))):
        with contextlib.ExitStack() as stack:
            with second_subflows(OTHER_ADDRESS[4]):
                _, _, wire = stack.enter_context(multipath(client, server, socket.AF_INET,
                                                           DEVICE_ADDRESS[4]))
                ports = joined(wire, OTHER_ADDRESS[4])
            second = Subflow(box, *(ports if client is here.worker else ports[::-1]))
            check("SO_PRIORITY and window of the second subflow", expected,
                  (integer(second, *SO_PRIORITY), integer(second, socket.IPPROTO_TCP, TCP_BPF_IW)))
    # Of connects there may be three: the kernel of a server may open a subflow, too.
    check("applied to accepted sockets", 2, by_rule(here)["accept"])


def test_s7_fast_open_counts_once(box):
    """connect(2) and the SYN are two calls with TCP_FASTOPEN_CONNECT, one with MSG_FASTOPEN; the
    accepted socket is there before the handshake is over."""
    here = Governed(box, "s7-fast", {}, *BOTH_WAYS)
    for number, name in enumerate(("fastopen", "fastopen-connect"), 1):
        way = WAYS[name]
        with (here.worker.socket(socket.AF_INET, STREAM) as listener,
              here.worker.socket(socket.AF_INET, STREAM) as client):
            listener.setsockopt(*way.server)
            listener.bind(("127.0.0.1", 0))
            listener.listen(1)
            to = "127.0.0.1", listener.port()
            if way.flags:
                client.sendto(b"x", way.flags, to)
            else:
                client.setsockopt(*way.client)
                client.connect(to)
                client.send(b"x")
            with listener.accept() as accepted:
                check("what went with the SYN", b"x", accepted.recv(1))
                check(f"SO_PRIORITY and window of both ends ({name})", [(3, 30), (5, 20)],
                      [(priority(one), window(one)) for one in (client, accepted)])
        check("applied, by rule", {"connect": number, "accept": number}, by_rule(here))


# --- S1: an IPv6 socket that need not speak IPv4 -------------------------------------------------

def test_s1_bound_socket_that_speaks_ipv6_alone(box):
    """What it cannot take is no failure, as with a sender."""
    here = Governed(box, "s1-bound", {"DSCP": "EF"})
    for kind in (STREAM, DATAGRAM):
        with here.worker.socket(socket.AF_INET6, kind) as one:
            one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            one.bind(("::", 0))
            if kind == STREAM:
                one.listen(1)
            check("IPV6_TCLASS", EF, one.sockopt(*IPV6_TCLASS))
    here.check_counters(2)


# --- S10: senders that are older than their policy -----------------------------------------------

def test_s10_older_sender_and_what_socket_gives(box):
    """Sends do without, so it keeps what it has until it binds or connects; unless a rule leaves the
    option to sends."""
    here = Governed(box, "s10-given", {"SO_SNDBUF": "unset"})
    with contextlib.ExitStack() as stack:
        connects, sends, binds = (stack.enter_context(here.worker.socket(socket.AF_INET, DATAGRAM))
                                  for _ in range(3))
        for one in (connects, sends):
            one.sendto(b"x", ("127.0.0.1", 9))
        here.reload({"SO_MARK": 5, "IP_TOS": EF})
        for one in (connects, sends):
            one.sendto(b"x", ("127.0.0.1", 9))
            check("mark and TOS after a send", (0, EF), (mark(one), one.sockopt(*IP_TOS)))
        connects.connect(("127.0.0.1", 9))
        binds.bind(("127.0.0.1", 0))
        check("marks after connect(2) and bind(2)", [5, 5], [mark(connects), mark(binds)])
        here.reload({"SO_MARK": 6}, rule("remote_port: 53", SO_MARK=7))
        sends.sendto(b"x", ("127.0.0.1", 9))
        check("mark after a send, where a rule leaves it open", 6, mark(sends))


def test_s10_sender_that_binds_too_late(box):
    """bind(2) to any address and port leaves no trace in the socket; one that fails is none."""
    here = Governed(box, "s10-late", {}, rule("direction: connect", IP_TOS=16))
    for version, address, anywhere in ((4, "127.0.0.1", "0.0.0.0"), (6, "::ffff:127.0.0.1", "::")):
        with fresh(here, version) as sender:
            sender.sendto(b"x", (address, 9))
            try:
                sender.bind((anywhere, 0))
            except OSError as error:
                check("errno of bind(2) after a send", errno.EINVAL, error.errno)
            here.reload({}, rule("direction: connect", IP_TOS=EF),
                        rule("direction: listen", "bound", SO_SNDBUF="40K"))
            sender.sendto(b"x", (address, 9))
            check(f"IP_TOS after a reload and a send, IPv{version}", EF, sender.sockopt(*IP_TOS))
            with contextlib.suppress(OSError):
                sender.bind((address, 9999))
            check("SO_SNDBUF by a rule for bound sockets", False,
                  sender.sockopt(socket.SOL_SOCKET, 7) == 2 * 40 * 1024)
            here.reload({}, rule("direction: connect", IP_TOS=16))


DISCONNECTED = """
import ctypes, json, socket
one = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
one.connect(("::1", 9))
one.sendto(b"x", ("::1", 9))
before = one.getsockopt(socket.IPPROTO_IP, 1), one.getsockopt(socket.IPPROTO_IPV6, 67)
libc = ctypes.CDLL(None, use_errno=True)
assert libc.connect(one.fileno(), bytes(16), 16) == 0  # AF_UNSPEC
for _ in range(2):
    try:
        one.sendto(b"x", ("::ffff:127.0.0.1", 9))
    except ConnectionRefusedError:  # the answer to the first one
        pass
print(json.dumps([before, one.getsockopt(socket.IPPROTO_IP, 1)]))
"""


def test_s1_sender_that_was_connected(box):
    """It got the options of its peer's family alone; a send to an address while it was connected is not
    its first as a sender."""
    here = Governed(box, "s1-was", {"DSCP": "EF"})
    done = here.cgroup.run([sys.executable, "-I", "-c", DISCONNECTED])
    check("IP_TOS and IPV6_TCLASS while it is connected, and IP_TOS once it sends unconnected",
          [[0, EF], EF], json.loads(done.stdout))
    here.check_counters(1)
