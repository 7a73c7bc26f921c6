# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""What the tests put into a machine: sockpol as installed, a policy, and services that know nothing of it."""

import collections
import os
import re
import subprocess

from harness.result import Failure, check, wait_for

POLICY_FILE = "/etc/sockpol/policies.d/60-test.yaml"
SECONDS, OTHER_SECONDS = 42, 43
# Only a glob matches the services.
POLICY = """policies:
  - name: governed
    match: {{ unit: "governed*.service" }}
    options: {{ TCP_USER_TIMEOUT: {seconds}s }}
"""
BAD_POLICY = """policies:
  - name: governed
    match: { unit: "governed*.service" }
    options: { TCP_USR_TIMEOUT: 1s }
"""
BAD_PLACE = (4, 16)  # line, column

PORT = 7000
LISTENER = f"""
[Service]
Type=forking
ExecStart=/usr/bin/connector listen {PORT}
[Install]
WantedBy=multi-user.target
"""
# Connects once, at once.
GOVERNED = f"""
[Unit]
Wants=listener.service
After=listener.service
StartLimitIntervalSec=0
[Service]
Type=oneshot
ExecStart=/usr/bin/connector {PORT} 1 {SECONDS * 1000}
StandardOutput=append:/var/log/first
[Install]
WantedBy=multi-user.target
"""
# Connects without pause until it is stopped.
FLOOD = f"""
[Unit]
Wants=listener.service
After=listener.service
[Service]
Type=exec
ExecStart=/usr/bin/connector {PORT} 0 {SECONDS * 1000}
StandardOutput=append:/var/log/flood
"""
SAID = re.compile(r"(\d+) connections, (\d+) ungoverned, (\d+) failed")

PINS = "/sys/fs/bpf/sockpol"


class Scene:
    """Where the tree, the build and the sources are; makes machines of them."""

    def __init__(self, tree, source, build):
        self.tree, self.source, self.build = tree, source, build
        self.connector = os.path.join(build, "tests/connector")
        self.sockpol = os.path.join(build, "sockpol")
        self.other_abi = os.path.join(build, "other-abi/sockpol")

    def make(self, machine, target, *variables):
        """`make install`, say, of the sources, into the machine."""
        environment = {name: value for name, value in os.environ.items()
                       if name not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL")}
        done = subprocess.run(
            ["make", "--no-print-directory", "-C", self.source, f"O={self.build}",
             f"DESTDIR={machine.root}", target, *(variables or ["PREFIX=/usr"])], env=environment, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, check=False)
        check(f"make {target} to succeed; it said\n{done.stdout}{done.stderr}\n   ", 0,
              done.returncode)

    def furnish(self, machine):
        """Before it boots: all is there and enabled."""
        self.make(machine, "install")
        machine.install(self.connector, "/usr/bin/connector")
        machine.write(POLICY_FILE, POLICY.format(seconds=SECONDS))
        machine.write("/etc/systemd/system/listener.service", LISTENER)
        machine.write("/etc/systemd/system/governed.service", GOVERNED)
        machine.write("/etc/systemd/system/governed-flood.service", FLOOD)
        for unit in ("sockpol", "listener", "governed"):
            machine.enable(unit)


def settle(machine):
    """Whatever the test before has left behind: sockpol runs as shipped, with the good policy."""
    machine.good("systemctl", "stop", "governed-flood")
    machine.good("rm", "-rf", "/etc/systemd/system/sockpol.service.d", "/var/log/flood",
                 "/var/log/first")
    machine.write(POLICY_FILE, POLICY.format(seconds=SECONDS))
    machine.good("systemctl", "daemon-reload")
    machine.good("systemctl", "restart", "sockpol")
    machine.good("systemctl", "reset-failed")


def drop_in(machine, text):
    """A setting of the administrator's own for sockpol.service, and the agent runs with it."""
    machine.write("/etc/systemd/system/sockpol.service.d/test.conf", f"[Service]\n{text}\n")
    machine.good("systemctl", "daemon-reload")
    machine.good("systemctl", "restart", "sockpol")


def in_force(machine, policies="1 policy"):
    """What sockpol says when all is well: the machine has a cgroup namespace of its own."""
    root = machine.good("stat", "-c", "%i", "/sys/fs/cgroup").strip()
    return f"{policies} in force, attached at cgroup {root} only"


def main_pid(machine):
    return int(machine.show("sockpol", "MainPID"))


def wait_new_agent(machine, old):
    """Until another one than `old` is at work."""
    wait_for("a new agent", True,
             lambda: main_pid(machine) not in (0, old)
             and machine.show("sockpol", "ActiveState") == "active", seconds=30)


def counted(machine, name):
    """What connector wrote there: [(connections, ungoverned, failed)]."""
    lines = machine.read(f"/var/log/{name}").splitlines()
    return [tuple(map(int, SAID.fullmatch(line).groups())) for line in lines]


def check_first_sockets(machine, times):
    """Each start opened one socket, and it was governed."""
    check("starts of a governed service, by (connections, ungoverned, failed)",
          {(1, 0, 0): times}, dict(collections.Counter(counted(machine, "first"))))


class Flood:
    """Connections without pause while the block runs; at its end none may have been ungoverned."""

    def __init__(self, machine):
        self.machine = machine

    def __enter__(self):
        self.machine.good("rm", "-f", "/var/log/flood")
        self.machine.good("systemctl", "start", "governed-flood")
        return self

    def __exit__(self, kind, *_):
        self.machine.good("systemctl", "stop", "governed-flood")
        if kind:
            return
        [(connections, ungoverned, failed)] = counted(self.machine, "flood")
        if ungoverned or failed or not connections:
            raise Failure("connections without pause", "some, 0 ungoverned, 0 failed",
                          f"{connections}, {ungoverned} ungoverned, {failed} failed"
                          f"{self.machine.said()}")


def is_governed(machine):
    """What one more connection of a governed service shows."""
    machine.good("rm", "-f", "/var/log/first")
    machine.good("systemctl", "restart", "governed")
    return counted(machine, "first") == [(1, 0, 0)]


def pins(machine):
    """Those that are there, or nothing."""
    return machine.run("find", PINS, "-mindepth", "1").stdout.split()
