# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Makes cgroups, and in each, at once, a process whose first act is to connect.

Each line on stdin is a JSON list of directories to make; the answer is a JSON list of what SO_PRIORITY
the children's sockets had.  Every other child is born in its cgroup (CLONE_INTO_CGROUP); the others
write themselves to cgroup.procs.  Started below the cgroups that it is to make.
"""

import ctypes
import json
import os
import signal
import socket
import struct
import sys

SYS_CLONE3 = 435  # on every architecture
CLONE_INTO_CGROUP = 0x200000000
FAILED = 255
NO_TIME_WAIT = struct.pack("ii", 1, 0)  # else the ports would run out

libc = ctypes.CDLL(None, use_errno=True)


def clone_into(directory):
    """As fork(2), but the child is in the cgroup from its first instruction on."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        # flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls, set_tid,
        # set_tid_size, cgroup
        arguments = struct.pack("11Q", CLONE_INTO_CGROUP, 0, 0, 0, signal.SIGCHLD, 0, 0, 0, 0, 0,
                                fd)
        pid = libc.syscall(SYS_CLONE3, arguments, len(arguments))
        if pid < 0:
            raise OSError(ctypes.get_errno(), "clone3")
        return pid
    finally:
        os.close(fd)


def fork_and_enter(directory):
    pid = os.fork()
    if pid == 0:
        with open(f"{directory}/cgroup.procs", "w", encoding="ascii") as procs:
            procs.write("0")
    return pid


def connect(address):
    """The child's whole life; the kernel completes the connection whether it is accepted or not."""
    with socket.socket() as one:
        one.settimeout(10)
        one.connect(address)
        value = one.getsockopt(socket.SOL_SOCKET, socket.SO_PRIORITY)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_TIME_WAIT)
    return value


def born_in(directory, listener, start):
    os.mkdir(directory)
    pid = start(directory)
    if pid == 0:
        status = FAILED
        try:
            status = connect(listener.getsockname())
        finally:
            os._exit(status)
    _, status = os.waitpid(pid, 0)
    listener.accept()[0].close()
    return os.waitstatus_to_exitcode(status)


def main():
    listener = socket.create_server(("127.0.0.1", 0), backlog=64)
    listener.settimeout(10)
    starts = (clone_into, fork_and_enter)
    for line in sys.stdin:
        seen = [born_in(directory, listener, starts[number % 2])
                for number, directory in enumerate(json.loads(line))]
        print(json.dumps(seen), flush=True)


main()
