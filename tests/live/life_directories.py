# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""A kernel that does not tell of cgroups: the agent looks at their directories.

Such a kernel is made believe by a build for tests (SOCKPOL_TEST_NO_TRACEPOINTS).
"""

import contextlib
import os
import signal

from harness.flows import check_priority, connected_option, governed_worker, policies, policy
from harness.result import Containing, Skip, check, wait_for

QUEUE = "/proc/sys/fs/inotify/max_queued_events"


def blind_agent(box, name):
    mutant = os.path.join(os.path.dirname(box.sockpol), "mutant", "sockpol")
    if not os.access(mutant, os.X_OK):
        raise Skip(f"there is no {mutant} (make test-live builds it)")
    return box.agent(name, environment={"SOCKPOL_TEST_NO_TRACEPOINTS": "1"}, sockpol=mutant)


def write(path, value):
    """Returns what was there."""
    with open(path, "r+", encoding="ascii") as file:
        before = file.read().strip()
        file.seek(0)
        file.write(value)
    return before


@contextlib.contextmanager
def stopped(agent):
    agent.signal(signal.SIGSTOP)
    try:
        yield
    finally:
        agent.signal(signal.SIGCONT)


def governs(what, worker, expected):
    """The agent has to hear of it first."""
    wait_for(f"SO_PRIORITY of a new connection: {what}", expected,
             lambda: connected_option(worker))


def test_cgroups_come_and_go(box):
    agent = blind_agent(box, "blind")
    worker = governed_worker(box, agent, "blind", 4)
    check("what it says", Containing("does not tell of new cgroups"), agent.log())
    status = agent.status()
    check("how new cgroups are classified", "directories", status["new_cgroups"]["by"])
    check("attachments", set(), {one["hook"] for one in status["attachments"]} &
          {"cgroup_mkdir", "cgroup_release"})
    agent.write("60-glob.yaml", policies(policy("blind-glob", f"{box.cgroup.path}/blind-*/service",
                                                {"SO_PRIORITY": 5})))
    agent.reload_good()
    parent = box.cgroup.child("blind-1")
    governs("a child", box.worker(worker.cgroup.child("child")), 4)
    governs("matched by a glob", box.worker(parent.child("service")), 5)
    governs("deeper, made at once", box.worker(parent.child("service/a/b/c/d")), 5)
    before = agent.status()["cgroups_governed"]
    parent.remove_all()
    wait_for("cgroups governed after six are gone", before - 5,
             lambda: agent.status()["cgroups_governed"])
    governs("made again under the same name", box.worker(parent.child("service")), 5)
    check("text of status", Containing("by looking at directories"),
          agent.command("status", "--pin-dir", agent.pin_dir).stdout)


def test_many_come_and_go(box):
    agent = blind_agent(box, "blind-many")
    worker = governed_worker(box, agent, "blind-many", 4)
    for _ in range(3):
        for number in range(300):
            worker.cgroup.child(f"{number}/x")
        for number in range(300):
            os.rmdir(f"{worker.cgroup.directory}/{number}/x")
            os.rmdir(f"{worker.cgroup.directory}/{number}")
    wait_for("cgroups governed when all are gone", 1, lambda: agent.status()["cgroups_governed"])


def test_lost_events(box):
    """More at once than the kernel keeps for us."""
    agent = blind_agent(box, "blind-lost")
    before = write(QUEUE, "20")  # for whoever opens a queue now
    try:
        worker = governed_worker(box, agent, "blind-lost", 4)
    finally:
        write(QUEUE, before)
    with stopped(agent):
        made = [worker.cgroup.child(f"{number}") for number in range(100)]
    governs("the last of many", box.worker(made[-1]), 4)
    wait_for("cgroups governed", 101, lambda: agent.status()["cgroups_governed"])
    with stopped(agent):
        made[-1].remove_all()
        for one in made[:-1]:
            one.rmdir()
    wait_for("cgroups governed when they are gone", 1,
             lambda: agent.status()["cgroups_governed"])
    check("events were lost", True, agent.status()["events_lost"] > 0)


def test_handed_over_to_one_that_sees(box):
    """And back: what neither can go on with is made anew."""
    agent = blind_agent(box, "blind-over")
    worker = governed_worker(box, agent, "blind-over", 4)
    for blind in (False, True, False):
        agent.kill()
        agent.environment.pop("SOCKPOL_TEST_NO_TRACEPOINTS", None)
        if blind:
            agent.environment["SOCKPOL_TEST_NO_TRACEPOINTS"] = "1"
        agent.start()
        check_priority("after a take-over", worker, 4)
        check("how new cgroups are classified", "directories" if blind else "kernel",
              agent.status()["new_cgroups"]["by"])
        child = worker.cgroup.child(f"child-{blind}")
        governs("a child", box.worker(child), 4)
