# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Killed at any moment of a start, a reload or a take-over, also by another version: beside it no socket is
ungoverned, none has a mixture, none fails; and nothing is left when the last agent ends."""

import random
import subprocess
import time

from harness.agent import still_there
from harness.flows import check_priority, priority_policy
from harness.result import check, wait_for
from harness.size import sized
from life_whole import check_verdicts, plain, read_verdict, running, start, use, write_whole

ALONE = True
KILLS = sized(short=16, full=30, long=100)
CONNECTIONS = sized(short=3000, full=15_000, long=100_000)
FILE = "50-test.yaml"


class Assassin:
    """Kills an agent somewhere in what it does, and has it start again."""

    def __init__(self, box, agent, texts):
        self.agent, self.texts = agent, texts
        self.builds = [agent.sockpol, box.build("other-abi")]
        self.random = random.Random(len(texts))
        self.reloads = 0  # as check_verdicts() wants it
        self.failures, self.start = [], time.monotonic()
        self.cold = box.agent("cold")
        self.cold_worker = box.worker(box.cgroup.child("cold"))
        self.cold.write(FILE, priority_policy("cold", self.cold_worker.cgroup, 4))
        self.held = set()
        self.seconds = {"reload": self.time_of(lambda: use(agent, texts[0])),
                        "start": self.time_of(self.cold.start)}
        self.cold.stop()
        self.pins = agent.pins()

    @staticmethod
    def time_of(do):
        start_ = time.monotonic()
        do()
        return time.monotonic() - start_

    def wait(self, what):
        """A moment of the time that it takes, its end included."""
        time.sleep(self.random.uniform(0, 1.1) * self.seconds[what])

    def started(self, agent):
        agent.start()
        self.held |= agent.objects()

    def in_a_reload(self):
        self.reloads += 1
        write_whole(self.agent, self.texts[self.reloads % 2])
        asked = subprocess.Popen([self.agent.sockpol, "reload", "--runtime-dir",
                                  self.agent.runtime_dir], stdout=subprocess.DEVNULL,
                                 stderr=subprocess.DEVNULL)
        self.wait("reload")
        self.agent.kill()
        asked.wait()
        self.started(self.agent)

    def in_a_take_over(self):
        self.agent.kill()
        self.in_a_start_of(self.agent)

    def in_one_of_another_version(self):
        self.agent.kill()
        self.builds.reverse()
        self.agent.sockpol = self.builds[0]
        self.in_a_start_of(self.agent)

    def in_a_start(self):
        """Of one that finds nothing to take over."""
        self.in_a_start_of(self.cold)
        check_priority("after a start that was cut short", self.cold_worker, 4)
        self.cold.stop()
        check("what it leaves", [], self.cold.pins())

    def in_a_start_of(self, agent):
        agent.start(wait=False)
        self.wait("start")
        agent.kill()
        self.started(agent)

    WAYS = (in_a_reload, in_a_take_over, in_one_of_another_version, in_a_start)

    def kill(self, number):
        way = self.WAYS[number % len(self.WAYS)]
        way(self)
        wait_for(f"nothing else to be pinned after kill {number}, {way.__name__}", self.pins,
                 self.agent.pins)


def test_killed_at_any_moment(box):
    agent, texts, binary, plan, cgroup = start(box, plain)
    assassin = Assassin(box, agent, texts)
    with running(cgroup, [binary, "judge", str(CONNECTIONS)], plan) as said:
        for number in range(KILLS):
            assassin.kill(number)
    assassin.seconds = time.monotonic() - assassin.start
    check_verdicts(said, assassin)
    connections = sum(sum(both) for (place, hook), both in read_verdict(said[0])[0].items()
                      if place.startswith("connect/") and hook == "tcp-connect")
    check(f"at least {CONNECTIONS} connections (there were {connections})", True,
          connections >= CONNECTIONS)
    agent.stop()
    check("pins left", [], agent.pins())
    wait_for("programs, maps and links to be gone", set(), lambda: still_there(assassin.held))
