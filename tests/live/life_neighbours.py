# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Others on the same host: programs at our hooks, pins under our names, cgroups that come and go."""

import json
import os
import subprocess
import threading

import life_host
import life_hostile
from harness.flows import check_priority, governed_worker, policies, policy, priority_policy
from harness.foreign import newest_program
from harness.result import Between, Containing, check

FILE = "50-test.yaml"


def bpftool(*arguments):
    done = subprocess.run(["bpftool", *arguments], capture_output=True, text=True, check=False)
    check(f"bpftool {' '.join(arguments)}: {done.stderr}", 0, done.returncode)
    return done.stdout


STEADY, CHURN = 1000, 200


def churn(parent, stop, made):
    """Makes and removes cgroups until told to stop."""
    while not stop.is_set():
        for number in range(CHURN):
            os.mkdir(f"{parent.directory}/churn-{number}")
            made.append(number)
        for number in range(CHURN):
            os.rmdir(f"{parent.directory}/churn-{number}")


def cgroups_below(cgroup):
    """Those that the kernel has not released yet among them."""
    with open(f"{cgroup.directory}/cgroup.stat", encoding="ascii") as file:
        stat = dict(line.split() for line in file)
    return int(stat["nr_descendants"]) + int(stat["nr_dying_descendants"])


def test_status_while_cgroups_come_and_go(box):
    """None is counted twice, though the walk over them loses the one that it stands at."""
    agent, parent = box.agent("come"), box.cgroup.child("come-and-go")
    for number in range(STEADY):
        parent.child(f"steady-{number}")
    agent.write(FILE, priority_policy("come", parent, 4))
    agent.start()
    check("cgroups before", STEADY + 1, agent.n_governed())
    stop, made = threading.Event(), []
    thread = threading.Thread(target=churn, args=(parent, stop, made))
    thread.start()
    try:
        for _ in range(30):
            before, there = len(made), cgroups_below(parent)
            status = agent.status("--cgroups")
            governed = status["cgroups"]["governed"]
            most = 1 + there + len(made) - before + 1  # one may be made and not yet noted
            check("cgroups governed", Between(STEADY + 1, most), governed)
            check("the policy's", governed, status["policies"][0]["cgroups"])
    finally:
        stop.set()
        thread.join()
    check("some came and went", True, len(made) > CHURN)


def test_another_sockpol_above(box):
    """The one attached nearest the root runs last and wins."""
    inner_root = box.cgroup.child("overlap")
    inner, outer = box.agent("inner", inner_root), box.agent("outer")
    worker = governed_worker(box, inner, "overlap", 4)
    check("neighbours of one alone", [], inner.neighbours())
    check("no warning", False, "another sockpol" in inner.text_status())
    outer.write(FILE, policies(policy("above", inner_root, {"SO_PRIORITY": 5})))
    outer.start()
    check_priority("the one above wins", worker, 5)
    theirs = {(link["hook"], link["program"]) for link in outer.status()["attachments"]
              if link["cgroup"] is not None}
    seen = inner.neighbours()
    check("its programs at our hooks", theirs, {(one["hook"], one["program"]) for one in seen})
    check("none twice", len(theirs), len(seen))
    check("they are a sockpol's and run after ours", [(True, True)] * len(seen),
          [(one["sockpol"], one["runs_after"]) for one in seen])
    check("their names", {one["hook"] for one in seen}, {one["name"] for one in seen})
    number = dict(theirs)["connect4"]
    check("the warning", Containing(f"warning: at connect4 program {number} (connect4) of another "
                                    "sockpol runs too, after ours"), inner.text_status())
    outer.stop()
    check("neighbours when it has ended", [], inner.neighbours())


def test_another_sockpol_at_other_hooks(box):
    """Neither has a program where the other has one, and yet both govern the same sockets."""
    outer_root = box.cgroup.child("hooks-outer")
    inner_root = outer_root.child("inner")
    outer, inner = box.agent("hooks-outer", outer_root), box.agent("hooks-inner", inner_root)
    for agent, root, when in ((outer, outer_root, "direction: connect, protocol: tcp"),
                              (inner, inner_root, "direction: accept")):
        agent.write(FILE, policies(policy(f"p{len(when)}", root, {}, "    rules:\n      - name: r\n"
                                          f"        when: {{ {when} }}\n"
                                          "        options: { SO_PRIORITY: 4 }\n")))
        agent.start()
    hooks = [{link["hook"] for link in agent.status()["attachments"] if link["cgroup"] is not None}
             for agent in (outer, inner)]
    check("hooks of both", [{"connect4", "connect6"}, {"sock_ops"}], hooks)
    check("neighbours", [("sock_ops", inner_root.path, True)],
          [(one["hook"], one["cgroup"], one["sockpol"]) for one in outer.neighbours()])


def test_attached_without_a_link(box):
    """Attached by other means than a link."""
    agent = box.agent("else")
    governed_worker(box, agent, "else", 4)
    other = box.agent("donor", box.cgroup.child("donor"))
    other.write(FILE, policies(policy("donor", box.cgroup.child("donor"), {"SO_PRIORITY": 5})))
    other.start()
    programs = {link["hook"]: link["program"] for link in other.status()["attachments"]}
    bpftool("cgroup", "attach", box.cgroup.directory, "cgroup_inet4_connect", "id",
            str(programs["connect4"]), "multi")
    box.stack.callback(subprocess.run, ["bpftool", "cgroup", "detach", box.cgroup.directory,
                                        "cgroup_inet4_connect", "id", str(programs["connect4"])],
                       check=False)
    check("neighbours", [("connect4", programs["connect4"])],
          [(one["hook"], one["program"]) for one in agent.neighbours()
           if one["cgroup"] is None])  # the donor is one below


def test_f9_a_sockpol_nearer_the_root(box):
    """What these tests say of neighbours holds also where a sockpol is in force above all of them."""
    root, older = box.cgroup, box.older
    agent = box.agent("f9", root)
    agent.write(FILE, policies(policy("f9", "/none", {"SO_PRIORITY": 4, "SO_SNDBUF": "64K"})))
    agent.start()
    box.cgroup, box.older = root.child("f9"), newest_program()
    try:
        for test in (test_another_sockpol_above, test_another_sockpol_at_other_hooks, test_attached_without_a_link,
                     life_hostile.test_another_sockpol_below, life_host.test_h6_a_later_hook_wins,
                     life_host.test_h6_every_hook_that_sets, life_host.test_h6_a_load_balancer_after_ours):
            with box.scope():
                test(box)
    finally:
        box.cgroup, box.older = root, older


def refused(agent, path):
    agent.write(FILE, policies())
    agent.start(wait=False)
    agent.end()
    check("exit status over a foreign pin", 1, agent.process.returncode)
    agent.process = None
    check("what it says", Containing(f"{path} is not a pin of sockpol"), agent.log())


def make_map(path, kind, key, value, name, *more):
    bpftool("map", "create", path, "type", kind, "key", str(key), "value", str(value), "entries",
            "1", "name", name, *more)


def test_foreign_pins_stay(box):
    for number, (name, kind, key, value, called) in enumerate((
            ("state", "array", 4, 8, "theirs"),
            ("policies", "hash", 8, 8, "theirs"),
            ("failures~", "hash", 8, 16, "failures"),
            ("connect4", "array", 4, 4, "connect4"))):  # a map where a link should be
        agent = box.agent(f"foreign{number}")
        os.makedirs(f"{agent.pin_dir}/current", 0o700)
        path = agent.pin(name)
        make_map(path, kind, key, value, called)
        before = bpftool("-j", "map", "show", "pinned", path)
        refused(agent, path)
        check("the directory", [f"current/{name}"], agent.pins())
        check("the map", json.loads(before)["id"],
              json.loads(bpftool("-j", "map", "show", "pinned", path))["id"])


def test_foreign_pin_beside_ours(box):
    """Of a directory with ours and another's, ours go at the end and the other's stays."""
    agent = box.agent("beside")
    worker = governed_worker(box, agent, "beside", 4)
    path = os.path.join(agent.pin_dir, "sendmsg_unix")  # a name that is not in use now
    make_map(path, "array", 4, 4, "theirs")
    agent.stop()
    check("what is left", ["sendmsg_unix"], os.listdir(agent.pin_dir))
    check_priority("the agent has ended", worker, 0)


def test_pins_of_another_version(box):
    """They are ours, and are replaced."""
    agent = box.agent("version")
    worker = governed_worker(box, agent, "version", 4)
    agent.kill()
    state = agent.pin("state")
    value = json.loads(bpftool("-j", "map", "dump", "pinned", state))[0]["value"]
    value[64] = "0x63"  # sp_state.abi_version
    bpftool("map", "update", "pinned", state, "key", "hex", "00", "00", "00", "00", "value", "hex",
            *(byte[2:] for byte in value))
    done = agent.command("status", "--pin-dir", agent.pin_dir)
    check("status", Containing("another version"), done.stderr)
    agent.write(FILE, priority_policy("version", worker.cgroup, 5))
    agent.start()
    check_priority("a new agent has taken over", worker, 5)
    agent.stop()
    check("nothing left", False, os.path.exists(agent.pin_dir))
