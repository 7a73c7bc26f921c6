# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""What befalls an agent that cannot keep up, or that has to take over: no cgroup is forgotten, no
ghost stays, nothing that is counted is lost."""

import contextlib
import json
import os
import resource
import signal
import subprocess

from harness.flows import (accepted_option, check_priority, connected_option,
                           listening, policies, policy, priority_policy)
from harness.result import check, wait_for
from harness.slots import check_slots

FILE = "50-test.yaml"
# The ring buffer has room for some 1,800 events of new cgroups (bpf/maps.h).
MADE, REMOVED = 5000, 4000
FILLS_THE_RING = 1700
ROUNDS, CHURNED, LAST = 4, 3000, 100
DEPTH, OPEN_FILES = 1100, 1024
POLICIES, RULES = 501, 40  # more names than map `sources` has room for at first
FAILS = {"SO_BINDTODEVICE": "nosuchdev0", "SO_PRIORITY": 4}


def bpftool(*arguments):
    done = subprocess.run(["bpftool", "--json", *arguments], capture_output=True, text=True,
                          check=False)
    check(f"bpftool {' '.join(arguments)} to succeed; it said\n{done.stdout}\n   ", 0,
          done.returncode)
    return json.loads(done.stdout or "null")


def mkdirs(parent, numbers):
    for number in numbers:
        os.mkdir(f"{parent.directory}/m{number}")


def rmdirs(parent, numbers):
    for number in numbers:
        os.rmdir(f"{parent.directory}/m{number}")


def living(parent):
    with os.scandir(parent.directory) as entries:
        return {entry.inode() for entry in entries if entry.is_dir()}


def entries(agent):
    """The ids in map `cgroups`, but for the agent's root: it is not governed here."""
    return {one["formatted"]["key"]
            for one in bpftool("map", "dump", "pinned", f"{agent.pin_dir}/cgroups")
            if "formatted" in one  # what goes while bpftool looks has a key, but no value
            } - {os.stat(agent.cgroup_root).st_ino}


def wait_governed(what, agent, ids):
    """Until map `cgroups` has exactly these, and status says so."""

    def look():
        there = entries(agent)
        return {"status": agent.status()["cgroups_governed"], "missing": len(ids - there),
                "ghosts": len(there - ids)}

    wait_for(f"exactly the living cgroups to be governed: {what}",
             {"status": len(ids), "missing": 0, "ghosts": 0}, look)


def started(box, name):
    """(agent, the governed parent of a burst's cgroups)

    What these inherit is not what they are to have: the agent has to write it.
    """
    root = box.cgroup.child(name)
    parent = root.child("x")
    agent = box.agent(name, root)
    agent.write(FILE, policies(policy("x", parent, {"SO_PRIORITY": 4}),
                               policy("m", f"{parent.path}/m*", {"SO_PRIORITY": 5})))
    agent.start()
    return agent, parent


@contextlib.contextmanager
def halted(agent):
    agent.signal(signal.SIGSTOP)
    try:
        yield
    finally:
        agent.signal(signal.SIGCONT)


def lost(agent):
    return agent.status()["events_lost"]


def wait_released(agent, ids):
    """Until the kernel has dropped the entries of all others; the agent takes no part."""
    wait_for("the kernel to release what was removed: too many entries", 0,
             lambda: len(entries(agent) - ids))


def test_lost_events(box):
    agent, parent = started(box, "lost")
    worker = box.worker(parent.child("worker"))
    with halted(agent):
        mkdirs(parent, range(MADE))
        rmdirs(parent, range(REMOVED))
    live = living(parent) | {parent.id}
    wait_governed("after the burst", agent, live)
    wait_for("policy m's cgroups", MADE - REMOVED, lambda: agent.policy("m")["cgroups"])
    check("some events to be lost", True, lost(agent) > 0)
    for _ in range(3):
        agent.reload_good()
        wait_governed("after a reload", agent, live)
    check_priority("beside the burst", worker, 4)
    check_priority("the last of the burst", box.worker(parent.child(f"m{MADE - 1}")), 5)


def test_released_before_the_agent_hears(box):
    """All are announced, not all releases are: what the agent hears of is there no more."""
    agent, parent = started(box, "released")
    with halted(agent):
        mkdirs(parent, range(FILLS_THE_RING))
        rmdirs(parent, range(1, FILLS_THE_RING))
        live = living(parent) | {parent.id}
        wait_released(agent, live)
    wait_governed("after the burst", agent, live)
    check("some events to be lost", True, lost(agent) > 0)
    agent.reload_good()
    wait_governed("after a reload", agent, live)


def churn(parent):
    mkdirs(parent, range(CHURNED))
    rmdirs(parent, range(CHURNED))


def test_churn(box):
    """The agent looks at the whole hierarchy again while that changes."""
    agent, parent = started(box, "churn")
    with halted(agent):
        churn(parent)
        wait_released(agent, {parent.id})
    for _ in range(ROUNDS - 1):
        churn(parent)
    mkdirs(parent, range(LAST))
    live = living(parent) | {parent.id}
    wait_governed("after the churn", agent, live)
    check("some events to be lost", True, lost(agent) > 0)
    agent.reload_good()
    wait_governed("after a reload", agent, live)
    check("policy m's cgroups", LAST, agent.policy("m")["cgroups"])
    check_slots("after the churn", agent)


def remove_deep(top, depth):
    """From below: no recursion, which Python would not take as far."""
    for level in range(depth, 0, -1):
        with contextlib.suppress(FileNotFoundError):
            os.rmdir(top.directory + "/d" * level)


@contextlib.contextmanager
def few_open_files(number):
    """For what is started meanwhile."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (number, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_deeper_than_open_files(box):
    top = box.cgroup.child("deep")
    box.stack.callback(remove_deep, top, DEPTH)
    directory = top.directory
    for _ in range(DEPTH):
        directory += "/d"
        os.mkdir(directory)
    agent = box.agent("deep", top)
    agent.write(FILE, priority_policy("deep", top, 4))
    with few_open_files(OPEN_FILES):
        agent.start()
    bottom = os.stat(directory).st_ino
    check("the agent's cgroups, to the last", DEPTH + 1, agent.status()["cgroups_governed"])
    entries = bpftool("map", "lookup", "pinned", f"{agent.pin_dir}/cgroups", "key",
                      *map(str, bottom.to_bytes(8, "little")))
    check("the deepest one's entry", bottom, entries["formatted"]["key"])
    check("a warning about what cannot be read", False, "Cannot read" in agent.log())


def test_root_removed(box):
    root = box.cgroup.child("root-removed")
    agent = box.agent("root-removed", root)
    agent.write(FILE, priority_policy("root-removed", root, 4))
    agent.start()
    check_priority("below the first root", box.worker(root.child("first")), 4)
    root.child("first").remove_all()
    root.rmdir()
    check("exit status of a reload without the cgroup root", 1, agent.reload().returncode)
    agent.write(FILE, priority_policy("root-removed", root, 5))
    worker = box.worker(root.child("second"))
    check_priority("nobody attached to the new root yet", worker, 0)
    agent.reload_good()
    check_priority("after the reload", worker, 5)
    check_priority("made after it", box.worker(root.child("third")), 5)


@contextlib.contextmanager
def excluded(cgroup, hook, program):
    """A program without BPF_F_ALLOW_MULTI: no cgroup below may get one at this hook."""
    bpftool("cgroup", "attach", cgroup.directory, hook, "id", program)
    try:
        yield
    finally:
        bpftool("cgroup", "detach", cgroup.directory, hook, "id", program)


def test_attaching_fails_over_pins(box):
    parent = box.cgroup.child("excluded")
    agent = box.agent("excluded", parent.child("root"))
    worker, peer = box.worker(parent.child("root/service")), box.worker(parent.child("peer"))
    agent.write(FILE, priority_policy("excluded", worker.cgroup, 4))
    agent.start()
    agent.kill()
    agent.write(FILE, priority_policy("excluded", worker.cgroup, 5))
    pin = f"{agent.pin_dir}/connect6"  # the last hook: the others could have been replaced by then
    program = str(bpftool("link", "show", "pinned", pin)["prog_id"])
    with excluded(parent, "connect6", program), listening(worker) as listener:
        os.unlink(pin)
        agent.start(wait=False)
        agent.end()
        check(f"exit status of an agent that cannot attach; it said\n{agent.log()}\n   ", 1,
              agent.process.returncode)
        agent.process = None
        check_priority("what the killed agent enforced", worker, 4)
        check("the same of an accepted socket", 4, accepted_option(listener, peer))
        check("policies in status", ["excluded"], [p["name"] for p in agent.status()["policies"]])
        check("sockets counted", True, agent.policy("excluded")["applied"] > 0)
    agent.start()
    check_priority("nothing excludes the agent any more", worker, 5)


def counters(agent, name):
    one = agent.policy(name)
    return one["applied"], [(f["option"], f["errno"], f["count"]) for f in one["failed"]]


def times(number, one):
    applied, failed = one
    return number * applied, [(option, errno, number * count) for option, errno, count in failed]


def counting(box, name):
    """(agent, a worker, what its first connection counted); one option of its policy fails."""
    agent = box.agent(name)
    worker = box.worker(box.cgroup.child(name))
    agent.write(FILE, policies(policy(name, worker.cgroup, FAILS)))
    agent.start()
    connected_option(worker)
    one = counters(agent, name)
    check("sockets and failures counted", (True, 1), (one[0] > 0, len(one[1])))
    return agent, worker, one


def test_counters_survive_take_overs(box):
    agent, worker, one = counting(box, "taken-over")
    for number in (2, 4):
        agent.kill()
        connected_option(worker)
        check("counted without an agent", times(number, one), counters(agent, "taken-over"))
        agent.start()
        check("counters after a take-over", times(number, one), counters(agent, "taken-over"))
        connected_option(worker)
        check("counted by the new agent", times(number + 1, one), counters(agent, "taken-over"))


def many_policies(cgroup):
    rules = "    rules:\n" + "".join(
        f"      - name: r{number}\n        when: {{ direction: connect }}\n"
        "        options: { SO_PRIORITY: 3 }\n" for number in range(RULES))
    return policies(*(policy(f"many-{number}", f"{cgroup.path}/nowhere-{number}", {}, rules)
                      for number in range(POLICIES)))


def room_for_sources(agent):
    return bpftool("map", "show", "pinned", f"{agent.pin_dir}/sources")["max_entries"]


def test_counters_survive_larger_maps(box):
    agent, worker, one = counting(box, "larger")
    room = room_for_sources(agent)
    agent.write("60-many.yaml", many_policies(worker.cgroup))
    agent.reload_good()
    check("map `sources` to have grown", True, room_for_sources(agent) > room)
    check("policies in force", POLICIES + 1, len(agent.status()["policies"]))
    check("counters after the reload", one, counters(agent, "larger"))
    connected_option(worker)
    check("counters go on", times(2, one), counters(agent, "larger"))
