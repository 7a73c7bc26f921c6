# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Connects UDP sockets of many cgroups in turns, and looks each time whether the policies were that
cgroup's.

Started as `hopper.py DIRECTORY CONNECTS PROCESSOR`; stdin is a JSON object of children of the directory
and the SO_PRIORITY that their sockets must get.  At the end it prints what it saw as JSON.
"""

import json
import os
import socket
import sys

COMPLAINTS = 10


def make_sockets(directory, expected):
    """[(socket, value)]: a socket stays its cgroup's."""
    made = []
    for name, value in expected.items():
        os.makedirs(f"{directory}/{name}", exist_ok=True)
        with open(f"{directory}/{name}/cgroup.procs", "w", encoding="ascii") as procs:
            procs.write("0")
        made.append((socket.socket(type=socket.SOCK_DGRAM), value))
    return made


def connect_all(made, connects):
    """What went wrong."""
    level, option, address = socket.SOL_SOCKET, socket.SO_PRIORITY, ("127.0.0.1", 9)
    wrong = []
    while connects > 0 and len(wrong) < COMPLAINTS:
        for one, value in made:
            one.setsockopt(level, option, 0)
            one.connect(address)
            seen = one.getsockopt(level, option)
            if seen != value:
                wrong.append([seen, "not", value])
        connects -= len(made)
    return wrong


def main():
    os.sched_setaffinity(0, {int(sys.argv[3])})
    made = make_sockets(sys.argv[1], json.load(sys.stdin))
    print(json.dumps({"wrong": connect_all(made, int(sys.argv[2]))}))


main()
