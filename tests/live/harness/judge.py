# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Tables of rules and connections: which rule wins for which socket.

A row is a policy of its own, for a cgroup of its own; all rows of a table are under one agent.  A
rule leaves its number on the socket as SO_PRIORITY, which a socket that no rule holds for has as 0.
"""

import collections
import contextlib
import errno
import socket
import struct
import subprocess
from dataclasses import dataclass

from .flows import SO_PRIORITY, policies, policy
from .result import Failure, check

FILE = "50-test.yaml"
NO_LINGER = struct.pack("ii", 1, 0)  # close with a reset: no TIME_WAIT that keeps the port
ANY_PORT = 4321
# Every address of these can be bound and is answered from, while a table runs.
OURS = {4: ("1.0.0.0/8", "10.64.0.0/12", "223.255.255.0/24"),
        6: ("::1:0/112", "2000::/16", "fd64::/16", "feff::/16")}
# Nothing listens there; a broadcast address cannot be connected to, but the hook has run by then.
EXPECTED_ERRORS = (0, errno.EINPROGRESS, errno.ECONNREFUSED, errno.EACCES, errno.ENETUNREACH)

TCP, UDP = socket.SOCK_STREAM, socket.SOCK_DGRAM


@dataclass(frozen=True)
class Connection:
    """How a socket of the governed cgroup comes to talk.

    kind: "connect tcp", "connect udp", "accept tcp", "listen tcp", "listen udp" (bind(2) only),
    "send udp" (not connected), or "rebound udp" (bound, then connected).  `local` is what it binds
    to, nothing where it does not; a listener that accepts may be at "::" for an IPv4 peer.
    """
    kind: str
    remote: str = None
    remote_port: int = None
    local: str = None
    local_port: int = None

    def __str__(self):
        parts = [self.kind]
        if self.local or self.local_port:
            parts.append(f"local {self.local or 'any'} {self.local_port or ''}".rstrip())
        if self.remote or self.remote_port:
            parts.append(f"remote {self.remote or 'loopback'} {self.remote_port or ''}".rstrip())
        return ", ".join(parts)


def family_of(address):
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def loopback(address):
    """The loopback address of the same family."""
    return "::1" if ":" in address else "127.0.0.1"


class Judge:
    """Makes connections, one program governed, another one not."""

    def __init__(self, worker, stranger):
        self.worker, self.stranger = worker, stranger
        self.shown = collections.Counter()  # sockets by SO_PRIORITY, once a direction

    def look(self, made):
        priority = made.sockopt(*SO_PRIORITY)
        self.shown[priority] += 1
        return priority

    def priority(self, connection):
        """SO_PRIORITY of the socket that the connection is about."""
        direction, protocol = connection.kind.split()
        with contextlib.ExitStack() as stack:
            made = getattr(self, direction)(stack, connection, TCP if protocol == "tcp" else UDP)
            return self.look(made)

    @staticmethod
    def socket(stack, worker, address, kind):
        made = stack.enter_context(worker.socket(family_of(address), kind))
        if kind == TCP:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)
        return made

    def bound(self, stack, connection, kind):
        remote, local = connection.remote or "127.0.0.1", connection.local
        made = self.socket(stack, self.worker, local or remote, kind)
        if local or connection.local_port:
            made.bind((local or ("::" if ":" in remote else "0.0.0.0"), connection.local_port or 0))
        return made

    def connect(self, stack, connection, kind):
        return self.go(self.bound(stack, connection, kind), connection)

    @staticmethod
    def go(made, connection):
        made.setblocking(False)
        to = (connection.remote or loopback(connection.local or ""),
              connection.remote_port or ANY_PORT)
        error = made.connect_ex(to)
        check(f"{connection}: the error of connect(2)", True, error in EXPECTED_ERRORS)
        return made

    def rebound(self, stack, connection, kind):
        """It was `listen` before."""
        made = self.bound(stack, connection, kind)
        self.look(made)
        return self.go(made, connection)

    def send(self, stack, connection, kind):
        made = self.bound(stack, connection, kind)
        made.sendto(b"", (connection.remote or "127.0.0.1", connection.remote_port or ANY_PORT))
        return made

    def listen(self, stack, connection, kind):
        made = self.bound(stack, connection, kind)
        if kind == TCP:
            made.listen(1)
        return made

    def accept(self, stack, connection, kind):
        remote = connection.remote or loopback(connection.local or "")
        local = connection.local or loopback(remote)
        listener = self.socket(stack, self.worker, local, kind)
        listener.bind((local, connection.local_port or 0))
        listener.listen(1)
        self.look(listener)
        client = self.socket(stack, self.stranger, remote, kind)
        client.bind((remote, connection.remote_port or 0))
        to = loopback(remote) if local in ("::", "0.0.0.0") else local
        client.connect((to, listener.port()))
        return stack.enter_context(listener.accept())


UNSET = "unset"


class Row:
    """Rules, weakest first, and which of them wins for which connection (0: none).

    A rule is its `when`, or (when, value of SO_PRIORITY).  A rule that may hold comes last, so that
    socket(2) leaves SO_PRIORITY to the later moments, which these tables are about.
    """

    OPEN = ("      - name: open\n        when: { remote: 192.0.2.1, local: 192.0.2.2 }\n"
            "        options: { SO_PRIORITY: unset }\n")


    def __init__(self, rules, *cases):
        self.rules = [rule if isinstance(rule, tuple) else (rule, number)
                      for number, rule in enumerate(rules, 1)]
        self.cases = [case for some in cases for case in some]

    def text(self, name, cgroup):
        rules = "".join(f"      - name: rule-{number}\n        when: {{ {when} }}\n"
                        f"        options: {{ SO_PRIORITY: {value} }}\n"
                        for number, (when, value) in enumerate(self.rules, 1))
        return policy(name, cgroup, {}, "    rules:\n" + rules + self.OPEN)

    def counted(self, shown):
        """{rule: how often it must have held, at least}, by what the sockets showed; and the last one's
        name, which wins wherever it holds, so that this is its exact number."""
        names = [f"rule-{number}" for number in range(1, len(self.rules) + 1)]
        least = {name: shown[value] for name, (_, value) in zip(names, self.rules) if value != UNSET}
        return least, names[-1] if names[-1] in least else None


def rule(when, holds=(), fails=()):
    """A row of one rule: connections that it holds for, and others."""
    return Row([when], [(connection, 1) for connection in holds],
               [(connection, 0) for connection in fails])


EVERY_PEER = ("connect tcp", "connect udp", "accept tcp")


def peers(*addresses, kinds=EVERY_PEER, **more):
    return [Connection(kind, remote=address, **more) for address in addresses for kind in kinds]


def peer_ports(*ports, kinds=EVERY_PEER, **more):
    return [Connection(kind, remote_port=port, **more) for port in ports for kind in kinds]


EVERY_LOCAL = ("connect tcp", "rebound udp", "accept tcp")


def local_ends(*addresses, kinds=EVERY_LOCAL, **more):
    return [Connection(kind, local=address, **more) for address in addresses for kind in kinds]


def local_ports(*ports, kinds=EVERY_LOCAL, **more):
    return [Connection(kind, local_port=port, **more) for port in ports for kind in kinds]


def own_addresses(box):
    """Within the scope of a test, OURS are addresses of this host."""
    nonlocal_bind = "/proc/sys/net/ipv6/ip_nonlocal_bind"
    with open(nonlocal_bind, "w", encoding="ascii") as file:
        file.write("1")
    for version, prefixes in OURS.items():
        for prefix in prefixes:
            where = ["ip", f"-{version}", "route"]
            subprocess.run([*where, "add", "local", prefix, "dev", "lo"], check=True)
            box.stack.callback(subprocess.run, [*where, "del", "local", prefix, "dev", "lo"],
                               check=False)


def move(worker, cgroup):
    """What it makes from now on belongs to that cgroup."""
    with open(f"{cgroup.directory}/cgroup.procs", "w", encoding="ascii") as procs:
        procs.write(str(worker.pid))


def judge_rows(box, name, rows):
    """Asks the kernel about every case of every row ({name: Row}), and then the counters."""
    own_addresses(box)
    agent, parent = box.agent(name), box.cgroup.child(name)
    cgroups = {row: parent.child(row) for row in rows}
    agent.write(FILE, policies(*(row.text(key, cgroups[key]) for key, row in rows.items())))
    agent.start()
    worker = box.worker(parent)
    stranger = box.worker(box.cgroup.child(f"{name}-stranger"))
    shown, wrong = {}, []
    for key, row in rows.items():
        move(worker, cgroups[key])
        judge = Judge(worker, stranger)
        wrong += wrong_cases(judge, key, row)
        shown[key] = judge.shown
    if wrong:
        raise Failure(f"the rule that wins ({len(wrong)} cases are wrong)", "as the table has it",
                      "\n              ".join(wrong))
    check_counters(agent, rows, shown)


def wrong_cases(judge, name, row):
    wrong = []
    for connection, winner in row.cases:
        try:
            seen = judge.priority(connection)
        except OSError as error:
            seen = error
        if seen != winner:
            wrong.append(f"{name}: {'; '.join(when for when, _ in row.rules)}: {connection}: "
                         f"SO_PRIORITY {winner}, seen {seen}")
    return wrong


def check_counters(agent, rows, shown):
    """Sockets are counted by the rules that held, whichever of them won."""
    status = {one["name"]: one for one in agent.status()["policies"]}
    for name, row in rows.items():
        least, last = row.counted(shown[name])
        applied = {one["name"]: one["applied"] for one in status[name]["rules"]}
        check(f"{name}: rules counted less often than they won", {},
              {one: (applied[one], number) for one, number in least.items() if applied[one] < number})
        if last:
            check(f"{name}: applied, the last rule", least[last], applied[last])
        check(f"{name}: failed options", [], status[name]["failed"])
