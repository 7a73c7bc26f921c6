# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""The test's side of the unaware programs (worker.py): sockets to be used as if they were here."""

import os
import pickle
import socket
import sys
import threading

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


class Worker:
    """A process in a cgroup."""

    def __init__(self, cgroup):
        self.cgroup = cgroup
        ours, theirs = socket.socketpair()
        os.set_inheritable(theirs.fileno(), True)
        self.process = cgroup.popen([sys.executable, "-I", "-S", WORKER, str(theirs.fileno())],
                                    pass_fds=[theirs.fileno()])
        theirs.close()
        ours.settimeout(30)
        self.channel = ours
        self.stream = ours.makefile("rwb")
        self.lock = threading.Lock()

    @property
    def pid(self):
        """Once it has answered it runs, in its cgroup."""
        self.call(0, "answer", ())
        return self.process.pid

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
            self.process.wait(timeout=5)
        finally:
            self.process.kill()
            self.process.wait()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()
