# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""The sockets of programs that know nothing of tests, while they run."""

import contextlib
import ctypes
import os
import socket

SYS_PIDFD_GETFD = 438  # on every architecture
TCP_INFO, ESTABLISHED = 11, b"\x01"

libc = ctypes.CDLL(None, use_errno=True)


def take(pidfd, number):
    """A descriptor of another process, as one of ours."""
    taken = libc.syscall(SYS_PIDFD_GETFD, pidfd, number, 0)
    if taken < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return taken


def sockets_of(cgroup, stack):
    """[(program, socket)] of all processes of a cgroup; they are closed with the stack."""
    found = []
    for pid in cgroup.processes():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            pidfd = os.pidfd_open(int(pid))
            stack.callback(os.close, pidfd)
            with open(f"/proc/{pid}/comm", encoding="utf-8") as file:
                name = file.read().strip()
            for number in os.listdir(f"/proc/{pid}/fd"):
                with contextlib.suppress(OSError):  # closed meanwhile
                    if os.readlink(f"/proc/{pid}/fd/{number}").startswith("socket:"):
                        found.append((name, stack.enter_context(socket.socket(
                            fileno=take(pidfd, int(number))))))
    return found


def established(cgroup, stack):
    """Those that are connections over TCP."""
    return [(name, one) for name, one in sockets_of(cgroup, stack)
            if one.family in (socket.AF_INET, socket.AF_INET6) and one.type == socket.SOCK_STREAM
            and one.getsockopt(socket.IPPROTO_TCP, TCP_INFO, 1) == ESTABLISHED]
