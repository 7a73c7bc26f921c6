#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Does `sockpol reload --dry-run` foresee everything?

From one random configuration to the next: each connection is made before and after the reload.  What
then differs on its socket, or in what the model says of it, must have been foreseen for its cgroup;
and once reloaded, nothing is left to foresee.  Run as root.
"""

import argparse
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(os.path.dirname(HERE), "live")]
sys.dont_write_bytecode = True

import expect  # noqa: E402
import generate  # noqa: E402
import kernel  # noqa: E402
import model  # noqa: E402
import policy_files  # noqa: E402
from harness.size import sized  # noqa: E402
from harness.startup import enter_sandbox  # noqa: E402
from options import OPTIONS  # noqa: E402
from run import set_up  # noqa: E402

SHOWN = 5
# They keep what socket(2) gave; a dry run tells of the moments after it alone.
UNTOLD = ("tcp-listen", "tcp-fresh", "udp-fresh", "raw-fresh")
ALSO = {"SO_PRIORITY": ("IP_TOS",)}  # what else changes an option


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sockpol", default=os.path.join(HERE, "../../build/sockpol"),
                        metavar="PATH", help="the agent (default: %(default)s)")
    parser.add_argument("--steps", type=int, metavar="N",
                        default=sized(short=60, full=60, long=1500))
    parser.add_argument("--connections", type=int, default=40, metavar="N",
                        help="at each step")
    parser.add_argument("--seed", type=int, default=1, metavar="S")
    return parser.parse_args()


def foresee(agent):
    return agent.json("reload", "--dry-run", "--runtime-dir", agent.runtime_dir)


def changes_of(answer):
    """{(cgroup, direction, transport): {option: [(from, to)]}}"""
    found = {}
    for group in answer["groups"]:
        for change in group["changes"]:
            for where in change["where"]:
                for cgroup in group["cgroups"]:
                    place = found.setdefault((cgroup, where["direction"], where["transport"]), {})
                    place.setdefault(change["option"], []).append((change["from"], change["to"]))
    return found


def places_of(asked, stages):
    """Where, in the words of a dry run, the connection got its options."""
    return [(asked["cgroup"], stage.facts.direction, stage.facts.protocol or "unix")
            for stage in stages]


def foreseen(changes, places, option):
    """[(from, to)] of all that was said of an option on such a socket."""
    return [one for place in places for name in (option, *ALSO.get(option, ()))
            for one in changes.get(place, {}).get(name, [])]


def says(side, setting):
    return side is not None and (side["policy"], side["rule"]) == (setting.policy, setting.rule)


class Step:
    """From one configuration to another, on the same connections."""

    def __init__(self, trials, configs, changes):
        self.trials, self.configs, self.changes = trials, configs, changes
        self.problems, self.differences = [], 0

    def judge(self, asked, before, after):
        if "error" in before or "error" in after:
            self.problems.append(f"{asked}: {before.get('error')}, {after.get('error')}")
            return
        stages = expect.stages_of(asked, before)
        places = places_of(asked, stages)
        for option, value in after["options"].items():
            if option in model.AT_SOCKET and asked["kind"] in UNTOLD:
                continue
            if OPTIONS[option].steady and value != before["options"][option]:
                self.differences += 1
                if not foreseen(self.changes, places, option):
                    self.problems.append(f"{asked}: {option} was {before['options'][option]}, is "
                                         f"{value}: not foreseen")
        # The kernel chooses addresses and ports anew, so the second one's stages are its own.
        for stage, place, later in zip(stages, places, expect.stages_of(asked, after)):
            self.judge_winners(asked, place, stage, later)

    def judge_winners(self, asked, place, stage, later):
        before, after = (model.winners(config, asked["cgroup"], one.facts)
                         for config, one in zip(self.configs, (stage, later)))
        for option in before.keys() | after.keys():
            was, now = before.get(option), after.get(option)
            if stage.facts != later.facts or was == now or not stage.takes(option):
                continue
            self.differences += 1
            said = foreseen(self.changes, [place], option)
            if not any((was is None or says(one, was)) or (now is None or says(other, now))
                       for one, other in said):
                self.problems.append(f"{asked}: by the model {option} goes from {was} to {now}: "
                                     f"foreseen was {said}")


class Run:
    def __init__(self, trials, root, arguments):
        self.trials, self.root, self.arguments = trials, root, arguments
        self.unix = kernel.governs_unix()
        self.passed = self.failed = self.differences = 0

    def generated(self, number):
        generator = generate.Generator(f"{self.arguments.seed}/{number}", self.root, self.unix)
        return generator, generator.config()

    def step(self, number, before):
        generator, after = self.generated(number)
        connections = (generator.connections(after, self.arguments.connections // 2) +
                       generator.connections(before, self.arguments.connections // 2))
        first = self.trials.make(connections)
        policy_files.write(self.trials.agent.policy_dir, after)
        answer = foresee(self.trials.agent)
        step = Step(self.trials, (before, after), changes_of(answer))
        error = self.trials.govern(after)
        if error:
            step.problems.append(f"the configuration is refused: {error}")
        for one in zip(connections, first, self.trials.make(connections)):
            step.judge(*one)
        left = foresee(self.trials.agent)
        if any(left[what] for what in ("groups", "come", "go", "policies", "other_order")):
            step.problems.append(f"after the reload there is left to change: {left}")
        self.differences += step.differences
        if step.problems:
            self.failed += 1
            print(f"FAIL step {number} of seed {self.arguments.seed}: {len(step.problems)} "
                  f"problems\n  " + "\n  ".join(step.problems[:3]) +
                  f"\nfrom\n{policy_files.show(before)}to\n{policy_files.show(after)}")
        else:
            self.passed += 1
        return after

    def all(self):
        config = {}
        for number in range(self.arguments.steps):
            config = self.step(number, config)
            if self.failed >= SHOWN:
                break
        if not self.failed and self.differences < self.arguments.steps:
            print("FAIL there was next to nothing to foresee")
            self.failed += 1
        print(f"{self.differences} differences foreseen in {self.arguments.steps} steps of "
              f"{self.arguments.connections} connections")
        if not self.unix:
            print("SKIP AF_UNIX sockets: this kernel has no hook for them")
        print(f"{self.passed} passed, {self.failed} failed, {int(not self.unix)} skipped")
        return 1 if self.failed else 0


def main():
    arguments = parse_arguments()
    arguments.sockpol = os.path.abspath(arguments.sockpol)
    with enter_sandbox(arguments.sockpol) as box:
        trials, root = set_up(box)
        return Run(trials, root, arguments).all()


if __name__ == "__main__":
    sys.exit(main())
