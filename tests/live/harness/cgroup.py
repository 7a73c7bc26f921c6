# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Cgroups of the test's own."""

import os
import subprocess

from .result import PATIENCE, wait_for


def mount_point():
    """Where cgroup2 is mounted: it need not be /sys/fs/cgroup (hybrid hosts)."""
    with open("/proc/self/mountinfo", encoding="utf-8") as mounts:
        for line in mounts:
            fields, _, rest = line.partition(" - ")
            if rest.split()[0] == "cgroup2":
                return fields.split()[4]
    raise OSError("cgroup2 is not mounted")


class Cgroup:
    """A directory of the cgroup2 hierarchy; `path` is how policies name it."""

    def __init__(self, mount, path):
        self.mount, self.path = mount, path
        self.directory = mount + path

    def make(self):
        os.makedirs(self.directory, exist_ok=True)
        return self

    def child(self, name, make=True):
        child = Cgroup(self.mount, f"{self.path}/{name}")
        return child.make() if make else child

    @property
    def id(self):
        return os.stat(self.directory).st_ino

    def processes(self):
        try:
            with open(f"{self.directory}/cgroup.procs", encoding="ascii") as procs:
                return procs.read().split()
        except OSError:
            return []

    def popen(self, arguments, **keywords):
        """Starts a program whose every socket belongs to this cgroup from the first on."""
        join = 'echo $$ >"$0/cgroup.procs" && exec "$@"'
        return subprocess.Popen(["/bin/sh", "-c", join, self.directory, *arguments], **keywords)

    def run(self, arguments, **keywords):
        with self.popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                        **keywords) as process:
            out, err = process.communicate(timeout=30 * PATIENCE)
        return subprocess.CompletedProcess(arguments, process.returncode, out, err)

    def rmdir(self):
        """Removes this one; its last process may still be on its way out."""
        wait_for(f"the last process to leave {self.path}", [], self.processes)
        os.rmdir(self.directory)

    def remove_all(self):
        """Kills what runs in it and below (nothing but the test's own), and removes the tree, however
        deep it is."""
        if not os.path.isdir(self.directory):
            return
        with open(f"{self.directory}/cgroup.kill", "w", encoding="ascii") as kill:
            kill.write("1")
        at, names = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY), []
        while True:
            below = remove_leaves(at)
            if below:
                names.append(below)
                at = instead_of(at, below)
            elif names:
                at = instead_of(at, "..")
                remove(names.pop(), at)
            else:
                break
        os.close(at)
        self.rmdir()


def instead_of(at, name):
    """A descriptor of the directory of that name in place of this one."""
    other = os.open(name, os.O_RDONLY | os.O_DIRECTORY, dir_fd=at)
    os.close(at)
    return other


def remove_leaves(at):
    """Removes the children that have none; returns the name of one that has, if there is any."""
    with os.scandir(at) as entries:
        names = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    for name in names:
        try:
            os.rmdir(name, dir_fd=at)
        except OSError:  # EBUSY, for processes that are on their way out too
            with os.scandir(fd := os.open(name, os.O_RDONLY | os.O_DIRECTORY, dir_fd=at)) as entries:
                inner = any(entry.is_dir(follow_symlinks=False) for entry in entries)
            os.close(fd)
            if inner:
                return name
            remove(name, at)
    return None


def remove(name, at):
    """Its last process may still be on its way out."""

    def gone():
        try:
            os.rmdir(name, dir_fd=at)
        except OSError as error:
            return error.errno
        return 0

    wait_for(f"the cgroup {name[:80]} to be removed", 0, gone)
