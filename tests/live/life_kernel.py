# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""What this kernel lacks is named, with the policies that ask for it; on one that lacks nothing, nothing is."""

import subprocess

from harness import lacks
from harness.flows import check_priority, policies, policy
from harness.result import check

FILE = "50-test.yaml"
NOBODY = 65534
UNIX = "hooks for AF_UNIX sockets"
LSM = "hooks of BPF LSM (boot with lsm=...,bpf)"
RULES = """    rules:
      - name: near
        when: { remote: 127.0.0.0/8 }
        options: { TCP_RTO_MAX_MS: 2s, SO_PRIORITY: 3 }
      - name: local
        when: { family: unix }
        options: { SO_PRIORITY: 5 }
"""
# What AF_UNIX sockets lack, socket(2) brings where BPF LSM is to be had.
LACKS_UNIX = lacks.unix_hooks() and lacks.bpf_lsm()


def text(cgroup, name="old", more=""):
    return policies(policy(name, cgroup, {"TCP_RTO_MAX_MS": "5s"}, RULES + more))


def expected(name="old"):
    """What `status --json` has as `unsupported`."""
    found = []
    if lacks.rto_max():
        found += [(name, None, "TCP_RTO_MAX_MS", "6.15"), (name, "near", "TCP_RTO_MAX_MS", "6.15")]
    if LACKS_UNIX:
        found.append((name, "local", UNIX, "6.7"))
    return found


def place(policy_name, rule):
    return f"policy {policy_name}" + (f", rule {rule}" if rule else "")


def report(wanted):
    """What `check --kernel` says after its first line."""
    by_lack = {}
    for name, rule, what, since in wanted:
        by_lack.setdefault(f"  lacks {what} (since {since})", []).append(place(name, rule))
    said = [f"{lack}: {'; '.join(places)}" for lack, places in by_lack.items()]
    said += [f"  lacks {what} (since {since}): no policy asks for it"
             for what, since, lacking in ((UNIX, "6.7", lacks.unix_hooks()), (LSM, "6.0", lacks.bpf_lsm()))
             if lacking and f"  lacks {what} (since {since})" not in by_lack]
    return said or ["  has every option and every hook"]


def check_kernel(agent, *arguments):
    done = agent.command("check", "--kernel", "--policy-dir", agent.policy_dir, *arguments)
    return done, [line for line in done.stdout.splitlines()
                  if line.startswith(("kernel ", "  "))][1:]


def test_what_it_lacks_is_named(box):
    agent, cgroup = box.agent("lacks"), box.cgroup.child("lacks")
    agent.write(FILE, text(cgroup))
    done, said = check_kernel(agent)
    check(f"check --kernel: exit status ({done.stderr})", 0, done.returncode)
    check("check --kernel: what it lacks", report(expected()), said)
    done, _ = check_kernel(agent, "--strict")
    check("check --kernel --strict: exit status", 1 if expected() else 0, done.returncode)
    agent.start()
    status = agent.status()
    check("status: unsupported", expected(),
          [(one["policy"], one["rule"], one["what"], one["since"]) for one in status["unsupported"]])
    printed = agent.command("status", "--pin-dir", agent.pin_dir, "--runtime-dir",
                            agent.runtime_dir).stdout.splitlines()
    check("status: lines about this kernel",
          [f"warning: this kernel has no {what} (since {since}): left out of {place(name, rule)}"
           for name, rule, what, since in expected()],
          [line for line in printed if "this kernel" in line])
    worker = box.worker(cgroup)
    check_priority("by a policy of which some is left out", worker, 3)
    check("failed options", [], agent.policy("old")["failed"])


def test_explain_leaves_out_what_it_lacks(box):
    agent, cgroup = box.agent("explain"), box.cgroup.child("explain")
    agent.write(FILE, text(cgroup))
    agent.start()
    answer = agent.json("explain", "--policy-dir", agent.policy_dir, "--pin-dir", agent.pin_dir,
                        "--cgroup", cgroup.path, "--remote", "127.0.0.1:80")
    check("explained", {"SO_PRIORITY"} | (set() if lacks.rto_max() else {"TCP_RTO_MAX_MS"}),
          {row["option"] for row in answer["options"]})
    check("in force differs from the files", (True, False),
          (answer["in_force"]["known"], answer["in_force"]["differs"]))


def test_refuse(box):
    agent, cgroup = box.agent("refuse"), box.cgroup.child("refuse")
    agent.write(FILE, text(cgroup, "strict", "    on_unsupported: refuse\n"))
    done, said = check_kernel(agent)
    check(f"check --kernel: exit status ({done.stderr})", 1 if expected() else 0, done.returncode)
    check("check --kernel: what it lacks", report(expected("strict")), said)
    check("errors", len(expected()), done.stderr.count("says on_unsupported: refuse"))
    agent.start(wait=False)
    agent.wait_line("not started: the policy files have errors" if expected() else "^ready")


def test_refuse_at_a_reload(box):
    """What was in force stays; each of the two lacks refuses by itself."""
    agent, cgroup = box.agent("reload"), box.cgroup.child("reload")
    agent.write(FILE, policies(policy("old", cgroup, {"SO_PRIORITY": 6})))
    agent.start()
    worker = box.worker(cgroup)
    strict = "    on_unsupported: refuse\n"
    for lack, options, rules in ((lacks.rto_max(), {"TCP_RTO_MAX_MS": "5s", "SO_PRIORITY": 4}, ""),
                                 (LACKS_UNIX, {"SO_PRIORITY": 5}, RULES.replace(
                                     "TCP_RTO_MAX_MS: 2s, ", ""))):
        before = 6 if lack else 4 if options["SO_PRIORITY"] == 4 else 3
        agent.write(FILE, policies(policy("old", cgroup, options, strict + rules)))
        check("reload: exit status", 1 if lack else 0, agent.reload().returncode)
        check_priority("after that", worker, before)
        check("status: unsupported", [], agent.status()["unsupported"])
        agent.write(FILE, policies(policy("old", cgroup, {"SO_PRIORITY": 6})))
        agent.reload_good()


def test_not_asked_without_privilege(box):
    agent, cgroup = box.agent("nobody"), box.cgroup.child("nobody")
    agent.write(FILE, policies(policy("some", cgroup, {"SO_PRIORITY": 4})))
    done = subprocess.run(
        ["setpriv", "--reuid", str(NOBODY), "--regid", str(NOBODY), "--clear-groups", "--",
         agent.sockpol, "check", "--kernel", "--policy-dir", agent.policy_dir],
        capture_output=True, text=True, check=False)
    check("exit status, says why, checks the files all the same", (1, True, True),
          (done.returncode, "--kernel needs root" in done.stderr, "no errors" in done.stdout))
