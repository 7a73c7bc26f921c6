# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""The test's side of the unaware programs (worker.py): sockets to be used as if they were here."""

import os
import pickle
import select
import signal
import socket
import subprocess
import sys
import threading

from .result import PATIENCE, Failure

WORKER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "worker.py")


class Socket:
    """A socket of a worker; every method of socket.socket that takes and returns plain values."""

    def __init__(self, worker, number):
        self.worker, self.number = worker, number

    def __getattr__(self, method):
        def call(*arguments):
            return self.worker.call(self.number, method, arguments)

        return call

    def accept(self):
        return Socket(self.worker, self.worker.call(self.number, "accept", ()))

    def close(self):
        if self.number:
            self.worker.call(self.number, "close", ())
            self.number = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def port(self):
        return self.getsockname()[1]

    def sockopt(self, level, optname):
        """An integer option, as the application sees it, unsigned."""
        return self.getsockopt(level, optname) & 0xFFFFFFFF


class Nursery:
    """Where workers are born: a process of its own, until it is closed or the test's ends."""

    one = None

    def __init__(self, prefix=()):
        """prefix: what it is started by."""
        self.lock = threading.Lock()
        self.channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self.process = subprocess.Popen(
                [*prefix, sys.executable, "-I", "-S", WORKER, str(theirs.fileno())],
                pass_fds=[theirs.fileno()])

    @classmethod
    def the(cls):
        if not cls.one:
            cls.one = cls()
        return cls.one

    def bear(self, cgroup, channel):
        """Makes a process in that cgroup that serves the channel; returns its id."""
        with self.lock:
            socket.send_fds(self.channel, [cgroup.directory.encode()], [channel.fileno()])
            return int(self.channel.recv(32))

    def close(self):
        """Its workers live on."""
        self.channel.close()
        self.process.wait()


class Worker:
    """A process in a cgroup."""

    def __init__(self, cgroup, nursery=None):
        self.cgroup = cgroup
        ours, theirs = socket.socketpair()
        with theirs:
            self.process_id = (nursery or Nursery.the()).bear(cgroup, theirs)
        self.pidfd = os.pidfd_open(self.process_id)  # it lives at least until the channel closes
        ours.settimeout(30 * PATIENCE)
        self.channel = ours
        self.stream = ours.makefile("rwb")
        self.lock = threading.Lock()

    @property
    def pid(self):
        """Once it has answered it runs, in its cgroup."""
        self.call(0, "answer", ())
        return self.process_id

    def call(self, number, method, arguments):
        with self.lock:
            pickle.dump((number, method, arguments), self.stream)
            self.stream.flush()
            error, value = pickle.load(self.stream)
        if error:
            raise error(*value)
        return value

    def socket(self, family, kind, protocol=0):
        return Socket(self, self.call(0, "socket", (family, kind, protocol)))

    def stop(self):
        self.stream.close()
        self.channel.close()
        try:
            if not select.select([self.pidfd], [], [], 5 * PATIENCE)[0]:
                signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)
                raise Failure("an unaware program to end", f"within {5 * PATIENCE} s", "it runs")
        finally:
            os.close(self.pidfd)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()
