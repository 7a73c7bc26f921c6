# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Faults of the host that were seen once: what others attach, detach and hide, and old kernels.  Each test is
called after the fault's number."""

import errno
import json
import os
import re
import socket
import subprocess
import time

from harness import foreign
from harness.flows import (TCP_NODELAY, check_priority, connected_option, policies, policy,
                           priority_policy)
from harness.injection import BPF_LOOP, VERIFIER, Injection
from harness.newborns import Newborns
from harness.result import Containing, check
from harness.size import sized
from life_storms import SILENCE, Watchdog, delegated, forget_high_water, high_water

FILE = "50-test.yaml"
TCP_CONGESTION = (socket.IPPROTO_TCP, 13)


UNIT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../dist/sockpol.service.in")
NAME = "web-".ljust(250, "n")
SO_MARK = (socket.SOL_SOCKET, 36)


def command(agent, *words):
    return agent.command(*words, "--pin-dir", agent.pin_dir, "--runtime-dir", agent.runtime_dir)


def check_at_work(agent):
    """Whatever there is of cgroups: each of these is answered."""
    agent.reload_good()
    for words in (["reload", "--dry-run", "--runtime-dir", agent.runtime_dir],
                  ["status", "--pin-dir", agent.pin_dir, "--runtime-dir", agent.runtime_dir],
                  ["status", "--cgroups", "--pin-dir", agent.pin_dir, "--runtime-dir", agent.runtime_dir]):
        done = agent.command(*words)
        check(f"exit status of {' '.join(words)}; it said\n{done.stderr}\n   ", 0, done.returncode)


def nest(tenant, depth):
    """Directories whose path no system call takes."""
    at = os.open(tenant.directory, os.O_RDONLY | os.O_DIRECTORY)
    for _ in range(depth):
        os.mkdir(NAME, dir_fd=at)
        below = os.open(NAME, os.O_RDONLY | os.O_DIRECTORY, dir_fd=at)
        os.close(at)
        at = below
    os.close(at)


def with_tenant(box, name):
    """(agent, not started; a tree that was delegated to nobody; another tenant's)"""
    root = box.cgroup.child(name)
    box.stack.callback(root.remove_all)
    tenant, _ = delegated(root)
    return box.agent(name, root), tenant, root.child("victims")


def test_h1_names_longer_than_any_path(box):
    """17 nested directories with names of 250 bytes, by the owner of a delegated cgroup."""
    agent, tenant, victims = with_tenant(box, "h1")
    agent.write(FILE, policies(policy("h1", f"{victims.path}/**/v-*", {"SO_PRIORITY": 4}),
                               policy("h1-web", "/**/web-*", {"SO_PRIORITY": 5})))
    nest(tenant, 17)
    agent.start()
    check_at_work(agent)
    agent.kill()
    agent.start()
    check_at_work(agent)
    with Newborns(victims) as newborns:
        newborns.check("another tenant's", {"v-1": 4})
    agent.stop()


def test_h2_thousands_of_cgroups(box):
    """By one tenant, as fast as he can; the next tenant's first sockets have their policy, with an agent,
    without one, and with the next."""
    agent, tenant, victims = with_tenant(box, "h2")
    agent.write(FILE, policies(policy("h2", f"{victims.path}/**/v-*", {"SO_PRIORITY": 4})))
    agent.start()
    n = sized(short=1000, full=4100, long=4100)
    with Newborns(victims) as newborns, Newborns(tenant) as taken:
        for state in ("running", "dead", "again"):
            if state == "dead":
                agent.kill()
            elif state == "again":
                agent.start()
            for number in range(n):
                os.mkdir(f"{tenant.directory}/web-{state}-{number}")
            taken.check(state, {f"held-{state}-{number}": 0 for number in range(n // 10)})
            newborns.check(state, {f"{state}/v-{number}": 4 for number in range(20)})
    check_at_work(agent)
    agent.stop()


def test_h3_a_name_that_two_policies_match(box):
    """Each with 40 rules that depend on the connection: no reload is refused, and what is above stays."""
    agent, tenant, _ = with_tenant(box, "h3")
    rules = "    rules:\n" + "".join(
        f"      - name: r{number}\n        when: {{ remote_port: {1000 + number} }}\n"
        "        options: { SO_PRIORITY: 1 }\n" for number in range(40))
    agent.write(FILE, policies(policy("above", tenant, {"SO_MARK": 7}),
                               policy("web", "/**/web-*", {"SO_PRIORITY": 5}, rules),
                               policy("db", "/**/*-db", {"SO_PRIORITY": 6}, rules)))
    agent.start()
    worker = box.worker(tenant.child("web-x-db"))
    for _ in range(2):
        check_priority("the later of two that match", worker, 6)
        check("the ancestor's SO_MARK", 7, connected_option(worker, SO_MARK))
        check_at_work(agent)
        agent.kill()
        agent.start()
    agent.stop()


def unit_setting(name):
    with open(UNIT, encoding="utf-8") as unit:
        found = re.search(rf"^{name}=(\d+)([MG]?)", unit.read(), re.M)
    check(f"{name}= in the unit", True, found is not None)
    return int(found[1]) << {"": 0, "M": 20, "G": 30}[found[2]]


def test_h4_deep_cgroups_and_the_unit_limits(box):
    """Nested names without end cost no memory and no time; what the unit allows is enough."""
    agent, tenant, victims = with_tenant(box, "h4")
    agent.write(FILE, policies(policy("h4", f"{victims.path}/**/v-*", {"SO_PRIORITY": 4}), *(
        policy(f"h4-{number}", f"/**/web-{number}*", {"SO_PRIORITY": 5}) for number in range(500))))
    agent.prefix = ["prlimit", f"--nofile={unit_setting('LimitNOFILE')}"]
    nest(tenant, sized(short=300, full=1500, long=3000))
    with Watchdog(box, agent) as watchdog:
        agent.start()
        forget_high_water(agent)
        start = time.monotonic()
        for _ in range(3):
            check_at_work(agent)
        silence, memory = watchdog.longest_silence(start, time.monotonic()), high_water(agent)
    check(f"the watchdog without an answer for at most {SILENCE} s ({silence:.1f} s)", True,
          silence <= SILENCE)
    check(f"a twentieth of the unit's MemoryMax is enough ({memory >> 10} kB)", True,
          memory * 20 <= unit_setting("MemoryMax"))
    with Newborns(victims) as newborns:
        newborns.check("another tenant's", {"v-1": 4})
    agent.stop()


def detach(agent, hook):
    done = subprocess.run(["bpftool", "link", "detach", "pinned", agent.pin(hook)],
                          capture_output=True, text=True, check=False)
    check(f"bpftool link detach; it said\n{done.stderr}\n   ", 0, done.returncode)


def explained(agent, worker):
    return agent.command("explain", "--cgroup", worker.cgroup.path, "--policy-dir",
                         agent.policy_dir, "--pin-dir", agent.pin_dir).stdout


def attached_by_metrics(agent):
    return {line.split('"')[1]: line.split()[-1] for line in command(agent, "metrics").stdout
            .splitlines() if line.startswith("sockpol_hook_attached{")}


def check_lost(agent, worker, *hooks):
    """It is said everywhere, and a status that scripts look at is not good."""
    status = command(agent, "status")
    check(f"status: exit status; it said\n{status.stdout}{status.stderr}\n   ", 1,
          status.returncode)
    check("status", Containing(f"Not attached, though policies have something to set there: "
                               f"{', '.join(hooks)}"), status.stderr)
    found = {one["hook"]: one["attached"] for one in
             json.loads(command(agent, "status", "--json").stdout)["attachments"]}
    check("status --json", dict.fromkeys(hooks, False),
          {hook: is_attached for hook, is_attached in found.items() if not is_attached})
    check("explain", Containing(f"nothing is attached at {', '.join(hooks)}"),
          explained(agent, worker))
    metrics = attached_by_metrics(agent)
    check("metrics", {hook: str(int(is_attached)) for hook, is_attached in found.items()}, metrics)


def check_whole(agent, worker):
    status = command(agent, "status")
    check(f"status: exit status; it said\n{status.stdout}{status.stderr}\n   ", 0,
          status.returncode)
    check("explain", Containing("same as the files"), explained(agent, worker))
    check("metrics", {"1"}, set(attached_by_metrics(agent).values()))


def check_governed(what, worker, expected):
    check(f"TCP_NODELAY of a new connection: {what}", int(expected),
          connected_option(worker, TCP_NODELAY))


def governed(box, agent, name):
    """By an option that connect4 and sock_ops give, and no hook before."""
    cgroup = box.cgroup.child(name)
    agent.write(FILE, policies(policy(name, cgroup, {"TCP_NODELAY": "on"})))
    agent.start()
    worker = box.worker(cgroup)
    check_governed("at first", worker, True)
    return worker


def test_h5_links_are_detached(box):
    """All by one `bpftool link detach` each, as an administrator could; the agent runs."""
    agent = box.agent("h5")
    worker = governed(box, agent, "h5")
    check_whole(agent, worker)
    for hooks in (["connect4"], ["sock_ops", "connect4", "connect6"]):
        for hook in hooks:
            detach(agent, hook)
        if "connect4" in hooks:
            check_governed("without the link", worker, False)
        check_lost(agent, worker, *hooks)
        dry = agent.command("reload", "--dry-run", "--runtime-dir", agent.runtime_dir)
        check("dry run", Containing("attaches again what somebody detached: " + ", ".join(hooks)),
              dry.stderr)
        done = agent.reload()
        check("reload: exit status", 0, done.returncode)
        check("reload says it", Containing("attached again, as somebody had detached it: "
                                           + ", ".join(hooks)), done.stdout)
        check_governed("after the reload", worker, True)
        check_whole(agent, worker)
    check("a reload with nothing to mend", False, "attached again" in agent.reload().stdout)


def test_h5_mended_by_a_refused_reload(box):
    """Of wrong files nothing comes in force; what is in force is attached all the same."""
    agent = box.agent("h5-refused")
    worker = governed(box, agent, "h5-refused")
    detach(agent, "connect4")
    agent.write(FILE, "policies: nonsense\n")
    done = agent.reload()
    check("reload: exit status", 1, done.returncode)
    check("reload says it", Containing("attached again, as somebody had detached it: connect4"),
          done.stdout)
    check_governed("after the reload", worker, True)


def test_h5_detached_while_no_agent_runs(box):
    agent = box.agent("h5-gone")
    worker = governed(box, agent, "h5-gone")
    agent.kill()
    check_whole(agent, worker)
    detach(agent, "connect4")
    check_lost(agent, worker, "connect4")
    agent.start()
    agent.wait_line("somebody detached connect4: attaching it again")
    check_governed("the next agent", worker, True)
    check_whole(agent, worker)


def test_h5_pins_are_removed(box):
    """While the agent holds the link it works on; when it is gone, so is the link."""
    agent = box.agent("h5-pins")
    worker = governed(box, agent, "h5-pins")
    for names in (["connect4"], ["connect4", "connect4_program"]):
        for name in names:
            os.unlink(agent.pin(name))
        check_governed("the agent holds it", worker, True)
        status = command(agent, "status")
        check("status: exit status", 1, status.returncode)
        check("status", Containing("connect4        link 0, program"), status.stdout)
        check("what it says of the hook", Containing("attached, but its pin is gone"), status.stdout)
        check("metrics", "1", attached_by_metrics(agent)["connect4"])
        agent.reload_good()
        check_whole(agent, worker)
    os.unlink(agent.pin("connect4"))
    agent.kill()
    check_governed("nobody holds it", worker, False)
    check_lost(agent, worker, "connect4")
    agent.start()
    check_governed("the next agent", worker, True)
    check_whole(agent, worker)


def neighbours(agent):
    return {(one["hook"], one["runs_after"]): one["effect"]
            for one in agent.neighbours()}


def counted_neighbours(agent):
    """{(hook, whether before or after ours): how many}, of metrics."""
    return {(hook, runs): int(n) for hook, runs, n in re.findall(
        r'^sockpol_neighbour_programs{hook="(\w+)",runs="(\w+)"} (\d+)$', command(agent, "metrics").stdout, re.M)}


def connect_only(box, name, options="SO_PRIORITY: 4"):
    """An agent with a policy that needs nothing but connect4 and connect6."""
    agent, cgroup = box.agent(name), box.cgroup.child(name)
    agent.write(FILE, policies(policy(name, cgroup, {}, "    rules:\n      - name: out\n"
                                      "        when: { direction: connect, protocol: tcp }\n"
                                      f"        options: {{ {options} }}\n")))
    agent.start()
    check("hooks", {"connect4", "connect6"},
          {one["hook"] for one in agent.status()["attachments"]})
    return agent, box.worker(cgroup)


def test_h6_a_later_hook_wins(box):
    """A sock_ops that sets a congestion control beats a policy that has nothing there."""
    agent, worker = connect_only(box, "h6", "TCP_CONGESTION: reno")
    name = connected_option(worker, TCP_CONGESTION)
    check("neighbours of one alone", {}, neighbours(agent))
    for cgroup in (box.cgroup, worker.cgroup):  # ours, and one below, where only links are found
        with box.scope():
            foreign.fill(box, cgroup, "sock_ops", 1, foreign.sets_congestion("cubic"))
            check("theirs wins", False, connected_option(worker, TCP_CONGESTION) == name)
            check("neighbours", {("sock_ops", True): "at a hook after ours: what both set, it wins"},
                  neighbours(agent))
            text = command(agent, "status").stdout
            check("the warning", Containing("warning: at sock_ops"), text)
            check("who wins", Containing("at a hook after ours: what both set, it wins"), text)
            check("where", cgroup is worker.cgroup, f"of {worker.cgroup.path} program" in text)
    check("when it has gone", {}, neighbours(agent))


def test_h6_every_hook_that_sets(box):
    """At those where ours has nothing; and not at those that see no socket of ours."""
    agent, _ = connect_only(box, "h6-all")
    for hook, after in (("sock_create", False), ("bind4", False), ("setsockopt", True)):
        with box.scope():
            foreign.attach(box, box.cgroup, hook, foreign.ALLOW_MULTI)
            check(f"at {hook}", [(hook, after)], list(neighbours(agent)))
    for hook in ("sendmsg4", "recvmsg4"):
        with box.scope():
            foreign.attach(box, box.cgroup, hook, foreign.ALLOW_MULTI)
            check(f"at {hook}, which no TCP socket passes", {}, neighbours(agent))
    before = counted_neighbours(agent)
    check("metrics: at our hooks, though nobody else is there", True, ("connect4", "after") in before)
    with box.scope():
        foreign.attach(box, box.cgroup, "setsockopt", foreign.ALLOW_MULTI)
        where = "setsockopt", "after"
        check("metrics", before.get(where, 0) + 1, counted_neighbours(agent)[where])


def test_h6_a_load_balancer_after_ours(box):
    """One nearer the root runs after ours; rules see the addresses before it translates."""
    outer = box.cgroup.child("h6-outer")
    agent = box.agent("h6-address", outer.child("inner"))
    agent.write(FILE, priority_policy("h6-address", agent.cgroup_root, 4))
    agent.start()
    foreign.attach(box, outer, "connect4", foreign.ALLOW_MULTI)
    check("neighbours", [("connect4", True)], list(neighbours(agent)))
    check("the warning", Containing("after ours: what both set, it wins; if it translates "
                                    "addresses, as load balancers do, rules see those before"),
          command(agent, "status").stdout)


def in_a_cgroup_namespace(cgroup):
    """Starts a program with the cgroup as the root of all that it sees, as docker does."""
    return ["sh", "-ec", f'echo $$ >{cgroup.directory}/cgroup.procs\nexec "$@"', "sh",
            "unshare", "--cgroup", "--mount", "--propagation", "private", "--", "sh", "-ec",
            'd=$(sed -n "s/^[^ ]* [^ ]* [^ ]* [^ ]* \\([^ ]*\\) .* - cgroup2 .*/\\1/p" '
            '/proc/self/mountinfo | head -1)\numount -l "$d"\nmount -t cgroup2 none "$d"\n'
            'exec "$@"', "sh"]


def test_h7_a_cgroup_namespace_of_its_own(box):
    container = box.cgroup.child("h7")
    agent = box.agent("h7")
    agent.cgroup_root = "/"
    agent.prefix = in_a_cgroup_namespace(container)
    agent.write(FILE, policies(policy("h7", "/inside", {"SO_PRIORITY": 4})))
    inside, outside = box.worker(container.child("inside")), box.worker(box.cgroup.child("inside"))
    agent.start()
    check("the warning", Containing(f"attached at cgroup {container.id} only"), agent.log())
    check("the remedy", Containing("--cgroupns=host"), agent.log())
    check("the verdict", Containing(f"ready: 1 policy in force, attached at cgroup {container.id} "
                                    "only"), agent.log())
    check_priority("inside", inside, 4)
    check_priority("outside", outside, 0)
    agent.stop()


def test_h7_no_warning_on_the_host(box):
    """With wrong files, so that nothing is attached at the root, where other tests would meet it."""
    agent = box.agent("h7-host")
    agent.cgroup_root = "/"
    agent.write(FILE, "policies: nonsense\n")
    agent.start(wait=False)
    agent.end()
    check("exit status", 78, agent.process.returncode)
    agent.process = None
    check("a warning", False, "cgroup namespace" in agent.log())


def refused(agent, *words):
    """What it says when the verifier refuses its programs."""
    agent.start(wait=False)
    agent.end()
    status, agent.process = agent.process.returncode, None
    check(f"exit status; it said\n{agent.log()}\n   ", 1, status)
    for word in words:
        check("the message", Containing(word), agent.log())
    check("a missing capability or privilege", False,
          "missing:" in agent.log() or "needs root" in agent.log())
    return agent.log().splitlines()


def test_h10_the_verifier_refuses(box):
    """EACCES is the verifier's; its log is shown whole."""
    agent, cgroup = box.agent("h10"), box.cgroup.child("h10")
    injection = Injection(box)
    agent.environment |= injection.environment
    agent.write(FILE, priority_policy("h10", cgroup, 4))
    injection.arm(VERIFIER, at=0, calls=1000)
    refused(agent, "Cannot load the BPF programs (connect4; SOCKPOL_LOG_LEVEL=debug shows the "
                   "verifier's log): Permission denied")
    agent.environment["SOCKPOL_LOG_LEVEL"] = "debug"
    injection.arm(VERIFIER, at=0, calls=1000)
    lines = [line for line in refused(agent, "Cannot load") if line.startswith("connect4: ")]
    for part in ("R1=ctx", "R9 !read_ok", "processed "):
        check("the verifier's log", True, any(part in line for line in lines))
    injection.arm(VERIFIER, at=0, error=errno.EACCES, calls=1000)
    done = agent.command("check", "--kernel", "--policy-dir", agent.policy_dir)
    check("check --kernel: exit status", 1, done.returncode)
    check("check --kernel", Containing("Cannot try which options and hooks this kernel has: "
                                       "Permission denied"), done.stderr)
    check("options", Containing("not probed (Permission denied)"), agent.command("options").stdout)
    injection.disarm()
    agent.start()
    check_priority("when it takes them", box.worker(cgroup), 4)


def test_h11_no_bpf_loop(box):
    """What Linux before 5.17 answers."""
    agent, cgroup = box.agent("h11"), box.cgroup.child("h11")
    injection = Injection(box)
    agent.environment |= injection.environment
    agent.write(FILE, priority_policy("h11", cgroup, 4))
    injection.arm(BPF_LOOP, at=0, error=errno.EINVAL, calls=1000)
    text = ("This kernel has no bpf_loop(), a helper that the programs call: Linux 5.17 or later is "
            "needed")
    lines = refused(agent, text)
    check("what else it says", [], [one for one in lines if one != text])
    done = agent.command("check", "--kernel", "--policy-dir", agent.policy_dir)
    check("check --kernel: exit status", 1, done.returncode)
    check("check --kernel", Containing(text), done.stderr)
    done = agent.command("options")
    check("options", Containing(text), done.stderr)
    check("options", Containing("sockpol itself needs Linux 5.17 or later"), done.stdout)
    injection.disarm()
    agent.start()
    check_priority("with it", box.worker(cgroup), 4)
