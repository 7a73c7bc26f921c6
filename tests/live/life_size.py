# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""How large a host may be: time, the agent's memory, the kernel's, and none of it grows.

SOCKPOL_TEST_SIZE=long makes as many reloads and cgroups as are promised; else there are
fewer.
Times are promised for a machine that does nothing else.  Tests share theirs, so that what is held
to a promise is the time that the agent computed; on the clock it may take SLOW times as long.
"""

import glob
import os
import re
import time
from dataclasses import dataclass

from harness.flows import SO_PRIORITY, check_priority, connected_option, policies, policy
from harness.result import Failure, check
from harness.size import sized

ALONE = True
FILE = "50-size.yaml"
MB = 1 << 20

SLOW = 8
SMALL_MAPS = 8 * MB  # of a host with one policy


@dataclass(frozen=True)
class Size:
    cgroups: int
    policies: int
    prefixes: int
    start: float  # seconds
    reload: float
    rss: int  # bytes, once a reload is over
    peak: int  # at the peak of one
    maps: int


USUAL = Size(10_000, 1_000, 10_000, 0.3, 0.15, 16 * MB, 26 * MB, 24 * MB)
LARGE = Size(sized(short=1_000, full=100_000, long=100_000), 10_000, 100_000, 1.5, 1.0, 192 * MB,
             192 * MB, 64 * MB)

SLICES, WIDE = 10, 10
RELOADS = sized(short=200, full=300, long=1000)
CHURNED = sized(short=10000, full=30000, long=100000)
AT_A_TIME = 500


def prefixes(number, n=10):
    """The number-th policy's share of them, in YAML."""
    return ", ".join(f"10.{at >> 8 & 255}.{at & 255}.{at >> 16 << 4}/28"
                     for at in range(number * n, number * n + n))


def sized_policy(number, match, options):
    settings = ", ".join(f"{key}: {value}" for key, value in options.items())
    return (f"  - name: size-{number}\n"
            f"    match: {{ {match} }}\n"
            f"    options: {{ {settings} }}\n"
            "    rules:\n"
            "      - name: near\n"
            f"        when: {{ remote: [{prefixes(number)}] }}\n"
            "        options: { TCP_CONGESTION: reno, TCP_KEEPCNT: 3 }\n")


def all_policies(size, root, offset=0):
    """Some say what holds in a whole slice, the others what holds for a unit, in each slice."""
    wide = (sized_policy(number, f'cgroup: "{root.path}/tenant-{number}.slice"',
                         {"TCP_KEEPIDLE": "60s", "SO_KEEPALIVE": "on"})
            for number in range(WIDE))
    units = (sized_policy(number, f'unit: "app-{number}.service"',
                          {"TCP_USER_TIMEOUT": f"{20 + offset}s",
                           "SO_PRIORITY": priority(number, offset)})
             for number in range(WIDE, size.policies))
    return "policies:\n" + "".join(wide) + "".join(units)


def priority(number, offset=0):
    return 10 + (number + offset) % 50


def make_all(size, root):
    """10 slices, and as many units in each."""
    for number in range(SLICES):
        tenant = root.child(f"tenant-{number}.slice")
        for unit in range(1, size.cgroups // SLICES):
            os.mkdir(f"{tenant.directory}/app-{unit}.service")


def cpu_seconds(agent):
    with open(f"/proc/{agent.process.pid}/stat", encoding="ascii") as stat:
        fields = stat.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory(agent, what):
    """VmRSS or VmHWM (the most it ever was), in bytes."""
    with open(f"/proc/{agent.process.pid}/status", encoding="ascii") as status:
        return int(re.search(rf"^{what}:\s+(\d+) kB$", status.read(), re.M)[1]) * 1024


def maps(agent):
    """Bytes of kernel memory that the agent's maps take."""
    sizes = {}
    for path in glob.glob(f"/proc/{agent.process.pid}/fdinfo/*"):
        try:
            with open(path, encoding="ascii") as file:
                info = dict(line.split(":", 1) for line in file if ":" in line)
        except OSError:
            continue  # closed since the directory was listed
        if "map_id" in info:
            sizes[info["map_id"]] = int(info["memlock"])
    return sum(sizes.values())


def at_most(what, bound, seen, unit=1, name=""):
    print(f"{what}: {seen / unit:.2f}{name} (at most {bound / unit:g}{name})")
    if seen > bound:
        raise Failure(f"{what} to be at most {bound / unit:g}{name}", bound, seen)


def timed(agent, what, bound, do):
    """Runs `do`; its time, that of the agent's own computing above all."""
    cpu = cpu_seconds(agent) if agent.process else 0
    start = time.monotonic()
    do()
    wall = time.monotonic() - start
    at_most(f"{what}, computing", bound, cpu_seconds(agent) - cpu, name=" s")
    at_most(f"{what}, on the clock", SLOW * bound, wall, name=" s")


def try_size(box, name, size):
    root = box.root_cgroup(f"-{name}.slice")
    make_all(size, root)
    agent = box.agent(name, root)
    agent.write(FILE, all_policies(size, root))
    timed(agent, "start", size.start, agent.start)
    timed(agent, "the same again", size.reload, agent.reload_good)
    agent.write(FILE, all_policies(size, root, 1))
    timed(agent, "a reload that changes all", size.reload, agent.reload_good)
    at_most("the agent's memory", size.rss, memory(agent, "VmRSS"), MB, " MB")
    # While it loads programs and compiles, before the memory goes back.
    at_most("the agent's memory at its peak", size.peak, memory(agent, "VmHWM"), MB, " MB")
    at_most("the kernel's maps", size.maps, maps(agent), MB, " MB")
    for tenant, unit in ((0, 10), (3, 50), (9, 99)):
        cgroup = root.child(f"tenant-{tenant}.slice/app-{unit}.service", make=False)
        check_priority(cgroup.path, box.worker(cgroup), priority(unit, 1))
    last = size.policies - 1
    new = root.child(f"tenant-3.slice/deeper.slice/app-{last}.service")
    check_priority("a new one", box.worker(new), priority(last, 1))
    agent.stop()


def test_ten_thousand_cgroups(box):
    try_size(box, "size", USUAL)


def test_ten_thousand_policies(box):
    try_size(box, "size-large", LARGE)


def test_one_policy_takes_little(box):
    agent = box.agent("small")
    agent.write(FILE, policies(policy("small", box.cgroup.child("small"), {"SO_PRIORITY": 4})))
    agent.start()
    at_most("the kernel's maps", SMALL_MAPS, maps(agent), MB, " MB")
    agent.stop()


def many(cgroup, offset):
    return policies(*(policy(f"many-{number}", f"{cgroup.path}/m-{number}*",
                             {"SO_PRIORITY": priority(number, offset)},
                             "    rules:\n      - name: near\n        when: { remote: ["
                             f"{prefixes(number + offset)}] }}\n"
                             "        options: { SO_PRIORITY: 1 }\n")
                      for number in range(50)))


def footprint(agent):
    return {"memory": memory(agent, "VmRSS"), "maps": maps(agent),
            "descriptors": agent.n_descriptors()}


def check_growth(what, before, after):
    """The allocator may keep some more of what it was given back; a caller may still be there."""
    print(f"{what}: {before} before, {after} after")
    at_most(f"descriptors after {what}", before["descriptors"] + 1, after["descriptors"])
    at_most(f"memory after {what}", before["memory"] + MB, after["memory"], MB, " MB")
    at_most(f"maps after {what}", before["maps"] + MB // 64, after["maps"], MB, " MB")


def reload_often(agent, root, offsets):
    """Each time with other prefixes and values."""
    for offset in offsets:
        agent.write(FILE, many(root, offset))
        agent.reload_good()


def test_reloads_do_not_add_up(box):
    root = box.cgroup.child("reloads")
    for number in range(200):
        root.child(f"m-{number}")
    agent = box.agent("reloads", root)
    agent.write(FILE, many(root, 0))
    agent.start()
    reload_often(agent, root, range(1, 20))
    before = footprint(agent)
    reload_often(agent, root, range(20, 20 + RELOADS))
    check_growth(f"{RELOADS} reloads", before, footprint(agent))
    agent.stop()


def make_and_remove(directory, number):
    for start in range(0, number, AT_A_TIME):
        names = [f"{directory}/m-{at}" for at in range(start, start + AT_A_TIME)]
        for name in names:
            os.mkdir(name)
        for name in names:
            os.rmdir(name)


def test_cgroups_that_come_and_go_do_not_add_up(box):
    root = box.cgroup.child("churn")
    agent = box.agent("churn", root)
    agent.write(FILE, many(root, 0))
    agent.start()
    worker = box.worker(root.child("m-0"))
    make_and_remove(root.directory + "/m-0", 2 * AT_A_TIME)
    before = footprint(agent)
    make_and_remove(root.directory + "/m-0", CHURNED)
    check_growth(f"{CHURNED} cgroups", before, footprint(agent))
    check("SO_PRIORITY beside them", priority(0), connected_option(worker, SO_PRIORITY))
    agent.stop()
