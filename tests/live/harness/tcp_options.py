# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Options of TCP sockets that no application has a descriptor of, as the kernel has them."""

import errno
import os
import socket
import struct
import subprocess
import threading

from .result import Failure

RECORD = struct.Struct("=HHII16s")  # tcp_options.bpf.c
# What applications call TCP_RTO_MIN_US and TCP_DELACK_MAX_US.
BPF_NAMES = {(socket.IPPROTO_TCP, 45): 1004, (socket.IPPROTO_TCP, 46): 1003}

LOCK = threading.Lock()


def read(box):
    """{(port, the peer's port): {(level, optname): 16 bytes}}"""
    path = os.path.join(box.bpffs, "tcp_options")
    with LOCK:
        if not os.path.exists(path):
            subprocess.run(["bpftool", "iter", "pin", box.built("tests/tcp_options.bpf.o"), path],
                           check=True)
    with open(path, "rb") as file:
        found = {}
        for port, peer, level, optname, value in RECORD.iter_unpack(file.read()):
            found.setdefault((port, peer), {})[level, optname] = value
    return found


class Subflow:
    """One of MPTCP's: a TCP socket of the kernel's."""

    def __init__(self, box, port, peer):
        self.box, self.ports = box, (port, peer)

    def options(self):
        found = read(self.box).get(self.ports)
        if found is None:
            raise Failure("a TCP socket with these ports", self.ports, "none")
        return found

    def getsockopt(self, level, optname, size):
        [value] = self.get_all([(level, optname, size)])
        if isinstance(value, int):
            raise OSError(value, os.strerror(value))
        return value

    def get_all(self, options):
        """The value of each (level, name, size), or an errno."""
        found = self.options()
        values = (found.get((level, BPF_NAMES.get((level, optname), optname)))
                  for level, optname, _ in options)
        return [errno.ENOPROTOOPT if value is None else value[:size]
                for value, (_, _, size) in zip(values, options)]
