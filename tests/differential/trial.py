# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Asks the model, `sockpol explain` and the kernel about one connection, and compares; and the model
and the kernel how many sockets each policy and rule held for."""

import collections
import os
from dataclasses import dataclass, field

import explain
import expect
import model
import policy_files
from options import OPTIONS


@dataclass
class Verdict:
    """Of one connection: what came of it, and where the three do not agree."""
    asked: dict
    seen: dict = field(default_factory=dict)
    problems: list = field(default_factory=list)

    def __str__(self):
        lines = ["connection: " + ", ".join(f"{key} {value}" for key, value in self.asked.items())]
        if "local" in self.seen:
            lines.append(f"  its names: local {self.seen['local']}, remote {self.seen['remote']}")
        return "\n".join(lines + [f"  {problem}" for problem in self.problems])


def say(setting):
    if setting is None:
        return "nothing"
    return f"{setting.word} ({setting.policy}{'/' + setting.rule if setting.rule else ''})"


def key_of(setting):
    return setting and (setting.policy, setting.rule, setting.word)


def count(counter, blocks):
    counter.update((policy, rule) for policy, rule, _ in blocks)


def first_of_each_direction(all_facts):
    """A UDP socket that connects once more may be counted for what holds only then, or not."""
    found = {}
    for facts in all_facts:
        found.setdefault(facts.direction, facts)
    return found.values()


class Trials:
    """An agent that runs, a process in each cgroup, and what they have without any policy."""

    def __init__(self, agent, makers, peers):
        self.agent, self.makers, self.peers = agent, makers, peers
        self.own = {}  # {(kind, address family of the socket): {option: value}}

    def learn_own_values(self, connections):
        """Before there is any policy: the kernel's own values."""
        for asked, seen in zip(connections, self.make(connections)):
            if "error" in seen:
                raise OSError(f"{asked}: {seen['error']}")
            self.own[asked["kind"], asked["socket"]] = seen["options"]

    def make(self, connections):
        """Makes them, each in its cgroup; what was seen, in the order of the connections."""
        places = {}
        for index, asked in enumerate(connections):
            places.setdefault(asked["cgroup"], []).append(index)
        seen = [None] * len(connections)
        for cgroup, indices in places.items():
            answers = self.makers[cgroup].make([connections[i] for i in indices])
            for index, answer in zip(indices, answers):
                seen[index] = answer
            self.peers.drain()
        return seen

    def govern(self, config):
        """Puts a configuration in force; returns what is wrong with it, or None."""
        policy_files.write(self.agent.policy_dir, config)
        done = self.agent.reload()
        return None if done.returncode == 0 else done.stdout + done.stderr

    def counters(self):
        """{(policy, rule or None for the policy): sockets that it held for}"""
        found = collections.Counter()
        for policy in self.agent.status()["policies"]:
            found[policy["name"], None] = policy["applied"]
            for rule in policy["rules"]:
                found[policy["name"], rule["name"]] = rule["applied"]
        return found

    @staticmethod
    def judge_counters(config, made, before, after):
        """What is wrong with the counters after these connections."""
        if any("error" in seen for _, seen in made):
            return []
        least, most = collections.Counter(), collections.Counter()
        for asked, seen in made:
            for facts in expect.passages_of(asked, seen):
                count(least, model.counted(config, asked["cgroup"], first_of_each_direction(facts),
                                           True))
                count(most, model.counted(config, asked["cgroup"], facts, False))
        found = {key: after[key] - before[key] for key in after}
        return [f"{'/'.join(filter(None, key))}: counted {found.get(key)} times, not {least[key]}"
                + (f" to {most[key]}" if most[key] > least[key] else "")
                for key in sorted({*most, *found}, key=str)
                if not least[key] <= found.get(key, 0) <= most[key]]

    def judge(self, config, policy_dir, made):
        """made: [(what was asked for, what was seen)]; policy_dir: the same configuration, for
        `explain`.  A Verdict of each."""
        stages = [[] if "error" in seen else expect.stages_of(asked, seen)
                  for asked, seen in made]
        questions = dict.fromkeys((asked["cgroup"], stage.facts)
                                  for (asked, _), passed in zip(made, stages)
                                  for stage in passed)  # each once
        try:
            answers = explain.ask(self.agent.sockpol, policy_dir, list(questions))
        except explain.ExplainError as error:
            return [Verdict(asked, seen, [str(error)]) for asked, seen in made]
        return [self.judge_one(config, Verdict(asked, seen), passed, answers)
                for (asked, seen), passed in zip(made, stages)]

    def judge_one(self, config, verdict, stages, answers):
        if "error" in verdict.seen:
            verdict.problems.append(f"the connection failed: {verdict.seen['error']}")
            return verdict
        cgroup = verdict.asked["cgroup"]
        by_model = [model.winners(config, cgroup, stage.facts) for stage in stages]
        by_explain = [answers[cgroup, stage.facts] for stage in stages]
        errors = [str(one) for one in by_explain if isinstance(one, explain.ExplainError)]
        if errors:
            verdict.problems += errors
            return verdict
        by_explain = [{**{option: setting for option, setting in ours.items()
                          if stage.is_beyond_explain(option)}, **theirs}
                      for stage, ours, theirs in zip(stages, by_model, by_explain)]
        for one in zip(stages, by_model, by_explain):
            verdict.problems += compare_winners(*one)
        verdict.problems += self.compare_kernel(verdict, config, stages, by_model, by_explain)
        return verdict

    def compare_kernel(self, verdict, config, stages, by_model, by_explain):
        own = self.own[verdict.asked["kind"], verdict.asked["socket"]]
        ends = [expect.expected(config, verdict.asked, own, stages,
                                [{option: setting.word for option, setting in winners.items()}
                                 for winners in both]) for both in (by_model, by_explain)]
        modelled, explained = (end.values for end in ends)
        if any(end.denied != verdict.seen["denied"] for end in ends):
            yield (f"denied should be {ends[0].denied} by the model, {ends[1].denied} by explain; it is "
                   f"{verdict.seen['denied']}")
        for option, value in verdict.seen["options"].items():
            if not expect.is_telling(option, stages) or option in ends[0].doubtful:
                continue
            wants = [modelled.get(option, own[option]), explained.get(option, own[option])]
            if any(not agrees(option, want, value, option in values, config)
                   for want, values in zip(wants, (modelled, explained))):
                yield (f"{option}: the socket should have {wants[0]} by the model, {wants[1]} by "
                       f"explain; the kernel says {value}")


def agrees(option, wanted, value, is_set, config):
    if is_set or OPTIONS[option].steady:
        return wanted == value
    return value not in possible_values(option, config)  # the kernel's own, whatever it is


def possible_values(option, config):
    blocks = [block for policies in config.values() for policy in policies
              for block in (policy, *policy.get("rules", []))]
    return {OPTIONS[option].kernel(value) for block in blocks
            for name, word in model.words_of(block.get("options", {}))
            for value in (word.value, word.min, word.max)
            if name == option and value not in (None, model.UNSET)}


def compare_winners(stage, by_model, by_explain):
    for option in sorted(by_model.keys() | by_explain.keys()):
        ours, theirs = by_model.get(option), by_explain.get(option)
        if stage.takes(option) and key_of(ours) != key_of(theirs):
            yield (f"{option} at {stage.facts.direction}: the model says {say(ours)}, explain "
                   f"says {say(theirs)}")


def try_one(trials, directory, config, asked):
    """All of it for one connection: governs, connects, asks, compares."""
    error = trials.govern(config)
    if error:
        return Verdict(asked, problems=[f"the configuration is refused: {error}"])
    policy_dir = os.path.join(directory, "shrink")
    policy_files.write(policy_dir, config)
    return trials.judge(config, policy_dir, [(asked, trials.make([asked])[0])])[0]
