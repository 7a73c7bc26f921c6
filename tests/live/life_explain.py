# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""`explain` about one connection, and what it says of rules that are in force."""

import contextlib
import socket
import subprocess

from harness.flows import listening, policies, policy, SO_PRIORITY
from harness.result import Containing, check

FILE = "50-test.yaml"
NEAR, FAR = "127.0.0.2", "127.0.0.1"
NEAR_RULE = f"{{ remote: {NEAR} }}"


def rules(first_when, first=5, second=6):
    return ("    rules:\n"
            f"      - {{ name: one, when: {first_when}, options: {{ SO_PRIORITY: {first} }} }}\n"
            f"      - {{ name: two, when: {{ local_port: 1 }}, options: {{ SO_PRIORITY: {second} }} "
            "}\n")


def write(agent, cgroup, *arguments):
    agent.write(FILE, policies(policy("explained", cgroup, {"SO_PRIORITY": 4}, rules(*arguments))))


def governed(box, name):
    agent, cgroup = box.agent(name), box.cgroup.child(name)
    worker = box.worker(cgroup)
    write(agent, cgroup, NEAR_RULE)
    agent.start()
    return agent, worker


def explain(agent, *arguments):
    return agent.json("explain", "--policy-dir", agent.policy_dir, "--pin-dir", agent.pin_dir,
                      *arguments)


def said(answer):
    """(value, rule) of SO_PRIORITY."""
    return [(row["number"], row["rule"]) for row in answer["options"]
            if row["option"] == "SO_PRIORITY"]


@contextlib.contextmanager
def bound_connection(worker, listener, address):
    """(client, accepted), both ends at this address."""
    with worker.socket(socket.AF_INET, socket.SOCK_STREAM) as client:
        client.bind((address, 0))
        client.connect((address, listener.port()))
        with listener.accept() as accepted:
            yield client, accepted


def test_same_as_the_sockets(box):
    agent, worker = governed(box, "explain-one")
    for address, number, rule in ((NEAR, 5, "one"), (FAR, 4, None)):
        with listening(worker, address=address) as listener, bound_connection(
                worker, listener, address) as (client, accepted):
            for direction, sock in (("connect", client), ("accept", accepted)):
                check(f"SO_PRIORITY, {direction}, {address}", number, sock.sockopt(*SO_PRIORITY))
                answer = explain(agent, "--cgroup", worker.cgroup.path, "--direction", direction,
                                 "--protocol", "tcp", "--remote", f"{address}:40000")
                check(f"explained, {direction}, {address}", [(number, rule)], said(answer))


def test_f10_while_another_file_is_broken(box):
    """It answers by the other files, and says that they are not all."""
    agent, worker = governed(box, "explain-broken")
    path = agent.write("60-broken.yaml", "policies:\n  - name: other\n    match: { cgroup: /x }\n    optoins: {}\n")
    done = agent.command("explain", "--policy-dir", agent.policy_dir, "--pin-dir", agent.pin_dir, "--cgroup",
                         worker.cgroup.path)
    check("exit status, the errors, what they mean", (1, True, True), (
        done.returncode, f"{path}:4:5: error: " in done.stderr,
        "what follows is by the other files" in done.stderr))
    check("the answer", Containing("SO_PRIORITY"), done.stdout)
    check("what is in force", Containing("in force for new sockets: same as the files"), done.stdout)
    answer = agent.json("explain", "--policy-dir", agent.policy_dir, "--pin-dir", agent.pin_dir, "--cgroup",
                        worker.cgroup.path, "--direction", "connect", expected=1)
    check("the same in JSON", [(4, None)], said(answer))


def test_rules_with_their_conditions(box):
    agent, worker = governed(box, "explain-all")
    answer = explain(agent, "--cgroup", worker.cgroup.path, "--direction", "connect")
    row, = answer["options"]
    check("the base value", (4, None, None), (row["number"], row["rule"], row["when"]))
    check("the rules, the strongest first",
          [("two", 6, "local_port 1"), ("one", 5, f"remote {NEAR}")],
          [(one["rule"], one["number"], one["when"]) for one in row["candidates"]])
    answer = explain(agent, "--cgroup", worker.cgroup.path, "--remote", FAR)
    check("rules that do not hold, and why",
          [("one", "remote", False), ("two", "local_port", True)],
          [(one["rule"], one["key"], one["not_given"]) for one in answer["not_holding"]])


def test_rules_in_force(box):
    agent, worker = governed(box, "explain-force")

    def differences():
        in_force = explain(agent, "--cgroup", worker.cgroup.path)["in_force"]
        check("known", True, in_force["known"])
        found = {((one["in_force"] or {}).get("value"), (one["files"] or {}).get("value"),
                  one["also"]) for one in in_force["differences"]}
        check("differs", bool(found), in_force["differs"])
        return found

    check("as the files say", set(), differences())
    write(agent, worker.cgroup, NEAR_RULE, 7)
    check("another value in a rule", {("5", "7", None)}, differences())
    agent.reload_good()
    check("after the reload", set(), differences())


def test_contradictions_are_usage_errors(box):
    agent = box.agent("explain-usage")
    for arguments in (["--remote", "10.0.0.1", "--local", "fd00::1"],
                      ["--family", "ipv4", "--remote", "fd00::1"],
                      ["--remote", "10.0.0.1:0"]):
        done = subprocess.run(
            [agent.sockpol, "explain", "--policy-dir", agent.policy_dir, "--cgroup", "/",
             *arguments], capture_output=True, text=True, check=False)
        check(f"exit status of {arguments}", 2, done.returncode)
        check(f"what is wrong with {arguments} is named", True, arguments[-1] in done.stderr)


def test_f4_each_protocol(box):
    """Without --protocol the answer is for each, where a rule asks for one."""
    agent = box.agent("explain-protocol")
    agent.write("a.yaml", """policies:
  - name: p
    match: {cgroup: /app}
    rules:
      - {name: tcp, when: {protocol: tcp, remote: 10.7.0.0/16}, options: {SO_PRIORITY: 5}}
""")
    question = ("--cgroup", "/app", "--remote", "10.7.0.1:5432")
    answer = explain(agent, *question)
    check("the answers", [("tcp", [(5, "tcp")]), ("udp", [])],
          [(one["connection"]["protocol"], said(one)) for one in (answer, *answer["also"])])
    text = agent.command("explain", "--policy-dir", agent.policy_dir, "--pin-dir", agent.pin_dir,
                         *question).stdout
    check("printed", [True, True], [f"connect {one} ipv4" in text for one in ("tcp", "udp")])
