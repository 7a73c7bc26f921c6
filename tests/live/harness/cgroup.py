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
        """Kills what runs in it and below (nothing but the test's own), and removes the tree."""
        if not os.path.isdir(self.directory):
            return
        with open(f"{self.directory}/cgroup.kill", "w", encoding="ascii") as kill:
            kill.write("1")
        for directory, _, _ in os.walk(self.directory, topdown=False):
            Cgroup(self.mount, directory[len(self.mount):]).rmdir()
