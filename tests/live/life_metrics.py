# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Metrics, and the file of metrics."""

import contextlib
import glob
import os
import re
import shutil
import stat
import subprocess
import threading

from harness.flows import (connected_option, connection, governed_worker, listening, policies,
                           policy, priority_policy)
from harness.result import Between, Containing, Skip, check, wait_for

FILE = "50-test.yaml"
NOBODY = 65534
SAMPLE = re.compile(r'(\w+)(?:\{(.*)\})? (\S+)\Z')
LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"(?:,|\Z)')
LABELS = {"version", "abi", "policy", "rule", "option", "errno", "stage", "hook", "runs", "map"}
LAST_SAMPLE = 'sockpol_map_entries_limit{map="counters"} '  # a file that has it is whole
PERIOD = Between(10, 25)  # seconds from one file of metrics to the next, on a busy machine


def parse(text):
    """{(name, ((label, value), ...)): number}; what does not look like a metric is a failure."""
    samples = {}
    for line in text.splitlines():
        if line.startswith("# "):
            continue
        match = SAMPLE.match(line)
        check("a line of metrics", True, match is not None and f"{line}" != "")
        name, labels, value = match.groups()
        key = name, tuple(sorted(LABEL.findall(labels or "")))
        check(f"one sample of {key}", False, key in samples)
        samples[key] = float(value)
    return samples


def metrics_text(agent):
    done = agent.command("metrics", "--pin-dir", agent.pin_dir, "--runtime-dir", agent.runtime_dir)
    check(f"exit status of metrics; it said\n{done.stderr}\n   ", 0, done.returncode)
    return done.stdout


def metrics(agent):
    return parse(metrics_text(agent))


def value(samples, name, **labels):
    return samples.get((name, tuple(sorted(labels.items()))))


def check_with_promtool(text):
    if not shutil.which("promtool"):
        raise Skip("there is no promtool (Debian package prometheus)")
    done = subprocess.run(["promtool", "check", "metrics"], input=text, text=True,
                          capture_output=True, check=False)
    check("promtool check metrics: status and complaints", (0, ""),
          (done.returncode, done.stdout + done.stderr))


def connect_often(worker, listener, n):
    for _ in range(n):
        with connection(worker, listener):
            pass


def test_metrics_are_what_happened(box):
    agent = box.agent("metrics")
    cgroup = box.cgroup.child("metrics")
    worker, outside = box.worker(cgroup), box.worker(box.cgroup.child("metrics-not"))
    agent.write(FILE, policies(
        policy("web", cgroup, {"SO_PRIORITY": 4}, "    rules:\n"
               "      - { name: out, when: { direction: connect },"
               " options: { TCP_NODELAY: on } }\n"
               "      - { name: dev, when: { direction: connect, protocol: tcp },"
               " options: { SO_BINDTODEVICE: nosuchdev0 } }\n"),
        policy("idle", box.cgroup.path + "/nowhere", {"SO_PRIORITY": 5})))
    agent.start()
    with listening(outside) as listener:
        connect_often(worker, listener, 7)
    with listening(worker) as listener:
        connect_often(outside, listener, 5)
    samples = metrics(agent)
    status = agent.status()
    by_name = {one["name"]: one for one in status["policies"]}
    applied = "sockpol_policy_applied_sockets_total", "sockpol_rule_applied_sockets_total"
    # 7 connects, 5 accepts and their listener
    check("sockets of web", 13, value(samples, applied[0], policy="web"))
    check("sockets of web in status", 13, by_name["web"]["applied"])
    check("sockets of idle", 0, value(samples, applied[0], policy="idle"))
    check("sockets of rule out", 7, value(samples, applied[1], policy="web", rule="out"))
    check("failures", 7, value(samples, "sockpol_failures_total", policy="web", rule="dev",
                               option="SO_BINDTODEVICE", errno="ENODEV"))
    check("failures in status", [("dev", "SO_BINDTODEVICE", "ENODEV", 7)],
          [(one["rule"], one["option"], one["errno"], one["count"])
           for one in by_name["web"]["failed"]])
    for name, expected in {"up": 1, "agent_up": 1, "degraded": 0, "policies": 2,
                           "generation": status["generation"], "missing_hooks": 0,
                           "last_load_timestamp_seconds": status["loaded_usec"] / 1e6,
                           "failures_lost_total": 0, "lists_lost_total": 0,
                           "cgroups_too_deep_total": 0, "cgroups_policies_left_out_total": 0,
                           "cgroups_classified_total": status["counts"]["classified"]}.items():
        check(f"sockpol_{name}", expected, value(samples, f"sockpol_{name}"))
    check("entries of map failures", 1, value(samples, "sockpol_map_entries", map="failures"))
    check("counters: two policies, what socket(2) gives of each, two rules", 6,
          value(samples, "sockpol_map_entries", map="counters"))
    check("hooks attached", {one["hook"] for one in status["attachments"]},
          {dict(labels)["hook"] for (name, labels), number in samples.items()
           if name == "sockpol_hook_attached" and number == 1})


def test_metrics_please_promtool(box):
    agent = box.agent("promtool")
    agent.write(FILE, policies(
        policy("web", box.cgroup.child("promtool"), {"SO_PRIORITY": 4, "TCP_NODELAY": "on"},
               "    rules: [ { name: out, when: { direction: connect },"
               " options: { SO_BINDTODEVICE: nosuchdev0 } } ]\n")))
    agent.start()
    worker = box.worker(box.cgroup.child("promtool"))
    connected_option(worker)
    text = metrics_text(agent)
    check("a failure among them", Containing('errno="ENODEV"'), text)
    check_with_promtool(text)


def test_metrics_name_no_cgroup(box):
    """Labels are names that the administrator or the option table gave, nothing that grows."""
    agent = box.agent("labels")
    worker = governed_worker(box, agent, "labels", 4)
    before = set(metrics(agent))
    for n in range(50):
        worker.cgroup.child(f"below-{n}")
    check("they are governed", 51, agent.n_governed())
    connected_option(worker)
    text = metrics_text(agent)
    check("the same series, with 50 more cgroups", before, set(parse(text)))
    check("labels", set(), {label for _, labels in parse(text) for label, _ in labels} - LABELS)
    check("the cgroup's path or id in the text", [],
          [one for one in (worker.cgroup.path, str(worker.cgroup.id), "127.0.0.1") if one in text])


def test_metrics_without_an_agent(box):
    agent = box.agent("metrics-gone")
    worker = governed_worker(box, agent, "metrics-gone", 4)
    applied = value(metrics(agent), "sockpol_policy_applied_sockets_total", policy="metrics-gone")
    agent.kill()
    connected_option(worker)
    samples = metrics(agent)
    check("up, agent up, degraded", (1, 0, None),
          tuple(value(samples, f"sockpol_{name}") for name in ("up", "agent_up", "degraded")))
    check("the kernel counts on: a listener, a connect, an accept", applied + 3,
          value(samples, "sockpol_policy_applied_sockets_total", policy="metrics-gone"))
    agent.start()
    agent.stop()
    text = metrics_text(agent)
    check("without pins: up, agent up", {"sockpol_up": 0, "sockpol_agent_up": 0},
          {name: number for (name, _), number in parse(text).items()
           if name != "sockpol_build_info"})
    check_with_promtool(text)


def test_metrics_say_degraded(box):
    agent = box.agent("metrics-bad")
    governed_worker(box, agent, "metrics-bad", 4)
    generation = value(metrics(agent), "sockpol_generation")
    agent.write(FILE, "policies: nonsense\n")
    check("a bad reload is refused", 1, agent.reload().returncode)
    samples = metrics(agent)
    check("agent up, degraded, generation", (1, 1, generation),
          tuple(value(samples, f"sockpol_{name}")
                for name in ("agent_up", "degraded", "generation")))
    agent.write(FILE, priority_policy("metrics-bad", box.cgroup, 5))
    agent.reload_good()
    check("degraded after a good one", 0, value(metrics(agent), "sockpol_degraded"))


def test_metrics_need_root(box):
    agent = box.agent("metrics-nobody")
    governed_worker(box, agent, "metrics-nobody", 4)
    done = subprocess.run(
        ["setpriv", "--reuid", str(NOBODY), "--regid", str(NOBODY), "--clear-groups", "--",
         agent.sockpol, "metrics", "--pin-dir", agent.pin_dir], capture_output=True, text=True,
        check=False)
    check("exit status, output", (1, ""), (done.returncode, done.stdout))
    check("why", Containing("needs root"), done.stderr)


# The file of metrics


def with_metrics_file(box, name, mode=0o755):
    """An agent, not started, and the file that it is to keep."""
    agent = box.agent(name)
    directory = box.path(f"{name}-textfile")
    os.mkdir(directory)
    os.chmod(directory, mode)
    file = os.path.join(directory, "sockpol.prom")
    agent.options = ["--metrics-file", file]
    return agent, file


def read(file):
    with open(file, encoding="utf-8") as stream:
        return stream.read()


def test_metrics_file(box):
    agent, file = with_metrics_file(box, "textfile")
    governed_worker(box, agent, "textfile", 4)
    check("mode, links", (0o644, 1), (stat.S_IMODE(os.stat(file).st_mode), os.stat(file).st_nlink))
    check("what else is there", ["sockpol.prom"], os.listdir(os.path.dirname(file)))
    check_with_promtool(read(file))
    before = parse(read(file))
    check("the same series as sockpol metrics prints", set(metrics(agent)), set(before))
    agent.write(FILE, policies(policy("other", box.cgroup, {"SO_PRIORITY": 5})))
    agent.reload_good()
    after = parse(read(file))
    check("after a reload: agent up, generation, policies",
          (1, value(before, "sockpol_generation") + 1, {"other"}),
          (value(after, "sockpol_agent_up"), value(after, "sockpol_generation"),
           {dict(labels).get("policy") for _, labels in after} - {None}))
    agent.write(FILE, "policies: nonsense\n")
    agent.reload()
    check("after a bad one: degraded", 1, value(parse(read(file)), "sockpol_degraded"))
    agent.stop()
    check("after a clean stop", [], os.listdir(os.path.dirname(file)))


def test_metrics_file_by_the_clock(box):
    agent, file = with_metrics_file(box, "clock")
    worker = governed_worker(box, agent, "clock", 4)
    applied = {"name": "sockpol_policy_applied_sockets_total", "policy": "clock"}
    first = os.stat(file)
    connected_option(worker)
    wait_for("another file, by itself", True, lambda: os.stat(file).st_ino != first.st_ino,
             PERIOD.high)
    check("seconds between the two", PERIOD, os.stat(file).st_mtime - first.st_mtime)
    check("it is up to date", value(metrics(agent), **applied), value(parse(read(file)), **applied))


def timers(agent):
    found = []
    for link in glob.glob(f"/proc/{agent.process.pid}/fd/*"):
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            found.append(os.readlink(link))
    return [link for link in found if "timerfd" in link]


def test_no_timer_without_a_metrics_file(box):
    agent = box.agent("no-timer")
    governed_worker(box, agent, "no-timer", 4)
    check("timers of an agent that nobody has asked anything", [], timers(agent))
    other, _ = with_metrics_file(box, "timer")
    other.start()
    check("timers of one with a file of metrics", 1, len(timers(other)))


def test_metrics_file_is_never_half(box):
    """A reader that never pauses, through 200 reloads."""
    agent, file = with_metrics_file(box, "half")
    governed_worker(box, agent, "half", 4)
    done, wrong, seen = threading.Event(), [], set()

    def look():
        while not done.is_set():
            try:
                text = read(file)
            except OSError as error:
                wrong.append(str(error))
                continue
            lines = text.splitlines()
            if not text.endswith("\n") or not lines[-1].startswith(LAST_SAMPLE):
                wrong.append(text[-200:])
            seen.add(value(parse(text), "sockpol_generation"))

    reader = threading.Thread(target=look)
    reader.start()
    try:
        for n in range(200):
            agent.write(FILE, priority_policy("half", box.cgroup, n % 7))
            agent.reload_good()
    finally:
        done.set()
        reader.join()
    check("files that were not whole", [], wrong[:3])
    check("many of the generations were seen", Between(20, 1000), len(seen))


def reload_and_read(agent):
    """What the agent says of a reload is read when it returns."""
    start = agent.line_count()
    agent.reload_good()
    agent.wait_line("^reload:", start)


def complaints(agent):
    return [line for line in agent.log().splitlines() if "metrics file" in line]


def check_one_complaint(agent, file, why):
    """However often it fails: it is said once, and the agent goes on."""
    for _ in range(3):
        reload_and_read(agent)
    check("one complaint, and what of", [f"The metrics file {file} is not kept fresh: {why}"],
          complaints(agent))
    agent.wait_line(r"ready:")


def test_metrics_file_in_a_directory_that_others_write(box):
    for name, mode in (("group", 0o775), ("world", 0o1777)):
        agent, file = with_metrics_file(box, f"textfile-{name}", mode)
        agent.start()
        check_one_complaint(agent, file, "its directory can be written by others than root: "
                            "Operation not permitted")
        check("what is there", [], os.listdir(os.path.dirname(file)))
        os.chmod(os.path.dirname(file), 0o755)
        reload_and_read(agent)
        check("once it is mended", Containing("is written again"), complaints(agent)[-1])
        check("the file is there", True, os.path.exists(file))
        os.rename(os.path.dirname(file), os.path.dirname(file) + "-away")
        reload_and_read(agent)
        check("another complaint", Containing("cannot be opened: No such file or directory"),
              complaints(agent)[-1])
        agent.stop()


def test_metrics_file_on_a_full_disk(box):
    agent, file = with_metrics_file(box, "full")
    directory = os.path.dirname(file)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k,mode=755", "tmpfs", directory],
                   check=True)
    with contextlib.ExitStack() as stack:
        stack.callback(subprocess.run, ["umount", "-l", directory], check=False)
        agent.start()
        whole = read(file)
        check("the end of the file", Containing(LAST_SAMPLE), whole)
        with open(os.path.join(directory, "ballast"), "wb", buffering=0) as ballast, \
                contextlib.suppress(OSError):
            while True:
                ballast.write(b"x" * 4096)
        check_one_complaint(agent, file, "it cannot be written: No space left on device")
        check("the file that was there", whole, read(file))
        check("what is there", {"ballast", "sockpol.prom"}, set(os.listdir(directory)))
        os.unlink(os.path.join(directory, "ballast"))
        agent.write(FILE, policies(policy("room", box.cgroup, {"SO_PRIORITY": 5})))
        agent.reload_good()
        check("with room again", 2, value(parse(read(file)), "sockpol_generation"))
        agent.stop()


def test_metrics_file_that_is_no_file(box):
    for name in ("", "/", "/tmp/", ".."):
        agent = box.agent("no-file")
        agent.options = ["--metrics-file", name]
        agent.start(wait=False)
        agent.wait_line("does not name a file for metrics")
        agent.end()
        check(f"exit status with '{name}'", 1, agent.process.returncode)
        agent.process = None
        check("pins", False, os.path.exists(agent.pin_dir))
