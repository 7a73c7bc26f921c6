# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Cgroups that several policies apply to: 32, more than 32, excluded ones among them; and many such
cgroups at once, in a cache that has no room for them."""

import json
import os
import subprocess
import sys

from harness.flows import SO_PRIORITY, check_priority, connection, listening
from harness.result import Containing, check
from harness.size import sized
from life_first_sockets import FILE, as_yaml, expected_priority, one_policy, tiny

from model import walk  # differential/, by way of life_first_sockets

HOPPER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "harness", "hopper.py")
OUTER, INNER = 20, 40
CONNECTS = sized(short=100_000, full=500_000, long=10_000_000)


def applied(agent):
    return {one["name"]: one["applied"] for one in agent.status()["policies"]}


def check_lists(box, name, make, *paths):
    """make(path of the outer cgroup): the policies.  One connection from each of the cgroups, and which
    policies count it."""
    agent, outer = box.agent(name), box.cgroup.child(name)
    peer = box.worker(box.cgroup.child(f"{name}-peer"))
    config = make(outer.path)
    agent.write(FILE, as_yaml(config))
    agent.start()
    for path in paths:
        cgroup = outer.child(path) if path else outer
        applying, left_out = walk({FILE: config}, cgroup.path)
        before, shown = applied(agent), agent.status()["counts"]["left_out"]
        worker = box.worker(cgroup)
        with listening(peer) as listener, connection(worker, listener) as (client, _):
            check(f"SO_PRIORITY in {cgroup.path}", expected_priority(config, cgroup.path),
                  client.sockopt(*SO_PRIORITY))
        check(f"which policies count a socket in {cgroup.path}",
              {one["name"] for one in applying},
              {one for one, number in applied(agent).items() if number != before[one]})
        check(f"counted as having too many: {cgroup.path}", shown + (1 if left_out else 0),
              agent.status()["counts"]["left_out"])


def numbered(first, count, *globs, **exclude):
    more = {"exclude": {"cgroup": list(exclude["exclude"])}} if exclude else {}
    return [one_policy(f"p{number:03}", number + 1, {"cgroup": list(globs), **more})
            for number in range(first, first + count)]


def test_32_policies(box):
    check_lists(box, "lists-32", lambda path: numbered(0, 32, path), "", "inner")


def test_f10_what_has_been_is_no_warning(box):
    """Nor has the line that counts it a plural for one."""
    agent, cgroup = box.agent("lists-f10"), box.cgroup.child("lists-f10")
    worker = box.worker(cgroup)
    agent.write(FILE, as_yaml(numbered(0, 33, cgroup.path)))
    agent.start()
    check_priority("of the first 32 the last", worker, 32)
    agent.write(FILE, as_yaml(numbered(0, 1, cgroup.path)))
    agent.reload_good()
    text = agent.text_status()
    check("counted", Containing("cgroups matched by more policies than can apply to one: 1\n"), text)
    check("warnings", False, "warning:" in text)


def test_more_than_32(box):
    check_lists(box, "lists-100", lambda path: numbered(0, 100, path), "", "inner")


def test_outer_ones_come_first(box):
    check_lists(box, "lists-depth", lambda path: numbered(0, INNER, f"{path}/inner") +
                numbered(INNER, OUTER, path), "", "inner", "inner/most")


def test_excluded_below(box):
    """They have taken places of others all the same."""
    check_lists(box, "lists-below", lambda path: numbered(
        0, OUTER, path, exclude=[f"{path}/inner"]) + numbered(OUTER, INNER, f"{path}/inner"),
                "", "inner", "inner/most", "other")


def test_excluded_above(box):
    """By an ancestor, before they match; and where a deeper one matches again."""
    check_lists(box, "lists-above", lambda path: numbered(
        0, OUTER, f"{path}/**/most", exclude=[f"{path}/in*"]) + numbered(
            OUTER, INNER, f"{path}/inner/**"), "inner", "inner/most", "other/most", "other")


def test_all_excluded(box):
    check_lists(box, "lists-none", lambda path: numbered(0, 33, path, exclude=[f"{path}/**/no"]),
                "", "no", "a/b/no/c")


def test_storm_of_lists(box):
    """Each process goes from one of its many cgroups to the next; two of them on each processor."""
    root = box.cgroup.child("storm-of-lists")
    agent = tiny(box, "storm-of-lists", None)
    groups = [root.child(f"g{number}") for number in range(4)]
    config = [one_policy(f"all-{number}", number + 1, {"cgroup": [f"{root.path}/**/c*"]})
              for number in range(6)]
    config += [one_policy(f"own-{number}", 10 + number, {"cgroup": [f"{root.path}/*/c{number}"]})
               for number in range(30)]
    agent.write(FILE, as_yaml(config))
    agent.start()
    expected = {f"c{number}": 10 + number for number in range(30)}
    processors = sorted(os.sched_getaffinity(0))
    running = [group.popen([sys.executable, "-I", "-S", HOPPER, group.directory,
                            str(CONNECTS // len(groups)), str(processors[number % len(processors)])],
                           stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
               for number, group in enumerate(groups)]
    for process in running:
        box.stack.callback(process.kill)
        process.stdin.write(json.dumps(expected) + "\n")
        process.stdin.close()
    answers = [json.loads(process.stdout.read()) for process in running]
    for process in running:
        check("exit status of hopper.py", 0, process.wait())
    check("sockets with another cgroup's list, or none", [[]] * len(groups),
          [one["wrong"] for one in answers])
    counts = agent.status()["counts"]
    check("most of them had to be found again", True, counts["classified"] > CONNECTS // 2)
    check("lists lost", 0, counts["lists_lost"])
