# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""A machine with a systemd of its own: systemd-nspawn over a copy of the tree that goes with it."""

import contextlib
import json
import os
import select
import shutil
import socket
import subprocess
import tempfile

from harness.cgroup import Cgroup, mount_point
from harness.result import Failure

BOOT_SECONDS = 60.0  # until whatever the default target wants has been started

# nspawn wants a cgroup2 at the usual place, which a hybrid host does not have, and a /run where it
# meets no other nspawn.  The machine sees its own part of the hierarchy only.
NSPAWN = """
mount -t tmpfs tmpfs /run &&
{ umount -l /sys/fs/cgroup; mount -t cgroup2 cgroup2 /sys/fs/cgroup; } &&
exec systemd-nspawn --quiet --boot --directory="$1" --machine="$2" --keep-unit --register=no \
    --console=pipe --notify-ready=yes --private-network --resolv-conf=off --timezone=off \
    --link-journal=no --capability=CAP_BPF,CAP_NET_ADMIN,CAP_PERFMON --system-call-filter=bpf
"""

# On a host the kernel makes /sys/fs/bpf and the first thing that systemd does is to mount a bpffs there.
# In a container it does not, and nspawn's /sys is a file system of its own that has no place for it.
MOUNT_POINT = """
[Unit]
DefaultDependencies=no
Before=local-fs.target
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/mount -o remount,rw /sys
ExecStart=/bin/mkdir /sys/fs/bpf
ExecStart=/bin/mount -o remount,ro /sys
[Install]
WantedBy=local-fs.target
"""
BPFFS = """
[Unit]
DefaultDependencies=no
After=bpffs-mount-point.service
Before=local-fs.target
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/mount -t bpf -o mode=0700 bpf /sys/fs/bpf
[Install]
WantedBy=local-fs.target
"""


# Should the tests be killed in a way that leaves them no time, the machine goes all the same: it waits
# for the end of its input.
GUARD = """
read -r _ && exit
echo 1 >"$1/cgroup.kill"
while [ -d "$1" ]; do find "$1" -depth -type d -exec rmdir {} + 2>/dev/null || sleep 0.1; done
umount -l "$2/root" "$2"; rmdir "$2"
"""


class Machine:
    """Use it as a context manager; it is dead, and its files gone, at the end."""

    def __init__(self, tree, name):
        self.tree, self.name = tree, name
        self.stack = contextlib.ExitStack()
        self.root = self.process = self.leader = self.notify = self.console = None
        self.cgroup = Cgroup(mount_point(), f"/{name}")

    def __enter__(self):
        with contextlib.ExitStack() as stack:
            directory = tempfile.mkdtemp(prefix=self.name + "-")
            stack.callback(shutil.rmtree, directory, ignore_errors=True)
            self.mount(stack, "tmpfs", "tmpfs", directory, "mode=0755")
            for name in ("upper", "work", "root"):
                os.mkdir(os.path.join(directory, name))
            self.root = os.path.join(directory, "root")
            self.mount(stack, "overlay", "overlay", self.root,
                       f"lowerdir={self.tree},upperdir={directory}/upper,workdir={directory}/work")
            self.notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            stack.callback(self.notify.close)
            self.notify.bind(directory + "/notify")
            self.notify.settimeout(BOOT_SECONDS)
            self.console = directory + "/console"
            self.cgroup.make()
            stack.callback(self.start_guard(directory).communicate, b"all is clean\n")
            stack.callback(self.kill)
            for unit, text in (("bpffs-mount-point", MOUNT_POINT), ("bpffs", BPFFS)):
                self.write(f"/etc/systemd/system/{unit}.service", text)
                self.enable(unit)
            self.stack = stack.pop_all()
        return self

    def __exit__(self, *_):
        self.stack.close()

    def start_guard(self, directory):
        return subprocess.Popen(["sh", "-c", GUARD, "sh", self.cgroup.directory, directory],
                                stdin=subprocess.PIPE, start_new_session=True,
                                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    @staticmethod
    def mount(stack, kind, source, target, options):
        subprocess.run(["mount", "-t", kind, "-o", options, source, target], check=True)
        stack.callback(subprocess.run, ["umount", "-l", target], check=False)

    # Files, before and after it has booted

    def path(self, name):
        return self.root + name

    def write(self, name, text, mode=0o644):
        os.makedirs(os.path.dirname(self.path(name)), exist_ok=True)
        with open(self.path(name), "w", encoding="utf-8") as file:
            os.fchmod(file.fileno(), mode)
            file.write(text)

    def read(self, name):
        with open(self.path(name), encoding="utf-8") as file:
            return file.read()

    def install(self, program, name):
        shutil.copyfile(program, self.path(name))
        os.chmod(self.path(name), 0o755)

    def enable(self, unit):
        subprocess.run(["systemctl", "--quiet", f"--root={self.root}", "enable", unit], check=True)

    def disable(self, unit):
        subprocess.run(["systemctl", "--quiet", f"--root={self.root}", "disable", unit], check=True)

    def rename(self, name, new):
        os.rename(self.path(name), self.path(new))

    def remove(self, name):
        os.unlink(self.path(name))

    # Life

    def boot(self):
        """Returns when all is started that the default target wants."""
        environment = {**os.environ, "NOTIFY_SOCKET": self.notify.getsockname()}
        with open(self.console, "wb") as console:
            self.process = self.cgroup.popen(
                ["unshare", "--mount", "--propagation", "private", "--", "sh", "-c", NSPAWN, "sh",
                 self.root, self.name],
                stdin=subprocess.DEVNULL, stdout=console, stderr=console, env=environment)
        ready = False
        while not (ready and self.leader):
            for line in self.notification().splitlines():
                ready = ready or line == "READY=1"
                if line.startswith("X_NSPAWN_LEADER_PID="):
                    self.leader = line.partition("=")[2]
        return self

    def notification(self):
        """The next word from nspawn; fails when it is dead, or silent for too long."""
        pidfd = os.pidfd_open(self.process.pid)
        try:
            readable, _, _ = select.select([self.notify, pidfd], [], [], BOOT_SECONDS)
        finally:
            os.close(pidfd)
        if self.notify not in readable:
            raise Failure("a machine to boot", f"within {BOOT_SECONDS} s", self.console_text())
        return self.notify.recv(4096).decode()

    def console_text(self):
        with open(self.console, encoding="utf-8", errors="replace") as console:
            return console.read()[-2000:]

    def kill(self):
        """All that runs in it, at once; nothing of it outlives that."""
        self.cgroup.remove_all()
        if self.process:
            self.process.wait()

    def boot_again(self):
        """What was written to its disk is there, and nothing else."""
        self.kill()
        self.cgroup.make()
        self.leader = None
        return self.boot()

    # What is asked of it

    def run(self, *command, seconds=60):
        """Runs a program in it, as root; returns its CompletedProcess."""
        return subprocess.run(
            ["nsenter", "--target", self.leader, "--mount", "--uts", "--ipc", "--net", "--pid",
             "--root", "--wdns=/", "--", "env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C",
             *command], stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace",
            timeout=seconds, check=False)

    def good(self, *command):
        """Runs a program that has to succeed; returns what it wrote."""
        done = self.run(*command)
        if done.returncode != 0:
            raise Failure(f"{' '.join(command)} to succeed", 0,
                          f"{done.returncode}: {done.stdout}{done.stderr}{self.said()}")
        return done.stdout

    def said(self):
        """The agent's last words, for a failure."""
        done = self.run("journalctl", "--no-pager", "-o", "cat", "-n", "12", "-u", "sockpol")
        return f"\n    the journal has\n{done.stdout}" if done.stdout.strip() else ""

    def show(self, unit, name):
        return self.good("systemctl", "show", "--value", "-p", name, unit).strip()

    def check_show(self, unit, **properties):
        seen = {name: self.show(unit, name) for name in properties}
        if not properties == seen:
            raise Failure(f"{unit}'s properties", properties, f"{seen}{self.said()}")

    def journal(self, *matches):
        """The entries, oldest first: all that has been said by now."""
        self.good("journalctl", "--sync")
        out = self.good("journalctl", "--no-pager", "-o", "json", *matches)
        return [json.loads(line) for line in out.splitlines()]

    def signal_main(self, unit, name):
        """To the unit's main process, by way of systemd."""
        self.good("systemctl", "kill", "--kill-whom=main", f"--signal={name}", unit)
