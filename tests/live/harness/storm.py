# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""What a user without privilege may do in a cgroup that was delegated to him: make and remove cgroups as
fast as they come.

Started as `storm.py DIRECTORY KIND UID COUNT` in a cgroup below the delegated one, as root; becomes that
user, prints "ready", and begins at the first line on stdin.  At the second it ends, removes what it can,
and prints how much it did as JSON.  Meanwhile the file COUNT has the number of cgroups that it made.

KIND, also with "-2" and the like behind it: "names": names that match globs, thousands at a time.
"sockets": cgroups that are held by a socket that was opened in them, also after they were removed.
"deep": nested names of 250 bytes, to the depth that the kernel takes.
"""

import ctypes
import itertools
import json
import os
import resource
import select
import signal
import socket
import struct
import sys
import time

SYS_CLONE3 = 435
CLONE_INTO_CGROUP = 0x200000000
AT_A_TIME = 4100  # cgroups
HELD = 6000  # sockets, or as many as may be open
DEPTH = 3000  # levels
DEEP_EVERY = 20  # seconds: while it goes that deep, a mkdir(2) of anybody takes milliseconds
SHORT = 17  # levels: more than a path may have bytes

libc = ctypes.CDLL(None, use_errno=True)


def told():
    return bool(select.select([sys.stdin], [], [], 0)[0])


def names():
    """Some match the administrator's globs, some both of them."""
    for number in itertools.count():
        yield (f"web-{number}", f"x-{number}-db", f"web-{number}-db", f"c{number}")[number % 4]


class Storm:
    def __init__(self, directory, kind, counter):
        self.counter = counter
        os.mkdir(f"{directory}/{kind}")
        self.at = os.open(f"{directory}/{kind}", os.O_RDONLY | os.O_DIRECTORY)
        self.mkdirs = self.sockets = 0
        self.held = []
        self.names = names()
        self.deep_again = 0.0

    def mkdir(self, name, at=None):
        os.mkdir(name, dir_fd=self.at if at is None else at)
        self.mkdirs += 1
        if self.mkdirs % 100 == 0:
            os.pwrite(self.counter, b"%d" % self.mkdirs, 0)

    def run_names(self):
        made = []
        for name in itertools.islice(self.names, AT_A_TIME):
            self.mkdir(name)
            made.append(name)
            if len(made) % 100 == 0 and told():
                break
        for name in made:
            os.rmdir(name, dir_fd=self.at)

    def run_sockets(self):
        for name in itertools.islice(self.names, 50):
            self.mkdir(name)
            made = socket_of(self.at, name)
            if made:
                self.held.append(made)
                self.sockets += 1
            os.rmdir(name, dir_fd=self.at)
            if len(self.held) > HELD or not made:
                self.held.pop(0).close()

    def run_deep(self):
        """Down and up again, now and then a long way."""
        depth = SHORT
        if time.monotonic() >= self.deep_again:
            depth, self.deep_again = DEPTH, time.monotonic() + DEEP_EVERY
        way = [os.dup(self.at)]
        while len(way) <= depth and not told():
            name = f"web-{len(way)}-".ljust(247, "x") + "-db"
            try:
                self.mkdir(name, way[-1])
            except OSError:
                break  # as deep as it gets
            below = os.open(name, os.O_RDONLY | os.O_DIRECTORY, dir_fd=way[-1])
            if len(way) > SHORT:  # descriptors are few
                os.close(way[-2])
                way[-2] = -1
            way.append(below)
        climb(way)


def climb(way):
    """Removes a chain of directories, from its last one up."""
    at = way[-1]
    for depth in range(len(way) - 1, 0, -1):
        name = f"web-{depth}-".ljust(247, "x") + "-db"
        above = os.open("..", os.O_RDONLY | os.O_DIRECTORY, dir_fd=at)
        os.close(at)
        os.rmdir(name, dir_fd=above)
        at = above
    os.close(at)
    for one in way[:-1]:
        if one >= 0:
            os.close(one)


def socket_of(parent, name):
    """A socket that was opened by a process of that cgroup; None: no more of them may be open."""
    ours, theirs = socket.socketpair()
    cgroup = os.open(name, os.O_RDONLY | os.O_DIRECTORY, dir_fd=parent)
    arguments = struct.pack("11Q", CLONE_INTO_CGROUP, 0, 0, 0, signal.SIGCHLD, 0, 0, 0, 0, 0, cgroup)
    pid = libc.syscall(SYS_CLONE3, arguments, len(arguments))
    if pid < 0:
        raise OSError(ctypes.get_errno(), "clone3")
    if pid == 0:
        with socket.socket(type=socket.SOCK_DGRAM) as one:
            one.connect(("127.0.0.1", 9))  # so that it is looked at
            socket.send_fds(theirs, [b"x"], [one.fileno()])
        os._exit(0)
    os.close(cgroup)
    theirs.close()
    with ours:
        _, descriptors, _, _ = socket.recv_fds(ours, 1, 1)
    os.waitpid(pid, 0)
    return socket.socket(fileno=descriptors[0]) if descriptors else None


def main():
    directory, kind, uid, count = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
    _, limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    counter = os.open(count, os.O_WRONLY | os.O_CREAT, 0o600)
    os.setgroups([])
    os.setgid(uid)
    os.setuid(uid)
    storm = Storm(directory, kind, counter)
    print("ready", flush=True)
    sys.stdin.readline()
    while not told():
        getattr(storm, f"run_{kind.partition('-')[0]}")()
    print(json.dumps({"mkdirs": storm.mkdirs, "sockets": storm.sockets}), flush=True)


main()
