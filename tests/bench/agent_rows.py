# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Rows about the agent: what it does when idle, its memory, and how soon it is ready."""

import contextlib
import glob
import os
import re
import socket
import struct
import time

import accounting
from contestants import FILE
from harness.result import DEADLINE, Failure, wait_for
from intervals import interval
from rows import Row, exactly

IDLE_SECONDS = 10
STARTS = 30


# What gives applications the last word back: "application: hold" and the like, on a line of its own.
LAST_WORDS = re.compile(r"^\s*application: \w+\n", re.M)


def shipped(setup, name, last_words=True):
    """An agent with the policies that come with sockpol, over a cgroup of its own; without last_words: but
    without what they say about who has the last word."""
    agent = setup.box.agent(name, setup.box.cgroup.child(name))
    for path in sorted(glob.glob(os.path.join(setup.policies, "*.yaml"))):
        with open(path, encoding="utf-8") as file:
            text = file.read()
        agent.write(os.path.basename(path), text if last_words else LAST_WORDS.sub("", text))
    return agent


class Idle:
    """An agent that nobody asks anything, watched while other rows are measured."""

    def __init__(self, setup):
        self.agent = shipped(setup, "bench-idle")
        self.agent.start()
        self.start = self.wakeups = self.cpu = None

    def look(self):
        """(times that it slept, nanoseconds of CPU time), of all its threads."""
        wakeups = cpu = 0
        for task in glob.glob(f"/proc/{self.agent.process.pid}/task/*"):
            with open(f"{task}/status", encoding="ascii") as file:
                wakeups += int(re.search(r"^voluntary_ctxt_switches:\s*(\d+)", file.read(), re.M)[1])
            with open(f"{task}/schedstat", encoding="ascii") as file:
                cpu += int(file.read().split()[0])
        return wakeups, cpu

    def state(self):
        with open(f"/proc/{self.agent.process.pid}/stat", encoding="ascii") as file:
            return file.read().rpartition(")")[2].split()[0]

    def begin(self):
        """It says that it is ready before it goes to sleep, which counts as a switch."""
        wait_for("the agent to sleep", "S", self.state)
        self.start = time.monotonic()
        self.wakeups, self.cpu = self.look()

    def rows(self, found):
        left = self.start + IDLE_SECONDS - time.monotonic()
        time.sleep(max(0, left))  # the figure is one of ten seconds
        seconds, (wakeups, cpu) = time.monotonic() - self.start, self.look()
        with open(f"/proc/{self.agent.process.pid}/status", encoding="ascii") as file:
            rss = int(re.search(r"^VmRSS:\s*(\d+) kB", file.read(), re.M)[1]) / 1024
        found["agent"] = {"idle_seconds": seconds, "wakeups": wakeups - self.wakeups,
                          "cpu_ns": cpu - self.cpu, "rss_mb": rss}
        return [Row(f"the agent's wake-ups in {seconds:.0f} s, idle",
                    exactly(wakeups - self.wakeups), most=0, digits=0, exact=True),
                Row("the agent's RSS with the shipped policies", exactly(rss), " MB", most=8,
                    digits=1, exact=True)]


class Ready:
    """Where agents say that they are ready, for the time of a scope.  It takes only so many messages:
    nobody reads those that come later."""

    def __init__(self, setup):
        self.path = setup.box.path("ready")
        self.socket = setup.box.stack.enter_context(
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
        self.socket.bind(self.path)

    def forget(self):
        """What agents said since."""
        self.socket.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while self.socket.recv(4096):
                pass
        self.socket.settimeout(DEADLINE)

    def start(self, agent):
        """When it was asked to start and when it was ready: seconds of time.monotonic()."""
        self.forget()
        agent.environment["NOTIFY_SOCKET"] = self.path
        start = time.monotonic()
        agent.start(wait=False)
        del agent.environment["NOTIFY_SOCKET"]
        while True:
            try:
                message = self.socket.recv(4096)
            except TimeoutError:
                raise Failure("the agent's READY=1", f"within {DEADLINE} s", agent.log()) from None
            if b"READY=1" in message.split(b"\n"):
                return start, time.monotonic()


# What goes on in the agent, by the commands of bpf(2) and libbpf's functions (bpf_calls.c).  Of what
# goes on at a time the first one here counts.
PHASES = {
    "the verifier": {5},
    "maps": {0, 1, 2, 3, 4, *range(21, 28)},
    "links, pins, BTF and the rest of bpf(2)": set(range(40)),
    "libbpf itself": {1000},
}
REST = "the rest of the agent"
CALLS_SIZE = 24 * 32768


def read_phases(path, start, end):
    """{phase: milliseconds} of the time from start to end; each moment counts once."""
    with open(path, "rb") as file:
        calls = [call for call in struct.iter_unpack("<3Q", file.read()) if any(call)]
    edges = []
    for begin, over, command in calls:
        phase = next(name for name, commands in PHASES.items() if command in commands)
        edges += [(begin, 1, phase), (over, -1, phase)]
    running, found = dict.fromkeys(PHASES, 0), dict.fromkeys([*PHASES, REST], 0)
    before = 1e9 * start
    for at, change, phase in sorted(edges):
        at = min(max(at, before), 1e9 * end)
        now = next((name for name, number in running.items() if number), REST)
        found[now] += (at - before) / 1e6
        before = at
        running[phase] += change
    found[REST] += 1e3 * end - before / 1e6
    return found


class Starts:
    """Of one kind: how long each took, and what for."""

    def __init__(self, title, most):
        self.title, self.most = title, most
        self.took, self.phases = [], []

    def add(self, ready, agent, calls):
        """One more; `calls` is the file that bpf_calls.c writes to."""
        with open(calls, "wb") as file:
            file.truncate(CALLS_SIZE)
        start, end = ready.start(agent)
        self.took.append(1000 * (end - start))
        self.phases.append(read_phases(calls, start, end))

    def json(self):
        return {"ms": interval(self.took),
                "phases": {name: interval([one[name] for one in self.phases])
                           for name in self.phases[0]}}

    def rows(self):
        yield Row(f"the agent, from exec to ready, with the shipped policies, {self.title}",
                  interval(self.took), " ms", most=self.most, digits=0)
        for name, seen in self.json()["phases"].items():
            yield Row(f"  of these {name}", seen, " ms", digits=1)


# A policy that has something due at each stage, so that no program is left out.
ALL_STAGES = """policies:
  - name: all
    match: { cgroup: /nowhere }
    on_failure: refuse
    options: { SO_PRIORITY: 1, SO_REUSEADDR: on, SO_RCVBUF: 128K, TCP_BPF_IW: 20, TIMEOUT_INIT: 2s,
      TCP_KEEPIDLE: { value: 60s, application: hold }, TCP_KEEPCNT: { min: 2, max: 9, application: respect } }
    rules:
      - name: local
        when: { local: 10.0.0.0/8 }
        options: { SO_PRIORITY: 2 }
      - name: unix
        when: { family: unix }
        options: { SO_SNDBUF: 128K }
"""


def run_verifier(setup, found):
    with setup.box.scope():
        agent = setup.box.agent("bench-verifier", setup.box.cgroup.child("bench-verifier"))
        agent.write(FILE, ALL_STAGES)
        agent.start()
        sizes = {f"sockpol/{one.name}": one.size()
                 for one in accounting.of_agent(setup.box.stack, agent).programs}
    found["sizes"] |= sizes
    walked = max(one["verified_instructions"] for one in sizes.values())
    return [Row("instructions that the verifier walks for the largest program", exactly(walked),
                most=60_000, digits=0, exact=True)]


def run_starts(setup, found):
    """Cold, and over what an agent left that was killed; with a hook at setsockopt(2) and without."""
    with setup.box.scope():
        ready, calls, parts = Ready(setup), setup.box.path("bpf-calls"), []
        for what, last_words in (("", True), (", without `application`", False)):
            agent = shipped(setup, "bench-start", last_words)
            agent.environment |= {"LD_PRELOAD": setup.built("bench/bpf_calls.so"), "BENCH_BPF_CALLS": calls}
            parts.append((agent, Starts(f"cold{what}", 180), Starts(f"adopting pins{what}", 60)))
        for _ in range(setup.rounds(STARTS)):
            for agent, cold, adopting in parts:
                cold.add(ready, agent, calls)
                agent.kill()
                adopting.add(ready, agent, calls)
                agent.stop()
    found["starts"] = {one.title: one.json() for _, *both in parts for one in both}
    return [row for _, *both in parts for one in both for row in one.rows()]
