# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""A start with files that are wrong: with the pins of an earlier agent, else with the files that came in force last."""

import contextlib
import errno
import os
import shutil
import subprocess

from harness.flows import check_priority, connected_option, priority_policy
from harness.injection import FILES, Injection
from harness.result import Containing, Failure, check, wait_for

FILE, OTHER = "50-test.yaml", "60-other.yaml"
BAD = "policies: [\n"
KEPT = "last-good"


def kept(agent):
    """{name: text} of what is kept; None: nothing is."""
    try:
        names = os.listdir(f"{agent.state_dir}/{KEPT}")
        return {name: open(f"{agent.state_dir}/{KEPT}/{name}", encoding="utf-8").read()
                for name in names}
    except FileNotFoundError:
        return None


def wait_kept(agent, expected):
    wait_for("the files that are kept", expected, lambda: kept(agent))


def started_with_wrong_files(agent, status=78, name=FILE):
    """Expects no start."""
    agent.write(name, BAD)
    agent.start(wait=False)
    agent.end()
    seen, agent.process = agent.process.returncode, None
    check(f"exit status; it said\n{agent.log()}\n   ", status, seen)


def furnished(box, name):
    """An agent that has run with two files, and was stopped: nothing is in force."""
    agent = box.agent(name)
    worker = box.worker(box.cgroup.child(name))
    texts = {FILE: priority_policy(name, worker.cgroup, 4),
             OTHER: priority_policy("other", f"{box.cgroup.path}/{name}-other", 5)}
    for file, text in texts.items():
        agent.write(file, text)
    agent.start()
    wait_kept(agent, texts)
    agent.stop()
    check_priority("after a stop", worker, 0)
    return agent, worker, texts


def agent_of(agent):
    return agent.status()["agent"]


def test_last_good_files(box):
    agent, worker, texts = furnished(box, "last-good")
    path = agent.write(FILE, BAD)
    agent.start()
    place = os.path.join(agent.state_dir, os.readlink(f"{agent.state_dir}/{KEPT}"))
    agent.wait_line("^ready, but degraded: the policy files have errors: 2 policies are in force from "
                    "the last good files$")
    agent.wait_line(f"^in force from {place}: last-good, other$")
    check("the error, too", Containing(f"{path}:2:1: error: not YAML"), agent.log())
    check_priority("by the last good files", worker, 4)
    check("status --json", (True, "last-good", place),
          tuple(agent_of(agent)[key] for key in ("degraded", "source", "source_dir")))
    done = agent.command("status", "--pin-dir", agent.pin_dir, "--runtime-dir", agent.runtime_dir)
    check("status", Containing(f"degraded: in force from the last good files ({place}): last-good, other\n"),
          done.stdout)
    check("sockpol_degraded", 1, agent.metric("sockpol_degraded"))
    check("exit status of check", 1,
          agent.command("check", "--policy-dir", agent.policy_dir).returncode)
    check("exit status of a reload", 1, agent.reload().returncode)
    check_priority("after a reload that was refused", worker, 4)
    check("it still says so", (True, "last-good"),
          tuple(agent_of(agent)[key] for key in ("degraded", "source")))
    check("what is kept", texts, kept(agent))
    agent.write(FILE, priority_policy("mended", worker.cgroup, 6))
    agent.reload_good()
    check_priority("once they are mended", worker, 6)
    check("it says so", (False, "files", None),
          tuple(agent_of(agent)[key] for key in ("degraded", "source", "source_dir")))
    wait_kept(agent, {**texts, FILE: priority_policy("mended", worker.cgroup, 6)})
    agent.stop()


def test_last_good_pins_come_first(box):
    agent, worker, _ = furnished(box, "last-pins")
    agent.write(FILE, priority_policy("pinned", worker.cgroup, 6))
    agent.start()
    agent.kill()
    shutil.rmtree(agent.state_dir)  # whatever it has kept by now
    agent.write(FILE, BAD)
    agent.start()
    agent.wait_line("^ready, but degraded: refused: 1 error; what was in force stays$")
    agent.wait_line("^in force from an earlier agent: other, pinned$")
    check_priority("by the pins", worker, 6)
    check("status --json", (True, "pins", None),
          tuple(agent_of(agent)[key] for key in ("degraded", "source", "source_dir")))
    done = agent.command("status", "--pin-dir", agent.pin_dir, "--runtime-dir", agent.runtime_dir)
    check("status", Containing("degraded: in force from an earlier agent: other, pinned\n"), done.stdout)
    check("a degraded agent keeps nothing", None, kept(agent))
    agent.stop()


def test_last_good_of_none(box):
    """Without either it does not start."""
    agent = box.agent("last-none")
    started_with_wrong_files(agent)
    check("why", Containing("not started: the policy files have errors"), agent.log())


def test_last_good_masks_and_directories(box):
    """What is kept is what was read: of two files of one name the one that counts, and none that is masked."""
    agent = box.agent("last-masks")
    worker = box.worker(box.cgroup.child("last-masks"))
    more = box.path("more-policies.d")
    os.makedirs(more)
    agent.options += ["--policy-dir", more]
    texts = {FILE: priority_policy("first", worker.cgroup, 4),
             OTHER: priority_policy("second", worker.cgroup, 5)}
    agent.write(FILE, texts[FILE])
    agent.write("70-masked.yaml", "")
    for name, text in ((FILE, BAD), (OTHER, texts[OTHER]), ("70-masked.yaml", BAD)):
        with open(os.path.join(more, name), "w", encoding="utf-8") as file:
            file.write(text)
    agent.start()
    wait_kept(agent, texts)
    agent.stop()
    agent.write(FILE, BAD)
    agent.start()
    check_priority("in the order of the files", worker, 5)
    agent.stop()


def test_last_good_of_no_files(box):
    """That nothing is governed came in force, too."""
    agent = box.agent("last-empty")
    agent.start()
    wait_kept(agent, {})
    agent.stop()
    agent.write(FILE, BAD)
    agent.start()
    agent.wait_line("^in force from .*: no policy$")
    agent.stop()


def test_last_good_that_others_could_write(box):
    agent, worker, texts = furnished(box, "last-others")
    directory = os.path.realpath(f"{agent.state_dir}/{KEPT}")
    for path, mode in ((agent.state_dir, 0o777), (directory, 0o775), (f"{directory}/{FILE}", 0o666)):
        before = os.stat(path).st_mode
        os.chmod(path, mode)
        started_with_wrong_files(agent)
        check(f"{path}: the reason, in {agent.log()}", True,
              "others than root can write there" in agent.log() or "writable by" in agent.log())
        os.chmod(path, before)
    os.chown(f"{directory}/{FILE}", 65534, -1)
    started_with_wrong_files(agent)
    check("of another user", Containing("owned by user 65534"), agent.log())
    agent.write(FILE, texts[FILE])
    agent.start()
    wait_for("a good start to write them anew", 0,
             lambda: os.stat(f"{agent.state_dir}/{KEPT}/{FILE}").st_uid)
    agent.stop()
    agent.write(FILE, BAD)
    agent.start()
    check_priority("and then they are good", worker, 4)
    agent.stop()


def test_last_good_links_elsewhere(box):
    agent, _, _ = furnished(box, "last-link")
    elsewhere = box.path("elsewhere")
    shutil.copytree(f"{agent.state_dir}/{KEPT}", elsewhere)
    os.unlink(f"{agent.state_dir}/{KEPT}")
    os.symlink(elsewhere, f"{agent.state_dir}/{KEPT}")
    started_with_wrong_files(agent)


@contextlib.contextmanager
def small_file_system(path, size):
    os.makedirs(path, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"mode=0700,size={size}", "tmpfs", path], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", path], check=True)


def test_last_good_disk_full(box):
    """The new set finds no room: a warning, and the one before is whole."""
    agent = box.agent("last-full")
    worker = box.worker(box.cgroup.child("last-full"))
    text = priority_policy("full", worker.cgroup, 4)
    with small_file_system(agent.state_dir, "64k"):
        agent.write(FILE, text)
        agent.start()
        wait_kept(agent, {FILE: text})
        lines = agent.line_count()
        agent.write(OTHER, priority_policy("large", "/x", 5) + "#" * 100_000)
        agent.reload_good()
        agent.wait_line("^Cannot keep the policy files in .* ignoring: No space left on device", lines)
        check("those before", {FILE: text}, kept(agent))
        check("nothing half-written beside", 1,
              sum(name.startswith("files.") for name in os.listdir(agent.state_dir)))
        agent.remove(OTHER)
        text = priority_policy("full", worker.cgroup, 6)
        agent.write(FILE, text)
        agent.reload_good()
        wait_kept(agent, {FILE: text})
        agent.stop()
        agent.write(FILE, BAD)
        agent.start()
        check_priority("at a start with wrong files", worker, 6)
        agent.stop()


def test_last_good_directory_cannot_be_made(box):
    """It is a warning; the agent is ready all the same."""
    agent = box.agent("last-nowhere")
    worker = box.worker(box.cgroup.child("last-nowhere"))
    agent.write(FILE, priority_policy("nowhere", worker.cgroup, 4))
    agent.state_dir = box.path("no-such-directory/state")
    agent.start()
    agent.wait_line("^ready: 1 policy in force$")
    agent.wait_line("^Cannot keep the policy files in .*, ignoring: No such file or directory$")
    check_priority("governed", worker, 4)
    agent.stop()


def test_last_good_any_call_fails(box):
    """While a set is written, each call that opens, renames or removes fails once: never half a set."""
    injection = Injection(box)
    agent = box.agent("last-fails", environment=injection.environment)
    worker = box.worker(box.cgroup.child("last-fails"))
    sets = [{FILE: priority_policy("one", worker.cgroup, n), OTHER: priority_policy("two", "/x", n)}
            for n in (4, 5)]

    def put(which):
        for name, text in sets[which].items():
            agent.write(name, text)

    put(0)
    agent.start()
    wait_kept(agent, sets[0])
    for at in range(12):
        put((at + 1) % 2)
        lines = agent.line_count()
        agent.reload_good()
        agent.status()  # what a reload leaves for later is done when the agent is idle
        seen = kept(agent)
        check("a whole set", True, seen in sets)
        injection.arm(FILES, at, errno.EIO)
        agent.reload()
        agent.status()
        injection.disarm()
        check(f"a whole set after the failure of call {at}; it said\n{agent.log()[-500:]}\n   ", True,
              kept(agent) in sets)
        check("lines", True, agent.line_count() > lines)
    agent.stop()


def test_last_good_is_not_for_other_failures(box):
    """Too many open files, I/O errors and want of memory are not the files' fault: no exit status 78, so that the
    service manager tries again."""
    injection = Injection(box)
    agent, worker, texts = furnished(box, "last-errors")
    agent.environment.update(injection.environment)
    for error in (errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM):
        fired, at = 0, 0
        while not fired or at < 40:
            injection.arm(FILES, at, error)
            agent.start(wait=False)
            ready = ""
            with contextlib.suppress(Failure):
                ready = agent.wait_line("^ready|^not started")
            _, fired = injection.disarm()
            if not ready.startswith("ready"):
                agent.end()
                seen, agent.process = agent.process.returncode, None
                check(f"{os.strerror(error)} of call {at}: exit status; it said\n{agent.log()}\n   ", 1,
                      seen)
            else:
                check(f"{os.strerror(error)} of call {at}: ready with the files", False,
                      "degraded" in ready)
                agent.stop()
            at += 5
    agent.start()
    check_priority("and then it starts", worker, 4)
    check("what is kept", texts, kept(agent))
    agent.stop()


def test_last_good_tries_again_over_pins(box):
    """A start over pins that could not read its files goes on with the pins, and reads the files again by itself."""
    injection = Injection(box)
    agent = box.agent("last-again", environment=injection.environment)
    worker = box.worker(box.cgroup.child("last-again"))
    agent.write(FILE, priority_policy("again", worker.cgroup, 4))
    agent.start()
    for at in range(15, 300):
        agent.kill()
        before = connected_option(worker)
        agent.write(FILE, priority_policy("again", worker.cgroup, 9 - before))
        injection.arm(FILES, at, errno.EIO)
        agent.start(wait=False)
        with contextlib.suppress(Failure):
            agent.wait_line("^ready|^not started")
        injection.disarm()
        if "error: cannot open the policy directory: Input/output error" in agent.log():
            break
    agent.wait_line("^ready, but degraded: failed: Input/output error; what was in force stays$")
    check_priority("by the pins", worker, before)
    agent.wait_line("^reload: 1 policy in force$")
    check_priority("by the files, without a reload that anybody asked for", worker, 9 - before)
    agent.stop()
