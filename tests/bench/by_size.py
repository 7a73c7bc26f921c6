# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Rows about large configurations: start, reload, memory of the agent and of its maps, globs that fit."""

import os
import random
import re
import string
import threading
import time

import accounting
from agent_rows import Ready
from contestants import FILE, rule
from harness.flows import check_priority, policies, policy
from harness.result import check
from intervals import interval
from rows import Row, exactly

MB = 1 << 20
PREFIXES_EACH = 10
GLOBS, GLOB_BYTES, GLOBS_MORE = 12_000, 20, 6_000
GLOBS_A_POLICY = 1_000


class Size:
    """So many slices have a unit each for every policy; starts and reloads are measured `times`."""

    def __init__(self, policies_in_all, slices, times, **bars):
        self.policies, self.slices, self.times, self.bars = policies_in_all, slices, times, bars
        self.cgroups = slices * self.policies
        self.title = (f"{self.policies:,} policies, {self.policies * PREFIXES_EACH:,} prefixes, "
                      f"{self.cgroups:,} cgroups")


SMALL = Size(1_000, 10, 7, start=300, reload=150, rss=16, maps=24)
LARGE = Size(10_000, 10, 3, start=1500, reload=1000, peak=256)


def priority(number, salt):
    return 10 + (number + salt) % 50


def size_policy(number, salt):
    first = number * PREFIXES_EACH
    near = ", ".join(f"10.{at >> 8 & 255}.{at & 255}.{at >> 16 << 6}/26"
                     for at in range(first, first + PREFIXES_EACH))
    return policy(f"size-{number}", "", {"SO_PRIORITY": priority(number, salt)}, "    rules:\n"
                  + rule("near", f"remote: [{near}]", {"TCP_KEEPCNT": 3, "TCP_CONGESTION": "reno"})
                  ).replace('cgroup: ""', f"unit: app-{number}.service")


def write_policies(agent, size, salt):
    """A file of a thousand each; from one salt to the next each policy changes."""
    for first in range(0, size.policies, 1_000):
        agent.write(f"{50 + first // 1_000}-bench.yaml", policies(*(
            size_policy(number, salt) for number in range(first, first + 1_000))))


def make_cgroups(root, size):
    for at in range(size.slices):
        directory = root.child(f"tenant-{at}.slice").directory
        for number in range(size.policies):
            os.mkdir(f"{directory}/app-{number}.service")


def megabytes(agent, what):
    """VmRSS, or VmHWM: the most that it ever was."""
    with open(f"/proc/{agent.process.pid}/status", encoding="ascii") as file:
        return int(re.search(rf"^{what}:\s*(\d+) kB", file.read(), re.M)[1]) / 1024


class Peak(threading.Thread):
    """The most megabytes that an agent's maps take, as far as one sees by looking again and again."""

    def __init__(self, agent):
        super().__init__()
        self.agent, self.most, self.ended = agent, 0, threading.Event()

    def run(self):
        while not self.ended.is_set():
            self.most = max(self.most, accounting.map_bytes(self.agent.objects_now()) / MB)
            self.ended.wait(0.001)

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        self.join()


def measure(setup, size):
    """What it takes with so much."""
    box = setup.box
    with box.scope():
        root = box.root_cgroup("-size.slice")
        make_cgroups(root, size)
        agent, ready = box.agent("bench-size", root), Ready(setup)
        write_policies(agent, size, 0)
        starts, reloads = [], []
        for _ in range(size.times):
            start, end = ready.start(agent)
            starts.append(1000 * (end - start))
            agent.stop()
        agent.start()
        for salt in range(1, 1 + size.times):
            write_policies(agent, size, salt)
            start = time.monotonic()
            agent.reload_good()
            reloads.append(1000 * (time.monotonic() - start))
        found = {"start": interval(starts), "reload": interval(reloads),
                 "rss": exactly(megabytes(agent, "VmRSS")),
                 "maps": exactly(accounting.map_bytes(agent.objects()) / MB)}
        with Peak(agent) as peak:
            write_policies(agent, size, salt + 1)
            agent.reload_good()
        found["maps_peak"], found["hwm"] = exactly(peak.most), exactly(megabytes(agent, "VmHWM"))
        found["peak"] = exactly(peak.most + found["hwm"]["median"])
        for number in (0, size.policies // 3, size.policies - 1):
            unit = root.child(f"tenant-{size.slices - 1}.slice/app-{number}.service", make=False)
            check_priority(unit.path, box.worker(unit), priority(number, salt + 1))
        agent.stop()
    return found


SHOWN = (("start", "from exec to ready", " ms", 0), ("reload", "a reload that changes each", " ms", 0),
         ("rss", "the agent's RSS", " MB", 1), ("maps", "the kernel's maps", " MB", 1),
         ("peak", "RSS and maps at the peak of a reload", " MB", 1),
         ("maps_peak", "of these the maps", " MB", 1))


def rows_of(size, seen):
    for key, what, unit, digits in SHOWN:
        bar = size.bars.get(key)
        title = f"{size.title}: {what}" if bar else f"  {what}"
        yield Row(title, seen[key], unit, most=bar, digits=digits, exact=seen[key]["n"] == 1)


def run_sizes(setup, found, sizes=(SMALL, LARGE)):
    rows = []
    for size in sizes:
        seen = found.setdefault("sizes_of_configurations", {})[size.title] = measure(setup, size)
        rows += rows_of(size, seen)
    return rows


def write_globs(agent, number, numbers):
    """Random ones: hardly two begin alike."""
    letters = string.ascii_lowercase + string.digits
    globs = ["".join(numbers.choices(letters, k=GLOB_BYTES)) for _ in range(number)]
    texts = []
    for first in range(0, number, GLOBS_A_POLICY):
        some = ", ".join(globs[first:first + GLOBS_A_POLICY])
        texts.append(policy(f"globs-{first}", "", {"SO_PRIORITY": 1}).replace(
            'cgroup: ""', f"unit: [{some}]"))
    agent.write(FILE, policies(*texts))
    return globs[-1]


def run_globs(setup, found):
    """As many as are promised govern; then more, as long as they are taken."""
    box, numbers = setup.box, random.Random(1)
    with box.scope():
        root = box.root_cgroup("-globs.slice")
        agent = box.agent("bench-globs", root)
        last = write_globs(agent, GLOBS, numbers)
        agent.start()
        check_priority("of the last of the globs", box.worker(root.child(last)), 1)
        fit = GLOBS
        while True:
            write_globs(agent, fit + GLOBS_MORE, numbers)
            done = agent.reload()
            if done.returncode:
                break
            fit += GLOBS_MORE
        check("why more globs do not fit", True, "glob" in done.stdout + done.stderr)
        agent.stop()
    found["globs_that_fit"] = fit
    return [Row(f"globs of {GLOB_BYTES} bytes that fit, hardly two of which begin alike, by "
                f"{GLOBS_MORE:,}", exactly(fit), least=GLOBS, digits=0, exact=True)]
