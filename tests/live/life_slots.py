# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""The hooks' shortcut to a cgroup's policy says what its entry says, whoever wrote it, and gives way."""

from harness.flows import check_priority, governed_worker, policies, policy, priority_policy
from harness.result import check
from harness.slots import Slots, check_slots
from life_classify import Newborns, Stopped

FILE = "50-test.yaml"


def glob_policy(cgroup, value):
    return priority_policy("glob", f"{cgroup.path}/**/svc-*", value)


def family(name, value):
    """A cgroup and what it has: the priorities of first sockets in them."""
    return {name: 0} | {f"{name}/svc-{number}": value for number in range(20)}


def test_whoever_wrote_it(box):
    agent = box.agent("slots")
    cgroup = box.cgroup.child("slots")
    agent.write(FILE, glob_policy(cgroup, 3))
    for number in range(20):
        cgroup.child(f"svc-{number}")
    agent.start()
    check("entries, at least", True, check_slots("by a scan", agent) >= 20)
    with Newborns(cgroup) as newborns:
        with Stopped(agent):
            newborns.check("agent stopped", family("a", 3))
            check("entries, at least", True, check_slots("by the kernel", agent) >= 40)
        agent.write(FILE, glob_policy(cgroup, 4))
        agent.reload_good()
        check_slots("by a reload", agent)
        check_priority("of a cgroup that was there", box.worker(cgroup.child("svc-0")), 4)
        agent.kill()
        newborns.check("agent killed", family("b", 4))
        agent.start()
        check("entries, at least", True, check_slots("by a take-over", agent) >= 60)
        # More than the maps have room for: larger ones, and all of it anew.
        agent.write(FILE, glob_policy(cgroup, 5) + "".join(
            policies(policy(f"p{number}", cgroup.path + f"/p{number}", {"SO_PRIORITY": 1})
                     ).partition("\n")[2] for number in range(2000)))
        agent.reload_good()
        check("entries, at least", True, check_slots("in larger maps", agent) >= 60)
        newborns.check("after all", family("c", 5))


def test_that_another_has(box):
    """Two cgroups may share a slot: then one of them is found by the hash."""
    agent = box.agent("shared")
    worker = governed_worker(box, agent, "shared", 4)
    with Slots(agent) as slots:
        for policy_index in (0, 1, 2):
            slots.write(worker.cgroup.id, worker.cgroup.id + 16384, policy_index)
            check_priority(f"another's slot, with policy {policy_index}", worker, 4)
        slots.write(worker.cgroup.id, 0, 0)
        check_priority("an empty slot", worker, 4)
    agent.reload_good()
    check_slots("after a reload", agent)


def test_that_was_not_written(box):
    """An agent was killed between entry and slot: the next one writes it."""
    agent = box.agent("unwritten")
    worker = governed_worker(box, agent, "unwritten", 4)
    good = priority_policy("unwritten", worker.cgroup, 4)
    for what, text in (("a good file", good), ("a wrong file", "policies: 1\n")):
        agent.kill()
        with Slots(agent) as slots:
            slots.write(worker.cgroup.id, worker.cgroup.id, 0)
            check_priority("what the slot says holds", worker, 0)
        agent.write(FILE, text)
        agent.start()
        check_priority(f"by the next agent, with {what}", worker, 4)
        check_slots(f"by the next agent, with {what}", agent)
