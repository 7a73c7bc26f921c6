# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""A host of its own for a test: a network namespace, and programs that are started in it."""

import subprocess

from .remote import Nursery, Worker


class Host:
    """It goes with the scope, and its network with the last of its programs."""

    def __init__(self, box, name):
        self.box, self.nursery = box, Nursery(["unshare", "--net", "--"])
        box.stack.callback(self.nursery.close)
        self.unaware = self.worker(box.cgroup.child(name))
        self.pid = self.unaware.pid

    def worker(self, cgroup):
        return self.box.stack.enter_context(Worker(cgroup, self.nursery))

    def run(self, *command, text=None):
        """A command of this machine in the host's network."""
        subprocess.run(["nsenter", f"--net=/proc/{self.pid}/ns/net", "--", *command], input=text,
                       text=True, check=True)

    def ip(self, *lines):
        """ip(8), a line of arguments each; the first may be -6."""
        for flag in ("-4", "-6"):
            batch = [line.removeprefix("-6 ") for line in lines
                     if line.startswith("-6 ") == (flag == "-6")]
            if batch:
                self.run("ip", flag, "-batch", "-", text="\n".join(batch) + "\n")

    def sysctl(self, name, value):
        """name: with dots, below `net`."""
        self.run("/bin/sh", "-c", 'printf %s "$1" >"/proc/sys/net/$0"', name.replace(".", "/"),
                 value)
