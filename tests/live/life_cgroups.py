# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Which cgroups are governed, and by which of several policies."""

from harness.flows import (TCP_KEEPIDLE, TCP_NODELAY, accepted_option, check_priority,
                           connected_option, governed_worker, listening, policies, policy,
                           priority_policy)
from harness.result import check

FILE = "50-test.yaml"


def move(worker, cgroup):
    with open(f"{cgroup.directory}/cgroup.procs", "w", encoding="ascii") as procs:
        procs.write(str(worker.pid))


def test_made_after_the_agent_started(box):
    agent = box.agent("later")
    parent = box.cgroup.child("later")
    agent.write(FILE, priority_policy("later", parent.path + "/service-?", 4))
    agent.start()
    worker = box.worker(parent)
    check_priority("what the glob does not match", worker, 0)
    for number in range(5):
        move(worker, parent.child(f"service-{number}"))
        check_priority("in a cgroup made later", worker, 4)
    move(worker, parent)
    check_priority("what the glob does not match, still", worker, 0)


def test_exact_path_made_later(box):
    agent = box.agent("exact")
    path = box.cgroup.path + "/exact/deep/down"
    agent.write(FILE, priority_policy("exact", path, 4))
    agent.start()
    box.cgroup.child("exact/deep/down/below")  # all at once, as mkdir -p does
    for name, priority in (("exact", 0), ("exact/deep", 0), ("exact/deep/down", 4),
                           ("exact/deep/down/below", 4)):
        check_priority(f"in {name}", box.worker(box.cgroup.child(name)), priority)


def test_nested_at_once(box):
    agent = box.agent("nested")
    agent.write(FILE, priority_policy("nested", box.cgroup.path + "/nested/**/leaf", 4))
    agent.start()
    workers = {}
    for name in ("nested/leaf", "nested/a/leaf", "nested/a/b/c/leaf", "nested/a/b/c/leaf/x/y",
                 "nested/a/b/other"):
        workers[name] = box.worker(box.cgroup.child(name))
    for name, worker in workers.items():
        check_priority(f"in {name}", worker, 4 if "leaf" in name else 0)


def test_children(box):
    agent = box.agent("children")
    cgroup = box.cgroup.child("children")
    before = box.worker(cgroup.child("before"))
    agent.write(FILE, priority_policy("children", cgroup, 4))
    agent.start()
    check_priority("a child that was there before the agent", before, 4)
    check_priority("a child made after", box.worker(cgroup.child("after")), 4)
    check_priority("its child", box.worker(cgroup.child("after/deeper")), 4)
    check_priority("a sibling", box.worker(box.cgroup.child("children-not")), 0)


def test_exclude(box):
    agent = box.agent("exclude")
    cgroup = box.cgroup.child("exclude")
    agent.write(FILE, policies(
        "  - name: exclude\n"
        f"    match: {{ cgroup: {cgroup.path}, exclude: {{ cgroup: {cgroup.path}/no }} }}\n"
        "    options: { SO_PRIORITY: 4 }\n"))
    there = box.worker(cgroup.child("no/before"))
    agent.start()
    check_priority("the matching cgroup", box.worker(cgroup), 4)
    check_priority("another child", box.worker(cgroup.child("yes")), 4)
    for worker in (box.worker(cgroup.child("no")), there, box.worker(cgroup.child("no/after"))):
        check_priority(f"in the excluded {worker.cgroup.path}", worker, 0)


def test_deeper_wins_and_unset(box):
    agent = box.agent("deeper")
    outer = box.cgroup.child("deeper")
    inner = outer.child("inner")
    # The deeper one comes first in the file: depth counts before place.
    agent.write(FILE, policies(
        policy("inner", inner, {"SO_PRIORITY": 5, "TCP_NODELAY": "unset"}),
        policy("outer", outer, {"SO_PRIORITY": 4, "TCP_NODELAY": "on", "TCP_KEEPIDLE": "60s"})))
    agent.start()
    for cgroup, expected in ((outer, (4, 1, 60)), (inner, (5, 0, 60))):
        worker = box.worker(cgroup)
        check(f"SO_PRIORITY, TCP_NODELAY, TCP_KEEPIDLE in {cgroup.path}", expected,
              (connected_option(worker), connected_option(worker, TCP_NODELAY),
               connected_option(worker, TCP_KEEPIDLE)))


def test_later_wins_at_one_depth(box):
    agent = box.agent("later-wins")
    cgroup = box.cgroup.child("later-wins")
    agent.write("20-last.yaml", priority_policy("last", cgroup, 5))
    agent.write("10-first.yaml", priority_policy("first", cgroup, 4))
    agent.start()
    check_priority("two files about one cgroup", box.worker(cgroup), 5)


def test_unit(box):
    """`unit` matches below slices only: a user cannot borrow a system unit's policy."""
    slice_ = box.root_cgroup(".slice")
    agent = box.agent("unit", slice_)
    agent.write(FILE, "policies:\n  - name: unit\n    match: { unit: \"web*.service\" }\n"
                      "    options: { SO_PRIORITY: 4 }\n")
    there = box.worker(slice_.child("web.service"))
    agent.start()
    check_priority("a unit that was there", there, 4)
    for name, expected in (("web-2.service", 4), ("db.service", 0),
                           ("user.slice/web-3.service", 4),
                           ("user@1.service/web-4.service", 0)):
        check_priority(f"in {name}", box.worker(slice_.child(name)), expected)


def test_removed_while_governed(box):
    """The directory goes; a socket that was made in it stays governed."""
    agent = box.agent("removed")
    worker = governed_worker(box, agent, "removed", 4)
    gone = worker.cgroup
    peer = box.worker(box.cgroup.child("elsewhere"))
    with listening(worker) as listener:
        move(worker, box.cgroup.child("refuge"))
        gone.rmdir()
        check("SO_PRIORITY of what a listener of the removed cgroup accepts", 4,
              accepted_option(listener, peer))
        agent.reload_good()
        check("the same after a reload", 4, accepted_option(listener, peer))
        check_priority("a new socket of the same process", worker, 0)
    check_priority("made again under the same name", box.worker(gone.make()), 4)


def test_socket_keeps_its_cgroup(box):
    agent = box.agent("keeps")
    worker = governed_worker(box, agent, "keeps", 4)
    move(worker, box.cgroup.child("keeps-not"))
    check_priority("the process has moved out", worker, 0)
    move(worker, worker.cgroup)
    check_priority("and in again", worker, 4)


def test_outside_the_cgroup_root(box):
    """Paths in policies are relative to the mount; --cgroup-root only says where it attaches."""
    inside = box.cgroup.child("root/inside")
    outside = box.cgroup.child("root-not")
    agent = box.agent("root", box.cgroup.child("root"))
    agent.write(FILE, policies(policy("in", inside, {"SO_PRIORITY": 4}),
                               policy("out", outside, {"SO_PRIORITY": 5})))
    agent.start()
    check_priority("below the cgroup root", box.worker(inside), 4)
    check_priority("not below it", box.worker(outside), 0)
