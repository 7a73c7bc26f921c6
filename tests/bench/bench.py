#!/usr/bin/python3 -B
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""What sockpol costs, beside what one would do instead.  Run as root; the machine should have nothing
else to do.  How each figure is measured: doc/performance.md.

Exit status: 1 if a bar is not met or something did not work.
"""

import argparse
import json
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../live"))

import agent_rows  # noqa: E402
import by_accounting  # noqa: E402
import by_clock  # noqa: E402
import by_miss  # noqa: E402
import by_setsockopt  # noqa: E402
import by_size  # noqa: E402
import by_walk  # noqa: E402
import contestants  # noqa: E402
import machine  # noqa: E402
from harness.result import Failure  # noqa: E402
from harness.startup import enter_sandbox  # noqa: E402
from rows import table  # noqa: E402

HEADS = ("figure", "median [95 % interval]", "bar", "")
PARTS = ("mkdir", "agent", "programs", "look-up", "in-turn", "setsockopt", "beside", "misses", "walks",
         "sizes", "globs")


def parse_arguments(description):
    parser = argparse.ArgumentParser(description=description,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    top = os.path.join(HERE, "../..")
    parser.add_argument("--build", default=f"{top}/build", help="where everything was built")
    parser.add_argument("--policies", default=f"{top}/policies", help="the shipped policies")
    parser.add_argument("--cpu", type=int, default=max(os.sched_getaffinity(0)),
                        help="to pin the load to (default: %(default)s)")
    parser.add_argument("--quick", action="store_true",
                        help="too few rounds for a verdict: does it all work?")
    parser.add_argument("--json", metavar="FILE", help="write the numbers there")
    return parser


def say(text):
    print(text, flush=True)


def make_contestants(setup):
    """{name: contestant}; the sockets of each are checked."""
    made = {}
    for make in setup.in_any_order((
            contestants.large, contestants.small, contestants.nothing, contestants.empty,
            contestants.by_hand, contestants.sockpol, contestants.two, contestants.five,
            contestants.application, contestants.preload)):
        one = make(setup)
        made[one.name] = one
        one.check("none", False)
        for end in ("connect", "accept"):
            one.check(end, one.name not in ("nothing", "empty"))
        one.check_counts()
    return made


# Those that want no other agent come first: what is attached elsewhere costs everybody.
ALONE = (("mkdir", "mkdir", by_clock.run_mkdir),
         ("in-turn", "connections and datagrams a second", by_clock.run_in_turn),
         ("setsockopt", "calls of setsockopt(2)", by_setsockopt.run_setsockopt),
         ("look-up", "look-ups among prefixes", by_accounting.run_look_ups),
         ("misses", "cgroups that the cache does not know", by_miss.run_misses),
         ("walks", "commands that look at all sockets", by_walk.run_walks),
         ("sizes", "large configurations", by_size.run_sizes),
         ("globs", "how many globs fit", by_size.run_globs))
SIDE_BY_SIDE = {"programs": by_accounting.ByAccounting, "beside": by_clock.Beside}
SETUPS = 5


def run_side_by_side(setup, parts, found):
    parts = [SIDE_BY_SIDE[part]() for part in parts]
    for setup.number in range(setup.setups(SETUPS)):
        say(f"contestants, set up for the {setup.number + 1}. time ...")
        with setup.box.scope():
            all_of = make_contestants(setup)
            found["sizes"] |= by_accounting.sizes(all_of)
            for part in parts:
                say(f"  {part.what} ...")
                part.sample(setup, all_of)
    return [row for part in parts for row in part.rows(found)]


def run_parts(setup, wanted, found):
    """The rows, part by part."""
    rows = []
    for part, what, run in ALONE:
        if part in wanted:
            say(f"{what} ...")
            rows += run(setup, found)
    if "agent" in wanted:
        idle = agent_rows.Idle(setup)
        idle.begin()
    side_by_side = [part for part in SIDE_BY_SIDE if part in wanted]
    if side_by_side:
        rows += run_side_by_side(setup, side_by_side, found)
    if "agent" in wanted:
        say("the agent ...")
        rows += idle.rows(found)
        rows += agent_rows.run_starts(setup, found)
        rows += agent_rows.run_verifier(setup, found)
    return rows


def print_beside(found):
    """Microseconds of a connection, and more than with nothing attached."""
    names = [f"{end}, IPv{family}" for end in ("connect", "accept") for family in "46"]
    rows = []
    for name in by_clock.BESIDE:
        cells = [name]
        for key in ("connect/4", "connect/6", "accept/4", "accept/6"):
            one = found["beside"][key][name]["over_nothing_cpu_ns"]
            cells.append("" if name == "nothing" else
                         f"{one['median']:+.0f} [{one['low']:+.0f}, {one['high']:+.0f}]")
        rows.append(cells)
    base = [found["beside"][key]["nothing"]["cpu_ns"]["median"] / 1000
            for key in ("connect/4", "connect/6", "accept/4", "accept/6")]
    say("\nA whole connection (socket, connect, accept, close, both ends), CPU ns more than with "
        "nothing attached\n(" + ", ".join(f"{number:.1f} µs" for number in base) + "):\n")
    say(table(["contestant", *names], rows))


def main():
    parser = parse_arguments(__doc__)
    parser.add_argument("--only", action="append", choices=PARTS, help="some parts")
    arguments = parser.parse_args()
    found = {"quick": arguments.quick, "programs": {}, "beside": {}, "sizes": {}}
    with enter_sandbox(os.path.abspath(f"{arguments.build}/sockpol")) as box:
        here = machine.Machine(arguments.cpu)
        setup = contestants.Setup(box, arguments)
        try:
            rows = run_parts(setup, set(arguments.only or PARTS), found)
        except Failure as failure:
            sys.exit(f"error: {failure.asked}: expected {failure.expected}, saw {failure.seen}")
    found["machine"] = here.finish()
    found["machine"]["text"] = machine.describe(found["machine"])
    found["rows"] = [row.json() for row in rows]
    say("\n" + table(HEADS, [row.cells() for row in rows]))
    if found["beside"]:
        print_beside(found)
    say("\n" + found["machine"]["text"])
    if arguments.quick:
        say("Few rounds: these are no measurements.")
    if arguments.json:
        with open(arguments.json, "w", encoding="utf-8") as file:
            json.dump(found, file, indent=1)
    return 0 if all(row.met for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
