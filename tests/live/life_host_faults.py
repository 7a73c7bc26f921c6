# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""What a host did to sockpol in trials, by the numbers under which it was reported."""

from harness.flows import check_priority, policies, policy
from harness.result import Containing, check

FILE = "50-test.yaml"
MISSING = "nosuchcc"


def test_h8_a_congestion_control_that_is_missing(box):
    """At the first start: it is left out, loudly, and everything else is governed."""
    agent = box.agent("h8")
    worker = box.worker(box.cgroup.child("h8"))
    path = agent.write(FILE, policies(
        policy("plain", worker.cgroup, {"SO_PRIORITY": 4}),
        policy("lacks", worker.cgroup, {"TCP_CONGESTION": MISSING, "SO_MARK": 1})))
    agent.start()
    agent.wait_line("^ready: 2 policies in force$")
    check("a warning", Containing(f"{path}:7:16: warning: this kernel has no congestion control "
                                  f"'{MISSING}': left out of policy 'lacks'"), agent.log())
    check_priority("governed", worker, 4)
    check("what status --json names", [("lacks", None, f"congestion control '{MISSING}'", None)],
          [tuple(one[key] for key in ("policy", "rule", "what", "since"))
           for one in agent.status()["unsupported"]])
    done = agent.command("status", "--pin-dir", agent.pin_dir, "--runtime-dir", agent.runtime_dir)
    check("what status says", Containing(f"warning: this kernel has no congestion control "
                                         f"'{MISSING}': left out of policy lacks\n"), done.stdout)
    done = agent.command("check", "--kernel", "--policy-dir", agent.policy_dir)
    check("check --kernel: exit status, what it lacks", (0, True),
          (done.returncode, f"lacks congestion control '{MISSING}': policy lacks" in done.stdout))
    done = agent.command("explain", "--policy-dir", agent.policy_dir, "--pin-dir", agent.pin_dir,
                         "--cgroup", worker.cgroup.path)
    check("explain: the same as the files, without it", (True, False),
          ("same as the files" in done.stdout, MISSING in done.stdout))
