# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Rows about the agent: what it does when idle, its memory, and how soon it is ready."""

import glob
import os
import re
import shutil
import socket
import time

from harness.result import DEADLINE, Failure, wait_for
from intervals import interval
from rows import Row, exactly

IDLE_SECONDS = 10
STARTS = 32


def shipped(setup, name):
    """An agent with the policies that come with sockpol, over a cgroup of its own."""
    agent = setup.box.agent(name, setup.box.cgroup.child(name))
    for path in sorted(glob.glob(os.path.join(setup.policies, "*.yaml"))):
        copy = shutil.copy(path, agent.policy_dir)
        os.chmod(copy, 0o644)
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


def start_once(agent, ready):
    """Milliseconds from before the exec to READY=1."""
    start = time.monotonic()
    agent.start(wait=False)
    while True:
        try:
            message = ready.recv(4096)
        except TimeoutError:
            raise Failure("the agent's READY=1", f"within {DEADLINE} s", agent.log()) from None
        if b"READY=1" in message.split(b"\n"):
            return (time.monotonic() - start) * 1000


def run_starts(setup, found):
    samples = []
    with setup.box.scope(), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ready:
        path = setup.box.path("ready")
        ready.bind(path)
        ready.settimeout(DEADLINE)
        agent = shipped(setup, "bench-start")
        agent.environment["NOTIFY_SOCKET"] = path
        for _ in range(setup.rounds(STARTS)):
            samples.append(start_once(agent, ready))
            agent.stop()
            ready.setblocking(False)
            try:
                while ready.recv(4096):
                    pass
            except BlockingIOError:
                ready.settimeout(DEADLINE)
    found["agent"]["ready_ms"] = interval(samples)
    return [Row("the agent, from exec to ready, with the shipped policies", interval(samples),
                " ms", most=150, digits=0)]
