# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""No gap without the agent: what one leaves in force goes on, and the next goes on with it."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys

from harness.agent import still_there
from harness.flows import (accepted_option, check_priority, connected_option, governed_worker,
                           listening, policies, policy, priority_policy)
from harness.result import Containing, Skip, check, wait_for
from harness.slots import check_slots

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
        f"stopped: 1 policies stay in force (sockpol detach --pin-dir {agent.pin_dir} takes them"),
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


def make_trie(agent, name, key_size):
    """As earlier versions had it; staged (~), too, as one leaves it that is killed while it starts."""
    for suffix in ("", "~"):
        bpftool("map", "create", os.path.join(agent.pin_dir, name + suffix), "type", "lpm_trie",
                "key", str(key_size), "value", "4", "entries", "1", "name", name, "flags", "1")


def check_left(agent, asked, expected):
    check(asked, expected, sorted(name for name in os.listdir(agent.pin_dir) if name[:4] == "sets")
          if os.path.exists(agent.pin_dir) else [])


def test_maps_of_earlier_versions(box):
    """What a version had that we do not goes, whatever comes; what only has its name does not."""
    agent = box.agent("earlier", sockpol=other_abi(box))
    worker = governed_worker(box, agent, "earlier", 4)
    theirs = os.path.join(agent.pin_dir, "sets6")
    make_trie(agent, "sets4", 12)
    make_map(theirs, "array", "sets6")
    agent.kill()
    agent.sockpol = box.sockpol
    agent.start()
    check_priority("taken over", worker, 4)
    check_left(agent, "left by a take-over from another version", ["sets6"])
    os.unlink(theirs)
    make_trie(agent, "sets4", 12)
    make_trie(agent, "sets6", 24)
    agent.kill()
    agent.start()
    check_left(agent, "left by a take-over from the same version", [])
    make_trie(agent, "sets6", 24)
    agent.kill()
    done = agent.command("detach", "--pin-dir", agent.pin_dir)
    check(f"exit status of detach; it said\n{done.stderr}\n   ", 0, done.returncode)
    check_left(agent, "left by detach", [])
    agent.start()
    make_trie(agent, "sets6", 24)
    agent.stop()
    check_left(agent, "left by a clean stop", [])


def test_detach_leaves_what_is_not_ours(box):
    agent = box.agent("not-ours")
    worker = governed_worker(box, agent, "not-ours", 4)
    theirs = os.path.join(agent.pin_dir, "theirs")
    make_map(theirs, "array", "theirs")
    # Somebody else holds one of our links: it goes all the same.
    elsewhere = os.path.join(box.bpffs, f"elsewhere{os.getpid()}")
    bpftool("link", "pin", "pinned", f"{agent.pin_dir}/connect4", elsewhere)
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
    wait_for("its entry to be gone", 0, lambda: agent.policy("outlives-abi")["cgroups"])
    agent.stop()


def test_removed_cgroup_and_incomplete_pins(box):
    """It stays governed where its policies can be told, and else the log says that it does not."""
    for missing, told in (("failures", True), ("state", True), ("sock_ops", True),
                          ("credits", False), ("cgroup_release", False), ("cgroups", False)):
        name = f"outlives-{missing}"
        agent = box.agent(name)
        worker, peer, remove = outlived(box, agent, name)
        with listening(worker) as listener:
            remove()
            agent.kill()
            os.unlink(os.path.join(agent.pin_dir, missing))
            agent.start()
            check(f"without {missing}", 4 if told else 0, accepted_option(listener, peer))
            how_many = "Cannot tell which" if missing == "cgroups" else "1 removed cgroups"
            check(f"without {missing} it says", not told,
                  any(how_many in line for line in agent.lines))
        agent.stop()


def outgrow(box, agent):
    """Makes the agent make its maps anew; all but what is known of sockets."""
    maps = {one for one in agent.objects() if one[0] == "map"}
    many = "".join(policy(f"many-{number}", f"{box.cgroup.path}/nowhere-{number}", {},
                          "    rules:\n" + "".join(
                              f"      - name: r{rule}\n        when: {{ direction: connect }}\n"
                              "        options: { SO_PRIORITY: 3 }\n" for rule in range(60)))
                   for number in range(400))
    sockets = pinned_map(agent, "sockets")
    agent.write("60-many.yaml", policies(many))
    agent.reload_good()
    check("the maps that go on", {sockets}, maps & agent.objects())


def pinned_map(agent, name):
    return ("map", str(bpftool("map", "show", "pinned", f"{agent.pin_dir}/{name}")["id"]))


def test_removed_cgroup_and_larger_maps(box):
    """The maps are made anew while the entry's cgroup has no directory any more."""
    agent = box.agent("outgrows")
    worker = governed_worker(box, agent, "outgrows", 4)
    peer = box.worker(box.cgroup.child("outgrows-peer"))
    with listening(worker) as listener:
        move(worker, box.cgroup.child("outgrows-refuge"))
        worker.cgroup.rmdir()
        outgrow(box, agent)
        check("after that", 4, accepted_option(listener, peer))
        agent.kill()
        agent.start()
        check("and with the next agent", 4, accepted_option(listener, peer))


def test_udp_socket_is_counted_once(box):
    """A direction: over a take-over, and over larger maps."""
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
        outgrow(box, agent)
        one.connect(("127.0.0.1", 9))
        check("and with larger maps", before + 1, agent.policy("once")["applied"])
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
    agent.start()
    check("cgroups governed, counted by the next agent", 2, agent.status()["cgroups_governed"])


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
    for missing in ("policies", "state", "cgroup_mkdir", "sock_ops", "events"):
        agent = box.agent(f"missing-{missing}")
        worker = governed_worker(box, agent, f"missing-{missing}", 4)
        held = agent.objects()
        agent.kill()
        os.unlink(os.path.join(agent.pin_dir, missing))
        agent.start()
        check_priority(f"{missing} was missing", worker, 4)
        check_priority("in a cgroup made since", box.worker(worker.cgroup.child("since")), 4)
        check("pins", True, os.path.exists(os.path.join(agent.pin_dir, missing)))
        held |= agent.objects()
        agent.stop()
        wait_for("everything to be gone", set(), lambda held=held: still_there(held))


def dying(cgroup):
    with open(f"{cgroup.directory}/cgroup.stat", encoding="ascii") as file:
        return dict(line.split() for line in file)["nr_dying_descendants"]


def test_released_while_nobody_looked(box):
    """With a watcher's pin gone, entries may be left of cgroups that are not there any more."""
    agent = box.agent("unheard")
    worker = governed_worker(box, agent, "unheard", 4)
    child = worker.cgroup.child("child")
    agent.reload_good()
    check("cgroups governed", 2, agent.status()["cgroups_governed"])
    link = {("link", str(one["link"])) for one in agent.status()["attachments"]
            if one["hook"] == "cgroup_release"}
    agent.kill()
    os.unlink(os.path.join(agent.pin_dir, "cgroup_release"))
    wait_for("the link to be gone", set(), lambda: still_there(link))
    child.rmdir()
    wait_for("the kernel to let go of it", "0", lambda: dying(worker.cgroup))
    agent.start()
    check("cgroups governed by the next agent", 1, agent.status()["cgroups_governed"])
    check_priority("governed", worker, 4)


def test_killed_between_two_sets_of_pins(box):
    """One of the pinned maps is another agent's: they must not be taken for one whole."""
    agent, other = box.agent("mixed"), box.agent("mixed-other")
    worker = governed_worker(box, agent, "mixed", 4)
    governed_worker(box, other, "mixed-other", 5)
    agent.kill()
    other.kill()
    os.unlink(f"{agent.pin_dir}/ops")
    bpftool("map", "pin", "pinned", f"{other.pin_dir}/ops", f"{agent.pin_dir}/ops")
    agent.write("60-bad.yaml", BAD)
    agent.start()  # so that nothing is written over the mixture
    check_priority("the first agent's programs are left alone", worker, 4)
    agent.remove("60-bad.yaml")
    agent.reload_good()
    check_priority("a new set", worker, 4)
    check("its pins are its own", True, pinned_map(agent, "ops") in agent.objects())


def test_killed_before_pins_had_their_names(box):
    """A link by the name that it has until it is in force lets its program run, and must go."""
    agent = box.agent("half-made")
    worker = governed_worker(box, agent, "half-made", 4)
    agent.kill()
    for kind, name in (("link", "connect4"), ("map", "ops"), ("link", "sendmsg4")):
        pinned = f"{agent.pin_dir}/{name}"
        if kind == "map":
            bpftool(kind, "pin", "pinned", pinned, f"{pinned}~")
        else:
            shown = json.loads(subprocess.run(["bpftool", "-j", "link", "show", "pinned", pinned],
                                              check=True, capture_output=True, text=True).stdout)
            bpftool(kind, "pin", "id", str(shown["id"]), f"{pinned}~")
    agent.start()
    check("half-made pins", [], [name for name in os.listdir(agent.pin_dir) if name.endswith("~")])
    check_priority("governed", worker, 4)


def test_adopted_in_place(box):
    """The maps stay, and generations go on; without that every other test here might pass by luck."""
    agent = box.agent("in-place")
    worker = governed_worker(box, agent, "in-place", 4)
    before = agent.status()
    maps = {one for one in agent.objects() if one[0] == "map"}
    links = {one["hook"]: one["link"] for one in before["attachments"] if one["cgroup"]}
    agent.kill()
    agent.start()
    after = agent.status()
    check("generation", before["generation"] + 1, after["generation"])
    check("links to cgroups", links,
          {one["hook"]: one["link"] for one in after["attachments"] if one["cgroup"]})
    pinned = {pinned_map(agent, name)
              for name in ("cgroups", "policies", "state", "sockets", "events")}
    check("maps", pinned, pinned & maps)
    check_priority("governed", worker, 4)
    check("how new cgroups are classified", "kernel", after["new_cgroups"]["by"])


BY_EVENTS = 0x4  # SP_STATE_BY_EVENTS


def state_flags(agent):
    value = bpftool("map", "dump", "pinned", f"{agent.pin_dir}/state")[0]["value"]
    return int.from_bytes(bytes(int(byte, 16) for byte in value[80:84]), sys.byteorder)


def test_adopted_and_refused(box):
    """What cannot be put in force over adopted maps leaves no trace in them."""
    agent = box.agent("refused")
    worker = governed_worker(box, agent, "refused", 4)
    check("flags", 0, state_flags(agent) & BY_EVENTS)
    rules = "".join(f"      - name: r{rule}\n        when: {{ direction: connect }}\n"
                    "        options: { SO_PRIORITY: 3 }\n" for rule in range(40))
    path = worker.cgroup.path
    agent.kill()
    agent.write("60-many.yaml", policies(
        policy("by-events", path + "/**/*a" + 25 * "?" + "z", {"SO_PRIORITY": 5}),
        policy("one", path, {}, "    rules:\n" + rules),
        policy("two", path, {}, "    rules:\n" + rules)))
    agent.start()
    check("degraded", True, agent.status()["agent"]["degraded"])
    check("flags after that", 0, state_flags(agent) & BY_EVENTS)
    check_priority("what was in force", worker, 4)


def test_cgroups_of_others(box):
    """What happens outside of its root does not keep the agent busy."""
    agent = box.agent("others", box.cgroup.child("others"))
    worker = governed_worker(box, agent, "others", 4)
    elsewhere = box.cgroup.child("others-not")
    agent.signal(signal.SIGSTOP)
    try:
        for number in range(MANY):
            os.mkdir(f"{elsewhere.directory}/{number}")
        for number in range(MANY):
            os.rmdir(f"{elsewhere.directory}/{number}")
    finally:
        agent.signal(signal.SIGCONT)
    check("events that did not fit", 0, agent.status()["events_lost"])
    check_priority("made after that", box.worker(worker.cgroup.child("after")), 4)


MANY = 6000  # more than the maps have room for to begin with


def test_cgroups_that_find_no_room(box):
    """The agent makes larger maps by itself, with the policies that are in force, not the files'."""
    agent = box.agent("no-room", box.cgroup.child("no-room"))  # however many others there are
    worker = governed_worker(box, agent, "no-room", 4)
    agent.write(FILE, priority_policy("no-room", worker.cgroup, 5))  # and no reload
    room = bpftool("map", "show", "pinned", f"{agent.pin_dir}/cgroups")["max_entries"]
    agent.signal(signal.SIGSTOP)
    try:
        for number in range(MANY):
            os.mkdir(f"{worker.cgroup.directory}/{number}")
        check_slots("where some have no entry", agent)
    finally:
        agent.signal(signal.SIGCONT)
    wait_for("cgroups governed", MANY + 1, lambda: agent.status()["cgroups_governed"], 60)
    check_slots("where all have one", agent)
    check("it says so", True, bool(agent.wait_line("found no room")))
    check_priority("the last one", box.worker(worker.cgroup.child(f"{MANY - 1}")), 4)
    check_priority("one more", box.worker(worker.cgroup.child("more")), 4)
    check_no_room(agent, MANY + 1 - room)  # and its root
    check_deaf(box, agent)
    agent.kill()
    agent.start()
    check_no_room(agent, MANY + 1 - room)


def check_no_room(agent, expected):
    """It is a total: larger maps do not forget it."""
    status = agent.status()
    check("cgroups that found no room", (expected, expected),
          (status["new_cgroups"]["no_room"], status["cgroups_failed"]))
    done = agent.command("metrics", "--pin-dir", agent.pin_dir)
    check("the metric", True, f" {expected}\n" in done.stdout)


def check_deaf(box, agent):
    """Where all have their entries the program does not tell of cgroups elsewhere."""
    elsewhere = box.cgroup.child("no-room-not")
    lost = agent.status()["events_lost"]
    agent.signal(signal.SIGSTOP)
    try:
        for number in range(MANY):
            os.mkdir(f"{elsewhere.directory}/{number}")
        for number in range(MANY):
            os.rmdir(f"{elsewhere.directory}/{number}")
    finally:
        agent.signal(signal.SIGCONT)
    check("events that did not fit", lost, agent.status()["events_lost"])


def test_cgroups_that_found_no_room_and_went(box):
    """The maps are large enough again: the next reload, over the same ones, knows."""
    agent = box.agent("went", box.cgroup.child("went"))
    worker = governed_worker(box, agent, "went", 4)
    cgroups = pinned_map(agent, "cgroups")
    room = bpftool("map", "show", "pinned", f"{agent.pin_dir}/cgroups")["max_entries"]
    agent.signal(signal.SIGSTOP)
    try:
        for number in range(MANY):
            os.mkdir(f"{worker.cgroup.directory}/{number}")
        for number in range(MANY):
            os.rmdir(f"{worker.cgroup.directory}/{number}")
        wait_for("the kernel to let go of them", "0", lambda: dying(worker.cgroup), 60)
    finally:
        agent.signal(signal.SIGCONT)
    agent.reload_good()
    check("the maps are the same", cgroups, pinned_map(agent, "cgroups"))
    check_no_room(agent, MANY + 1 - room)
    check_deaf(box, agent)
