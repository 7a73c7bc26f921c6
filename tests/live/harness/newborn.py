# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Makes cgroups, and in each, at once, a process that opens the first socket there.

Started as `newborn.py DIRECTORY`, in a cgroup above those that it makes, which is that directory.
Each line on stdin is a JSON list of [path below the directory, how]; the answer is a JSON list of what
OPTIONS the first socket in each has, or of the error.  Of the processes every other one is born in its
cgroup (CLONE_INTO_CGROUP); the others write themselves to cgroup.procs.

how: "connect": it connects.  "accept": it listens and looks at what it accepts, which is the first
that any hook governs where only accepted sockets are governed.  "both": the client and what its own
listener accepts, one after the other.  "removed": it leaves its cgroup, the cgroup is removed, and
then it connects.
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
NO_TIME_WAIT = struct.pack("ii", 1, 0)  # else the ports would run out
OPTIONS = ((socket.SOL_SOCKET, 12),   # SO_PRIORITY
           (socket.SOL_SOCKET, 36),   # SO_MARK
           (socket.IPPROTO_TCP, 4),   # TCP_KEEPIDLE
           (socket.IPPROTO_TCP, 18))  # TCP_USER_TIMEOUT

libc = ctypes.CDLL(None, use_errno=True)


def open_made(directory, path):
    """A descriptor of the directory, made if need be; one component at a time, as the whole path may
    be longer than any call takes."""
    at = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    for name in path.split("/"):
        try:
            os.mkdir(name, dir_fd=at)
        except FileExistsError:
            pass
        below = os.open(name, os.O_RDONLY | os.O_DIRECTORY, dir_fd=at)
        os.close(at)
        at = below
    return at


def clone_into(cgroup):
    """As fork(2), but the child is in the cgroup from its first instruction on."""
    # flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls, set_tid, set_tid_size,
    # cgroup
    arguments = struct.pack("11Q", CLONE_INTO_CGROUP, 0, 0, 0, signal.SIGCHLD, 0, 0, 0, 0, 0, cgroup)
    pid = libc.syscall(SYS_CLONE3, arguments, len(arguments))
    if pid < 0:
        raise OSError(ctypes.get_errno(), "clone3")
    return pid


def enter(cgroup):
    procs = os.open("cgroup.procs", os.O_WRONLY, dir_fd=cgroup)
    os.write(procs, b"0")
    os.close(procs)


def fork_and_enter(cgroup):
    pid = os.fork()
    if pid == 0:
        enter(cgroup)
    return pid


def look(one):
    return [one.getsockopt(*option) & 0xFFFFFFFF for option in OPTIONS]


def connected(one, address):
    one.settimeout(10)
    one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_TIME_WAIT)
    one.connect(address)
    return look(one)


class Child:
    """What a newborn process does, by the word for it."""

    def __init__(self, directory, path, address):
        self.directory, self.path, self.address = directory, path, address

    def connect(self):
        """The kernel completes the connection whether it is accepted or not."""
        with socket.socket() as one:
            return connected(one, self.address)

    def both(self):
        with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket() as client:
            listener.settimeout(10)
            seen = connected(client, listener.getsockname())
            with listener.accept()[0] as accepted:
                return seen + look(accepted)

    def accept(self):
        return self.both()[len(OPTIONS):]

    def removed(self):
        with socket.socket() as one:
            at = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY)
            enter(at)
            os.rmdir(f"{self.directory}/{self.path}")
            return connected(one, self.address)


def first_socket(start, directory, path, how, address):
    cgroup = open_made(directory, path)
    end, answer = os.pipe()
    pid = start(cgroup)
    if pid == 0:
        status = 1
        try:
            seen = getattr(Child(directory, path, address), how)()
            status = 0
        except OSError as error:
            seen = f"{how}: {error}"
        finally:
            os.write(answer, json.dumps(seen).encode())
            os._exit(status)
    os.close(answer)
    os.close(cgroup)
    with open(end, "rb") as stream:
        seen = json.loads(stream.read() or b'"it died"')
    os.waitpid(pid, 0)
    return seen


def main():
    listener = socket.create_server(("127.0.0.1", 0), backlog=64)
    listener.setblocking(False)
    address = listener.getsockname()
    starts = (clone_into, fork_and_enter)
    for line in sys.stdin:
        answers = []
        for number, (path, how) in enumerate(json.loads(line)):
            answers.append(first_socket(starts[number % 2], sys.argv[1], path, how, address))
            if how in ("connect", "removed"):
                try:
                    listener.accept()[0].close()
                except BlockingIOError:
                    pass  # it did not come as far as that
        print(json.dumps(answers), flush=True)


main()
