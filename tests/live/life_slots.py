# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""The hooks' shortcut to a cgroup's policy says what its entry says, whoever wrote it, and gives way."""

import os
import subprocess

from harness.flows import check_priority, governed_worker, policies, policy, priority_policy
from harness.result import check, wait_for
from harness.slots import POLICY_BITS, Slots, check_slots, entries, slot_of, word
from life_classify import Newborns, Stopped

FILE = "50-test.yaml"
OLDER = 200  # of them, so that one that shares a slot with some is soon found


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
    """Then a cgroup is found by the hash."""
    agent = box.agent("shared")
    worker = governed_worker(box, agent, "shared", 4)
    with Slots(agent) as slots:
        for policy_index in (0, 1, 2):
            slots.write(worker.cgroup.id, word(worker.cgroup.id + 1, policy_index))
            check_priority(f"another's slot, with policy {policy_index}", worker, 4)
        slots.write(worker.cgroup.id, 0)
        check_priority("an empty slot", worker, 4)
    agent.reload_good()
    check_slots("after a reload", agent)


def whose(slots, cgroup_id):
    """Of both halves the lower 40 bits of an id."""
    return [one >> POLICY_BITS for one in slots.words(cgroup_id)]


def sharing(cgroup, older):
    """A new cgroup that would have the slot of one of {slot: cgroup}, and that one."""
    while True:
        young = cgroup.child("svc-young")
        if slot_of(young.id) in older:
            return young, older[slot_of(young.id)]
        young.rmdir()


def test_of_who_came_first(box):
    """Short-lived cgroups do not take it from one that stays; it is free when that goes."""
    agent = box.agent("first")
    cgroup = box.cgroup.child("first")
    agent.write(FILE, glob_policy(cgroup, 4))
    agent.start()
    children = [cgroup.child(f"svc-{number}") for number in range(OLDER)]
    check_slots("of the older ones", agent)
    with Slots(agent) as slots:
        # Those that share none with another that is there.
        older = {slot_of(one.id): one for one in children
                 if whose(slots, one.id)[0] == one.id & (1 << 40) - 1}
        check("most of them have it", True, len(older) > OLDER // 2)
        young, old = sharing(cgroup, older)
        ids = young.id, old.id
        before = whose(slots, old.id)
        check("whose it is", [old.id & (1 << 40) - 1] * 2, before)
        agent.reload_good()
        check("whose it is after a reload", before, whose(slots, old.id))
        young.rmdir()  # nobody was in it: it is released at once, whatever else the kernel counts
        wait_for("the younger one to be released", False, lambda: ids[0] in entries(agent))
        check("whose it is then", before, whose(slots, ids[1]))
        old.rmdir()
        wait_for("the slot to be free", [0, 0], lambda: whose(slots, ids[1]))
        del older[slot_of(ids[1])]
        for one in sharing(cgroup, older):
            check_priority("of two that share a slot", box.worker(one), 4)


def test_that_was_not_written(box):
    """An agent was killed between entry and slot: the next one writes it."""
    agent = box.agent("unwritten")
    worker = governed_worker(box, agent, "unwritten", 4)
    good = priority_policy("unwritten", worker.cgroup, 4)
    for what, text in (("a good file", good), ("a wrong file", "policies: 1\n")):
        agent.kill()
        with Slots(agent) as slots:
            slots.write(worker.cgroup.id, word(worker.cgroup.id, 0))
            check_priority("what the slot says holds", worker, 0)
        agent.write(FILE, text)
        agent.start()
        check_priority(f"by the next agent, with {what}", worker, 4)
        check_slots(f"by the next agent, with {what}", agent)


def test_of_another_length(box):
    """Pins of a build with other slots are not taken over: all is made anew, and none is missed."""
    agent = box.agent("length")
    worker = governed_worker(box, agent, "length", 4)
    agent.kill()
    path = f"{agent.pin_dir}/cgroup_slots"
    os.unlink(path)
    subprocess.run(["bpftool", "map", "create", path, "type", "array", "key", "4", "value", "16",
                    "entries", "64", "name", "cgroup_slots", "flags", "0x400"], check=True)
    agent.start()
    check_priority("by the next agent", worker, 4)
    check_slots("by the next agent", agent)
