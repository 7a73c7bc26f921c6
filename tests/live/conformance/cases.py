# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""The generated table of cases: option table × roles × protocols × families."""

import dataclasses

from .table import BOTH, entries

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
}


@dataclasses.dataclass(frozen=True)
class Look:
    """One way for a socket to come by its options.

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


PASSIVE = ("tcp-passive-est", "reply-passive")
LISTEN = ("tcp-bind", "tcp-listen")
LOOKS = (
    Look("connect", "connect", "tcp", ("tcp-connect", "tcp-active-est", "reply-active")),
    Look("connect-local", "connect", "tcp", ("tcp-connect",), "local"),  # set at tcp-syn
    Look("accept", "accept", "tcp", PASSIVE),
    Look("accept-rule", "accept", "tcp", PASSIVE, "accept", carried=True),  # no help of the listener
    Look("old-listener", "accept", "tcp", PASSIVE, old_listener=True),
    Look("listen", "listen", "tcp", LISTEN, "listen"),
    Look("carried", "listen", "tcp", LISTEN, carried=True),
    Look("connect", "connect", "udp", ("udp-connect",)),
    Look("send", "send", "udp", ("udp-send",)),
    Look("listen", "listen", "udp", ("udp-bind",), "listen"),
    *(Look("socket", "socket", protocol, (), at_socket=True)  # nothing is done with it
      for protocol in ("tcp", "mptcp", "udp", "udplite", "ping", "raw")),
    Look("connect", "connect", "unix", ("unix-connect",), "unix"),
    Look("send", "send", "unix", ("unix-send",), "unix"),
)


@dataclasses.dataclass(frozen=True)
class Case:
    option: str
    look: Look
    family: str

    @property
    def name(self):
        return f"conformance/{self.option}/{self.look.variant}/{self.look.protocol}/{self.family}"

    @property
    def group(self):
        return f"{self.option.lower()}.{self.look.form}"


def looks(row, entry):
    """Those that a row of the option table makes sense for."""
    stages = {stage for stages in row["hooks"].values() for stage in stages}
    return [look for look in LOOKS
            if (row["at_socket"] if look.at_socket else stages & set(look.stages))
            and (row["carried"] or not look.carried)
            and (entry.old_listener or not look.old_listener)]


def families(entry, look):
    if look.protocol == "unix":
        return ("unix",)
    # A new socket has no peer whose address could be mapped.
    return entry.families + (("mapped",) if entry.mapped and not look.at_socket else ())


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
            made += [Case(name, look, family) for family in families(entry, look)]
        problems += uncovered(row, made)
        cases += made
    return cases, problems, table
