#!/usr/bin/python3 -B
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Where the nanoseconds of a governed socket go: programs between an empty one and the agent's,
each with one step more, by the kernel's accounting, all in turns.  Run as root; the machine should
have nothing else to do.

Exit status: 1 if a program does not do what its step says.
"""

import contextlib
import json
import os
import statistics
import struct
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../live"))

import accounting  # noqa: E402
import contestants  # noqa: E402
import machine  # noqa: E402
from bench import parse_arguments, say  # noqa: E402
from bpf_object import Object  # noqa: E402
from by_accounting import CONNECTIONS, WARM  # noqa: E402
from eight import CALLS  # noqa: E402
from harness.result import Failure, check  # noqa: E402
from harness.slots import SLOTS, slot_of, word  # noqa: E402
from harness.startup import enter_sandbox  # noqa: E402
from intervals import differences, interval, shuffled  # noqa: E402
from rows import table  # noqa: E402

# Layout in memory moves a figure more than a step does, and stays as it is while all is set up: so
# there are many setups of few rounds, and each setup counts once.
SETUPS, QUICK_SETUPS, ROUNDS = 40, 3, 6
# On a busy machine no more than fit into so many seconds, but at least so many setups.
SECONDS, FEWEST = 45, 8
HEADS = ("step", "ns over the empty program [95 % interval]", "more than the step before")

# As include/abi.h has them; Map.write() looks whether the sizes agree.
STAGES, CONNECT, PASSIVE = 13, 1, 4
STATE, CGROUP, POLICY = "<8QIIQIIQ64s", "<Q6I", "<2I3Q"
STAGE, OP, CREDIT = "<QQ8I", "<QHHHBBII16sB3xI", "<QQQII"
# Elements: as many in all, for the hash's buckets and the arrays' bounds.
ENTRIES = {"cgroups": 1024, "policies": 64, "ops": 1024, "credits": 64, "applied": 64,
           "cgroup_slots": SLOTS, ".data.state": 1, "state_in_map": 1}
# Which elements: not the first, but where that has no meaning.
IN_FORCE, FIRST_OP, FIRST_CREDIT, SOURCE = 3, 8, 2, 5
PASSIVE_ESTABLISHED_CB = 5


def number(value):
    return struct.pack("<I", value)


class Step:
    """`path`: of the object; `sets`: has its socket the eight options (at sock_ops: if they are
    due)?  `counts`: is it credited to the policy?"""

    def __init__(self, hook, name, path, sets=True, counts=False):
        self.hook, self.name, self.path = hook, name, path
        self.sets, self.counts = sets, counts

    def __str__(self):
        return f"{self.hook}: {self.name}"


EMPTY, AGENT = "bench/empty.bpf.o", "bpf/sockpol.bpf.o"
STEPS = {
    # In order: each has what the one before it has.
    "connect4": [
        Step("connect4", "an empty program", EMPTY, sets=False),
        Step("connect4", "the eight constants by hand", "bench/constants.bpf.o"),
        Step("connect4", "and the socket as a tcp_sock", "bench/steps-tcp-sock.bpf.o"),
        Step("connect4", "and the id of its cgroup", "bench/steps-id.bpf.o"),
        Step("connect4", "and the cgroup's entry in the hash", "bench/steps-entry.bpf.o"),
        Step("connect4", "its slot instead of the hash", "bench/steps-slot.bpf.o"),
        Step("connect4", "and the generation and the policy", "bench/steps-policy.bpf.o"),
        Step("connect4", "the options from the map, not as constants", "bench/steps-ops.bpf.o"),
        Step("connect4", "and the credit", "bench/steps-credit.bpf.o", counts=True),
        Step("connect4", "sockpol's own: and addresses, rules, UDP", AGENT, counts=True)],
    # Instead of each other: ways to see that nothing is due.
    "sock_ops": [
        Step("sock_ops", "an empty program", EMPTY, sets=False),
        Step("sock_ops", "a look-up in each case of a switch", "bench/steps-switch.bpf.o"),
        Step("sock_ops", "a table by ops in an array's element", "bench/steps-table-in-map.bpf.o"),
        Step("sock_ops", "a table by ops in a variable", "bench/steps-table.bpf.o"),
        Step("sock_ops", "sockpol's own: this table, and all that it does", AGENT)]}


def fill(made, cgroup):
    """One policy with the eight options for this cgroup, of which no rule is a part."""
    due = struct.pack(STAGE, 0, 0, FIRST_OP, len(CALLS), 0, 0, FIRST_CREDIT, 1, 1, SOURCE)
    stages = [due if at in (CONNECT, PASSIVE) else bytes(len(due)) for at in range(STAGES)]
    made.write("cgroups", struct.pack("<Q", cgroup.id),
               struct.pack(CGROUP, cgroup.id, IN_FORCE, IN_FORCE, 0, 0, 0, 0))
    made.write("cgroup_slots", number(slot_of(cgroup.id)),
               struct.pack("<2Q", *2 * [word(cgroup.id, IN_FORCE)]))
    made.write("policies", number(IN_FORCE), b"".join(stages) + struct.pack(POLICY, 0, 0, 0, 0, 0))
    for at, (level, name, value) in enumerate(CALLS):
        value = value if isinstance(value, bytes) else number(value)
        made.write("ops", number(FIRST_OP + at), struct.pack(
            OP, 0, level, name, at, len(value), 3, SOURCE, 0, value, 0, 0))
    made.write("credits", number(FIRST_CREDIT), struct.pack(CREDIT, 0, 0, 1, SOURCE, 0))


def say_due(made, due):
    """What the program at sock_ops asks first: is anything due at the accepting end?"""
    stages, sock_ops = 1 << PASSIVE if due else 0, bytearray(64)
    sock_ops[PASSIVE_ESTABLISHED_CB] = PASSIVE if due else 0
    value = struct.pack(STATE, 0, 0, 0, 0, 0, 0, 0, stages, 0, 0, 0, 0, 0, 0, bytes(sock_ops))
    for name in (".data.state", "state_in_map"):
        made.write(name, number(0), value)


class Part:
    """A step, while it is set up: cgroups and a load of its own."""

    def __init__(self, setup, stack, step, at, other):
        self.setup, self.step = setup, step
        self.made = contestants.Contestant(setup, f"{step.hook}-{at}")
        self.made.name = str(step)  # as checks call it
        self.object = Object(setup.box.stack, setup.built(step.path), step.hook, ENTRIES)
        fill(self.object, self.made.governed)
        if step.hook == "connect4":
            contestants.attach_here(setup, self.object.programs, self.made.governed)
            self.check_connect()
            self.load = stack.enter_context(self.made.load("connect", other))
        else:  # which both ends run
            contestants.attach_here(setup, self.object.programs, self.made.root)
            self.check_sock_ops()
            self.load = stack.enter_context(self.made.load("none"))

    def check_connect(self):
        self.made.check("connect", self.step.sets, families="4")
        if "applied" in self.object.maps:
            check(f"{self.step}: was the socket counted?", self.step.counts,
                  self.object.maps["applied"].sum(number(SOURCE)) == 1)

    def check_sock_ops(self):
        """If something is due, it is set: else that nothing is set would say little."""
        if self.step.sets:
            say_due(self.object, True)
            self.made.check("accept", True)
        say_due(self.object, False)
        self.made.check("accept", False)

    def turn(self):
        """Nanoseconds of a run."""
        self.load.run("tcp4", WARM)
        runs, time = self.object.programs.spent(
            lambda: self.load.run("tcp4", CONNECTIONS))[self.step.hook]
        return time / runs


def sample(setup, samples):
    """Sets all up, and adds to {step: [nanoseconds]} the median of its rounds."""
    steps = [step for several in STEPS.values() for step in several]
    with setup.box.scope(), contextlib.ExitStack() as stack:
        other = contestants.nothing(setup).free
        parts = {step: Part(setup, stack, step, steps.index(step), other)
                 for step in setup.in_any_order(steps)}
        accounting.enable(stack)
        took = {step: [] for step in steps}
        for turn in range(ROUNDS + 1):
            for step, part in shuffled(parts.items(), setup.number * (ROUNDS + 1) + turn):
                took[step].append(part.turn())
        for step in steps:  # the first round was to warm up
            samples.setdefault(step, []).append(statistics.median(took[step][1:]))


def rows_of(samples, steps):
    """Of one hook; compared setup by setup."""
    empty = before = steps[0]
    yield {"step": empty.name, "ns": interval(samples[empty])}
    for step in steps[1:]:
        yield {"step": step.name, "ns": interval(samples[step]),
               "over_empty_ns": interval(differences(samples[step], samples[empty])),
               "more_ns": interval(differences(samples[step], samples[before]))}
        before = step


def cells(row):
    def shown(one, sign=""):
        return f"{one['median']:{sign}.1f} [{one['low']:{sign}.1f}, {one['high']:{sign}.1f}]"

    if "more_ns" not in row:
        return (row["step"], f"(the whole: {shown(row['ns'])})", "")
    return (row["step"], shown(row["over_empty_ns"]), shown(row["more_ns"], "+"))


def main():
    parser = parse_arguments(__doc__)
    arguments = parser.parse_args()
    samples = {}
    with enter_sandbox(os.path.abspath(f"{arguments.build}/sockpol")) as box:
        here = machine.Machine(arguments.cpu)
        setup = contestants.Setup(box, arguments)
        try:
            for setup.number in range(QUICK_SETUPS if arguments.quick else SETUPS):
                if setup.number >= FEWEST and time.monotonic() - here.start > SECONDS:
                    break
                sample(setup, samples)
        except Failure as failure:
            sys.exit(f"error: {failure.asked}: expected {failure.expected}, saw {failure.seen}")
    found = {"quick": arguments.quick, "machine": here.finish(), "steps": {}}
    found["machine"]["text"] = machine.describe(found["machine"])
    for hook, steps in STEPS.items():
        rows = list(rows_of(samples, steps))
        found["steps"][hook] = [{**row, "cells": cells(row)} for row in rows]
        say(f"\n{hook}, a run ({rows[0]['ns']['n']} setups of {ROUNDS} rounds):\n\n"
            + table(HEADS, [cells(row) for row in rows]))
    say("\n" + found["machine"]["text"])
    if arguments.quick:
        say("Few setups: these are no measurements.")
    if arguments.json:
        with open(arguments.json, "w", encoding="utf-8") as file:
            json.dump(found, file, indent=1)
    return 0


if __name__ == "__main__":
    sys.exit(main())
