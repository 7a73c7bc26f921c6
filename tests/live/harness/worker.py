# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""An application that knows nothing of sockpol: it calls socket(), bind(), connect() and so on as told.

Started as `worker.py FD`; requests come over that descriptor, pickled, and are answered in order.
It ends when the other side does.
"""

import pickle
import socket
import sys


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
    else:
        return getattr(sockets[number], method)(*arguments)
    made.settimeout(5)
    key = max(sockets, default=0) + 1
    sockets[key] = made
    return key


def main():
    sockets = {}
    stream = socket.socket(fileno=int(sys.argv[1])).makefile("rwb")
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


main()
