# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""The commands, about a live agent and live processes."""

import json
import socket
import subprocess

from harness import lacks
from harness.flows import governed_worker, listening, policies, policy, priority_policy
from harness.result import Containing, check

FILE = "50-test.yaml"
NOBODY = 65534


def explain(agent, *arguments):
    return agent.json("explain", "--policy-dir", agent.policy_dir, "--pin-dir", agent.pin_dir,
                      *arguments)


def rows(answer, *keys):
    return [tuple(row[key] for key in keys) for row in answer["options"]]


def test_explain_cgroup(box):
    agent = box.agent("explain")
    outer = box.cgroup.child("explain")
    inner = outer.child("inner")
    path = agent.write(FILE, policies(
        policy("outer", outer, {"SO_PRIORITY": 4, "SO_SNDBUF": "60000"}),
        policy("inner", inner, {}, "    rules:\n      - name: out\n"
               "        when: { direction: connect }\n        options: { SO_PRIORITY: 5 }\n")))
    answer = explain(agent, "--cgroup", inner.path, "--direction", "connect")
    check("option, value, policy, rule, file, line",
          [("SO_SNDBUF", "60000", "outer", None, path, 4),
           ("SO_PRIORITY", "5", "inner", "out", path, 10)],
          sorted(rows(answer, "option", "value", "policy", "rule", "file", "line"),
                 key=lambda row: row[5]))
    by_option = {row["option"]: row for row in answer["options"]}
    check("what the kernel makes of SO_SNDBUF", Containing("120000"),
          by_option["SO_SNDBUF"]["kernel"])
    check("what SO_PRIORITY beat", Containing("outer"), json.dumps(by_option["SO_PRIORITY"]))
    directions = {row["direction"] for row in explain(agent, "--cgroup", inner.path)["options"]}
    check("the directions, when none is asked for", {"connect", "accept"},
          directions & {"connect", "accept"})
    check("an ungoverned cgroup", [],
          explain(agent, "--cgroup", box.cgroup.path)["options"])


def test_explain_without_privilege(box):
    agent = box.agent("nobody")
    cgroup = box.cgroup.child("nobody")
    agent.write(FILE, priority_policy("nobody", cgroup, 4))
    done = subprocess.run(
        ["setpriv", "--reuid", str(NOBODY), "--regid", str(NOBODY), "--clear-groups", "--",
         agent.sockpol, "explain", "--policy-dir", agent.policy_dir, "--cgroup", cgroup.path,
         "--json"], capture_output=True, text=True, check=False)
    check(f"exit status ({done.stderr})", 0, done.returncode)
    check("SO_PRIORITY", True, ("SO_PRIORITY", "4") in rows(json.loads(done.stdout), "option",
                                                          "value"))


def test_explain_pid(box):
    agent = box.agent("explain-pid")
    worker = governed_worker(box, agent, "explain-pid", 4)
    answer = explain(agent, "--pid", str(worker.pid))
    check("the process's cgroup", worker.cgroup.path, answer["cgroup"])
    check("SO_PRIORITY", True, ("SO_PRIORITY", "4", "explain-pid") in rows(
        answer, "option", "value", "policy"))
    moved_to = box.cgroup.child("explain-pid-moved")
    with listening(worker) as listener:
        port = listener.port()
        with open(f"{moved_to.directory}/cgroup.procs", "w", encoding="ascii") as procs:
            procs.write(str(worker.pid))
        answer = explain(agent, "--pid", str(worker.pid))
        check("the cgroup after the process has moved", moved_to.path, answer["cgroup"])
        own = [one for one in answer["sockets"] if one["local"].endswith(f":{port}")]
        check("the socket's own cgroup", [worker.cgroup.path], [one["cgroup"] for one in own])


def test_explain_says_when_the_files_differ(box):
    agent = box.agent("differs")
    worker = governed_worker(box, agent, "differs", 4)
    path = worker.cgroup.path
    check("in force as the files say", (True, False), in_force(explain(agent, "--cgroup", path)))
    agent.write(FILE, priority_policy("differs", path, 5))
    answer = explain(agent, "--cgroup", path)
    check("in force differs from the files", (True, True), in_force(answer))
    check("the differences", {"SO_PRIORITY"},
          {one["option"] for one in answer["in_force"]["differences"]})
    agent.reload_good()
    check("after the reload", (True, False), in_force(explain(agent, "--cgroup", path)))


def in_force(answer):
    return answer["in_force"]["known"], answer["in_force"]["differs"]


def test_status(box):
    agent = box.agent("status")
    governed_worker(box, agent, "status", 4)
    status = agent.status()
    check("policies: name, applied, overridden, failed", [("status", 3, False, [])],
          [(one["name"], one["applied"], one["overridden"], one["failed"])
           for one in status["policies"]])
    check("cgroups, not asked for", False, "cgroups" in status)
    check("the agent", (True, agent.process.pid),
          (status["agent"]["running"], status["agent"]["pid"]))
    done = agent.command("status", "--pin-dir", agent.pin_dir, "--runtime-dir", agent.runtime_dir)
    check("exit status of the text form", 0, done.returncode)
    check("the text form", Containing("status"), done.stdout)


def test_status_cgroups(box):
    agent = box.agent("status-cgroups")
    worker = governed_worker(box, agent, "status-cgroups", 4)
    below = worker.cgroup.child("below").child("\u00e4 b")
    status = agent.status("--cgroups")
    check("how many", {"status-cgroups": 3},
          {one["name"]: one["cgroups"] for one in status["policies"]})
    check("of all", (3, True), (status["cgroups"]["governed"],
                                status["cgroups"]["living"] > 3))
    paths = [worker.cgroup.path, f"{worker.cgroup.path}/below", below.path]
    check("which", paths, agent.cgroups_of("status-cgroups"))
    pins = ("--pin-dir", agent.pin_dir)
    done = agent.command("status", "--cgroups", "status-cgroups", *pins)
    check("in words", paths, done.stdout.splitlines())
    done = agent.command("status", "--cgroups", "no-such", *pins)
    check("no such policy", (1, ""), (done.returncode, done.stdout))
    check("a message", Containing("No policy 'no-such' is in force"), done.stderr)
    check("a policy without --cgroups", 2,
          agent.command("status", "status-cgroups", *pins).returncode)


def test_status_marks_overridden_policies(box):
    agent = box.agent("overridden")
    cgroup = box.cgroup.child("overridden")
    agent.write(FILE, "policies:\n" + "".join(
        f"  - {{ name: {name}, match: {{ cgroup: {cgroup.path}{glob} }}, "
        f"options: {{ SO_PRIORITY: 4 }} }}\n"
        for name, glob in (("weak", "/*"), ("strong", "/a"))))
    agent.start()

    def overridden():
        return {one["name"]: one["overridden"] for one in agent.status()["policies"]}

    check("no cgroup yet", {"weak": False, "strong": False}, overridden())
    cgroup.child("a")
    check("both apply to its one cgroup", {"weak": True, "strong": False}, overridden())
    done = agent.command("status", "--pin-dir", agent.pin_dir, "--runtime-dir", agent.runtime_dir)
    check("in words", Containing("overridden: in its 1 cgroup stronger policies set all"),
          done.stdout)
    cgroup.child("b")
    check("one where it is alone", {"weak": False, "strong": False}, overridden())


def test_status_cgroup(box):
    agent = box.agent("status-cgroup")
    worker = governed_worker(box, agent, "status-cgroup", 4)
    cgroup = agent.status("--cgroup", worker.cgroup.path)["cgroup"]
    check("the cgroup", (worker.cgroup.path, worker.cgroup.id, True),
          (cgroup["path"], cgroup["id"], cgroup["governed"]))
    check("its options", {("SO_PRIORITY", "4", "status-cgroup")},
          {(one["option"], one["value"], one["policy"]) for one in cgroup["options"]})
    other = box.cgroup.child("status-cgroup-not")
    check("an ungoverned one", False, agent.status("--cgroup", other.path)["cgroup"]["governed"])
    check("its policies", ["status-cgroup"], cgroup["policies"])


def test_status_without_anything(box):
    agent = box.agent("status-none")
    done = agent.command("status", "--pin-dir", agent.pin_dir, "--runtime-dir", agent.runtime_dir)
    check("exit status: nothing is in force there", 1, done.returncode)
    check("an explanation", Containing("Nothing is in force"), done.stderr)


def test_options_are_probed(box):
    """The probe says yes to each option but to what this kernel is known to lack."""
    agent = box.agent("options")
    options = agent.json("options")["options"]
    check("options that this kernel does not take, by the probe",
          ["TCP_RTO_MAX_MS"] if lacks.rto_max() else [],
          [one["name"] for one in options if one["supported"] is not True])
    told = {one["name"]: (one["application"], one["range"], one["none"], one["too_late"]) for one in options}
    everybody = ["override", "hold", "respect", "deny"]
    check("who may have the last word, has it a range, what is above every max, is it too late on connections", {
        "SO_MARK": (everybody, False, None, False), "TCP_USER_TIMEOUT": (everybody[:3], True, "0s", False),
        "SO_MAX_PACING_RATE": (everybody[:3], True, "unlimited", False), "SO_REUSEADDR": (everybody[:1], False, None, True),
        "NEEDS_ECN": (everybody[:1], False, None, True), "TCP_NODELAY": (everybody[:3], False, None, False)},
          {name: told[name] for name in ("SO_MARK", "TCP_USER_TIMEOUT", "SO_MAX_PACING_RATE", "SO_REUSEADDR",
                                         "NEEDS_ECN", "TCP_NODELAY")})
    text = agent.command("options", "TCP_USER_TIMEOUT").stdout
    check("in words", (True, True), ("application  override, hold, respect\n" in text,
                                     "range        min, max; 0s is above every max\n" in text))


def test_check(box):
    agent = box.agent("check")
    agent.write(FILE, priority_policy("check", box.cgroup, 4))
    check("exit status: good", 0, agent.command("check", "--policy-dir",
                                                agent.policy_dir).returncode)
    path = agent.write("60-bad.yaml", "policies:\n  - name: bad\n    match: { cgroup: / }\n"
                       "    options: { SO_SNDBUF: 80x }\n")
    done = agent.command("check", "--policy-dir", agent.policy_dir)
    check("exit status: errors", 1, done.returncode)
    check("the error", Containing(f"{path}:4:"), done.stdout + done.stderr)
    check("exit status: usage", 2, agent.command("check", "--no-such-flag").returncode)


def test_a_reload_refused_over_the_socket_changes_nothing(box):
    """Garbage at the control socket: the agent answers or hangs up, and goes on."""
    agent = box.agent("garbage")
    worker = governed_worker(box, agent, "garbage", 4)
    for garbage in (b"\0" * 100 + b"\n", b"{}\n", b"[1]\n", b'{"command": 7}\n', b"x" * 100000):
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(5)
            client.connect(agent.runtime_dir + "/control")
            try:
                client.sendall(garbage)
                client.shutdown(socket.SHUT_WR)
                client.recv(65536)
            except (BrokenPipeError, ConnectionResetError):
                pass  # it may hang up early
    agent.write(FILE, priority_policy("garbage", worker.cgroup, 5))
    agent.reload_good()
    check("the agent is alive", None, agent.process.poll())
