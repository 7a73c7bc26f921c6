#!/usr/bin/python3 -B
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""What rules cost.  Run as root; the machine should have nothing else to do.

connect: by the kernel's own accounting (kernel.bpf_stats_enabled, restored afterwards), the time of
our connect4 program for each call, with rules and prefixes by number, uniformly random peers, fresh
UDP sockets; next to it the same program on an ungoverned cgroup.  Each configuration has an agent
over a cgroup of its own, so that all are measured in turns, round by round.

send: the CPU time of a hot sendto() loop over loopback, on an unconnected socket, to one that never
reads: governed, ungoverned with the hooks attached, an empty program attached (what the kernel takes
for any hook), and nothing attached; new processes each round, in turns within it; the median of the rounds' ratios with its 95 % confidence interval.
"""

import argparse
import ipaddress
import json
import math
import os
import random
import socket
import statistics
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../live"))

from empty_hook import attach_empty  # noqa: E402
from harness.flows import policies, policy  # noqa: E402
from harness.result import Failure, Report, check  # noqa: E402
from harness.startup import enter_sandbox  # noqa: E402

FILE = "50-bench.yaml"
STATS = "/proc/sys/kernel/bpf_stats_enabled"
BASE = "base only"
LOOKUP_BAR = 1000  # nanoseconds
SEND_BAR = 1.03  # times the CPU time with nothing attached
RULES, PREFIXES = (1, 10, 64), (1, 1_000, 100_000)
ROUNDS, QUICK_ROUNDS = 15, 5  # of connects
CONNECTS = 4000  # of each configuration in a round
PAIRS, QUICK_PAIRS = 60, 30  # of sends
SENDS = 20_000  # in a turn
# Who sends, by letter; the turns of a round, each letter as often early as late.
SENDERS = {"n": "nothing", "e": "empty hook", "u": "ungoverned", "g": "governed"}
ORDERS = ("neug", "guen", "ugne", "engu")


class Load:
    """A load.c in a cgroup."""

    def __init__(self, binary, cgroup, *arguments):
        self.process = cgroup.popen([binary, *map(str, arguments)], stdin=subprocess.PIPE,
                                    stdout=subprocess.PIPE, text=True)

    def run(self, count):
        """Nanoseconds of CPU time."""
        print(count, file=self.process.stdin, flush=True)
        return int(self.process.stdout.readline())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


def random_prefixes(count, numbers):
    """Unicast prefixes of 16 to 32 bits, which random peers walk down to, mostly in vain."""
    found = {}
    while len(found) < count:
        length = numbers.randrange(16, 33)
        bits = numbers.randrange(1 << 24, 224 << 24) >> (32 - length) << (32 - length)
        found[str(ipaddress.ip_network((bits, length)))] = None
    return list(found)


def bench_policy(name, cgroup, n_rules, n_prefixes):
    """Base and rules set the same option: what differs is how long it takes to find out which."""
    prefixes = random_prefixes(n_prefixes, random.Random(n_prefixes))
    text = "    rules:\n" if n_rules else ""
    for number in range(n_rules):
        own = prefixes[number::n_rules] or [prefixes[number % n_prefixes]]
        text += (f"      - name: rule-{number}\n        when: {{ remote: [{', '.join(own)}] }}\n"
                 f"        options: {{ SO_PRIORITY: {number % 7} }}\n")
    return policies(policy(name, cgroup, {"SO_PRIORITY": 1}, text))


def program(agent, name):
    """The id of an agent's program; never of anybody else's."""
    for kind, number in agent.objects():
        if kind == "prog" and program_info(number)["name"] == name:
            return number
    raise Failure(f"the agent's program {name}", "among its descriptors", "not there")


def program_info(number):
    return json.loads(subprocess.run(["bpftool", "-j", "prog", "show", "id", number], check=True,
                                     stdout=subprocess.PIPE).stdout)


def accounted(number):
    """(calls, nanoseconds) of a program; bpftool leaves out what is 0."""
    info = program_info(number)
    return info.get("run_cnt", 0), info.get("run_time_ns", 0)


class Subject:
    """An agent with one configuration, and a program that connects under it."""

    def __init__(self, box, binary, cpu, label, n_rules, n_prefixes):
        self.label, self.n_rules, self.n_prefixes = label, n_rules, n_prefixes
        name = f"bench-{n_rules}-{n_prefixes}"
        root = box.cgroup.child(name)
        agent = box.agent(name, root)
        governed, free = root.child("governed"), root.child("free")
        agent.write(FILE, bench_policy(name, governed, n_rules, n_prefixes))
        agent.start()
        self.program = program(agent, "connect4")
        self.loads = {where: box.stack.enter_context(Load(binary, cgroup, cpu, "connect", 1))
                      for where, cgroup in (("governed", governed), ("free", free))}
        self.samples = {"governed": [], "free": []}

    def measure(self, where):
        """Nanoseconds of a call, on average over one turn."""
        calls, time = accounted(self.program)
        self.loads[where].run(CONNECTS)
        calls_after, time_after = accounted(self.program)
        check(f"{self.label}: calls of connect4 for {CONNECTS} connects", CONNECTS,
              calls_after - calls)
        self.samples[where].append((time_after - time) / CONNECTS)

    def result(self):
        governed, free = self.samples["governed"], self.samples["free"]
        return {"rules": self.n_rules, "prefixes": self.n_prefixes,
                "governed_ns": summary(governed), "ungoverned_ns": summary(free),
                "difference_ns": summary([one - other for one, other in zip(governed, free)])}


def summary(samples):
    """Median, and quartiles for the spread."""
    low, middle, high = statistics.quantiles(samples, n=4, method="inclusive")
    return {"median": middle, "q1": low, "q3": high}


def spread(one):
    return f"{one['median']:6.0f} ({one['q1']:.0f}..{one['q3']:.0f})"


def enable_stats(box):
    with open(STATS, encoding="ascii") as file:
        before = file.read()
    box.stack.callback(write_stats, before)
    write_stats("1")


def write_stats(value):
    with open(STATS, "w", encoding="ascii") as file:
        file.write(value)


def bench_connect(box, arguments):
    subjects = [Subject(box, arguments.load, arguments.cpu, BASE, 0, 1)]
    subjects += [Subject(box, arguments.load, arguments.cpu, f"{rules} rules, {prefixes} prefixes",
                         rules, prefixes) for prefixes in PREFIXES for rules in RULES]
    enable_stats(box)
    for subject in subjects:  # warm
        subject.measure("governed")
        subject.measure("free")
        subject.samples = {"governed": [], "free": []}
    for _ in range(QUICK_ROUNDS if arguments.quick else ROUNDS):
        for where in ("governed", "free") * 2:  # A B A B
            for subject in subjects:
                subject.measure(where)
    return subjects


def lookup_cost(subjects):
    """What a look-up among the most prefixes costs more than one among one, turn by turn."""
    by_size = {(one.n_rules, one.n_prefixes): one.samples["governed"] for one in subjects}
    return {rules: summary([many - one for many, one in zip(by_size[rules, max(PREFIXES)],
                                                            by_size[rules, 1])])
            for rules in RULES}


def print_connects(results, lookup):
    print("connect4, ns a call: median (quartiles)")
    print(f"{'rules':>6} {'prefixes':>9}  {'governed':<22} {'ungoverned':<22} difference")
    for one in results:
        print(f"{one['rules']:>6} {one['prefixes'] if one['rules'] else 0:>9}  "
              f"{spread(one['governed_ns']):<22} {spread(one['ungoverned_ns']):<22} "
              f"{spread(one['difference_ns'])}")
    for rules, one in lookup.items():
        print(f"look-up among {max(PREFIXES)} prefixes more than among 1, {rules} rules: "
              f"{spread(one)} ns")


def connect_test(box, arguments, found):
    subjects = bench_connect(box, arguments)
    found["connect"] = [one.result() for one in subjects]
    found["lookup_ns"] = lookup_cost(subjects)
    print_connects(found["connect"], found["lookup_ns"])
    seen = found["lookup_ns"][1]["median"]
    check(f"a peer look-up among {max(PREFIXES)} prefixes (took {seen:.0f} ns) within "
          f"{LOOKUP_BAR} ns", True, seen <= LOOKUP_BAR)


SEND_POLICY = """    rules:
      - name: sends
        when: { protocol: udp, direction: connect }
        options: { SO_PRIORITY: 4 }
      - name: far
        when: { protocol: udp, remote: 10.0.0.0/8 }
        options: { SO_PRIORITY: 5 }
"""


def send_cgroups(box):
    """{letter: cgroup}, and the agent of the two that have our hooks."""
    root = box.cgroup.child("bench-send")
    agent, governed = box.agent("bench-send", root), root.child("governed")
    agent.write(FILE, policies(policy("send", governed, {}, SEND_POLICY)))
    agent.start()
    program(agent, "sendmsg4")  # or nothing would be measured
    empty = box.cgroup.child("bench-empty")
    attach_empty(empty)
    return {"g": governed, "u": root.child("free"), "e": empty,
            "n": box.cgroup.child("bench-nothing")}, agent


def send_round(arguments, cgroups, port):
    """CPU time by letter: of new processes, each with its turns."""
    loads, times = {}, dict.fromkeys(cgroups, 0)
    try:
        for letter, cgroup in cgroups.items():
            loads[letter] = Load(arguments.load, cgroup, arguments.cpu, "send", "127.0.0.1", port)
            loads[letter].run(SENDS // 4)  # warm; the first send is the one with work to do
        for order in ORDERS:
            for letter in order:
                times[letter] += loads[letter].run(SENDS)
    finally:
        for load in loads.values():
            load.__exit__()
    return times


def median_interval(samples):
    """Median and its 95 % interval, by order statistics: nothing is assumed of the distribution."""
    ordered, n = sorted(samples), len(samples)
    low = max(0, math.floor(n / 2 - 1.96 * math.sqrt(n) / 2) - 1)
    return {"median": statistics.median(ordered), "low": ordered[low], "high": ordered[n - 1 - low],
            "rounds": n}


def percent(one):
    return (f"{(one['median'] - 1) * 100:+.2f} % "
            f"[{(one['low'] - 1) * 100:+.2f}, {(one['high'] - 1) * 100:+.2f}]")


def send_result(rounds):
    sends = SENDS * len(ORDERS)
    return {name: {"ns": summary([one[letter] / sends for one in rounds]),
                   "ratio": median_interval([one[letter] / one["n"] for one in rounds])}
            for letter, name in SENDERS.items()}


def print_sends(result):
    rounds = result["governed"]["ratio"]["rounds"]
    print(f"sendto, {rounds} rounds of {SENDS * len(ORDERS)} datagrams: CPU ns a datagram, median "
          "(quartiles); cost [95 %]")
    for name, one in result.items():
        print(f"{name:>12}  {spread(one['ns']):<22} "
              f"{percent(one['ratio']) if name != 'nothing' else ''}")


def send_test(box, arguments, found):
    cgroups, agent = send_cgroups(box)
    rounds = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as deaf:
        deaf.bind(("127.0.0.1", 0))
        for _ in range(QUICK_PAIRS if arguments.quick else PAIRS):
            rounds.append(send_round(arguments, cgroups, deaf.getsockname()[1]))
    found["send"] = send_result(rounds)
    print_sends(found["send"])
    applied = {one["name"]: one["applied"] for one in agent.policy("send")["rules"]}
    check("applied: a sender once, whatever it sends", {"sends": len(rounds), "far": 0}, applied)
    for name in ("governed", "ungoverned"):
        seen = found["send"][name]["ratio"]["median"]
        check(f"{name} sends (times {seen:.4f}) below times {SEND_BAR}", True, seen < SEND_BAR)


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    build = os.path.join(HERE, "../../build")
    parser.add_argument("--sockpol", default=f"{build}/sockpol", help="the agent")
    parser.add_argument("--load", default=f"{build}/tests/load", help="load.c, built")
    parser.add_argument("--cpu", type=int, default=max(os.sched_getaffinity(0)),
                        help="to pin the load to (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    parser.add_argument("--json", metavar="FILE", help="write the numbers there")
    parser.add_argument("--only", choices=("connect", "send"), help="one part")
    return parser.parse_args()


def main():
    arguments = parse_arguments()
    arguments.load = os.path.abspath(arguments.load)
    report, found = Report(), {"load_average": os.getloadavg()[0]}
    with enter_sandbox(os.path.abspath(arguments.sockpol)) as box:
        for name, test in (("send", send_test), ("connect", connect_test)):
            if arguments.only in (None, name):
                with box.scope():
                    report.run(f"bench/{name}", lambda test=test: test(box, arguments, found))
    if arguments.json:
        with open(arguments.json, "w", encoding="utf-8") as file:
            json.dump(found, file, indent=2)
    print(report.summary())
    return 1 if report.failed else 0


if __name__ == "__main__":
    sys.exit(main())
