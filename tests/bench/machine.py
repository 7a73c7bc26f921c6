# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""On which machine, and what disturbs there."""

import os
import platform
import re
import time


def read(path, otherwise="not there"):
    try:
        with open(path, encoding="utf-8") as file:
            return file.read().strip()
    except OSError:
        return otherwise


def processor():
    found = re.search(r"^model name\s*:\s*(.*)$", read("/proc/cpuinfo"), re.M)
    return found[1] if found else platform.machine()


def is_virtual():
    return " hypervisor" in read("/proc/cpuinfo")


def cpu_times():
    """Jiffies of all processors: (all, idle, stolen)."""
    numbers = [int(text) for text in read("/proc/stat").splitlines()[0].split()[1:9]]
    return sum(numbers), numbers[3] + numbers[4], numbers[7]


def other_programs():
    """Agents of somebody else's that run (what they left pinned without one is not seen)."""
    found = 0
    for pid in filter(str.isdigit, os.listdir("/proc")):
        found += read(f"/proc/{pid}/comm", "") == "sockpol"
    return found


class Machine:
    """What it is, and how much else it did while the benchmark ran."""

    def __init__(self, cpu):
        self.start, self.before = time.monotonic(), cpu_times()
        directory = f"/sys/devices/system/cpu/cpu{cpu}"
        self.facts = {
            "kernel": platform.release(), "architecture": platform.machine(),
            "processor": processor(), "virtual": is_virtual(), "processors": os.cpu_count(),
            "pinned_to": cpu,
            "siblings": read(f"{directory}/topology/thread_siblings_list"),
            "governor": read(f"{directory}/cpufreq/scaling_governor", "none to be seen"),
            "clock": read("/sys/devices/system/clocksource/clocksource0/current_clocksource"),
            "bpf_jit": read("/proc/sys/net/core/bpf_jit_enable"),
            "retpolines": "Retpolines" in read("/sys/devices/system/cpu/vulnerabilities/spectre_v2"),
            "load_before": os.getloadavg()[0], "other_agents": other_programs(),
        }

    def finish(self):
        total, idle, stolen = (now - then for now, then in zip(cpu_times(), self.before))
        self.facts.update(load_after=os.getloadavg()[0], seconds=time.monotonic() - self.start,
                          busy=1 - idle / total, stolen=stolen / total)
        return self.facts


def describe(facts):
    """One paragraph."""
    disturbed = []
    if facts["load_before"] > 0.5:
        disturbed.append(f"a load of {facts['load_before']:.1f} at the start")
    if facts["other_agents"]:
        disturbed.append(f"{facts['other_agents']} other agents (the kernel prepares hooks for theirs as well)")
    if facts["stolen"] > 0.001:
        disturbed.append(f"{facts['stolen']:.1%} of the time stolen by the hypervisor")
    if facts["siblings"] != str(facts["pinned_to"]):
        disturbed.append(f"siblings {facts['siblings']}")
    if facts["governor"] not in ("performance", "none to be seen"):
        disturbed.append(f"governor {facts['governor']}")
    virtual = " (virtual)" if facts["virtual"] else ""
    return (f"Linux {facts['kernel']}, {facts['processor']}{virtual}, {facts['processors']} "
            f"processors, pinned to {facts['pinned_to']}, frequency governor: {facts['governor']}, "
            f"clock {facts['clock']}, {facts['seconds']:.0f} s. "
            f"Disturbed by: {', '.join(disturbed) or 'nothing seen'}.")
