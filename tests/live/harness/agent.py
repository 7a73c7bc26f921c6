# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""A sockpol agent, and the commands that speak to it."""

import contextlib
import glob
import json
import os
import re
import shutil
import signal
import struct
import subprocess
import threading
import time

from .foreign import bpf
from .result import DEADLINE, PATIENCE, Failure, check

# "ready: N policies", or "ready, but degraded: ..." over pins and bad files
READY = r"^ready[:,] "

GET_FD_BY_ID = {"prog": 13, "map": 14, "link": 30}  # commands of bpf(2)


class Agent:
    """`sockpol run` with directories of its own."""

    def __init__(self, sockpol, directory, bpffs, cgroup_root, environment=None):
        self.sockpol = sockpol
        self.cgroup_root = cgroup_root
        self.policy_dir = os.path.join(directory, "policies.d")
        self.runtime_dir = os.path.join(directory, "run")
        self.state_dir = os.path.join(directory, "state")
        self.pin_dir = bpffs
        self.options = []  # more of `sockpol run`
        self.environment = {**os.environ, **(environment or {})}
        self.environment.pop("NOTIFY_SOCKET", None)
        self.prefix = []  # what it is started by: "setpriv ...", "unshare ..."
        self.older = 0  # programs up to this one were there before the tests
        self.process = None
        self.lines = []
        self.changed = threading.Condition()
        self.reader = None
        os.makedirs(self.policy_dir)

    def write(self, name, text):
        path = os.path.join(self.policy_dir, name)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        return path

    def remove(self, name):
        os.unlink(os.path.join(self.policy_dir, name))

    def start(self, wait=True):
        """Starts it and waits until it enforces; it dies with the test, whatever happens."""
        self.lines = []
        self.process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", "--", *self.prefix, self.sockpol, "run",
             "--policy-dir", self.policy_dir, "--cgroup-root", self.cgroup_root,
             "--pin-dir", self.pin_dir, "--runtime-dir", self.runtime_dir,
             *(["--state-dir", self.state_dir] if self.state_dir else []), *self.options],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
            env=self.environment)
        self.reader = threading.Thread(target=self.read, args=(self.process.stderr,), daemon=True)
        self.reader.start()
        if wait:
            self.wait_line(READY)
        return self

    def read(self, stream):
        with stream:
            for line in stream:
                with self.changed:
                    self.lines.append(line.rstrip("\n"))
                    self.changed.notify_all()
        with self.changed:
            self.lines.append(None)  # the end
            self.changed.notify_all()

    def log(self):
        with self.changed:
            return "\n".join(line for line in self.lines if line is not None)

    def wait_line(self, pattern, start=0):
        """The first line on stderr, from line `start` on, that has the pattern."""
        deadline = time.monotonic() + DEADLINE
        with self.changed:
            while True:
                for line in self.lines[start:]:
                    if line is not None and re.search(pattern, line):
                        return line
                left = deadline - time.monotonic()
                if left <= 0 or None in self.lines:
                    raise Failure("a line on the agent's stderr", pattern,
                                  "\n".join(filter(None, self.lines)) or "nothing")
                self.changed.wait(left)

    def line_count(self):
        with self.changed:
            return len(self.lines)

    def signal(self, number):
        self.process.send_signal(number)

    def stop(self, expected=0):
        """Asks it to detach and end."""
        if self.process is None:
            return
        self.signal(signal.SIGTERM)
        self.end()
        status = self.process.returncode
        self.process = None
        check(f"the agent to end on SIGTERM; it said\n{self.log()}\n   ", expected, status)

    def kill(self):
        """As the kernel's OOM killer would."""
        self.signal(signal.SIGKILL)
        self.end()
        self.process = None

    @contextlib.contextmanager
    def stopped(self):
        """It does not run meanwhile."""
        self.signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self.process.pid, os.WSTOPPED | os.WNOWAIT)
        try:
            yield
        finally:
            self.signal(signal.SIGCONT)

    def end(self):
        try:
            self.process.wait(timeout=DEADLINE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise Failure("the agent to end", f"within {DEADLINE} s", self.log()) from None
        finally:
            self.reader.join()

    def abandon(self):
        """Cleans up after a test that may have failed anywhere; never complains."""
        if self.process is not None:
            try:
                self.stop()
            except Failure:
                pass
        shutil.rmtree(self.pin_dir, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.abandon()

    def command(self, *arguments):
        """Runs `sockpol ...`; returns its CompletedProcess."""
        return subprocess.run([self.sockpol, *arguments], capture_output=True, text=True,
                              timeout=30 * PATIENCE, check=False, env=self.environment)

    def reload(self):
        return self.command("reload", "--runtime-dir", self.runtime_dir)

    def reload_good(self):
        done = self.reload()
        check(f"a reload to succeed; it said\n{done.stdout}{done.stderr}\n   ", 0,
              done.returncode)

    def json(self, *arguments, expected=0):
        done = self.command(*arguments, "--json")
        check(f"exit status of sockpol {' '.join(arguments)} --json; it said\n{done.stderr}\n   ",
              expected, done.returncode)
        return json.loads(done.stdout)

    def status(self, *arguments, expected=0):
        """expected: 1 where something that is due is not attached."""
        return self.json("status", "--pin-dir", self.pin_dir, "--runtime-dir", self.runtime_dir,
                         *arguments, expected=expected)

    def neighbours(self):
        """Those of status without what the host has: a sockpol in force nearer the root, say."""
        return [one for one in self.status()["neighbours"] if one["program"] > self.older]

    def text_status(self):
        """Without the lines about these, too."""
        text = self.command("status", "--pin-dir", self.pin_dir, "--runtime-dir", self.runtime_dir).stdout
        return re.sub(r"^warning: at \w+ program (\d+).*\n",
                      lambda line: line[0] if int(line[1]) > self.older else "", text, flags=re.M)

    def n_governed(self):
        """Cgroups that live and that some policy governs."""
        return self.status("--cgroups")["cgroups"]["governed"]

    def cgroups_of(self, policy):
        """The paths of those that this policy in force governs."""
        return self.status("--cgroups", policy)["cgroups"]

    def policy(self, name):
        """One policy of `status --json`."""
        for policy in self.status()["policies"]:
            if policy["name"] == name:
                return policy
        raise Failure("a policy in status --json", name, self.status()["policies"])

    def metric(self, name):
        """The value of a metric without labels."""
        text = self.command("metrics", "--pin-dir", self.pin_dir, "--runtime-dir",
                            self.runtime_dir).stdout
        found = re.search(rf"^{name} (\S+)$", text, re.M)
        if not found:
            raise Failure("a metric", name, text)
        return float(found[1])

    def settle(self):
        """What is not in force any more an agent removes when it is ready, before it answers."""
        if self.process is not None and self.process.poll() is None:
            self.command("status", "--pin-dir", self.pin_dir, "--runtime-dir", self.runtime_dir)

    def pins(self):
        """What is in the pin directory, by name; each map of a generation, in force or the one before, is "blocks_*"."""
        self.settle()
        return sorted({re.sub(r"^(current/(?!applied)\w+_)\d+$", r"\1*",
                              os.path.relpath(os.path.join(directory, name), self.pin_dir))
                       for directory, _, names in os.walk(self.pin_dir) for name in names})

    def pin(self, name):
        """The path of one in force."""
        return f"{self.pin_dir}/current/{name}"

    def objects(self):
        """{("prog", id), ("map", id), ("link", id)}: what the agent holds in the kernel."""
        self.settle()
        return self.objects_now()

    def n_descriptors(self):
        """Without those of the last good files, which come and go when it has time."""
        directory, found = f"/proc/{self.process.pid}/fd", 0
        for number in os.listdir(directory):
            with contextlib.suppress(FileNotFoundError):
                found += not os.readlink(f"{directory}/{number}").startswith(self.state_dir)
        return found

    def objects_now(self):
        """The same at this moment, in the middle of a reload, say."""
        found = set()
        for path in glob.glob(f"/proc/{self.process.pid}/fdinfo/*"):
            try:
                with open(path, encoding="ascii") as info:
                    found.update(re.findall(r"^(prog|map|link)_id:\s*(\d+)$", info.read(), re.M))
            except OSError:
                continue  # closed since the directory was listed
        return found


def still_there(objects):
    """Those of Agent.objects() that the kernel still has."""
    found = set()
    for kind, number in objects:
        with contextlib.suppress(FileNotFoundError):
            os.close(bpf(GET_FD_BY_ID[kind], struct.pack("<I", int(number))))
            found.add((kind, number))
    return found
