# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""The life of the package: in a chroot, installed, upgraded under load, removed, purged."""
import contextlib
import json
import os
import shutil
import subprocess

import readme
from harness.result import Failure, check, wait_for
from machine import Machine
from scene import BAD_POLICY, FLOOD, GOVERNED, LISTENER, PINS, POLICY, POLICY_FILE, SECONDS, Flood, is_governed, pins
from tree import cached_tree, default_cache

WANTS = "/etc/systemd/system/sysinit.target.wants/sockpol.service"
# What dpkg, the chroot and the journal keep for themselves.
OTHERS = ("/var/lib/dpkg/", "/var/log/", "/var/cache/", "/tmp/", "/proc/", "/sys/", "/etc/systemd/system/")
# In the place of the program: says that it has been called.
WITNESS = "#!/bin/sh\ntouch /tmp/called\n"


@contextlib.contextmanager
def machine(arguments):
    """One that is not booted yet, with the package and what will ask for sockets in it."""
    tree = cached_tree(arguments.cache or default_cache())
    with Machine(tree, f"sockpol-deb-{os.getpid()}") as made:
        shutil.copy(arguments.deb, made.path("/srv/old.deb"))
        with_version(arguments.deb, made.path("/srv/new.deb"), "99.1")
        with_version(arguments.deb, made.path("/srv/newer.deb"), "99.2")
        made.install(os.path.join(arguments.build, "tests/connector"), "/usr/bin/connector")
        for unit, text in (("listener", LISTENER), ("governed", GOVERNED), ("governed-flood", FLOOD)):
            made.write(f"/etc/systemd/system/{unit}.service", text)
        yield made


def with_version(deb, to, version):
    """The package as a later one of its versions."""
    directory = to + ".d"
    subprocess.run(["dpkg-deb", "-R", deb, directory], check=True)
    subprocess.run(["sed", "-i", f"s/^Version: .*/Version: {version}/", directory + "/DEBIAN/control"], check=True)
    subprocess.run(["dpkg-deb", "-b", directory, to], check=True, stdout=subprocess.DEVNULL)
    shutil.rmtree(directory)


# In a chroot, before it boots


def in_chroot(machine, *command):
    with proc_of(machine):
        done = subprocess.run(["chroot", machine.root, *command], stdin=subprocess.DEVNULL, capture_output=True,
                              text=True, env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C"}, check=False)
    if done.returncode != 0:
        raise Failure(" ".join(command), "exit status 0", f"{done.returncode}: {done.stdout}{done.stderr}")
    return done.stdout + done.stderr


@contextlib.contextmanager
def proc_of(machine):
    """This system's /proc in it, as those who work in chroots have it."""
    subprocess.run(["mount", "-t", "proc", "proc", machine.path("/proc")], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", machine.path("/proc")], check=True)


def files(machine):
    found = set()
    for top, directories, names in os.walk(machine.root):
        for name in directories + names:
            found.add(os.path.join(top, name)[len(machine.root):])
    return {path for path in found if not path.startswith(OTHERS)}


def test_chroot(machine, _):
    """It is enabled, and nothing more: neither installing nor removing touches what the kernel runs."""
    before = files(machine)
    in_chroot(machine, "dpkg", "-i", "/srv/old.deb")
    check("enabled", True, os.path.islink(machine.path(WANTS)))
    machine.write("/usr/bin/sockpol", WITNESS, 0o755)
    in_chroot(machine, "dpkg", "-r", "sockpol")
    check("removing called sockpol", False, os.path.exists(machine.path("/tmp/called")))
    machine.write(POLICY_FILE, POLICY.format(seconds=SECONDS))
    in_chroot(machine, "dpkg", "--purge", "sockpol")
    check("what is left when it is purged", set(), files(machine) - before)
    check("enabled", False, os.path.lexists(machine.path(WANTS)))


def test_first_boot(machine, _):
    """Installed in the chroot, it starts with the machine."""
    in_chroot(machine, "dpkg", "-i", "/srv/old.deb")
    machine.write(POLICY_FILE, POLICY.format(seconds=SECONDS))
    machine.boot()
    machine.check_show("sockpol", ActiveState="active", UnitFileState="enabled")
    check("governed", True, is_governed(machine))


# On the running machine


def version(machine):
    return machine.run("dpkg-query", "-W", "-f", "${Version} ${db:Status-Status}", "sockpol").stdout


def main_pid(machine):
    return machine.show("sockpol", "MainPID")


def test_upgrade(machine, _):
    """Another agent, and no connection without its policy."""
    pid = main_pid(machine)
    with Flood(machine):
        machine.good("dpkg", "-i", "/srv/new.deb")
    check("version", "99.1 installed", version(machine))
    check("another agent", True, main_pid(machine) not in (pid, "0"))
    machine.check_show("sockpol", ActiveState="active", UnitFileState="enabled")


def test_upgrade_with_bad_files(machine, _):
    """dpkg is content, policy stays."""
    machine.write(POLICY_FILE, BAD_POLICY)
    with Flood(machine):
        machine.good("dpkg", "-i", "/srv/newer.deb")
    check("version", "99.2 installed", version(machine))
    machine.check_show("sockpol", ActiveState="active")
    machine.write(POLICY_FILE, POLICY.format(seconds=SECONDS))
    machine.good("systemctl", "reload", "sockpol")
    check("governed", True, is_governed(machine))


def test_disabled_stays_disabled(machine, _):
    machine.good("systemctl", "disable", "sockpol")
    machine.good("dpkg", "-i", "/srv/newer.deb")
    machine.check_show("sockpol", UnitFileState="disabled")
    machine.good("systemctl", "enable", "sockpol")


def generation(machine):
    return json.loads(machine.good("sockpol", "status", "--json"))["generation"]


def test_downgrade(machine, _):
    """What an older version could not take over is taken out before it comes, and it puts the files in
    force anew."""
    for seconds in (SECONDS + 1, SECONDS):  # a load that changes nothing makes none
        machine.write(POLICY_FILE, POLICY.format(seconds=seconds))
        machine.good("systemctl", "reload", "sockpol")
    check("generations before", True, generation(machine) > 1)
    machine.good("dpkg", "-i", "/srv/old.deb")
    check("the first generation of new maps", 1, generation(machine))
    check("governed", True, is_governed(machine))
    machine.good("dpkg", "-i", "/srv/newer.deb")


def test_remove(machine, _):
    """Policy goes with the package; the administrator's files stay."""
    machine.write(POLICY_FILE, POLICY.format(seconds=SECONDS))
    machine.good("systemctl", "start", "sockpol")
    check("there are pins", True, bool(pins(machine)))
    machine.good("dpkg", "-r", "sockpol")
    check("version", "99.2 config-files", version(machine))
    check("pins", [], pins(machine))
    check("the pin directory", 1, machine.run("test", "-e", PINS).returncode)
    check("governed", False, is_governed(machine))
    check("the administrator's file", POLICY.format(seconds=SECONDS), machine.read(POLICY_FILE))


def test_install(machine, _):
    """Started by it, with the policies that were there."""
    machine.good("dpkg", "-i", "/srv/old.deb")
    machine.check_show("sockpol", ActiveState="active", UnitFileState="enabled")
    check("mode and owner of the directory for policies", "755 root root",
          machine.good("stat", "-c", "%a %U %G", os.path.dirname(POLICY_FILE)).strip())
    check("governed", True, is_governed(machine))


def test_purge(machine, _):
    machine.good("dpkg", "--purge", "sockpol")
    wait_for("the unit to be gone", "not-found", lambda: machine.show("sockpol", "LoadState"))
    out = machine.run("find", "/", "-xdev", "-name", "*sockpol*", "-not", "-path", "/proc/*", "-not", "-path", "/sys/*")
    check("what is left", [], [path for path in out.stdout.split()
                               if not path.startswith(("/var/log/", "/tmp/"))])
    for place in ("/etc/sockpol", "/run/sockpol", PINS):
        check(f"{place} is there", 1, machine.run("test", "-e", place).returncode)
    check("governed", False, is_governed(machine))


def test_b8_readme(machine, arguments):
    """By README's commands, as its reader: it is started, with no policy yet."""
    readme.let_in(machine)
    os.makedirs(machine.path(f"/home/{readme.READER}/build/deb"))
    shutil.copy(arguments.deb, machine.path(f"/home/{readme.READER}/build/deb"))
    made = []
    readme.follow(machine, readme.section("Install", "^Or without one:$"), made.append)
    check("what contents/f7_demo_then_deb does", [["deb"]], made)
    machine.check_show("sockpol", ActiveState="active", UnitFileState="enabled")
    check("policies", [], json.loads(machine.good("sockpol", "status", "--json"))["policies"])
