# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""What a host did to sockpol in trials, by the numbers under which it was reported."""

import contextlib
import os
import signal
import socket
import subprocess
import time

from harness.flows import check_priority, connected_option, policies, policy, priority_policy
from harness.injection import BPF, CLOCK, Injection
from harness.result import PATIENCE, Containing, Failure, check, wait_for

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


def test_h9_a_reply_that_is_larger_than_a_buffer(box):
    """2,000 policies that the kernel lacks something for: status names each."""
    agent = box.agent("h9-reply")
    agent.write(FILE, policies(*(policy(f"p{n}", f"/none/{n}", {"TCP_CONGESTION": MISSING})
                                 for n in range(2000))))
    agent.start()
    status = agent.status()
    check("running, answers", (True, True), (status["agent"]["running"], status["agent"]["answers"]))
    check("what the kernel lacks, for each policy", 2000, len(status["unsupported"]))
    with socket.socket(socket.AF_UNIX) as client:  # it asks, and never reads
        client.connect(agent.runtime_dir + "/control")
        client.sendall(b'{"command":"status"}\n')
        check("the next one's answer", 2000, len(agent.status()["unsupported"]))
    agent.stop()


def test_h9_few_open_files(box):
    """It is not the files that are wrong, so the exit status is not 78, which systemd takes for the end."""
    agent = box.agent("h9-nofile")
    worker = box.worker(box.cgroup.child("h9-nofile"))
    agent.write(FILE, priority_policy("nofile", worker.cgroup, 4))
    for limit in range(4, 48):
        agent.prefix = ["prlimit", f"--nofile={limit}", "--"]
        agent.start(wait=False)
        with contextlib.suppress(Failure):
            agent.wait_line("^ready")
            agent.stop()
            continue
        agent.end()
        seen, agent.process = agent.process.returncode, None
        check(f"RLIMIT_NOFILE {limit}: exit status; it said\n{agent.log()}\n   ", False, seen in (0, 78))
    agent.prefix = []
    agent.start()
    check_priority("without a limit", worker, 4)
    agent.stop()


def test_h9_many_stale_listeners(box):
    """The first few by name, then how many."""
    agent = box.agent("h9-stale")
    worker = box.worker(box.cgroup.child("h9-stale"))

    def write(mss):
        agent.write(FILE, policies(policy("mss", worker.cgroup, {"TCP_MAXSEG": mss})))

    write(1000)
    agent.start()
    with contextlib.ExitStack() as stack:
        for _ in range(30):
            listener = stack.enter_context(worker.socket(socket.AF_INET, socket.SOCK_STREAM))
            listener.bind(("127.0.0.1", 0))
            listener.listen(1)
        write(1100)
        lines = agent.line_count()
        agent.reload_good()
        agent.wait_line("^and so do 20 more$", lines)
        said = agent.log().splitlines()[lines:]
        check(f"lines that name one, of\n{said}\n   ", 10,
              sum(line.startswith("listener ") for line in said))
        write(1000)
        lines = agent.line_count()
        agent.stop()
        said = agent.log().splitlines()[lines:]
        check("lines of a stop", True, len(said) < 15)


def test_h9_a_sighup_before_the_loop(box):
    """At any call of bpf(2), the first of which look at the kernel: it is a reload, when the agent is ready."""
    injection = Injection(box)
    agent = box.agent("h9-sighup", environment=injection.environment)
    worker = box.worker(box.cgroup.child("h9-sighup"))
    agent.write(FILE, priority_policy("sighup", worker.cgroup, 4))
    for at in range(6):
        injection.arm(BPF, at, -signal.SIGHUP)
        agent.start()
        _, fired = injection.disarm()
        check(f"call {at}: signals", 1, fired)
        agent.wait_line("^reload: 1 policy in force$")
        agent.stop()


class Notified:
    """What an agent tells its service manager: [(seconds since the start, text)]."""

    def __init__(self, box, agent):
        self.path = box.path(f"notify-{os.path.basename(agent.runtime_dir)}-{id(agent)}")
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.path)
        self.begun = time.monotonic()
        agent.environment["NOTIFY_SOCKET"] = self.path

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()
        os.unlink(self.path)

    def until(self, word, seconds=60):
        """All up to the message that has the word."""
        seen = []
        self.socket.settimeout(seconds * PATIENCE)
        while not seen or word not in seen[-1][1]:
            try:
                text = self.socket.recv(4096).decode()
            except TimeoutError:
                raise Failure("a message to the service manager", word, seen) from None
            seen.append((time.monotonic() - self.begun, text))
        return seen


def test_h4_a_long_start_extends_its_timeout(box):
    """While it reads, compiles and writes, not only in between.  It does so once a second at most; here
    each look at the clock finds a second gone, so that all that it would say is there, however fast it is."""
    injection = Injection(box)
    injection.arm(CLOCK, 0, calls=1 << 31)
    agent = box.agent("h4-long", environment=injection.environment)
    ports = [", ".join(str(1 + (rule * 37 + at * 61) % 60000) for at in range(60)) for rule in range(60)]
    rules = "    rules:\n" + "".join(
        f"      - {{ name: r{at}, when: {{ remote_port: [{ports[at]}] }}, options: {{ SO_MARK: {at} }} }}\n"
        for at in range(60))
    for number in range(80):
        agent.write(f"{number:03}.yaml", policies(*(policy(
            f"p{number}-{at}", f"/none/{number}-{at}/**", {"SO_PRIORITY": 4}, rules) for at in range(10))))
    with Notified(box, agent) as notified:
        agent.start(wait=False)
        seen = notified.until("READY=1", seconds=120)
    agent.stop()
    times = [0] + [at for at, text in seen if "EXTEND_TIMEOUT_USEC=" in text or "READY=1" in text]
    longest = max((b - a, a) for a, b in zip(times, times[1:]))
    print("{} extensions in {:.1f} s, the longest silence {:.1f} s after {:.1f} s".format(
        len(times) - 2, times[-1], *longest))
    check("extensions: each policy is read, checked, held against the kernel, compiled, and counted", True,
          len(times) - 2 >= 5 * 80 * 10)
    check("no silence as long as half of it", True, longest[0] < times[-1] / 2)


def test_h9_without_a_bpffs_under_a_service_manager(box):
    """It is ready, says once that nothing is governed, and goes on as soon as there is one."""
    agent = box.agent("h9-bpffs")
    worker = box.worker(box.cgroup.child("h9-bpffs"))
    agent.write(FILE, priority_policy("bpffs", worker.cgroup, 4))
    place = box.path("late-bpffs")
    os.mkdir(place)
    agent.pin_dir = place + "/sockpol"
    with Notified(box, agent) as notified:
        agent.start(wait=False)
        said = notified.until("READY=1")
        check("what the service manager is told", True,
              any("STATUS=nothing is governed: waiting for a bpffs" in text for _, text in said))
        check("the reason", Containing(f"{agent.pin_dir} is not on a bpffs"), agent.log())
        agent.signal(signal.SIGHUP)
        lines = agent.line_count()
        subprocess.run(["mount", "-t", "bpf", "bpf", place], check=True)
        try:
            agent.wait_line("^ready: 1 policy in force$", lines)
            wait_for("governed", 4, lambda: connected_option(worker))
            agent.stop()
        finally:
            subprocess.run(["umount", "-l", place], check=True)
        agent.start(wait=False)
        agent.wait_line("^ready, but nothing is governed: waiting for a bpffs$")
        agent.stop()
