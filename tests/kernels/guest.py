# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""A virtual machine that runs the live tests and tells on its console how they went."""

import os
import platform
import re
import selectors
import signal
import subprocess
import time

BOOT_SECONDS = 120  # until init runs; 4 on an idle machine
TURN_OFF_SECONDS = 10
SILENT_SECONDS = 400  # no test takes so long: then the machine hangs
# Of the console, to show where a machine died.
TAIL = 25

RUNNING = re.compile(r"^sockpol-guest: running (\S+)")
DONE = re.compile(r"^sockpol-guest: done (\d+)")
PANIC = re.compile(r"Kernel panic|Oops:|BUG: ")
COUNTS = re.compile(r"^(\d+) passed, (\d+) failed, (\d+) skipped$")
TERMINAL = re.compile(r"\x1b(\[[0-9;?]*[a-zA-Z]|c)")


# By machine: QEMU's emulator with what it needs besides, and the console.
EMULATORS = {"x86_64": (["qemu-system-x86_64"], "ttyS0"),
             "aarch64": (["qemu-system-aarch64", "-machine", "virt"], "ttyAMA0")}


class Died(Exception):
    """The machine did not come to the tests' end: no verdict on them."""


class TooSlow(Exception):
    """The tests ran, and did not come to their end in time."""


class Guest:
    """One boot.  on_line is called with each line that the tests print."""

    def __init__(self, vmlinuz, initrd, arguments, patience, seconds, on_line):
        self.on_line = on_line
        self.seconds = seconds
        self.counts = None  # (passed, failed, skipped) as the tests print them last
        self.status = None  # of the tests
        self.lines = []
        self.running = self.timed_out = False
        self.deadline = float("inf")
        self.processor = 0.0  # seconds of the host's, of all boots
        emulator, console = EMULATORS[platform.machine()]
        append = [f"console={console}", "panic=-1", "quiet", "loglevel=4", "mitigations=off",
                  # On a busy host the boot finds its timer too slow to be true, and panics.
                  "no_timer_check",
                  # Without bpf among these BPF LSM loads and attaches programs, and never runs them.
                  "lsm=lockdown,yama,apparmor,bpf",
                  f"sockpol.patience={patience}",
                  f"sockpol.arguments={'%20'.join(arguments)}"]
        self.command = [*emulator, "-accel", "tcg", "-cpu", "max", "-smp", "1",
                        "-m", "2048", "-nodefaults", "-display", "none", "-serial", "stdio",
                        "-no-reboot", "-nic", "none", "-kernel", vmlinuz, "-initrd", initrd,
                        "-append", " ".join(append)]

    def run(self):
        """Boots, and waits for the end; raises Died or TooSlow."""
        self.lines, self.running, self.status, self.counts = [], False, None, None
        self.timed_out, self.deadline = False, float("inf")  # of the tests
        process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                   stderr=subprocess.STDOUT,
                                   # it goes with us, whatever happens to us
                                   preexec_fn=die_with_parent)
        try:
            self.watch(process)
        finally:
            os.kill(process.pid, signal.SIGKILL)  # if it has ended: nobody has waited for it yet
            _, process.returncode, used = os.wait4(process.pid, 0)
            self.processor += used.ru_utime + used.ru_stime
            process.stdout.close()
        if self.status is None:
            raise (TooSlow if self.timed_out else Died)(self.why())

    def watch(self, process):
        """Reads the console until the machine is off, or its time is over."""
        now = time.monotonic()
        off, rest = now + BOOT_SECONDS, b""
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            while True:
                if not selector.select(max(0, off - time.monotonic())):
                    self.timed_out = time.monotonic() >= self.deadline
                    return
                data = os.read(process.stdout.fileno(), 1 << 16)
                if not data:
                    return
                *lines, rest = (rest + data).split(b"\n")
                for line in lines:
                    off = self.take(TERMINAL.sub("", line.decode(errors="replace")).strip("\r"),
                                    off)

    def take(self, line, off):
        """A line of the console; returns until when there may be more."""
        self.lines.append(line)
        if RUNNING.match(line):
            self.running = True
            self.deadline = time.monotonic() + self.seconds
        elif done := DONE.match(line):
            self.status = int(done[1])
            return time.monotonic() + TURN_OFF_SECONDS
        elif counts := COUNTS.match(line):
            self.counts = tuple(map(int, counts.groups()))
        elif self.running and self.status is None:
            self.on_line(line)
        if not self.running or self.status is not None:
            return off
        return min(time.monotonic() + SILENT_SECONDS, self.deadline)

    def why(self):
        panic = next((line for line in self.lines if PANIC.search(line)), None)
        if panic:
            what = panic.strip()
        elif self.timed_out:
            what = f"not at the end within {self.seconds} s"
        elif self.running:
            what = f"hangs: not a word in {SILENT_SECONDS} s"
        else:
            what = "init did not start"
        return what + "".join(f"\n    | {line}" for line in self.lines[-TAIL:])


def die_with_parent():
    import ctypes  # noqa: PLC0415 (between fork and exec)
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
