# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""An application that opens connections without pause and looks at what it got.

Started as `steady.py VALUE`; prints "ready" when its listener is there and begins at the first line
on stdin.  At the second it ends, and prints what it saw as JSON.  Every socket is asked for its
SO_PRIORITY, which is to be VALUE.
"""

import json
import os
import select
import socket
import struct
import sys

NO_TIME_WAIT = struct.pack("ii", 1, 0)  # else the ports would run out


class Steady:
    def __init__(self, value):
        self.value = value
        self.connections = self.failed = self.ungoverned = self.datagram_sockets = 0
        self.complaints = []
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.listener.settimeout(10)
        self.old = None  # a UDP socket that lives as long as this program

    def complain(self, text):
        if len(self.complaints) < 10:
            self.complaints.append(text)

    def look(self, sock, which):
        seen = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PRIORITY)
        if seen != self.value:
            self.ungoverned += 1
            self.complain(f"{which} {self.connections}: SO_PRIORITY {seen}")

    def connect(self):
        with socket.socket() as client:
            client.settimeout(10)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_TIME_WAIT)
            client.connect(self.listener.getsockname())
            accepted, _ = self.listener.accept()
            with accepted:
                self.look(client, "connect")
                self.look(accepted, "accept")
        self.connections += 1

    def send(self):
        """One UDP socket more, connected twice; and the old one once more."""
        with socket.socket(type=socket.SOCK_DGRAM) as one:
            one.connect(self.listener.getsockname())
            one.connect(self.listener.getsockname())
            self.look(one, "UDP")
        self.datagram_sockets += 1
        if not self.old:
            self.old = socket.socket(type=socket.SOCK_DGRAM)
            self.datagram_sockets += 1
        self.old.connect(self.listener.getsockname())

    def run(self):
        while not select.select([sys.stdin], [], [], 0)[0]:
            try:
                self.connect()
                self.send()
            except OSError as error:
                self.failed += 1
                self.complain(f"connection {self.connections}: {error}")


def main():
    steady = Steady(int(sys.argv[1]))
    print("ready", flush=True)
    os.read(0, 100)
    steady.run()
    print(json.dumps({key: value for key, value in vars(steady).items()
                      if isinstance(value, (int, list))}), flush=True)


main()
