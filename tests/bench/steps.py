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
from bpf_object import BPF_F_INNER_MAP, PERCPU_ARRAY, Object, number  # noqa: E402
from by_accounting import CONNECTIONS, WARM  # noqa: E402
from eight import CALLS  # noqa: E402
from harness.result import Failure, check  # noqa: E402
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
IN_SLOT_0 = 2  # a generation whose maps are in slot 0; 0 is none
STAGES, CONNECT, PASSIVE = 16, 1, 4
STATE, STATE_COUNTED = "<8QII7Q", 64
GENERATION, STAGE, POLICY = "<QIHHQQI28x", "<5QIHBBIHHII", "<64x4QI28x"
OP, OPS_CELL = "<HHBBBBII16s", 8
CACHE_BITS, CACHE_WAYS, COUNTERS = 14, 4, 1024
COUNTS_ALWAYS = 2
SEED = 0x9E3779B97F4A7C15  # odd
# Which elements: not the first.
IN_FORCE, CELL, COUNTER = 3, 2, 5
PASSIVE_ESTABLISHED_CB = 5


class Step:
    """`path`: of the object; `sets`: has its socket the eight options (at sock_ops: if they are
    due)?  `counts`: is it counted for the policy?"""

    def __init__(self, hook, name, path, sets=True, counts=False):
        self.hook, self.name, self.path = hook, name, path
        self.sets, self.counts = sets, counts

    def __str__(self):
        return f"{self.hook}: {self.name}"


EMPTY, AGENT = "bench/empty.bpf.o", "bpf/sockpol.bpf.o"
# In order: each has what the one before it has.
STEPS = {
    "connect4": [
        Step("connect4", "an empty program", EMPTY, sets=False),
        Step("connect4", "the eight constants by hand", "bench/constants.bpf.o"),
        Step("connect4", "and the socket as a tcp_sock", "bench/steps-tcp-sock.bpf.o"),
        Step("connect4", "and the id of its cgroup", "bench/steps-id.bpf.o"),
        Step("connect4", "and what the cache says of it", "bench/steps-cache.bpf.o"),
        Step("connect4", "and the policy", "bench/steps-policy.bpf.o"),
        Step("connect4", "the options from a cell, not as constants", "bench/steps-ops.bpf.o"),
        Step("connect4", "and the socket is counted", "bench/steps-count.bpf.o", counts=True),
        Step("connect4", "sockpol's own: and cgroups not in the cache, rules, several policies, UDP",
             AGENT, counts=True)],
    "sock_ops": [
        Step("sock_ops", "an empty program", EMPTY, sets=False),
        Step("sock_ops", "a table by ops in a variable", "bench/steps-table.bpf.o"),
        Step("sock_ops", "sockpol's own: this table, and all that it does", AGENT)]}


def say_due(made, due=False):
    """The state; what the program at sock_ops asks first: is anything due at the accepting end?"""
    stages, sock_ops = 1 << PASSIVE if due else 0, bytearray(64)
    sock_ops[PASSIVE_ESTABLISHED_CB] = PASSIVE if due else 0
    generation = struct.pack(GENERATION, 0, 0, 0, 0, stages, 0, 1)
    value = (struct.pack(STATE, IN_SLOT_0, SEED, stages, *14 * [0]) + 2 * generation + sock_ops + bytes(64)
             + bytes(STATE_COUNTED))
    state = made.map(".data.state")
    if state:
        state.write(number(0), value)


def operation(at, level, name, value):
    value = value if isinstance(value, bytes) else number(value)
    return struct.pack(OP, level, name, at, len(value), 3, 0, COUNTER, 0, value)


def put(made, name, index, value, entries, **keywords):
    """An array of a generation's with one element written, where the object has such a map."""
    array = made.put_array(name, len(value), entries, **keywords)
    if array:
        array.write(number(index), value)


def fill(made, cgroup):
    """One policy with the eight options for this cgroup, and no rule.  Returns the counters."""
    due = struct.pack(STAGE, 0, 0, 0, 0, (1 << len(CALLS)) - 1, CELL, len(CALLS), 0, COUNTS_ALWAYS,
                      0, 0, 0, 0, COUNTER)
    stages = [due if at in (CONNECT, PASSIVE) else bytes(len(due)) for at in range(STAGES)]
    place = (cgroup.id * SEED & (1 << 64) - 1) >> 64 - CACHE_BITS
    words = [0] * (CACHE_WAYS - 1) + [(cgroup.id << 20 | IN_FORCE) & (1 << 64) - 1]
    put(made, "cgroup_cache", place, struct.pack("<4Q", *words), 1 << CACHE_BITS)
    put(made, "policies", IN_FORCE, b"".join(stages) + struct.pack(POLICY, 0, 0, 0, 0, COUNTER),
        2 * IN_FORCE, flags=BPF_F_INNER_MAP)
    cell = b"".join(operation(at, *call) for at, call in enumerate(CALLS))
    put(made, "ops", CELL, cell.ljust(OPS_CELL * struct.calcsize(OP), b"\0"), 2 * CELL,
        flags=BPF_F_INNER_MAP)
    say_due(made)
    return made.put_array("applied", 8, COUNTERS, kind=PERCPU_ARRAY)


class Part:
    """A step, while it is set up: cgroups and a load of its own."""

    def __init__(self, setup, stack, step, at, other):
        self.setup, self.step = setup, step
        self.made = contestants.Contestant(setup, f"{step.hook}-{at}")
        self.made.name = str(step)  # as checks call it
        self.object = Object(setup.box.stack, setup.built(step.path), step.hook)
        self.counters = fill(self.object, self.made.governed)
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
        if self.counters:
            check(f"{self.step}: how often was the socket counted?", int(self.step.counts),
                  self.counters.sum(number(COUNTER)))

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
        for step in steps:  # the first round warmed up
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
