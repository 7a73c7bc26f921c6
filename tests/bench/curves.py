#!/usr/bin/python3 -B
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Cost of a governed connect(2) against the number of options, policies that apply, rules, prefixes,
policies and cgroups in all, and the cgroup's depth: the kernel's accounting less that of empty
programs, all points of a curve in turns.  Run as root; the machine should have nothing else to do.
Draws with gnuplot.
"""

import contextlib
import json
import os
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../live"))

import accounting  # noqa: E402
import contestants  # noqa: E402
import machine  # noqa: E402
from bench import parse_arguments, say  # noqa: E402
from by_accounting import WARM, prefixes_policy  # noqa: E402
from contestants import Contestant, Load, eight_by_rules, unit_policy  # noqa: E402
from eight import EIGHT  # noqa: E402
from harness.flows import policies, policy  # noqa: E402
from harness.result import Failure, check  # noqa: E402
from harness.startup import enter_sandbox  # noqa: E402
from intervals import interval, shuffled  # noqa: E402

SETUPS, ROUNDS, TURN = 8, 30, 250  # where things come to lie in memory differs from setup to setup
# As connect(2) has them before the SYN; the eight first.
OPTIONS = {**EIGHT, "SO_MAX_PACING_RATE": "1Gbit/s", "TCP_NODELAY": "on", "SO_RCVBUF": "128K",
           "SO_MARK": 7, "TCP_SYNCNT": 4, "SO_PRIORITY": 3, "IP_TOS": 16, "TCP_MAXSEG": 1400,
           "TCP_WINDOW_CLAMP": "64K", "SO_RCVLOWAT": 1, "TCP_THIN_LINEAR_TIMEOUTS": "on",
           "TCP_BPF_RTO_MIN": "50ms", "TCP_BPF_DELACK_MAX": "40ms", "TCP_BPF_SNDCWND_CLAMP": 500,
           "SO_TXREHASH": 1, "TCP_RTO_MAX_MS": "60s"}


def first_options(number):
    return dict(list(OPTIONS.items())[:number])


class Point:
    """One contestant at one x."""

    mode, hook = "tcp4", "connect4"

    def __init__(self, made, stack, other, governed=None):
        made.governed = governed or made.governed
        self.made, self.programs = made, made.programs
        self.load = stack.enter_context(made.load("connect", other))
        self.spent = []

    def turn(self):
        self.load.run(self.mode, WARM)
        self.spent.append(self.programs.spent(lambda: self.load.run(self.mode, TURN)))

    def check(self):
        """An option that fails costs something else."""
        if self.made.agent:
            check(f"{self.made.name}: options that failed", [],
                  [one["failed"] for one in self.made.agent.status()["policies"] if one["failed"]])

    def above(self, base):
        return [accounting.above(mine, its) / TURN for mine, its in zip(self.spent, base.spent)]


class InTurn(Point):
    """Many cgroups, each with a policy of its own, that connect one after the other: what the hooks
    read of one has made room for the others' in the caches."""

    def __init__(self, made, stack, other, units):
        super().__init__(made, stack, other, units[0])
        self.loads = [self.load, *(stack.enter_context(Load(made.setup, unit, other))
                                   for unit in units[1:])]

    def run(self, number):
        for at in range(number):
            self.loads[at % len(self.loads)].run(self.mode, 1)

    def turn(self):
        self.run(len(self.loads))
        self.spent.append(self.programs.spent(lambda: self.run(TURN)))


class Peers(Point):
    """Random peers, UDP; the empty program's time is that of its TCP connects."""

    mode = "udp4"


def start(setup, name, text):
    """A contestant whose policies are `text(contestant)`."""
    made = Contestant(setup, name)
    return contestants.start(setup, made, policies(*text(made)))


def options(setup, stack, other):
    for number in setup.in_any_order((1, 2, 4, 8, 12, 16, 20, 24)):
        made = start(setup, f"options-{number}",
                     lambda made, n=number: [policy("one", made.governed, first_options(n))])
        yield number, Point(made, stack, other)


def rules(setup, stack, other):
    for number in setup.in_any_order((1, 2, 4, 8, 16, 32, 48, 64)):
        made = start(setup, f"rules-{number}", lambda made, n=number: [
            eight_by_rules(made.governed, n)])
        yield number, Point(made, stack, other)


def prefixes(setup, stack, other):
    for number in setup.in_any_order((1, 10, 100, 1_000, 10_000, 100_000)):
        made = Contestant(setup, f"prefixes-{number}")
        contestants.start(setup, made, prefixes_policy(made.governed, number))
        yield number, Peers(made, stack, other)


def depth(setup, stack, other):
    for number in setup.in_any_order((1, 2, 4, 8, 12, 16)):
        made = Contestant(setup, f"depth-{number}")
        deep = made.root.child("/".join(f"d{at}" for at in range(number)))
        contestants.start(setup, made, policies(policy("deep", deep, EIGHT)))
        yield number, Point(made, stack, other, deep)


def applying(setup, stack, other):
    """The first sets all eight options, and each of the others one of these again."""
    names = list(EIGHT)
    for number in setup.in_any_order((1, 2, 4, 8, 16, 24, 32)):
        made = start(setup, f"applying-{number}", lambda made, n=number: [
            policy("eight", made.governed, EIGHT),
            *(policy(f"more-{at}", made.governed, {names[at % 8]: EIGHT[names[at % 8]]})
              for at in range(1, n))])
        yield number, Point(made, stack, other)


def many_policies(setup, stack, other):
    for number in setup.in_any_order((1, 10, 100, 1_000)):
        made = start(setup, f"policies-{number}", lambda made, n=number: [
            policy("one", made.governed, EIGHT),
            *(unit_policy(made.root, at) for at in range(1, n))])
        yield number, Point(made, stack, other)


def many_cgroups(setup, stack, other):
    for number in setup.in_any_order((1, 10, 100, 1_000, 10_000)):
        made = Contestant(setup, f"cgroups-{number}")
        for at in range(1, number):
            os.makedirs(f"{made.root.directory}/more-{at}", exist_ok=True)  # from the last time
        contestants.start(setup, made, policies(
            policy("one", made.governed, EIGHT),
            policy("more", f"{made.root.path}/more-*", EIGHT)))
        yield number, Point(made, stack, other)


def busy_cgroups(setup, stack, other):
    for number in setup.in_any_order((1, 4, 16, 64)):
        made = Contestant(setup, f"busy-{number}")
        units = [made.root.child(f"busy-{at}") for at in range(number)]
        contestants.start(setup, made, policies(*(
            policy(f"busy-{at}", unit, {**EIGHT, "TCP_KEEPCNT": at % 60 + 1})
            for at, unit in enumerate(units))))
        yield number, InTurn(made, stack, other, units)


CURVES = {"options": options, "applying": applying, "rules": rules, "prefixes": prefixes,
          "depth": depth, "policies": many_policies, "cgroups": many_cgroups, "busy": busy_cgroups}


def sample(setup, curve, above):
    """Sets all points up, and adds to {x: [nanoseconds]}; x is None for the hand-written program."""
    with setup.box.scope(), contextlib.ExitStack() as stack:
        nothing, by_hand = contestants.nothing(setup), contestants.by_hand(setup)
        base = Point(contestants.empty(setup), stack, nothing.free)
        points = {None: Point(by_hand, stack, nothing.free),
                  **dict(curve(setup, stack, nothing.free))}
        accounting.enable(stack)
        for number in range(setup.rounds(ROUNDS) // 3 + 1):
            for point in shuffled([base, *points.values()], number):
                point.turn()
        base.spent.pop(0)  # the first one warmed up
        for x, point in points.items():
            point.check()
            point.spent.pop(0)
            above.setdefault(x, []).extend(point.above(base))


def measure(setup, curve):
    """[{"x", and an interval of nanoseconds}], and the hand-written program's interval."""
    above = {}
    for setup.number in range(setup.setups(SETUPS)):
        sample(setup, curve, above)
    floor = interval(above.pop(None))
    return [{"x": x, **interval(samples)} for x, samples in sorted(above.items())], floor


def draw(found, svg):
    with tempfile.TemporaryDirectory(prefix="sockpol-curves-") as directory:
        for name, points in found["curves"].items():
            write_points(os.path.join(directory, name), points)
        floor = found["by_hand"]["options"]
        write_points(os.path.join(directory, "options-by-hand"), [{"x": 8, **floor}])
        facts = found["machine"]
        title = (f"A governed connect(), program time; Linux {facts['kernel']}, "
                 f"{facts['processor']}")
        script = "; ".join(f"{key}='{value.replace(chr(39), '')}'" for key, value in (
            ("svg", svg), ("data", directory), ("machine", title)))
        subprocess.run(["gnuplot", "-e", script, os.path.join(HERE, "curves.gnuplot")], check=True)


def write_points(path, points):
    with open(path, "w", encoding="ascii") as file:
        for one in points:
            print(one["x"], one["median"], one["low"], one["high"], file=file)


def main():
    parser = parse_arguments(__doc__)
    parser.add_argument("--svg", metavar="FILE", required=True, help="draw there")
    parser.add_argument("--only", action="append", choices=CURVES, help="some curves (not drawn)")
    arguments = parser.parse_args()
    found = {"curves": {}, "by_hand": {}}
    with enter_sandbox(os.path.abspath(f"{arguments.build}/sockpol")) as box:
        here = machine.Machine(arguments.cpu)
        setup = contestants.Setup(box, arguments)
        for name in arguments.only or CURVES:
            try:
                found["curves"][name], found["by_hand"][name] = measure(setup, CURVES[name])
            except Failure as failure:
                sys.exit(f"error: {failure.asked}: expected {failure.expected}, saw {failure.seen}")
            say(f"{name}: " + ", ".join(f"{one['x']}: {one['median']:.0f}"
                                        for one in found["curves"][name])
                + f" ns (by hand, eight options: {found['by_hand'][name]['median']:.0f})")
    found["machine"] = here.finish()
    found["machine"]["text"] = machine.describe(found["machine"])
    say(found["machine"]["text"])
    if arguments.json:
        with open(arguments.json, "w", encoding="utf-8") as file:
            json.dump(found, file, indent=1)
    if not arguments.only:
        draw(found, arguments.svg)
    return 0


if __name__ == "__main__":
    sys.exit(main())
