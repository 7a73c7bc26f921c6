#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""The differential test: a model of the policy language, `sockpol explain` and real sockets.

Random configurations, random connections; for each connection the three must agree on every option,
and after each configuration's the counters on which policies and rules held.
Run as root.  What fails is made smaller and printed with the command that shows it again.
"""

import argparse
import collections
import concurrent.futures
import os
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(os.path.dirname(HERE), "live")]
sys.dont_write_bytecode = True

import generate  # noqa: E402
import kernel  # noqa: E402
import policy_files  # noqa: E402
from harness.size import sized  # noqa: E402
from harness.startup import enter_sandbox  # noqa: E402
from shrink import shrink  # noqa: E402
from sockets import KINDS, Maker, Peers  # noqa: E402
from trial import Trials, Verdict, try_one  # noqa: E402

CONTENDED = 0.5  # of the connections, at least
SHOWN = 5  # failing configurations: more of them only repeat


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sockpol", default=os.path.join(HERE, "../../build/sockpol"),
                        metavar="PATH", help="the agent (default: %(default)s)")
    parser.add_argument("--configs", type=int, metavar="N",
                        default=sized(short=40, full=100, long=2000))
    parser.add_argument("--connections", type=int, default=50, metavar="N",
                        help="for each configuration")
    parser.add_argument("--seed", type=int, default=1, metavar="S")
    parser.add_argument("--first", type=int, default=0, metavar="N",
                        help="begin with the seed's configuration of this number")
    parser.add_argument("-v", "--verbose", action="store_true",
                        help="say how the time was spent, and on which kinds of connections")
    return parser.parse_args()


def set_up(box):
    """Addresses, cgroups with a process each, peers; then an agent that governs nothing yet."""
    batch = "".join(f"addr add {a}/128 dev lo nodad\n" for a in generate.ADDRESSES["ipv6"])
    subprocess.run(["ip", "-batch", "-"], input=batch, text=True, check=True)
    root = box.root_cgroup(".slice")
    makers = {}
    for path in generate.TREE:
        cgroup = root.child(path[1:]) if path else root
        makers[cgroup.path] = Maker(cgroup)
        box.stack.callback(makers[cgroup.path].close)
    peers = Peers(generate.PEER_PORTS)
    box.stack.callback(peers.close)
    trials = Trials(box.agent("differential", cgroup=root), makers, peers)
    trials.learn_own_values(one_of_each(root.path))
    trials.agent.start()
    return trials, root.path


def one_of_each(root):
    """A connection of each kind and family."""
    found, generator = {}, generate.Generator("own values", root)
    while len(found) < 2 * len(KINDS) - 2:  # by two families; AF_UNIX, two kinds, is one
        asked = generator.connection()
        found[asked["kind"], asked["socket"]] = asked
    return list(found.values())


class Run:
    """All configurations of a seed."""

    def __init__(self, trials, root, directory, arguments):
        self.trials, self.root, self.directory = trials, root, directory
        self.arguments = arguments
        self.unix = kernel.governs_unix()
        self.kinds = collections.Counter()
        self.spent = collections.Counter()
        self.passed = self.contended = 0
        self.failed = {}  # {number of the configuration: [Verdict]}
        self.refused = {}  # {number of the configuration: what the agent said}
        self.miscounted = {}  # {number of the configuration: what is wrong with its counters}
        self.pool = concurrent.futures.ThreadPoolExecutor(os.cpu_count() or 1)

    def generated(self, number):
        generator = generate.Generator(f"{self.arguments.seed}/{number}", self.root, self.unix)
        config = generator.config()
        return config, generator.connections(config, self.arguments.connections)

    def timed(self, what, function, *given):
        start = time.monotonic()
        try:
            return function(*given)
        finally:
            self.spent[what] += time.monotonic() - start

    def judge_all(self):
        pending = collections.deque()
        for number in range(self.arguments.first, self.arguments.first + self.arguments.configs):
            pending.append((number, *self.start_one(number)))
            if len(pending) > 2:  # explain works on some while the kernel has the next
                self.collect(*pending.popleft())
            if len(self.failed) + len(self.refused) + len(self.miscounted) >= SHOWN:
                break
        while pending:
            self.collect(*pending.popleft())
        self.pool.shutdown()

    def start_one(self, number):
        config, connections = self.timed("generating", self.generated, number)
        error = self.timed("reloading", self.trials.govern, config)
        if error:
            self.refused[number] = error
            return [Verdict(asked, problems=["the configuration is refused"])
                    for asked in connections], []
        before = self.timed("counting", self.trials.counters)
        seen = self.timed("connecting", self.trials.make, connections)
        problems = self.trials.judge_counters(config, list(zip(connections, seen)), before,
                                              self.timed("counting", self.trials.counters))
        if problems:
            self.miscounted[number] = problems
        policy_dir = os.path.join(self.directory, f"{number}")
        policy_files.write(policy_dir, config)
        for asked, answer in zip(connections, seen):
            self.kinds[asked["kind"], asked["socket"]] += 1
            self.contended += "error" not in answer and generate.is_contended(config, asked,
                                                                              answer)
        made = list(zip(connections, seen))
        return [], [self.pool.submit(self.trials.judge, config, policy_dir, part)
                    for part in (made[::2], made[1::2])]

    def collect(self, number, verdicts, judging):
        verdicts = verdicts + self.timed(
            "waiting for explain", lambda: [one for part in judging for one in part.result()])
        bad = [verdict for verdict in verdicts if verdict.problems]
        self.passed += len(verdicts) - len(bad)
        if bad:
            self.failed[number] = bad

    # What is said of it

    def show_number(self, number, what):
        print(f"FAIL configuration {number} of seed {self.arguments.seed}: {what}; again with\n"
              f"    {sys.argv[0]} --sockpol {self.arguments.sockpol} --seed {self.arguments.seed} "
              f"--first {number} --configs 1 --connections {self.arguments.connections}")

    def show_miscounted(self, number):
        """With as few of its connections as show it."""
        config, connections = self.generated(number)
        self.show_number(number, "applied is not what held")
        print("  " + "\n  ".join(self.miscounted[number]))
        for asked in connections:
            self.trials.govern(config)
            before = self.trials.counters()
            made = [(asked, self.trials.make([asked])[0])]
            problems = self.trials.judge_counters(config, made, before, self.trials.counters())
            if problems:
                print(f"{Verdict(*made[0], problems)}\n{policy_files.show(config)}")
                return
        print("  none of the connections alone shows it")

    def show_failure(self, number):
        config, _ = self.generated(number)
        self.show_number(number, f"{len(self.failed[number])} connections")
        if number in self.refused:
            print(f"the agent refuses it: {self.refused[number]}{policy_files.show(config)}")
            return
        verdict = min(self.failed[number], key=lambda one: len(one.problems))
        print(verdict)
        self.show_shrunk(config, verdict)

    def show_shrunk(self, config, verdict):
        about = {problem.split()[0] for problem in verdict.problems}

        def again(candidate):
            return try_one(self.trials, self.directory, candidate, verdict.asked)

        def still_fails(candidate):
            return any(problem.split()[0] in about for problem in again(candidate).problems)

        if not still_fails(config):
            print("  alone it does not fail: it needs what ran before it")
            return
        config = shrink(config, still_fails)
        print(f"shrunk to\n{policy_files.show(config)}{again(config)}\n")

    def report(self):
        for number in self.failed:
            self.show_failure(number)
        for number in self.miscounted:
            self.show_miscounted(number)
        total = self.passed + sum(map(len, self.failed.values()))
        print(f"{total} connections, contended {self.contended}")
        failed = total - self.passed + len(self.miscounted)
        if not self.failed and self.contended < CONTENDED * total:
            print(f"FAIL blocks contend in fewer than {CONTENDED:.0%} of the connections")
            failed += 1
        if self.arguments.verbose:
            for what, seconds in self.spent.items():
                print(f"    {what}: {seconds:.1f} s")
            for kind, count in sorted(self.kinds.items()):
                print(f"    {' '.join(kind)}: {count}")
        if not self.unix:
            print("SKIP AF_UNIX sockets: this kernel has no hook for them")
        print(f"{self.passed} passed, {failed} failed, {int(not self.unix)} skipped")
        return 1 if failed else 0


def main():
    arguments = parse_arguments()
    arguments.sockpol = os.path.abspath(arguments.sockpol)
    with enter_sandbox(arguments.sockpol) as box:
        trials, root = set_up(box)
        run = Run(trials, root, box.path("configurations"), arguments)
        print(f"seed {arguments.seed}, {arguments.configs} configurations of "
              f"{arguments.connections} connections", flush=True)
        run.judge_all()
        return run.report()


if __name__ == "__main__":
    sys.exit(main())
