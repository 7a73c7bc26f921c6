# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""A host that is against us: hooks that others keep, pins that go, what the kernel or the administrator
took away.  Each is one clear message; what was in force stays in force; no connection is refused."""

import contextlib
import os
import shutil
import signal
import subprocess

from harness import foreign
from harness.flows import (TCP_KEEPIDLE, TCP_NODELAY, accepted_option, check_priority,
                           connected_option, governed_worker, listening, policies, policy,
                           priority_policy)
from harness.result import Containing, OneOf, check, wait_for

FILE = "50-test.yaml"
# What the unit gives the agent, and no more.
CAPABILITIES = ("bpf", "net_admin", "perfmon")


def limited(*capabilities):
    """Starts a program with these capabilities only."""
    names = "".join(f",+{name}" for name in capabilities)
    return ["setpriv", "--inh-caps=-all", f"--bounding-set=-all{names}", "--"]


def mounted(script):
    """Starts a program after this shell script, in a mount namespace of its own."""
    return ["unshare", "--mount", "--propagation", "private", "--", "/bin/sh", "-ec",
            script + '\nexec "$@"', "sh"]


def check_refused_to_start(agent, message, worker=None, priority=0):
    """It ends with one message, and whatever was in force is as it was."""
    agent.start(wait=False)
    agent.end()
    status, agent.process = agent.process.returncode, None
    check(f"exit status; it said\n{agent.log()}\n   ", 1, status)
    check("the message", Containing(message), agent.log())
    check("what else it says", [], [line for line in agent.log().splitlines()
                                    if message not in line and not line.startswith("not started: ")])
    if worker:
        check_priority("while the agent is refused", worker, priority)


def prepared(box, name, priority=4):
    """An agent that is not started, and a worker in the cgroup that its policy is for."""
    agent, cgroup = box.agent(name), box.cgroup.child(name)
    agent.write(FILE, priority_policy(name, cgroup, priority))
    return agent, box.worker(cgroup)


def command(agent, name, *more):
    return agent.command(name, *(("--pin-dir", agent.pin_dir) if name != "reload" else ()),
                         "--runtime-dir", agent.runtime_dir, *more)


# Hooks.


def excluded_at_start(box, name, where):
    agent, worker = prepared(box, name)
    root = box.cgroup.child(f"{name}-above").child("root")
    inner = box.worker(root.child("service"))
    agent.cgroup_root = root.directory
    agent.write(FILE, priority_policy(name, inner.cgroup, 4))
    with box.scope():
        foreign.attach(box, where(root), "connect4")
        check_refused_to_start(agent, "Cannot attach connect4: a program that was attached without "
                               "BPF_F_ALLOW_MULTI to this cgroup or one above excludes all others",
                               inner)
        check("pins left behind", False, os.path.exists(agent.pin_dir))
    agent.start()
    check_priority("nothing excludes the agent any more", inner, 4)
    check_priority("another cgroup", worker, 0)


def test_excluded_at_our_root(box):
    excluded_at_start(box, "excluded-here", lambda root: root)


def test_excluded_above_our_root(box):
    above = lambda root: type(root)(root.mount, os.path.dirname(root.path))
    excluded_at_start(box, "excluded-above", above)


def udp_policy(cgroup, priority):
    """One that takes a hook more: for unconnected UDP sockets."""
    return policies(policy("udp", cgroup, {"SO_PRIORITY": priority, "IP_TOS": 4}))


def test_excluded_from_a_hook_that_a_reload_needs(box):
    """The new policy has use for a hook that the old one had none for."""
    root = box.cgroup.child("excluded-later")
    agent, worker = box.agent("excluded-later", root), box.worker(root.child("service"))
    agent.write(FILE, policies(policy("tcp", worker.cgroup, {"TCP_NODELAY": "on"})))
    agent.start()
    hooks = [link["hook"] for link in agent.status()["attachments"]]
    check("hooks before", False, "sendmsg4" in hooks)
    agent.write(FILE, udp_policy(worker.cgroup, 5))
    with box.scope():
        foreign.attach(box, root, "sendmsg4")
        done = agent.reload()
        check("exit status of the reload", 1, done.returncode)
        check("the verdict", Containing("what was in force stays"), done.stdout)
        agent.wait_line("^Cannot attach sendmsg4: a program that was attached")
        check("hooks", hooks, [link["hook"] for link in agent.status()["attachments"]])
        check("policies in force", ["tcp"], [one["name"] for one in agent.status()["policies"]])
        check_priority("while it is refused", worker, 0)
    agent.reload_good()
    check_priority("once nothing excludes it", worker, 5)


def test_a_hook_with_its_64_programs(box):
    root = box.cgroup.child("crowded")
    agent, worker = box.agent("crowded", root), box.worker(root.child("service"))
    agent.write(FILE, priority_policy("crowded", worker.cgroup, 4))
    with box.scope():
        foreign.fill(box, root, "connect6", 64)
        check_refused_to_start(agent, "Cannot attach connect6: the cgroup has its 64 programs "
                               "already", worker)
        check("pins left behind", False, os.path.exists(agent.pin_dir))
    with box.scope():
        foreign.fill(box, root, "connect6", 63)
        agent.start()
        check_priority("with room for one", worker, 4)
        agent.stop()


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


def test_attaching_fails_over_pins(box):
    parent = box.cgroup.child("excluded-pins")
    root = parent.child("root")
    agent = box.agent("excluded-pins", root)
    worker, peer = box.worker(root.child("service")), box.worker(parent.child("peer"))
    agent.write(FILE, priority_policy("excluded-pins", worker.cgroup, 4))
    agent.start()
    agent.kill()
    agent.write(FILE, priority_policy("excluded-pins", worker.cgroup, 5))
    with box.scope(), listening(worker) as listener:
        # The last hook: the others could have been replaced by then.
        os.unlink(agent.pin("connect6"))
        foreign.attach(box, parent, "connect6")
        agent.start(wait=False)
        agent.end()
        check(f"exit status of an agent that cannot attach; it said\n{agent.log()}\n   ", 1,
              agent.process.returncode)
        agent.process = None
        check_priority("what the killed agent enforced", worker, 4)
        check("the same of an accepted socket", 4, accepted_option(listener, peer))
        (policy_in_force,) = agent.status(expected=1)["policies"]  # connect6 is not attached
        check("policies in status", "excluded-pins", policy_in_force["name"])
        check("sockets counted", True, policy_in_force["applied"] > 0)
    agent.start()
    check_priority("nothing excludes the agent any more", worker, 5)


# Pins.


def lose_all(agent):
    shutil.rmtree(agent.pin_dir)


def lose_contents(agent):
    for directory, _, names in os.walk(agent.pin_dir):
        for name in names:
            os.unlink(os.path.join(directory, name))


def lose_one(name):
    return lambda agent: os.unlink(agent.pin(name))


LOSSES = {"directory": lose_all, "all": lose_contents, "map": lose_one("ops"),
          "state": lose_one("state"), "link": lose_one("connect4")}


def lost_pins(box, name, lose):
    agent = box.agent(f"lost-{name}")
    worker = governed_worker(box, agent, f"lost-{name}", 4)
    before = agent.pins()
    lose(agent)
    check_priority("without the pins", worker, 4)
    done = command(agent, "status")
    check("status says what to do", Containing("`sockpol reload` pins it again"), done.stdout + done.stderr)
    agent.write(FILE, priority_policy(f"lost-{name}", worker.cgroup, 5))
    agent.reload_good()
    agent.wait_line("had gone, and (is|are) pinned again$")
    wait_for("pins after the reload", before, agent.pins)
    check("status", (0, 0), (command(agent, "status").returncode,
                             agent.status()["agent"]["pins_lost"]))
    check_priority("after the reload", worker, 5)
    agent.kill()
    check_priority("without an agent", worker, 5)
    agent.write(FILE, priority_policy(f"lost-{name}", worker.cgroup, 6))
    agent.start()
    check_priority("the next agent", worker, 6)
    lose(agent)
    objects = agent.objects()
    agent.stop()
    check("left after the end", [], agent.pins())
    check_priority("after the end", worker, 0)
    return objects


def generated_tests():
    return {f"life/hostile/pins_lost_{name}": lambda box, name=name, lose=lose:
            lost_pins(box, name, lose) for name, lose in LOSSES.items()}


def test_pins_lost_and_the_agent_too(box):
    """What is left is completed by the next agent."""
    for number, name in enumerate(("directory", "map", "link")):
        agent = box.agent(f"both-{name}")
        worker = governed_worker(box, agent, f"both-{name}", 4)
        before = agent.pins()
        LOSSES[name](agent)
        agent.kill()
        check_priority("neither pins nor agent", worker, 0 if number == 0 else OneOf((0, 4)))
        agent.start()
        wait_for("pins", before, agent.pins)
        check_priority("the next agent", worker, 4)
        agent.stop()


def test_bpffs_unmounted(box):
    """Under a running agent: what it has in the kernel stays, but cannot be pinned."""
    agent, worker = prepared(box, "unmounted")
    bpffs = box.path("bpffs")
    os.mkdir(bpffs, 0o700)
    agent.pin_dir = f"{bpffs}/pins"
    with box.scope():
        subprocess.run(["mount", "-t", "bpf", "bpf", bpffs], check=True)
        box.stack.callback(subprocess.run, ["umount", "-l", bpffs], check=True)
        agent.start()
        before = agent.pins()
    check_priority("without the bpffs", worker, 4)
    agent.write(FILE, priority_policy("unmounted", worker.cgroup, 5))
    done = agent.reload()
    check("a reload: exit status, verdict", (0, True),
          (done.returncode, "cannot be pinned, and end" in done.stdout))
    agent.wait_line(f"^{bpffs}/pins is not on a bpffs")
    check_priority("after the reload", worker, 5)
    check("made on another file system", [], os.listdir(bpffs))
    with box.scope():
        subprocess.run(["mount", "-t", "bpf", "bpf", bpffs], check=True)
        box.stack.callback(subprocess.run, ["umount", "-l", bpffs], check=True)
        agent.reload_good()
        wait_for("pins", before, agent.pins)
        agent.stop()
        check_priority("after the end", worker, 0)


def test_not_on_a_bpffs(box):
    agent, worker = prepared(box, "no-bpffs")
    agent.pin_dir = box.path("plain")
    os.mkdir(agent.pin_dir, 0o700)
    check_refused_to_start(agent, f"{agent.pin_dir} is not on a bpffs (mount -t bpf bpf "
                           "/sys/fs/bpf), so nothing can be pinned there", worker)
    check("the directory", [], os.listdir(agent.pin_dir))


def test_f9_bpffs_not_mounted(box):
    """The usual place, where nothing is mounted, nor stacked below: a directory of sysfs, where nobody can
    make any."""
    agent, worker = prepared(box, "bpffs-not-mounted")
    agent.prefix = mounted("for i in 1 2; do mount -t bpf bpf /sys/fs/bpf; done\n"
                           "while mountpoint -q /sys/fs/bpf; do umount -l /sys/fs/bpf; done")
    agent.pin_dir = "/sys/fs/bpf/sockpol"
    check_refused_to_start(agent, "/sys/fs/bpf/sockpol is not on a bpffs (mount -t bpf bpf "
                           "/sys/fs/bpf), so nothing can be pinned there", worker)


def test_read_only_bpffs(box):
    agent, worker = prepared(box, "read-only")
    read_only = mounted(f'mount --bind "{box.bpffs}" "{box.bpffs}"\n'
                        f'mount -o remount,bind,ro "{box.bpffs}"')
    agent.prefix = read_only
    check_refused_to_start(agent, "is read-only", worker)
    agent.prefix = []
    agent.start()
    agent.kill()
    agent.write(FILE, priority_policy("read-only", worker.cgroup, 5))
    agent.prefix = read_only
    check_refused_to_start(agent, f"{agent.pin_dir} is read-only", worker, 4)
    agent.prefix = []
    agent.start()
    check_priority("a bpffs that can be written", worker, 5)


@contextlib.contextmanager
def read_only_for_a_while(box):
    subprocess.run(["mount", "-o", "remount,ro", box.bpffs], check=True)
    try:
        yield
    finally:
        subprocess.run(["mount", "-o", "remount,rw", box.bpffs], check=True)


def test_bpffs_that_becomes_read_only(box):
    """What needs no new pin goes on as ever, and what does is refused as a whole."""
    agent = box.agent("becomes-read-only")
    worker = governed_worker(box, agent, "becomes-read-only", 4)
    agent.write(FILE, policies(policy("tcp", worker.cgroup, {"TCP_NODELAY": "on"})))
    agent.reload_good()  # no policy has use for sendmsg any more
    hooks = [link["hook"] for link in agent.status()["attachments"]]
    with read_only_for_a_while(box):
        agent.write(FILE, udp_policy(worker.cgroup, 5))
        done = agent.reload()
        check("a reload that needs a pin: exit status, verdict", (1, True),
              (done.returncode, "what was in force stays" in done.stdout))
        check_priority("after the refused reload", worker, 0)
        check("the same, TCP_NODELAY", 1, connected_option(worker, TCP_NODELAY))
        check("status", Containing("Read-only file system"), command(agent, "status").stderr)
    check("hooks", hooks, [link["hook"] for link in agent.status()["attachments"]])
    with read_only_for_a_while(box):
        agent.write(FILE, policies(policy("tcp", worker.cgroup, {"TCP_KEEPIDLE": "77s"})))
        agent.reload_good()
        check("a reload that needs no hook", 77, connected_option(worker, TCP_KEEPIDLE))
        agent.stop()
        check("complaints of the agent that ends", 1,
              agent.log().count(f"{agent.pin_dir} is read-only: the pins there cannot be removed"))
        check("of the reload that needs a pin", 1, len([
            line for line in agent.log().splitlines()
            if line.startswith("Cannot pin ") and "ignoring" not in line]))
        check("after the end", 7200, connected_option(worker, TCP_KEEPIDLE))
    agent.write(FILE, priority_policy("becomes-read-only", worker.cgroup, 5))
    agent.start()
    check_priority("over the pins that could not be removed", worker, 5)
    agent.stop()
    check("left", [], agent.pins())


def test_pin_directory_of_others(box):
    agent, worker = prepared(box, "others-write")
    os.mkdir(agent.pin_dir)
    for mode in (0o770, 0o1777):
        os.chmod(agent.pin_dir, mode)
        check_refused_to_start(agent, f"{agent.pin_dir} can be written by others than root: "
                               "refused", worker)
    os.chmod(agent.pin_dir, 0o700)
    os.chown(agent.pin_dir, 1234, -1)
    check_refused_to_start(agent, f"{agent.pin_dir} can be written by others than root: refused",
                           worker)
    os.rmdir(agent.pin_dir)
    elsewhere = agent.pin_dir + "-elsewhere"
    os.mkdir(elsewhere, 0o700)
    os.symlink(elsewhere, agent.pin_dir)
    check_refused_to_start(agent, f"{agent.pin_dir} is a symbolic link: refused as a "
                           "pin directory", worker)
    check("where it leads", [], os.listdir(elsewhere))
    os.unlink(agent.pin_dir)
    os.rmdir(elsewhere)


def test_same_pins(box):
    """Of two agents with the same pins the second one ends, and says why."""
    agent = box.agent("same-pins")
    worker = governed_worker(box, agent, "same-pins", 4)
    second = box.agent("same-pins-second")
    second.pin_dir = agent.pin_dir
    second.write(FILE, priority_policy("second", worker.cgroup, 5))
    check_refused_to_start(second, f"Another sockpol runs with the pin directory {agent.pin_dir}",
                           worker, 4)
    agent.reload_good()
    check_priority("the first one", worker, 4)


def test_same_pins_at_once(box):
    """Of two agents that start at the same moment one governs, and the other ends."""
    agents = [box.agent(f"at-once-{number}") for number in range(2)]
    worker = box.worker(box.cgroup.child("at-once"))
    agents[1].pin_dir = agents[0].pin_dir
    for agent in agents:
        agent.write(FILE, priority_policy("at-once", worker.cgroup, 4))
        agent.start(wait=False)
    wait_for("one of them to end", True, lambda: any(a.process.poll() is not None for a in agents))
    loser, winner = sorted(agents, key=lambda a: a.process.poll() is None)
    loser.end()
    check("the loser's exit status", 1, loser.process.returncode)
    loser.process = None
    check("what it says", Containing("Another sockpol runs with the pin directory"), loser.log())
    winner.wait_line("^ready: ")
    check_priority("the winner governs", worker, 4)
    winner.stop()
    check("left", [], winner.pins())


def test_another_sockpol_below(box):
    """The one above is told of it; what both set, the one above wins."""
    root = box.cgroup.child("sockpol-below")
    inner_root = root.child("a").child("b\x1bc")
    outer, inner = box.agent("outer-one", root), box.agent("inner-one", inner_root)
    worker = box.worker(inner_root.child("service"))
    outer.write(FILE, policies(policy("outer-one", root, {"SO_PRIORITY": 4})))
    outer.start()
    check("neighbours of one alone", [], outer.neighbours())
    inner.write(FILE, policies(policy("inner-one", f"{root.path}/**/service", {"SO_PRIORITY": 5})))
    inner.start()
    check_priority("the one above wins", worker, 4)
    escaped = inner_root.path.replace("\x1b", "\\x1b")
    check("neighbours", [("sock_ops", escaped, True, False)],
          [(one["hook"], one["cgroup"], one["sockpol"], one["runs_after"])
           for one in outer.neighbours()])
    check("the warning", Containing(f"warning: another sockpol is attached below, at {escaped}, and "
                                    "runs before ours: what both set, ours wins\n"),
          command(outer, "status").stdout)
    check("seen from below", {None}, {one["cgroup"] for one in inner.neighbours()})
    inner.stop()
    check("neighbours when it has ended", [], outer.neighbours())


# The kernel, and what it lets us do.


def test_no_cgroup2(box):
    agent, worker = prepared(box, "no-cgroup2")
    agent.prefix = mounted(
        "sed -n 's/^[^ ]* [^ ]* [^ ]* [^ ]* \\([^ ]*\\) .* - cgroup2 .*/\\1/p' "
        "/proc/self/mountinfo | while read -r d; do umount -l \"$d\"; done")
    check_refused_to_start(agent, "No cgroup2 hierarchy is mounted", worker)


def test_no_btf(box):
    agent, worker = prepared(box, "no-btf")
    agent.prefix = mounted("mount -t tmpfs none /sys/kernel/btf\n"
                           "if [ -d /boot ]; then mount -t tmpfs none /boot; fi\n"
                           "if [ -d /lib/modules ]; then mount -t tmpfs none /lib/modules; fi")
    check_refused_to_start(agent, "this kernel has no BTF (CONFIG_DEBUG_INFO_BTF)", worker)
    agent.prefix = []
    agent.start()
    agent.kill()
    agent.prefix = mounted("mount -t tmpfs none /sys/kernel/btf")
    agent.write(FILE, priority_policy("no-btf", worker.cgroup, 5))
    agent.start()  # over programs that are there: these need to be loaded no more
    check_priority("the next agent", worker, 5)


def test_a_missing_capability(box):
    for missing in CAPABILITIES:
        agent, worker = prepared(box, f"without-{missing.replace('_', '-')}")
        agent.prefix = limited(*(one for one in CAPABILITIES if one != missing))
        check_refused_to_start(agent, f"these are missing: CAP_{missing.upper()}", worker)
        check("pins left behind", False, os.path.exists(agent.pin_dir))
        agent.prefix = []
        agent.start()
        agent.kill()
        agent.prefix = limited(*(one for one in CAPABILITIES if one != missing))
        check_refused_to_start(agent, f"these are missing: CAP_{missing.upper()}", worker, 4)


def test_no_locked_memory(box):
    """The three capabilities will do, with RLIMIT_MEMLOCK 0."""
    agent, worker = prepared(box, "memlock")
    agent.prefix = ["prlimit", "--memlock=0:0", *limited(*CAPABILITIES)]
    agent.start()
    check_priority("governed", worker, 4)
    agent.write(FILE, udp_policy(worker.cgroup, 5))
    agent.reload_good()
    check_priority("after a reload", worker, 5)


# Directories.


def small_tmpfs(box, path, options):
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"mode=0700,{options}", "none", path], check=True)
    box.stack.callback(subprocess.run, ["umount", "-l", path], check=False)


def test_runtime_directory_is_full(box):
    agent, worker = prepared(box, "full-run")
    os.makedirs(agent.runtime_dir)
    with box.scope():
        small_tmpfs(box, agent.runtime_dir, "nr_inodes=1")
        check_refused_to_start(agent, f"Cannot open {agent.runtime_dir}/lock: No space left on device",
                               worker)
        check("pins left behind", False, os.path.exists(agent.pin_dir))
    with box.scope():
        small_tmpfs(box, agent.runtime_dir, "size=4k,nr_inodes=3")  # for the socket and the lock, and no more
        agent.start()
        check_priority("governed", worker, 4)
        with box.scope():
            small_tmpfs(box, agent.runtime_dir, "nr_inodes=1")
            agent.write(FILE, priority_policy("full-run", worker.cgroup, 5))
            agent.signal(signal.SIGHUP)
            wait_for("SIGHUP to bring the new value", 5, lambda: connected_option(worker))
            agent.wait_line(f"Cannot open {agent.runtime_dir}/lock: No space left")
        agent.signal(signal.SIGHUP)
        wait_for("an answer at the socket made again", True, lambda: agent.status()["agent"]["answers"])
        agent.reload_good()
        agent.stop()


def check_reload_refused(agent, worker, priority, message):
    done = agent.reload()
    check(f"exit status of the reload; it said\n{done.stdout}{done.stderr}\n   ", 1,
          done.returncode)
    check("the verdict", Containing("what was in force stays"), done.stdout)
    check("the message", Containing(message), done.stderr)
    check_priority("the old policy", worker, priority)


def test_policy_directory_is_unreadable(box):
    """To an agent with the unit's capabilities, which has to keep to the modes of files."""
    agent, worker = prepared(box, "unreadable")
    agent.prefix = limited(*CAPABILITIES)
    agent.start()
    os.chmod(agent.policy_dir, 0)
    check_reload_refused(agent, worker, 4, f"{agent.policy_dir}: error: cannot open the policy "
                         "directory: Permission denied")
    os.chmod(agent.policy_dir, 0o755)
    os.chmod(f"{agent.policy_dir}/{FILE}", 0)
    check_reload_refused(agent, worker, 4, f"{FILE}: error: cannot open: Permission denied")
    os.chmod(f"{agent.policy_dir}/{FILE}", 0o644)
    agent.reload_good()


def test_policy_directory_on_a_full_disk(box):
    """An editor that finds no room leaves half a file: refused, or what `check` calls good."""
    agent = box.agent("full-disk")
    worker = box.worker(box.cgroup.child("full-disk"))
    small_tmpfs(box, agent.policy_dir, "size=8k")
    agent.write(FILE, priority_policy("full-disk", worker.cgroup, 4))
    agent.start()
    with open(f"{agent.policy_dir}/90-more.yaml", "wb", buffering=0) as file:
        text = "policies:\n" + "".join(
            f"  - {{ name: more-{i}, match: {{ cgroup: / }}, options: {{ SO_PRIORITY: 5 }} }}\n"
            for i in range(100))
        written = file.write(text.encode())
        check("the disk to be full, in the middle of a line", False, text[:written].endswith("\n"))
    check_reload_refused(agent, worker, 4, "90-more.yaml:")
    agent.remove("90-more.yaml")
    agent.reload_good()


def test_half_written_files(box):
    """Cut anywhere, a file is refused, or is a whole one that `check` calls good."""
    agent, worker = prepared(box, "half")
    agent.start()
    text = priority_policy("half", worker.cgroup, 5)
    in_force = 4
    for size in range(len(text)):
        agent.write(FILE, text[:size])
        good = agent.command("check", "--policy-dir", agent.policy_dir).returncode == 0
        done = agent.reload()
        check(f"exit status of a reload of {text[:size]!r}", 0 if good else 1, done.returncode)
        if good:
            in_force = 5 if "{ SO_PRIORITY: 5 }" in text[:size] else 0
        check_priority(f"of {text[:size]!r}", worker, in_force)


def test_what_editors_leave(box):
    """Files beside the policies that are none."""
    agent, worker = prepared(box, "editors")
    agent.start()
    for name in (f".{FILE}.swp", f"{FILE}~", f"#{FILE}#", f"{FILE}.dpkg-new", f"{FILE}.rpmsave",
                 f".{FILE}.tmp", "4913", f"{FILE}.bak"):
        agent.write(name, "half a pol")
    os.symlink("somebody@host.1234:5678", f"{agent.policy_dir}/.#{FILE}")
    agent.reload_good()
    check_priority("as before", worker, 4)
    check("policies", ["editors"], [one["name"] for one in agent.status()["policies"]])
