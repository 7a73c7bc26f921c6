# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""`direction`, `protocol`, `family`, alone and with the other keys."""

import socket

from harness.flows import (SO_PRIORITY, connected_option, connection, listening, policies,
                           policy)
from harness.judge import FILE, Connection, Row, judge_rows, rule
from harness.lacks import need_unix_hooks
from harness.result import check

V4, V6, MAPPED = "10.64.0.1", "fd64::1", "::ffff:10.64.0.1"


def all_kinds(version):
    """A connection of every kind, by kind."""
    address = V4 if version == 4 else V6
    ours = "10.64.9.9" if version == 4 else "fd64::9:9"
    return {kind: Connection(kind, **ends) for kind, ends in {
        "connect tcp": {"remote": address, "remote_port": 5432},
        "connect udp": {"remote": address, "remote_port": 5432},
        "send udp": {"remote": address, "remote_port": 5432},
        "accept tcp": {"remote": address, "local": ours},
        "listen tcp": {"local": ours},
        "listen udp": {"local": ours},
    }.items()}


FOUR, SIX = all_kinds(4), all_kinds(6)
# IPv4 spoken through IPv6 sockets.
MAPPED_KINDS = {"connect tcp": Connection("connect tcp", remote=MAPPED),
                "connect udp": Connection("connect udp", remote=MAPPED),
                "send udp": Connection("send udp", remote=MAPPED),
                "accept tcp": Connection("accept tcp", remote=V4, local="::"),
                "listen udp": Connection("listen udp", local=MAPPED),
                "listen tcp": Connection("listen tcp", local=MAPPED)}
WILDCARD = {4: [Connection("listen udp", local="0.0.0.0"), Connection("listen tcp", local="0.0.0.0")],
            6: [Connection("listen udp", local="::"), Connection("listen tcp", local="::")]}
EVERYTHING = [*FOUR.values(), *SIX.values(), *MAPPED_KINDS.values(), *WILDCARD[4], *WILDCARD[6]]


def select(when, holds):
    """A rule that holds for some of EVERYTHING; holds(connection, version)."""
    versions = [(4, [*FOUR.values(), *MAPPED_KINDS.values(), *WILDCARD[4]]),
                (6, [*SIX.values(), *WILDCARD[6]])]
    cases = [(one, version) for version, connections in versions for one in connections]
    return rule(when, [one for one, version in cases if holds(one, version)],
                [one for one, version in cases if not holds(one, version)])


def direction(one):
    return {"send": "connect"}.get(one.kind.split()[0], one.kind.split()[0])


def protocol(one):
    return one.kind.split()[1]


DIRECTIONS = {
    "connect": select("direction: connect", lambda one, _: direction(one) == "connect"),
    "accept": select("direction: accept", lambda one, _: direction(one) == "accept"),
    "listen": select("direction: listen", lambda one, _: direction(one) == "listen"),
    "connect-accept": select("direction: [connect, accept]",
                             lambda one, _: direction(one) != "listen"),
    "listen-connect": select("direction: [listen, connect]",
                             lambda one, _: direction(one) != "accept"),
    "all-three": select("direction: [connect, accept, listen]", lambda *_: True),
    "empty": select("", lambda *_: True),
}

PROTOCOLS = {
    "tcp": select("protocol: tcp", lambda one, _: protocol(one) == "tcp"),
    "udp": select("protocol: udp", lambda one, _: protocol(one) == "udp"),
    "both": select("protocol: [tcp, udp]", lambda *_: True),
}
PROTOCOLS.update({
    f"{which}-{protocols}": select(
        f"direction: {which}, protocol: {protocols}",
        lambda one, _, which=which, protocols=protocols:
            direction(one) == which and protocol(one) == protocols)
    for which in ("connect", "accept", "listen") for protocols in ("tcp", "udp")})

FAMILIES = {
    "ipv4": select("family: ipv4", lambda _, version: version == 4),
    "ipv6": select("family: ipv6", lambda _, version: version == 6),
    "both": select("family: [ipv4, ipv6]", lambda *_: True),
    "unix": select("family: unix", lambda *_: False),
}
FAMILIES.update({
    f"{which}-{protocols}-ipv{family}": select(
        f"direction: {which}, protocol: {protocols}, family: ipv{family}",
        lambda one, version, which=which, protocols=protocols, family=family:
            (direction(one), protocol(one), version) == (which, protocols, family))
    for which in ("connect", "accept", "listen") for protocols in ("tcp", "udp")
    for family in (4, 6)})

PG = {"remote": "10.64.7.1", "remote_port": 5432}
COMBINED = {
    "replicas": rule(
        "direction: connect, protocol: tcp, remote: 10.64.0.0/16, remote_port: [5432, 6432-6439]",
        [Connection("connect tcp", **PG),
         Connection("connect tcp", remote="10.64.0.0", remote_port=6432),
         Connection("connect tcp", remote="::ffff:10.64.255.255", remote_port=6439)],
        [Connection("connect udp", **PG), Connection("accept tcp", **PG),
         Connection("connect tcp", remote="10.64.7.1", remote_port=6440),
         Connection("connect tcp", remote="10.65.7.1", remote_port=5432),
         Connection("connect tcp", remote="fd64::1", remote_port=5432)]),
    "all-keys": rule(
        "direction: accept, protocol: tcp, family: ipv6, remote: \"fd64::/64\","
        " remote_port: 1000-1999, local: \"fd64::9:0/112\", local_port: 443",
        [Connection("accept tcp", "fd64::1", 1000, "fd64::9:1", 443),
         Connection("accept tcp", "fd64::1", 1999, "fd64::9:ffff", 443)],
        [Connection("accept tcp", "fd64::1", 999, "fd64::9:1", 443),
         Connection("accept tcp", "fd64::1", 2000, "fd64::9:1", 443),
         Connection("accept tcp", "fd64:0:0:1::1", 1000, "fd64::9:1", 443),
         Connection("accept tcp", "fd64::1", 1000, "fd64::a:1", 443),
         Connection("accept tcp", "fd64::1", 1000, "fd64::9:1", 444),
         Connection("connect tcp", "fd64::1", 1000, "fd64::9:1", 443)]),
    "all-keys-connect": rule(
        "direction: connect, protocol: tcp, family: ipv4, remote: 10.64.0.0/16, remote_port: 5432,"
        " local: 10.65.0.0/16, local_port: 7000-7009",
        [Connection("connect tcp", "10.64.0.1", 5432, "10.65.0.1", 7000)],
        [Connection("connect tcp", "10.66.0.1", 5432, "10.65.0.1", 7000),
         Connection("connect tcp", "10.64.0.1", 5433, "10.65.0.1", 7000),
         Connection("connect tcp", "10.64.0.1", 5432, "10.66.0.1", 7000),
         Connection("connect tcp", "10.64.0.1", 5432, "10.65.0.1", 7010),
         Connection("rebound udp", "10.64.0.1", 5432, "10.65.0.1", 7000)]),
    "udp-ends": rule(
        "direction: connect, protocol: udp, remote: 10.64.0.0/16, local: 10.65.0.0/16",
        [Connection("rebound udp", remote="10.64.0.1", local="10.65.0.1")],
        [Connection("connect udp", remote="10.64.0.1"),
         Connection("rebound udp", remote="10.64.0.1", local="10.66.0.1"),
         Connection("connect tcp", remote="10.64.0.1", local="10.65.0.1")]),
    "family-against-remote": rule("family: ipv6, remote: [10.64.0.0/16, \"fd64::/64\"]",
                                  [Connection("connect tcp", remote="fd64::1")],
                                  [Connection("connect tcp", remote="10.64.0.1"),
                                   Connection("connect tcp", remote="::ffff:10.64.0.1")]),
    "listen-port-and-family": rule(
        "direction: listen, protocol: tcp, family: ipv6, local_port: 8443",
        [Connection("listen tcp", local="::", local_port=8443),
         Connection("listen tcp", local="fd64::1", local_port=8443)],
        [Connection("listen tcp", local="0.0.0.0", local_port=8443),
         Connection("listen tcp", local="::", local_port=8444),
         Connection("listen udp", local="::", local_port=8443)]),
    # `unset` wins like any other value.
    "unset": Row(["remote: 10.64.0.0/16", ("remote: 10.64.5.0/24", "unset"),
                  ("remote_port: 5432", 3), ("remote_port: 5432, protocol: udp", "unset")],
                 [(Connection(kind, remote="10.64.4.4"), 1) for kind in ("connect tcp", "accept tcp")],
                 [(Connection(kind, remote="10.64.5.5"), 0) for kind in ("connect tcp", "accept tcp")],
                 [(Connection("connect tcp", remote="10.64.5.5", remote_port=5432), 3),
                  (Connection("connect udp", remote="10.64.5.5", remote_port=5432), 0),
                  (Connection("connect udp", remote="10.64.4.4", remote_port=5432), 0)]),
    "unset-then-set": Row([("protocol: tcp", "unset"), ("remote: 10.64.0.0/16", 2)],
                          [(Connection("connect tcp", remote="10.64.0.1"), 2),
                           (Connection("connect tcp", remote="10.65.0.1"), 0)]),
}


def test_direction(box):
    judge_rows(box, "direction", DIRECTIONS)


def test_protocol(box):
    judge_rows(box, "protocol", PROTOCOLS)


def test_family(box):
    judge_rows(box, "family", FAMILIES)


def test_combined(box):
    judge_rows(box, "combined", COMBINED)


def test_unix(box):
    """AF_UNIX sockets are governed by rules that name the family, and by nothing else."""
    need_unix_hooks()
    agent, worker = governed_by(
        box, "unix",
        "      - name: named\n        when: { family: unix }\n        options: { SO_PRIORITY: 1 }\n"
        "      - name: any\n        when: { direction: connect }\n        options: { SO_PRIORITY: 2 }\n"
        "      - name: both\n        when: { family: [unix, ipv6] }\n"
        "        options: { SO_SNDBUF: 30000 }\n")
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        with worker.socket(socket.AF_UNIX, kind) as there, worker.socket(socket.AF_UNIX, kind) as one:
            there.bind("")  # a name of the kernel's choice
            if kind == socket.SOCK_STREAM:
                there.listen(1)
                one.connect(there.getsockname())
            else:
                one.sendto(b"", there.getsockname())
            check("SO_PRIORITY and SO_SNDBUF of an AF_UNIX socket", (1, 60000),
                  (one.sockopt(*SO_PRIORITY), one.sockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)))
            check("SO_PRIORITY of its peer", 0, there.sockopt(*SO_PRIORITY))
    check("SO_PRIORITY of a TCP client", 2, connected_option(worker))
    applied = {one["name"]: one["applied"] for one in agent.policy("unix")["rules"]}
    check("applied, by rule", {"named": 2, "any": 1, "both": 2}, applied)


def governed_by(box, name, text):
    agent, cgroup = box.agent(name), box.cgroup.child(name)
    agent.write(FILE, policies(policy(name, cgroup, {}, "    rules:\n" + text)))
    agent.start()
    return agent, box.worker(cgroup)


def test_reuse_by_local_port(box):
    """Set at bind(2), by the port that is asked for, whatever the socket becomes."""
    _, worker = governed_by(
        box, "reuse",
        "      - name: port\n        when: { direction: listen, local_port: [7100, 7102] }\n"
        "        options: { SO_REUSEPORT: on }\n"
        "      - name: address\n        when: { direction: listen, local: 127.0.0.2 }\n"
        "        options: { SO_REUSEADDR: on }\n")
    for kind, name in ((socket.SOCK_STREAM, "TCP"), (socket.SOCK_DGRAM, "UDP")):
        for address, port, reuse in (("127.0.0.1", 7100, (1, 0)), ("127.0.0.1", 7101, (0, 0)),
                                     ("127.0.0.2", 7102, (1, 1)), ("127.0.0.2", 7103, (0, 1))):
            with worker.socket(socket.AF_INET, kind) as bound:
                bound.bind((address, port))
                check(f"SO_REUSEPORT, SO_REUSEADDR of a {name} socket bound to {address}:{port}",
                      reuse, (bound.sockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT),
                              bound.sockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR)))
    for port, works in ((7100, True), (7101, False)):
        check(f"two listeners on port {port}", works, can_listen_twice(worker, port))


def can_listen_twice(worker, port):
    with (worker.socket(socket.AF_INET6, socket.SOCK_STREAM) as first,
          worker.socket(socket.AF_INET6, socket.SOCK_STREAM) as second):
        first.bind(("::", port))
        first.listen(1)
        try:
            second.bind(("::", port))
            second.listen(1)
        except OSError:
            return False
        return True


def test_deeper_base_beats_shallower_rule(box):
    """Depth goes before the order in which things are written."""
    agent, outer = box.agent("deeper"), box.cgroup.child("deeper")
    inner = outer.child("inner")
    shallow = policy("z-outer", outer, {"SO_PRIORITY": 1},
                     "    rules:\n      - name: all\n        when: { remote: 0.0.0.0/0 }\n"
                     "        options: { SO_PRIORITY: 2 }\n")
    deep = "    rules:\n      - name: port\n        when: { remote_port: 1-65535, family: ipv6 }\n" \
           "        options: { SO_PRIORITY: 4 }\n"
    agent.write(FILE, policies(policy("inner", inner, {"SO_PRIORITY": 3}, deep), shallow))
    agent.start()
    peer = box.worker(box.cgroup.child("deeper-peer"))
    for cgroup, v4, v6 in ((outer, 2, 1), (inner, 3, 4)):
        worker = box.worker(cgroup)
        for family, address, expected in ((socket.AF_INET, "127.0.0.1", v4),
                                          (socket.AF_INET6, "::1", v6)):
            with (listening(peer, family, address) as listener,
                  connection(worker, listener, address, family) as (client, _)):
                check(f"SO_PRIORITY of a connection from {cgroup.path} to {address}", expected,
                      client.sockopt(*SO_PRIORITY))


def test_udp_direction_follows_the_socket(box):
    """`listen` once bound, whatever is sent; what `listen` set stays where connect(2) sets nothing."""
    agent, worker = governed_by(
        box, "udp-direction",
        "      - name: listen\n        when: { direction: listen, protocol: udp }\n"
        "        options: { SO_PRIORITY: 1 }\n"
        "      - name: send\n        when: { direction: connect, protocol: udp }\n"
        "        options: { SO_PRIORITY: 2 }\n"
        "      - name: far\n        when: { direction: connect, remote: 127.0.0.9 }\n"
        "        options: { SO_PRIORITY: 3 }\n")
    with worker.socket(socket.AF_INET, socket.SOCK_DGRAM) as bound:
        bound.bind(("127.0.0.1", 0))
        bound.sendto(b"", ("127.0.0.9", 9))
        check("SO_PRIORITY of a bound socket that sends", 1, bound.sockopt(*SO_PRIORITY))
        bound.connect(("127.0.0.9", 9))
        check("SO_PRIORITY of it once connected", 3, bound.sockopt(*SO_PRIORITY))
    with worker.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(b"", ("127.0.0.9", 9))
        check("SO_PRIORITY of an unbound sender: no remote", 2, sender.sockopt(*SO_PRIORITY))
        for _ in range(3):
            sender.sendto(b"", ("127.0.0.1", 9))
        sender.connect(("127.0.0.9", 9))
        check("SO_PRIORITY of it once connected", 3, sender.sockopt(*SO_PRIORITY))
    applied = {one["name"]: one["applied"] for one in agent.policy("udp-direction")["rules"]}
    check("applied, by rule: a socket once a direction", {"listen": 1, "send": 2, "far": 1}, applied)
