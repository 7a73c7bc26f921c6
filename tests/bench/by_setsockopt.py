# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Rows about setsockopt(2) on a connection, while some policy has a word about what applications set.

In turns, as by_clock.py does it: nothing attached on the whole host, a program that only returns, and
sockpol, each at the same cgroup.
"""

import json
import subprocess

import contestants
from contestants import FILE, Contestant
from harness.flows import policies, policy
from harness.result import check
from intervals import differences, interval, ratios
from rows import Row, exactly

BPF_PROG_QUERY = 16
ROUNDS, TURNS, CALLS = 15, 4, 50_000
WAYS = ("nothing", "returns", "sockpol")
# Of what a row is: the load's mode, and whether a policy of another cgroup holds TCP_NODELAY, its option.
KINDS = {"free": ("setnone", False), "elsewhere": ("setnone", True), "held": ("setheld", False),
         "ungoverned": ("setnone", True)}
TITLES = {"free": "an option that no policy governs", "elsewhere": "an option that is governed elsewhere",
          "held": "a held option, one policy without rules"}
BARS = {"free": 1.60, "elsewhere": 1.70, "held": 1.75}
MOST_OVER_RETURNS = 30  # ns, where nothing is held


def held(value):
    return f"{{ value: {value}, application: hold }}"


class Attached:
    """One of the ways at a time."""

    def __init__(self, setup):
        self.made = Contestant(setup, "setsockopt")
        self.returns = contestants.load_programs(setup, "returns")
        self.agent = setup.box.agent("bench-setsockopt", self.made.root)
        setup.box.stack.callback(self.made.root.remove_all)

    def policies(self, elsewhere):
        texts = [policy("held", self.made.governed, {"TCP_KEEPIDLE": held("60s")})]
        if elsewhere:
            texts.append(policy("elsewhere", self.made.root.child("elsewhere"), {"TCP_NODELAY": held("on")}))
        self.agent.write(FILE, policies(*texts))

    def switch(self, way, on):
        if way == "returns":
            (contestants.attach if on else contestants.detach)(self.returns, self.made.root)
        elif way == "sockpol" and on:
            self.policies(False)
            self.agent.start()
        elif way == "sockpol":
            self.agent.stop()

    def turn(self, way):
        """{kind: nanoseconds of a call}"""
        self.switch(way, True)
        found, elsewhere = {}, False
        for kind, (mode, wanted) in sorted(KINDS.items(), key=lambda item: item[1][1]):
            if way == "sockpol" and wanted != elsewhere:
                elsewhere = wanted
                self.policies(wanted)
                self.agent.reload_good()
            with self.made.load("none" if kind == "ungoverned" else "connect") as load:
                found[kind] = mean(load, mode)
        if way == "sockpol":
            check("calls that were held", CALLS // 4 + TURNS * CALLS, next(
                one["count"] for one in self.agent.policy("held")["outcomes"] if one["kind"] == "held"))
        self.switch(way, False)
        return found


def mean(load, mode):
    load.run(mode, CALLS // 4)  # warm
    return sum(load.run(mode, CALLS)["cpu"] for _ in range(TURNS)) / TURNS


def n_attached(agent):
    """Programs at setsockopt(2), at the cgroup that an agent is attached to."""
    shown = subprocess.run(["bpftool", "--json", "cgroup", "show", agent.cgroup_root], check=True,
                           capture_output=True, text=True).stdout
    return sum("setsockopt" in one["attach_type"] for one in json.loads(shown or "[]"))


def attached_while_nobody_asks(setup):
    """While policies give options, and have no word about what applications set afterwards."""
    with setup.box.scope():
        agent = setup.box.agent("bench-nobody-asks", setup.box.cgroup.child("bench-nobody-asks"))
        counts = []
        for value in ("60s", held("60s")):
            agent.write(FILE, policies(policy("asks", "/nowhere", {"TCP_KEEPIDLE": value})))
            agent.start()
            counts.append(n_attached(agent))
            agent.stop()
        check("programs at setsockopt(2) while a policy asks", 1, counts[1])
    return counts[0]


def run_setsockopt(setup, found):
    rounds = []
    with setup.box.scope():
        attached = Attached(setup)
        for number in range(setup.rounds(ROUNDS)):
            at = number % len(WAYS)
            order = (WAYS[at:] + WAYS[:at])[::-1 if number // len(WAYS) % 2 else 1]
            rounds.append({way: attached.turn(way) for way in order})

    def compared(kind):
        of = {way: [one[way][kind] for one in rounds] for way in WAYS}
        return {"ns": interval(of["sockpol"]), "nothing_ns": interval(of["nothing"]),
                "returns_over_nothing": interval(ratios(of["returns"], of["nothing"])),
                "over_nothing": interval(ratios(of["sockpol"], of["nothing"])),
                "over_returns_ns": interval(differences(of["sockpol"], of["returns"]))}

    seen = found["setsockopt"] = {kind: compared(kind) for kind in KINDS}
    return [Row("hooks at setsockopt(2) while no policy asks", exactly(attached_while_nobody_asks(setup)), most=0,
                digits=0, exact=True), *rows_of(seen)]


def rows_of(seen):
    for kind, what in TITLES.items():
        yield Row(f"setsockopt(2) of {what}, over nothing attached", seen[kind]["over_nothing"], most=BARS[kind])
        yield Row("  over a program that only returns", seen[kind]["over_returns_ns"], " ns", digits=0,
                  most=None if kind == "held" else MOST_OVER_RETURNS)
    yield Row("  a program that only returns over nothing attached", seen["free"]["returns_over_nothing"])
    yield Row("  in a cgroup that nothing governs, over nothing attached", seen["ungoverned"]["over_nothing"])
    yield Row("  the call with nothing attached", seen["free"]["nothing_ns"], " ns", digits=0)
