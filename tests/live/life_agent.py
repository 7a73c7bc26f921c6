# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""The agent's own life: start, reload, crash, end."""

import os
import signal

from harness.agent import still_there
from harness.flows import (SO_PRIORITY, check_priority, connected_option, connection,
                           governed_worker, listening, policies, policy, priority_policy)
from harness.result import Containing, check, wait_for

FILE = "50-test.yaml"

BAD = """policies:
  - name: broken
    match: { cgroup: / }
    options:
      SO_PRIORITTY: 3
"""


def check_nothing_left(agent, objects):
    """The pin directory itself may stay where the agent found it already there."""
    check("some objects to look for", True, len(objects) > 3)
    wait_for("programs, maps and links to be gone", set(), lambda: still_there(objects))
    check("no pins left", [], agent.pins())
    check("no control socket left", [],
          os.listdir(agent.runtime_dir) if os.path.isdir(agent.runtime_dir) else [])


def leaves_nothing(box, number):
    agent = box.agent("leaves-nothing")
    worker = governed_worker(box, agent, "leaves-nothing", 4)
    cgroups = sorted(name for _, names, _ in os.walk(box.cgroup.directory) for name in names)
    objects = agent.objects()
    check("something pinned while it runs", True, len(agent.pins()) > 0)
    agent.signal(number)
    agent.end()
    check(f"exit status after signal {number}", 0, agent.process.returncode)
    agent.process = None
    check_nothing_left(agent, objects)
    check("the pin directory that it made is gone", False, os.path.exists(agent.pin_dir))
    check("no cgroup made or removed", cgroups,
          sorted(name for _, names, _ in os.walk(box.cgroup.directory) for name in names))
    check_priority("the agent has ended", worker, 0)


def test_sigterm_leaves_nothing(box):
    leaves_nothing(box, signal.SIGTERM)


def test_sigint_leaves_nothing(box):
    leaves_nothing(box, signal.SIGINT)


def test_killed_and_started_again(box):
    agent = box.agent("killed")
    worker = governed_worker(box, agent, "killed", 4)
    before, pinned = agent.objects(), agent.pins()
    agent.kill()
    check_priority("the agent was killed", worker, 4)
    child = box.worker(worker.cgroup.child("child-while-dead"))
    check_priority("in a cgroup made while no agent runs", child, 4)
    check("status without an agent: what is in force", ["killed"],
          [p["name"] for p in agent.status()["policies"]])

    agent.write(FILE, priority_policy("killed", worker.cgroup, 5))
    agent.start()
    check_priority("a new agent has taken over", worker, 5)
    check_priority("the cgroup made meanwhile", child, 5)
    wait_for("the same pins as before", pinned, agent.pins)
    after = agent.objects()
    check("as many links as before", count(before, "link"), count(after, "link"))
    wait_for("links of the killed agent that are in use no more to be gone", set(), lambda: {
        one for one in still_there(before - after) if one[0] == "link"})
    agent.stop()
    check_nothing_left(agent, before | after)
    check_priority("the new agent has ended", worker, 0)


def count(objects, kind):
    return len([one for one in objects if one[0] == kind])


def test_killed_again_and_again(box):
    agent = box.agent("again")
    worker = governed_worker(box, agent, "again", 4)
    objects = agent.objects()
    links, programs = count(objects, "link"), count(objects, "prog")
    for round_ in range(3):
        agent.kill()
        check_priority(f"killed for the {round_ + 1}. time", worker, 4)
        agent.start()
        now = agent.objects()
        objects |= now
        check("as many links and programs as in the beginning", (links, programs),
              (count(now, "link"), count(now, "prog")))
    agent.stop()
    check_nothing_left(agent, objects)


def test_counters_go_on_without_an_agent(box):
    agent = box.agent("counters")
    worker = governed_worker(box, agent, "counters", 4)
    applied = agent.policy("counters")["applied"]
    agent.kill()
    connected_option(worker)
    check("applied: a listener, a connect and an accept more", applied + 3,
          agent.policy("counters")["applied"])


FAILS = {"SO_BINDTODEVICE": "nosuchdev0", "SO_PRIORITY": 4}
POLICIES, RULES = 501, 40  # far more counters than a map of them has elements


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
    return policies(*(policy(f"many-{number}", f"{cgroup.path}/many-{number}", {}, rules)
                      for number in range(POLICIES)))


def test_counters_beside_many_others(box):
    agent, worker, one = counting(box, "beside-many")
    agent.write("40-many.yaml", many_policies(worker.cgroup))
    agent.reload_good()
    check("policies in force", POLICIES + 1, len(agent.status()["policies"]))
    check("counters after the reload", one, counters(agent, "beside-many"))
    connected_option(worker)
    check("counters go on", times(2, one), counters(agent, "beside-many"))
    last = f"many-{POLICIES - 1}"
    connected_option(box.worker(worker.cgroup.child(last)))
    check("the last policy's and its last rule's", (1, 1),
          (agent.policy(last)["applied"], agent.policy(last)["rules"][-1]["applied"]))
    agent.remove("40-many.yaml")
    agent.reload_good()
    check("counters when the others are gone", times(3, one), counters(agent, "beside-many"))


def test_reload_is_synchronous(box):
    agent = box.agent("reload")
    worker = governed_worker(box, agent, "reload", 4)
    for priority in (3, 5, 6, 2):
        agent.write(FILE, priority_policy("reload", worker.cgroup, priority))
        agent.reload_good()
        check_priority("right after the reload", worker, priority)
    agent.remove(FILE)
    agent.reload_good()
    check_priority("the policy was taken away", worker, 0)
    check("status after that", [], agent.status()["policies"])


def test_reload_leaves_connected_sockets_alone(box):
    agent = box.agent("connected")
    worker = governed_worker(box, agent, "connected", 4)
    with listening(worker) as listener, connection(worker, listener) as (client, _):
        agent.write(FILE, priority_policy("connected", worker.cgroup, 5))
        agent.reload_good()
        check("SO_PRIORITY of a socket connected before the reload", 4,
              client.sockopt(*SO_PRIORITY))


def test_reload_with_an_error(box):
    agent = box.agent("reload-bad")
    worker = governed_worker(box, agent, "reload-bad", 4)
    agent.write(FILE, priority_policy("reload-bad", worker.cgroup, 5))
    path = agent.write("60-bad.yaml", BAD)
    done = agent.reload()
    check("exit status of a refused reload", 1, done.returncode)
    check("the place of the error", Containing(f"{path}:5:7: error:"), done.stdout + done.stderr)
    check("a suggestion", Containing("SO_PRIORITY"), done.stdout + done.stderr)
    check_priority("the old configuration stays", worker, 4)
    agent.remove("60-bad.yaml")
    agent.reload_good()
    check_priority("the error is corrected", worker, 5)


def test_sighup(box):
    agent = box.agent("sighup")
    worker = governed_worker(box, agent, "sighup", 4)
    agent.write(FILE, priority_policy("sighup", worker.cgroup, 5))
    agent.signal(signal.SIGHUP)
    wait_for("SIGHUP to bring the new value", 5, lambda: connected_option(worker))
    path = agent.write("60-bad.yaml", BAD)
    start = agent.line_count()
    agent.signal(signal.SIGHUP)
    agent.wait_line(f"{path}:5:7: error:", start)
    check_priority("SIGHUP with an error in the files", worker, 5)


def test_bad_configuration_at_start(box):
    agent = box.agent("bad-start")
    path = agent.write("60-bad.yaml", BAD)
    agent.start(wait=False)
    agent.end()
    check("exit status: an error in the files and no pins", 78, agent.process.returncode)
    agent.process = None
    check("the error's place", Containing(f"{path}:5:7: error:"), agent.log())
    check("no readiness", False, "ready:" in agent.log())
    check("no pins left", [], agent.pins())


def test_bad_configuration_over_pins(box):
    agent = box.agent("degraded")
    worker = governed_worker(box, agent, "degraded", 4)
    agent.kill()
    agent.write("60-bad.yaml", BAD)
    agent.start()
    check("what it says", Containing("degraded"), agent.log())
    check("status: degraded", True, agent.status()["agent"]["degraded"])
    check_priority("the pinned configuration stays", worker, 4)
    agent.remove("60-bad.yaml")
    agent.write(FILE, priority_policy("degraded", worker.cgroup, 5))
    agent.reload_good()
    check_priority("the error is corrected", worker, 5)
    check("status: no longer degraded", False, agent.status()["agent"]["degraded"])
    objects = agent.objects()
    agent.stop()
    check_nothing_left(agent, objects)


def test_nothing_configured(box):
    agent = box.agent("nothing")
    agent.start()
    check("what it says", Containing("ready: 0 policies"), agent.log())
    objects = agent.objects()
    agent.stop()
    check_nothing_left(agent, objects)


def test_ready_line_counts(box):
    agent = box.agent("ready")
    cgroup = box.cgroup.child("ready")
    agent.write(FILE, policies(policy("a", cgroup, {"SO_PRIORITY": 3}),
                               policy("b", cgroup.path + "/one", {"SO_PRIORITY": 4})))
    agent.start()
    check("what it says", Containing("ready: 2 policies"), agent.log())


def test_two_instances(box):
    """Side by side, each over its own cgroup, with directories of their own."""
    workers, agents = {}, {}
    for name, priority in (("left", 3), ("right", 5)):
        cgroup = box.cgroup.child(f"instance-{name}")
        workers[name] = box.worker(cgroup.child("service"))
        agents[name] = box.agent(name, cgroup)
        # Both match everything: what is not below its --cgroup-root is none of its business.
        agents[name].write(FILE, priority_policy(name, f"{box.cgroup.path}/**", priority))
        agents[name].start()
    for name, priority in (("left", 3), ("right", 5)):
        check_priority(f"the {name} instance's", workers[name], priority)
    agents["left"].write(FILE, priority_policy("left", f"{box.cgroup.path}/**", 6))
    agents["left"].reload_good()
    check_priority("the left one was reloaded", workers["left"], 6)
    check_priority("the right one was not", workers["right"], 5)
    agents["left"].stop()
    check_priority("the left one has ended", workers["left"], 0)
    check_priority("the right one has not", workers["right"], 5)


def test_one_agent_a_pin_directory(box):
    first = box.agent("first")
    worker = governed_worker(box, first, "first", 4)
    second = box.agent("second")
    second.pin_dir = first.pin_dir
    second.write(FILE, priority_policy("second", worker.cgroup, 5))
    second.start(wait=False)
    second.end()
    check("exit status of a second agent with the same pin directory", 1,
          second.process.returncode)
    second.process = None
    check_priority("the first one still governs", worker, 4)
    check("its pins are there", True, len(first.pins()) > 0)


def test_reload_without_an_agent(box):
    agent = box.agent("none")
    done = agent.reload()
    check("exit status", 1, done.returncode)
    check("an explanation", True, bool(done.stderr.strip()))
