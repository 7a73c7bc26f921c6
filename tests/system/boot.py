# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""What is there when the machine has booted, and what where something is missing then."""

import json

from harness.result import check, wait_for
from machine import Machine
from scene import (BAD_PLACE, BAD_POLICY, PINS, POLICY, POLICY_FILE, SECONDS, check_first_sockets,
                   is_governed, pins)

UNIT = "/usr/lib/systemd/system/sockpol.service"
EXPOSURE = 18  # of 100, by systemd-analyze; 20 is the promise
START_LIMIT_BURST = 5  # DefaultStartLimitBurst=
# What cannot be closed: the unit says why.
OPEN = {
    "SystemCallFilter=~@privileged", "User=/DynamicUser=", "CapabilityBoundingSet=~CAP_BPF",
    "CapabilityBoundingSet=~CAP_NET_ADMIN", "RestrictAddressFamilies=~AF_NETLINK",
    "RestrictAddressFamilies=~AF_UNIX", "RestrictAddressFamilies=~AF_(INET|INET6)", "ProcSubset=",
    "PrivateNetwork=", "PrivateUsers=", "DeviceAllow=",
}


def usec(machine, unit, name):
    return int(machine.show(unit, name))


def test_at_boot(scene, name):
    """Enabled, it is up before sysinit.target, and so before the first socket of any service."""
    with Machine(scene.tree, name) as machine:
        scene.furnish(machine)
        machine.boot()
        check("the state of the system", "running",
              machine.run("systemctl", "is-system-running").stdout.strip())
        machine.check_show("sockpol", ActiveState="active", NRestarts="0",
                           StatusText="1 policy in force")
        check("sockpol is up before sysinit.target", True,
              usec(machine, "sockpol", "ActiveEnterTimestampMonotonic")
              <= usec(machine, "sysinit.target", "ActiveEnterTimestampMonotonic"))
        check_first_sockets(machine, 1)


def test_exposure(scene, name):
    """The sandbox is as tight as it was; what is open is what the unit says."""
    with Machine(scene.tree, name) as machine:
        scene.furnish(machine)
        machine.boot()
        machine.good("systemd-analyze", "verify", UNIT)
        out = machine.good("systemd-analyze", "security", "--offline=true", "--json=short",
                           f"--threshold={EXPOSURE}", UNIT)
        found = {row["name"] for row in json.loads(out) if row["set"] is False}
        check("what systemd-analyze security finds open", sorted(OPEN), sorted(found))
        out = machine.good("systemd-analyze", "security", "--json=short", "sockpol.service")
        found = {row["name"] for row in json.loads(out) if row["set"] is False}
        check("what it finds open in the loaded unit", sorted(OPEN), sorted(found))
        sandbox = machine.good("cat", f"/proc/{machine.show('sockpol', 'MainPID')}/status")
        check("it is in force: no new privileges, a system call filter", True,
              "NoNewPrivs:\t1" in sandbox and "Seccomp:\t2" in sandbox)


def test_wrong_files_at_first_start(scene, name):
    """Nothing to hold up the boot for, nothing to try again, and everybody is told."""
    with Machine(scene.tree, name) as machine:
        scene.furnish(machine)
        machine.write(POLICY_FILE, BAD_POLICY)
        machine.boot()
        check("the state of the system", "degraded",
              machine.run("systemctl", "is-system-running").stdout.strip())
        machine.check_show("sockpol", ActiveState="failed", NRestarts="0", ExecMainStatus="78",
                           StatusText="not started: the policy files have errors")
        machine.check_show("governed", Result="success")
        [entry] = machine.journal(f"POLICY_FILE={POLICY_FILE}")
        check("the place in the journal", tuple(map(str, BAD_PLACE)),
              (entry["POLICY_LINE"], entry["POLICY_COLUMN"]))
        machine.write(POLICY_FILE, POLICY.format(seconds=SECONDS))
        machine.good("systemctl", "start", "sockpol")
        check("governed, once the file is mended", True, is_governed(machine))


def test_bpffs_late(scene, name):
    """Without a bpffs it says so, and is there as soon as there is one."""
    with Machine(scene.tree, name) as machine:
        scene.furnish(machine)
        machine.disable("bpffs")
        machine.write("/etc/systemd/system/sockpol.service.d/test.conf",
                      "[Service]\nRestartSec=50ms\n")
        machine.boot()
        wait_for("more starts than systemd allows by default", True,
                 lambda: int(machine.show("sockpol", "NRestarts")) > 2 * START_LIMIT_BURST)
        messages = [entry["MESSAGE"] for entry in machine.journal("-u", "sockpol")]
        check(f"a word of {PINS} from sockpol, in {messages}", True,
              any(PINS in m and "bpffs" in m for m in messages))
        machine.good("systemctl", "start", "bpffs")
        wait_for("the agent by itself", "active", lambda: machine.show("sockpol", "ActiveState"),
                 seconds=30)
        check("governed", True, is_governed(machine))


def test_pin_directory_missing(scene, name):
    """Somebody removed it, and tmpfiles.d's line too."""
    with Machine(scene.tree, name) as machine:
        scene.furnish(machine)
        machine.remove("/usr/lib/tmpfiles.d/sockpol.conf")
        machine.boot()
        machine.check_show("sockpol", ActiveState="active", NRestarts="0")
        check("pins", True, len(pins(machine)) > 5)
        check("governed", True, is_governed(machine))
