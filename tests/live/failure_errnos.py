# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""on_failure: refuse: which calls fail where an option cannot be set, with which errno, and that nothing
leaves."""

import contextlib
import errno
import os
import re
import socket
import subprocess

from application_counters import counted
from faults_options import warned
from faults_sockets import Wire, device, mark, neighbours
from other_sockets import DATAGRAM, STREAM, Tenant
from harness import lacks
from harness.capture import Capture
from harness.flows import connection, listening
from harness.result import Skip, check
from harness.sandbox import DEVICE, FAR_AWAY, MARK, OTHER_DEVICE
from harness.words import try_to

INET, INET6 = socket.AF_INET, socket.AF_INET6

COMMON_AGENT = True
FILE = "50-test.yaml"
PLACES = ((INET, "127.0.0.1"), (INET6, "::1"), (INET6, "::ffff:127.0.0.1"))
NOWHERE = "spnowhere"


def one_rule(name, when, options):
    return f"rules: [ {{ name: {name}, when: {{ {when} }}, options: {{ {options} }} }} ]"


class Refusing(Tenant):
    """One whose policy has these lines."""

    def __init__(self, box, name, lines, on_failure="refuse"):
        self.lines, self.on_failure = lines, on_failure
        super().__init__(box, name, {})

    def write(self, options, *rule_texts):
        text = "".join(f"    {line}\n" for line in self.lines.splitlines())
        self.agent.write(self.file, f"""policies:
  - name: {self.name}
    match: {{ cgroup: "{self.cgroup.path}" }}
    on_failure: {self.on_failure}
{text}""")

    def again(self, lines):
        self.lines = lines
        self.reload({})


def connect_to(here, kind, family, address, worker=None):
    """errno of connect(2) to a peer that is there, and how many packets were seen by then."""
    with here.peer.socket(INET6 if family == INET6 and "." not in address else INET, kind) as server, \
            (worker or here.worker).socket(family, kind) as one:
        server.bind((address.removeprefix("::ffff:"), 0))
        if kind == STREAM:
            server.listen(1)
        with Capture(server.port()) as wire:
            seen = one.connect_ex((address, server.port()))
            if not seen:
                one.send(b"x")
            return seen, len(wire.packets())


def refused_everywhere(here, expected=errno.EPERM, kinds=(STREAM, DATAGRAM)):
    for kind in kinds:
        for family, address in PLACES:
            check(f"errno of connect(2) to {address} ({kind.name}), and packets", (expected, 0),
                  connect_to(here, kind, family, address))


def allowed_everywhere(here, kinds=(STREAM, DATAGRAM)):
    for kind in kinds:
        for family, address in PLACES:
            check(f"errno of connect(2) to {address} ({kind.name})", 0, connect_to(here, kind, family, address)[0])


def new_or_refused(here, kind):
    """A new socket; None where socket(2) is refused, which it is where its hook may call setsockopt."""
    try:
        return here.worker.socket(INET, kind)
    except PermissionError:
        if lacks.bpf_lsm():
            raise
        return None


def test_connect_without_its_device(box):
    here = Refusing(box, "connect", one_rule("out", "direction: connect", f"SO_BINDTODEVICE: {NOWHERE}"))
    refused_everywhere(here)
    check("counted", {("refused", "out", "SO_BINDTODEVICE"): 6}, counted(here))
    here.again(one_rule("out", "direction: connect", "SO_BINDTODEVICE: lo"))
    allowed_everywhere(here)
    here.on_failure = "continue"
    here.again(one_rule("out", "direction: connect", f"SO_BINDTODEVICE: {NOWHERE}"))
    allowed_everywhere(here)
    check("counted", {("refused", "out", "SO_BINDTODEVICE"): 6}, counted(here))


def test_base_options(box):
    """Sockets that socket(2) could not bind to the device, too."""
    here = Refusing(box, "base", f"options: {{ SO_BINDTODEVICE: {NOWHERE} }}")
    for kind in (STREAM, DATAGRAM):
        with contextlib.ExitStack() as stack:
            one = new_or_refused(here, kind)
            if one:
                stack.enter_context(one)
                check(f"errno of connect(2) ({kind.name})", errno.EPERM, one.connect_ex(("127.0.0.1", 9)))
                check(f"errno of bind(2) ({kind.name})", errno.EPERM, try_to(one.bind, ("127.0.0.1", 0)))
    one = new_or_refused(here, DATAGRAM)
    if one:
        for _ in range(3):
            check("errno of a send", errno.EPERM, try_to(one.sendto, b"x", ("127.0.0.1", 9)))


def test_bind_without_its_device(box):
    """The port stays free."""
    here = Refusing(box, "bind", one_rule("in", "direction: listen", f"SO_BINDTODEVICE: {NOWHERE}"))
    for kind in (STREAM, DATAGRAM):
        for family, address in PLACES[:2]:
            with here.worker.socket(family, kind) as one, here.peer.socket(family, kind) as other:
                other.bind((address, 0))
                port = other.port()
                other.close()
                check(f"errno of bind(2) to {address} ({kind.name})", errno.EPERM,
                      try_to(one.bind, (address, port)))
                check("the port of the socket", 0, one.port())
                with here.peer.socket(family, kind) as third:
                    check("errno of another's bind(2) to the port", 0, try_to(third.bind, (address, port)))
    check("errno of connect(2), of which the rule says nothing", 0, connect_to(here, STREAM, INET, "127.0.0.1")[0])


def test_sends_without_their_device(box):
    """Every send to an address, as long as the device is not there; then it works."""
    here = Refusing(box, "send", one_rule("out", "direction: connect", "SO_BINDTODEVICE: splate"))
    for version, family in ((4, INET), (6, INET6)):
        with here.worker.socket(family, DATAGRAM) as one:
            for _ in range(3):
                check(f"errno of a send, IPv{version}", errno.EPERM,
                      try_to(one.sendto, b"x", (FAR_AWAY[version], 9)))
            with here.worker.socket(family, DATAGRAM) as another:
                check("errno of another socket's", errno.EPERM,
                      try_to(another.sendto, b"x", (FAR_AWAY[version], 9)))
            box.ip("link", "add", "splate", "type", "veth", "peer", "name", "splatep")
            with contextlib.ExitStack() as stack:
                stack.callback(box.ip, "link", "del", "splate")
                box.ip("link", "set", "splate", "up")
                box.ip("link", "set", "splatep", "up")
                box.ip(f"-{version}", "route", "add", "default", "dev", "splate", "metric", "30")
                first = try_to(one.sendto, b"x", (FAR_AWAY[version], 9))
                check(f"errno of the first send with the device, IPv{version}", True, first in (0, errno.EPERM))
                check("errno of the next", 0, try_to(one.sendto, b"x", (FAR_AWAY[version], 9)))
                check("the device of the sender", "splate", device(one))


def test_a_rule_that_asks_for_the_local_address(box):
    """It is decided late: EHOSTUNREACH, and no SYN."""
    here = Refusing(box, "late", """rules:
  - name: late
    when: { direction: connect, local: [127.0.0.0/8, "::1"] }
    options: { TCP_CONGESTION: spnosuch }
""")
    refused_everywhere(here, errno.EHOSTUNREACH, (STREAM,))
    check("counted", {("refused", "late", "TCP_CONGESTION"): 3}, counted(here))
    check("errno of connect(2) (UDP), which has no congestion control", 0,
          connect_to(here, DATAGRAM, INET, "127.0.0.1")[0])


def test_the_first_send_by_a_rule(box):
    """Its datagram has its route already: it fails once, and the next one is right."""
    for options, right in ((f"SO_MARK: {MARK}", MARK), (f"SO_BINDTODEVICE: {DEVICE}", DEVICE),
                           (f"SO_BINDTOIFINDEX: {socket.if_nametoindex(DEVICE)}", DEVICE)):
        with box.scope():
            here = Refusing(box, "first", one_rule("out", "direction: connect", options))
            for version, family in ((4, INET), (6, INET6)):
                to = FAR_AWAY[version]
                with box.scope(), here.worker.socket(family, DATAGRAM) as one:
                    neighbours(box, version, to)
                    with Wire(OTHER_DEVICE, to, version) as wrong, Wire(DEVICE, to, version) as wire:
                        seen = [try_to(one.sendto, b"x", (to, 9)) for _ in range(4)]
                        check(f"errnos of sends, {options}, IPv{version}", [errno.EPERM, 0, 0, 0], seen)
                        check("what the socket has", right, mark(one) if right == MARK else device(one))
                        check("datagrams by the policy's device, and by the other", (3, 0),
                              (wire.count(), wrong.count()))
                        check("errno after connect(2)", 0, one.connect_ex((to, 9)))


def test_the_first_send_of_a_base_option(box):
    """It was given at socket(2): no send fails."""
    here = Refusing(box, "at-socket", f"options: {{ SO_MARK: {MARK} }}")
    with box.scope(), here.worker.socket(INET, DATAGRAM) as one:
        neighbours(box, 4, FAR_AWAY[4])
        check("errnos of sends", [0, 0], [try_to(one.sendto, b"x", (FAR_AWAY[4], 9)) for _ in range(2)])
        check("mark", MARK, mark(one))


@contextlib.contextmanager
def own_congestion_control(box):
    """(its name, a function that takes it away)"""
    name, built = f"spgo{os.getpid():08d}", box.built("tests/needs_ecn.bpf.o")
    if not os.path.exists(built):
        raise Skip(f"there is no {built}")
    path = box.path("gone")
    with open(built, "rb") as source, open(path, "wb") as target:
        target.write(source.read().replace(b"sockpol_name", name.encode()))
    done = subprocess.run(["bpftool", "struct_ops", "register", path], capture_output=True, text=True, check=False)
    number = re.search(r"Registered \S+ \S+ id (\d+)", done.stdout + done.stderr)
    if not number:
        raise Skip(f"no congestion control of our own here: {done.stderr.strip()}")

    def remove():
        subprocess.run(["bpftool", "struct_ops", "unregister", "id", number[1]], capture_output=True, check=False)

    try:
        yield name, remove
    finally:
        remove()


def test_a_congestion_control_that_is_gone(box):
    with own_congestion_control(box) as (name, remove), box.scope():
        here = Refusing(box, "gone", f"options: {{ TCP_CONGESTION: {name}, TCP_KEEPIDLE: 60s }}")
        allowed_everywhere(here, (STREAM,))
        remove()
        refused_everywhere(here, kinds=(STREAM,))
        with here.worker.socket(INET, STREAM) as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen(1)
            with connection(here.peer, listener) as (_, accepted):
                check("TCP_KEEPIDLE of an accepted socket, which cannot be refused", 60, accepted.sockopt(6, 4))
        check("errno of connect(2) (UDP)", 0, connect_to(here, DATAGRAM, INET, "127.0.0.1")[0])


def test_what_this_kernel_lacks(box):
    """The configuration is taken, and the calls that need it are refused."""
    lines = "options: { TCP_CONGESTION: spnosuch }"
    if lacks.rto_max():
        lines = "options: { TCP_RTO_MAX_MS: 5s }"
    here = Refusing(box, "lacks", lines)
    refused_everywhere(here, kinds=(STREAM,))
    allowed_everywhere(here, (DATAGRAM,))
    check("what status says of it", True, here.name in {
        one["policy"] for one in here.agent.status()["unsupported"]})


def test_the_winners_word_counts(box):
    """A loser's is gone with it; a rule's counts before its policy's."""
    here = Refusing(box, "word", f"""options: {{ SO_BINDTODEVICE: {NOWHERE} }}
rules:
  - {{ name: lax, when: {{ remote: 127.0.0.2 }}, on_failure: continue, options: {{ SO_BINDTODEVICE: {NOWHERE}2 }} }}
  - {{ name: right, when: {{ remote: 127.0.0.3 }}, options: {{ SO_BINDTODEVICE: lo }} }}
  - {{ name: unset, when: {{ remote: 127.0.0.4 }}, options: {{ SO_BINDTODEVICE: unset }} }}
""")
    with listening(here.peer, address="0.0.0.0") as listener:
        for address, expected in (("127.0.0.1", errno.EPERM), ("127.0.0.2", 0), ("127.0.0.3", 0), ("127.0.0.4", 0)):
            with here.worker.socket(INET, STREAM) as one:
                check(f"errno of connect(2) to {address}", expected, one.connect_ex((address, listener.port())))
    deeper = here.cgroup.child("deeper")
    here.add("deeper", f"""policies:
  - name: {here.name}-inner
    match: {{ cgroup: "{deeper.path}" }}
    options: {{ SO_BINDTODEVICE: {NOWHERE} }}
""")
    worker = box.worker(deeper)
    check("errno of connect(2), by a deeper policy that goes on", 0,
          connect_to(here, STREAM, INET, "127.0.0.1", worker)[0])


def test_what_cannot_be_refused(box):
    """A listener goes on, an accepted socket too: a warning, and counted."""
    here = Refusing(box, "late-ones", """rules:
  - { name: listener, when: { direction: listen }, options: { TCP_CONGESTION: spnosuch } }
  - { name: accepted, when: { direction: accept }, options: { TCP_CONGESTION: spnosuch } }
""")
    check("check warns", True, len(warned(here, "refuse")) > 0)
    with listening(here.worker) as listener, connection(here.peer, listener) as (_, accepted):
        accepted.send(b"x")
    check("counted", {("not_refused", rule, "TCP_CONGESTION"): 1 for rule in ("listener", "accepted")}, counted(here))
    check("failures", {("listener", "TCP_CONGESTION"), ("accepted", "TCP_CONGESTION")},
          {(one["rule"], one["option"]) for one in here.agent.policy(here.name)["failed"]})


def test_a_refused_socket_may_try_again(box):
    """connect(2) that was refused leaves the socket as it was."""
    here = Refusing(box, "again", one_rule("out", "remote: 127.0.0.2", f"SO_BINDTODEVICE: {NOWHERE}"))
    with listening(here.peer, address="0.0.0.0") as listener:
        for kind in (STREAM, DATAGRAM):
            with here.worker.socket(INET, kind) as one:
                check("errno of connect(2)", errno.EPERM, one.connect_ex(("127.0.0.2", listener.port())))
                check("errno of the next, to elsewhere", 0, one.connect_ex(("127.0.0.1", listener.port())))
                check("bytes sent", 1, one.send(b"x"))


def test_as_nobody(box):
    """A user's calls are refused alike, and unbound sockets of a user's are bound."""
    here = Refusing(box, "nobody", one_rule("out", "direction: connect", f"SO_BINDTODEVICE: {NOWHERE}"))
    program = ("import os, socket; os.setgid(65534); os.setuid(65534)\n"
               "for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):\n"
               "    print(socket.socket(type=kind).connect_ex(('127.0.0.1', 9)))")
    done = here.cgroup.run(["python3", "-I", "-c", program])
    check(f"errnos of connect(2) ({done.stderr})", f"{errno.EPERM}\n" * 2, done.stdout)
