# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""The generated table of cases: option table × roles × protocols × families."""

import dataclasses

from .scenes import FAMILIES
from .table import ALL, BOTH, entries

# How a case's only option is written down: as a base option, or in a rule that asks for something.
# Each (option, form) has a cgroup and a policy.
BASE = "base"
FORMS = {
    BASE: None,
    "accept": "direction: accept",
    "listen": "direction: listen",
    # Holds always, but only once the kernel has chosen the address.
    "local": 'direction: connect, local: [0.0.0.0/0, "::/0"]',
    "unix": "family: unix",
    "netlink": "family: netlink",
    "packet": "family: packet",
}


@dataclasses.dataclass(frozen=True)
class Look:
    """One way for a socket to come by its options: a column of the table.

    stages: those of the option table that it goes through; a row with one of them has such cases.
    """

    variant: str
    role: str
    protocol: str
    stages: tuple
    form: str = BASE
    carried: bool = False       # for options that listeners carry, only
    at_socket: bool = False     # for options that socket(2) gives, only
    old_listener: bool = False  # a listener that was there before the agent; where the table asks
    # For columns that share their sockets, and a policy that sets all options at once:
    way: str = None
    scene: str = ""
    families: tuple = BOTH
    lacks: frozenset = frozenset()  # what effects need (Effect.needs) and there is not
    only_at_socket: bool = False    # options that socket(2) does not give are left alone

    @property
    def name(self):
        return f"{self.variant}/{self.protocol}"

    @property
    def transport(self):
        """Whose options they have, or would have if they had any."""
        return {"mptcp": "tcp", "udplite": "udp", "ping": "udp", "raw": "udp"}.get(self.protocol,
                                                                                self.protocol)


CONNECT = ("tcp-connect", "tcp-active-est", "reply-active")
LOCAL = ("unix", "netlink", "packet")  # families that are protocols, too
PASSIVE = ("tcp-passive-est", "reply-passive")
LISTEN = ("tcp-bind", "tcp-listen")
# "far": a peer that answers when it is told to; "time": seconds, or a sender that nothing else holds
# back; "data": packets with data that are surely the subject's; "own", "info": an application that can
# ask for an option, or for TCP_INFO, of the very socket; "timer": that of keepalive, which the kernel
# does not arm where both sides open; "ports": a protocol that has them, and answers.
NO_TIME = frozenset({"time"})
NEAR = NO_TIME | {"far"}
SUBFLOW = NO_TIME | {"own"}
LOOKS = (
    Look("connect", "connect", "tcp", CONNECT),
    Look("connect-local", "connect", "tcp", ("tcp-connect",), "local"),  # set at tcp-syn
    Look("accept", "accept", "tcp", PASSIVE),
    Look("accept-rule", "accept", "tcp", PASSIVE, "accept", carried=True),  # no help of the listener
    Look("old-listener", "accept", "tcp", PASSIVE, old_listener=True),
    Look("listen", "listen", "tcp", LISTEN, "listen"),
    Look("carried", "listen", "tcp", LISTEN, carried=True),
    Look("connect", "connect", "udp", ("udp-connect",)),
    Look("send", "send", "udp", ("udp-send",)),
    Look("listen", "listen", "udp", ("udp-bind",), "listen"),
    *(Look("socket", "socket", protocol, (), at_socket=True, scene="new")
      for protocol in ("tcp", "mptcp", "udp", "udplite", "ping", "raw")),
    Look("connect", "connect", "unix", ("unix",), "unix"),
    Look("send", "send", "unix", ("unix",), "unix"),
    *(Look("socket", "socket", family, ("local-socket",), family, scene="new") for family in LOCAL),

    Look("fastopen", "connect", "tcp", CONNECT, way="fastopen", lacks=NO_TIME),
    Look("fastopen-connect", "connect", "tcp", CONNECT, way="fastopen-connect", lacks=NO_TIME),
    *(Look(f"{name}-local", "connect", protocol, ("tcp-connect",), "local", way=way, scene=scene,
           lacks=SUBFLOW | {"far", "data", "info", "timer"})  # set at tcp-syn
      for name, protocol, way, scene in (("fastopen", "tcp", "fastopen-connect", ""),
                                         ("join", "mptcp", "", "join"), ("self", "tcp", "", "self"))),
    Look("fastopen-accept", "accept", "tcp", PASSIVE, way="fastopen", lacks=NO_TIME),
    Look("connect", "connect", "mptcp", CONNECT, way="", lacks=SUBFLOW),
    Look("accept", "accept", "mptcp", PASSIVE, way="", lacks=SUBFLOW),
    Look("accept-plain", "accept", "mptcp", PASSIVE, way="plain", lacks=NO_TIME),
    Look("carried", "listen", "mptcp", LISTEN, way="", carried=True, lacks=SUBFLOW),
    Look("join", "connect", "mptcp", CONNECT, way="", scene="join",
         lacks=SUBFLOW | {"far", "data", "info"}),
    Look("join-accept", "accept", "mptcp", PASSIVE, way="", scene="join",
         lacks=SUBFLOW | {"far", "data", "info"}),
    Look("self", "connect", "tcp", CONNECT, way="", scene="self", lacks=NEAR | {"timer"}),
    Look("self", "connect", "udp", ("udp-connect",), way="", scene="self", lacks=NEAR),
    *(Look("any", "connect", transport, stages, way="", lacks=NEAR,
           families=("any-ipv4", "any-ipv6", "any-mapped"))
      for transport, stages in (("tcp", CONNECT), ("udp", ("udp-connect",)))),
    *(Look("dual", role, transport, stages, way="", carried=transport == "tcp",
           families=("dual-ipv4", "dual-ipv6"), lacks=NO_TIME)
      for role, transport, stages in (("send", "udp", ("udp-send",)), ("listen", "udp", ("udp-bind",)),
                                      ("listen", "tcp", LISTEN))),
    *(Look(scene, role, protocol, stages, way="", scene=scene, only_at_socket=True,
           lacks=NO_TIME | {"data", "ports"}) for protocol in ("udplite", "ping", "raw")
      for scene, role, stages in (("used", "connect", ("udp-connect",)),
                                  ("bound", "listen", ("udp-bind",)))),
)


@dataclasses.dataclass(frozen=True)
class Case:
    """`alone`: of an option that would be in the others' way."""

    option: str
    look: Look
    family: str
    alone: bool
    given: bool  # or left alone

    @property
    def name(self):
        return f"conformance/{self.option}/{self.look.name}/{self.family}"

    @property
    def shares(self):
        return self.look.way is not None and not self.alone

    @property
    def batch(self):
        """Those with the same are run one after the other, ..."""
        return "together" if self.shares else self.option

    @property
    def group(self):
        """... these have a policy and a cgroup, ..."""
        return f"{self.batch.lower()}.{self.look.form}"

    @property
    def sockets(self):
        """... and these sockets in common."""
        return self.look, self.family, "" if self.shares else self.option


def looks(row, entry):
    """Those that a row of the option table makes sense for."""
    stages = {stage for stages in row["hooks"].values() for stage in stages}
    return [look for look in LOOKS
            if (row["at_socket"] if look.at_socket else stages & set(look.stages))
            and (row["carried"] or not look.carried)
            and (entry.old_listener or not look.old_listener)
            and not entry.nowhere.keys() & {look.name, ALL if look.way is not None else None}]


def families(entry, look):
    if look.protocol in LOCAL:
        return (look.protocol,)
    if look.families != BOTH:
        return [name for name in look.families
                if f"ipv{FAMILIES[name][0].wire}" in entry.families]
    if look.way is not None and "far" not in look.lacks:
        return entry.families[:1]  # what takes time is seen once
    # A new socket has no peer whose address could be mapped.
    mapped = entry.mapped and not look.at_socket and look.way is None
    return entry.families + (("mapped",) if mapped else ())


def uncovered(row, cases):
    """What the option table declares and no case has a look at."""
    seen = {stage for case in cases for stage in case.look.stages}
    return [f"{row['name']}: no case for {direction}, {stage}"
            for direction, stages in row["hooks"].items() for stage in stages if stage not in seen]


def generate(options, device_index=1):
    """(cases, problems, table): a problem is a row, or a part of it, that no case covers."""
    table = entries(device_index)
    names = [row["name"] for row in options]
    problems = [f"{name} is not in the option table" for name in table if name not in names]
    cases = []
    for row in options:
        name, entry = row["name"], table.get(row["name"])
        if not entry:
            problems.append(f"{name} has no conformance case: tests/live/conformance/table.py")
            continue
        if entry.families != BOTH and not name.startswith(("IP_", "IPV6_")):
            problems.append(f"{name}: a family of IP is left out")
        made = []
        for look in looks(row, entry):
            if not entry.effects_for(look):
                problems.append(f"{name} has no effect to look for: {look.role}, {look.protocol}")
            made += [Case(name, look, family, entry.alone,
                          row["at_socket"] or not look.only_at_socket)
                     for family in families(entry, look)]
        problems += uncovered(row, made)
        cases += made
    return cases, problems, table
