# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Bad days of a good agent: it stops, its socket goes, names are hostile, disks are full."""

import os
import shutil
import signal
import socket
import subprocess

from harness.flows import check_priority, connected_option, governed_worker, priority_policy
from harness.result import PATIENCE, Containing, check, wait_for

FILE = "50-test.yaml"


def status_text(agent, **other):
    places = {"pin_dir": agent.pin_dir, "runtime_dir": agent.runtime_dir, **other}
    done = agent.command("status", "--pin-dir", places["pin_dir"],
                         "--runtime-dir", places["runtime_dir"])
    check(f"exit status of status; it said\n{done.stderr}\n   ", 0, done.returncode)
    return done.stdout


def test_status_of_a_stopped_agent(box):
    agent = box.agent("stopped")
    governed_worker(box, agent, "stopped", 4)
    agent.signal(signal.SIGSTOP)
    try:
        status = agent.status()
        text = status_text(agent)
    finally:
        agent.signal(signal.SIGCONT)
    check("running, answers, pid", (True, False, agent.process.pid),
          tuple(status["agent"][key] for key in ("running", "answers", "pid")))
    check("what is in force", ["stopped"], [one["name"] for one in status["policies"]])
    check("the text form", Containing(f"pid {agent.process.pid}, but does not answer"), text)
    check("once it goes on", (True, True),
          tuple(agent.status()["agent"][key] for key in ("running", "answers")))


def test_status_of_another_agents_pins(box):
    """Pins of one agent, runtime directory of another: neither is called the other's."""
    agents = {}
    for name in ("pins", "asked"):
        agents[name] = box.agent(f"other-{name}", box.cgroup.child(f"other-{name}"))
        agents[name].start()
    asked, pins = agents["asked"], agents["pins"]
    text = status_text(pins, runtime_dir=asked.runtime_dir)
    check("no agent known, and why", Containing(f"none known for these pins (the one asked, pid "
                                                f"{asked.process.pid}, has its pins at "
                                                f"{asked.pin_dir})"), text)
    known = pins.json("status", "--pin-dir", pins.pin_dir, "--runtime-dir",
                      asked.runtime_dir)["agent"]
    check("the same as JSON", (False, None, asked.pin_dir),
          (known["running"], known["pid"], known["other_pins"]))
    link = box.path("link")
    os.symlink(pins.pin_dir, link)
    check("its own pins by another name", Containing(f"running, pid {pins.process.pid};"),
          status_text(pins, pin_dir=link))


def check_renewed(agent, worker, priority):
    agent.write(FILE, priority_policy("renew", worker.cgroup, priority))
    agent.signal(signal.SIGHUP)
    wait_for("SIGHUP to bring the new value", priority, lambda: connected_option(worker))
    agent.reload_good()


def test_runtime_directory_is_removed(box):
    agent = box.agent("renew")
    worker = governed_worker(box, agent, "renew", 4)
    os.unlink(agent.runtime_dir + "/control")
    check("exit status of a reload without the socket", 1, agent.reload().returncode)
    check_renewed(agent, worker, 5)
    check("what it says", Containing("making it again"), agent.log())
    shutil.rmtree(agent.runtime_dir)
    check_renewed(agent, worker, 6)
    agent.stop()
    check("no control socket left", False, os.path.exists(agent.runtime_dir + "/control"))


def test_a_file_where_the_socket_should_be(box):
    agent = box.agent("in-the-way")
    os.makedirs(agent.runtime_dir, mode=0o700)
    with open(agent.runtime_dir + "/control", "w", encoding="ascii") as file:
        file.write("precious\n")
    agent.start(wait=False)
    agent.end()
    check("exit status", 1, agent.process.returncode)
    agent.process = None
    check("an explanation", Containing("in the way of the control socket"), agent.log())
    with open(agent.runtime_dir + "/control", encoding="ascii") as file:
        check("the file", "precious\n", file.read())


def test_more_clients_than_there_is_room_for(box):
    agent = box.agent("busy")
    agent.start()
    clients = []
    try:
        for _ in range(16):
            clients.append(socket.socket(socket.AF_UNIX))
            clients[-1].connect(agent.runtime_dir + "/control")
        done = agent.reload()
    finally:
        for client in clients:
            client.close()
    check("exit status of a reload while it is busy", 1, done.returncode)
    check("what it says", "busy\n", done.stdout)
    check("nothing strange", "", done.stderr)


def test_a_reload_with_more_errors_than_fit(box):
    """The cut must not fall into a character, nor the reply be lost, wherever the limit lies."""
    agent = box.agent("many-errors")
    worker = governed_worker(box, agent, "many-errors", 4)
    for extra in range(3):
        agent.write("60-bad.yaml", "policies:\n" + "".join(
            f"  - {{ name: n{i}, match: {{ cgroup: / }}, "
            f"options: {{ {'x' * extra}{'€' * 25}: 1 }} }}\n" for i in range(1000)))
        done = agent.reload()
        check("exit status", 1, done.returncode)
        check("the verdict", Containing("refused: 1000 errors"), done.stdout)
        check("the last line", "... (the rest is in the agent's log)", done.stderr.splitlines()[-1])
        check("whole lines before", [], [line for line in done.stderr.splitlines()[:-1]
                                         if "error:" not in line or "€" not in line])
    check_priority("the old configuration stays", worker, 4)


def test_a_policy_directory_that_is_not_there(box):
    agent = box.agent("no-directory")
    agent.start()
    missing = agent.policy_dir
    os.rename(missing, missing + ".away")
    warning = f"{missing}: warning: there is no such policy directory"
    done = agent.reload()
    check("reload: exit status, warning", (0, True), (done.returncode, warning in done.stderr))
    for arguments in (("check",), ("explain", "--cgroup", "/")):
        done = agent.command(*arguments, "--policy-dir", missing)
        check(f"{arguments[0]}: exit status, warning", (0, True),
              (done.returncode, warning in done.stderr))
    agent.stop()
    agent.start()
    check("run: the warning", Containing(warning), agent.log())


def test_output_that_cannot_be_written(box):
    agent = box.agent("full")
    agent.write(FILE, priority_policy("full", box.cgroup, 4))
    agent.start()
    places = ("--pin-dir", agent.pin_dir, "--runtime-dir", agent.runtime_dir)
    files = ("--policy-dir", agent.policy_dir)
    for arguments in (("options",), ("options", "--json"), ("check", *files), ("--version",),
                      ("--help",), ("run", "--help"), ("status", *places),
                      ("status", "--json", *places), ("reload", *places[2:]),
                      ("explain", "--cgroup", box.cgroup.path, *files),
                      ("explain", "--cgroup", box.cgroup.path, "--json", *files)):
        with open("/dev/full", "w", encoding="ascii") as full:
            done = subprocess.run([agent.sockpol, *arguments], stdout=full, check=False,
                                  stderr=subprocess.PIPE, text=True, timeout=30 * PATIENCE)
        check(f"sockpol {' '.join(arguments)}: exit status, message", (1, True),
              (done.returncode, "Cannot write the output" in done.stderr))


def test_names_of_cgroups_are_escaped(box):
    """Who may make cgroups must not write on root's terminal, nor break what scripts read."""
    agent = box.agent("hostile")
    agent.write(FILE, priority_policy("hostile", f"{box.cgroup.path}/hostile/*", 4))
    agent.start()
    raw = os.fsencode(box.cgroup.child("hostile").directory) + b"/\x1b[31m\xff\xe2\x80\xaeh\xc3\xa4"
    os.mkdir(raw)
    shown = f"{box.cgroup.path}/hostile/\\x1b[31m\\xff\\xe2\\x80\\xaehä"
    below = os.fsdecode(raw[len(box.cgroup.mount):])
    for arguments in (("explain", "--policy-dir", agent.policy_dir),
                      ("status", "--pin-dir", agent.pin_dir)):
        done = subprocess.run([agent.sockpol, *arguments, "--cgroup", below, "--pin-dir",
                               agent.pin_dir], capture_output=True, check=False)
        check(f"{arguments[0]}: exit status ({done.stderr})", 0, done.returncode)
        check(f"{arguments[0]}: its first line", Containing(f"cgroup {shown}"),
              done.stdout.decode().splitlines()[0])
        done = agent.json(*arguments, "--cgroup", below, "--pin-dir", agent.pin_dir)
        cgroup = done["cgroup"] if arguments[0] == "explain" else done["cgroup"]["path"]
        check(f"{arguments[0]} --json: the cgroup", shown, cgroup)
    done = subprocess.run([agent.sockpol, "status", "--pin-dir", agent.pin_dir, "--cgroup",
                           below + "\n\x1b"], capture_output=True, check=False)
    check("a message with such a name", Containing(f"{shown}\\x0a\\x1b"), done.stderr.decode())


def test_cgroup_root_by_another_name(box):
    """Relative to the working directory."""
    inner = box.cgroup.child("relative").child("inner")
    agent = box.agent("relative")
    worker = box.worker(inner)
    agent.write(FILE, priority_policy("relative", f"{box.cgroup.path}/**", 4))
    agent.cgroup_root = "inner"
    before = os.getcwd()
    os.chdir(os.path.dirname(inner.directory))
    try:
        agent.start()
    finally:
        os.chdir(before)
    check_priority("below the agent's root", worker, 4)
    outside = box.worker(box.cgroup.child("relative-not"))
    check_priority("not below it", outside, 0)
