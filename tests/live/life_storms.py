# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""A user without privilege makes cgroups as fast as he can, in a tree that was delegated to him: no other
tenant's socket goes without its policy, and nothing he does stops the agent."""

import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
import time

from harness.agent import READY
from harness.flows import check_priority, policies, policy
from harness.newborns import Newborns
from harness.result import check, wait_for
from harness.size import sized

ALONE = True
STORM = os.path.join(os.path.dirname(os.path.abspath(__file__)), "harness", "storm.py")
FILE = "50-storm.yaml"
NOBODY = 65534
SECONDS = sized(short=6, full=15, long=60)  # of the whole storm, at least
BUSY = 8  # times as long on a machine that has other things to do
MKDIRS = sized(short=3_000, full=30_000, long=300_000)  # at least
VICTIMS = sized(short=100, full=500, long=5_000)  # at least
PERIOD = 1.0  # seconds from one reload to the next
RSS = 12 << 20
SILENCE = 5.0  # seconds: the longest that a watchdog may have to wait
WATCHDOG = 6.0  # what the agent is told: it answers after at most three quarters of that
RULES = 40


def configuration(victims, tenant, which):
    """Two of them: every option that a socket is asked for tells the one from the other."""
    rules = "    rules:\n" + "".join(
        f"      - name: r{number}\n        when: {{ remote_port: {1000 + number} }}\n"
        "        options: { SO_PRIORITY: 1 }\n" for number in range(RULES))
    everywhere = "{ cgroup: \"/**/%s\" }"
    text = policies(policy("victims", f"{victims.path}/**/v-*",
                           {"SO_PRIORITY": 20 + which, "SO_MARK": 40 + which,
                            "SO_KEEPALIVE": "on", "TCP_KEEPIDLE": f"{60 + which}s", "TCP_USER_TIMEOUT": f"{80 + which}s"}),
                    policy("tenant", tenant, {"SO_MARK": 7}))
    for name, glob, priority in (("web", "web-*", 30), ("db", "*-db", 32)):
        text += (f"  - name: {name}\n    match: {everywhere % glob}\n"
                 f"    options: {{ SO_PRIORITY: {priority + which} }}\n{rules}")
    return text


def values(which):
    return [20 + which, 40 + which, 60 + which, 1000 * (80 + which)]


class Watchdog:
    """What systemd would hear of the agent."""

    def __init__(self, box, agent):
        self.path = os.path.join(box.path("notify"))
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.path)
        self.socket.settimeout(0.2)
        agent.environment |= {"NOTIFY_SOCKET": self.path, "WATCHDOG_USEC": str(int(WATCHDOG * 1e6))}
        self.heard, self.end = [], threading.Event()
        self.thread = threading.Thread(target=self.listen, daemon=True)

    def listen(self):
        while not self.end.is_set():
            with contextlib.suppress(TimeoutError):
                if b"WATCHDOG=1" in self.socket.recv(4096).split(b"\n"):
                    self.heard.append(time.monotonic())

    def longest_silence(self, start, end):
        times = [start, *(one for one in self.heard if start < one < end), end]
        return max(later - earlier for earlier, later in zip(times, times[1:]))

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.end.set()
        self.thread.join()
        self.socket.close()


def delegated(parent):
    """A cgroup that belongs to nobody, with one for the storm's own processes."""
    tenant = parent.child("tenant")
    leader = tenant.child("leader")
    for cgroup in (tenant, leader):
        os.chown(cgroup.directory, NOBODY, NOBODY)
        for file in ("cgroup.procs", "cgroup.threads", "cgroup.subtree_control"):
            os.chown(f"{cgroup.directory}/{file}", NOBODY, NOBODY)
    return tenant, leader


class Storm:
    """storm.py, once for each kind."""

    KINDS = ("names", "names-2", "names-3", "names-4", "names-5", "sockets", "deep")

    def __init__(self, box, parent):
        self.tenant, leader = delegated(parent)
        self.running, self.counts = [], [box.path("count") for _ in self.KINDS]
        for kind, count in zip(self.KINDS, self.counts):
            process = leader.popen([sys.executable, "-I", "-S", STORM, self.tenant.directory, kind,
                                    str(NOBODY), count], text=True, stdin=subprocess.PIPE,
                                   stdout=subprocess.PIPE)
            self.running.append(process)
            box.stack.callback(process.kill)
            check("the storm", "ready\n", process.stdout.readline())

    def go(self):
        for process in self.running:
            process.stdin.write("go\n")
            process.stdin.flush()

    def mkdirs(self):
        """So far."""
        total = 0
        for count in self.counts:
            with open(count, encoding="ascii") as file:
                total += int(file.read() or 0)
        return total

    def end(self):
        """{kind: what it did}"""
        return {kind: json.loads(process.communicate("end\n", timeout=120)[0])
                for kind, process in zip(self.KINDS, self.running)}


class Victims:
    """New cgroups of other tenants, and what the first sockets in them have, in a thread."""

    def __init__(self, cgroup):
        self.newborns = Newborns(cgroup)
        self.cgroup, self.end = cgroup, threading.Event()
        self.asked, self.across, self.wrong = 0, 0, []
        self.thread = threading.Thread(target=self.run, daemon=True)

    def run(self):
        for number in range(1_000_000):
            if self.end.is_set():
                return
            paths = [f"n{number}/v-{one}" for one in range(20)]
            for path, seen in zip(paths, self.newborns.ask(paths, "both")):
                self.judge(path, seen)
            self.cgroup.child(f"n{number}", make=False).remove_all()

    def judge(self, path, seen):
        """Its client got all at connect(2), what it accepted all at the established callback."""
        self.asked += 1
        whole = (values(0), values(1))
        if isinstance(seen, str) or seen[:4] not in whole or seen[4:] not in whole:
            self.wrong.append((path, seen))
        elif seen[:4] != seen[4:]:
            self.across += 1  # the switch came between the two hooks

    def __enter__(self):
        self.newborns.__enter__()
        self.thread.start()
        return self

    def __exit__(self, *arguments):
        self.end.set()
        self.thread.join()
        self.newborns.__exit__(*arguments)


class Scene:
    """An agent with its watchdog, and the two configurations."""

    def __init__(self, box, name):
        root = box.cgroup.child(name)
        box.stack.callback(root.remove_all)  # what is left takes others long to look at
        self.agent = box.agent(name, root)
        self.victims = root.child("victims")
        self.storm = Storm(box, root)
        self.texts = [configuration(self.victims, self.storm.tenant, which) for which in (0, 1)]
        self.agent.write(FILE, self.texts[0])
        self.reloads = self.restarts = 0
        self.slowest = 0.0

    def reload(self):
        self.reloads += 1
        self.agent.write(FILE, self.texts[self.reloads % 2])
        start = time.monotonic()
        self.agent.reload_good()
        self.slowest = max(self.slowest, time.monotonic() - start)

    def ask(self):
        """Commands that look at cgroups, or could."""
        agent = self.agent
        check("policies in status", {"victims", "tenant", "web", "db"},
              {one["name"] for one in agent.status()["policies"]})
        for command in (["reload", "--dry-run", "--runtime-dir", agent.runtime_dir],
                        ["metrics", "--pin-dir", agent.pin_dir]):
            done = agent.command(*command)
            check(f"exit status of {command[0]}; it said\n{done.stderr}\n   ", 0, done.returncode)

    def busy(self):
        self.reload()
        if self.reloads % 5 == 1:
            self.ask()

    def restart(self, kill):
        """And it becomes ready, whatever cgroups there are."""
        self.restarts += 1
        if kill:
            self.agent.kill()
        else:
            self.agent.stop()
        self.agent.start()


def until(seconds, do, period=PERIOD, enough=lambda: True):
    """Again and again, once a period: for so long, or longer until it is enough."""
    begin = time.monotonic()
    end, last = begin + seconds, begin + BUSY * seconds
    while time.monotonic() < end or (time.monotonic() < last and not enough()):
        start = time.monotonic()
        do()
        time.sleep(max(0.0, start + period - time.monotonic()))


def forget_high_water(agent):
    with open(f"/proc/{agent.process.pid}/clear_refs", "w", encoding="ascii") as file:
        file.write("5")


def high_water(agent):
    with open(f"/proc/{agent.process.pid}/status", encoding="ascii") as status:
        return next(int(line.split()[1]) << 10 for line in status if line.startswith("VmHWM:"))


def crash(scene):
    """Killed at once after its start."""
    scene.agent.kill()
    scene.agent.start(wait=False)
    time.sleep(0.02 * (scene.restarts % 10))
    scene.restarts += 1


def test_storm(box):
    """An agent that runs, then one that is stopped, is dead, and crashes again and again."""
    scene = Scene(box, "storm")
    agent = scene.agent
    with Watchdog(box, agent) as watchdog:
        agent.start()
        forget_high_water(agent)  # to load programs takes more, for a moment
        with Victims(scene.victims) as victims:
            scene.storm.go()
            start = time.monotonic()
            until(0.6 * SECONDS, scene.busy,
                  enough=lambda: scene.storm.mkdirs() >= MKDIRS and victims.asked >= VICTIMS)
            silence = watchdog.longest_silence(start, time.monotonic())
            memory = high_water(agent)
            with agent.stopped():
                until(0.1 * SECONDS, lambda: None)
            agent.kill()
            until(0.1 * SECONDS, lambda: None)
            agent.start()
            until(0.1 * SECONDS, lambda: crash(scene), 0.1)
            agent.wait_line(READY)
            until(0.1 * SECONDS, scene.reload)
            seconds = time.monotonic() - start
            did = scene.storm.end()
    mkdirs = sum(one["mkdirs"] for one in did.values())
    print(f"{seconds:.0f} s, {mkdirs} mkdirs, {did['sockets']['sockets']} cgroups held by sockets, {victims.asked} first "
          f"sockets, {victims.across} with a switch between two hooks, {scene.reloads} reloads (the "
          f"slowest {scene.slowest:.2f} s), {scene.restarts} crashes; silent at most {silence:.1f} s; "
          f"{memory >> 10} kB")
    check("first sockets that were ungoverned, mixed or failed", [], victims.wrong[:5])
    check(f"at least {VICTIMS} of them (there were {victims.asked})", True, victims.asked >= VICTIMS)
    check(f"at least {MKDIRS} mkdirs (there were {mkdirs})", True, mkdirs >= MKDIRS)
    check(f"the watchdog never without an answer for {SILENCE} s ({silence:.1f} s)", True,
          silence <= SILENCE)
    check(f"the agent's memory at most {RSS} bytes ({memory})", True, memory <= RSS)
    scene.ask()
    scene.restart(kill=False)
    scene.ask()


def test_what_a_storm_leaves(box):
    """Nested names longer than any path, thousands of cgroups, and names that both of two policies with
    many rules match: none of it keeps an agent from starting, reloading, or telling its state."""
    scene = Scene(box, "storm-leaves")
    agent, tenant = scene.agent, scene.storm.tenant
    agent.start()
    at = os.open(tenant.directory, os.O_RDONLY | os.O_DIRECTORY)
    for depth in range(sized(short=100, full=1500, long=3000)):
        name = f"web-{depth}-".ljust(250, "n")
        os.mkdir(name, dir_fd=at)
        below = os.open(name, os.O_RDONLY | os.O_DIRECTORY, dir_fd=at)
        os.close(at)
        at = below
    os.close(at)
    for number in range(sized(short=500, full=4100, long=4100)):
        os.mkdir(f"{tenant.directory}/web-{number}-db")
    both = box.worker(tenant.child("web-x-db"))
    for restart in (None, False, True):
        if restart is not None:
            scene.restart(kill=restart)
        scene.reload()
        scene.ask()
        which = scene.reloads % 2
        check_priority("where both match: of the one that comes last", both, 32 + which)
        with Newborns(scene.victims) as newborns:
            (seen,) = newborns.ask([f"v-{restart}"], "both")
            check("another tenant's first socket", 2 * values(which), seen)
    with both.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.connect(("127.0.0.1", 9))
        check("what the tenant's own policy says stays", 7, one.sockopt(socket.SOL_SOCKET, 36))
    there = sized(short=500, full=4100, long=4100) + 1
    named = agent.json("status", "--cgroups", "db", "--pin-dir", agent.pin_dir)["cgroups"]
    check("the tenant's cgroups that status names", there, len(named))
    counted = {one["name"]: one["cgroups"] for one in agent.status("--cgroups")["policies"]}
    check("and counts", there, counted["db"])
    wait_for("the agent's answer", True, lambda: agent.status()["agent"]["answers"])
