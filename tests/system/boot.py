# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""What is there when the machine has booted, and what where something is missing then."""

import json
import os
import re
import shutil

from harness.result import Containing, check, wait_for
from machine import Machine
from scene import (BAD_PLACE, BAD_POLICY, OTHER_SECONDS, PINS, POLICY, POLICY_FILE, SECONDS, check_first_sockets,
                   in_force, is_governed, pins)

UNIT = "/usr/lib/systemd/system/sockpol.service"
EXPOSURE = 18  # of 100, by systemd-analyze; 20 is the promise
STATE = "/var/lib/sockpol"
# A disk with no room, over what is there.
FULL = """
[Unit]
DefaultDependencies=no
Before=local-fs.target
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh -c 'cp -a /var/lib/sockpol /run/kept && mount -t tmpfs -o size=16k,mode=0700 tmpfs /var/lib/sockpol && \
    cp -a /run/kept/. /var/lib/sockpol && head -c 1M /dev/zero >/var/lib/sockpol/fill || true'
[Install]
WantedBy=local-fs.target
"""
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
        machine.check_show("sockpol", ActiveState="active", NRestarts="0", StatusText=in_force(machine))
        check("sockpol is up before sysinit.target", True,
              usec(machine, "sockpol", "ActiveEnterTimestampMonotonic")
              <= usec(machine, "sysinit.target", "ActiveEnterTimestampMonotonic"))
        check_first_sockets(machine, 1)


def test_exposure(scene, name):
    """The sandbox is as tight as it was; what is open is what the unit says."""
    with Machine(scene.tree, name) as machine:
        scene.furnish(machine)
        machine.boot()
        machine.good("systemd-analyze", "verify", "--man=no", UNIT)  # there is no man(1)
        for page, section in re.findall(r"man:([\w.]+)\((\d)\)", machine.show("sockpol", "Documentation")):
            check(f"the manual has {page}({section})", True,
                  os.path.exists(machine.path(f"/usr/share/man/man{section}/{page}.{section}")))
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


def keep_last_good(machine):
    """As a boot with good files leaves it."""
    name = os.path.basename(POLICY_FILE)
    machine.write(f"{STATE}/files.0/{name}", POLICY.format(seconds=SECONDS))
    os.symlink("files.0", machine.path(f"{STATE}/last-good"))
    for path in (STATE, f"{STATE}/files.0"):
        os.chmod(machine.path(path), 0o700)


def check_by_last_good(machine):
    machine.check_show("sockpol", ActiveState="active", NRestarts="0",
                       StatusText="the policy files have errors: 1 policy is in force from the last "
                                  "good files")
    check_first_sockets(machine, 1)
    check("status", Containing(f"degraded: in force from the last good files ({STATE}/files.0): governed\n"),
          machine.good("sockpol", "status"))
    check("check, as ever", 1, machine.run("sockpol", "check").returncode)


def test_last_good_boot_with_a_broken_file(scene, name):
    """A boot with good files, then one where a file is half-edited: the first socket of a service is governed."""
    with Machine(scene.tree, name) as machine:
        scene.furnish(machine)
        machine.boot()
        wait_for("the files to be kept", POLICY.format(seconds=SECONDS),
                 lambda: machine.run("cat", f"{STATE}/last-good/{os.path.basename(POLICY_FILE)}").stdout)
        check("who may read them", "700 root", machine.good("stat", "-c", "%a %U", STATE).strip())
        machine.remove("/var/log/first")
        machine.write(POLICY_FILE, BAD_POLICY)
        machine.boot_again()
        check_by_last_good(machine)
        machine.write(POLICY_FILE, POLICY.format(seconds=OTHER_SECONDS))
        machine.good("systemctl", "reload", "sockpol")
        machine.check_show("sockpol", StatusText=in_force(machine))


def test_last_good_boot_with_a_module_that_is_gone(scene, name):
    """A policy that insists on a congestion control that the new kernel does not have, and one that does not."""
    text = POLICY.format(seconds=SECONDS) + """  - name: lacks
    match: { unit: "other.service" }
    options: { TCP_CONGESTION: nosuchcc }
"""
    with Machine(scene.tree, name) as machine:
        scene.furnish(machine)
        machine.write(POLICY_FILE, text)
        machine.boot()
        machine.check_show("sockpol", ActiveState="active", StatusText=in_force(machine, "2 policies"))
        check_first_sockets(machine, 1)
        check("status", Containing("no congestion control 'nosuchcc': left out of policy lacks"),
              machine.good("sockpol", "status"))
    with Machine(scene.tree, name) as machine:
        scene.furnish(machine)
        keep_last_good(machine)
        machine.write(POLICY_FILE, text + "    on_unsupported: refuse\n")
        machine.boot()
        machine.check_show("sockpol", ActiveState="active", NRestarts="0",
                           StatusText="the policy files have errors: 1 policy is in force from the last "
                                      "good files")
        check_first_sockets(machine, 1)


def test_last_good_boot_with_an_empty_var(scene, name):
    """tmpfiles.d makes the directory; where it does not, that is a warning."""
    for line in (True, False):
        with Machine(scene.tree, name) as machine:
            scene.furnish(machine)
            shutil.rmtree(machine.path("/var/lib/sockpol"), ignore_errors=True)
            if not line:
                machine.remove("/usr/lib/tmpfiles.d/sockpol.conf")
            machine.boot()
            machine.check_show("sockpol", ActiveState="active", NRestarts="0", StatusText=in_force(machine))
            check_first_sockets(machine, 1)
            words = f"Cannot keep the policy files in {STATE}"
            wait_for("the files are kept, or a warning", (line, not line), lambda: (
                machine.run("test", "-e", f"{STATE}/last-good").returncode == 0,
                any(words in entry["MESSAGE"] for entry in machine.journal("-u", "sockpol"))))


def test_last_good_boot_with_a_full_disk(scene, name):
    """Neither the boot nor what was kept before suffers."""
    with Machine(scene.tree, name) as machine:
        scene.furnish(machine)
        keep_last_good(machine)
        machine.write("/etc/systemd/system/full.service", FULL)
        machine.enable("full")
        machine.write(POLICY_FILE, POLICY.format(seconds=SECONDS) + "#" * 10000)
        machine.boot()
        machine.check_show("sockpol", ActiveState="active", NRestarts="0", StatusText=in_force(machine))
        check_first_sockets(machine, 1)
        words = "No space left on device"
        wait_for("a warning", True, lambda: any(words in entry["MESSAGE"]
                                                for entry in machine.journal("-u", "sockpol")))
        machine.write(POLICY_FILE, BAD_POLICY)
        machine.good("sh", "-c", "systemctl stop sockpol && sockpol detach && rm /var/log/first")
        machine.good("systemctl", "start", "sockpol")
        machine.good("systemctl", "restart", "governed")
        check_by_last_good(machine)


def test_bpffs_late(scene, name):
    """Without a bpffs it says so, once, and is there as soon as there is one."""
    with Machine(scene.tree, name) as machine:
        scene.furnish(machine)
        machine.disable("bpffs")
        machine.write("/etc/systemd/system/sockpol.service.d/test.conf",
                      "[Service]\nRestartSec=50ms\n")
        machine.boot()
        machine.check_show("sockpol", ActiveState="active", NRestarts="0",
                           StatusText="nothing is governed: waiting for a bpffs")
        messages = [entry["MESSAGE"] for entry in machine.journal("-u", "sockpol")]
        check(f"a word of {PINS} from sockpol, in {messages}", True,
              any(PINS in m and "bpffs" in m for m in messages))
        check(f"lines in the journal, of\n{messages}\n   ", True, len(messages) < 7)
        machine.good("systemctl", "start", "bpffs")
        wait_for("policy in force", in_force(machine), lambda: machine.show("sockpol", "StatusText"),
                 seconds=30)
        check("governed", True, is_governed(machine))
        machine.good("systemctl", "reload", "sockpol")
        machine.check_show("sockpol", ActiveState="active", NRestarts="0")


def test_pin_directory_missing(scene, name):
    """Somebody removed it, and tmpfiles.d's line too."""
    with Machine(scene.tree, name) as machine:
        scene.furnish(machine)
        machine.remove("/usr/lib/tmpfiles.d/sockpol.conf")
        machine.boot()
        machine.check_show("sockpol", ActiveState="active", NRestarts="0")
        check("pins", True, len(pins(machine)) > 5)
        check("governed", True, is_governed(machine))
