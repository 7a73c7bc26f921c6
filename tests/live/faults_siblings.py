# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Siblings of the faults of faults_sockets.py: the same kind, on another socket or another option."""

import contextlib
import socket
import sys

from conformance.effects import TCP_BPF_IW
from conformance.scenes import joined, second_subflows
from faults_sockets import BOTH_WAYS, EF, FRESH_KINDS, by_rule, fresh, mark, priority
from other_sockets import IP_TOS, STREAM, Governed, multipath, rule
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
