# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""An application that knows nothing of sockpol: it calls socket(), bind(), connect() and so on as told.

Requests come over a descriptor, pickled, and are answered in order.  It ends when the other side
does.  Started as `worker.py FD` this is where such programs are born: each message on FD is a cgroup
and the descriptor for a new one, which moves there before it does anything else, and the answer is its
process id.  (To start Python a hundred times takes minutes on an emulated machine.)
"""

import os
import pickle
import signal
import socket
import sys

SECONDS = 5 * float(os.environ.get("SOCKPOL_TEST_PATIENCE") or 1)


def call(sockets, number, method, arguments):
    """One call on one socket; new sockets are answered by their number."""
    if method == "answer":
        return None
    if method == "socket":
        made = socket.socket(*arguments)
    elif method == "close":
        sockets.pop(number).close()
        return None
    elif method == "accept":
        made, _ = sockets[number].accept()
    elif method == "set_all":
        return set_all(sockets[number].fileno(), *arguments)
    elif method == "get_all":
        return get_all(sockets[number], *arguments)
    else:
        return getattr(sockets[number], method)(*arguments)
    made.settimeout(SECONDS)
    key = max(sockets, default=0) + 1
    sockets[key] = made
    return key


def set_all(fd, way, options):
    """The errno of each (level, name, value)."""
    sys.path[:0] = [os.path.dirname(os.path.abspath(__file__))]
    from ways import WAYS  # few workers need it, and it takes long to import
    del sys.path[0]
    results = []
    for option in options:
        try:
            WAYS[way](fd, *option)
            results.append(0)
        except OSError as error:
            results.append(error.errno)
    return results


def get_all(one, options):
    """The value of each (level, name, size), or the errno."""
    results = []
    for option in options:
        try:
            results.append(one.getsockopt(*option))
        except OSError as error:
            results.append(error.errno)
    return results


def serve(channel):
    sockets = {}
    stream = channel.makefile("rwb")
    while True:
        try:
            request = pickle.load(stream)
        except EOFError:
            return
        try:
            answer = (None, call(sockets, *request))
        except OSError as error:
            answer = (type(error), (error.errno, error.strerror or str(error)))
        pickle.dump(answer, stream)
        stream.flush()


def bear(nursery, cgroup, fd):
    """In the child: never returns."""
    nursery.close()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    try:
        with open(f"{cgroup}/cgroup.procs", "w", encoding="ascii") as procs:
            procs.write("0")  # whoever writes it
        serve(socket.socket(fileno=fd))
    finally:
        os._exit(0)


def main():
    nursery = socket.socket(fileno=int(sys.argv[1]))
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for them
    while True:
        cgroup, descriptors, _, _ = socket.recv_fds(nursery, 4096, 1)
        if not cgroup:
            return
        child = os.fork()
        if not child:
            bear(nursery, cgroup.decode(), descriptors[0])
        os.close(descriptors[0])
        nursery.send(str(child).encode())


main()
