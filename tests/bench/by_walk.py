# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Rows about commands that look at all sockets: apply and sockets, with 100,000 of them."""

import os
import resource
import subprocess
import threading
import time

from contestants import FILE, Load
from eight import EIGHT
from harness.flows import policies, policy
from harness.result import PATIENCE, check
from intervals import interval, ratios
from rows import Row, exactly

SOCKETS = 100_000
APPLIES, PINGS, PING_ROUNDS = 9, 20_000, 9
# Each of the eight another one than EIGHT has.
CHANGED = {"SO_SNDBUF": "256K", "TCP_CONGESTION": "reno", "TCP_NOTSENT_LOWAT": "64K", "TCP_USER_TIMEOUT": "40s",
           "TCP_KEEPIDLE": "70s", "TCP_KEEPINTVL": "11s", "TCP_KEEPCNT": 4, "SO_KEEPALIVE": "off"}


def has(agent, command):
    return f"\n  {command} " in agent.command("--help").stdout


class Many:
    """An agent, and as many sockets as that which it governs."""

    def __init__(self, setup):
        root = setup.box.cgroup.child("bench-many")
        self.setup, self.governed = setup, root.child("governed")
        self.agent = setup.box.agent("bench-many", root)
        self.write(EIGHT)
        self.agent.start()
        # As few processes as may have so many files open.
        most, left = (resource.getrlimit(resource.RLIMIT_NOFILE)[1] - 100) // 2, SOCKETS // 2
        while left:
            load = setup.box.stack.enter_context(Load(setup, self.governed, self.governed))
            load.run("many", min(left, most))
            left -= min(left, most)

    def write(self, options):
        self.agent.write(FILE, policies(policy("eight", self.governed, options)))

    def run(self, *arguments):
        """(seconds of CPU time, seconds on the clock) of a command; what it says goes to a file."""
        start = time.monotonic()
        with open(self.setup.box.path("said"), "wb") as out:
            process = subprocess.Popen([self.agent.sockpol, *arguments, "--pin-dir", self.agent.pin_dir],
                                       stdout=out, stderr=subprocess.STDOUT)
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        with open(out.name, "rb") as said:
            check(f"exit status of sockpol {' '.join(arguments)}: {said.read(1000)}", 0, process.returncode)
        os.unlink(out.name)
        return used.ru_utime + used.ru_stime, time.monotonic() - start

    def apply(self, options):
        """The eight options of all sockets, to other values than they have."""
        self.write(options)
        self.agent.reload_good()
        return self.run("apply")[0]

    def applies(self, number):
        return [self.apply((CHANGED, EIGHT)[turn % 2]) for turn in range(number)]

    def check_options(self):
        """Does a socket have what was applied last?"""
        shown = self.agent.json("sockets", "--differs", "--pin-dir", self.agent.pin_dir)
        check("sockets that have other values than the policy's", 0, len(shown["sockets"]))


def beside(many, number):
    """The median of a byte's way to and fro, beside applies that follow each other, over alone."""
    free = many.setup.box.cgroup.child("bench-many").child("free")
    alone, busy = [], []
    with Load(many.setup, free, free) as load:
        for _ in range(number):
            alone.append(load.run("ping", PINGS)["options"])
            done = threading.Event()

            def walk(done=done):
                while not done.is_set():
                    many.run("apply")

            walker = threading.Thread(target=walk)
            walker.start()
            busy.append(load.run("ping", PINGS)["options"])
            done.set()
            walker.join()
    return interval(ratios(busy, alone))


def rows_of_apply(many, setup, seen):
    if not has(many.agent, "apply"):
        yield Row("no command apply here", exactly(0), exact=True, digits=0)
        return
    cold, *warm = many.applies(setup.rounds(APPLIES) + 1)
    seen["apply"] = {"cold_s": cold, "warm_s": interval(warm), "beside": beside(many, setup.rounds(PING_ROUNDS))}
    many.check_options()
    title = f"apply, eight options, {SOCKETS:,} sockets"
    yield Row(f"{title}, warm, CPU time", seen["apply"]["warm_s"], " s", most=0.25)
    yield Row("  cold", exactly(cold), " s", exact=True)
    yield Row("  a ping-pong beside it, median over that of one alone", seen["apply"]["beside"], most=1.05, digits=3)


def rows_of_sockets(many, setup, seen):
    if not has(many.agent, "sockets"):
        yield Row("no command sockets here", exactly(0), exact=True, digits=0)
        return
    for more, most in (((), 0.5), (("--processes",), 1.5)):
        took = interval([many.run("sockets", "--json", *more)[1] for _ in range(setup.rounds(APPLIES))])
        seen[" ".join(("sockets", *more))] = took
        yield Row(f"sockets --json, {SOCKETS:,} sockets{' with --processes' if more else ''}, on the clock", took,
                  " s", most=most * PATIENCE)


def run_walks(setup, found):
    seen = found["walks"] = {}
    with setup.box.scope():
        many = Many(setup)
        return [*rows_of_apply(many, setup, seen), *rows_of_sockets(many, setup, seen)]
