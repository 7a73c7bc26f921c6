# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""No gap without the agent: what one leaves in force goes on, and the next goes on with it."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time

from harness.agent import still_there
from harness.flows import (accepted_option, check_priority, connected_option, governed_worker,
                           listening, policies, policy, priority_policy)
from harness.result import Between, Containing, Skip, check, wait_for

FILE = "50-test.yaml"
STEADY = os.path.join(os.path.dirname(os.path.abspath(__file__)), "harness", "steady.py")
RESTARTS = 100


class Load:
    """steady.py in a cgroup; ready, and not begun."""

    def __init__(self, cgroup, value):
        self.process = cgroup.popen([sys.executable, "-I", "-S", STEADY, str(value)], text=True,
                                    stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        check("the load", "ready\n", self.process.stdout.readline())

    def go(self):
        self.process.stdin.write("go\n")
        self.process.stdin.flush()

    def end(self):
        """What it saw."""
        out, _ = self.process.communicate("end\n", timeout=30)
        return json.loads(out)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.communicate()


def check_load(seen, at_least):
    check(f"sockets without the policy's value; they were\n{seen['complaints']}\n   ", 0,
          seen["ungoverned"])
    check(f"connections that failed; they were\n{seen['complaints']}\n   ", 0, seen["failed"])
    check(f"at least {at_least} connections", True, seen["connections"] >= at_least)


@contextlib.contextmanager
def under_load(agent, worker, name, value, at_least):
    """What happens within happens while sockets are opened; all of them are governed and counted."""
    with Load(worker.cgroup, value) as load:
        before = agent.policy(name)["applied"]
        load.go()
        yield
        seen = load.end()
    check_load(seen, at_least)
    check("sockets counted", 2 * seen["connections"] + seen["datagram_sockets"],
          agent.policy(name)["applied"] - before)


def persist(agent):
    """A clean stop that leaves everything in force."""
    agent.signal(signal.SIGTERM)
    agent.end()
    check(f"exit status of run --persist; it said\n{agent.log()}\n   ", 0,
          agent.process.returncode)
    agent.process = None


NEAR = ("    rules:\n      - name: near\n        when: { remote: 127.0.0.0/8 }\n"
        "        options: { SO_PRIORITY: 4 }\n")


def test_restarts_under_load(box):
    agent = box.agent("restarts")
    agent.options = ["--persist"]
    worker = governed_worker(box, agent, "restarts", 4)
    # Prefixes have to survive as well.
    agent.write(FILE, priority_policy("restarts", worker.cgroup, 3, NEAR))
    agent.reload_good()
    held = agent.objects()
    with under_load(agent, worker, "restarts", 4, 10 * RESTARTS):
        for number in range(RESTARTS):
            if number % 2:
                persist(agent)
            else:
                agent.kill()
            agent.start()
            held |= agent.objects()
    now = agent.objects()
    check("the maps are the same ones", {one for one in held if one[0] == "map"} & now,
          {one for one in now if one[0] == "map"} & held)
    wait_for("what earlier agents loaded to be gone", now, lambda: still_there(held))
    agent.options = []
    agent.kill()
    agent.start()
    held |= agent.objects()
    agent.stop()
    wait_for("everything to be gone", set(), lambda: still_there(held))
    check_priority("nothing is in force", worker, 0)


def other_abi(box):
    """A build of the same with another SP_ABI_VERSION."""
    path = os.path.join(os.path.dirname(box.sockpol), "other-abi", "sockpol")
    if not os.access(path, os.X_OK):
        raise Skip(f"there is no {path} (make other-abi)")
    return path


def test_another_version_under_load(box):
    agent = box.agent("versions")
    builds = [agent.sockpol, other_abi(box)]
    worker = governed_worker(box, agent, "versions", 4)
    held = agent.objects()
    with Load(worker.cgroup, 4) as load:
        load.go()
        for number in range(1, 7):
            agent.kill()
            agent.sockpol = builds[number % 2]
            agent.start()
            check("the new one adopts nothing", set(),
                  {one for one in agent.objects() & held if one[0] == "map"})
            held |= agent.objects()
        seen = load.end()
    check_load(seen, 10)
    total = 2 * seen["connections"] + seen["datagram_sockets"]
    check("counters are carried over", True, agent.policy("versions")["applied"] >= total)
    now = agent.objects()
    wait_for("what earlier agents loaded to be gone", now, lambda: still_there(held))


def test_persist_and_detach(box):
    agent = box.agent("persist")
    agent.options = ["--persist"]
    worker = governed_worker(box, agent, "persist", 4)
    held = agent.objects()
    done = agent.command("detach", "--pin-dir", agent.pin_dir)
    check(f"exit status of a detach while the agent runs; it said\n{done.stderr}\n   ", 1,
          done.returncode)
    check("it says what to do", Containing("stop it first"), done.stderr)
    check_priority("it changed nothing", worker, 4)
    persist(agent)
    check("what it says", Containing(
        f"stopped: 1 policy stays in force (sockpol detach --pin-dir {agent.pin_dir} takes it out"),
        agent.log())
    check_priority("the agent has been stopped", worker, 4)
    check_priority("in a cgroup made since", box.worker(worker.cgroup.child("since")), 4)
    done = agent.command("detach", "--pin-dir", agent.pin_dir)
    check(f"exit status of detach; it said\n{done.stderr}\n   ", 0, done.returncode)
    check("what it says", Containing("taken out"), done.stdout)
    check_priority("detached", worker, 0)
    wait_for("everything to be gone", set(), lambda: still_there(held))
    check("the pin directory", False, os.path.exists(agent.pin_dir))
    done = agent.command("detach", "--pin-dir", agent.pin_dir)
    check("a detach of nothing", (0, Containing("nothing")), (done.returncode, done.stdout))


def bpftool(*arguments):
    done = subprocess.run(["bpftool", "-j", *arguments], capture_output=True, text=True,
                          check=False)
    check(f"bpftool {' '.join(arguments)}: {done.stdout}{done.stderr}", 0, done.returncode)
    return json.loads(done.stdout) if done.stdout.strip() else None


def make_map(path, kind, name):
    bpftool("map", "create", path, "type", kind, "key", "4", "value", "4", "entries", "1", "name",
            name)


def earlier(box, name):
    """An agent of an earlier version, by its name in the Makefile."""
    path = os.path.join(os.path.dirname(box.sockpol), name, "sockpol")
    if not os.access(path, os.X_OK):
        raise Skip(f"there is no {path} (make {name}, where the history has it)")
    return path


def first_edition(box, name):
    """One of SP_ABI_VERSION 5, which pinned all in one directory and knew no state directory."""
    agent = box.agent(name, sockpol=earlier(box, "first-edition"))
    agent.state_dir = None
    return agent


def flat_pins(agent):
    return sorted(set(os.listdir(agent.pin_dir)) - {"current"})


def take_over(box, agent):
    """This version's agent after one of an earlier version that was killed."""
    agent.kill()
    agent.sockpol = box.sockpol
    agent.start()


def check_taken_over(agent, held):
    """Nothing is left of what the earlier agent held but its links, which got our programs."""
    check("its pins are gone", [], flat_pins(agent))
    wait_for("what it loaded to be gone", set(),
             lambda: still_there({one for one in held if one[0] != "link"}))
    check("its links to the cgroup got our programs", True,
          bool(still_there({one for one in held if one[0] == "link"}) & agent.objects()))
    agent.stop()
    wait_for("everything to be gone", set(), lambda: still_there(held))


def test_first_edition_under_load(box):
    agent = first_edition(box, "first")
    worker = governed_worker(box, agent, "first", 4)
    held = agent.objects()
    with Load(worker.cgroup, 4) as load:
        load.go()
        take_over(box, agent)
        seen = load.end()
    check_load(seen, 10)
    check_taken_over(agent, held)


def counted(agent):
    """{policy or policy/rule: (sockets, failures by option and errno)}"""
    found = {}
    for one in agent.status()["policies"]:
        for rule in [None, *one["rules"]]:
            of = one if rule is None else rule
            found["/".join(filter(None, [one["name"], rule and rule["name"]]))] = of["applied"]
        found[one["name"], "failed"] = sorted((fail.get("rule"), fail["option"], fail["errno"],
                                               fail["count"]) for fail in one["failed"])
    return found


def wait_for_more(agent, name):
    """Until further sockets are counted of a policy."""
    before = agent.policy(name)["applied"]
    wait_for(f"further sockets of {name}", True, lambda: agent.policy(name)["applied"] > before)


def test_abi_8_under_load(box):
    """No connection is ungoverned, none fails, and counters and failures go on by their names."""
    agent = box.agent("abi-8", sockpol=earlier(box, "abi-8"))
    worker, other = (box.worker(box.cgroup.child(f"abi-8{name}")) for name in ("", "-other"))
    # The first policy leaves the files, so that names get other numbers.
    agent.write("10-first.yaml", priority_policy("first", other.cgroup, 2))
    agent.write(FILE, policies(
        policy("abi-8", worker.cgroup, {"SO_PRIORITY": 3}, NEAR),
        policy("fails", other.cgroup, {"SO_BINDTODEVICE": "nosuchdev0"},
               "    rules:\n      - name: cc\n        when: { remote: 127.0.0.0/8 }\n"
               "        options: { SO_PRIORITY: 6 }\n")))
    agent.start()
    connected_option(other)
    before = counted(agent)
    check("failures by the one before", ["SO_BINDTODEVICE"],
          sorted({one[1] for one in before["fails", "failed"]}))
    held = agent.objects()
    agent.remove("10-first.yaml")
    with Load(worker.cgroup, 4) as load:
        load.go()
        wait_for_more(agent, "abi-8")
        take_over(box, agent)
        wait_for_more(agent, "abi-8")
        seen = load.end()
    check_load(seen, 10)
    after = counted(agent)
    total = 2 * seen["connections"] + seen["datagram_sockets"]
    # The load's listener is counted by the policy alone; its old UDP socket by either version, but not if
    # it sends nothing between the take-over and the end.
    for name, others in (("abi-8", 2), ("abi-8/near", 1)):
        check(f"sockets counted of {name}", Between(total + others - 1, total + others),
              after[name] - before[name])
    for name in ("fails", "fails/cc", ("fails", "failed")):
        check(f"what is counted of {name}", before[name], after[name])
    connected_option(other)
    check("the next failure is added", [2 * one[3] for one in before["fails", "failed"]],
          [one[3] for one in counted(agent)["fails", "failed"]])
    check_taken_over(agent, held)


def cut_off(box, agent, worker):
    """Wherever the take-over is cut off, something whole is in force, and the next one ends it."""
    with Load(worker.cgroup, 4) as load:
        load.go()
        agent.kill()
        agent.sockpol = box.sockpol
        for number in range(30):
            agent.start(wait=False)
            time.sleep(0.02 * number)  # where in the take-over that is, chance decides
            agent.kill()
        agent.start()
        seen = load.end()
    check_load(seen, 100)
    check("its pins are gone", [], flat_pins(agent))


def test_first_edition_and_kills(box):
    agent = first_edition(box, "first-kills")
    cut_off(box, agent, governed_worker(box, agent, "first-kills", 4))


def test_abi_8_and_kills(box):
    agent = box.agent("abi-8-kills", sockpol=earlier(box, "abi-8"))
    cut_off(box, agent, governed_worker(box, agent, "abi-8-kills", 4))


def test_detach_the_first_edition(box):
    agent = first_edition(box, "first-detach")
    worker = governed_worker(box, agent, "first-detach", 4)
    held = agent.objects()
    agent.kill()
    agent.sockpol = box.sockpol
    done = agent.command("detach", "--pin-dir", agent.pin_dir)
    check(f"exit status of detach; it said\n{done.stderr}\n   ", 0, done.returncode)
    check_priority("detached", worker, 0)
    wait_for("everything to be gone", set(), lambda: still_there(held))


def test_detach_leaves_what_is_not_ours(box):
    agent = box.agent("not-ours")
    worker = governed_worker(box, agent, "not-ours", 4)
    theirs = os.path.join(agent.pin_dir, "theirs")
    make_map(theirs, "array", "theirs")
    # Somebody else holds one of our links: it goes all the same.
    elsewhere = os.path.join(box.bpffs, f"elsewhere{os.getpid()}")
    bpftool("link", "pin", "pinned", f"{agent.pin_dir}/current/connect4", elsewhere)
    box.stack.callback(os.unlink, elsewhere)
    agent.kill()
    done = agent.command("detach", "--pin-dir", agent.pin_dir)
    check(f"exit status; it said\n{done.stderr}\n   ", 0, done.returncode)
    check("it names what is left", Containing(theirs), done.stderr)
    check("what is left", ["theirs"], os.listdir(agent.pin_dir))
    check_priority("detached", worker, 0)
    check("the link is attached to nothing", 0, bpftool("link", "show", "pinned", elsewhere).get(
        "cgroup_id", 0))


def test_detach_of_what_looks_like_ours(box):
    """Names alone make nothing ours: many call a map `events`, and a program connect4."""
    agent = box.agent("looks")
    governed_worker(box, agent, "looks", 4)
    directory = os.path.join(box.bpffs, f"looks-like{os.getpid()}")
    os.mkdir(directory, 0o700)
    box.stack.callback(os.rmdir, directory)
    path = os.path.join(directory, "events")
    subprocess.run(["bpftool", "map", "create", path, "type", "ringbuf", "entries", "4096", "name",
                    "events"], check=True)
    box.stack.callback(os.unlink, path)
    done = agent.command("detach", "--pin-dir", directory)
    check("exit status", 0, done.returncode)
    check("what it says", Containing("nothing of sockpol"), done.stdout)
    check("what is left", ["events"], os.listdir(directory))


def test_detach_another_version(box):
    agent = box.agent("detach-version", sockpol=other_abi(box))
    worker = governed_worker(box, agent, "detach-version", 4)
    held = agent.objects()
    agent.kill()
    agent.sockpol = box.sockpol
    done = agent.command("detach", "--pin-dir", agent.pin_dir)
    check(f"exit status; it said\n{done.stderr}\n   ", 0, done.returncode)
    check_priority("detached", worker, 0)
    wait_for("everything to be gone", set(), lambda: still_there(held))
    check("the pin directory", False, os.path.exists(agent.pin_dir))


def only_this_bpffs(box, *command):
    """Runs a command where no other bpffs is mounted: `detach --all` is not to find the host's."""
    script = ("while read -r _ m type _; do [ $type = bpf ] && echo $m; done </proc/self/mounts | "
              "while read -r m; do "
              "[ \"$m\" = \"$0\" ] || umount -l \"$m\"; done; exec \"$@\"")
    return subprocess.run(["unshare", "--mount", "--propagation", "private", "sh", "-c", script,
                           box.bpffs, *command], capture_output=True, text=True, timeout=30,
                          check=False)


def test_detach_all(box):
    left, running = box.agent("all-left"), box.agent("all-running")
    deep = os.path.join(box.bpffs, f"deep{os.getpid()}")
    os.makedirs(deep, 0o700)
    box.stack.callback(os.rmdir, deep)
    left.pin_dir = os.path.join(deep, "er")
    workers = [governed_worker(box, left, "all-left", 4),
               governed_worker(box, running, "all-running", 5)]
    left.kill()
    done = only_this_bpffs(box, box.sockpol, "detach", "--all")
    check(f"exit status; it said\n{done.stdout}{done.stderr}\n   ", 1, done.returncode)
    check("it names the one that runs", Containing(running.pin_dir), done.stderr)
    check("and the one that it took out", Containing(left.pin_dir), done.stdout)
    check_priority("left by an agent", workers[0], 0)
    check_priority("with an agent", workers[1], 5)
    running.stop()
    done = only_this_bpffs(box, box.sockpol, "detach", "--all")
    check("where there is nothing", (0, Containing("nothing of sockpol")),
          (done.returncode, done.stdout))


def move(worker, cgroup):
    with open(f"{cgroup.directory}/cgroup.procs", "w", encoding="ascii") as procs:
        procs.write(str(worker.pid))


def test_removed_cgroup_stays_governed(box):
    """By whichever agent, and by whichever configuration, as long as its last socket lives."""
    agent = box.agent("outlives")
    worker = governed_worker(box, agent, "outlives", 4)
    peer = box.worker(box.cgroup.child("outlives-peer"))
    with listening(worker) as listener:
        move(worker, box.cgroup.child("outlives-refuge"))
        worker.cgroup.rmdir()
        agent.kill()
        check("without an agent", 4, accepted_option(listener, peer))
        agent.start()
        check("with the next one", 4, accepted_option(listener, peer))
        agent.write(FILE, priority_policy("outlives", worker.cgroup, 5))
        agent.reload_good()
        check("with another value", 5, accepted_option(listener, peer))
        agent.kill()
        agent.write(FILE, priority_policy("outlives", worker.cgroup, 6))
        agent.start()
        check("with one that came with the agent", 6, accepted_option(listener, peer))
        agent.write(FILE, priority_policy("another", peer.cgroup, 2))
        agent.reload_good()
        check("without its policy", 0, accepted_option(listener, peer))
        check_priority("the other policy", peer, 2)
    agent.stop()


def outlived(box, agent, name):
    """A worker whose cgroup was removed from under it, and whom to ask for a connection."""
    worker = governed_worker(box, agent, name, 4)
    peer = box.worker(box.cgroup.child(f"{name}-peer"))
    refuge = box.cgroup.child(f"{name}-refuge")

    def remove():
        move(worker, refuge)
        worker.cgroup.rmdir()
    return worker, peer, remove


def test_removed_cgroup_and_another_version(box):
    """Its maps are not adopted; what they say of the removed is."""
    agent = box.agent("outlives-abi")
    builds = [agent.sockpol, other_abi(box)]
    worker, peer, remove = outlived(box, agent, "outlives-abi")
    with listening(worker) as listener:
        remove()
        for number in range(1, 4):
            agent.kill()
            agent.sockpol = builds[number % 2]
            agent.start()
            check(f"with version {number}", 4, accepted_option(listener, peer))
        agent.write(FILE, priority_policy("outlives-abi", worker.cgroup, 5))
        agent.reload_good()
        check("with another value", 5, accepted_option(listener, peer))
    agent.stop()


def test_removed_cgroup_and_incomplete_pins(box):
    """It stays governed, whatever is missing."""
    for missing in ("failures", "state", "sock_ops", "cgroup_cache", "policies"):
        name = f"outlives-{missing}"
        agent = box.agent(name)
        worker, peer, remove = outlived(box, agent, name)
        with listening(worker) as listener:
            remove()
            agent.kill()
            os.unlink(os.path.join(agent.pin_dir, "current", missing))
            agent.start()
            check(f"without {missing}", 4, accepted_option(listener, peer))
        agent.stop()


def pinned_map(agent, name):
    return ("map", str(bpftool("map", "show", "pinned", f"{agent.pin_dir}/current/{name}")["id"]))


def test_udp_socket_is_counted_once(box):
    """A direction, over a restart and a reload."""
    agent = box.agent("once")
    worker = governed_worker(box, agent, "once", 4)
    with worker.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        before = agent.policy("once")["applied"]
        one.connect(("127.0.0.1", 9))
        check("connected", before + 1, agent.policy("once")["applied"])
        agent.kill()
        one.connect(("127.0.0.1", 9))
        agent.start()
        one.connect(("127.0.0.1", 9))
        check("again, without and with the next agent", before + 1,
              agent.policy("once")["applied"])
        agent.reload_good()
        one.connect(("127.0.0.1", 9))
        check("and after a reload", before + 1, agent.policy("once")["applied"])
        with worker.socket(socket.AF_INET, socket.SOCK_DGRAM) as another:
            another.connect(("127.0.0.1", 9))
        check("another socket", before + 2, agent.policy("once")["applied"])


def test_detach_names_listeners(box):
    """What a listener carries of a policy stays with it."""
    agent = box.agent("carries")
    worker = box.worker(box.cgroup.child("carries"))
    agent.write(FILE, policies(policy("carries", worker.cgroup, {"SO_MARK": 7})))
    agent.start()
    with listening(worker) as listener:
        port = listener.port()
        agent.kill()
        done = agent.command("detach", "--pin-dir", agent.pin_dir)
        check(f"exit status; it said\n{done.stderr}\n   ", 0, done.returncode)
        check("it names the listener", Containing(f"listener 127.0.0.1:{port} in cgroup "
                                                  f"{worker.cgroup.path} keeps"), done.stderr)


def glob_policy(box, name, priority):
    return priority_policy(name, f"{box.cgroup.path}/{name}-*/service", priority)


def test_first_socket_while_no_agent_runs(box):
    """A glob alone matches the cgroup: the kernel itself must know what to make of it."""
    agent = box.agent("nobody")
    agent.write(FILE, glob_policy(box, "nobody", 4))
    agent.start()
    agent.kill()
    check_priority("matched by the glob", box.worker(box.cgroup.child("nobody-1/service")), 4)
    check_priority("below that", box.worker(box.cgroup.child("nobody-1/service/deeper")), 4)
    check_priority("not matched", box.worker(box.cgroup.child("nobody-1/other")), 0)


BAD = "policies:\n  - name: broken\n    match: { cgroup: / }\n    options: { SO_PRIORITTY: 3 }\n"


def test_bad_files_at_a_restart(box):
    agent = box.agent("degraded")
    agent.options = ["--persist"]
    worker = governed_worker(box, agent, "degraded", 4)
    agent.write("60-glob.yaml", glob_policy(box, "degraded-glob", 5))
    agent.reload_good()
    persist(agent)
    agent.write(FILE, BAD)
    agent.start(wait=False)
    agent.wait_line("^ready, but degraded")
    check_priority("what was in force", worker, 4)
    check_priority("in a cgroup made now", box.worker(worker.cgroup.child("now")), 4)
    check_priority("matched by a glob now",
                   box.worker(box.cgroup.child("degraded-glob-1/service")), 5)
    check("degraded", True, agent.status()["agent"]["degraded"])
    check("exit status of a reload", 1, agent.reload().returncode)
    check_priority("after it", worker, 4)
    agent.write(FILE, priority_policy("degraded", worker.cgroup, 6))
    agent.reload_good()
    check_priority("the files are good again", worker, 6)
    check("no longer degraded", False, agent.status()["agent"]["degraded"])
    agent.options = []


def test_another_cgroup_root(box):
    roots = [box.cgroup.child(f"roots-{number}") for number in (1, 2)]
    workers = [box.worker(root.child("service")) for root in roots]
    agent = box.agent("roots", roots[0])
    agent.write(FILE, policies(*(policy(f"roots-{number}", worker.cgroup, {"SO_PRIORITY": 4})
                                 for number, worker in enumerate(workers))))
    agent.start()
    check("below the first root only", [4, 0], [connected_option(one) for one in workers])
    agent.kill()
    agent.cgroup_root = roots[1].directory
    agent.start()
    check("below the second root only", [0, 4], [connected_option(one) for one in workers])
    agent.stop()
    check("none", [0, 0], [connected_option(one) for one in workers])


def test_incomplete_pins(box):
    """Whatever is missing, what is there works until the next agent has made all anew."""
    for missing in ("policies", "state", "sock_ops", "sock_ops_program", "sockets", "applied_0"):
        agent = box.agent(f"missing-{missing}")
        worker = governed_worker(box, agent, f"missing-{missing}", 4)
        held = agent.objects()
        agent.kill()
        os.unlink(os.path.join(agent.pin_dir, "current", missing))
        agent.start()
        check_priority(f"{missing} was missing", worker, 4)
        check_priority("in a cgroup made since", box.worker(worker.cgroup.child("since")), 4)
        check("pins", True, os.path.exists(os.path.join(agent.pin_dir, "current", missing)))
        held |= agent.objects()
        agent.stop()
        wait_for("everything to be gone", set(), lambda held=held: still_there(held))


def test_killed_before_it_came_in_force(box):
    """What an agent left of a version of the state that never was in force goes."""
    agent = box.agent("half-made")
    worker = governed_worker(box, agent, "half-made", 4)
    agent.kill()
    current, following = (os.path.join(agent.pin_dir, name) for name in ("current", "next"))
    os.mkdir(following, 0o700)
    bpftool("map", "pin", "pinned", f"{current}/state", f"{following}/state")
    shown = bpftool("link", "show", "pinned", f"{current}/connect4")
    bpftool("link", "pin", "id", str(shown["id"]), f"{following}/connect4")
    agent.start()
    check("what is left", ["current"], os.listdir(agent.pin_dir))
    check_priority("governed by the link that was pinned twice", worker, 4)


def test_killed_when_it_was_about_to_come_in_force(box):
    """With a higher generation it is the newer one, and only the rename was missing."""
    agent = box.agent("renamed")
    worker = governed_worker(box, agent, "renamed", 4)
    agent.kill()
    os.rename(os.path.join(agent.pin_dir, "current"), os.path.join(agent.pin_dir, "next"))
    state = ("map", str(bpftool("map", "show", "pinned", f"{agent.pin_dir}/next/state")["id"]))
    agent.start()
    check("what is there", ["current"], os.listdir(agent.pin_dir))
    check("it was adopted", state, pinned_map(agent, "state"))
    check_priority("governed", worker, 4)


def test_links_with_other_programs(box):
    """As a killed agent leaves them: they get programs that work on the maps that are in force."""
    agent, other = box.agent("swapped"), box.agent("swapped-other")
    worker = governed_worker(box, agent, "swapped", 4)
    governed_worker(box, other, "swapped-other", 5)
    agent.kill()
    theirs = f"{agent.pin_dir}/current/connect4_program"
    os.unlink(theirs)
    bpftool("prog", "pin", "pinned", f"{other.pin_dir}/current/connect4_program", theirs)
    agent.start()
    other.stop()
    check_priority("governed", worker, 4)
    agent.write(FILE, priority_policy("swapped", worker.cgroup, 5))
    agent.reload_good()
    check_priority("after a reload", worker, 5)


def test_adopted_in_place(box):
    """The maps stay, and generations go on; without that every other test here might pass by luck."""
    agent = box.agent("in-place")
    worker = governed_worker(box, agent, "in-place", 4)
    before = agent.status()
    maps, programs = ({one for one in agent.objects() if one[0] == kind}
                      for kind in ("map", "prog"))
    links = {one["hook"]: one["link"] for one in before["attachments"]}
    agent.kill()
    agent.start()
    after = agent.status()
    check("generation, as the files have not changed", before["generation"], after["generation"])
    check("links", links, {one["hook"]: one["link"] for one in after["attachments"]})
    pinned = {pinned_map(agent, name) for name in ("cgroup_cache", "policies", "state", "sockets")}
    check("maps", pinned, pinned & maps)
    check("programs", programs, {one for one in agent.objects() if one[0] == "prog"})
    check_priority("governed", worker, 4)
    agent.write(FILE, priority_policy("in-place", worker.cgroup, 5))
    agent.reload_good()
    check("the next generation", before["generation"] + 1, agent.status()["generation"])
    check_priority("by the new files", worker, 5)
